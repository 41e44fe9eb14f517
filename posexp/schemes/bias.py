"""Biases that are a formula of the distance i - j."""

import dataclasses
import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.schemes import base


@dataclasses.dataclass(frozen=True)
class ALiBi(base.Scheme):
  """Subtract a fixed multiple of the distance from each logit.

    z_ij - m_h (i - j)

  Attention with linear biases. For a number of heads H that is a power of two,
  `m_h = 2^(-8h/H)`, `h = 1..H`; otherwise the slopes of `c = 2^floor(log2 H)`
  heads are followed by every second slope of 2c heads. Units are nats of the
  logit a token of distance. `Interpolate(ALiBi(), s)` has slopes `m_h / s`,
  which with `s = L' / L` is the position interpolation of Al-Khateeb et al.
  2023, arXiv 2310.13017.

  Source: Press et al. 2021, arXiv 2108.12409, section 3, and the authors'
  `get_slopes` for other numbers of heads.
  Use: beyond the trained length, where near tokens matter most.
  Fails: a key is `e^(-m_h n)` times weaker n tokens away whatever it says, so
  steep heads see only near tokens and far ones rest on the flattest.
  Golden: ofirpress/attention_with_linear_biases (authors).

  >>> ALiBi().slopes(4)
  array([0.25      , 0.0625    , 0.015625  , 0.00390625])
  >>> ALiBi().slopes(6)[4:]
  array([0.5  , 0.125])
  """

  def slopes(self, heads: int) -> np.ndarray:
    """Return m_h, float64, one value a head."""
    power = 2 ** math.floor(math.log2(heads))
    slopes_H = 2.0 ** (-8.0 * np.arange(1, power + 1) / power)
    between = 2.0 ** (-8.0 * np.arange(1, 2 * power + 1, 2) / (2 * power))
    return np.concatenate([slopes_H, between[: heads - power]])

  def bias(self, params, head, q_at, k_at):
    del params
    slope = jnp.asarray(self.slopes(head.count), jnp.float32)[head.index]
    return -slope * distance(q_at, k_at)


# The authors keep p and a at or above this after every step.
FLOOR = 0.01


@dataclasses.dataclass(frozen=True)
class KERPLE(base.Scheme):
  """Subtract a learned kernel of the distance from each logit.

    'log':    z_ij - p_h ln(1 + a_h n),  n = i - j
    'power':  z_ij - a_h n^p_h,  p_h at most 2

  Initially `p_h` is uniform in [0, 2) and `a_h` in [0, 1), per layer, as in the
  authors' code, which puts both back to 0.01 or more before each use. Here they
  are clamped where they are used, with a gradient as if they were not, so that
  none is ever stuck; and the one in front (p of 'log', a of 'power') may reach
  0, where a head has no bias at all and still learns.

  Source: Chi et al. 2022, arXiv 2205.09921, the logarithmic and the power
  variant (the authors' ParallelKerpleLog and ParallelKerplePower).
  Use: 'log' where far tokens should fade but not vanish, beyond the trained
  length.
  Fails: the bias only ever decreases, so a head cannot prefer a distance; with
  `p_h` above 1 'power' is a window about `a_h^(-1/p_h)` wide.
  Golden: chijames/KERPLE (authors).

  Attributes:
    kind: 'log' or 'power'.

  >>> params = {'p_H': jnp.array([1.5]), 'a_H': jnp.array([0.5])}
  >>> head = base.Head(jnp.array(0), 1)
  >>> at = jnp.array([0.0, 1.0, 4.0])
  >>> KERPLE('power').bias(params, head, at, jnp.zeros(3)).round(4).tolist()
  [-0.0, -0.5, -4.0]
  """

  kind: Literal['log', 'power'] = component.field(
    'log', one_of=('log', 'power')
  )

  def init_layer(self, key, dims):
    def uniform(k, top):
      return jax.random.uniform(k, (dims.heads,), maxval=top)

    p_key, a_key = jax.random.split(self.own_key(key))
    return {'p_H': uniform(p_key, 2.0), 'a_H': uniform(a_key, 1.0)}

  def neutral(self, params):
    """Return no bias; the other parameter stays, or neither would learn."""
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
  """Add the product of two sinusoidal embeddings to each logit.

    z_ij + p_i . p_j / r_h,  r_h = 8h/H,  h = 1..H
    p_i . p_j = sum over k = 0..d/2-1 of cos((i - j) 10000^(-2k/d))

  Nothing is learned. In the text k runs from 1 to d/2, in the authors' listing
  and here from 0. Angles are float32 and taken per token, off by at most 6e-8
  of themselves: at 32,768 tokens the sum is off by a few thousandths.

  Source: Chi et al. 2022, arXiv 2212.10356, the listing in appendix E.
  Use: as a fixed bias that fades like a logarithm of the distance.
  Fails: past neighbours the sum is a wave and not monotonic, and heads differ
  by a factor only; cos has no sign, so without a causal mask past and future
  are alike.
  Golden: meta-pytorch/attention-gym.

  Attributes:
    width: d, the width of the sinusoids, unrelated to that of the model; an odd
      one is refused.

  >>> head = base.Head(jnp.arange(2), 2)
  >>> at = jnp.array([7.0, 7.0])
  >>> Sandwich(width=8).bias({}, head, at, at).tolist()
  [1.0, 0.5]
  """

  width: int = component.field(
    128, even=True, at_least=2, remedy='the paper has 128'
  )

  def ratios(self, heads: int) -> np.ndarray:
    """Return r_h, float64, one value a head.

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
  """Return the nearest value in [low, high], with the gradient of x itself."""
  clamped = jax.lax.stop_gradient(jnp.clip(x, low, high))
  return clamped + (x - jax.lax.stop_gradient(x))


def distance(q_at: jax.Array, k_at: jax.Array) -> jax.Array:
  """Return i - j, float32, 0 for keys after the query: masking acts there."""
  return jnp.maximum((q_at - k_at).astype(jnp.float32), 0.0)
