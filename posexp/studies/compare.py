"""Shares by seed, their differences, and which of several options leads."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from posexp.claims import contrasts
from posexp.studies import families

NOT_ADMITTED, MISSING = 'not admitted', 'not finished'
FIRST, TIE, NOTHING = 'first', 'tie', 'no difference can be claimed'
LOSS = 'no gain can be claimed'


class Share(NamedTuple):
  """A share by seed, and what a single target of it is worth."""

  by_seed: pd.Series
  finest: float

  def less(self, other: 'Share') -> 'Share':
    """Return the difference to another share, seed by seed."""
    return Share(
      (self.by_seed - other.by_seed).dropna(), max(self.finest, other.finest)
    )

  def over(self, other: 'Share') -> contrasts.Paired:
    """Return the mean difference to another share, over common seeds."""
    finest = max(self.finest, other.finest)
    return contrasts.paired(self.by_seed, other.by_seed, finest)


def share(
  cells: pd.DataFrame,
  column: str,
  length: int,
  task: str | None = None,
  every: bool = False,
) -> Share:
  """Return a share of each seed: of a task, or the mean over tasks.

  Args:
    cells: the rows of one cell.
    column: token, order, retrieval or short.
    length: in tokens.
    task: its name; all tasks, each with the same weight, by default; at short
      range each target has the same weight, as some tasks have few.
    every: of all seeds, and not only of those that are admitted.
  """
  # On arrays, as tables of so few rows take ten times as long.
  value_N = cells[column].to_numpy(np.float64)
  counts_N = (cells['length'].to_numpy() == length) & ~np.isnan(value_N)
  if not every:
    counts_N &= cells['admitted'].to_numpy(bool)
  if task is not None:
    counts_N &= (cells['task'] == task).to_numpy()
  targets = 'near' if column == 'short' else 'targets'
  targets_N = cells[targets].to_numpy(np.float64)[counts_N]
  seed_N = cells['seed'].to_numpy()[counts_N]
  seed_S, place_N = np.unique(seed_N, return_inverse=True)
  weight_N = targets_N if column == 'short' else np.ones_like(targets_N)
  right_S = np.bincount(place_N, weight_N * value_N[counts_N], len(seed_S))
  weight_S = np.bincount(place_N, weight_N, len(seed_S))
  # What one target is worth, in the task with the most of them.
  share_N = weight_N / weight_S[place_N] / np.maximum(targets_N, 1)
  return Share(
    pd.Series(right_S / weight_S, seed_S), float(share_N.min(initial=1.0))
  )


def by_seed(
  cells: pd.DataFrame, column: str, length: int, task: str | None = None
) -> pd.Series:
  """Return a share of each admitted seed, see `share`."""
  return share(cells, column, length, task).by_seed


class Lead(NamedTuple):
  """Which option leads, and what can be claimed of it.

  Attributes:
    branch: FIRST, TIE, NOTHING, NOT_ADMITTED or MISSING; LOSS where no gain is
      claimed and a loss is.
    option: the one with the largest mean gain; '' if there is none.
    gains: of every option over the baseline.
    over: the leader's advantage over each rival.
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
  options: Mapping[str, Share],
  gains: Mapping[str, contrasts.Difference],
  family: families.Family,
  among: Collection[str] | None = None,
) -> Lead:
  """Return the option with the largest mean gain, and whether it is best.

  It is claimed to be best if its gain over the baseline is claimed, and its
  difference to every rival lies above 0, each at the level alpha / m of a
  single comparison, one-sided alpha / 2m.

  Why alpha bounds the chance that this is false in any case, although the same
  seeds say which option leads. Take a case with k options, k of the m. If the
  baseline is at least as good as all of them, any claim needs a false gain,
  and Holm's method bounds the chance of that over all cases together: by
  alpha, about half of it on this side of 0. Otherwise let b be the best
  option. A claim of any other is false, and needs that option to lie above b:
  k - 1 differences, each with chance alpha / 2m. If there is a second one as
  good as b, a claim of b is false too and needs b to lie above that one: one
  more difference. So it is at most k alpha / 2m for the case, and alpha / 2
  for all of them. Step-down levels have no such argument: the last step would
  be at alpha, with the rival chosen by the data.

  Which rivals there are may depend on the data as well (`among`). Let b be the
  best of those that truly are admissible: the argument holds as long as b is
  among them, and that it is wrongly left out is an error of the criteria,
  which have an alpha of their own.

  Args:
    options: the share of each at the target, by name.
    gains: of each over the baseline, judged; empty if there is none.
    family: of how many comparisons each is one, over all cases.
    among: of which options the best is looked for; all by default.
  """
  if not options or not gains:
    return Lead(MISSING, '', {}, {}, (), ())
  chosen = {n: g for n, g in gains.items() if among is None or n in among}
  claimable = {name: gain for name, gain in chosen.items() if gain.n > 1}
  if not claimable:
    return Lead(NOT_ADMITTED, '', chosen, {}, (), ())
  first = max(claimable, key=lambda name: claimable[name].mean)
  over = {
    name: family.judge_alone(options[first].over(options[name]))
    for name in chosen
    if name != first
  }
  tied = (first, *(name for name, gap in over.items() if not gap.above))
  improving = tuple(name for name, gain in chosen.items() if gain.above)
  branch = FIRST if tied == (first,) and first in improving else TIE
  if not improving:
    lost = any(gain.below for gain in chosen.values())
    branch = LOSS if lost else NOTHING
  return Lead(branch, first, chosen, over, tied, improving)
