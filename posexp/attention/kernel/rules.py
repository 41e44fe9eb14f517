"""What each operation does to the shape, the names and the planes of tiles."""

import functools

import jax.numpy as jnp
import numpy as np
from jax import lax

from posexp.attention.kernel import tiles
from posexp.attention.kernel.tiles import AXIS, COLUMN, HEAD, ROW, Program, Tile


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
  place = place if x.planes.shape[d] > 1 else 0
  # Reshaped, as NumPy hands out what is in an array without axes.
  planes = x.planes.take([place], d).reshape(of(x.planes.shape))
  return Tile(of(x.shape), of(x.names), planes)


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


def reduce_sum(program: Program, x: Tile, axes) -> Tile:
  """The sum over axes, which are gone."""
  for d in sorted(axes, reverse=True):
    name, n = x.names[d], x.shape[d]
    planes = x.planes
    if name == HEAD and not program.partial:
      raise tiles.refusal('a sum over heads')
    if name in AXIS:
      add = functools.partial(tiles.total, name=name, n=n)
      planes = tiles.each(add, planes)
    elif name is None:
      parts = tiles.pieces(tiles.spread(planes, d, n), d)
      planes = functools.reduce(tiles.plus_each, parts)
    x = drop(x._replace(planes=planes), d)
  return x


def concatenate(program: Program, parts, d: int, dtype) -> Tile:
  """As a sum: each part in its place among zeros."""
  ends = np.cumsum([p.shape[d] for p in parts])
  starts = [int(end) - p.shape[d] for end, p in zip(ends, parts)]
  size = int(ends[-1])
  placed = [
    embed(p, d, start, 1, size, dtype)
    for p, start in zip(parts, starts)
    if p.shape[d]
  ]
  return _added(program, placed)


def _added(program, parts):
  add = lambda a, b: tiles.combine(program, tiles.plus, (a, b))
  return functools.reduce(add, parts)


def reshape(program: Program, eqn, x: Tile) -> Tile:
  """Axes of size 1 come and go, and one may split in two or two merge."""
  shape, dtype = eqn.outvars[0].aval.shape, eqn.outvars[0].aval.dtype
  for d in reversed(range(len(x.shape))):
    x = drop(x, d) if x.shape[d] == 1 else x
  places = [d for d, n in enumerate(shape) if n != 1]
  sizes = tuple(shape[d] for d in places)
  differs = [d for d, (a, b) in enumerate(zip(x.shape, sizes)) if a != b]
  if differs and len(x.shape) > len(sizes):
    x = _merged(program, x, differs[0], dtype)
  elif differs:
    x = _parted(program, x, differs[0], sizes, dtype)
  if x.shape != sizes:
    raise tiles.refusal('a reshape of several axes')
  return broadcast(x, shape, places)


def _merged(program, x, d, dtype):
  """Axes d and d + 1 as one, with the name of the former."""
  first, second = x.shape[d : d + 2]
  if x.names[d + 1]:
    raise tiles.refusal('two axes of a tile as one')
  size, parts = first * second, [drop(x, d + 1, k) for k in range(second)]
  placed = [embed(p, d, k, second, size, dtype) for k, p in enumerate(parts)]
  return _added(program, placed)


def _parted(program, x, d, sizes, dtype):
  """One axis as two, of which the former keeps the name."""
  first, second = sizes[d : d + 2]
  parts = [take(x, d, k, second, first) for k in range(second)]
  return concatenate(program, [insert(p, d + 1) for p in parts], d + 1, dtype)


def dot_general(program: Program, eqn, a: Tile, b: Tile) -> Tile:
  (a_over, b_over), (a_batch, b_batch) = eqn.params['dimension_numbers']
  dtype = eqn.outvars[0].aval.dtype
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
  return reduce_sum(program, out, last)


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
      entry = tiles.along(entry, name, n) if name in AXIS else entry
    sides.append((entry, AXIS[x.names[-1]]))
  (x, x_axis), (y, y_axis) = sides
  out = product(x, y, x_axis, y_axis).astype(dtype)
  of_a = [ROW if name in AXIS else name for name in a.names[:-1]]
  of_b = [COLUMN if name in AXIS else name for name in b.names[batch:-1]]
  of_a[:batch] = [p or q for p, q in zip(a.names, b.names[:batch])]
  planes = tiles.objects((1,) * len(shape), [out])
  return tiles.tile(shape, (*of_a, *of_b), planes)
