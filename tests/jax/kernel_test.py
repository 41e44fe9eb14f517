"""The kernel in interpret mode is dense attention, gradients included."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import posexp
from posexp import component, schemes
from posexp.attention import attend, placed
from posexp.models import transformer
from tests import cases, small

# The largest error, as a share of the largest value or of 1: the same float32
# sums in another order, sums of 23 clocks among them; eight bits of mantissa on
# each of a few factors.
TOLERANCE = {jnp.dtype(jnp.float32): 1e-5, jnp.dtype(jnp.bfloat16): 0.03}

SERVED = [
  s
  for s in cases.CASES
  if s.blockwise and ('bias' not in s.hooks() or placed.by_distance(s))
]
# A bias without parameters and a table beside a rotation; with `-m slow` every
# scheme.
FIRST = schemes.ALiBi(), schemes.RoPE(schemes.NTK(4)) + schemes.T5()
# The factors of LongRoPE are for a head of 8.
LOWERED = [s for s in SERVED if 'LongRoPE' not in str(s)]
SCHEME = schemes.RoPE() + schemes.T5(buckets=8, max_distance=20)


def dense(scheme, params, q, k, v, x, window=None):
  return posexp.attend(scheme, params, q, k, v, None, x, window)


def in_one_kernel(scheme, params, q, k, v, x, window=None):
  block = 8 if q.shape[1] == cases.LENGTH else 'auto'
  return posexp.attend(scheme, params, q, k, v, block, x, window, 'pallas')


def values_and_grads(attend, scheme, params, arrays, window=None):
  """Attention, and the gradients of a random projection of it."""
  *args, w = arrays

  def loss(params, *args):
    out = attend(scheme, params, *args, window)
    return jnp.sum(w * out), out

  grad = jax.grad(loss, argnums=tuple(range(5)), has_aux=True)
  return jax.jit(grad)(params, *args)


def inputs(dtype=jnp.float32):
  q, k, v, w = (x.astype(dtype) for x in cases.queries(4))
  return q, k, v, cases.stream(), w


def near(found, expected):
  assert found.shape == expected.shape
  error = np.abs(np.asarray(found, np.float32) - np.asarray(expected)).max()
  largest = max(1.0, np.abs(np.asarray(expected)).max())
  assert error < TOLERANCE[found.dtype] * largest


@pytest.mark.parametrize(
  'scheme',
  [
    pytest.param(s, marks=() if s in FIRST else pytest.mark.slow)
    for s in SERVED
  ],
  ids=str,
)
def test_is_dense_attention(scheme):
  args = scheme, cases.layer_params(scheme), inputs()
  jax.tree.map(
    near,
    values_and_grads(in_one_kernel, *args),
    values_and_grads(dense, *args),
  )


@dataclasses.dataclass(frozen=True)
class Own(schemes.Scheme):
  """A scheme of one's own, with functions that no other has need of."""

  def init_layer(self, key, dims):
    return {'w_H': jax.random.normal(key, (dims.heads,))}

  def bias(self, params, head, q_at, k_at):
    distance = jnp.maximum(q_at - k_at, 0).astype(jnp.float32)
    near = jnp.tanh(jnp.sqrt(distance + 1.0)) * params['w_H'][head.index]
    return near - jnp.floor(distance / 3.0) - jnp.power(1.0 + distance, 0.3)


def test_a_scheme_of_ones_own():
  args = Own(), cases.layer_params(Own()), inputs()
  found = values_and_grads(in_one_kernel, *args)
  jax.tree.map(near, found, values_and_grads(dense, *args))


def test_all_that_is_quick_is_tested():
  assert set(FIRST) <= set(SERVED)


def test_a_window():
  args = SCHEME, cases.layer_params(SCHEME), inputs(), 7
  found = values_and_grads(in_one_kernel, *args)
  jax.tree.map(near, found, values_and_grads(dense, *args))


def test_bfloat16():
  params = cases.layer_params(SCHEME)
  wide = values_and_grads(dense, SCHEME, params, inputs())
  grads, out = values_and_grads(
    in_one_kernel, SCHEME, params, inputs(jnp.bfloat16)
  )
  assert [x.dtype for x in (out, *grads[1:4])] == [jnp.bfloat16] * 4
  # What is learned is float32 and gets a gradient that is; its error is not.
  table = jax.tree.map(lambda x: x.astype(jnp.bfloat16), grads[0])
  assert jax.tree.leaves(grads[0])[0].dtype == jnp.float32
  jax.tree.map(near, ((table, *grads[1:4]), out), (wide[0][:4], wide[1]))


def test_blocks_that_no_query_sees_are_not_computed():
  # A masked value still costs a product, and 0 * nan would be seen at once.
  params, (q, k, v, x, _) = cases.layer_params(SCHEME), inputs()
  run = jax.jit(functools.partial(in_one_kernel, SCHEME, window=4))
  out = run(params, q, k, v.at[:, 16:].set(jnp.nan), x)
  assert np.isfinite(out[:, :16]).all()
  assert np.isnan(out[:, 16:]).all()
  out = run(params, q, k, v.at[:, :8].set(jnp.nan), x)
  assert np.isfinite(out[:, 16:]).all()
  assert np.isnan(out[:, :11]).all()


@pytest.mark.parametrize('scheme', [schemes.RoPE(), SCHEME], ids=str)
def test_some_queries_in_any_order(scheme):
  # As a model asks for the logits of some tokens, from the last to the first.
  params, (q, k, v, *_) = cases.layer_params(scheme), inputs()
  places = jnp.asarray([22, 20, 9, 3, 2])
  index = jnp.arange(q.shape[1], dtype=jnp.int32)[None]

  def some(params, q, k):
    at, cut = scheme.remap(index, None), lambda x: x[:, places]
    out = attend.attend_placed(
      scheme,
      params,
      placed.place(scheme, params, 'q', *jax.tree.map(cut, (q, at, index))),
      placed.place(scheme, params, 'k', k, at, index),
      placed.heads_first(v),
      block=2,
      window=7,
      implementation='pallas',
    )
    return jnp.sum(jnp.sin(out)), out

  def whole(params, q, k):
    out = dense(scheme, params, q, k, v, None, 7)[:, places]
    return jnp.sum(jnp.sin(out)), out

  run = lambda fn: jax.jit(jax.grad(fn, (0, 1, 2), has_aux=True))(params, q, k)
  jax.tree.map(near, run(some), run(whole))


@pytest.mark.parametrize(
  'scheme, served',
  [
    (schemes.RoPE(), True),
    (schemes.Interpolate(schemes.RoPE(), 4) + schemes.ALiBi(), True),
    (schemes.RoPE() + schemes.T5(), True),
    (schemes.Interpolate(schemes.ALiBi(), 4), False),
    (schemes.FIRE(), False),
    (schemes.Forgetting(), False),
  ],
  ids=str,
)
def test_a_bias_by_distance_is_in_the_kernel_and_another_is_refused(
  scheme, served
):
  params, (q, k, v, x, _) = cases.layer_params(scheme), inputs()
  run = functools.partial(in_one_kernel, scheme)
  if served:
    assert 'pallas_call' in str(jax.make_jaxpr(run)(params, q, k, v, x))
    return
  sentence = r"depends on more than a distance, .* got implementation='pallas':"
  with pytest.raises(component.UserError, match=sentence):
    run(params, q, k, v, x)
  shape = dataclasses.replace(cases.SHAPE, implementation='pallas')
  with pytest.raises(component.UserError, match=sentence):
    small.run(scheme=scheme, model=shape)


@pytest.mark.parametrize('device', ['gpu', 'tpu'])
def test_it_is_nobodys_choice_but_a_users(device, monkeypatch):
  monkeypatch.setattr(jax, 'default_backend', lambda: device)
  q = jnp.zeros((1, 300, 2, 16), jnp.bfloat16)
  for scheme in (schemes.RoPE(), schemes.ALiBi()):
    run = functools.partial(posexp.attend, scheme, {}, block='auto')
    assert 'pallas_call' not in str(jax.make_jaxpr(run)(q, q, q))


@pytest.mark.parametrize(
  'width, block, sentence',
  [
    (48, 'auto', 'head_width .* power of two .* on a GPU, got 48: choose'),
    (8, 'auto', 'head_width .* at least 16 on a GPU, got 8: choose'),
    (64, 100, 'block of the fused kernel .* on a GPU, got 100: choose'),
    (64, 8, "got 8: choose one, or use implementation='xla'"),
  ],
)
def test_a_size_that_a_gpu_does_not_take_is_a_sentence(
  width, block, sentence, monkeypatch
):
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  q = jnp.zeros((1, 256, 2, width))
  with pytest.raises(component.UserError, match=sentence):
    posexp.attend(schemes.RoPE(), {}, q, q, q, block, implementation='pallas')


@pytest.mark.slow
def test_vmap_over_what_is_learned():
  q, k, v, x, _ = inputs()
  several = [cases.layer_params(SCHEME, seed) for seed in range(3)]
  stacked = jax.tree.map(lambda *x: jnp.stack(x), *several)
  run = lambda params: in_one_kernel(SCHEME, params, q, k, v, x)
  together = jax.jit(jax.vmap(run))(stacked)
  for params, found in zip(several, together):
    near(found, dense(SCHEME, params, q, k, v, x))


def test_what_cannot_be_is_a_sentence_before_any_compute():
  q = jnp.zeros((1, 3, 1, 4))
  run = lambda scheme, **more: posexp.attend(scheme, {}, q, q, q, **more)
  with pytest.raises(ValueError, match=r"'pallas', got 'triton': use None"):
    run(schemes.NoPE(), implementation='triton')
  with pytest.raises(ValueError, match="at least 1, got 0: use 'auto'"):
    run(schemes.NoPE(), implementation='pallas', block=0)
  rows = schemes.StickBreaking()
  with pytest.raises(ValueError, match=r"rows .* got implementation='pallas':"):
    run(rows, implementation='pallas')
  with pytest.raises(ValueError, match="'pallas', got 'cudnn': use None"):
    posexp.Model(implementation='cudnn')
  shape = dataclasses.replace(cases.SHAPE, implementation='pallas')
  with pytest.raises(ValueError, match=r"StickBreaking.*'pallas': use impl"):
    small.run(scheme=rows, model=shape)


def test_a_model_and_its_gradients_are_those_of_xla():
  scheme = schemes.RoPE() + schemes.T5(buckets=8, max_distance=20)
  tokens = jnp.arange(cases.LENGTH)[None] % 7
  rows = jnp.asarray([5, 9, 22])

  def run(implementation):
    changes = {'layers': 1, 'block': 8, 'window': 9}
    shape = dataclasses.replace(
      cases.SHAPE, implementation=implementation, **changes
    )
    net = transformer.Transformer(shape, scheme, vocabulary=cases.LENGTH)

    def loss(params):
      logits, _ = net.apply({'params': params}, tokens, rows=rows)
      return jax.nn.logsumexp(logits, axis=-1).sum(), logits

    return jax.jit(jax.grad(loss, has_aux=True))

  params = dict(cases.transformer(scheme)[1]['params'])
  del params['block_1']
  found, expected = (run(x)(params) for x in ('pallas', 'xla'))
  jax.tree.map(near, found, expected)


def test_from_a_cache_it_is_that_of_xla():
  shape = dataclasses.replace(cases.SHAPE, implementation='pallas')
  net = transformer.Transformer(shape, schemes.ALiBi(), vocabulary=cases.LENGTH)
  _, variables = cases.transformer(schemes.ALiBi())
  tokens = jnp.arange(4)[None]
  cache = transformer.empty_cache(net, 1, 4)
  text = str(jax.make_jaxpr(lambda: net.apply(variables, tokens, cache))())
  assert 'pallas_call' not in text
  assert 'pallas_call' in str(
    jax.make_jaxpr(lambda: net.apply(variables, tokens))()
  )


@pytest.mark.parametrize(
  'scheme, length',
  [
    (
      schemes.RoPE() + schemes.T5(),
      41,
    ),  # Tiles are powers of two all the same.
    *(pytest.param(s, 256, marks=pytest.mark.slow) for s in LOWERED),
  ],
  ids=str,
)
def test_lowers_for_a_tpu_and_for_a_gpu(scheme, length, monkeypatch):
  dims = schemes.Dims(256, 4, 64)
  params = jax.eval_shape(lambda: scheme.init_layer(jax.random.key(0), dims))
  q = jax.ShapeDtypeStruct((1, length, 4, 64), jnp.bfloat16)
  x = jax.ShapeDtypeStruct((1, length, 256), jnp.float32)
  # As on a machine that has either.
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  loss = lambda params, *args: in_one_kernel(scheme, params, *args).sum()
  grad = jax.jit(jax.grad(loss, argnums=(0, 1, 2, 3, 4)))
  traced = grad.trace(params, q, q, q, x)
  for platform, call in (('tpu', 'tpu_custom_call'), ('cuda', 'triton')):
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert text.count(call) >= 3
