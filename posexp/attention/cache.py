"""Keys and values that are kept for the tokens to come."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from posexp import component, schemes
from posexp.attention import placed

Array = jax.Array


class Cache(NamedTuple):
  """Keys and values of one layer, M slots.

  Attributes:
    keys: rotated, in order; an empty slot has the index `placed.EMPTY`.
    v_BxHxMxE: values.
  """

  keys: placed.Placed
  v_BxHxMxE: Array


def empty_cache(
  scheme: schemes.Scheme,
  dims: schemes.Dims,
  batch: int,
  slots: int,
  dtype: jnp.dtype,
) -> Cache:
  """Make a cache with every slot empty.

  Raises:
    UserError: if the scheme cannot serve so many tokens.
  """
  if not schemes.is_filled(scheme):  # What is filled was checked before.
    scheme.check(dims, slots)
  index_1xM = jnp.full((1, slots), placed.EMPTY, jnp.int32)

  def filled():
    params = scheme.init_layer(jax.random.key(0), dims)
    x_BxMxD = jnp.zeros((batch, slots, dims.width), dtype)
    at = scheme.locate(params, x_BxMxD, scheme.remap(index_1xM, None), None)
    k_BxMxHxE = x_BxMxD.reshape(batch, slots, dims.heads, dims.head_width)
    keys = placed.place(scheme, params, 'k', k_BxMxHxE, at, index_1xM)
    return Cache(
      keys._replace(content_BxLxHxE=None), placed.heads_first(k_BxMxHxE)
    )

  # What a scheme makes of a key may be wider, and its clock have heads.
  def empty(x):
    return jnp.zeros(x.shape, x.dtype)

  cache = jax.tree.map(empty, jax.eval_shape(filled))
  return cache._replace(keys=cache.keys._replace(index_1xL=index_1xM))


def before(cache: Cache, start: Array | int) -> schemes.At:
  """Return the positions of the token before `start`, or zeros."""

  def last(x_BxM):
    last = jax.lax.dynamic_slice_in_dim(x_BxM, start - 1, 1, axis=1)
    return jnp.where(start > 0, last, jnp.zeros_like(last))

  return jax.tree.map(last, cache.keys.at)


def extend(cache: Cache, keys: placed.Placed, v_BxHxLxE: Array) -> Cache:
  """Write new tokens at the slots from the index of the first onwards.

  Tokens past the last slot turn all later results into NaN, since under jit
  their indices are not known in time to raise.

  Raises:
    UserError: if there are more tokens than slots.
  """
  length, slots = keys.index_1xL.shape[1], cache.keys.index_1xL.shape[1]
  if length > slots:
    raise component.UserError(
      f'the cache has {slots} slots but {length} tokens were given: make it '
      'as long as the sequence'
    )
  new = Cache(keys._replace(content_BxLxHxE=None), v_BxHxLxE)

  def write(cache):
    def write_one(old, new):
      start, axis = keys.index_1xL[0, 0], 2 if old.ndim == 4 else 1
      new = new.astype(old.dtype)
      return jax.lax.dynamic_update_slice_in_dim(old, new, start, axis)

    return jax.tree.map(write_one, cache, new)

  def spoil(cache):
    return cache._replace(v_BxHxMxE=jnp.full_like(cache.v_BxHxMxE, jnp.nan))

  # A write past the end is moved back by XLA, onto other tokens' slots. And
  # without a condition XLA fuses the write into each use of the cache, each
  # with a copy of its own: decoding is five times slower then.
  fits = keys.index_1xL[0, -1] < slots
  return jax.lax.cond(fits, write, spoil, cache)
