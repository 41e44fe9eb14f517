"""Attention cut into tiles: which of them meet, and the bias of a tile."""

import functools

import jax
import jax.numpy as jnp

from posexp import schemes
from posexp.attention import placed

Array = jax.Array


def cut(x: Array, size: int, axis: int = 2) -> Array:
  """Cut an axis into tiles, which come first; the last is filled up.

  B x H x L x E to N x B x H x size x E.
  """
  missing = -x.shape[axis] % size
  if missing:
    last = jax.lax.slice_in_dim(x, x.shape[axis] - 1, None, axis=axis)
    x = jnp.concatenate([x, jnp.repeat(last, missing, axis)], axis)
  shape = *x.shape[:axis], -1, size, *x.shape[axis + 1 :]
  return jnp.moveaxis(x.reshape(shape), axis, 0)


def join(x_NxBxHxLxE: Array, length: int) -> Array:
  """Undo `cut`: B x H x length x E."""
  x = jnp.moveaxis(x_NxBxHxLxE, 0, 2)
  return x.reshape(*x.shape[:2], -1, x.shape[4])[:, :, :length]


def cut_placed(tokens: placed.Placed, size: int) -> placed.Placed:
  """Cut queries or keys into tiles; what fills the last is its last token."""
  along = functools.partial(cut, size=size, axis=1)
  x = cut(tokens.x_BxHxLxE, size)
  at, index = jax.tree.map(along, (tokens.at, tokens.index_1xL))
  return placed.Placed(x, at, index)


def cut_keys(keys: placed.Placed, size: int) -> placed.Placed:
  """Cut keys into tiles; what fills the last is after every query."""
  length, tiles = keys.index_1xL.shape[1], cut_placed(keys, size)
  number = jnp.arange(tiles.index_1xL.size).reshape(tiles.index_1xL.shape)
  index = jnp.where(number < length, tiles.index_1xL, placed.EMPTY)
  return tiles._replace(index_1xL=index)


def reach(
  rows: placed.Placed, columns: placed.Placed, window: int | None
) -> tuple[Array, Array]:
  """Return the first tile of keys that each tile of queries sees, and the end.

  Keys are in order, so those that it sees are in between. A table of all pairs
  of tiles would be quadratic in the length.
  """
  q = rows.index_1xL.reshape(rows.index_1xL.shape[0], -1)
  k = columns.index_1xL.reshape(columns.index_1xL.shape[0], -1)
  count = functools.partial(jnp.searchsorted, side='right')
  end = count(k.min(1), q.max(1))
  if window is None:
    return jnp.zeros_like(end), end
  return count(k.max(1), q.min(1) - window), end


def diagonals(
  scheme: schemes.Scheme,
  params: schemes.Params,
  heads: int,
  rows: placed.Placed,
  columns: placed.Placed,
) -> Array:
  """Compute the bias of each diagonal of square tiles, D x H x 2 size - 1.

  For a bias that depends on distance alone, and queries and keys of which none
  is left out. Tiles i of M and j of N are on diagonal i - j + N - 1, and the
  distances of a diagonal are in falling order. That is linear in the length.
  """
  m, _, size = rows.index_1xL.shape
  n = columns.index_1xL.shape[0]
  first = rows.index_1xL[0, 0, 0] - columns.index_1xL[0, 0, 0]
  far_D = first + (jnp.arange(m + n - 1) - n + 2) * size - 1
  distance_DxW = far_D[:, None] - jnp.arange(2 * size - 1)[None]
  bias = placed.table(scheme, params, heads, distance_DxW.reshape(-1))
  return bias.reshape(heads, *distance_DxW.shape).swapaxes(0, 1)


def skewed(bias_HxW: Array) -> Array:
  """Spread the bias of a diagonal over a tile, H x size x size.

  From w_0 .. w_2n-2 to rows w_n-1 .. w_2n-2, then w_n-2 .. w_2n-3, and so on.

  >>> skewed(jnp.array([[3, 2, 1, 0, -1]])).tolist()
  [[[1, 0, -1], [2, 1, 0], [3, 2, 1]]]
  """
  size = (bias_HxW.shape[1] + 1) // 2

  def row(first):
    return jax.lax.dynamic_slice_in_dim(bias_HxW, first, size, 1)

  return jax.vmap(row, out_axes=1)(jnp.arange(size)[::-1])
