"""Which runs of a grid differ: paired tests over seeds, and what they can show.

What an experiment asks is planned before it runs: a few contrasts of two runs
at a length (`results.plans`). Those of a question, one task at one trained
length, are one family, and every claim is made in `family`: by Holm's method,
so that the chance of any false claim is at most 5 %, with intervals that hold
all at once (Bonferroni). What is not claimed is a tie: that two runs are equal
is never shown.

A contrast is estimated twice. Over the seeds in which both runs learned the
task it says how well a scheme carries on what was learned. Over all seeds, one
that did not learn counting as it is, it says what somebody gets who trains with
the scheme. Where the two disagree, which seeds learned is part of the story.

All pairs of runs at all lengths are a table to explore; nothing in it is a
claim.
"""

import collections
import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import optimize, special

from posexp.claims import intervals
from posexp.results import plans

ALPHA, POWER = 0.05, 0.8
QUESTION = ['task', 'trained_length']
_JUDGED = ('n', 'effect', 'low', 'high', 'p', 'claimed')
# Of the table that `planned` gives: over the seeds that learned, then over all.
PLANNED = (
  *('task', 'trained_length', 'length', 'ratio', 'measure', 'run', 'against'),
  *('label', 'baseline', 'm', *_JUDGED, *(f'all_{c}' for c in _JUDGED)),
  *('disagree', 'detectable', 'why'),
)
# Of the table that `pairs` gives.
COLUMNS = (
  *('task', 'trained_length', 'length', 'one', 'other', 'label', 'against'),
  *('n', 'effect', 'low', 'high', 'p', 'differs'),
)


class Paired(NamedTuple):
  """A mean paired difference over seeds, before it is one of a family.

  Attributes:
    mean: over the common seeds.
    error: its standard error.
    n: common seeds.
    most: the largest difference that there can be, 1 of two shares.
  """

  mean: float
  error: float
  n: int
  most: float = 1.0


# Of runs that were not both evaluated at a length.
NO_CELL = Paired(math.nan, math.nan, 0)


def paired(
  values: Iterable[float],
  base: Iterable[float],
  finest: float = 0.0,
  most: float = 1.0,
) -> Paired:
  """Return the mean of values - base, seed by seed, and its standard error.

    s / √n,  s² the variance of the differences with n - 1 below.

  s is at least `finest`, as no measurement is finer than its unit: seeds that
  differ by the same amount to the digit are no proof. And s is at least what
  makes the p-value of the difference 2 / 4ⁿ. A run may succeed or fail by seed
  (its accuracy is bimodal); where both of two runs succeed in half of their
  seeds, n pairs all fall apart in one direction that often, with no spread at
  all. So two seeds claim nothing, and three claim one difference at most. (Of
  more seeds that are all fair coins, up to 7 % of families have a false claim
  where 5 % are asked, as a t test of such numbers is only about right.)

  Args:
    values: one number per seed, or a series by seed, of which the seeds count
      that both have. If one is NaN, so is the result: without the seeds that
      diverged the others would be a selection.
    base: what it is compared with, likewise.
    finest: what a single target is worth, 1 / targets.
    most: the largest difference that there can be, 1 of two shares.

  >>> pair = paired([0.9, 0.8, 0.9], [0.8, 0.7, 0.7])
  >>> print(f'{pair.mean:.3f} ± {pair.error:.3f}, {pair.n} seeds')
  0.133 ± 0.033, 3 seeds
  """
  if isinstance(values, pd.Series) and isinstance(base, pd.Series):
    both = values.index.intersection(base.index)
    values, base = values[both], base[both]
  d_N = np.asarray(values, np.float64) - np.asarray(base, np.float64)
  n = d_N.size
  mean = float(d_N.mean()) if n else math.nan
  if n < 2 or math.isnan(mean):
    return Paired(mean, math.nan, n, most)
  error = max(float(d_N.std(ddof=1)), finest) / math.sqrt(n)
  farthest = float(special.stdtrit(n - 1, 1 - smallest_p(n) / 2))
  return Paired(mean, max(error, abs(mean) / farthest), n, most)


def smallest_p(n: int) -> float:
  """Return the p-value below which n paired seeds cannot get, 2 / 4ⁿ.

  >>> [smallest_p(n) for n in (2, 3, 5)]
  [0.125, 0.03125, 0.001953125]
  """
  return 2 / 4**n


class Difference(NamedTuple):
  """A mean paired difference as one of a family of m.

  Attributes:
    mean: over the common seeds.
    low: of the interval, which holds together with the m - 1 others in 95 % of
      experiments (Bonferroni).
    high: likewise.
    n: common seeds.
    m: comparisons in the family.
    p: corrected by Holm's method.
    claimed: whether that is at most 5 %; never with fewer than 3 seeds.
  """

  mean: float
  low: float
  high: float
  n: int
  m: int
  p: float = math.nan
  claimed: bool = False

  @property
  def above(self) -> bool:
    """Whether it is claimed to be above 0."""
    return self.claimed and self.mean > 0

  @property
  def below(self) -> bool:
    """Whether it is claimed to be below 0."""
    return self.claimed and self.mean < 0

  @property
  def reversed(self) -> 'Difference':
    """The same difference from the other side."""
    return self._replace(mean=-self.mean, low=-self.high, high=-self.low)


def family(
  pairs: Mapping[Any, Paired],
  *,
  m: int | None = None,
  alpha: float = ALPHA,
) -> dict[Any, Difference]:
  """Judge paired differences as one family: every claim is made here.

    p = m'-fold 2 P(T_{n-1} > |mean| / error),  by Holm's method,
    mean ± t_{1 - alpha / 2m, n - 1} · error

  The chance of any false claim is at most alpha. The intervals hold all at
  once with confidence 1 - alpha, so each is a little wider than its test: now
  and then one includes 0 whose difference is claimed. Then the sign is known,
  and how large the difference is at least is not.

  Args:
    pairs: of each comparison what `paired` gives.
    m: how many comparisons the family has, where others are not among these;
      as many as `pairs` by default. One that could not be made counts.
    alpha: the most that the chance of any false claim may be.

  >>> pair = paired([0.9, 0.8, 0.9, 0.8, 0.7], [0.8, 0.7, 0.7, 0.7, 0.6])
  >>> gain = family({'gain': pair, 'lost': paired([], [])})['gain']
  >>> print(f'{gain.mean:.2f} [{gain.low:.2f}, {gain.high:.2f}]')
  0.12 [0.05, 0.19]
  >>> f'{gain.p:.4f}', gain.above
  ('0.0078', True)
  """
  m = max(len(pairs), m or 0)
  p = [_p(pair) for pair in pairs.values()]
  corrected = holm([*p, *[math.nan] * (m - len(p))], alpha)
  judged = {}
  for place, (key, pair) in enumerate(pairs.items()):
    low = high = math.nan
    if not math.isnan(pair.error):
      half = pair.error * special.stdtrit(pair.n - 1, 1 - alpha / (2 * m))
      low = float(max(pair.mean - half, -pair.most))
      high = float(min(pair.mean + half, pair.most))
    judged[key] = Difference(
      pair.mean,
      low,
      high,
      pair.n,
      m,
      float(corrected.adjusted[place]),
      bool(corrected.claimed[place]),
    )
  return judged


def _p(pair: Paired) -> float:
  """Return the two-sided p-value of a paired difference by itself."""
  if math.isnan(pair.error):
    return math.nan
  if not pair.error:
    return 1.0
  return 2 * float(special.stdtr(pair.n - 1, -abs(pair.mean) / pair.error))


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


def planned(
  results: pd.DataFrame,
  contrasts: Sequence[plans.Contrast],
  alpha: float = ALPHA,
) -> pd.DataFrame:
  """Judge the planned contrasts of an experiment.

  Args:
    results: a table as `records.load` gives it, with all evaluations.
    contrasts: as `plans.read` gives them. All of a question count, also
      those of runs that have not finished or that no seed learned.
    alpha: the most that the chance of any false claim in a question may be.

  Returns:
    One row a contrast with `PLANNED`: the digests and labels of both runs; m,
    how many contrasts the question has; the number of seeds, the difference in
    the measure's units with its simultaneous interval, p by Holm's method and
    whether it is claimed, over the seeds in which both learned the task and,
    as `all_`, over all seeds; whether these two disagree in sign or claim; the
    smallest difference that these seeds would have shown four times in five;
    and `why` there is no number, '' where there is one.
  """
  intervals.check_confidence(1 - alpha)
  names = intervals.labels(results)
  of_run = results.drop_duplicates('digest').set_index('digest')
  cells = dict(iter(results.groupby(['digest', 'length'])))
  rows: list[dict[str, Any]] = []
  for question in dict.fromkeys(c.question for c in contrasts):
    asked = [c for c in contrasts if c.question == question]
    both = {
      c: tuple(cells.get((digest, c.length)) for digest in c.digests)
      for c in asked
    }
    learned, every = (
      {c: _pair(both[c], c.measure, among) for c in asked}
      for among in (True, False)
    )
    of_learned, of_every = (
      family(pairs, alpha=alpha) for pairs in (learned, every)
    )
    for contrast in asked:
      n, error = learned[contrast].n, learned[contrast].error
      rows.append(
        {
          **dict(zip(QUESTION, question)),
          'length': contrast.length,
          'ratio': contrast.length / question[1],
          'measure': contrast.measure,
          'run': contrast.run,
          'against': contrast.against,
          'label': names.get(contrast.run, contrast.label),
          'baseline': names.get(contrast.against, contrast.baseline),
          'm': len(asked),
          **_columns('', of_learned[contrast]),
          **_columns('all_', of_every[contrast]),
          'disagree': disagree(of_learned[contrast], of_every[contrast]),
          'detectable': detectable(n, len(asked), alpha=alpha)
          * error
          * math.sqrt(n),
          'why': _why(
            contrast, of_run.index, learned[contrast], every[contrast]
          ),
        }
      )
  return pd.DataFrame(rows, columns=list(PLANNED))


def _columns(prefix: str, difference: Difference) -> dict[str, Any]:
  mean, low, high, n, _, p, claimed = difference
  values = (n, mean, low, high, p, claimed)
  return {f'{prefix}{name}': value for name, value in zip(_JUDGED, values)}


def _pair(
  both: Sequence[pd.DataFrame | None], measure: str, learned: bool
) -> Paired:
  """Return the paired difference of the rows of two runs at a length."""
  one, other = both
  if one is None or other is None:
    return NO_CELL
  # On arrays, as tables of so few rows take five times as long.
  seeds, values = [], []
  for rows in (one, other):
    counts_N = rows['admitted'].to_numpy(bool) | (not learned)
    seeds.append(rows['seed'].to_numpy()[counts_N])
    values.append(rows[measure].to_numpy(np.float64)[counts_N])
  _, here, there = np.intersect1d(
    seeds[0], seeds[1], assume_unique=True, return_indices=True
  )
  targets = max(
    one['targets'].to_numpy().max(), other['targets'].to_numpy().max()
  )
  unit = _unit(measure, targets)
  return paired(values[0][here], values[1][there], *unit)


def disagree(learned: Difference, every: Difference) -> bool:
  """Return whether both estimates differ in sign or in what is claimed."""
  if learned.n == every.n or math.isnan(every.mean):
    return False
  if learned.claimed != every.claimed:
    return True
  return learned.mean * every.mean < 0


def _why(
  contrast: plans.Contrast, finished: pd.Index, learned: Paired, every: Paired
) -> str:
  """Return why a contrast has no number over the seeds that learned."""
  missing = [d for d in contrast.digests if d not in finished]
  if missing:
    which = dict(zip(contrast.digests, (contrast.label, contrast.baseline)))
    return f'{" and ".join(which[d] for d in missing)} not finished'
  if every is NO_CELL:
    return f'not evaluated at {contrast.length:,} tokens'
  if every.n < 2:
    return 'one common seed' if every.n else 'no common seed'
  if learned.n < 2:
    return f'both learned the task in {learned.n} of {every.n} seeds'
  if math.isnan(learned.mean):
    return f'a seed has no {contrast.measure} there'
  return ''


def pairs(
  results: pd.DataFrame, measure: str = 'token', alpha: float = ALPHA
) -> pd.DataFrame:
  """Compare every two runs of a question at every length, to explore.

  On the seeds that learned the task in both. All pairs and lengths of a
  question are one family, and still nothing here is a claim: which of them
  matters was not said before.

  Args:
    results: a table as `records.load` gives it.
    measure: 'token', 'exact', 'order', 'retrieval' or 'nats'.
    alpha: the most that the chance of any false difference in a question may
      be.

  Returns:
    One row a pair with `COLUMNS`: the digests and labels of both, n common
    seeds that learned, the mean difference `effect` in the measure's units
    with its simultaneous interval, p by Holm's method, and whether it is at
    most alpha. NaN with fewer than two common seeds.
  """
  intervals.check_confidence(1 - alpha)
  names = intervals.labels(results)
  admitted = results[results['admitted'].astype(bool)]
  frames = [pd.DataFrame(columns=list(COLUMNS)).astype({'differs': bool})]
  for (task, trained), group in admitted.groupby(QUESTION, sort=False):
    judged = family(dict(_all_pairs(group, measure)), alpha=alpha)
    rows = [
      {
        'task': task,
        'trained_length': trained,
        'length': length,
        'one': one,
        'other': other,
        'label': names[one],
        'against': names[other],
        **_columns('', difference),
        'differs': difference.claimed,
      }
      for (length, one, other), difference in judged.items()
    ]
    frames.append(pd.DataFrame(rows, columns=list(COLUMNS)))
  return pd.concat(frames[1:] or frames, ignore_index=True)


def _all_pairs(
  group: pd.DataFrame, measure: str
) -> Iterator[tuple[tuple[Any, str, str], Paired]]:
  """Yield the paired difference of every two runs at every length.

  On arrays, as a table for each would take ten times as long.
  """
  for length, cell in group.groupby('length'):
    table = cell.pivot(index='seed', columns='digest', values=measure)
    unknown = set(cell.loc[cell[measure].isna(), 'digest'])
    unit = _unit(measure, cell['targets'].max())
    values = {str(d): table[d].to_numpy(np.float64) for d in table}
    listed = dict.fromkeys(map(str, cell['digest']))
    for one, other in itertools.combinations(listed, 2):
      d_N = values[one] - values[other]
      if unknown.isdisjoint((one, other)):
        d_N = d_N[~np.isnan(d_N)]  # Seeds that one of them does not have.
      yield (length, one, other), paired(d_N, np.zeros_like(d_N), *unit)


def _unit(measure: str, targets: int) -> tuple[float, float]:
  """Return what a target is worth, and the largest difference there can be."""
  if measure == 'nats':
    return 0.0, math.inf
  return 1 / max(1, targets), 1.0


def ranks(compared: pd.DataFrame) -> pd.DataFrame:
  """Return how many runs are better than each, plus one, to explore.

  Args:
    compared: as `pairs` gives it, of a measure of which more is better.

  Returns:
    One row a (task, trained_length, length, digest): rank, 1 for every run
    that none is seen to beat; tied, how many others cannot be told from it.
  """
  keys = [*QUESTION, 'length']
  rows = []
  for key, cell in compared.groupby(keys, sort=False):
    differs = cell['differs'].to_numpy(bool)
    one, other = cell['one'].to_numpy(), cell['other'].to_numpy()
    worse = np.where(cell['effect'] > 0, other, one)
    beaten = collections.Counter(worse[differs])
    ties = collections.Counter([*one[~differs], *other[~differs]])
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
    The effect; infinite where so few seeds claim nothing, see `paired`.

  >>> [round(detectable(n, 1), 2) for n in (2, 3, 5, 10)]
  [inf, 3.26, 1.68, 1.0]
  >>> round(detectable(5, 10), 2)
  3.16
  """
  if n < 2 or smallest_p(n) > alpha / max(1, comparisons):
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
