"""The fused kernel in interpret mode is dense attention, gradients included."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import posexp
from posexp import blockwise, fused, schemes
from tests import cases

pytestmark = pytest.mark.usefixtures('quick_compiles')

# The largest error, as a share of the largest value or of 1: the same float32
# sums in another order, sums of 23 clocks among them; eight bits of mantissa on
# each of a few factors.
TOLERANCE = {jnp.dtype(jnp.float32): 1e-5, jnp.dtype(jnp.bfloat16): 0.03}

IN_BLOCKS = [s for s in cases.CASES if s.blockwise]
# Every kind of rotation, bias and clock once, two at a time where they add up.
FIRST = (
  schemes.RoPE(schemes.YaRN(4, 64), rotated=4, pairing='interleaved'),
  schemes.KERPLE(),
  schemes.Sandwich(),
  schemes.DynamicBias(hidden=8),
  schemes.LogLength(train_length=8, learned=True),
  schemes.RoPE(schemes.NTK(4)) + schemes.T5(),
  schemes.RoPE(schemes.YaRN(4, 64)) + schemes.FIRE(hidden=4),
  schemes.xPos() + schemes.PerOffset(16),
  schemes.RoPE() + schemes.Forgetting(),
  schemes.PoPE() + schemes.ALiBi(),
  schemes.Interpolate(schemes.PoPE() + schemes.LogLength(train_length=8), 4),
)
# The factors of LongRoPE are for a head of 8.
LOWERED = [s for s in IN_BLOCKS if 'LongRoPE' not in str(s)]
SCHEME = schemes.RoPE() + schemes.T5(buckets=8, max_distance=20)
BLOCK = 8


def dense(scheme, params, q, k, v, x, window=None):
  return posexp.attend(scheme, params, q, k, v, None, x, window)


def in_one_kernel(scheme, params, q, k, v, x, window=None):
  block = 8 if q.shape[1] < 128 else 'auto'
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
    for s in IN_BLOCKS
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


def test_all_that_is_quick_is_tested():
  assert set(FIRST) <= set(IN_BLOCKS)


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


@pytest.mark.parametrize('start, end', [(0, 11), (11, 12)])
def test_from_a_cache_with_room(start, end):
  # The keys of 40 slots, those from `end` on still empty.
  params, (q, k, v) = cases.layer_params(SCHEME), cases.queries()
  slots = jnp.arange(40, dtype=jnp.int32)[None]
  index = jnp.where(slots < end, slots, blockwise.EMPTY)
  room = lambda x: jnp.pad(x[:, :end], ((0, 0), (0, 40 - end), (0, 0), (0, 0)))
  at = lambda index: SCHEME.remap(index, None)
  here = slots[:, start:end]
  args = q[:, start:end], room(k), room(v), at(here), at(index), here, index
  attend = functools.partial(fused.attend, SCHEME, params)
  out = jax.jit(attend, static_argnums=(7, 8))(*args, 0.5, BLOCK)
  whole = posexp.attend(SCHEME, params, math.sqrt(2.0) * q, k, v)
  near(out, whole[:, start:end])


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


def test_vmap_over_what_is_learned():
  q, k, v, x, _ = inputs()
  several = [cases.layer_params(SCHEME, seed) for seed in range(3)]
  stacked = jax.tree.map(lambda *x: jnp.stack(x), *several)
  run = lambda params: in_one_kernel(SCHEME, params, q, k, v, x)
  together = jax.jit(jax.vmap(run))(stacked)
  for params, found in zip(several, together):
    near(found, dense(SCHEME, params, q, k, v, x))


@pytest.mark.parametrize('block', [0, -3, 2.0, 'auto', True, None])
def test_a_bad_block_is_named(block):
  q, index = jnp.zeros((1, 3, 1, 4)), jnp.arange(3)[None]
  with pytest.raises(ValueError, match=f'at least 1, got {block!r}'):
    fused.attend(
      schemes.NoPE(), {}, q, q, q, index, index, index, index, 1.0, block
    )


def test_whole_rows_cannot_be_cut():
  q, index = jnp.zeros((1, 3, 1, 4)), jnp.arange(3)[None]
  with pytest.raises(ValueError, match=r'StickBreaking\(\) changes whole rows'):
    fused.attend(
      schemes.StickBreaking(), {}, q, q, q, index, index, index, index, 1.0, 2
    )


@pytest.mark.parametrize(
  'scheme',
  [
    schemes.RoPE() + schemes.T5(),
    schemes.PoPE() + schemes.ALiBi(),
    schemes.FIRE(hidden=8),
    schemes.Forgetting(),
    *(pytest.param(s, marks=pytest.mark.slow) for s in LOWERED),
  ],
  ids=str,
)
def test_lowers_for_a_tpu_and_for_a_gpu(scheme):
  dims = schemes.Dims(256, 4, 64)
  params = jax.eval_shape(lambda: scheme.init_layer(jax.random.key(0), dims))
  q = jax.ShapeDtypeStruct((1, 256, 4, 64), jnp.bfloat16)
  x = jax.ShapeDtypeStruct((1, 256, 256), jnp.float32)
  loss = lambda params, *args: in_one_kernel(
    scheme, params, *args, interpret=False
  ).sum()
  grad = jax.jit(jax.grad(loss, argnums=(0, 1, 2, 3, 4)))
  traced = grad.trace(params, q, q, q, x)
  for platform, call in (('tpu', 'tpu_custom_call'), ('cuda', 'triton')):
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert text.count(call) >= 3
