"""Queries and keys under a scheme: where its hooks meet attention.

`rotate` and `bias` of a scheme are called here for every implementation of
attention; `rescore`, which needs whole rows, in `dense`. Positions (`remap` and
`locate`) come from the caller: `attend.attend`, a model or a cache.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from posexp import schemes

Array = jax.Array

# The index of a cache slot that is still empty: after every query, so masked.
EMPTY = jnp.iinfo(jnp.int32).max

# A masked logit: finite, not -inf, so that no gradient is ever 0 * inf.
LOWEST = float(jnp.finfo(jnp.float32).min)


class Placed(NamedTuple):
  """Queries or keys of a layer, and where they are.

  Attributes:
    x_BxHxLxE: after `rotate`; queries are divided by sqrt(E) too.
    at: the scheme's positions, leaves B x L or B x L x H, where B may be 1.
    index_1xL: token indices, EMPTY where a slot of a cache is not yet used.
    content_BxLxHxE: what was rotated, None where nothing needs it.
  """

  x_BxHxLxE: Array
  at: schemes.At
  index_1xL: Array
  content_BxLxHxE: Any = None


def heads_first(x: Array) -> Array:
  """B x L to B x 1 x L x 1, B x L x H (x E) to B x H x L x 1 (or E)."""
  if x.ndim == 2:
    return x[:, None, :, None]
  x = x.swapaxes(1, 2)
  return x[..., None] if x.ndim == 3 else x


def scaled(x: Array, width: int) -> Array:
  """Queries divided by the root of the width of a head, in their dtype."""
  return x * jnp.asarray(1 / math.sqrt(width), x.dtype)


def place(
  scheme: schemes.Scheme,
  params: schemes.Params,
  side: schemes.Side,
  x_BxLxHxE: Array,
  at: schemes.At,
  index_1xL: Array,
) -> Placed:
  """Rotate queries (side 'q', which are then scaled) or keys ('k')."""
  rotated = scheme.rotate(params, x_BxLxHxE, at, side)
  if side == 'q':
    rotated = scaled(rotated, x_BxLxHxE.shape[-1])
  return Placed(heads_first(rotated), at, index_1xL, x_BxLxHxE)


def bias(
  scheme: schemes.Scheme,
  params: schemes.Params,
  heads: int,
  q_at: schemes.At,
  k_at: schemes.At,
) -> Array | float:
  """Compute what is added to q.k, float32, broadcasting to B x H x Q x K.

  The positions have leaves B x L or B x L x H, as in `Placed`.
  """
  head = schemes.Head(jnp.arange(heads).reshape(1, heads, 1, 1), heads)
  q_at, k_at = jax.tree.map(heads_first, (q_at, k_at))
  k_at = jax.tree.map(lambda x: x.swapaxes(2, 3), k_at)
  added = scheme.bias(params, head, q_at, k_at)
  return added if isinstance(added, float) else added.astype(jnp.float32)


def product(queries: Placed, keys: Placed) -> Array:
  """Compute q.k for all pairs, B x H x Q x K, float32."""
  return jnp.einsum(
    'bhqe,bhke->bhqk',
    queries.x_BxHxLxE,
    keys.x_BxHxLxE,
    preferred_element_type=jnp.float32,
  )


def logits(
  scheme: schemes.Scheme, params: schemes.Params, queries: Placed, keys: Placed
) -> Array:
  """Compute q.k + b for all pairs, none masked, B x H x Q x K, float32."""
  heads = queries.x_BxHxLxE.shape[1]
  added = bias(scheme, params, heads, queries.at, keys.at)
  return product(queries, keys) + added


def seen(queries: Placed, keys: Placed, window: int | None = None) -> Array:
  """Return which keys a query may see, 1 x 1 x Q x K."""
  q_index = queries.index_1xL[:, None, :, None]
  k_index = keys.index_1xL[:, None, None, :]
  past = k_index <= q_index
  return past if window is None else past & (k_index > q_index - window)


def by_distance(scheme: schemes.Scheme) -> bool:
  """Return whether there is a bias that depends on distance alone."""
  biased = [part for part in scheme.parts if 'bias' in part.hooks()]
  moved = {'remap', 'locate'}
  return bool(biased) and all(
    part.relative and not moved & set(part.hooks()) for part in biased
  )


def table(
  scheme: schemes.Scheme,
  params: schemes.Params,
  heads: int,
  distance_N: Array,
) -> Array:
  """Compute the bias of each head at each distance, H x N, float32.

  For a scheme whose bias is `by_distance`; at distances below 0 it is that at
  0, which is finite, since such keys are masked.
  """
  index_1xN = jnp.maximum(distance_N, 0)[None]
  q_at = scheme.remap(index_1xN, None)
  k_at = scheme.remap(jnp.zeros_like(index_1xN[:, :1]), None)
  added = bias(scheme, params, heads, q_at, k_at)
  shape = 1, heads, index_1xN.shape[1], 1
  return jnp.broadcast_to(added, shape)[0, :, :, 0]
