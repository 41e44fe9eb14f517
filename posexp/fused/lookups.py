"""Tables: rows by index, and their gradients."""

import functools
import itertools

import numpy as np

from posexp.fused import tiles
from posexp.fused.tiles import AXIS, HEAD, Program, Tile


def gather(program: Program, eqn, table: Tile, index: Tile) -> Tile:
  """Rows of a table: compared with every index, as kernels have no look-up."""
  over, kept, offset = _gather_axes(eqn, table)
  for d in over:
    table = table if table.names[d] == HEAD else tiles.unroll(table, d)
  out = eqn.outvars[0].aval.shape
  batch = [d for d in range(len(out)) if d not in offset]
  vectors = tiles.spread(index.planes, index.planes.ndim - 1, len(over))
  extent = vectors.shape[:-1]

  def look(vector):
    planes = table.planes
    for d, entry in sorted(zip(over, vector), key=lambda de: np.size(de[1])):
      planes = _chosen(program, table, planes, d, entry)
    return planes.reshape([table.planes.shape[d] for d in kept])

  rows = [look(v) for v in vectors.reshape(-1, len(over))]
  found = [entry for planes in rows for entry in planes.reshape(-1)]
  shape = (*extent, *(table.planes.shape[d] for d in kept))
  order = [*batch, *offset]
  names = [None] * len(out)
  for d, name in zip(order, (*index.names[:-1], *(table.names[d] for d in kept))):
    names[d] = name
  planes = tiles.objects(shape, found).transpose(np.argsort(order))
  return tiles.tile(out, names, planes)


def _gather_axes(eqn, table):
  """The axes of the table that are looked up, the others, where those go."""
  numbers, sizes = eqn.params['dimension_numbers'], eqn.params['slice_sizes']
  over = tuple(numbers.start_index_map)
  kept = [d for d in range(len(table.shape)) if d not in over]
  plain = (
    set(over) == set(numbers.collapsed_slice_dims)
    and not numbers.operand_batching_dims
    and all(sizes[d] == table.shape[d] for d in kept)
    and 'FILL' not in str(eqn.params['mode'])
  )
  if not plain:
    raise tiles.refusal('a look-up of this kind')
  return over, kept, list(numbers.offset_dims)


def _chosen(program, table, planes, d, entry):
  if table.names[d] == HEAD and entry is not program.head:
    raise tiles.refusal('a look-up of another head')
  if planes.shape[d] == 1:
    return planes
  if tiles.is_number(entry):
    return planes.take([int(entry)], d)
  first, *rest = tiles.pieces(planes, d)
  for k, piece in enumerate(rest, 1):
    here = tiles.equal(entry, k)
    choose = lambda a, b, here=here: tiles.where(here, b, a)
    first = tiles.each(choose, first, piece)
  return first


def scatter_add(program: Program, eqn, base: Tile, index: Tile, rows: Tile):
  """The gradient of a look-up: for each row, the sum where it was found."""
  over, window = _scatter_axes(eqn, base)
  batch = [d for d in range(len(rows.shape)) if d not in window]
  kept = [d for d in range(len(base.shape)) if d not in over]
  vectors = tiles.spread(index.planes, index.planes.ndim - 1, len(over))
  planes = rows.planes.transpose([*batch, *window])
  names = [a or b for a, b in zip(_of(rows.names, batch), index.names)]
  if any(a and b and a != b for a, b in zip(_of(rows.names, batch), index.names)):
    raise tiles.refusal('a look-up that turns a tile')
  # An axis along which nothing changes still counts as often as it is long.
  extent = [1 if m else rows.shape[d] for m, d in zip(names, batch)]
  vectors = np.broadcast_to(vectors, (*extent, len(over)))
  planes = np.broadcast_to(planes, (*extent, *planes.shape[len(batch) :]))
  summed = [(m, rows.shape[d]) for m, d in zip(names, batch) if m in AXIS]
  if HEAD in names and not program.partial:
    raise tiles.refusal('a sum over heads')
  own = [
    base.shape[d] > 1 and all(v[n] is program.head for v in vectors.reshape(-1, len(over)))
    for n, d in enumerate(over)
  ]
  sums: dict = {}
  for place in np.ndindex(*extent):
    for row, masks in _hits(vectors[place], own, _of(base.shape, over)):
      part = tiles.each(functools.partial(_masked_sum, masks, summed), _array(planes[place]))
      sums[row] = tiles.each(tiles.plus, sums[row], part) if row in sums else part
  return _table(base, eqn, sums, own, over, kept, _of(rows.names, window))


def _of(values, axes):
  return [values[d] for d in axes]


def _array(planes):
  return planes if isinstance(planes, np.ndarray) else tiles.objects((), [planes])


def _scatter_axes(eqn, base):
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


def _hits(vector, own, sizes):
  """The rows that an index may mean, with what must hold for each."""

  def options(entry, mine, size):
    if mine or size == 1:
      return [(0, None)]
    if tiles.is_number(entry):
      return [(int(entry), None)]
    return [(k, tiles.equal(entry, k)) for k in range(size)]

  for hit in itertools.product(*map(options, vector, own, sizes)):
    row, masks = zip(*hit)
    yield row, [m for m in masks if m is not None]


def _masked_sum(masks, summed, entry):
  for mask in masks:
    entry = tiles.only_where(mask, entry)
  for name, n in summed:
    entry = tiles.total(entry, name, n)
  return entry


def _table(base, eqn, sums, own, over, kept, window_names):
  """The sums, row by row, as a table."""
  names = [None] * len(base.shape)
  extent = [1] * len(base.shape)
  for mine, d in zip(own, over):
    names[d] = HEAD if mine else None
    extent[d] = 1 if mine else base.shape[d]
  inner = next(iter(sums.values())).shape
  for d, n, name in zip(kept, inner, window_names):
    extent[d], names[d] = n, name
  zero = np.zeros((), eqn.outvars[0].aval.dtype)[()]
  first = [extent[d] for d in over]
  missing = tiles.objects(inner, [zero] * int(np.prod(inner)))
  rows = [sums.get(row, missing) for row in np.ndindex(*first)]
  found = [entry for planes in rows for entry in planes.reshape(-1)]
  order = [*over, *kept]
  planes = tiles.objects((*first, *inner), found).transpose(np.argsort(order))
  return tiles.tile(base.shape, names, planes)
