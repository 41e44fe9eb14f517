"""Blocks of queries and keys: how they are cut and in which order visited."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Plan(NamedTuple):
  """How attention is cut into blocks.

  Attributes:
    queries: tokens in a block of queries.
    keys: tokens in a block of keys.
    window: how many tokens a query sees, None for all.
    shared: whether all blocks on a diagonal have the same bias, which is then
      computed once for them all.
  """

  queries: int
  keys: int
  window: int | None
  shared: bool


def by_row(plan, rows, columns, visit, carry):
  """Visits the blocks that are seen, all those of a query block in turn.

  The carry is a pair: what belongs to no query, and what has queries on axis
  2. `visit(masked, i, j, one, own)` gets the former and, of the latter, query
  block i. Blocks seen whole need no mask.
  """
  reach = _reach(plan, rows, columns)

  def row(i, carry):
    one, every = carry
    carry = one, cut(every, i, plan.queries)
    marks = [x if isinstance(x, int) else x[i] for x in reach]
    for low, high, masked in zip(marks, marks[1:], (True, False, True)):
      if low is not high:
        step = lambda j, c, m=masked: visit(m, i, j, *c)
        carry = jax.lax.fori_loop(low, high, step, carry)
    return carry[0], put(every, carry[1], i, plan.queries)

  return jax.lax.fori_loop(0, reach[3].shape[0], row, carry)


def _reach(plan, rows, columns):
  """The key blocks that each query block sees, 4 numbers a, b, c, d.

  From a to d - 1, of which b to c - 1 whole.
  """
  q_index = rows.index_1x1xLx1.reshape(-1, plan.queries)
  k_index = columns.index_1x1xLx1.reshape(-1, plan.keys)
  q_low, q_high, k_low, k_high = (
    q_index.min(1),
    q_index.max(1),
    k_index.min(1),
    k_index.max(1),
  )
  # Keys are in order, so those of a block are in between; a table of all
  # pairs of blocks would be quadratic in the length.
  count = functools.partial(jnp.searchsorted, side='right')
  middle, end = count(k_high, q_low), count(k_low, q_high)
  if plan.window is None:
    return 0, 0, middle, end
  whole = jnp.minimum(count(k_low, q_high - plan.window), end)
  begin = count(k_high, q_low - plan.window)
  return begin, whole, jnp.maximum(whole, middle), end


def by_diagonal(plan, rows, columns, diagonal, carry):
  """Visits square blocks of tokens without gaps, diagonal by diagonal.

  `diagonal(walk, i, j, carry)`, i and j being its first block, calls
  `walk(visit, carry)`; visit and carry are as in `by_row`.
  """
  size = plan.queries
  first = lambda x: x.index_1x1xLx1[0, 0, 0, 0]
  number = lambda x: x.index_1x1xLx1.shape[2] // size
  shift, m, n = first(rows) - first(columns), number(rows), number(columns)

  def step(masked, d, carry):
    low, high = jnp.maximum(d, 0), jnp.minimum(m, n + d)

    def walk(visit, carry):
      def block(i, carry):
        one, every = carry
        own = jax.lax.optimization_barrier(cut(every, i, size))
        one, own = visit(masked, i, i - d, one, own)
        return one, put(every, own, i, size)

      return jax.lax.fori_loop(low, high, block, carry)

    return diagonal(walk, low, low - d, carry)

  # On diagonal d = i - j the nearest pair is at shift + d size - (size - 1)
  # tokens, the farthest at shift + d size + (size - 1).
  begin = jnp.maximum(-((size - 1 + shift) // size), 1 - n)
  whole = jnp.clip(-((shift + 1 - size) // size), begin, m)
  middle = end = m
  if plan.window is not None:
    end = jnp.clip((plan.window + size - 2 - shift) // size + 1, begin, m)
    whole = jnp.minimum(whole, end)
    middle = jnp.clip((plan.window - size - shift) // size + 1, whole, end)
  for low, high, masked in (
    (begin, whole, True),
    (whole, middle, False),
    (middle, end, True),
  ):
    if low is not high:
      each = functools.partial(step, masked)
      carry = jax.lax.fori_loop(low, high, each, carry)
  return carry


def pad(tree, size):
  """The last token repeated, up to a whole number of blocks."""

  def pad(x):
    more = -x.shape[2] % size
    if not more:
      return x
    last = jnp.repeat(x[:, :, -1:], more, axis=2)
    return jnp.concatenate([x, last], axis=2)

  return jax.tree.map(pad, tree)


def cut(tree, i, size):
  cut = lambda x: jax.lax.dynamic_slice_in_dim(x, i * size, size, axis=2)
  return jax.tree.map(cut, tree)


def put(tree, new, i, size):
  put = lambda x, y: jax.lax.dynamic_update_slice_in_dim(x, y, i * size, axis=2)
  return jax.tree.map(put, tree, new)
