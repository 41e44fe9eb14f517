"""Tables: rows by index, and their gradients.

Kernels have no look-up, so an index is compared with every row.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax

from posexp.attention.kernel import rules, tiles
from posexp.attention.kernel.tiles import HEAD, ROW, Program, Row, Tile


def gather(program: Program, eqn, table: Tile, index: Tile) -> Tile:
  """The row of a table that an index asks for, where there is one for all."""
  numbers, sizes = eqn.params['dimension_numbers'], eqn.params['slice_sizes']
  over, dropped = numbers.start_index_map, numbers.collapsed_slice_dims
  count = _count(index, over, dropped, numbers.offset_dims)
  filled = 'FILL' in str(eqn.params['mode'])
  if filled or sizes[count:] != table.shape[count:]:
    raise tiles.refusal('a look-up of this kind')
  planes, vector = table.planes, index.planes.reshape(-1)
  # The head comes last and leaves less to choose from by each pair of tokens.
  for d in reversed(range(count)):
    planes = _chosen(program, table.names[d], planes, d, vector[d])
  names = *index.names[:-1], *table.names[count:]
  extent = (1,) * (len(index.shape) - 1) + planes.shape[count:]
  return tiles.tile(eqn.outvars[0].aval.shape, names, planes.reshape(extent))


def _count(index, over, dropped, window):
  """How many axes are looked up: the first of a table, whole rows at once."""
  count, last = len(over), len(index.shape) - 1
  plain = (
    tuple(over) == tuple(dropped) == tuple(range(count))
    and index.planes.size == count
    and all(d >= last for d in window)
  )
  if not plain:
    raise tiles.refusal('a look-up of this kind')
  return count


def _chosen(program, name, planes, d, entry):
  """Planes that are 1 long on an axis, those at an index."""
  if name not in (None, HEAD) or (name and entry is not program.head):
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
  numbers, vector = eqn.params['dimension_numbers'], index.planes.reshape(-1)
  over, dropped = (
    numbers.scatter_dims_to_operand_dims,
    numbers.inserted_window_dims,
  )
  count = _count(index, over, dropped, numbers.update_window_dims)
  axes, rest = range(len(index.shape) - 1), rows.names[len(index.shape) - 1 :]
  where = [a or b for a, b in zip(rows.names, index.names[:-1])]
  rows = rows._replace(names=(*where, *rest))
  names = [HEAD if e is program.head else None for e in vector]
  many = [d for d in range(count) if not names[d] and base.shape[d] > 1]
  plain = all(map(tiles.is_zero, base.planes.reshape(-1)))
  if not plain or len(many) > 1 or (many and rows.planes.size > 1):
    raise tiles.refusal('the gradient of a look-up of this kind')
  if many:
    names[many[0]] = ROW
    rows = _by_row(program, rows, axes, vector[many[0]], base.shape[many[0]])
  else:
    rows = rules.reduce_sum(program, rows, axes)
  planes = rows.planes.reshape((1,) * count + rows.planes.shape)
  return tiles.tile(base.shape, (*names, *rest), planes)


def _by_row(program, rows, axes, index, size):
  """The sum for each row, one below the other, in a loop."""
  index, (entry,) = tiles.loaded(index), rows.planes.reshape(-1)
  numbers = tiles.numbered(size, ROW)

  def step(n, table):
    here = tiles.only_where(tiles.equal(index, n), entry)
    planes = tiles.objects(rows.planes.shape, [here])
    total = rules.reduce_sum(program, rows._replace(planes=planes), axes)
    return table + tiles.only_where(
      tiles.equal(numbers, n), total.planes.item()
    )

  table = lax.fori_loop(0, size, step, jnp.zeros((size, 1), entry.dtype))
  return Tile((), (), tiles.objects((), [table]))
