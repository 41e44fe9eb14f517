"""Blocks against dense attention: sizes, windows, one token, half precision.

The largest difference that each case is allowed, relative to the largest
number of the dense result, is in TOLERANCE.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import posexp
from posexp import schemes
from posexp.attention import attend, placed, tiles
from tests import cases

# No multiple of any block, and longer than a few of most.
LENGTH = 150
SIZES = (31, 64, 123, 512)

# The same float32 sums in another order. Forgetting subtracts two sums of 150
# gates, and bfloat16 has eight bits of mantissa in each of a few factors.
TOLERANCE = {'float32': 2e-5, 'clock': 1e-4, 'bfloat16': 0.03}

BLOCKWISE = [s for s in cases.CASES if s.blockwise]


def kind(scheme):
  return 'clock' if 'locate' in scheme.hooks() else 'float32'


def arrays(length=LENGTH, dtype=jnp.float32):
  """Queries, keys, values, a weight for the loss, and the content."""
  heads = 1, length, cases.DIMS.heads, cases.DIMS.head_width
  drawn = [cases.normal(n, *heads).astype(dtype) for n in range(4)]
  return *drawn, cases.normal(6, 1, length, cases.DIMS.width)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def value_and_grads(scheme, block, window, params, qkvw, content):
  """Attention, and the gradients of a random projection of it."""
  *qkv, w = qkvw

  def loss(params, content, *qkv):
    out = posexp.attend(scheme, params, *qkv, block, content, window)
    return jnp.sum((w * out).astype(jnp.float32)), out

  grad = jax.grad(loss, argnums=tuple(range(5)), has_aux=True)
  return grad(params, content, *qkv)


def agree(scheme, block, window, *, kind, length=LENGTH):
  """Values and all gradients are those of dense attention."""
  dtype = jnp.bfloat16 if kind == 'bfloat16' else jnp.float32
  params, (*qkvw, content) = cases.layer_params(scheme), arrays(length, dtype)
  dense, found = (
    value_and_grads(scheme, b, window, params, qkvw, content)
    for b in (None, block)
  )

  def near(a, b):
    a, b = (np.asarray(x, np.float64) for x in (a, b))
    # What adds the same to all logits has a gradient of 0: terms of order one
    # that cancel, up to rounding in either. Others are compared as they are.
    size = np.abs(b).max()
    scale = 1.0 if size < 1e-5 else max(size, 0.1)
    assert np.abs(a - b).max() <= TOLERANCE[kind] * scale

  jax.tree.map(near, found, dense)


# One of each way to go through the blocks, for every size; with `-m slow`
# every scheme. Law 10 has all of them, at another size.
FEW = (
  schemes.RoPE(),
  schemes.ALiBi(),
  schemes.RoPE(schemes.NTK(4)) + schemes.T5(),
  schemes.RoPE() + schemes.Forgetting(),
)
EVERY = [
  pytest.param(scheme, size, marks=() if quick else pytest.mark.slow)
  for scheme in BLOCKWISE
  for size in SIZES
  for quick in [scheme in FEW and FEW.index(scheme) == SIZES.index(size)]
]


@pytest.mark.parametrize('scheme, block', EVERY, ids=str)
def test_every_scheme(scheme, block):
  agree(scheme, block, None, kind=kind(scheme))


@pytest.mark.parametrize('window', [1, 40, 64])
@pytest.mark.parametrize('scheme', FEW[1:3], ids=str)
def test_windows(scheme, window):
  agree(scheme, 32, window, kind=kind(scheme))


@pytest.mark.parametrize('scheme', FEW[1:3], ids=str)
def test_bfloat16(scheme):
  agree(scheme, 64, 100, kind='bfloat16')


@pytest.mark.parametrize('length, block', [(1, 31), (3, 2)])
def test_a_few_tokens(length, block):
  for scheme in FEW[1:3]:
    agree(scheme, block, None, kind='float32', length=length)


def test_a_window_is_the_last_tokens():
  q, k, v = (x[:, :9] for x in cases.queries())
  out = posexp.attend(schemes.ALiBi(), {}, q, k, v, window=3)
  for i in range(9):
    # A query alone with what it sees, and with nothing else.
    near = slice(max(0, i - 2), i + 1)
    alone = posexp.attend(schemes.ALiBi(), {}, *(x[:, near] for x in (q, k, v)))
    np.testing.assert_allclose(out[:, i], alone[:, -1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('window', [None, 1, 5, 8])
@pytest.mark.parametrize('start, queries', [(0, 16), (9, 7), (12, 4), (3, 12)])
def test_tiles_that_are_seen_are_visited(window, start, queries):
  size, keys = 4, 16
  place = lambda index_1xL: placed.Placed(
    jnp.zeros((1, 1, index_1xL.shape[1], 1)), index_1xL, index_1xL
  )
  index = jnp.arange(keys, dtype=jnp.int32)[None]
  rows = tiles.cut_placed(place(start + index[:, :queries]), size)
  columns = tiles.cut_keys(place(index), size)
  first_M, end_M = map(np.asarray, tiles.reach(rows, columns, window))
  i = np.asarray(rows.index_1xL).reshape(-1, 1)
  j = np.arange(keys)
  seen = j <= i
  if window is not None:
    seen &= j > i - window
  some = seen.reshape(-1, size, keys // size, size).any((1, 3))
  tile = np.arange(keys // size)
  visited = (tile >= first_M[:, None]) & (tile < end_M[:, None])
  np.testing.assert_array_equal(visited, some)


@pytest.mark.parametrize('window', [None, 20])
def test_a_chunk_of_a_prefill(window):
  # Queries that begin in the middle of a cache, its bias by diagonals.
  scheme, params = FEW[2], cases.layer_params(FEW[2])
  q, k, v = cases.queries()
  k, v = (jnp.concatenate([x, x[:, ::-1]], axis=1) for x in (k, v))
  index = jnp.arange(k.shape[1], dtype=jnp.int32)[None]
  late = index[:, -q.shape[1] :]
  place = functools.partial(placed.place, scheme, params)
  run = functools.partial(
    attend.attend_placed,
    scheme,
    params,
    place('q', q, scheme.remap(late, None), late),
    place('k', k, scheme.remap(index, None), index),
    placed.heads_first(v),
    window=window,
    whole=True,
  )
  np.testing.assert_allclose(
    run(block=5), run(block=None), rtol=1e-5, atol=1e-5
  )
