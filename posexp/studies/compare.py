"""Paired differences over seeds, and which of several options leads."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from posexp.claims import intervals

# Of all comparisons of a family together.
CONFIDENCE = 0.95

NOT_ADMITTED, MISSING = 'not admitted', 'not finished'
FIRST, TIE, NOTHING = 'first', 'tie', 'no difference can be claimed'
LOSS = 'no gain can be claimed'


class Difference(NamedTuple):
  """A mean paired difference with its interval, one of a family of m."""

  mean: float
  low: float
  high: float
  n: int
  m: int

  @property
  def above(self) -> bool:
    """Whether it is claimed to be above 0; never with fewer than 2 seeds."""
    return self.low > 0

  @property
  def below(self) -> bool:
    return self.high < 0


def by_seed(
  cells: pd.DataFrame, column: str, length: int, task: str | None = None
) -> pd.Series:
  """Return a share of each admitted seed: of a task, or the mean over tasks.

  Args:
    cells: the rows of one cell.
    column: token, order, retrieval or short.
    length: in tokens.
    task: its name; all tasks, each with the same weight, by default; at short
      range each target has the same weight, as some tasks have few.
  """
  rows = cells[cells['admitted'] & (cells['length'] == length)]
  if task is not None:
    rows = rows[rows['task'] == task]
  if column == 'short':  # Of few targets: each has the same weight.
    rows = rows[rows['near'] > 0]
    right = (rows['short'] * rows['near']).groupby(rows['seed']).sum()
    return right / rows.groupby('seed')['near'].sum()
  return rows.groupby('seed')[column].mean().dropna()


def difference(values: pd.Series, base: pd.Series, m: int = 1) -> Difference:
  """Return the mean of values - base over the seeds that both have.

  Student's t interval of confidence 1 - 0.05 / m, so that all m intervals of a
  family hold at once in 95 % of experiments (Bonferroni).

  Args:
    values: one number a seed.
    base: what it is compared with.
    m: how many comparisons the family has.

  >>> token = pd.Series([0.9, 0.8, 0.9], [0, 1, 2])
  >>> base = token - pd.Series([0.1, 0.1, 0.2], [0, 1, 2])
  >>> gain = difference(token, base)
  >>> print(f'{gain.mean:.3f} [{gain.low:.3f}, {gain.high:.3f}]')
  0.133 [-0.010, 0.277]
  """
  both = values.index.intersection(base.index)
  mean = intervals.interval(
    values[both] - base[both], 1 - (1 - CONFIDENCE) / max(1, m)
  )
  return Difference(*mean, m)


class Lead(NamedTuple):
  """Which option leads, and what can be claimed of it.

  Attributes:
    branch: FIRST, TIE, NOTHING, NOT_ADMITTED or MISSING; LOSS where no gain is
      claimed and a loss is.
    option: the one with the largest mean gain; '' if there is none.
    gains: of every option over the baseline.
    over: the leader's advantage over each other option.
    tied: the leader and all that cannot be told apart from it; more than one
      only where the branch is TIE, but for a leader whose own gain is unclear.
    improving: options whose gain is claimed.
  """

  branch: str
  option: str
  gains: dict[str, Difference]
  over: dict[str, Difference]
  tied: tuple[str, ...]
  improving: tuple[str, ...]


def lead(
  options: Mapping[str, pd.Series],
  base: pd.Series | None,
  family: int | None = None,
) -> Lead:
  """Return the option with the largest mean gain over the baseline.

  Gains are a family of as many comparisons as there are options. That the
  leader beats each other one takes as many intervals as there are others:
  whichever leads, the claim is false only if its interval over the truly best
  one is, and those are that many.

  Args:
    options: one number a seed, by name.
    base: what is gained on; None if it is not there.
    family: of how many options these were picked; as many by default.
  """
  if not options or base is None:
    return Lead(MISSING, '', {}, {}, (), ())
  family = family or len(options)
  gains = {
    name: difference(values, base, family) for name, values in options.items()
  }
  claimable = {name: gain for name, gain in gains.items() if gain.n > 1}
  if not claimable:
    return Lead(NOT_ADMITTED, '', gains, {}, (), ())
  first = max(claimable, key=lambda name: claimable[name].mean)
  over = {
    name: difference(options[first], values, family - 1)
    for name, values in options.items()
    if name != first
  }
  tied = (first, *(name for name, gap in over.items() if not gap.above))
  improving = tuple(name for name, gain in gains.items() if gain.above)
  branch = FIRST if tied == (first,) and first in improving else TIE
  if not improving:
    lost = any(gain.below for gain in gains.values())
    branch = LOSS if lost else NOTHING
  return Lead(branch, first, gains, over, tied, improving)


def finite(*values: float) -> bool:
  return all(map(math.isfinite, values))
