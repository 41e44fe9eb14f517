"""Dense attention: all logits at once."""

import jax
import jax.numpy as jnp

from posexp import schemes
from posexp.attention import placed

Array = jax.Array


def attend(
  scheme: schemes.Scheme,
  params: schemes.Params,
  queries: placed.Placed,
  keys: placed.Placed,
  v_BxHxKxE: Array,
  window: int | None = None,
) -> Array:
  """Attention from a matrix of all logits, B x H x Q x E."""
  weights_BxHxQxK = normalise(
    scheme, logits(scheme, params, queries, keys, window)
  )
  weights_BxHxQxK = weights_BxHxQxK.astype(v_BxHxKxE.dtype)
  return jnp.einsum('bhqk,bhke->bhqe', weights_BxHxQxK, v_BxHxKxE)


def logits(
  scheme: schemes.Scheme,
  params: schemes.Params,
  queries: placed.Placed,
  keys: placed.Placed,
  window: int | None = None,
) -> Array:
  """Compute the logit of each key for each query, B x H x Q x K, float32.

  `placed.LOWEST` for keys that are not seen.
  """
  visible = placed.seen(queries, keys, window)
  logits_BxHxQxK = placed.logits(scheme, params, queries, keys)
  logits_BxHxQxK = jnp.where(visible, logits_BxHxQxK, placed.LOWEST)
  if scheme.blockwise:
    return logits_BxHxQxK
  content = queries.content_BxLxHxE
  assert content is not None, 'what changes rows needs the content of queries'
  content = placed.scaled(content, content.shape[-1])
  logits_BxHxQxK = scheme.rescore(
    params, logits_BxHxQxK, content, queries.at, keys.at
  )
  return jnp.where(visible, logits_BxHxQxK, placed.LOWEST)


def normalise(scheme: schemes.Scheme, logits_BxHxQxK: Array) -> Array:
  """Weights from logits: their softmax, unless the scheme says otherwise."""
  if scheme.normalised:
    return jax.nn.softmax(logits_BxHxQxK, axis=-1)
  return jnp.exp(logits_BxHxQxK)
