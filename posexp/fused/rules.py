"""What each operation does to the shape, the names and the planes of tiles."""

import functools
import itertools

import jax.numpy as jnp
import numpy as np
from jax import lax

from posexp.fused import tiles
from posexp.fused.tiles import AXIS, COLUMN, HEAD, ROW, Program, Tile


def broadcast(x: Tile, shape, dimensions) -> Tile:
  """`lax.broadcast_in_dim`; nothing is repeated yet."""
  extent = [1] * len(shape)
  names: list[str | None] = [None] * len(shape)
  for n, d in enumerate(dimensions):
    extent[d] = x.planes.shape[n]
    if x.shape[n] == shape[d]:
      names[d] = x.names[n]
  return tiles.tile(shape, names, x.planes.reshape(extent))


def transpose(x: Tile, order) -> Tile:
  of = lambda values: tuple(values[d] for d in order)
  return Tile(of(x.shape), of(x.names), x.planes.transpose(order))


def insert(x: Tile, d: int) -> Tile:
  """A new axis of size 1."""
  of = lambda values, one: (*values[:d], one, *values[d:])
  return Tile(of(x.shape, 1), of(x.names, None), np.expand_dims(x.planes, d))


def drop(x: Tile, d: int, place: int = 0) -> Tile:
  """One place of an axis that is unrolled or of size 1."""
  of = lambda values: (*values[:d], *values[d + 1 :])
  planes = x.planes.take(place if x.planes.shape[d] > 1 else 0, d)
  return Tile(of(x.shape), of(x.names), _planes(planes))


def _planes(planes) -> np.ndarray:
  # NumPy hands out what is in an array without axes.
  return (
    planes if isinstance(planes, np.ndarray) else tiles.objects((), [planes])
  )


def resized(x: Tile, d: int, size: int, planes: np.ndarray) -> Tile:
  return tiles.tile((*x.shape[:d], size, *x.shape[d + 1 :]), x.names, planes)


def take(x: Tile, d: int, start: int, step: int, size: int) -> Tile:
  """Places start, start + step, ... of an axis."""
  if size == x.shape[d]:
    return x
  name, planes = x.names[d], x.planes
  if name == HEAD:
    raise tiles.refusal('some of the heads')
  if name is None or size == 0:
    every = [start + step * k for k in range(size)]
    planes = planes.take(every if planes.shape[d] > 1 else every and [0], d)
  else:
    planes = _moved(x, d, size, lambda old, new: old == start + step * new)
  return resized(x, d, size, planes)


def embed(x: Tile, d: int, start: int, step: int, size: int, dtype) -> Tile:
  """The inverse of `take`: zeros elsewhere."""
  n, name = x.shape[d], x.names[d]
  if size == n:
    return x
  if name == HEAD:
    raise tiles.refusal('more than the heads')
  if name and n:
    planes = _moved(x, d, size, lambda old, new: new == start + step * old)
    return resized(x, d, size, planes)
  extent = (*x.planes.shape[:d], size, *x.planes.shape[d + 1 :])
  zero = np.zeros((), dtype)[()]
  planes = tiles.objects(extent, [zero] * int(np.prod(extent)))
  place = [slice(None)] * len(extent)
  place[d] = slice(start, start + step * (n - 1) + 1, step) if n else slice(0)
  planes[tuple(place)] = tiles.spread(x.planes, d, n)
  return resized(x, d, size, planes)


def _moved(x, d, size, pairs):
  """The places of a named axis moved, by a product with zeros and ones.

  Kernels have no slices of values, and a product is exact: one term is not 0.
  """
  name, n = x.names[d], x.shape[d]
  old = lax.broadcasted_iota(jnp.int32, (n, size), 0)
  new = lax.broadcasted_iota(jnp.int32, (n, size), 1)

  def one(entry):
    entry = tiles.along(entry, name, n)
    matrix = pairs(old, new).astype(entry.dtype)
    if name == ROW:
      return product(matrix, entry, 0, 0)
    return product(entry, matrix, 1, 0)

  return tiles.each(one, x.planes)


def product(a, b, a_axis: int, b_axis: int):
  """A product of matrices over an axis of each, all digits of it kept."""
  # Mosaic knows high precision for float32 only.
  best = lax.Precision.HIGHEST if a.dtype == jnp.float32 else None
  dims = (((a_axis,), (b_axis,)), ((), ()))
  out = lax.dot_general(
    a, b, dims, precision=best, preferred_element_type=jnp.float32
  )
  return out.astype(a.dtype)


def reduce_sum(program: Program, x: Tile, d: int) -> Tile:
  """The sum over an axis, which is gone."""
  name, n = x.names[d], x.shape[d]
  if name == HEAD and not program.partial:
    raise tiles.refusal('a sum over heads')
  if name in AXIS:
    planes = tiles.each(lambda e: tiles.total(e, name, n), x.planes)
  elif name == HEAD:
    planes = x.planes
  else:
    add = lambda a, b: tiles.each(tiles.plus, a, b)
    planes = functools.reduce(
      add, tiles.pieces(tiles.spread(x.planes, d, n), d)
    )
  return drop(Tile(x.shape, x.names, planes), d)


def concatenate(program: Program, parts, d: int, dtype) -> Tile:
  parts = [p for p in parts if p.shape[d]]
  size = sum(p.shape[d] for p in parts)
  names = _names_beside(parts, d)
  parts = [tiles.conform(program, p, names) for p in parts]
  if names[d] is None:
    spread = [tiles.spread(p.planes, d, p.shape[d]) for p in parts]
    extent = np.broadcast_shapes(
      *((*p.shape[:d], 1, *p.shape[d + 1 :]) for p in spread)
    )
    fit = lambda p: np.broadcast_to(
      p, (*extent[:d], p.shape[d], *extent[d + 1 :])
    )
    joined = np.concatenate([fit(p) for p in spread], d)
    return tiles.tile(
      (*parts[0].shape[:d], size, *parts[0].shape[d + 1 :]), names, joined
    )
  starts = np.cumsum([0, *(p.shape[d] for p in parts)])
  placed = [
    embed(p, d, int(start), 1, size, dtype) for p, start in zip(parts, starts)
  ]
  return functools.reduce(
    lambda a, b: tiles.combine(program, tiles.plus, (a, b)), placed
  )


def _names_beside(parts, d):
  # As if all were as long as the first along the axis where they differ.
  long = [Tile(parts[0].shape, p.names, p.planes) for p in parts]
  return tiles.common(long)


def reshape(program: Program, x: Tile, shape, dtype) -> Tile:
  """Axes of size 1 come and go, and one may split in two or two merge."""
  old = [d for d, n in enumerate(x.shape) if n != 1]
  new = [n for n in shape if n != 1]
  sizes = [x.shape[d] for d in old]
  if sizes == new:
    kept = [d for d, n in enumerate(shape) if n != 1]
    for d in reversed(range(len(x.shape))):
      x = x if d in old else drop(x, d)
    return broadcast(x, shape, kept)
  n = next(
    n for n, (a, b) in enumerate(itertools.zip_longest(sizes, new)) if a != b
  )
  if len(new) == len(old) + 1:
    x = _split(program, x, old[n], new[n : n + 2], dtype)
  elif len(new) == len(old) - 1:
    for d in range(old[n] + 1, old[n + 1]):
      x = drop(x, d)
    x = _merged(program, x, old[n], dtype)
  else:
    raise tiles.refusal('a reshape of several axes')
  return reshape(program, x, shape, dtype)


def _split(program, x, d, sizes, dtype):
  """One axis as two, of which the longer keeps a name."""
  first, second = sizes
  if first >= second:
    parts = [take(x, d, k, second, first) for k in range(second)]
    d += 1
  else:
    parts = [take(x, d, k * second, 1, second) for k in range(first)]
  return concatenate(program, [insert(p, d) for p in parts], d, dtype)


def _merged(program, x, d, dtype):
  """Axes d and d + 1 as one, with the name of either."""
  first, second = x.shape[d : d + 2]
  size = first * second
  if x.names[d + 1] is None:
    parts = [drop(x, d + 1, k) for k in range(second)]
    parts = [embed(p, d, k, second, size, dtype) for k, p in enumerate(parts)]
  elif x.names[d] is None:
    parts = [drop(x, d, k) for k in range(first)]
    parts = [
      embed(p, d, k * second, 1, size, dtype) for k, p in enumerate(parts)
    ]
  else:
    raise tiles.refusal('two axes of a tile as one')
  return functools.reduce(
    lambda a, b: tiles.combine(program, tiles.plus, (a, b)), parts
  )


def dot_general(program: Program, a: Tile, b: Tile, dimensions, dtype) -> Tile:
  (a_over, b_over), (a_batch, b_batch) = dimensions
  a = _sorted(a, a_batch, a_over)
  b = _sorted(b, b_batch, b_over)
  batch, over = len(a_batch), len(a_over)
  a_end, b_end = len(a.shape) - over, len(b.shape) - over
  shape = (*a.shape[:a_end], *b.shape[batch:b_end])
  entries = a.planes.size == b.planes.size == 1
  if entries and over == 1 and a.names[-1] in AXIS and b.names[-1] in AXIS:
    return _matrices(a, b, batch, shape, dtype)
  last = range(len(shape), len(shape) + over)
  a = broadcast(a, (*shape, *a.shape[a_end:]), [*range(a_end), *last])
  free = range(a_end, len(shape))
  b = broadcast(b, a.shape, [*range(batch), *free, *last])
  times = lambda x, y: lax.mul(*(e.astype(dtype) for e in tiles.alike(x, y)))
  out = tiles.combine(program, times, (a, b))
  for d in reversed(last):
    out = reduce_sum(program, out, d)
  return out


def _sorted(x, batch, over):
  """The axes of a batch first, those that are summed over last."""
  free = [d for d in range(len(x.shape)) if d not in (*batch, *over)]
  return transpose(x, (*batch, *free, *over))


def _matrices(a, b, batch, shape, dtype):
  """The sum over the last axis of both as one product of matrices."""
  sides = []
  for x in (a, b):
    entry = x.planes.reshape(-1)[0]
    for n, name in zip(x.shape, x.names):
      if name in AXIS:
        entry = tiles.along(entry, name, n)
    sides.append((entry, AXIS[x.names[-1]]))
  # What were columns of a stay columns, as in the rest of the function.
  names = [ROW, COLUMN]
  if COLUMN in a.names[:-1]:
    names.reverse()
    sides.reverse()
  (x, x_axis), (y, y_axis) = sides
  out = product(x, y, x_axis, y_axis).astype(dtype)
  of_a = [names[0] if name in AXIS else name for name in a.names[:-1]]
  of_b = [names[1] if name in AXIS else name for name in b.names[batch:-1]]
  of_a[:batch] = [p or q for p, q in zip(a.names, b.names[:batch])]
  planes = tiles.objects((1,) * len(shape), [out])
  return tiles.tile(shape, (*of_a, *of_b), planes)
