"""Additive position as a plain function of the distance i - j."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.schemes import base
from posexp.schemes.bias import distance


@dataclasses.dataclass(frozen=True)
class PerOffset(base.Scheme):
  """One learned bias for each distance: z + r_h[min(i - j, K - 1)].

  The table r, K x heads and in nats of the logit, starts at zero. A distance
  between two rows (under `Interpolate`) is interpolated linearly. An `offsets`
  below 1 is refused. Source: the scalar form of Shaw et al. 2018, arXiv
  1803.02155, section 3.2, causal; the unbucketed case of Raffel et al. 2019,
  arXiv 1910.10683, section 2.1.

  Use: as the control for T5, with as many rows as the training has distances.
  Fails: rows at or past the trained length are never trained and stay at their
  initial value; with fewer rows all far tokens look alike.

  Attributes:
    offsets: K, the rows of the table; the last one is shared by every distance
      of K - 1 and more. At most the trained length.

  >>> at = jnp.array([0.0, 1.0, 1.5, 9.0])
  >>> head = base.Head(jnp.array(0), 1)
  >>> params = {'table_KxH': jnp.array([[0.0], [2.0], [3.0]])}
  >>> PerOffset(offsets=3).bias(params, head, at, jnp.zeros(4)).tolist()
  [0.0, 2.0, 2.5, 3.0]
  """

  offsets: int = 64

  def __post_init__(self):
    component.at_least(
      'offsets of PerOffset', self.offsets, 1, 'give the trained length'
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
    n = jnp.minimum(distance(q_at, k_at), last)
    below = n.astype(jnp.int32)
    share = n - below.astype(jnp.float32)
    low = table_KxH[below, head.index]
    high = table_KxH[jnp.minimum(below + 1, last), head.index]
    return (1 - share) * low + share * high


# The authors keep p and a at or above this after every step.
FLOOR = 0.01


@dataclasses.dataclass(frozen=True)
class KERPLE(base.Scheme):
  """Kernelised relative bias, learned for each head, with n = i - j.

  'log': z - p_h ln(1 + a_h n); 'power': z - a_h n^p_h, p_h at most 2. Another
  kind is refused. Initially p_h is uniform in [0, 2) and a_h in [0, 1), per
  layer, as in the authors' code, which puts both back to 0.01 or more before
  each use. Here they are clamped where they are used, with a gradient as if
  they were not, so that none is ever stuck; and the one in front (p of 'log',
  a of 'power') may reach 0, where a head has no bias at all and still learns.

  Source: Chi et al. 2022, arXiv 2205.09921, the logarithmic and the power
  variant (the authors' ParallelKerpleLog and ParallelKerplePower).

  Use: 'log' where far tokens should fade but not vanish, beyond the trained
  length. Fails: the bias only ever decreases, so a head cannot prefer a
  distance; with p_h above 1 'power' is a window about a_h^(-1/p_h) wide.

  Attributes:
    kind: 'log' or 'power'.

  >>> params = {'p_H': jnp.array([1.5]), 'a_H': jnp.array([0.5])}
  >>> head = base.Head(jnp.array(0), 1)
  >>> at = jnp.array([0.0, 1.0, 4.0])
  >>> KERPLE('power').bias(params, head, at, jnp.zeros(3)).round(4).tolist()
  [-0.0, -0.5, -4.0]
  """

  kind: Literal['log', 'power'] = 'log'

  def __post_init__(self):
    component.one_of('kind of KERPLE', self.kind, ('log', 'power'))

  def init_layer(self, key, dims):
    uniform = lambda k, top: jax.random.uniform(k, (dims.heads,), maxval=top)
    p_key, a_key = jax.random.split(key)
    return {'p_H': uniform(p_key, 2.0), 'a_H': uniform(a_key, 1.0)}

  def neutral(self, params):
    """No bias; the other parameter stays, or neither would ever learn."""
    front = 'p_H' if self.kind == 'log' else 'a_H'
    return {**params, front: jnp.zeros_like(params[front])}

  def bias(self, params, head, q_at, k_at):
    n = distance(q_at, k_at)
    p_H, a_H = (params[k].astype(jnp.float32) for k in ('p_H', 'a_H'))
    if self.kind == 'log':
      p = _within(p_H, 0.0, np.inf)[head.index]
      a = _within(a_H, FLOOR, np.inf)[head.index]
      return -p * jnp.log1p(a * n)
    p = _within(p_H, FLOOR, 2.0)[head.index]
    a = _within(a_H, 0.0, np.inf)[head.index]
    # n^p has no gradient at 0 for p < 1. What is clamped there is finite, and
    # so is what the selection takes away.
    power = jnp.exp(p * jnp.log(jnp.maximum(n, 1e-30)))
    return -a * jnp.where(n > 0, power, 0.0)


@dataclasses.dataclass(frozen=True)
class Sandwich(base.Scheme):
  """What sinusoids say about distance alone: z + p_i.p_j / r_h.

  p_i.p_j = sum over k = 0..d/2-1 of cos((i - j) 10000^(-2k/d)) and r_h = 8h/H,
  h = 1..H; nothing is learned. In the text k runs from 1 to d/2, in the
  authors' listing and here from 0. Angles are float32 and taken per token, off
  by at most 6e-8 of themselves: at 32,768 tokens the sum is off by a few
  thousandths. An odd width is refused.

  Source: Chi et al. 2022, arXiv 2212.10356, the listing in appendix E.

  Use: as a fixed bias that fades like a logarithm of the distance. Fails: past
  neighbours the sum is a wave and not monotonic, and heads differ by a factor
  only; cos has no sign, so without a causal mask past and future are alike.

  Attributes:
    width: d, the width of the sinusoids, unrelated to that of the model.

  >>> head = base.Head(jnp.arange(2), 2)
  >>> at = jnp.array([7.0, 7.0])
  >>> Sandwich(width=8).bias({}, head, at, at).tolist()
  [1.0, 0.5]
  """

  width: int = 128

  def __post_init__(self):
    if self.width < 2 or self.width % 2:
      raise component.UserError(
        f'width of Sandwich must be even and at least 2, got {self.width}: '
        'the paper has 128'
      )

  def ratios(self, heads: int) -> np.ndarray:
    """r_h, float64, one value a head.

    >>> Sandwich().ratios(4).tolist()
    [2.0, 4.0, 6.0, 8.0]
    """
    return 8.0 * np.arange(1, heads + 1) / heads

  def bias(self, params, head, q_at, k_at):
    del params
    theta = 10000.0 ** (-np.arange(0, self.width, 2) / self.width)

    def waves(at):
      angle = at.astype(jnp.float32)[..., None] * jnp.asarray(
        theta, jnp.float32
      ).reshape(*(1,) * at.ndim, -1)
      return jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], -1)

    # As a product of tokens: cosines of all pairs would be d / 2 times Q x K.
    total = jnp.einsum(
      '...d,...d->...',
      waves(q_at),
      waves(k_at),
      precision=jax.lax.Precision.HIGHEST,
    )
    ratio = jnp.asarray(self.ratios(head.count), jnp.float32)[head.index]
    return total / ratio


def _within(x: jax.Array, low: float, high: float) -> jax.Array:
  """The nearest value in [low, high], with the gradient of x itself."""
  clamped = jax.lax.stop_gradient(jnp.clip(x, low, high))
  return clamped + (x - jax.lax.stop_gradient(x))
