"""Attention block by block: memory linear in length, both ways.

The online softmax of Milakov and Gimelshein (2018, arXiv 1805.02867), with
gradients by recomputation as in FlashAttention (Dao et al. 2022, arXiv
2205.14135, algorithms 1 and 4). The bias of a block comes from its positions,
and whatever it has learned gets its exact gradient.
"""

import functools
import math
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.dtypes import float0
from jax.extend import core

from posexp import schemes
from posexp.attention import blocks

Array = jax.Array

# The index of a cache slot that is still empty: after every query, so masked.
EMPTY = jnp.iinfo(jnp.int32).max

# A masked logit: finite, not -inf, so that no gradient is ever 0 * inf.
LOWEST = float(jnp.finfo(jnp.float32).min)

# A bias of more numbers than this is worth computing once for a diagonal: to
# go by diagonals costs a fifth of the time of a bias of zero.
CHEAP = 8


class Tokens(NamedTuple):
  """Queries or keys and where they are; every leaf with tokens on axis 2."""

  x_BxHxLxE: Array
  at: schemes.At
  index_1x1xLx1: Array


def heads_first(x: Array) -> Array:
  """B x L to B x 1 x L x 1, B x L x H (x E) to B x H x L x 1 (or E)."""
  if x.ndim == 2:
    return x[:, None, :, None]
  x = x.swapaxes(1, 2)
  return x[..., None] if x.ndim == 3 else x


def tokens(x_BxHxLxE: Array, at: schemes.At, index_1xL: Array) -> Tokens:
  """Queries or keys and where they are, with heads first."""
  return Tokens(x_BxHxLxE, *jax.tree.map(heads_first, (at, index_1xL)))


def score(
  scheme: schemes.Scheme,
  params: schemes.Params,
  rows: Tokens,
  columns: Tokens,
) -> Array:
  """B x H x Q x K, float32, the bias added and nothing masked."""
  return _product(rows, columns) + bias(scheme, params, rows, columns)


def _product(rows: Tokens, columns: Tokens) -> Array:
  """q.k for all pairs, B x H x Q x K, float32."""
  return jnp.einsum(
    'bhqe,bhke->bhqk',
    rows.x_BxHxLxE,
    columns.x_BxHxLxE,
    preferred_element_type=jnp.float32,
  )


def bias(
  scheme: schemes.Scheme,
  params: schemes.Params,
  rows: Tokens,
  columns: Tokens,
) -> Array | float:
  """What is added to q.k, float32, broadcasting to B x H x Q x K."""
  heads = rows.x_BxHxLxE.shape[1]
  head = schemes.Head(jnp.arange(heads).reshape(1, heads, 1, 1), heads)
  k_at = jax.tree.map(lambda x: x.swapaxes(2, 3), columns.at)
  found = scheme.bias(params, head, rows.at, k_at)
  return found if isinstance(found, float) else found.astype(jnp.float32)


def seen(rows: Tokens, columns: Tokens, window: int | None = None) -> Array:
  """Which keys a query may see, 1 x 1 x Q x K."""
  q_index, k_index = (x.index_1x1xLx1 for x in (rows, columns))
  k_index = k_index.swapaxes(2, 3)
  past = k_index <= q_index
  return past if window is None else past & (k_index > q_index - window)


def attend(scheme, size, window, params, rows, columns, v_BxHxKxE, whole):
  """Attention block by block: memory linear in length, both ways.

  `whole` says that no token is left out between the first query and the last.
  """
  queries, keys = rows.x_BxHxLxE.shape[2], v_BxHxKxE.shape[2]
  # Blocks on a diagonal are at the same distance if they are squares.
  shared = whole and min(queries, keys) > size and _by_distance(scheme)
  shared = shared and _costs(scheme, params, rows, columns) > CHEAP
  plan = blocks.Plan(min(size, queries), min(size, keys), window, shared)
  rows = blocks.pad(rows, plan.queries)
  columns = pad_keys(columns, plan.keys)
  v_BxHxKxE = blocks.pad(v_BxHxKxE, plan.keys)
  out = _flash(scheme, plan, params, rows, columns, v_BxHxKxE)
  return out[:, :, :queries]


def pad_keys(columns: Tokens, size: int) -> Tokens:
  """Keys up to a whole number of blocks, those of padding after every query."""
  keys, padded = columns.x_BxHxLxE.shape[2], blocks.pad(columns, size)
  index_1x1xLx1 = padded.index_1x1xLx1
  real = jnp.arange(index_1x1xLx1.shape[2]) < keys
  index_1x1xLx1 = jnp.where(real.reshape(1, 1, -1, 1), index_1x1xLx1, EMPTY)
  return padded._replace(index_1x1xLx1=index_1x1xLx1)


def _by_distance(scheme: schemes.Scheme) -> bool:
  """Whether biases depend on the difference of two token indices alone."""
  biased = [p for p in scheme.parts if 'bias' in p.hooks()]
  moved = {'remap', 'locate'}
  return bool(biased) and all(
    p.relative and not moved & set(p.hooks()) for p in biased
  )


def _costs(scheme, params, rows, columns) -> float:
  """How many numbers the bias of a logit takes to compute.

  The gradients of what is learned cost more than the bias itself.
  """
  if jax.tree.leaves(params):
    return math.inf
  heads, queries = rows.x_BxHxLxE.shape[1:3]
  size = min(8, queries, columns.x_BxHxLxE.shape[2])
  pair = blocks.cut((rows, columns), 0, size)
  jaxpr = jax.make_jaxpr(functools.partial(bias, scheme))(params, *pair)
  return _numbers(jaxpr.jaxpr) / (heads * size**2)


def _numbers(jaxpr) -> int:
  """How many numbers a program computes, each loop gone through once."""
  size = lambda e: sum(v.aval.size for v in e.outvars)
  return sum(sum(map(_numbers, programs(e))) or size(e) for e in jaxpr.eqns)


def programs(eqn: core.JaxprEqn) -> Iterator[core.Jaxpr]:
  """The programs within an operation: the body of a loop, say."""
  kinds = core.Jaxpr, core.ClosedJaxpr
  is_program = lambda x: isinstance(x, kinds)
  for x in jax.tree.leaves(list(eqn.params.values()), is_leaf=is_program):
    if is_program(x):
      yield x.jaxpr if isinstance(x, core.ClosedJaxpr) else x


def widest(jaxpr) -> int:
  """How many numbers the largest matrix of a product in a program has.

  What is elementwise is fused into what follows, but for what goes into it.
  """
  found = 0
  for e in jaxpr.eqns:
    if e.primitive.name == 'dot_general':
      found = max(found, *(v.aval.size for v in (*e.invars, *e.outvars)))
    found = max(found, *map(widest, programs(e)), 0)
  return found


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _flash(scheme, plan, params, rows, columns, v_BxHxKxE):
  return _flash_forward(scheme, plan, params, rows, columns, v_BxHxKxE)[0]


def _flash_forward(scheme, plan, params, rows, columns, v_BxHxKxE):
  # Made of the queries, so that heads spread over devices stay there.
  zero_BxHxQx1 = jnp.zeros_like(rows.x_BxHxLxE[..., :1], jnp.float32)
  width = jnp.ones((1, 1, 1, v_BxHxKxE.shape[3]))
  state = zero_BxHxQx1 + LOWEST, zero_BxHxQx1, zero_BxHxQx1 * width

  def visit(added, masked, i, j, none, state):
    mine, (top, total, mixed) = blocks.cut(rows, i, plan.queries), state
    theirs, v_j = blocks.cut((columns, v_BxHxKxE), j, plan.keys)
    logits = _logits(scheme, plan, added, mine, theirs)
    if masked:
      logits = jnp.where(seen(mine, theirs, plan.window), logits, LOWEST)
    new = jnp.maximum(top, logits.max(-1, keepdims=True))
    weights, fade = jnp.exp(logits - new), jnp.exp(top - new)
    total = fade * total + weights.sum(-1, keepdims=True)
    mixed = fade * mixed + _mix('bhqk,bhke->bhqe', weights, v_j)
    return none, (new, total, mixed)

  def diagonal(walk, i, j, carry):
    added = _bias_of(scheme, plan, params, rows, columns, i, j)
    return walk(functools.partial(visit, added), carry)

  if plan.shared:
    _, state = blocks.by_diagonal(plan, rows, columns, diagonal, ((), state))
  else:
    visit = functools.partial(visit, params)
    _, state = blocks.by_row(plan, rows, columns, visit, ((), state))
  top, total, mixed = state
  out, logsum = (mixed / total).astype(v_BxHxKxE.dtype), top + jnp.log(total)
  return out, (params, rows, columns, v_BxHxKxE, out, logsum)


def _flash_backward(scheme, plan, saved, d_out):
  params, rows, columns, v_BxHxKxE, out, logsum = saved
  delta = _mix('bhqe,bhqe->bhq', d_out, out)[..., None]
  wide = lambda x: jnp.zeros_like(x, jnp.float32)

  def visit(added, masked, i, j, sums, d_mine):
    d_added, d_keys = sums
    mine, d_out_i, logsum_i, delta_i = blocks.cut(
      (rows, d_out, logsum, delta), i, plan.queries
    )
    theirs, v_j = blocks.cut((columns, v_BxHxKxE), j, plan.keys)
    logits, pull = jax.vjp(
      functools.partial(_logits, scheme, plan), added, mine, theirs
    )
    weights = jnp.exp(logits - logsum_i)
    if masked:
      weights = jnp.where(seen(mine, theirs, plan.window), weights, 0.0)
    d_weights = _mix('bhqe,bhke->bhqk', d_out_i, v_j)
    more = pull(weights * (d_weights - delta_i))
    d_v = _mix('bhqk,bhqe->bhke', weights, d_out_i)
    d_keys = _add_at(d_keys, (more[2], d_v), j, plan.keys)
    return (_add(d_added, more[0]), d_keys), _add(d_mine, more[1])

  def diagonal(walk, i, j, carry):
    added, pull = jax.vjp(
      lambda p: _bias_of(scheme, plan, p, rows, columns, i, j), params
    )
    (d_params, d_keys), d_rows = carry
    carry = (wide(added), d_keys), d_rows
    (d_added, d_keys), d_rows = walk(functools.partial(visit, added), carry)
    return (_add(d_params, *pull(d_added)), d_keys), d_rows

  primal = (params, (columns, v_BxHxKxE)), rows
  start = jax.tree.map(wide, primal)
  if plan.shared:
    grads = blocks.by_diagonal(plan, rows, columns, diagonal, start)
  else:
    visit = functools.partial(visit, params)
    grads = blocks.by_row(plan, rows, columns, visit, start)
  found = jax.tree.map(_cotangent, primal, grads)
  (d_params, (d_columns, d_v)), d_rows = found
  return d_params, d_rows, d_columns, d_v


_flash.defvjp(_flash_forward, _flash_backward)


def _logits(scheme, plan, added, rows, columns):
  """The logits of a block, from its bias if it is shared, or from params."""
  if plan.shared:
    return _product(rows, columns) + added
  return score(scheme, added, rows, columns)


def _bias_of(scheme, plan, params, rows, columns, i, j):
  """The bias of a block, 1 x H x Q x K."""
  pair = blocks.cut(rows, i, plan.queries), blocks.cut(columns, j, plan.keys)
  heads, found = rows.x_BxHxLxE.shape[1], bias(scheme, params, *pair)
  return jnp.broadcast_to(found, (1, heads, plan.queries, plan.keys))


def _mix(equation, a, b):
  """A product in the narrower dtype of the two, summed in float32."""
  dtype = min(a.dtype, b.dtype, key=lambda d: d.itemsize)
  return jnp.einsum(
    equation,
    a.astype(dtype),
    b.astype(dtype),
    preferred_element_type=jnp.float32,
  )


def _add(totals, more):
  """The sums; what is an index has no gradient and is left alone."""
  add = lambda t, m: t if m.dtype == float0 else t + m.astype(t.dtype)
  return jax.tree.map(add, totals, more)


def _add_at(totals, more, i, size):
  return blocks.put(totals, _add(blocks.cut(totals, i, size), more), i, size)


def _cotangent(x, grad):
  if jnp.issubdtype(x.dtype, jnp.inexact):
    return grad.astype(x.dtype)
  return np.zeros(x.shape, float0)
