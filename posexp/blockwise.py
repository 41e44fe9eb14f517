"""Attention block by block: memory linear in length, both ways.

The online softmax of Milakov and Gimelshein (2018, arXiv 1805.02867), with
gradients by recomputation as in FlashAttention (Dao et al. 2022, arXiv
2205.14135, algorithms 1 and 4). The bias of a block comes from its positions,
and whatever it has learned gets its exact gradient.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.dtypes import float0

from posexp import schemes

Array = jax.Array

# The index of a cache slot that is still empty: after every query, so masked.
EMPTY = jnp.iinfo(jnp.int32).max

# A masked logit: finite, not -inf, so that no gradient is ever 0 * inf.
LOWEST = float(jnp.finfo(jnp.float32).min)


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


def tokens(x_BxLxHxE: Array, at: schemes.At, index_1xL: Array) -> Tokens:
  """Queries or keys and where they are, with heads first."""
  return jax.tree.map(heads_first, Tokens(x_BxLxHxE, at, index_1xL))


def score(
  scheme: schemes.Scheme,
  params: schemes.Params,
  rows: Tokens,
  columns: Tokens,
) -> Array:
  """B x H x Q x K, float32, the bias added and nothing masked."""
  logits_BxHxQxK = jnp.einsum(
    'bhqe,bhke->bhqk',
    rows.x_BxHxLxE,
    columns.x_BxHxLxE,
    preferred_element_type=jnp.float32,
  )
  heads = rows.x_BxHxLxE.shape[1]
  head = schemes.Head(jnp.arange(heads).reshape(1, heads, 1, 1), heads)
  k_at = jax.tree.map(lambda x: x.swapaxes(2, 3), columns.at)
  bias = scheme.bias(params, head, rows.at, k_at)
  if not isinstance(bias, float):
    bias = bias.astype(jnp.float32)
  return logits_BxHxQxK + bias


def seen(rows: Tokens, columns: Tokens, window: int | None = None) -> Array:
  """Which keys a query may see, 1 x 1 x Q x K."""
  q_index, k_index = (x.index_1x1xLx1 for x in (rows, columns))
  k_index = k_index.swapaxes(2, 3)
  past = k_index <= q_index
  return past if window is None else past & (k_index > q_index - window)


class Plan(NamedTuple):
  """How attention is cut: tokens in a block, and in the window if any."""

  queries: int
  keys: int
  window: int | None


def attend(scheme, size, window, params, rows, columns, v_BxHxKxE):
  """Attention block by block: memory linear in length, both ways."""
  queries = rows.x_BxHxLxE.shape[2]
  plan = Plan(min(size, queries), min(size, v_BxHxKxE.shape[2]), window)
  rows = _pad(rows, plan.queries)
  columns = _pad(columns, plan.keys)
  # Keys of padding come after every query; queries of padding are cut off.
  real = jnp.arange(columns.index_1x1xLx1.shape[2]) < v_BxHxKxE.shape[2]
  empty = jnp.where(real.reshape(1, 1, -1, 1), columns.index_1x1xLx1, EMPTY)
  columns = columns._replace(index_1x1xLx1=empty)
  v_BxHxKxE = _pad(v_BxHxKxE, plan.keys)
  out = _flash(scheme, plan, params, rows, columns, v_BxHxKxE)
  return out[:, :, :queries]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _flash(scheme, plan, params, rows, columns, v_BxHxKxE):
  return _flash_forward(scheme, plan, params, rows, columns, v_BxHxKxE)[0]


def _flash_forward(scheme, plan, params, rows, columns, v_BxHxKxE):
  reach = _reach(plan, rows, columns)
  shape_BxHxQx1 = (*rows.x_BxHxLxE.shape[:2], plan.queries, 1)
  start = (
    jnp.full(shape_BxHxQx1, LOWEST),
    jnp.zeros(shape_BxHxQx1),
    jnp.zeros((*shape_BxHxQx1[:3], v_BxHxKxE.shape[3])),
  )

  def row(i):
    mine = _cut(rows, i, plan.queries)

    def step(masked, j, carry):
      top, total, mixed = carry
      theirs, v_j = _cut((columns, v_BxHxKxE), j, plan.keys)
      logits = score(scheme, params, mine, theirs)
      if masked:
        logits = jnp.where(seen(mine, theirs, plan.window), logits, LOWEST)
      new = jnp.maximum(top, logits.max(-1, keepdims=True))
      weights, fade = jnp.exp(logits - new), jnp.exp(top - new)
      total = fade * total + weights.sum(-1, keepdims=True)
      return new, total, fade * mixed + _mix('bhqk,bhke->bhqe', weights, v_j)

    top, total, mixed = _loops(step, jax.tree.map(lambda x: x[i], reach), start)
    return (mixed / total).astype(v_BxHxKxE.dtype), top + jnp.log(total)

  blocks = jax.lax.map(row, jnp.arange(reach.end.shape[0]))
  join = lambda x: jnp.moveaxis(x, 0, 2).reshape(*x.shape[1:3], -1, x.shape[4])
  out, logsum = jax.tree.map(join, blocks)
  return out, (params, rows, columns, v_BxHxKxE, out, logsum)


def _flash_backward(scheme, plan, saved, d_out):
  params, rows, columns, v_BxHxKxE, out, logsum = saved
  reach = _reach(plan, rows, columns)
  delta = _mix('bhqe,bhqe->bhq', d_out, out)[..., None]
  wide = lambda x: jnp.zeros(x.shape, jnp.float32)

  def row(i, carry):
    mine, d_out_i, logsum_i, delta_i = _cut(
      (rows, d_out, logsum, delta), i, plan.queries
    )

    def step(masked, j, carry):
      d_params, d_mine, d_keys = carry
      theirs, v_j = _cut((columns, v_BxHxKxE), j, plan.keys)
      logits, pull = jax.vjp(
        functools.partial(score, scheme), params, mine, theirs
      )
      weights = jnp.exp(logits - logsum_i)
      if masked:
        weights = jnp.where(seen(mine, theirs, plan.window), weights, 0.0)
      d_weights = _mix('bhqe,bhke->bhqk', d_out_i, v_j)
      more = pull(weights * (d_weights - delta_i))
      d_v = _mix('bhqk,bhqe->bhke', weights, d_out_i)
      d_keys = _add_at(d_keys, (more[2], d_v), j, plan.keys)
      return (*_add((d_params, d_mine), more[:2]), d_keys)

    d_params, d_rows, d_keys = carry
    begin = d_params, jax.tree.map(wide, mine), d_keys
    d_params, d_mine, d_keys = _loops(
      step, jax.tree.map(lambda x: x[i], reach), begin
    )
    return d_params, _add_at(d_rows, d_mine, i, plan.queries), d_keys

  primal = params, rows, (columns, v_BxHxKxE)
  grads = jax.lax.fori_loop(
    0, reach.end.shape[0], row, jax.tree.map(wide, primal)
  )
  d_params, d_rows, (d_columns, d_v) = jax.tree.map(_cotangent, primal, grads)
  return d_params, d_rows, d_columns, d_v


_flash.defvjp(_flash_forward, _flash_backward)


class _Reach(NamedTuple):
  """Which key blocks a query block sees: begin..end, whole from a to b."""

  begin: Any
  whole_begin: Any
  whole_end: Any
  end: Any


def _reach(plan, rows, columns):
  """For each query block, the key blocks that it sees, and sees whole."""
  q_index = rows.index_1x1xLx1.reshape(-1, plan.queries)
  k_index = columns.index_1x1xLx1.reshape(-1, plan.keys)
  # Keys are in order, so those of a block are in between; a table of all
  # pairs of blocks would be quadratic in the length.
  count = functools.partial(jnp.searchsorted, side='right')
  whole, end = (
    count(k_index.max(1), q_index.min(1)),
    count(k_index.min(1), q_index.max(1)),
  )
  if plan.window is None:
    zero = jnp.zeros_like(end)
    return _Reach(zero, zero, whole, end)
  begin = count(k_index.max(1), q_index.min(1) - plan.window)
  first = count(k_index.min(1), q_index.max(1) - plan.window)
  first = jnp.minimum(first, end)
  return _Reach(begin, first, jnp.maximum(first, whole), end)


def _loops(step, reach, carry):
  """Blocks seen whole skip the mask; blocks not seen at all are skipped."""
  masked, open_ = (functools.partial(step, m) for m in (True, False))
  carry = jax.lax.fori_loop(reach.begin, reach.whole_begin, masked, carry)
  carry = jax.lax.fori_loop(reach.whole_begin, reach.whole_end, open_, carry)
  return jax.lax.fori_loop(reach.whole_end, reach.end, masked, carry)


def _pad(tree, size):
  """Tokens repeated at the end, up to a whole number of blocks."""
  widths = lambda x: ((0, 0), (0, 0), (0, -x.shape[2] % size), (0, 0))
  return jax.tree.map(lambda x: jnp.pad(x, widths(x), mode='edge'), tree)


def _cut(tree, i, size):
  cut = lambda x: jax.lax.dynamic_slice_in_dim(x, i * size, size, axis=2)
  return jax.tree.map(cut, tree)


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
  put = lambda t, new: jax.lax.dynamic_update_slice_in_dim(
    t, new, i * size, axis=2
  )
  return jax.tree.map(put, totals, _add(_cut(totals, i, size), more))


def _cotangent(x, grad):
  if jnp.issubdtype(x.dtype, jnp.inexact):
    return grad.astype(x.dtype)
  return np.zeros(x.shape, float0)
