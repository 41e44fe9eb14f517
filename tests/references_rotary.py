"""References for what rotates: frequency laws, rotations and xPos.

A law is (law, base, width) to one angle a pair; the laws that depend on a
length are as at lengths up to the trained one.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

Vector = np.ndarray
Angles = Callable[..., Sequence[float]]


def rotation(scheme, angles: Angles) -> Callable:
  """arXiv 2104.09864, equations 15 and 34, on the first r dimensions."""
  law = scheme.frequencies
  # The published factors are on q and on k, hence the square on their product.
  factors = {'YaRN': yarn_factor, 'LongRoPE': longrope_factor}
  factor = factors.get(type(law).__name__, lambda law: 1.0)(law)

  def rotate(params, x, p, side):
    del params, side
    width = len(x) if scheme.rotated is None else scheme.rotated
    out = np.array(x, np.float64)
    for k, theta in enumerate(angles(law, scheme.base, width)):
      first, second = k, k + width // 2
      if scheme.pairing == 'interleaved':
        first, second = 2 * k, 2 * k + 1
      turn = complex(math.cos(p * theta), math.sin(p * theta))
      pair = factor * complex(x[first], x[second]) * turn
      out[first], out[second] = pair.real, pair.imag
    return out

  return rotate


def fading(scheme, rotate: Callable) -> Callable:
  """arXiv 2212.10554 and torchscale: zeta_i = (i / (d/2) + 0.4) / 1.4."""
  rope = scheme.rope

  def faded(params, x, p, side):
    out = rotate(params, x, p, side)
    width = len(x) if rope.rotated is None else rope.rotated
    for k in range(width // 2):
      zeta = (k / (width / 2) + 0.4) / 1.4
      power = zeta ** (p / scheme.scale_base)
      pair = (k, k + width // 2)
      if rope.pairing == 'interleaved':
        pair = (2 * k, 2 * k + 1)
      for n in pair:
        out[n] = out[n] * power if side == 'q' else out[n] / power
    return out

  return faded


def unscaled_law(law, base: float, width: int) -> Sequence[float]:
  """arXiv 2104.09864, equation 15: theta_i = 10000^(-2 (i - 1) / d)."""
  del law
  return [base ** (-2 * (i - 1) / width) for i in range(1, width // 2 + 1)]


def linear_law(law, base: float, width: int) -> Sequence[float]:
  """arXiv 2306.15595, equation 4: f'(x, m) = f(x, m L / L')."""
  return [t / law.factor for t in unscaled_law(None, base, width)]


def ntk_law(law, base: float, width: int) -> Sequence[float]:
  """arXiv 2309.00071, definition 1: b' = b s^(|D| / (|D| - 2))."""
  scaled = base * law.factor ** (width / (width - 2))
  return unscaled_law(None, scaled, width)


def dynamic_ntk_law(law, base: float, width: int, length=0) -> Sequence[float]:
  """The code of arXiv 2309.00071: s = f l / L - (f - 1) for l > L."""
  over = max(length / law.train_length, 1.0)
  scale = law.factor * over - (law.factor - 1)
  return unscaled_law(None, base * scale ** (width / (width - 2)), width)


def _by_parts(law, base: float, width: int, low: float, high: float):
  """arXiv 2309.00071, equations 17, 18 and 20."""
  for theta in unscaled_law(None, base, width):
    wavelength = 2 * math.pi / theta
    ratio = law.train_length / wavelength
    if ratio < low:
      gamma = 0.0
    elif ratio > high or low == high:
      gamma = 1.0
    else:
      gamma = (ratio - low) / (high - low)
    yield (1 - gamma) * theta / law.factor + gamma * theta


def by_parts_law(law, base: float, width: int) -> Sequence[float]:
  """arXiv 2309.00071, equation 20."""
  return list(_by_parts(law, base, width, law.alpha, law.beta))


def llama3_law(law, base: float, width: int) -> Sequence[float]:
  """Llama 3.1's apply_scaling, by wavelengths."""
  out = []
  for theta in unscaled_law(None, base, width):
    wavelength = 2 * math.pi / theta
    if wavelength < law.train_length / law.high:
      out.append(theta)
    elif wavelength > law.train_length / law.low:
      out.append(theta / law.factor)
    else:
      smooth = law.train_length / wavelength - law.low
      smooth /= law.high - law.low
      out.append((1 - smooth) * theta / law.factor + smooth * theta)
  return out


def yarn_law(law, base: float, width: int) -> Sequence[float]:
  """arXiv 2309.00071, definition 3; the authors' code for the index ramp."""
  if law.ramp == 'rotations':
    return list(_by_parts(law, base, width, law.beta_slow, law.beta_fast))
  ends = []
  for rotations in (law.beta_fast, law.beta_slow):
    log = math.log(law.train_length / (rotations * 2 * math.pi))
    ends.append(width * log / (2 * math.log(base)))
  low, high = ends
  if law.truncate:
    low, high = math.floor(low), math.ceil(high)
  low, high = max(low, 0), min(high, width - 1)
  if low == high:
    high += 0.001
  out = []
  for k, theta in enumerate(unscaled_law(None, base, width)):
    ramp = min(max((k - low) / (high - low), 0.0), 1.0)
    out.append(theta / law.factor * ramp + theta * (1 - ramp))
  return out


def yarn_factor(law) -> float:
  """arXiv 2309.00071, equation 22: sqrt(1 / t) = 0.1 ln s + 1."""

  def grown(mscale):
    return 1.0 if law.factor <= 1 else 0.1 * mscale * math.log(law.factor) + 1

  if law.attention_factor is not None:
    return law.attention_factor
  if law.mscale and law.mscale_all_dim:
    return grown(law.mscale) / grown(law.mscale_all_dim)
  return grown(1.0)


def longrope_law(law, base: float, width: int, length=0) -> Sequence[float]:
  """arXiv 2402.13753: theta_i / lambda_i."""
  factors = law.long if length > law.train_length else law.short
  plain = unscaled_law(None, base, width)
  return [t / f for t, f in zip(plain, factors, strict=True)]


def longrope_factor(law) -> float:
  """The authors' code: sqrt(1 + ln s / ln L) on q and on k."""
  if law.attention_factor is not None:
    return law.attention_factor
  if law.factor <= 1:
    return 1.0
  return math.sqrt(1 + math.log(law.factor) / math.log(law.train_length))


def proportional_law(law, base: float, width: int) -> Sequence[float]:
  """arXiv 2410.06205, p-RoPE: the lowest frequencies at 0."""
  kept = int(law.share * width // 2)
  plain = unscaled_law(None, base, width)
  return [t / law.factor if k < kept else 0.0 for k, t in enumerate(plain)]


def drope_law(law, base: float, width: int) -> Sequence[float]:
  """arXiv 2512.12167: no positional embedding."""
  del law, base
  return [0.0] * (width // 2)
