"""Paired differences over seeds, and which of several options leads."""

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from posexp.claims import contrasts

NOT_ADMITTED, MISSING = 'not admitted', 'not finished'
FIRST, TIE, NOTHING = 'first', 'tie', 'no difference can be claimed'
LOSS = 'no gain can be claimed'


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
  gains: dict[str, contrasts.Difference]
  over: dict[str, contrasts.Difference]
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
    name: contrasts.difference(values, base, family)
    for name, values in options.items()
  }
  claimable = {name: gain for name, gain in gains.items() if gain.n > 1}
  if not claimable:
    return Lead(NOT_ADMITTED, '', gains, {}, (), ())
  first = max(claimable, key=lambda name: claimable[name].mean)
  over = {
    name: contrasts.difference(options[first], values, family - 1)
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
