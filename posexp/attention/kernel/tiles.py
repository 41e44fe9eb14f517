"""What one program of a kernel sees of an array.

The compilers behind Pallas know elementwise operations, sums and products of
matrices, and little else. So the axes that matter have a name: the rows and the
columns of the matrices in a program, and its head, of which it sees one. Every
other axis (the buckets of T5, the hidden units of FIRE) is unrolled: an array
with such an axis is several matrices, or several numbers.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from posexp import component

Array = jax.Array

ROW, COLUMN, HEAD = 'row', 'column', 'head'
AXIS = {ROW: 0, COLUMN: 1}
Names = tuple[str | None, ...]


class Program(NamedTuple):
  """Where a function is evaluated: at a head, 1 x 1, int32.

  Partial sums over heads may be left to the sum over programs, as those of
  gradients may.
  """

  head: Array
  partial: bool = False


class Tile(NamedTuple):
  """What a program sees of an array.

  The shape is that of the array, at the size of a tile and with all heads. Each
  axis has a name, ROW, COLUMN, HEAD or None, which all of size 1 have. Planes
  have an axis for each axis of the array, 1 long where it has a name or nothing
  changes along it. An entry is a number (of NumPy, known), rows x columns,
  where each may be 1, or a `Row`.
  """

  shape: tuple[int, ...]
  names: Names
  planes: np.ndarray


@dataclasses.dataclass(frozen=True)
class Row:
  """A row of a table, 1 x columns, that is read by its number where it is used.

  As wide as `size`.
  """

  read: Callable[[Any], Array]
  number: int
  size: int


def tile(shape: Sequence[int], names: Sequence, planes: np.ndarray) -> Tile:
  """A tile; an axis of size 1 has no name."""
  kept = tuple(name if n > 1 else None for n, name in zip(shape, names))
  return Tile(tuple(shape), kept, planes)


def leaf(shape: Sequence[int], names: Sequence, items: Sequence[Any]) -> Tile:
  """A tile from what is read: an entry for each place on axes without name."""
  return tile(shape, names, objects(_extent(shape, names), items))


def constant(value: Any) -> Tile:
  """A tile of numbers."""
  value = np.asarray(value)
  planes = objects(value.shape, list(value.reshape(-1)))
  return Tile(value.shape, (None,) * value.ndim, planes)


def entries(program: Program, x: Tile, names: Sequence) -> list[Array]:
  """The inverse of `leaf`: entries as wide as the named axes, in order."""
  kept = tuple(name if n > 1 else None for n, name in zip(x.shape, names))
  planes = np.broadcast_to(
    conform(program, x, kept).planes, _extent(x.shape, names)
  )
  size = [1, 1]
  for n, name in zip(x.shape, names):
    if name in AXIS:
      size[AXIS[name]] = n
  return [full(loaded(e), tuple(size)) for e in planes.reshape(-1)]


def _extent(shape, names):
  return [1 if name else n for n, name in zip(shape, names)]


def refusal(what: str) -> component.UserError:
  """The error for what cannot be done on tiles."""
  return component.UserError(
    f'the fused kernel has no rule for {what} in a scheme: use '
    'implementation=None'
  )


# Entries: numbers, and matrices of rows x columns.


def loaded(entry):
  return entry.read(entry.number) if isinstance(entry, Row) else entry


def is_number(entry) -> bool:
  return isinstance(entry, np.generic)


def is_zero(entry) -> bool:
  return is_number(entry) and not entry


def full(entry, shape):
  if is_number(entry):
    return jnp.full(shape, entry, entry.dtype)
  return entry if entry.shape == shape else jnp.broadcast_to(entry, shape)


def alike(*operands):
  """Matrices of one shape."""
  shapes = [e.shape for e in operands if not is_number(e)]
  shape = np.broadcast_shapes((1, 1), *shapes)
  return [full(e, shape) for e in operands]


def plus(a, b):
  if is_zero(a) or is_zero(b):
    return b if is_zero(a) else a
  return lax.add(*alike(a, b))


def where(condition, a, b):
  return lax.select(*alike(condition, a, b))


def equal(entry, k):
  return lax.eq(entry, jnp.full(entry.shape, k, entry.dtype))


def only_where(condition, entry):
  return where(condition, entry, entry.dtype.type(0))


def along(entry, name, n):
  """An entry that is n long on an axis, where it may be 1."""
  shape = list((1, 1) if is_number(entry) else entry.shape)
  shape[AXIS[name]] = n
  return full(entry, tuple(shape))


def total(entry, name, n):
  """The sum of an entry over an axis on which it stands for n values."""
  return jnp.sum(along(entry, name, n), AXIS[name], keepdims=True)


# Planes: objects with an axis for each axis of the array.


def objects(shape, items) -> np.ndarray:
  """An array of objects, none of which NumPy looks into."""
  out = np.empty(len(items), object)
  for n, item in enumerate(items):
    out[n] = item
  return out.reshape(shape)


def each(fn: Callable, *planes: np.ndarray) -> np.ndarray:
  """A function of entries, for planes that broadcast."""
  shape = np.broadcast_shapes(*(p.shape for p in planes))
  flat = [np.broadcast_to(p, shape).reshape(-1) for p in planes]
  return objects(shape, [fn(*map(loaded, row)) for row in zip(*flat)])


def plus_each(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  return each(plus, a, b)


def pieces(planes, d) -> list[np.ndarray]:
  """The planes at each place of an axis, which is kept."""
  return [planes.take([k], d) for k in range(planes.shape[d])]


def spread(planes, d, n) -> np.ndarray:
  """Planes that are n long on an axis, where they may be 1."""
  return np.broadcast_to(planes, (*planes.shape[:d], n, *planes.shape[d + 1 :]))


# Names: what is unrolled becomes named where it meets a name.


def combine(program: Program, fn: Callable, tiles: Sequence[Tile]) -> Tile:
  """An elementwise function of tiles whose shapes broadcast."""
  names = common(tiles)
  planes = [conform(program, t, names).planes for t in tiles]
  shape = np.broadcast_shapes(*(t.shape for t in tiles))
  return tile(shape, names, each(fn, *planes))


def common(tiles: Sequence[Tile]) -> Names:
  """The names under which tiles meet: those of the largest."""
  names: list[str | None] = [None] * len(tiles[0].names)
  for t in sorted(tiles, key=_width, reverse=True):
    for d, name in enumerate(t.names):
      if name and names[d] is None and (name == HEAD or name not in names):
        names[d] = name
  if not set(names) & set(AXIS):
    return tuple(names)
  # Numbers along an axis that nothing else uses make it a column (or a row):
  # the frequencies of a rotation beside the positions of tokens.
  for d in reversed(range(len(names))):
    changing = [t for t in tiles if t.planes.shape[d] > 1]
    free = [name for name in (COLUMN, ROW) if name not in names]
    few = changing and all(_width(t) == 1 for t in changing)
    if few and free and names[d] is None:
      names[d] = free[0]
  return tuple(names)


def _width(x: Tile) -> int:
  """How many values the largest entry has."""
  return max(map(np.size, x.planes.reshape(-1)), default=0)


def conform(program: Program, x: Tile, names: Names) -> Tile:
  """The same tile under these names, as far as it changes along them."""
  for d, (own, name) in enumerate(zip(x.names, names)):
    if own not in (None, name):
      raise refusal('an axis that is another elsewhere')
    if name and own is None and x.planes.shape[d] > 1:
      x = _roll(program, x, d, name)
  return x


def _roll(program, x, d, name) -> Tile:
  index = program.head if name == HEAD else numbered(x.shape[d], name)
  planes = chosen(x.planes, d, index)
  return tile(x.shape, (*x.names[:d], name, *x.names[d + 1 :]), planes)


def chosen(planes: np.ndarray, d: int, index: Array) -> np.ndarray:
  """Planes that are 1 long on an axis, those at an index."""
  first, *rest = pieces(planes, d)
  for k, piece in enumerate(rest, 1):
    choose = functools.partial(where, equal(index, k))
    first = each(choose, piece, first)
  return first


def numbered(n: int, name: str) -> Array:
  """0, 1, ... along the rows or the columns."""
  shape = (n, 1) if name == ROW else (1, n)
  return lax.broadcasted_iota(jnp.int32, shape, AXIS[name])
