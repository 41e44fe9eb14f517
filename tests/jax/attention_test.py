"""Attention: blocks, caches, dtypes and clocks that depend on the content."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import posexp
from posexp import schemes
from posexp.attention import attend, cudnn, dispatch, placed
from posexp.attention import cache as cache_lib
from posexp.models import memory
from tests import cases

SCHEME = schemes.RoPE() + schemes.T5(buckets=8, max_distance=20)


@dataclasses.dataclass(frozen=True)
class Gate(schemes.Scheme):
  """The forgetting gate: c_i - c_j, c a running sum learned from the content.

  Its clock has a leaf with heads and a gradient, unlike any in the catalogue.
  """

  def init_layer(self, key, dims):
    return {'w_DxH': jax.random.normal(key, (dims.width, dims.heads))}

  def locate(self, params, x_BxLxD, at, before):
    del at
    gate = jax.nn.log_sigmoid(x_BxLxD @ params['w_DxH'])
    return jnp.cumsum(gate, axis=1)

  def bias(self, params, head, q_at, k_at):
    del params, head
    return q_at - k_at


@dataclasses.dataclass(frozen=True)
class Rows(schemes.Scheme):
  """A scheme that changes whole rows of logits."""

  blockwise = False

  def rescore(self, params, logits_BxHxQxK, q_BxQxHxE, q_at, k_at):
    del params, q_BxQxHxE, q_at, k_at
    return 2 * logits_BxHxQxK


# The same float32 sums in another order.
close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('block', [1, 22, 1000])
def test_any_block_size(block):
  params, arrays = cases.layer_params(SCHEME), cases.queries(4)
  dense = cases.value_and_grads(SCHEME, params, arrays, None)
  jax.tree.map(
    close, cases.value_and_grads(SCHEME, params, arrays, block), dense
  )


def test_a_batch_of_one_token():
  params, arrays = cases.layer_params(SCHEME), cases.queries(4)
  arrays = tuple(x[:, :1] for x in arrays)
  dense = cases.value_and_grads(SCHEME, params, arrays, None)
  jax.tree.map(close, cases.value_and_grads(SCHEME, params, arrays, 4), dense)
  # A single token sees itself alone.
  np.testing.assert_array_equal(dense[1], arrays[2])


def attend_with_gate(params, x_BxLxD, q, k, v, block):
  scheme = Gate() + schemes.ALiBi()
  return posexp.attend(scheme, params, q, k, v, block, x_BxLxD)


def test_a_clock_with_heads_and_a_gradient():
  params, x = {'Gate': cases.layer_params(Gate())}, cases.stream()
  q, k, v, w = cases.queries(4)

  def grads(block):
    loss = lambda *args: jnp.sum(w * attend_with_gate(*args, block))
    return jax.value_and_grad(loss, argnums=(0, 1, 2, 3, 4))(params, x, q, k, v)

  dense = grads(None)
  assert np.abs(dense[1][0]['Gate']['w_DxH']).max() > 0.1
  # Sums of 23 gates, each of a few nats, are rounded before they are
  # subtracted.
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4),
    grads(5),
    dense,
  )


def test_a_content_clock_without_content_is_a_sentence():
  with pytest.raises(ValueError, match='give x_BxLxD'):
    attend_with_gate({}, None, *cases.queries(3), None)


def test_vmap_over_learned_biases():
  stacked = jax.tree.map(
    lambda *x: jnp.stack(x),
    *(cases.layer_params(SCHEME, seed) for seed in range(3)),
  )
  arrays = cases.queries(4)
  run = lambda params: cases.value_and_grads(SCHEME, params, arrays, 5)
  together, alone = jax.vmap(run)(stacked), run(cases.layer_params(SCHEME, 2))
  jax.tree.map(lambda a, b: close(a[2], b), together, alone)


@pytest.mark.parametrize('block', [None, 5])
def test_bfloat16_stays_near_float32(block):
  params, arrays = cases.layer_params(SCHEME), cases.queries(4)
  wide = cases.value_and_grads(SCHEME, params, arrays, block)
  half = tuple(x.astype(jnp.bfloat16) for x in arrays[:3])
  grads, out = cases.value_and_grads(
    SCHEME, params, (*half, arrays[3].astype(jnp.bfloat16)), block
  )
  assert out.dtype == jnp.bfloat16
  assert [g.dtype for g in grads[1:4]] == [jnp.bfloat16] * 3
  assert jax.tree.leaves(grads[0])[0].dtype == jnp.float32

  def near(a, b):
    # Eight bits of mantissa on each of a few factors, relative to the largest.
    error = np.abs(np.asarray(a, np.float32) - np.asarray(b))
    assert error.max() < 0.03 * np.abs(b).max()

  # The content is not used by this scheme: its gradient is 0.
  jax.tree.map(near, (grads[:4], out), (wide[0][:4], wide[1]))


def test_blocks_that_no_query_sees_are_not_computed():
  # A masked value still costs a product, and 0 * nan would be seen at once.
  params, (q, k, v) = cases.layer_params(SCHEME), cases.queries()
  v = v.at[:, 10:].set(jnp.nan)
  assert np.isnan(posexp.attend(SCHEME, params, q, k, v)).all()
  out = posexp.attend(SCHEME, params, q, k, v, block=5)
  assert np.isfinite(out[:, :10]).all()
  assert np.isnan(out[:, 10:]).all()


def saved_bytes(block, length):
  """The bytes that the forward pass keeps for the backward pass."""
  q = jax.ShapeDtypeStruct((1, length, 2, 8), jnp.float32)
  params = cases.layer_params(SCHEME)
  out = lambda *args: jax.vjp(
    lambda *a: posexp.attend(SCHEME, *a, block=block), params, *args
  )[1]
  kept = jax.tree.leaves(jax.eval_shape(out, q, q, q))
  return sum(x.size * x.dtype.itemsize for x in kept)


def largest_array(block, length):
  """The most elements of any array in forward and backward pass."""
  x = jnp.zeros((1, length, 2, 8))
  loss = lambda *a: jnp.sum(posexp.attend(SCHEME, *a, block=block))
  grad = jax.grad(loss, argnums=(0, 1, 2, 3))
  jaxpr = jax.make_jaxpr(grad)(cases.layer_params(SCHEME), x, x, x)
  return max(_sizes(jaxpr.jaxpr))


def _sizes(jaxpr):
  for equation in jaxpr.eqns:
    yield from (v.aval.size for v in equation.outvars)
    for inner in memory.programs(equation):
      yield from _sizes(inner)


def test_memory_is_linear_in_length():
  small, large = 640, 2560
  assert saved_bytes(8, large) < 4.1 * saved_bytes(8, small)
  assert saved_bytes(None, large) > 12 * saved_bytes(None, small)
  assert largest_array(8, large) < 4.1 * largest_array(8, small)
  assert largest_array(None, large) > 12 * largest_array(None, small)


def test_auto_is_dense_when_short_and_blockwise_when_long(monkeypatch):
  short, long = dispatch.DENSE_UP_TO, 1025
  assert largest_array('auto', short) == largest_array(None, short)
  assert largest_array('auto', long) == largest_array(128, long)
  size = functools.partial(dispatch.block_size, SCHEME, 'auto')
  sizes = lambda *lengths: [size(n, n) for n in lengths]
  assert sizes(129, 10**6) == [128, 128]
  assert size(1, 10**6) is None  # A token that is decoded.
  monkeypatch.setattr(jax, 'device_count', lambda: 1)
  assert sizes(129, 1023, 1024, 2047, 2048, 10**6) == [
    *(128, 128, 256, 256, 512, 512)
  ]
  q = jnp.zeros((1, long, 1, 4))
  assert posexp.attend(Rows(), {}, q, q, q, block='auto').shape == q.shape


@pytest.mark.parametrize('kind', list(AxisType)[:2])
def test_heads_are_spread_over_devices(kind):
  """As jit finds them; what a head has of a bias comes out the same."""
  q, k, v = (cases.normal(n, 1, 70, 2, 8) for n in range(3))
  params = SCHEME.init_layer(jax.random.key(3), schemes.Dims(16, 2, 8))
  both = jax.jit(
    jax.value_and_grad(
      lambda *args: (posexp.attend(SCHEME, *args, block=16) ** 2).sum(),
      argnums=(0, 1, 2, 3),
    )
  )
  found = both(params, q, k, v)
  mesh = jax.make_mesh((2,), ('head',), axis_types=(kind,))
  heads = NamedSharding(mesh, PartitionSpec(None, None, 'head'))
  with jax.set_mesh(mesh):
    spread = both(params, *jax.device_put((q, k, v), heads))
  assert spread[1][1].sharding.spec[2] == 'head'
  jax.tree.map(close, jax.device_get(spread), found)


@pytest.mark.parametrize('window', [None, 7])
def test_a_gpu_uses_the_library_where_there_is_no_bias(monkeypatch, window):
  length, asked = dispatch.DENSE_UP_TO + 1, []
  q, k, v = (
    cases.normal(n, 1, length, 2, 8).astype(jnp.bfloat16) for n in range(3)
  )
  run = lambda scheme, block: posexp.attend(
    scheme, {}, q, k, v, block, window=window
  )
  dense = run(schemes.RoPE(), None)
  real = jax.nn.dot_product_attention

  def counted(*args, implementation, **kwargs):
    asked.append(implementation)
    with jax.numpy_dtype_promotion('standard'):
      return real(*args, **kwargs)  # XLA's, on a machine without cuDNN.

  monkeypatch.setattr(cudnn, 'capability', lambda: cudnn.CAPABILITY)
  monkeypatch.setattr(jax.nn, 'dot_product_attention', counted)
  found = run(schemes.RoPE(), 'auto')
  assert asked == ['cudnn']
  error = np.abs(found.astype(jnp.float32) - dense.astype(jnp.float32))
  assert error.max() < 0.03
  # With a bias, in float32 or in blocks that were asked for, it is not.
  run(schemes.ALiBi(), 'auto')
  run(schemes.RoPE(), 64)
  q, k, v = (x.astype(jnp.float32) for x in (q, k, v))
  run(schemes.RoPE(), 'auto')
  assert asked == ['cudnn']


@pytest.mark.skipif(
  jax.default_backend() != 'gpu', reason='needs an NVIDIA GPU'
)
def test_cudnn_agrees_with_dense():
  q, k, v = (
    cases.normal(n, 1, 300, 2, 64).astype(jnp.bfloat16) for n in range(3)
  )
  dense, found = (
    posexp.attend(schemes.RoPE(), {}, q, k, v, block).astype(jnp.float32)
    for block in (None, 'auto')
  )
  assert np.abs(found - dense).max() < 0.03


@pytest.mark.parametrize('block', [0, -3, 2.0, 'big', True])
def test_a_bad_block_is_named(block):
  q = jnp.zeros((1, 3, 1, 4))
  with pytest.raises(ValueError, match=f'at least 1, got {block!r}'):
    posexp.attend(schemes.NoPE(), {}, q, q, q, block=block)


@pytest.mark.parametrize('window', [0, -2])
def test_a_window_without_tokens_is_named(window):
  q = jnp.zeros((1, 3, 1, 4))
  with pytest.raises(ValueError, match=f'at least 1, got {window}: use None'):
    posexp.attend(schemes.NoPE(), {}, q, q, q, window=window)


def test_weights_that_are_no_softmax_have_no_blocks():
  with pytest.raises(TypeError, match='Loud has normalised=False, but blocks'):
    type('Loud', (schemes.Scheme,), {'normalised': False})


@pytest.mark.parametrize('scheme', [Rows(), Rows() + schemes.ALiBi()], ids=str)
def test_whole_rows_cannot_be_cut(scheme):
  q = jnp.zeros((1, 3, 1, 4))
  with pytest.raises(ValueError, match=r'Rows\(\).* got block=2'):
    posexp.attend(scheme, {}, q, q, q, block=2)


def test_rescore_acts_on_dense_logits():
  q, k, v = cases.queries()
  doubled = posexp.attend(Rows(), {}, q, k, v)
  close(doubled, posexp.attend(schemes.NoPE(), {}, 2 * q, k, v))


@pytest.mark.parametrize('block', [None, 4])
def test_from_a_cache_with_room(block):
  # Keys in a half-filled cache, as a chunk of a prefill sees them.
  params, (q, k, v) = cases.layer_params(SCHEME), cases.queries()
  index = jnp.arange(cases.LENGTH, dtype=jnp.int32)[None]
  whole = posexp.attend(SCHEME, params, q, k, v)
  cache = cache_lib.empty_cache(
    SCHEME, schemes.Dims(16, 2, 8), 2, 40, jnp.float32
  )
  for start, end in ((0, 11), (11, 12), (12, cases.LENGTH)):
    part = lambda x, s=start, e=end: x[:, s:e]
    at = SCHEME.remap(part(index), None)
    queries, keys = (
      placed.place(SCHEME, params, side, part(x), at, part(index))
      for side, x in (('q', q), ('k', k))
    )
    cache = cache_lib.extend(cache, keys, placed.heads_first(part(v)))
    out = attend.attend_placed(SCHEME, params, queries, *cache, block=block)
    close(out, part(whole))
  empty = cache.keys.index_1xL[0, cases.LENGTH :]
  assert empty.tolist() == [placed.EMPTY] * 17


def test_a_full_cache_does_not_overwrite_in_silence():
  scheme = schemes.NoPE()
  cache = cache_lib.empty_cache(
    scheme, schemes.Dims(4, 1, 4), 1, 3, jnp.float32
  )

  @jax.jit
  def write(cache, index):
    k = jnp.ones((1, 1, index.shape[1], 4))
    return cache_lib.extend(cache, placed.Placed(k, index, index), k)

  index = jnp.arange(2, dtype=jnp.int32)[None]
  assert np.isfinite(write(cache, index + 1).v_BxHxMxE).all()
  assert np.isnan(write(cache, index + 2).v_BxHxMxE).any()
  with pytest.raises(ValueError, match='3 slots but 4 tokens'):
    write(cache, jnp.arange(4, dtype=jnp.int32)[None])
