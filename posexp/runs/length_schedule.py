"""Which lengths a run is trained at: a rule from the step to the length.

Every step has one length for its whole batch, one of a few that the program is
compiled for, the rungs. It depends on the rule and the number of the step
alone, so that it is the same for every seed and scheme, and after a resumption.

The loss of a step is a mean over its targets, so that every step counts as much
as any other, whatever its length.
"""

import abc
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.tasks import draw

# The root of the keys of the rungs; data and weights draw from the seeds.
ROOT = 0x1E467


class Rule(component.Component, abc.ABC):
  """A rule for the lengths of training.

  Attributes:
    low: the shortest length.
    high: the longest, which is the `length` of the training.
    rungs: how many lengths, low to high; each is compiled for.
  """

  low: int
  high: int
  rungs: int

  def __post_init__(self) -> None:
    super().__post_init__()
    for name, least, remedy in (
      ('low', 2, 'a token is to be predicted'),
      ('high', 'low', 'it is the longest length'),
      ('rungs', 2, 'use low=high for a single length'),
    ):
      component.require(self, name, at_least=least, remedy=remedy)

  @property
  def values(self) -> tuple[int, ...]:
    """The lengths, shortest first, evenly spaced up to rounding.

    Fewer than `rungs` where rounding makes two of them equal.
    """
    even = np.round(np.linspace(self.low, self.high, self.rungs))
    return tuple(int(n) for n in np.unique(even))

  @abc.abstractmethod
  def rung(self, number: jax.Array) -> jax.Array:
    """Return the index in `values` of the length of a step, int32."""

  @abc.abstractmethod
  def shares(self, steps: int) -> tuple[float, ...]:
    """Return the expected share of all steps at each of `values`."""


class _Drawn(Rule):
  """A rule that draws the rung of each step independently."""

  @property
  @abc.abstractmethod
  def weights(self) -> tuple[float, ...]:
    """The probability of each of `values`, up to a factor."""

  def rung(self, number: jax.Array) -> jax.Array:
    (word_1,) = draw.words(jax.random.fold_in(draw.root(ROOT), number), 1)
    return draw.choice(word_1, self.weights)[0]

  def shares(self, steps: int) -> tuple[float, ...]:
    del steps
    total = sum(self.weights)
    return tuple(weight / total for weight in self.weights)


@dataclasses.dataclass(frozen=True)
class Uniform(_Drawn):
  """Every rung as often as any other, in random order.

  >>> Uniform(16, 64).values
  (16, 32, 48, 64)
  """

  low: int
  high: int
  rungs: int = 4

  @property
  def weights(self) -> tuple[float, ...]:
    return (1.0,) * len(self.values)


@dataclasses.dataclass(frozen=True)
class PowerLaw(_Drawn):
  """Length L with a probability proportional to L ** -exponent.

  An exponent of 1 trains about as many tokens at each length, as a batch has
  a fixed number of sequences; 0 is Uniform, and below 0 long ones are the
  likelier.

  Attributes:
    exponent: how fast the probability falls.

  >>> [round(share, 2) for share in PowerLaw(16, 64).shares(steps=1000)]
  [0.48, 0.24, 0.16, 0.12]
  """

  low: int
  high: int
  exponent: float = component.field(
    1.0, remedy='use low=high for a single length'
  )
  rungs: int = 4

  @property
  def weights(self) -> tuple[float, ...]:
    # Relative to the likeliest, so that no power is too large.
    likeliest = self.low if self.exponent >= 0 else self.high
    return tuple((n / likeliest) ** -self.exponent for n in self.values)


@dataclasses.dataclass(frozen=True)
class Ramp(Rule):
  """From the shortest length to the longest, step by step.

  All but the longest have equal stretches of the first `steps` steps; from
  there on all are of the longest.

  Attributes:
    steps: the step from which on the length is `high`.

  >>> Ramp(16, 64, steps=300).shares(steps=1000)
  (0.1, 0.1, 0.1, 0.7)
  """

  low: int
  high: int
  steps: int = component.field(
    at_least=1, remedy='without a ramp the length is fixed'
  )
  rungs: int = 4

  def rung(self, number: jax.Array) -> jax.Array:
    return jnp.sum(number >= jnp.asarray(self._starts), dtype=jnp.int32)

  def shares(self, steps: int) -> tuple[float, ...]:
    edges_R = np.minimum([0, *self._starts, steps], steps)
    return tuple((np.diff(edges_R) / steps).tolist())

  @property
  def _starts(self) -> np.ndarray:
    """The first step of each length but the shortest."""
    rises = len(self.values) - 1
    starts = [-(-self.steps * n // rises) for n in range(1, rises + 1)]
    return np.asarray(starts, np.int32)
