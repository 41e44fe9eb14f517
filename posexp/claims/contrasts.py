"""Which runs of a grid differ: paired tests over seeds, and what they can show.

Runs are compared within a question, one task at one trained length: every pair
of runs at every length, on the seeds that are admitted in both, which share
data, initialisation and evaluation examples. All comparisons of a question are
one family, corrected by Holm's method, so that the chance of any false claim
in it is at most 5 %. What is not claimed is a tie, and is shown as one.
"""

import collections
import functools
import itertools
import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import optimize, special

from posexp.claims import intervals

ALPHA, POWER = 0.05, 0.8
QUESTION = ['task', 'trained_length']
COLUMNS = (
  *('task', 'trained_length', 'length', 'one', 'other', 'label', 'against'),
  *('n', 'effect', 'low', 'high', 'p', 'holm', 'claimed', 'detectable'),
)
# Sizes of a grid that an outlook weighs against the one that was asked for.
MORE_SEEDS = (3, 5, 8, 12, 16, 24, 32)


class Holm(NamedTuple):
  """Of each comparison: adjusted p, whether claimed, and its own level."""

  adjusted: np.ndarray
  claimed: np.ndarray
  level: np.ndarray


def holm(p: Sequence[float], alpha: float = ALPHA) -> Holm:
  """Holm's step-down correction of a family of tests.

  The k-th smallest of m p-values is claimed if it and all smaller ones are at
  most alpha / (m - k + 1). A NaN is a comparison that could not be made; it
  counts in the family and is never claimed.

  Args:
    p: of each comparison.
    alpha: the most that the chance of any false claim may be.

  Returns:
    The adjusted p-values, which are claimed, and the level at which each was
    tested: an interval at 1 - level excludes nought just where it is claimed.

  Source: Holm 1979.

  >>> found = holm([0.01, 0.04, 0.03])
  >>> found.adjusted.tolist(), found.claimed.tolist()
  ([0.03, 0.06, 0.06], [True, False, False])
  """
  values = np.asarray(p, np.float64)
  m = values.size
  order = np.argsort(values, kind='stable')  # NaN last.
  steps = m - np.arange(m)
  adjusted, level = np.full(m, np.nan), np.full(m, alpha)
  ascending = values[order] * steps
  adjusted[order] = np.minimum(np.maximum.accumulate(ascending), 1.0)
  passed = np.logical_and.accumulate(values[order] <= alpha / steps)
  # Whatever comes after the first that fails is held to that one's level.
  stopped = int(passed.sum())
  level[order] = alpha / np.maximum(steps, m - min(stopped, max(m - 1, 0)))
  claimed = np.zeros(m, bool)
  claimed[order] = passed
  return Holm(adjusted, claimed, level)


def pairs(
  results: pd.DataFrame, measure: str = 'token', alpha: float = ALPHA
) -> pd.DataFrame:
  """Every two runs of a question at every length, compared over seeds.

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
  frames = []
  for (task, trained), group in admitted.groupby(QUESTION, sort=False):
    rows = list(_compared(group, measure))
    found = holm([row['p'] for row in rows], alpha)
    for row, *judged in zip(rows, *found):
      row |= {'task': task, 'trained_length': trained}
      row |= {'label': names[row['one']], 'against': names[row['other']]}
      row |= _judged(row, len(rows), alpha, *judged)
      if measure != 'nats':  # No two shares differ by more than all.
        row |= {end: np.clip(row[end], -1, 1) for end in ('low', 'high')}
    frames.append(pd.DataFrame(rows, columns=list(COLUMNS)))
  empty = pd.DataFrame(columns=list(COLUMNS)).astype({'claimed': bool})
  return pd.concat(frames, ignore_index=True) if frames else empty


def _judged(
  row: dict[str, Any],
  family: int,
  alpha: float,
  adjusted: float,
  claimed: bool,
  level: float,
) -> dict[str, Any]:
  """What the correction makes of a test, with its interval."""
  n, effect, half, least = row['n'], row['effect'], math.nan, math.nan
  if n > 1:
    half = row['error'] * float(special.stdtrit(n - 1, 1 - level / 2))
    sd = row['error'] * math.sqrt(n)
    least = detectable(n, family, alpha=alpha) * sd
  ends = {'low': effect - half, 'high': effect + half}
  found = {'holm': adjusted, 'claimed': bool(claimed), 'detectable': least}
  return ends | found


def _compared(group: pd.DataFrame, measure: str) -> Iterable[dict[str, Any]]:
  """The paired tests of one question, before their correction."""
  for length, cell in group.groupby('length'):
    table = cell.pivot(index='seed', columns='digest', values=measure)
    finest = 0.0 if measure == 'nats' else 1 / max(1, cell['targets'].max())
    values = {str(d): table[d].to_numpy(np.float64) for d in table}
    listed = dict.fromkeys(map(str, cell['digest']))
    for one, other in itertools.combinations(listed, 2):
      both = values[one] - values[other]
      d_N = both[~np.isnan(both)]
      row = {'length': length, 'one': one, 'other': other, 'n': d_N.size}
      yield row | _tested(d_N, finest)


def _tested(d_N: np.ndarray, finest: float) -> dict[str, float]:
  """The paired t test of some differences."""
  n = d_N.size
  effect = float(d_N.mean()) if n else math.nan
  if n < 2:
    return {'effect': effect, 'error': math.nan, 'p': math.nan}
  error = max(float(d_N.std(ddof=1)), finest) / math.sqrt(n)
  t = abs(effect) / error if error else (math.inf if effect else 0.0)
  p = 2 * float(special.stdtr(n - 1, -t))
  return {'effect': effect, 'error': error, 'p': p}


def text(compared: pd.DataFrame) -> str:
  """What `pairs` found, for a terminal: what is claimed, then the ties."""
  if compared.empty:
    return 'nothing to compare: fewer than two runs of a question are admitted'
  lines = []
  for key, group in compared.groupby([*QUESTION, 'length'], sort=False):
    task, trained, length = key
    lines.append(f'{task}, trained at {trained}, at {length} tokens')
    claimed = group[group['claimed']]
    lines += [f'  {claim(row)}' for _, row in claimed.iterrows()]
    ties = len(group) - len(claimed)
    lines.append(f'  {ties} of {len(group)} pairs are ties')
  lines.append(
    '[interval], p: paired t tests over seeds, Holm’s correction over all '
    'pairs and lengths of a task, 5 %'
  )
  return '\n'.join(lines)


def claim(row: pd.Series) -> str:
  """A claimed difference in accuracy, told from the better run's side."""
  one, other = row['label'], row['against']
  low, high = row['low'], row['high']
  if row['effect'] < 0:
    one, other, low, high = other, one, -high, -low
  return (
    f'{one} is right more often than {other}, by '
    f'{100 * abs(row["effect"]):.1f} points [{100 * low:.1f}, '
    f'{100 * high:.1f}], p = {row["holm"]:.2g} after correction, '
    f'{row["n"]} seeds'
  )


def ranks(compared: pd.DataFrame) -> pd.DataFrame:
  """How many runs are shown to be better than each, plus one, by length.

  Args:
    compared: as `pairs` gives it, of a measure of which more is better.

  Returns:
    One row a (task, trained_length, length, digest): rank, 1 for every run
    that none is shown to beat; tied, how many others cannot be told from it.
  """
  rows = []
  keys = [*QUESTION, 'length']
  for key, cell in compared.groupby(keys, sort=False):
    claimed = cell['claimed'].to_numpy(bool)
    better = cell['effect'].to_numpy() > 0  # The first of the two.
    sides = cell['one'].to_numpy(), cell['other'].to_numpy()
    beaten = [*sides[1][claimed & better], *sides[0][claimed & ~better]]
    lost = collections.Counter(beaten)
    ties = collections.Counter([*sides[0][~claimed], *sides[1][~claimed]])
    rows += [
      {
        **dict(zip(keys, key)),
        'digest': digest,
        'rank': 1 + lost[digest],
        'tied': ties[digest],
      }
      for digest in dict.fromkeys([*sides[0], *sides[1]])
    ]
  return pd.DataFrame(rows, columns=[*keys, 'digest', 'rank', 'tied'])


@functools.lru_cache
def detectable(
  n: int, comparisons: int, *, power: float = POWER, alpha: float = ALPHA
) -> float:
  """The smallest difference that so many seeds are likely to show.

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

  # Above the edge by far more than the t distribution is wide.
  high = edge / math.sqrt(n)
  while short(high) > 0:
    high *= 2
  return float(optimize.brentq(short, 0.0, high, xtol=1e-10))


def outlook(question: str, runs: int, lengths: int, seeds: int) -> str:
  """What a question of a grid could show, before anything is computed.

  >>> print(outlook('Ordering()', 4, 3, 3))
  Ordering(): 18 comparisons (4 runs at 3 lengths)
    3 seeds are likely to show a difference of 13.9 standard deviations over
    seeds: 69 points where seeds differ by 5. Of 5, 8 and 12 seeds: 3.7, 2.0
    and 1.4.
  """
  many = math.comb(runs, 2) * lengths
  if not many:
    return f'{question}: one run, so nothing to compare'
  times = lambda n, what: f'{n} {what}{"s" * (n > 1)}'
  more = [n for n in MORE_SEEDS if n > seeds][:3]
  each = [f'{detectable(n, many):.1f}' for n in more]
  others = f'{_and(map(str, more))} seeds' if more else ''
  if seeds < 2:
    text = (
      'One seed shows nothing, as it has no interval. In standard deviations '
      f'over seeds, {others} are likely to show a difference of {_and(each)}.'
    )
  else:
    least = detectable(seeds, many)
    text = (
      f'{seeds} seeds are likely to show a difference of {least:.1f} standard '
      f'deviations over seeds: {5 * least:.0f} points where seeds differ by 5'
      f'{", more than there are" * (5 * least > 100)}.'
      + (f' Of {others}: {_and(each)}.' if more else '')
    )
  head = (
    f'{question}: {times(many, "comparison")} ({times(runs, "run")} at '
    f'{times(lengths, "length")})'
  )
  body = textwrap.fill(text, 76, initial_indent='  ', subsequent_indent='  ')
  return f'{head}\n{body}'


def _and(words: Iterable[str]) -> str:
  *first, last = words
  return f'{", ".join(first)} and {last}' if first else last


def planned(runs: Iterable[Any]) -> str:
  """The outlook of each question of some planned runs."""
  found: dict[tuple[str, int], list[Any]] = {}
  listed = list(runs)
  for run in listed:
    found.setdefault((str(run.task), run.trained_length), []).append(run)
  return '\n'.join(
    outlook(
      task,
      len(group),
      len({n for run in group for n in run.lengths}),
      min(len(run.seeds) for run in group),
    )
    for (task, _), group in found.items()
  )
