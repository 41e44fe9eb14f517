"""Tables: rows by index, and their gradients.

Kernels have no look-up, so every index is compared with every row.
"""

import functools

import jax.numpy as jnp
import numpy as np
from jax import lax

from posexp.fused import tiles
from posexp.fused.tiles import AXIS, HEAD, ROW, Program, Row, Tile


def gather(program: Program, eqn, table: Tile, index: Tile) -> Tile:
  """The rows of a table that indices ask for."""
  over, kept, offset = _gather_axes(eqn, table)
  out = eqn.outvars[0].aval.shape
  vectors = tiles.spread(index.planes, index.planes.ndim - 1, len(over))
  inner = [table.planes.shape[d] for d in kept]

  def look(vector):
    planes = table.planes
    # What one number chooses leaves less to choose from by many.
    for d, entry in sorted(zip(over, vector), key=lambda de: np.size(de[1])):
      planes = _chosen(program, table.names[d], planes, d, entry)
    return list(planes.reshape(-1))

  found = [e for v in vectors.reshape(-1, len(over)) for e in look(v)]
  order = [*(d for d in range(len(out)) if d not in offset), *offset]
  names = [*index.names[:-1], *(table.names[d] for d in kept)]
  planes = tiles.objects((*vectors.shape[:-1], *inner), found)
  back = np.argsort(order)
  return tiles.tile(out, [names[n] for n in back], planes.transpose(back))


def _gather_axes(eqn, table):
  """The axes of the table that are looked up, the others, where those go."""
  numbers, sizes = eqn.params['dimension_numbers'], eqn.params['slice_sizes']
  over = tuple(numbers.start_index_map)
  kept = [d for d in range(len(table.shape)) if d not in over]
  plain = (
    set(over) == set(numbers.collapsed_slice_dims)
    and not numbers.operand_batching_dims
    and all(sizes[d] == table.shape[d] for d in kept)
    and all(table.names[d] in (None, HEAD) for d in over)
    and 'FILL' not in str(eqn.params['mode'])
  )
  if not plain:
    raise tiles.refusal('a look-up of this kind')
  return over, kept, list(numbers.offset_dims)


def _chosen(program, name, planes, d, entry):
  """Planes that are 1 long on an axis, those at an index."""
  if name == HEAD and entry is not program.head:
    raise tiles.refusal('a look-up of another head')
  if planes.shape[d] == 1:
    return planes
  entry, rows = tiles.loaded(entry), list(planes.reshape(-1))
  if len(rows) == planes.shape[d] and all(isinstance(r, Row) for r in rows):
    return tiles.objects([1] * planes.ndim, [_row(rows, entry)])
  return tiles.chosen(planes, d, entry)


def _row(rows, entry):
  """The same in a loop, as a table may have hundreds of rows."""
  like = tiles.loaded(rows[0])
  shape = np.broadcast_shapes(entry.shape, like.shape)

  def step(n, found):
    return tiles.where(tiles.equal(entry, n), rows[0].read(n), found)

  return lax.fori_loop(0, len(rows), step, jnp.zeros(shape, like.dtype))


def scatter_add(program: Program, eqn, base: Tile, index: Tile, rows: Tile):
  """The gradient of a look-up: for each row, the sum where it was found."""
  over, window = _scatter_axes(eqn, base)
  updates, summed = _updates(program, index, rows, window, len(over))
  own = [
    all(v[n] is program.head for v, _ in updates) for n in range(len(over))
  ]
  names: list[str | None] = [None] * len(base.shape)
  for d, name in zip(sorted(set(range(len(names))) - set(over)), window):
    names[d] = rows.names[name]
  for d, mine in zip(over, own):
    names[d] = HEAD if mine else None
  many = [n for n, d in enumerate(over) if not own[n] and base.shape[d] > 1]
  if len(many) > 1 or (many and ROW in names):
    raise tiles.refusal('the gradient of a look-up by two indices')

  def add_up(vector, planes):
    if not many:
      return tiles.each(lambda e: _total(e, summed), planes)
    entry = tiles.loaded(vector[many[0]])
    size = base.shape[over[many[0]]]
    return tiles.each(lambda e: _by_row(e, summed, entry, size), planes)

  planes = functools.reduce(tiles.plus_each, [add_up(*u) for u in updates])
  for n in many:
    names[over[n]] = ROW
  for d in sorted(over):
    planes = np.expand_dims(planes, d)
  return tiles.tile(base.shape, names, planes)


def _scatter_axes(eqn, base):
  """The axes of the table that are looked up; those of rows that are not."""
  numbers = eqn.params['dimension_numbers']
  over = tuple(numbers.scatter_dims_to_operand_dims)
  plain = (
    set(over) == set(numbers.inserted_window_dims)
    and not numbers.operand_batching_dims
    and all(map(tiles.is_zero, base.planes.reshape(-1)))
  )
  if not plain:
    raise tiles.refusal('the gradient of a look-up of this kind')
  return over, list(numbers.update_window_dims)


def _updates(program, index, rows, window, count):
  """Each index with the planes to add there; the named axes to sum over."""
  batch = [d for d in range(len(rows.shape)) if d not in window]
  names = [rows.names[d] or name for d, name in zip(batch, index.names)]
  if HEAD in names and not program.partial:
    raise tiles.refusal('a sum over heads')
  if any(name and n > 1 for name, n in zip(names, index.planes.shape)):
    raise tiles.refusal('a look-up along an axis of a tile')
  # An axis along which nothing changes still counts as often as it is long.
  extent = [1 if name else rows.shape[d] for name, d in zip(names, batch)]
  inner = [rows.planes.shape[d] for d in window]
  planes = rows.planes.transpose([*batch, *window])
  planes = np.broadcast_to(planes, (*extent, *inner)).reshape(-1, *inner)
  vectors = np.broadcast_to(index.planes, (*extent, count)).reshape(-1, count)
  summed = [(m, rows.shape[d]) for m, d in zip(names, batch) if m in AXIS]
  # A slice, as NumPy would hand out what is in an array without axes.
  cut = [planes[n : n + 1].reshape(inner) for n in range(len(vectors))]
  return list(zip(vectors, cut)), summed


def _total(entry, summed):
  for name, n in summed:
    entry = tiles.total(entry, name, n)
  return entry


def _by_row(entry, summed, index, size):
  """Rows x columns, the sum for each row in a loop."""
  width = _total(entry, summed).shape[1]
  numbers = tiles.numbered(size, ROW)

  def step(n, table):
    row = _total(tiles.only_where(tiles.equal(index, n), entry), summed)
    return table + tiles.only_where(tiles.equal(numbers, n), row)

  return lax.fori_loop(0, size, step, jnp.zeros((size, width), entry.dtype))
