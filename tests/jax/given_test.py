"""Programs are given a scheme's numbers: the same results of fewer programs."""

import collections
import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from posexp import component, schemes
from posexp.attention import attend
from posexp.attention import placed as placed_lib
from posexp.evaluation import diagnostics, evaluate
from posexp.models import compile_counter, mesh, transformer
from posexp.runs import config, stacking
from posexp.schemes import given
from posexp.tasks import draw
from posexp.training import optimizer, train_step
from tests import small

DIMS = schemes.Dims(width=32, heads=4, head_width=8)
LAWS = (
  schemes.Law(),
  schemes.Linear(4),
  schemes.NTK(4),
  schemes.DynamicNTK(1, 64),
  schemes.NTKByParts(4, 64),
  schemes.YaRN(4, 64),
  schemes.YaRN(4, 64, ramp='rotations'),
  schemes.Llama3(8, 64),
  schemes.LongRoPE((1.0,) * 4, (2.0,) * 4, train_length=64, factor=4),
  schemes.Proportional(0.5),
  schemes.DroPE(),
)


def resolved(scheme):
  return scheme.trained_at(64).for_length(64)


def close(scheme, form, numbers):
  """Whether all hooks do with numbers what they do with constants."""
  own = jax.jit(functools.partial(given._results, scheme, DIMS, 'float32'))()
  found = jax.jit(
    lambda n: given._results(schemes.fill(form, n), DIMS, 'float32')
  )(numbers)
  pairs = zip(jax.tree.leaves(own), jax.tree.leaves(found), strict=True)
  return all(given._close(*pair) for pair in pairs)


@pytest.mark.parametrize('scheme', schemes.CATALOGUE, ids=str)
def test_given_numbers_do_what_constants_do(scheme):
  scheme = resolved(scheme)
  form, numbers = schemes.take(scheme, DIMS)
  hash(form)
  assert close(scheme, form, numbers)
  filled = schemes.fill(form, numbers)
  assert filled.hooks() == scheme.hooks()
  assert schemes.is_filled(filled) == bool(numbers)
  again, taken = schemes.unfill(filled)
  assert again == form
  assert all(a is b for a, b in zip(taken, numbers, strict=True))
  assert schemes.unfill(scheme) == (scheme, ())


def form_of(scheme):
  return schemes.take(resolved(scheme), DIMS)[0]


def test_what_differs_in_numbers_alone_has_one_form():
  rope = schemes.RoPE
  assert (
    len(
      {form_of(rope(law, base=base)) for law in LAWS for base in (500.0, 1e4)}
    )
    == 1
  )
  alibi = schemes.ALiBi()
  assert len({form_of(rope(law) + alibi) for law in LAWS}) == 1
  for one, other in (
    (schemes.xPos(), schemes.xPos(rope(schemes.NTK(4)), scale_base=64.0)),
    (schemes.PoPE(), schemes.PoPE(base=500.0)),
    (schemes.T5(), schemes.T5(max_distance=64)),
    (schemes.FIRE(), schemes.FIRE(threshold=4.0)),
    (schemes.DynamicBias(), schemes.DynamicBias(unit=8.0)),
    (schemes.LogLength(8), schemes.LogLength(16)),
    (schemes.Shift(rope()), schemes.Shift(rope(schemes.YaRN(2, 64)))),
  ):
    assert form_of(one) == form_of(other) != form_of(rope())
  for other in (
    rope(pairing='interleaved'),
    rope(rotated=4),
    schemes.Interpolate(rope(), 4),
    schemes.Interpolate(rope(), 2),
    rope() + alibi,
    schemes.NoPE(),
  ):
    assert form_of(other) != form_of(rope())


@dataclasses.dataclass(frozen=True)
class Fading(schemes.Scheme):
  """A bias of a strength, which is a field and used as one."""

  strength: float = 1.0
  kind: str = 'linear'

  def bias(self, params, head, q_at, k_at):
    return -self.strength * (q_at - k_at).astype(jnp.float32)


@dataclasses.dataclass(frozen=True)
class Chosen(Fading):
  """A strength that decides, in Python, what is computed."""

  def bias(self, params, head, q_at, k_at):
    sign = -1.0 if self.strength > 0 else 1.0
    return sign * math.sqrt(abs(self.strength)) * (q_at - k_at)


@dataclasses.dataclass(frozen=True)
class Turning(schemes.Scheme):
  """A frequency made in float64, which float32 has not enough digits for."""

  base: float = 1e4

  def rotate(self, params, x_BxLxHxE, at, side):
    theta = self.base ** (-np.arange(8) / 7)
    angle = at[:, :, None, None].astype(jnp.float32) * jnp.asarray(
      theta, jnp.float32
    ).reshape(1, 1, 1, -1)
    return x_BxLxHxE * jnp.cos(angle)


@dataclasses.dataclass(frozen=True)
class Announced(Turning):
  """The same, with its frequencies computed where they are announced."""

  computed = {'theta': ('base',)}

  def theta(self, head_width):
    return self.base ** (-np.arange(head_width) / 7)

  def rotate(self, params, x_BxLxHxE, at, side):
    angle = at[:, :, None, None].astype(jnp.float32) * jnp.asarray(
      self.theta(x_BxLxHxE.shape[-1]), jnp.float32
    ).reshape(1, 1, 1, -1)
    return x_BxLxHxE * jnp.cos(angle)


@dataclasses.dataclass(frozen=True)
class Listed(schemes.Scheme):
  """A table of constants, whose length is the user's."""

  rows: tuple[float, ...] = component.field((0.0, -1.0), each=True)

  def bias(self, params, head, q_at, k_at):
    rows = jnp.asarray(self.rows, jnp.float32)
    return rows[jnp.clip(q_at - k_at, 0, len(rows) - 1)]


def test_a_users_numbers_are_given_where_they_are_fields():
  assert form_of(Fading(1.0)) == form_of(Fading(0.5)) != form_of(Chosen(0.5))
  assert form_of(Fading(kind='other')) != form_of(Fading())
  both = Fading(0.5) + schemes.RoPE(schemes.NTK(4))
  assert form_of(both) == form_of(Fading(1.0) + schemes.RoPE())
  assert form_of(Announced(500.0)) == form_of(Announced())
  # As many rows are one program, and others another.
  assert form_of(Listed()) == form_of(Listed((0.0, -2.0)))
  assert form_of(Listed()) != form_of(Listed((0.0, -2.0, -3.0)))


@pytest.mark.parametrize('scheme', [Chosen(0.5), Turning(500.0)], ids=str)
def test_a_user_loses_nothing_where_they_are_not(scheme):
  assert schemes.take(scheme, DIMS) == (scheme, ())


def test_numbers_are_of_the_dtype_that_a_model_computes_in():
  """A float beside bfloat16 is bfloat16, and an array would not be."""

  @dataclasses.dataclass(frozen=True)
  class Scaled(schemes.Scheme):
    by: float = 2.0

    def embed(self, params, x_BxLxD, at):
      return x_BxLxD * self.by

  with jax.numpy_dtype_promotion('standard'):
    assert schemes.take(Scaled(), DIMS)[1] == (2.0,)
    assert schemes.take(Scaled(), DIMS, 'bfloat16') == (Scaled(), ())


# With other frequencies, a temperature, and none at all.
COMPARED = schemes.NTK, schemes.YaRN, schemes.DroPE
RETROFITS = (*map(schemes.RoPE, LAWS[1:]), schemes.RoPE(base=500.0))


def counted(before):
  return compile_counter.counted - before


@pytest.mark.usefixtures('own_programs')
def test_a_root_and_its_retrofits_share_the_programs_of_evaluation():
  look = config.Evaluate(lengths=(12, 24, 48), examples=8)
  root = small.run(scheme=schemes.RoPE(), evaluate=look)
  on = mesh.mesh(len(root.seeds), root.train.batch)
  params = mesh.pad_seeds(
    jax.vmap(functools.partial(train_step.initial_params, root))(
      jnp.arange(len(root.seeds), dtype=jnp.uint32)
    ),
    on,
    len(root.seeds),
  )
  before = collections.Counter(compile_counter.counted)
  for scheme in (root.scheme, *RETROFITS):
    run = dataclasses.replace(root, scheme=scheme)
    evaluator = evaluate.Evaluator(run, on)
    for length in run.lengths:
      outcomes = evaluator.outcomes(params, length)
      if length == 24 and isinstance(scheme.frequencies, COMPARED):
        expected = by_constants(run, params, length)
        np.testing.assert_allclose(
          outcomes.nats_SxT, expected, rtol=2e-5, atol=2e-5
        )
    for length in (12, 48):
      diagnostics.report(run, params, length, on)
  assert counted(before) == {'evaluation': 1, 'diagnosis': 2}


def by_constants(run, params, length):
  """Cross-entropies from a program for one scheme and one length alone."""
  batch = evaluate.examples(run.task, length, run.evaluate.number(length))
  scheme = run.evaluated_scheme(length)
  net = transformer.Transformer(run.model, scheme, run.task.vocabulary)
  tokens_BxL = jnp.asarray(batch.tokens_BxL)

  @jax.jit
  def nats(params):
    log = jax.nn.log_softmax(transformer.predict(net, params, tokens_BxL))
    return -jnp.take_along_axis(log, tokens_BxL[:, 1:, None], axis=2)[..., 0]

  found = [
    nats(jax.tree.map(lambda x, n=n: x[n], params))
    for n in range(len(run.seeds))
  ]
  return np.stack(found)[:, np.asarray(batch.targets_BxL)[:, 1:]]


@pytest.mark.usefixtures('own_programs')
def test_one_program_trains_all_that_differ_in_numbers():
  """And each as a program for its scheme alone would, step by step."""
  runs = [
    small.run(scheme=scheme + schemes.ALiBi())
    for scheme in (schemes.RoPE(), schemes.RoPE(schemes.YaRN(4, 12), base=500))
  ]
  assert len({stacking.split(run)[0] for run in runs}) == 1
  assert set(stacking.alike(runs).values()) == {tuple(runs)}
  seeds = len(runs[0].seeds)
  on = mesh.mesh(2 * seeds, runs[0].train.batch)
  before = collections.Counter(compile_counter.counted)
  start, advance = train_step.programs(runs[0], on, 4, number=2 * seeds)
  members = train_step.members(runs, on, 2 * seeds)
  _, loss_MxC = advance(start(members), members, np.int32(0))
  assert counted(before) == {'training': 1}
  whole = mesh.fetch(loss_MxC)
  for n, run in enumerate(runs):
    for s, seed in enumerate(run.seeds):
      expected = by_hand(run, seed, 4)
      np.testing.assert_allclose(whole[n * seeds + s, :4], expected, rtol=2e-5)


def by_hand(run, seed, steps):
  """The losses of a seed's first steps, the scheme's numbers compiled in."""
  net, train = transformer.of(run), run.train
  params = train_step.initial_params(run, jnp.uint32(seed))
  state, losses = optimizer.optimiser(train).init(params), []
  key = jax.random.fold_in(draw.root(jnp.uint32(seed)), train_step.DATA)

  @jax.jit
  def one(params, state, number):
    batch = run.task.sample(
      jax.random.fold_in(key, number), length=train.length, batch=train.batch
    )
    asked = run.task.asked(train.length)
    total, count, grads = train_step.gradient(
      net, params, batch, asked, train.batch
    )
    grads = jax.tree.map(lambda g: g / count, grads)
    return *optimizer.update(train, params, state, grads), total / count

  for number in range(steps):
    params, state, mean = one(params, state, jnp.int32(number))
    losses.append(float(mean))
  return losses


def test_blocks_take_the_numbers_of_a_bias_with_their_gradients():
  """A bias that is made tile by tile, of numbers that are traced."""
  scheme = schemes.RoPE(schemes.NTK(4)) + schemes.FIRE(threshold=4.0)
  dims = schemes.Dims(width=8, heads=2, head_width=4)
  form, numbers = schemes.take(scheme, dims)
  params = scheme.init_layer(jax.random.key(0), dims)
  q, k, v = (
    jax.random.normal(jax.random.key(n), (1, 21, 2, 4)) for n in range(3)
  )

  def total(scheme, block):
    def of(params, q):
      return jnp.sum(jnp.square(placed(scheme, params, q, block)))

    return jax.value_and_grad(of, argnums=(0, 1))(params, q)

  def placed(scheme, params, q, block):
    index = jnp.arange(21, dtype=jnp.int32)[None]
    at = scheme.remap(index, None)
    queries, keys = (
      placed_lib.place(scheme, params, side, x, at, index)
      for side, x in (('q', q), ('k', k))
    )
    return attend.attend_placed(
      scheme,
      params,
      queries,
      keys,
      placed_lib.heads_first(v),
      block=block,
      whole=True,
    )

  expected = jax.jit(lambda: total(scheme, None))()
  found = jax.jit(lambda numbers: total(schemes.fill(form, numbers), 8))(
    numbers
  )
  for x, y in zip(
    jax.tree.leaves(found), jax.tree.leaves(expected), strict=True
  ):
    np.testing.assert_allclose(x, y, rtol=2e-4, atol=2e-5)
