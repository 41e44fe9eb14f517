"""Additive position: something is added to each logit."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.schemes import base, trained_length


@dataclasses.dataclass(frozen=True)
class ALiBi(base.Scheme):
  """Attention with linear biases: z - m_h * (i - j), nothing learned.

  For a number of heads H that is a power of two, m_h = 2^(-8h/H), h = 1..H;
  otherwise the slopes of c = 2^floor(log2 H) heads are followed by every
  second slope of 2c heads. Units are nats of the logit a token of distance.
  `Interpolate(ALiBi(), s)` has slopes m_h / s, which is the position
  interpolation of Al-Khateeb et al. 2023, arXiv 2310.13017, m_h L / L' with
  s = L' / L.

  Source: Press et al. 2021, arXiv 2108.12409, section 3, and the authors'
  `get_slopes` for other numbers of heads.
  Use: beyond the trained length, where near tokens matter most.
  Fails: a key is e^(-m_h n) times weaker n tokens away whatever it says, so
  steep heads see only near tokens and far ones rest on the flattest.

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
    return -slope * distance(q_at, k_at)


@dataclasses.dataclass(frozen=True)
class T5(base.Scheme):
  """T5's relative bias: z + B[bucket(i - j), h], the table B learned.

  With N = buckets and E = N / 2, a distance n < E has a bucket of its own and a
  larger one shares bucket E + floor(ln(n/E) / ln(max_distance/E) * (N - E)), at
  most N - 1; keys after the query share bucket 0. With `bidirectional` N is
  buckets / 2, and keys after the query have the other N buckets, by -n. The
  table starts at zero in every model.

  T5 itself uses logits without 1/sqrt(E) and a smaller initial q to make up
  for it; `scaled=False` gives the former alone, since here all schemes share
  their initialisation.

  Source: Raffel et al. 2019, arXiv 1910.10683, section 2.1, and the authors'
  `_relative_position_bucket`, whose float32 logarithm puts some distances that
  are exactly an edge one bucket too low.
  Use: to let each head choose which distances it prefers.
  Fails: distances that share a bucket look alike, as do all from max_distance
  on; buckets past the trained length stay at their initial value.

  Attributes:
    buckets: rows of the table; N is even, at least 4.
    max_distance: the distance from which all share the last bucket, in tokens;
      above E. Buckets past the trained length are never trained: `share(1.0)`
      puts the last one there.
    scaled: whether content logits are divided by sqrt(E).
    bidirectional: whether past and future have buckets of their own. A causal
      model uses the half for the past only; this is for comparison with, or
      weights of, an encoder.

  >>> T5().bucket(np.array([0, 15, 16, 18, 19, 112, 113, 4096])).tolist()
  [0, 15, 16, 16, 17, 30, 31, 31]
  """

  buckets: int = 32
  max_distance: trained_length.Whole = 128
  scaled: bool = True
  bidirectional: bool = False

  def __post_init__(self):
    sides = 2 if self.bidirectional else 1
    if self.buckets < 4 * sides or self.buckets % (2 * sides):
      kind = 'a multiple of 4' if self.bidirectional else 'even'
      raise component.UserError(
        f'buckets of T5 must be {kind} and at least {4 * sides}, got '
        f'{self.buckets}: half of those for the past are exact distances'
      )
    if isinstance(self.max_distance, trained_length.Relative):
      return
    if self.max_distance <= self.side // 2:
      raise component.UserError(
        f'max_distance of T5 must exceed buckets / {2 * sides} = '
        f'{self.side // 2}, got {self.max_distance}: raise it or use fewer '
        'buckets'
      )

  @property
  def side(self) -> int:
    """N, the number of buckets for the past."""
    return self.buckets // 2 if self.bidirectional else self.buckets

  def edges(self) -> np.ndarray:
    """The distance from which each bucket but the first begins, float64.

    N - 1 values: 1..E, then E (max_distance / E)^(m / (N - E)).

    >>> T5(buckets=4, max_distance=8).edges().tolist()
    [1.0, 2.0, 4.0]
    """
    exact = self.side // 2
    share = np.arange(1, self.side - exact) / (self.side - exact)
    last = trained_length.number('max_distance of T5', self.max_distance)
    far = exact * (last / exact) ** share
    # A power that ought to be whole must not miss by its last bits.
    whole = np.isclose(far, far.round(), rtol=1e-12, atol=0)
    far = np.where(whole, far.round(), far)
    return np.concatenate([np.arange(1.0, exact + 1), far])

  def bucket(self, distance: jax.Array | np.ndarray) -> jax.Array:
    """The bucket of each distance; below 0, bucket 0 unless bidirectional.

    Args:
      distance: i - j in tokens, of any shape, whole or not.

    Returns:
      int32, of the same shape.
    """
    signed = jnp.asarray(distance).astype(jnp.float32)
    n = jnp.abs(signed) if self.bidirectional else jnp.maximum(signed, 0.0)
    # Rounded up, an edge compares with a float32 exactly as in float64.
    exact = self.edges()
    near = exact.astype(np.float32)
    up = np.nextafter(near, np.float32(np.inf))
    edges = jnp.asarray(np.where(near < exact, up, near))
    reached = n[..., None] >= edges.reshape(*(1,) * n.ndim, -1)
    bucket = jnp.sum(reached, axis=-1, dtype=jnp.int32)
    if not self.bidirectional:
      return bucket
    return bucket + self.side * (signed < 0).astype(jnp.int32)

  def hooks(self):
    # With scaled logits there is nothing to undo.
    return tuple(h for h in super().hooks() if h != 'rotate' or not self.scaled)

  def features(self, dims, place_N):
    del dims
    return {'buckets': np.asarray(self.bucket(place_N))[:, None]}

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


def distance(q_at: jax.Array, k_at: jax.Array) -> jax.Array:
  """i - j in float32, 0 for keys after the query, where masking will act."""
  return jnp.maximum((q_at - k_at).astype(jnp.float32), 0.0)
