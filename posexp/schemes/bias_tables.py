"""Biases from learned tables: one row per distance or bucket of distances."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.schemes import base, bias, trained_length


@dataclasses.dataclass(frozen=True)
class T5(base.Scheme):
  """Add a learned bias for the bucket of the distance.

    z_ij + B[bucket(i - j), h]

  With N buckets for the past and `E = N / 2`, a distance n below E has a bucket
  of its own; a larger one shares bucket
  `E + floor(ln(n/E) / ln(max_distance/E) * (N - E))`, at most N - 1; keys after
  the query share bucket 0. With `bidirectional` N is buckets / 2, and keys
  after the query have the other N buckets, by -n. The table B starts at zero in
  every model.

  T5 itself uses logits without 1/sqrt(E) and a smaller initial q to make up
  for it; `scaled=False` gives the former alone, since here all schemes share
  their initialisation.

  Source: Raffel et al. 2019, arXiv 1910.10683, section 2.1, and the authors'
  `_relative_position_bucket`, whose float32 logarithm puts some distances that
  are exactly an edge one bucket too low.
  Use: to let each head choose which distances it prefers.
  Fails: distances that share a bucket look alike, as do all from `max_distance`
  on; buckets past the trained length stay at their initial value.
  Golden: huggingface/transformers.

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

  computed = {'_edges': ('max_distance',)}
  buckets: int = component.field(
    32,
    even=True,
    at_least=4,
    remedy='half of those for the past are exact distances',
  )
  max_distance: trained_length.Whole = 128
  scaled: bool = True
  bidirectional: bool = False

  def __post_init__(self):
    super().__post_init__()
    if self.bidirectional and (self.buckets < 8 or self.buckets % 4):
      raise component.UserError(
        f'buckets of T5 must be a multiple of 4 and at least 8, got '
        f'{self.buckets}: half of those for the past are exact distances'
      )
    exact = self.side // 2
    remedy = (
      f'the first {exact} distances have a bucket each: use fewer buckets'
    )
    component.require(self, 'max_distance', above=exact, remedy=remedy)

  @property
  def side(self) -> int:
    """Return N, the number of buckets for the past."""
    return self.buckets // 2 if self.bidirectional else self.buckets

  def edges(self) -> np.ndarray:
    """Return the distance at which each bucket but the first begins, float64.

    N - 1 values: 1..E, then E (max_distance / E)^(m / (N - E)).

    >>> T5(buckets=4, max_distance=8).edges().tolist()
    [1.0, 2.0, 4.0]
    """
    exact = self.side // 2
    share = np.arange(1, self.side - exact) / (self.side - exact)
    last = trained_length.number(self, 'max_distance')
    far = exact * (last / exact) ** share
    # A power that ought to be whole must not miss by its last bits.
    whole = np.isclose(far, far.round(), rtol=1e-12, atol=0)
    far = np.where(whole, far.round(), far)
    return np.concatenate([np.arange(1.0, exact + 1), far])

  def bucket(self, distance: jax.Array | np.ndarray) -> jax.Array:
    """Return the bucket of each distance; below 0, 0 unless bidirectional.

    Args:
      distance: i - j in tokens, of any shape, whole or not.

    Returns:
      int32, of the same shape.
    """
    signed = jnp.asarray(distance).astype(jnp.float32)
    n = jnp.abs(signed) if self.bidirectional else jnp.maximum(signed, 0.0)
    edges = jnp.asarray(self._edges())
    reached = n[..., None] >= edges.reshape(*(1,) * n.ndim, -1)
    bucket = jnp.sum(reached, axis=-1, dtype=jnp.int32)
    if not self.bidirectional:
      return bucket
    return bucket + self.side * (signed < 0).astype(jnp.int32)

  def _edges(self) -> np.ndarray:
    """Return the edges in float32, rounded up.

    So they compare with a float32 exactly as in float64.
    """
    exact = self.edges()
    near = exact.astype(np.float32)
    up = np.nextafter(near, np.float32(np.inf))
    return np.where(near < exact, up, near)

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


@dataclasses.dataclass(frozen=True)
class PerOffset(base.Scheme):
  """Add a learned bias for each single distance.

    z_ij + r_h[min(i - j, K - 1)]

  The table r, K x heads and in nats of the logit, starts at zero. A distance
  between two rows (under `Interpolate`) is interpolated linearly.

  Source: the scalar form of Shaw et al. 2018, arXiv 1803.02155, section 3.2,
  causal; the unbucketed case of Raffel et al. 2019, arXiv 1910.10683, section
  2.1.
  Use: as the control for T5, with as many rows as the training has distances.
  Fails: rows at or past the trained length are never trained and stay at their
  initial value; with fewer rows all far tokens look alike.

  Attributes:
    offsets: K, the rows of the table, at least 1; the last one is shared by
      every distance of K - 1 and more. At most the trained length.

  >>> at = jnp.array([0.0, 1.0, 1.5, 9.0])
  >>> head = base.Head(jnp.array(0), 1)
  >>> params = {'table_KxH': jnp.array([[0.0], [2.0], [3.0]])}
  >>> PerOffset(offsets=3).bias(params, head, at, jnp.zeros(4)).tolist()
  [0.0, 2.0, 2.5, 3.0]
  """

  offsets: int = component.field(
    64, at_least=1, remedy='give the trained length'
  )

  def init_layer(self, key, dims):
    del key
    return {'table_KxH': jnp.zeros((self.offsets, dims.heads), jnp.float32)}

  def features(self, dims, place_N):
    del dims
    row_N = np.minimum(np.floor(place_N), self.offsets - 1)
    return {'offsets': row_N[:, None]}

  def bias(self, params, head, q_at, k_at):
    table_KxH = params['table_KxH'].astype(jnp.float32)
    last = table_KxH.shape[0] - 1
    n = jnp.minimum(bias.distance(q_at, k_at), last)
    below = n.astype(jnp.int32)
    share = n - below.astype(jnp.float32)
    low = table_KxH[below, head.index]
    high = table_KxH[jnp.minimum(below + 1, last), head.index]
    return (1 - share) * low + share * high
