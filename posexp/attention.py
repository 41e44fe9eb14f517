"""Causal attention for any positional scheme, whole or from a cache."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from posexp import schemes

Array = jax.Array

# The index of a cache slot that is still empty: after every query, so masked.
EMPTY = jnp.iinfo(jnp.int32).max


class Cache(NamedTuple):
  """Keys (already rotated) and values of one layer, M slots.

  Attributes:
    k_BxMxHxE: rotated keys.
    v_BxMxHxE: values.
    at: the scheme's positions of the keys, leaves 1 x M or B x M (x H).
    index_1xM: token indices, EMPTY where a slot is not yet used.
  """

  k_BxMxHxE: Array
  v_BxMxHxE: Array
  at: schemes.At
  index_1xM: Array


def attend(
  scheme: schemes.Scheme,
  params: schemes.Params,
  q_BxLxHxE: Array,
  k_BxLxHxE: Array,
  v_BxLxHxE: Array,
  block: int | str | None = None,
) -> Array:
  """Causal attention of a sequence to itself under a positional scheme.

  out_i = sum over j <= i of softmax_j(R_i q_i . R_j k_j / sqrt(E) + b_ij) v_j

  Args:
    scheme: any scheme, compositions included.
    params: as `scheme.init_layer` gives them, {} where nothing is learned.
    q_BxLxHxE: queries; token l is at index l.
    k_BxLxHxE: keys.
    v_BxLxHxE: values.
    block: None for dense attention, an integer for blocks of so many tokens,
      'auto' for the library's choice.

  Returns:
    B x L x H x E in the dtype of the values; softmax and biases are float32.

  >>> x = jnp.ones((1, 3, 2, 4))
  >>> attend(schemes.RoPE() + schemes.ALiBi(), {}, x, x, x).shape
  (1, 3, 2, 4)
  """
  _, length, heads, head_width = q_BxLxHxE.shape
  dims = schemes.Dims(heads * head_width, heads, head_width)
  scheme.check(dims, length)
  index_1xL = jnp.arange(length, dtype=jnp.int32)[None]
  at = scheme.remap(index_1xL, None)
  scale = 1.0 / math.sqrt(head_width)
  q = scheme.rotate(params, q_BxLxHxE, at, 'q')
  k = scheme.rotate(params, k_BxLxHxE, at, 'k')
  return core(
    scheme, params, q, k, v_BxLxHxE, at, at, index_1xL, index_1xL, scale
  )


def core(
  scheme: schemes.Scheme,
  params: schemes.Params,
  q_BxQxHxE: Array,
  k_BxKxHxE: Array,
  v_BxKxHxE: Array,
  q_at: schemes.At,
  k_at: schemes.At,
  q_index_1xQ: Array,
  k_index_1xK: Array,
  scale: float,
) -> Array:
  """Dense attention of rotated queries to rotated keys, masked by index."""
  logits_BxHxQxK = jnp.einsum(
    'bqhe,bkhe->bhqk',
    q_BxQxHxE * jnp.asarray(scale, q_BxQxHxE.dtype),
    k_BxKxHxE,
    preferred_element_type=jnp.float32,
  )
  heads = q_BxQxHxE.shape[2]
  head = schemes.Head(jnp.arange(heads).reshape(1, heads, 1, 1), heads)
  rows, columns = jax.tree.map(_as_row, q_at), jax.tree.map(_as_column, k_at)
  bias = scheme.bias(params, head, rows, columns)
  if not isinstance(bias, float):
    bias = bias.astype(jnp.float32)
  logits_BxHxQxK = logits_BxHxQxK + bias
  logits_BxHxQxK = scheme.rescore(params, logits_BxHxQxK, q_BxQxHxE, q_at, k_at)
  seen = _as_column(k_index_1xK) <= _as_row(q_index_1xQ)
  # The lowest finite number, not -inf, so that no gradient is ever 0 * inf.
  lowest = jnp.finfo(jnp.float32).min
  logits_BxHxQxK = jnp.where(seen, logits_BxHxQxK, lowest)
  weights_BxHxQxK = jax.nn.softmax(logits_BxHxQxK, axis=-1)
  return jnp.einsum(
    'bhqk,bkhe->bqhe', weights_BxHxQxK.astype(v_BxKxHxE.dtype), v_BxKxHxE
  )


def empty_cache(
  scheme: schemes.Scheme, shape_BxMxHxE: tuple[int, ...], dtype: jnp.dtype
) -> Cache:
  """A cache with every slot empty."""
  index = jnp.full((1, shape_BxMxHxE[1]), EMPTY, jnp.int32)
  zeros = jnp.zeros(shape_BxMxHxE, dtype)
  at = jax.tree.map(jnp.zeros_like, scheme.remap(index, None))
  return Cache(zeros, zeros, at, index)


def extend(
  cache: Cache, k: Array, v: Array, at: schemes.At, index_1xL: Array
) -> Cache:
  """The cache with new tokens written at slots index_1xL[0, 0] onwards."""
  start = index_1xL[0, 0]
  write = lambda old, new: jax.lax.dynamic_update_slice_in_dim(
    old, new.astype(old.dtype), start, axis=1
  )
  return jax.tree.map(write, cache, Cache(k, v, at, index_1xL))


def _as_row(x: Array) -> Array:
  """B x Q to B x 1 x Q x 1, or B x Q x H to B x H x Q x 1."""
  return x[:, None, :, None] if x.ndim == 2 else x.swapaxes(1, 2)[..., None]


def _as_column(x: Array) -> Array:
  """B x K to B x 1 x 1 x K, or B x K x H to B x H x 1 x K."""
  return x[:, None, None] if x.ndim == 2 else x.swapaxes(1, 2)[:, :, None]
