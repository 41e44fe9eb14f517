"""Additive position: something is added to each logit."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from posexp.schemes import base


@dataclasses.dataclass(frozen=True)
class ALiBi(base.Scheme):
  """Attention with linear biases: z - m_h * (i - j), nothing learned.

  For a number of heads H that is a power of two, m_h = 2^(-8h/H), h = 1..H;
  otherwise the slopes of c = 2^floor(log2 H) heads are followed by every
  second slope of 2c heads. Units are nats of the logit a token of distance.
  Source: Press et al. 2021, arXiv 2108.12409, section 3, and the authors'
  `get_slopes` for other numbers of heads.

  >>> ALiBi().slopes(4)
  array([0.25      , 0.0625    , 0.015625  , 0.00390625])
  >>> ALiBi().slopes(6)[4:]
  array([0.5  , 0.125])
  """

  def slopes(self, heads: int) -> np.ndarray:
    """m_h, float64, one value a head."""
    power = 2 ** math.floor(math.log2(heads))
    slopes_H = 2.0 ** (-8.0 * np.arange(1, power + 1) / power)
    between = 2.0 ** (-8.0 * np.arange(1, 2 * power + 1, 2) / (2 * power))
    return np.concatenate([slopes_H, between[: heads - power]])

  def bias(self, params, head, q_at, k_at):
    del params
    slope = jnp.asarray(self.slopes(head.count), jnp.float32)[head.index]
    return -slope * _distance(q_at, k_at)


@dataclasses.dataclass(frozen=True)
class T5(base.Scheme):
  """T5's relative bias: z + B[bucket(i - j), h], the table B learned.

  With E = buckets / 2, a distance n < E has a bucket of its own and a larger
  one shares bucket E + floor(ln(n/E) / ln(max_distance/E) * (buckets - E)), at
  most buckets - 1. The table starts at zero in every model.

  T5 itself uses logits without 1/sqrt(E) and a smaller initial q to make up
  for it; `scaled=False` gives the former alone, since here all schemes share
  their initialisation. Source: Raffel et al. 2019, arXiv 1910.10683, section
  2.1, and the authors' `_relative_position_bucket`, causal.

  Attributes:
    buckets: rows of the table; even, at least 4.
    max_distance: the distance from which all share the last bucket, in tokens;
      above buckets / 2. Buckets past the trained length are never trained.
    scaled: whether content logits are divided by sqrt(E).

  >>> T5().bucket(np.array([0, 15, 16, 18, 19, 112, 113, 4096])).tolist()
  [0, 15, 16, 16, 17, 30, 31, 31]
  """

  buckets: int = 32
  max_distance: int = 128
  scaled: bool = True

  def __post_init__(self):
    if self.buckets < 4 or self.buckets % 2:
      raise ValueError(
        f'buckets of T5 must be even and at least 4, got {self.buckets}: half '
        'of them are exact distances'
      )
    if self.max_distance <= self.buckets // 2:
      raise ValueError(
        f'max_distance of T5 must exceed buckets / 2 = {self.buckets // 2}, '
        f'got {self.max_distance}: raise it or use fewer buckets'
      )

  def edges(self) -> np.ndarray:
    """The distance from which each bucket but the first begins, float64.

    buckets - 1 values: 1..E, then E (max_distance / E)^(m / (buckets - E)).

    >>> T5(buckets=4, max_distance=8).edges().tolist()
    [1.0, 2.0, 4.0]
    """
    exact = self.buckets // 2
    share = np.arange(1, self.buckets - exact) / (self.buckets - exact)
    far = exact * (self.max_distance / exact) ** share
    # A power that ought to be whole must not miss by its last bits.
    whole = np.isclose(far, far.round(), rtol=1e-12, atol=0)
    far = np.where(whole, far.round(), far)
    return np.concatenate([np.arange(1.0, exact + 1), far])

  def bucket(self, distance: jax.Array | np.ndarray) -> jax.Array:
    """The bucket of each distance; a distance below 0 is in bucket 0.

    Args:
      distance: i - j in tokens, of any shape, whole or not.

    Returns:
      int32, of the same shape.
    """
    distance = jnp.maximum(jnp.asarray(distance).astype(jnp.float32), 0.0)
    # Rounded up, an edge compares with a float32 exactly as in float64.
    exact = self.edges()
    near = exact.astype(np.float32)
    up = np.nextafter(near, np.float32(np.inf))
    edges = jnp.asarray(np.where(near < exact, up, near))
    reached = distance[..., None] >= edges.reshape(*(1,) * distance.ndim, -1)
    return jnp.sum(reached, axis=-1, dtype=jnp.int32)

  def hooks(self):
    # With scaled logits there is nothing to undo.
    return tuple(h for h in super().hooks() if h != 'rotate' or not self.scaled)

  def init_layer(self, key, dims):
    del key
    return {'table_NxH': jnp.zeros((self.buckets, dims.heads), jnp.float32)}

  def rotate(self, params, x_BxLxHxE, at, side):
    del params, at
    if self.scaled or side == 'k':
      return x_BxLxHxE
    return x_BxLxHxE * jnp.asarray(
      math.sqrt(x_BxLxHxE.shape[-1]), x_BxLxHxE.dtype
    )

  def bias(self, params, head, q_at, k_at):
    bucket = self.bucket(q_at - k_at)
    return params['table_NxH'].astype(jnp.float32)[bucket, head.index]


def _distance(q_at: jax.Array, k_at: jax.Array) -> jax.Array:
  """i - j in float32, 0 for keys after the query, where masking will act."""
  return jnp.maximum((q_at - k_at).astype(jnp.float32), 0.0)
