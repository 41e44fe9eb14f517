"""Frequency laws that scale a pair by its wavelength, or by a list."""

import dataclasses
import math
from typing import Any

import numpy as np

from posexp import component
from posexp.schemes import frequencies, trained_length

# Why the rotations up to which a pair is scaled may not exceed those from which
# it is kept.
ORDER = 'a pair that turns more often is scaled less'


@dataclasses.dataclass(frozen=True)
class NTKByParts(frequencies.Law):
  """Slow the slow pairs and keep the fast ones: NTK-by-parts.

    theta'_k = (1 - g_k) theta_k / s + g_k theta_k
    g_k = clip((r_k - alpha) / (beta - alpha), 0, 1),  r_k = L theta_k / (2 pi)

  `r_k` is how often a pair turns within the trained length. With `alpha = beta`
  the ramp is a step.

  Source: Peng et al. 2023, arXiv 2309.00071, section 3.2, equations 17 to 20.
  In the authors' repository the file of that name is an earlier method.
  Use: zero-shot or with adaptation; YaRN without its temperature.
  Fails: with a trained length below 2 pi beta no pair is kept whole, and
  below 2 pi alpha it is PI: 201 and 7 tokens for the defaults.

  Attributes:
    factor: s, target length over trained length; above 0.
    train_length: L, in tokens.
    alpha: rotations up to which a pair is interpolated.
    beta: rotations from which a pair is kept; at least alpha.

  >>> NTKByParts(4, 1024).inverse_frequencies(base=1e4, width=4).round(6)
  array([1.      , 0.002652])
  """

  factor: float = trained_length.positive()
  train_length: trained_length.Whole = trained_length.positive()
  alpha: trained_length.Number = trained_length.positive(1.0)
  beta: trained_length.Number = component.field(
    32.0, above=0, at_least='alpha', remedy=ORDER
  )

  def scale(self, theta_K, *, base, width):
    del base, width
    return _by_rotations(self, theta_K, 'alpha', 'beta')


@dataclasses.dataclass(frozen=True)
class Llama3(frequencies.Law):
  """Slow long wavelengths and keep short ones, as Llama 3.1 does.

    theta'_k = (1 - u) theta_k / s + u theta_k
    u = clip((L / w_k - low) / (high - low), 0, 1),  w_k = 2 pi / theta_k

  That is NTK-by-parts from 1 to 4 rotations. No temperature.

  Source: Meta 2024, the reference code of Llama 3.1 (`apply_scaling`), which
  Hugging Face calls 'llama3'.
  Use: for weights that were trained with it; else see NTKByParts.
  Fails: as NTKByParts. Its source is undefined where `low = high` and `w_k` is
  `L / low` exactly; there the pair is kept.
  Golden: huggingface/transformers.

  Attributes:
    factor: s, target length over trained length; above 0.
    train_length: L, in tokens.
    low: rotations up to which a pair is interpolated.
    high: rotations from which a pair is kept; at least low.

  >>> Llama3(8, 8192).inverse_frequencies(base=1e4, width=32)[12].round(8)
  np.float64(0.00021361)
  """

  factor: float = trained_length.positive()
  train_length: trained_length.Whole = trained_length.positive()
  low: trained_length.Number = trained_length.positive(1.0)
  high: trained_length.Number = component.field(
    4.0, above=0, at_least='low', remedy=ORDER
  )

  def scale(self, theta_K, *, base, width):
    del base, width
    return _by_rotations(self, theta_K, 'low', 'high')


@dataclasses.dataclass(frozen=True)
class YaRN(frequencies.Law):
  """Scale as NTK-by-parts does, and apply a temperature to the logits.

    theta'_k = (1 - g_k) theta_k / s + g_k theta_k
    q_i m, k_j m,  m = 0.1 ln s + 1 (1 for s <= 1)

  The logits are multiplied by the square of m. With `ramp='index'`, as in the
  authors' code, `g_k` falls linearly in k from 1 at `low = floor(c(beta_fast))`
  to 0 at `high = ceil(c(beta_slow))`, where
  `c(r) = d ln(L / (2 pi r)) / (2 ln b)`; low is at least 0, high at most
  `d - 1`, and `high = low` counts as `low + 0.001`. `truncate=False` leaves out
  floor and ceil. With `ramp='rotations'`, as in the paper, `g_k` is linear in
  the rotations `L theta_k / (2 pi)`, as in `NTKByParts`.

  If both mscale and `mscale_all_dim` are given and not 0, the factor on q and k
  is `(0.1 mscale ln s + 1) / (0.1 mscale_all_dim ln s + 1)`. DeepSeek
  multiplies its softmax scale by the square of that denominator besides; that
  is part of its attention and not of this law.

  Source: Peng et al. 2023, arXiv 2309.00071, section 3.4, equations 21 and 22,
  and the authors' code; mscale as in Hugging Face's 'yarn'.
  Use: the usual choice for an extension, zero-shot or with adaptation.
  Fails: with a trained length below `2 pi beta_fast` (201 by default) it is
  mostly PI; below `2 pi beta_slow` (7) the index ramp keeps every pair.
  Golden: huggingface/transformers, jquesnelle/yarn (authors).

  Attributes:
    factor: s, target length over trained length; above 0.
    train_length: L, in tokens.
    beta_fast: rotations from which a pair is kept.
    beta_slow: rotations up to which a pair is interpolated.
    ramp: 'index' or 'rotations'.
    truncate: whether the ends of the index ramp are whole numbers.
    attention_factor: the factor on q and on k, instead of the above.
    mscale: see above.
    mscale_all_dim: see above.

  >>> YaRN(4, 64).inverse_frequencies(base=1e4, width=32)[:2].round(6)
  array([1.     , 0.47799])
  >>> round(YaRN(4, 64).amplitude, 7), round(YaRN(4, 64).temperature, 7)
  (1.1386294, 1.296477)
  """

  factor: float = trained_length.positive()
  train_length: trained_length.Whole = trained_length.positive()
  beta_fast: trained_length.Number = component.field(
    32.0, above=0, at_least='beta_slow', remedy=ORDER
  )
  beta_slow: trained_length.Number = trained_length.positive(1.0)
  ramp: str = component.field('index', one_of=('index', 'rotations'))
  truncate: bool = True
  attention_factor: float | None = trained_length.positive(None)
  mscale: float | None = component.field(None, at_least=0)
  mscale_all_dim: float | None = component.field(None, at_least=0)

  @property
  def amplitude(self) -> float:
    """The factor m on q and on k each."""
    if self.attention_factor is not None:
      return self.attention_factor
    if self.mscale and self.mscale_all_dim:
      return self._grown(self.mscale) / self._grown(self.mscale_all_dim)
    return self._grown(1.0)

  @property
  def temperature(self) -> float:
    return self.amplitude**2

  def _grown(self, mscale: float) -> float:
    return 0.1 * mscale * math.log(max(self.factor, 1.0)) + 1.0

  def scale(self, theta_K, *, base, width):
    if self.ramp == 'rotations':
      return _by_rotations(self, theta_K, 'beta_slow', 'beta_fast')
    low, high = self._ends(base, width)
    if low == high:
      high += 0.001
    ramp_K = (np.arange(width // 2) - low) / (high - low)
    kept_K = 1.0 - np.clip(ramp_K, 0.0, 1.0)
    return _blend(theta_K, self.factor, kept_K)

  def _ends(self, base: float, width: int) -> tuple[float, float]:
    """Return where the index ramp begins and ends."""
    if base <= 1:
      raise component.UserError(
        f'base must be above 1 for the index ramp of YaRN, got {base}: raise '
        "it or use ramp='rotations'"
      )
    length = trained_length.number(self, 'train_length')

    def pair(beta: str) -> float:
      turns = length / (2 * math.pi * trained_length.number(self, beta))
      return width * math.log(turns) / (2 * math.log(base))

    low, high = pair('beta_fast'), pair('beta_slow')
    if self.truncate:
      low, high = math.floor(low), math.ceil(high)
    # The bounds are the authors': the last pair is d / 2 - 1, not d - 1.
    return max(low, 0), min(high, width - 1)


@dataclasses.dataclass(frozen=True)
class LongRoPE(frequencies.Law):
  """Slow each pair by its own factor from a list: LongRoPE.

    theta_k / lambda_k, one list of lambda up to L, one beyond
    q_i m, k_j m,  m = sqrt(1 + ln s / ln L) (1 for s <= 1)

  The logits are multiplied by the square of m, at all lengths. `for_length(l)`
  takes the short list for `l <= L` and the long one otherwise, once for the
  whole sequence; unresolved, the short list holds.

  Source: Ding et al. 2024, arXiv 2402.13753, and Hugging Face's 'longrope' for
  the temperature. The paper's first tokens that are left unscaled are in
  neither.
  Use: with lists that were searched for a model, as
  `posexp.launch.longrope_search` does.
  Fails: with lists of another model; and the two lists are two models, with
  a jump between L and L + 1.
  Golden: huggingface/transformers.

  Attributes:
    short: `lambda_k` for lengths up to L, d / 2 numbers above 0.
    long: `lambda_k` beyond.
    train_length: L, in tokens; at least 2.
    factor: s, target length over trained length; above 0.
    attention_factor: the factor on q and on k, instead of the above.

  >>> law = LongRoPE((1.0, 1.0), (1.0, 4.0), train_length=64, factor=4)
  >>> law.for_length(65).inverse_frequencies(base=1e4, width=4)
  array([1.    , 0.0025])
  """

  short: tuple[float, ...] = component.field(each=True, above=0)
  long: tuple[float, ...] = component.field(each=True, above=0)
  train_length: trained_length.Whole = component.field(at_least=2)
  factor: float = trained_length.positive()
  attention_factor: float | None = trained_length.positive(None)

  def check(self, width):
    for name in ('short', 'long'):
      values = getattr(self, name)
      if len(values) != width // 2:
        raise component.UserError(
          f'{name} of LongRoPE has {len(values)} factors but a rotated width '
          f'of {width} has {width // 2} pairs: give one factor a pair'
        )

  @property
  def amplitude(self) -> float:
    """The factor m on q and on k each."""
    if self.attention_factor is not None:
      return self.attention_factor
    length = trained_length.number(self, 'train_length')
    grown = math.log(max(self.factor, 1.0)) / math.log(length)
    return math.sqrt(1.0 + grown)

  @property
  def temperature(self) -> float:
    return self.amplitude**2

  def for_length(self, length):
    # The same list twice: resolved, and resolved again to itself.
    if length <= trained_length.number(self, 'train_length'):
      return dataclasses.replace(self, long=self.short)
    return dataclasses.replace(self, short=self.long)

  def scale(self, theta_K, *, base, width):
    del base
    self.check(width)
    return theta_K / np.array(self.short, np.float64)


def _by_rotations(
  law: Any, theta_K: np.ndarray, low_field: str, high_field: str
) -> np.ndarray:
  """Return angles slowed up to low rotations, and kept from high ones on."""
  length, low, high = (
    trained_length.number(law, name)
    for name in ('train_length', low_field, high_field)
  )
  rotations_K = length * theta_K / (2 * math.pi)
  if low == high:
    kept_K = (rotations_K >= low).astype(np.float64)
  else:
    kept_K = np.clip((rotations_K - low) / (high - low), 0.0, 1.0)
  return _blend(theta_K, law.factor, kept_K)


def _blend(theta_K: np.ndarray, factor: float, kept_K: np.ndarray):
  """Return from theta / s, where nothing is kept, to theta."""
  return (1.0 - kept_K) * theta_K / factor + kept_K * theta_K
