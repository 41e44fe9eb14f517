"""Frequency laws: how fast each pair of a rotation turns.

A scaled rotation is the original rotation at a transformed angle, so scaling
is a field of `RoPE` and not another scheme. Everything is float64 NumPy. The
laws that treat pairs differently by their wavelength are in
`scaled_frequencies`.
"""

import dataclasses

import numpy as np

from posexp import component
from posexp.schemes import trained_length


@dataclasses.dataclass(frozen=True)
class Law(component.Component):
  """Turn pairs at geometric frequencies: the unscaled spectrum.

    theta_k = base^(-2k/d),  k = 0..d/2-1

  d is the rotated width. Laws of other kinds override `scale`.

  Source: Su et al. 2021, arXiv 2104.09864, equation 15.
  Use: as it is, where no length beyond the trained one is asked.
  Fails: beyond the trained length its slow pairs reach angles never trained.
  Golden: huggingface/transformers.

  >>> Law().inverse_frequencies(base=1e4, width=4)
  array([1.  , 0.01])
  """

  takes_rules = True

  def inverse_frequencies(self, *, base: float, width: int) -> np.ndarray:
    """Return the angle per position of each pair, radians; width / 2 values."""
    theta_K = base ** (-np.arange(0, width, 2, dtype=np.float64) / width)
    return self.scale(theta_K, base=base, width=width)

  def scale(
    self, theta_K: np.ndarray, *, base: float, width: int
  ) -> np.ndarray:
    """Return the scaled angles, given the unscaled ones."""
    del base, width
    return theta_K

  @property
  def temperature(self) -> float:
    """The factor that the law puts on the logits of the rotated part."""
    return 1.0

  def for_length(self, length: int) -> 'Law':
    """Return the law to use at a length, for laws that depend on it.

    It is asked once, before any compute, with the length of the whole
    sequence: prompt and all that will be generated. Cached keys and new
    queries then share their angles, and decoding equals the full pass. A law
    that nobody asks acts as at lengths up to the trained one.
    """
    del length
    return self

  def check(self, width: int) -> None:
    """Raise a `UserError` where the law is undefined for a rotated width."""

  def __str__(self) -> str:
    shown = []
    for field in dataclasses.fields(self):
      value = component.written(getattr(self, field.name))
      if field.default is dataclasses.MISSING:
        shown.append(value)
      elif getattr(self, field.name) != field.default:
        shown.append(f'{field.name}={value}')
    return f'{type(self).__name__}({", ".join(shown)})'


@dataclasses.dataclass(frozen=True)
class Linear(Law):
  """Slow every pair by the same factor: position interpolation (PI).

    theta_k / s, the same as positions / s

  Source: Chen et al. 2023, arXiv 2306.15595, equation 4.
  Use: with a short adaptation, as the plainest baseline of an extension.
  Fails: zero-shot it destroys local order, as neighbours are 1 / s apart.
  Golden: huggingface/transformers.

  Attributes:
    factor: s, target length over trained length; above 0.

  >>> Linear(4).inverse_frequencies(base=1e4, width=4)
  array([0.25  , 0.0025])
  """

  factor: float = trained_length.positive()

  def scale(self, theta_K, *, base, width):
    del base, width
    return theta_K / self.factor


@dataclasses.dataclass(frozen=True)
class NTK(Law):
  """Raise the base so that only the slowest pair is slowed by the full factor.

    b' = b s^(d / (d - 2)),  theta_k = b'^(-2k/d)

  NTK-aware base scaling: pair 0 is unchanged and the period of the last pair is
  stretched by exactly s, the period-matching constraint; the pairs between are
  stretched by `s^(2k / (d - 2))`. A width d below 4 is refused.

  Source: bloc97 2023, as restated in YaRN, arXiv 2309.00071, section 3.1,
  definition 1.
  Use: zero-shot, for lengths somewhat below s times the trained one.
  Fails: pairs in the middle are stretched by less than s, so angles never
  trained are met before s times the trained length.
  Golden: jquesnelle/yarn (authors).

  Attributes:
    factor: s, target length over trained length; above 0.

  >>> NTK(4).scaled_base(base=1e4, width=64).round(3)
  np.float64(41829.366)
  """

  factor: float = trained_length.positive()

  def check(self, width):
    _two_pairs('NTK', width)

  def scaled_base(self, *, base: float, width: int) -> np.float64:
    """Return b', for a rotated width d."""
    self.check(width)
    return np.float64(base) * np.float64(self.factor) ** (width / (width - 2))

  def scale(self, theta_K, *, base, width):
    del theta_K
    scaled = self.scaled_base(base=base, width=width)
    return scaled ** (-np.arange(0, width, 2, dtype=np.float64) / width)


@dataclasses.dataclass(frozen=True)
class DynamicNTK(Law):
  """Raise the base as the length asks for, and not at all up to the trained.

    NTK(s),  s = f l / L - (f - 1), at a length l above the trained L

  `f = 1` gives the paper's `s = l / L`. `for_length(l)` resolves it once, with
  the total length of the sequence, so that all tokens share one base and
  rotated keys can be cached; a step of training takes its own length. The paper
  recomputes s at each step and would cache keys unrotated; Hugging Face
  recomputes it and leaves cached keys at the base that they were rotated with:
  there prefill and decoding disagree.

  Source: emozilla 2023; arXiv 2309.00071, section 3.3 and its authors' code.
  Use: zero-shot, where lengths vary and short ones must not suffer.
  Fails: two lengths are two models, so results at one say little of another;
  and as NTK.
  Golden: huggingface/transformers, jquesnelle/yarn (authors).

  Attributes:
    factor: f, target length over trained length; above 0.
    train_length: L, in tokens.

  >>> print(DynamicNTK(2, 64).for_length(64), DynamicNTK(2, 64).for_length(96))
  Law() NTK(2)
  """

  factor: float = trained_length.positive()
  train_length: trained_length.Whole = trained_length.positive()

  def check(self, width):
    _two_pairs('DynamicNTK', width)

  def for_length(self, length):
    trained = trained_length.number(self, 'train_length')
    if length <= trained:
      return Law()
    return NTK(self.factor * length / trained - (self.factor - 1))


@dataclasses.dataclass(frozen=True)
class Proportional(Law):
  """Turn only the fast pairs: p-RoPE.

    theta_k / s for the first floor(p d / 2) pairs, 0 for the rest

  The lowest frequencies are removed, and the spectrum of those kept is that
  of the whole width; `RoPE(rotated=r)` instead fits a full spectrum into
  fewer dimensions.

  Source: Barbero et al. 2024, arXiv 2410.06205; Hugging Face's
  'proportional' for the factor.
  Use: to give content channels that no distance can turn.
  Fails: with fewer slow pairs, distances beyond the longest wavelength left
  can be confused.
  Golden: huggingface/transformers.

  Attributes:
    share: p, from 0 (no position) to 1 (plain RoPE).
    factor: s, what all angles are divided by; above 0.

  >>> Proportional(0.5).inverse_frequencies(base=1e4, width=8)
  array([1. , 0.1, 0. , 0. ])
  """

  share: float = component.field(
    at_least=0, at_most=1, remedy='it is the part of the pairs that rotates'
  )
  factor: float = trained_length.positive(1.0)

  def scale(self, theta_K, *, base, width):
    del base
    # In this order, as published: 0.58 * 100 // 2 is 28 in floating point.
    kept = int(self.share * width // 2)
    return np.where(np.arange(width // 2) < kept, theta_K / self.factor, 0.0)


@dataclasses.dataclass(frozen=True)
class DroPE(Law):
  """Drop a trained rotation, which leaves NoPE.

    theta_k = 0

  Meant as a retrofit: train with RoPE, drop it, recalibrate briefly at the
  trained length. The model is then NoPE with weights that learned with RoPE.

  Source: Gelberg et al. 2025, arXiv 2512.12167.
  Use: as a retrofit of a RoPE model, with some steps of adaptation.
  Fails: zero-shot, as the weights rely on the rotation.

  >>> DroPE().inverse_frequencies(base=1e4, width=4)
  array([0., 0.])
  """

  def scale(self, theta_K, *, base, width):
    del base, width
    return np.zeros_like(theta_K)


def _two_pairs(name: str, width: int) -> None:
  if width < 4:
    raise component.UserError(
      f'{name} needs a head width of at least 4, got {width}: with one pair '
      'the period-matching exponent d / (d - 2) is undefined'
    )
