"""Deep models: blocks in a loop, and blocks that are computed a second time."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import io_callback

import posexp
from posexp import component, schemes
from posexp.models import blocks, initial, memory, probe, transformer
from posexp.training import loop, train_step
from tests import cases, small

LAYERS, VOCABULARY = 3, 7
LOOPED, APART = 2, LAYERS + 1

# One that does something in each place where position can enter, and in each
# of the ways that a block deals with.
SCHEMES = (
  schemes.NoPE(),
  schemes.Learned(),
  schemes.RoPE() + schemes.T5(),
  schemes.PoPE() + schemes.ALiBi(),
  schemes.RoPE() + schemes.Forgetting(),
  schemes.RoPE() + schemes.CoPE(positions=8),
  schemes.StickBreaking(),
  schemes.Randomize(schemes.RoPE()) + schemes.FIRE(hidden=4),
)
every_scheme = pytest.mark.parametrize('scheme', SCHEMES, ids=str)


def made(scheme, **changes):
  """A small model, its parameters and what it reads."""
  shape = dataclasses.replace(cases.SHAPE, layers=LAYERS, **changes)
  net = transformer.Transformer(shape, scheme, VOCABULARY)
  tokens_BxL = jax.random.randint(jax.random.key(1), (2, 9), 0, VOCABULARY)
  params = net.init(jax.random.key(0), tokens_BxL)['params']
  return net, cases.randomised(params), tokens_BxL


def computed(net, params, tokens_BxL, rows=None):
  """A number made of the logits, and its gradient."""
  # Positions are drawn from a key.
  key = jax.random.key(2)

  @jax.jit
  @jax.value_and_grad
  def run(params):
    logits = transformer.predict(net, params, tokens_BxL, rows, key)
    return jnp.mean(jnp.square(logits))

  return run(params)


def assert_close(found, expected):
  # The same sums, which another program may fuse differently: what is left of
  # terms that cancel is off by the rounding of the terms, which are as large as
  # other gradients are.
  largest = max(float(np.abs(y).max()) for y in jax.tree.leaves(expected[1]))
  for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
    near = 1e-5 * np.abs(y).max() + 1e-6 * largest
    np.testing.assert_allclose(x, y, rtol=1e-4, atol=near)


def test_every_way_in_is_among_the_schemes():
  assert {h for s in SCHEMES for h in s.hooks()} == set(schemes.base.HOOKS)
  assert any(s.draws for s in SCHEMES) and any(s.widens for s in SCHEMES)
  assert not all(s.blockwise for s in SCHEMES)
  assert not all(s.normalised for s in SCHEMES)


@every_scheme
def test_loops_and_recomputation_change_no_gradient(scheme, monkeypatch):
  net, *inputs = made(scheme)
  again, _, _ = made(scheme, remat=True)
  monkeypatch.setattr(blocks, 'SCANNED_FROM', APART)
  plain = computed(net, *inputs)
  monkeypatch.setattr(blocks, 'SCANNED_FROM', LOOPED)
  assert_close(computed(net, *inputs), plain)
  assert_close(computed(again, *inputs), plain)


@pytest.mark.parametrize(
  'changes',
  [
    {'share_position': True},
    {'compute': 'bfloat16', 'activation': 'swiglu', 'tied': True},
    {'window': 3, 'block': 4},
  ],
  ids=str,
)
def test_options_of_a_model_are_those_of_its_loop(changes, monkeypatch):
  scheme, rows = schemes.RoPE() + schemes.T5(), (2, 5)
  net, *inputs = made(scheme, **changes)
  again, _, _ = made(scheme, remat=True, **changes)
  monkeypatch.setattr(blocks, 'SCANNED_FROM', APART)
  plain = computed(net, *inputs, rows)
  monkeypatch.setattr(blocks, 'SCANNED_FROM', LOOPED)
  looped = computed(again, *inputs, rows)
  if 'compute' not in changes:
    assert_close(looped, plain)
    return
  # Of eight bits each sum has other errors, which are as large.
  wide, _, _ = made(scheme, **changes | {'compute': 'float32'})
  for x, y, exact in zip(
    *map(jax.tree.leaves, (looped, plain, computed(wide, *inputs, rows)))
  ):
    off, expected = (np.linalg.norm(np.ravel(z - exact)) for z in (x, y))
    assert 0 < off < 2 * expected


def products(jaxpr) -> int:
  """How many matrix products a program consists of, loops taken once."""
  return sum(
    (eqn.primitive.name == 'dot_general')
    + sum(map(products, memory.programs(eqn)))
    for eqn in jaxpr.eqns
  )


def test_a_program_does_not_grow_with_the_layers():
  def size(layers):
    shape = dataclasses.replace(cases.SHAPE, layers=layers)
    net = transformer.Transformer(shape, schemes.RoPE(), VOCABULARY)
    tokens_BxL = jnp.zeros((1, 5), jnp.int32)
    run = lambda p: transformer.predict(net, p, tokens_BxL).sum()
    return products(
      jax.make_jaxpr(jax.grad(run))(transformer.shapes(net)).jaxpr
    )

  assert size(3) - size(2) == size(4) - size(3) > 0
  least = blocks.SCANNED_FROM
  assert size(2 * least) == size(least) < size(least - 1)


def test_what_is_kept_for_a_gradient_is_the_input_of_each_block():
  def kept(remat, layers):
    shape = posexp.Model(layers=layers, width=16, heads=2, remat=remat)
    net = transformer.Transformer(shape, schemes.RoPE(), VOCABULARY)
    tokens_BxL = jnp.zeros((4, 33), jnp.int32)
    params = transformer.shapes(net)
    run = jax.grad(lambda p: transformer.predict(net, p, tokens_BxL).sum())
    compiled = jax.jit(run).lower(params).compile()
    return compiled.memory_analysis().temp_size_in_bytes

  stream, layers = 4 * 4 * 33 * 16, (4, 8)
  fewer, more = (kept(True, n) for n in layers)
  # And parameters, which a loop stacks, and gradients: 3,104 of a block.
  assert more - fewer < 4 * (1.2 * stream + 2.2 * 4 * 3104)
  fewer, more = (kept(False, n) for n in layers)
  assert more - fewer > 4 * 8 * stream


@pytest.mark.parametrize('scheme', [SCHEMES[2], SCHEMES[4]], ids=str)
def test_a_loop_decodes_and_shows_attention(scheme, monkeypatch):
  monkeypatch.setattr(blocks, 'SCANNED_FROM', LOOPED)
  net, params, tokens_BxL = made(scheme, remat=True)
  whole, _ = net.apply({'params': params}, tokens_BxL)
  cache = transformer.empty_cache(net, *tokens_BxL.shape)
  decode = jax.jit(net.apply)
  for t in range(tokens_BxL.shape[1]):
    one_Bx1 = tokens_BxL[:, t : t + 1]
    logits, cache = decode({'params': params}, one_Bx1, cache, jnp.int32(t))
    # Float32 sums in another order, logits of some tens.
    np.testing.assert_allclose(logits[:, 0], whole[:, t], rtol=1e-4, atol=1e-3)
  shown = probe.forward(net, params, tokens_BxL, None)
  assert shown.queries.x_BxHxLxE.shape[0] == LAYERS


def test_training_is_that_of_the_blocks_one_by_one(tmp_path, monkeypatch):
  """To a checkpoint, and from it to an adaptation, with all that decays."""
  how = small.train_config(steps=4, warmup=1, decay=5.0, learning_rate=1e-2)
  root = small.run(
    model=posexp.Model(layers=3, width=16, heads=2, remat=True),
    train=how,
  )
  warmed = root.retrofit(
    schemes.RoPE() + schemes.T5(buckets=4),
    train=dataclasses.replace(how, warm_in=2),
  )
  trained = []
  for looped_from in (APART, LOOPED):
    monkeypatch.setattr(blocks, 'SCANNED_FROM', looped_from)
    train_step._programs.cache_clear()
    for run in (root, warmed):
      (result,) = loop.train([run], tmp_path / str(looped_from))
      trained.append(result.params)
  for one, other in zip(trained[:2], trained[2:], strict=True):
    assert {f'block_{n}' for n in range(3)} < set(one)
    # Adam makes as much of a small gradient as of a large one.
    close = functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-4)
    jax.tree.map(close, one, other)


@dataclasses.dataclass(frozen=True)
class Logged(schemes.Scheme):
  """Tells somebody of every query."""

  def rotate(self, params, x_BxLxHxE, at, side):
    io_callback(lambda _: None, None, at)
    return x_BxLxHxE


def test_what_cannot_be_computed_a_second_time_is_refused():
  model = dataclasses.replace(small.run().model, remat=True)
  sentence = r'Logged\(\) .*side effect.*: use remat=False'
  with pytest.raises(component.UserError, match=sentence):
    small.run(scheme=schemes.RoPE() + Logged(), model=model)
  for scheme in SCHEMES:
    small.run(scheme=scheme, model=model)
  assert small.run(scheme=Logged())


@pytest.mark.optimised
@pytest.mark.parametrize('changes', [{}, {'share_position': True}], ids=str)
@pytest.mark.parametrize(
  'scheme',
  [
    schemes.NoPE(),
    schemes.Learned() + schemes.FIRE(hidden=4),
    schemes.RoPE() + schemes.Forgetting(),
  ],
  ids=str,
)
def test_initial_parameters_are_those_that_flax_draws(
  scheme, changes, monkeypatch
):
  net, _, tokens_BxL = made(scheme, activation='swiglu', **changes)
  wanted = jax.jit(net.init)(jax.random.key(3), tokens_BxL)['params']
  monkeypatch.setattr(blocks, 'SCANNED_FROM', LOOPED)
  found = jax.jit(lambda key: initial.params(net, key))(jax.random.key(3))
  assert blocks.STACKED in found
  found = blocks.unstacked(found)
  jax.tree.map(np.testing.assert_array_equal, found, wanted)


def test_blocks_are_stacked_wherever_a_tree_has_them():
  scheme = schemes.Learned() + schemes.T5()
  params = made(scheme)[1]
  more = {f'block_{n}': params['block_0'] for n in range(LAYERS, 12)}
  deep = {**params, **more}
  deep['block_10'] = jax.tree.map(jnp.zeros_like, params['block_0'])
  tree = {'a': (deep, jnp.float32(1)), 'few': params}
  together = blocks.stacked(tree)
  assert together['few'].keys() == params.keys()
  kernels = together['a'][0][blocks.STACKED]['query']['kernel']
  assert kernels.shape == (11, 16, 16)
  assert not kernels[10].any() and kernels[:10].any()
  assert 'block_0' not in together['a'][0]
  again = blocks.unstacked(together)
  jax.tree.map(np.testing.assert_array_equal, again, tree)
  seeds = jax.tree.map(lambda x: np.stack([x, x + 1]), tree)
  of_seed = jax.tree.map(lambda x: x[1], blocks.stacked(seeds, axis=1))
  alone = blocks.stacked(jax.tree.map(lambda x: x[1], seeds))
  jax.tree.map(np.testing.assert_array_equal, of_seed, alone)
