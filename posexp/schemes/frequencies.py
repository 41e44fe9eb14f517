"""Frequency laws: how the angles of a rotation are scaled.

A scaled rotation is the original rotation at a transformed angle, so scaling
is a field of `RoPE` and not another scheme. Everything is float64 NumPy.
"""

import dataclasses

import numpy as np

from posexp import component
from posexp.schemes import base as base_lib


@dataclasses.dataclass(frozen=True)
class Law(component.Component):
  """The unscaled geometric spectrum theta_k = base^(-2k/d), k = 0..d/2-1.

  d is the rotated width. Laws of other kinds override `scale`.

  >>> Law().inverse_frequencies(base=1e4, width=4)
  array([1.  , 0.01])
  """

  def inverse_frequencies(self, *, base: float, width: int) -> np.ndarray:
    """The angle per position of each pair, in radians; width / 2 values."""
    theta_K = base ** (-np.arange(0, width, 2, dtype=np.float64) / width)
    return self.scale(theta_K, base=base, width=width)

  def scale(
    self, theta_K: np.ndarray, *, base: float, width: int
  ) -> np.ndarray:
    """The scaled angles, given the unscaled ones."""
    del base, width
    return theta_K

  @property
  def temperature(self) -> float:
    """The factor that the law puts on the content logits."""
    return 1.0

  def check(self, width: int) -> None:
    """Raises a ValueError where the law is undefined for a rotated width."""

  def __str__(self) -> str:
    fields = [getattr(self, f.name) for f in dataclasses.fields(self)]
    shown = ', '.join(map(component.written, fields))
    return f'{type(self).__name__}({shown})'


@dataclasses.dataclass(frozen=True)
class Linear(Law):
  """Position interpolation (PI): theta_k / s, the same as positions / s.

  Zero-shot it destroys local order; it is meant to be adapted (Chen et al.
  2023, arXiv 2306.15595).

  Attributes:
    factor: s, target length over trained length; above 0.

  >>> Linear(4).inverse_frequencies(base=1e4, width=4)
  array([0.25  , 0.0025])
  """

  factor: float

  def __post_init__(self):
    base_lib.positive('factor of Linear', self.factor)

  def scale(self, theta_K, *, base, width):
    del base, width
    return theta_K / self.factor


@dataclasses.dataclass(frozen=True)
class NTK(Law):
  """NTK-aware base scaling: b' = b * s^(d / (d - 2)).

  Pair 0 is unchanged and the period of the last pair is stretched by exactly
  s, the period-matching constraint; the pairs between are stretched by
  s^(2k / (d - 2)). A width d below 4 is refused. Source: bloc97 2023, as
  restated in YaRN, arXiv 2309.00071, section 3.1, definition 1.

  Attributes:
    factor: s, target length over trained length; above 0.

  >>> NTK(4).scaled_base(base=1e4, width=64).round(3)
  np.float64(41829.366)
  """

  factor: float

  def __post_init__(self):
    base_lib.positive('factor of NTK', self.factor)

  def check(self, width):
    if width < 4:
      raise ValueError(
        f'NTK needs a head width of at least 4, got {width}: with one pair '
        'the period-matching exponent d / (d - 2) is undefined'
      )

  def scaled_base(self, *, base: float, width: int) -> np.float64:
    """b', for a rotated width d."""
    self.check(width)
    return np.float64(base) * np.float64(self.factor) ** (width / (width - 2))

  def scale(self, theta_K, *, base, width):
    del theta_K
    scaled = self.scaled_base(base=base, width=width)
    return scaled ** (-np.arange(0, width, 2, dtype=np.float64) / width)
