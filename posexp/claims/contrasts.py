"""Which runs of a grid differ: paired tests over seeds, and what they can show.

Runs are compared within a question, one task at one trained length: every pair
of runs at every length, on the seeds that are admitted in both, which share
data, initialisation and evaluation examples. All comparisons of a question are
one family, corrected by Holm's method, so that the chance of any false claim
in it is at most 5 %. A difference is *claimed* if its interval, at the level
that the correction leaves it, excludes zero; else it is a tie, and is shown as
one. A planned study has few comparisons and corrects each alike (Bonferroni).
"""

import collections
import functools
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import optimize, special

from posexp.claims import intervals

ALPHA, POWER = 0.05, 0.8
# Of all intervals of a family together.
CONFIDENCE = 0.95
QUESTION = ['task', 'trained_length']
COLUMNS = (
  *('task', 'trained_length', 'length', 'one', 'other', 'label', 'against'),
  *('n', 'effect', 'low', 'high', 'p', 'holm', 'claimed', 'detectable'),
)


class Difference(NamedTuple):
  """A mean paired difference with its interval, one of a family of m.

  It is claimed if the interval, which is as wide as the family demands,
  excludes zero.
  """

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
    """Whether it is claimed to be below 0."""
    return self.high < 0


def difference(values: pd.Series, base: pd.Series, m: int = 1) -> Difference:
  """Return the mean of values - base over the seeds that both have.

  Student's t interval of confidence 1 - 0.05 / m, so that all m intervals of a
  family hold at once in 95 % of experiments (Bonferroni).

  Args:
    values: one number per seed.
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


class Holm(NamedTuple):
  """Of each comparison: adjusted p, whether claimed, and its own level."""

  adjusted: np.ndarray
  claimed: np.ndarray
  level: np.ndarray


def holm(p: Sequence[float], alpha: float = ALPHA) -> Holm:
  """Correct a family of tests by Holm's step-down method.

  The k-th smallest of m p-values is claimed if it and all smaller ones are at
  most alpha / (m - k + 1). A NaN is a comparison that could not be made; it
  counts in the family and is never claimed.

  Args:
    p: of each comparison.
    alpha: the most that the chance of any false claim may be.

  Returns:
    The adjusted p-values, which are claimed, and the level at which each was
    tested: an interval at 1 - level excludes zero just where it is claimed.

  Source: Holm 1979.

  >>> found = holm([0.01, 0.04, 0.03])
  >>> found.adjusted.tolist(), found.claimed.tolist()
  ([0.03, 0.06, 0.06], [True, False, False])
  """
  values = np.asarray(p, np.float64)
  m = values.size
  order = np.argsort(values, kind='stable')  # NaN last.
  steps, ascending = m - np.arange(m), values[order]
  passed = np.logical_and.accumulate(ascending <= alpha / steps)
  adjusted = np.minimum(np.maximum.accumulate(ascending * steps), 1.0)
  # Whatever comes after the first that fails is held to that one's level.
  level = alpha / np.maximum(steps, m - min(passed.sum(), m - 1))
  place = np.argsort(order)
  return Holm(adjusted[place], passed[place], level[place])


def pairs(
  results: pd.DataFrame, measure: str = 'token', alpha: float = ALPHA
) -> pd.DataFrame:
  """Compare every two runs of a question at every length over seeds.

    t = mean(d) / (s / √n),  d = one - other, seed by seed,

  against Student's t with n - 1 degrees of freedom. s is at least what a single
  target is worth, 1 / targets, as no measurement is finer: seeds that differ by
  the same amount to the digit are no proof.

  Args:
    results: a table as `records.load` gives it.
    measure: 'token', 'exact', 'order', 'retrieval' or 'nats'.
    alpha: the most that the chance of any false claim in a question may be.

  Returns:
    One row a pair with `COLUMNS`: the digests and labels of both, n common
    admitted seeds, the mean difference `effect` in the measure's units with
    the interval at which Holm's method tested it, p before and after the
    correction, whether a difference is claimed, and the smallest difference
    that these seeds would have shown four times in five. NaN with fewer than
    two common seeds.
  """
  intervals.check_confidence(1 - alpha)
  names = intervals.labels(results)
  admitted = results[results['admitted'].astype(bool)]
  frames = [pd.DataFrame(columns=list(COLUMNS)).astype({'claimed': bool})]
  for (task, trained), group in admitted.groupby(QUESTION, sort=False):
    rows = list(_tests(group, measure))
    corrected = holm([row['p'] for row in rows], alpha)
    for row, adjusted, claimed, level in zip(rows, *corrected):
      row |= {'task': task, 'trained_length': trained}
      row |= {'label': names[row['one']], 'against': names[row['other']]}
      row |= {'holm': adjusted, 'claimed': bool(claimed)}
      n, error = row['n'], row['error']
      half = error * special.stdtrit(n - 1, 1 - level / 2)
      ends = row['effect'] - half, row['effect'] + half
      if measure != 'nats':  # No two shares differ by more than all.
        ends = np.clip(ends, -1, 1)
      row['low'], row['high'] = map(float, ends)
      sd = error * math.sqrt(n)
      row['detectable'] = detectable(n, len(rows), alpha=alpha) * sd
    frames.append(pd.DataFrame(rows, columns=list(COLUMNS)))
  return pd.concat(frames[1:] or frames, ignore_index=True)


def _tests(group: pd.DataFrame, measure: str) -> Iterable[dict[str, Any]]:
  """Yield the paired tests of one question, before their correction."""
  for length, cell in group.groupby('length'):
    table = cell.pivot(index='seed', columns='digest', values=measure)
    unknown = set(cell.loc[cell[measure].isna(), 'digest'])
    finest = 0.0 if measure == 'nats' else 1 / max(1, cell['targets'].max())
    values = {str(d): table[d].to_numpy(np.float64) for d in table}
    listed = dict.fromkeys(map(str, cell['digest']))
    for one, other in itertools.combinations(listed, 2):
      d_N = values[one] - values[other]
      # Without the seeds that diverged the others would be a selection.
      d_N = d_N[~np.isnan(d_N)] if unknown.isdisjoint((one, other)) else d_N[:0]
      test = _test(d_N, finest)
      yield {'length': length, 'one': one, 'other': other, **test}


def _test(d_N: np.ndarray, finest: float) -> dict[str, float]:
  """Return the paired t test of some differences."""
  n = d_N.size
  effect = float(d_N.mean()) if n else math.nan
  if n < 2:
    return {'n': n, 'effect': effect, 'error': math.nan, 'p': math.nan}
  error = max(float(d_N.std(ddof=1)), finest) / math.sqrt(n)
  t = abs(effect) / error if error else (math.inf if effect else 0.0)
  p = 2 * float(special.stdtr(n - 1, -t))
  return {'n': n, 'effect': effect, 'error': error, 'p': p}


def ranks(compared: pd.DataFrame) -> pd.DataFrame:
  """Return how many runs are shown to be better than each, plus one.

  Args:
    compared: as `pairs` gives it, of a measure of which more is better.

  Returns:
    One row a (task, trained_length, length, digest): rank, 1 for every run
    that none is shown to beat; tied, how many others cannot be told from it.
  """
  keys = [*QUESTION, 'length']
  rows = []
  for key, cell in compared.groupby(keys, sort=False):
    claimed = cell['claimed'].to_numpy(bool)
    one, other = cell['one'].to_numpy(), cell['other'].to_numpy()
    worse = np.where(cell['effect'] > 0, other, one)
    beaten = collections.Counter(worse[claimed])
    ties = collections.Counter([*one[~claimed], *other[~claimed]])
    for digest in dict.fromkeys([*one, *other]):
      rows.append((*key, digest, 1 + beaten[digest], ties[digest]))
  return pd.DataFrame(rows, columns=[*keys, 'digest', 'rank', 'tied'])


@functools.lru_cache
def detectable(
  n: int, comparisons: int, *, power: float = POWER, alpha: float = ALPHA
) -> float:
  """Return the smallest difference that so many seeds are likely to show.

  In standard deviations of the paired difference over seeds: that at which the
  two-sided paired t test at alpha / comparisons, Holm's first and hardest step,
  succeeds with the given power,

    P(|T| > t_{1 - alpha / 2m, n - 1}) = power,  T noncentral t, n - 1 degrees
    of freedom, noncentrality effect · √n.

  Args:
    n: paired seeds.
    comparisons: m, in the family.
    power: how likely the difference is to be found.
    alpha: the chance of any false claim in the family.

  Returns:
    The effect; infinite with fewer than two seeds, which show nothing.

  >>> [round(detectable(n, 1), 2) for n in (2, 3, 5, 10)]
  [11.55, 3.26, 1.68, 1.0]
  >>> round(detectable(5, 60), 2)
  5.0
  """
  if n < 2:
    return math.inf
  edge = float(special.stdtrit(n - 1, 1 - alpha / (2 * max(1, comparisons))))

  def short(effect: float) -> float:
    # The chance on the far side is nothing where power is large.
    missed = special.nctdtr(n - 1, effect * math.sqrt(n), edge)
    return float(missed) - (1 - power)

  high = edge / math.sqrt(n)
  while short(high) > 0:
    high *= 2
  return float(optimize.brentq(short, 0.0, high, xtol=1e-10))
