"""Flash attention in XLA: memory linear in the length, both ways.

The online softmax of Milakov and Gimelshein (2018, arXiv 1805.02867), with
gradients by recomputation as in FlashAttention (Dao et al. 2022, arXiv
2205.14135, algorithms 1 and 4). Whatever a bias has learned gets its exact
gradient.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.dtypes import float0

from posexp import schemes
from posexp.attention import placed, precision, tiles

Array = jax.Array


class Plan(NamedTuple):
  """What is fixed when a program is made.

  Attributes:
    form: of the scheme, see `schemes.unfill`.
    window: how many tokens a query sees, None for all.
    by_diagonal: whether the bias of a tile is read from that of its diagonal,
      see `tiles.diagonals`, and not computed from positions and parameters.
    precision: of products; those of the gradients are traced later, elsewhere.
  """

  form: schemes.Scheme
  window: int | None
  by_diagonal: bool
  precision: str | None


def attend(
  scheme: schemes.Scheme,
  params: schemes.Params,
  queries: placed.Placed,
  keys: placed.Placed,
  v_BxHxKxE: Array,
  *,
  size: int,
  window: int | None,
  whole: bool,
) -> Array:
  """Attention in tiles of so many tokens, B x H x Q x E.

  `whole` says that no token is left out between the first query and the last.
  """
  _, heads, q_length, _ = queries.x_BxHxLxE.shape
  k_length = v_BxHxKxE.shape[2]
  rows = tiles.cut_placed(queries, min(size, q_length))
  columns = tiles.cut_keys(keys, min(size, k_length))
  v_NxBxHxLxE = tiles.cut(v_BxHxKxE, min(size, k_length))
  squares = whole and min(q_length, k_length) > size
  form, numbers = schemes.unfill(scheme)
  by_diagonal = squares and placed.by_distance(scheme)
  plan = Plan(form, window, by_diagonal, precision.now())
  source: Any = jax.tree.map(lambda x: x[None], params)
  if plan.by_diagonal:
    numbers = ()
    source = tiles.diagonals(scheme, params, heads, rows, columns)
  out = _flash(plan, numbers, source, rows, columns, v_NxBxHxLxE)
  return tiles.join(out, q_length)


# Below, _M are tiles of queries, _N tiles of keys and values, and `source` is
# what biases are made of: the bias of each diagonal, or parameters (one entry).
# The numbers of the scheme, if biases are made of parameters, have no gradient.


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _flash(plan, numbers, source, rows_M, columns_N, v_N):
  return _forward(plan, numbers, source, rows_M, columns_N, v_N)[0]


def _forward(plan, numbers, source, rows_M, columns_N, v_N):
  def mix(tile):
    i, rows, first, end = tile

    def visit(j, state):
      top, total, mixed = state
      columns, v = _at((columns_N, v_N), j)
      bias = _at(source, _entry(plan, i, j, columns_N))
      logits = _logits(plan, numbers, bias, rows, columns)
      visible = placed.seen(rows, columns, plan.window)
      logits = jnp.where(visible, logits, placed.LOWEST)
      new = jnp.maximum(top, logits.max(-1, keepdims=True))
      weights, fade = jnp.exp(logits - new), jnp.exp(top - new)
      total = fade * total + weights.sum(-1, keepdims=True)
      mixed = fade * mixed + dot('bhqk,bhke->bhqe', weights, v)
      return new, total, mixed

    # Made of the queries, so that heads spread over devices stay there.
    zero = jnp.zeros_like(rows.x_BxHxLxE[..., :1], jnp.float32)
    wide = zero * jnp.ones((1, 1, 1, v_N.shape[-1]))
    state = zero + placed.LOWEST, zero, wide
    top, total, mixed = jax.lax.fori_loop(first, end, visit, state)
    return (mixed / total).astype(v_N.dtype), top + jnp.log(total)

  first_M, end_M = tiles.reach(rows_M, columns_N, plan.window)
  each = jnp.arange(len(first_M)), rows_M, first_M, end_M
  out_M, logsum_M = jax.lax.map(mix, each)
  return out_M, (numbers, source, rows_M, columns_N, v_N, out_M, logsum_M)


def _backward(plan, saved, d_out_M):
  with jax.default_matmul_precision(plan.precision):
    return _gradients(plan, saved, d_out_M)


def _gradients(plan, saved, d_out_M):
  numbers, source, rows_M, columns_N, v_N, out_M, logsum_M = saved

  def unmix(sums, tile):
    i, rows, first, end, out, logsum, d_out = tile
    delta = dot('bhqe,bhqe->bhq', d_out, out)[..., None]

    def visit(j, carry):
      (d_source, d_keys), d_rows = carry
      columns, v = _at((columns_N, v_N), j)
      entry = _entry(plan, i, j, columns_N)
      logits, pull = jax.vjp(
        functools.partial(_logits, plan, numbers),
        _at(source, entry),
        rows,
        columns,
      )
      visible = placed.seen(rows, columns, plan.window)
      weights = jnp.where(visible, jnp.exp(logits - logsum), 0.0)
      d_weights = dot('bhqe,bhke->bhqk', d_out, v)
      d_bias, d_q, d_k = pull(weights * (d_weights - delta))
      d_v = dot('bhqk,bhqe->bhke', weights, d_out)
      d_source = _add_at(d_source, d_bias, entry)
      d_keys = _add_at(d_keys, (d_k, d_v), j)
      return (d_source, d_keys), _add(d_rows, d_q)

    return jax.lax.fori_loop(first, end, visit, (sums, _zeros(rows)))

  first_M, end_M = tiles.reach(rows_M, columns_N, plan.window)
  number_M = jnp.arange(len(first_M))
  each = number_M, rows_M, first_M, end_M, out_M, logsum_M, d_out_M
  summed = source, (columns_N, v_N)
  sums, d_rows_M = jax.lax.scan(unmix, _zeros(summed), each)
  d_source, (d_columns_N, d_v_N) = jax.tree.map(_cotangent, summed, sums)
  d_rows_M = jax.tree.map(_cotangent, rows_M, d_rows_M)
  d_numbers = jax.tree.map(jnp.zeros_like, numbers)
  return d_numbers, d_source, d_rows_M, d_columns_N, d_v_N


_flash.defvjp(_forward, _backward)


def _entry(plan, i, j, columns_N):
  """Return where the source has what the bias of tile i, j is made of."""
  return i - j + len(columns_N.index_1xL) - 1 if plan.by_diagonal else 0


def _logits(plan, numbers, bias, rows, columns):
  """Return the logits of a tile, none masked, B x H x Q x K."""
  if plan.by_diagonal:
    return placed.product(rows, columns) + tiles.skewed(bias)[None]
  scheme = schemes.fill(plan.form, numbers)
  return placed.logits(scheme, bias, rows, columns)


def dot(equation: str, a: Array, b: Array) -> Array:
  """Return a product in the narrower dtype of the two, summed in float32."""
  dtype = min(a.dtype, b.dtype, key=lambda d: d.itemsize)
  return jnp.einsum(
    equation,
    a.astype(dtype),
    b.astype(dtype),
    preferred_element_type=jnp.float32,
  )


def _at(tree, n):
  take = functools.partial(jax.lax.dynamic_index_in_dim, keepdims=False)
  return jax.tree.map(lambda x: take(x, n), tree)


def _zeros(tree):
  return jax.tree.map(lambda x: jnp.zeros_like(x, jnp.float32), tree)


def _add(totals, more):
  """Return the sums; what is an index has no gradient and is left alone."""

  def add(t, m):
    return t if m.dtype == float0 else t + m.astype(t.dtype)

  return jax.tree.map(add, totals, more)


def _add_at(totals, more, n):
  def put(x, y):
    return jax.lax.dynamic_update_index_in_dim(x, y, n, 0)

  return jax.tree.map(put, totals, _add(_at(totals, n), more))


def _cotangent(x, grad):
  if jnp.issubdtype(x.dtype, jnp.inexact):
    return grad.astype(x.dtype)
  return np.zeros(x.shape, float0)
