"""Statistics over seeds: intervals, and the rule of what is averaged.

The rule: a run's numbers are averaged over its admitted seeds, those that
learned the task at the trained length, and over no others; a seed is never
picked for how it did, so there is no maximum over seeds anywhere.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import special

from posexp import component

# The two ends of a share, for `interval`.
SHARE = (0.0, 1.0)

# What is averaged over seeds, shares of targets or of sequences and nats, with
# the ends that it cannot pass.
MEASURES = {
  **dict.fromkeys(('token', 'exact', 'order', 'retrieval'), SHARE),
  'nats': (0.0, math.inf),
}

# Of the table that `summarize` gives, in this order; each measure is followed
# by the ends of its interval.
COLUMNS = (
  'digest',
  'label',
  'name',
  'scheme',
  'parent',
  'task',
  'trained_length',
  'length',
  'ratio',
  'n_seeds',
  'n_admitted',
  'chance',
  'gate',
  'bag',
  'recent',
  'in_distribution',
  *(f'{m}{end}' for m in MEASURES for end in ('', '_low', '_high')),
)


# What rows that become a part of another run take over from it.
_OF_RUN = ('parent', 'parent_digest', 'steps', 'reevaluation')


class Interval(NamedTuple):
  """A mean, the ends of its confidence interval and the values behind it."""

  mean: float
  low: float
  high: float
  n: int


def interval(
  values: Iterable[float],
  confidence: float = 0.95,
  *,
  within: tuple[float, float] | None = None,
) -> Interval:
  """Student's t interval for a mean over independent seeds.

    mean ± t_{(1 + confidence) / 2, n - 1} · s / √n,

  s² the variance over seeds with n - 1 below: for values that are about
  normal. Outcomes in two heaps (some seeds extrapolate, some do not) are not,
  so show every seed beside the interval.

  Args:
    values: one number a seed. A NaN is not dropped in silence: all is NaN.
    confidence: the share of such intervals that cover the true mean.
    within: ends that the quantity cannot pass, such as `SHARE`; the interval
      is cut there, and then no longer symmetric.

  Returns:
    The interval; low and high are NaN for one value, the mean too for none.

  >>> mean, low, high, n = interval([0.80, 0.90, 0.85])
  >>> print(f'{mean:.3f} [{low:.3f}, {high:.3f}] from {n}')
  0.850 [0.726, 0.974] from 3
  >>> interval([0.90, 1.0], within=SHARE).high
  1.0
  >>> interval([0.9])
  Interval(mean=0.9, low=nan, high=nan, n=1)
  """
  check_confidence(confidence)
  array = np.asarray(list(values), np.float64)
  n = array.size
  mean = float(array.mean()) if n else math.nan
  if n < 2:
    return Interval(mean, math.nan, math.nan, n)
  quantile = special.stdtrit(n - 1, (1 + confidence) / 2)
  half = float(quantile * array.std(ddof=1) / math.sqrt(n))
  low, high = mean - half, mean + half
  if within is not None:
    low, high = max(low, within[0]), min(high, within[1])
  return Interval(mean, low, high, n)


def joined(results: pd.DataFrame) -> pd.DataFrame:
  """Return the results with all evaluations of the same weights in one run.

  The rows of a run that is only its parent evaluated again become its
  parent's, and so do those of several zero-shot evaluations that have a name
  in common, as those in the same windows. Of a length that was evaluated more
  than once, the rows with the most targets stay.

  Args:
    results: a table as `records.load` gives it.
  """
  runs = results.drop_duplicates('digest').set_index('digest')
  first: dict[Any, Any] = {}

  def home(digest: Any) -> Any:
    """Return the run whose rows those of a run become."""
    run = runs.loc[digest]
    if run['steps'] or run['parent_digest'] not in runs.index:
      return digest
    parent = home(run['parent_digest'])
    # Evaluations in windows are named, and shown, beside their parent.
    if run['reevaluation'] and run['name'] == runs.loc[parent, 'name']:
      return parent
    return first.setdefault((parent, run['name'], run['task']), digest)

  homes = {digest: home(digest) for digest in runs.index}
  if all(digest == home for digest, home in homes.items()):
    return results
  home_digest = results['digest'].map(homes)
  of_run = runs.loc[home_digest, list(_OF_RUN)].set_index(results.index)
  moved = results.assign(digest=home_digest, **of_run).assign(
    own=results['digest'] == home_digest
  )
  kept = moved.sort_values(['targets', 'own'], ascending=False, kind='stable')
  kept = kept.drop_duplicates(['digest', 'seed', 'length'])
  return kept.sort_index()[results.columns]


class Median(NamedTuple):
  """A median, the ends of its confidence interval and how many values."""

  median: float
  low: float
  high: float
  n: int


def median(values: Iterable[float], confidence: float = 0.95) -> Median:
  """The distribution-free interval of a median, from the sorted values.

    [x_(k), x_(n + 1 - k)],  k the largest with P(Binomial(n, 1/2) < k) <=
    (1 - confidence) / 2,

  for independent values of whatever distribution, such as the ratios of
  timings, whose outliers are all on one side. It covers the true median at
  least as often as it says.

  Args:
    values: one number a round. A NaN is not dropped in silence: all is NaN.
    confidence: the share of such intervals that cover the true median.

  Returns:
    The median; low and high are NaN where there are too few values, below 6
    for 95 %.

  >>> median([1.1, 1.0, 1.2, 0.9, 1.0, 5.0])
  Median(median=1.05, low=0.9, high=5.0, n=6)
  >>> median([1.1, 1.0, 1.2, 0.9, 1.0])
  Median(median=1.0, low=nan, high=nan, n=5)
  """
  check_confidence(confidence)
  array = np.sort(np.asarray(list(values), np.float64))
  n = array.size
  middle = float(np.median(array)) if n else math.nan
  # How many values may be left out at either end.
  ends = np.arange(n)
  fitting = ends[special.bdtr(ends, n, 0.5) <= (1 - confidence) / 2]
  if math.isnan(middle) or not fitting.size:
    return Median(middle, math.nan, math.nan, n)
  k = int(fitting[-1])
  return Median(middle, float(array[k]), float(array[n - 1 - k]), n)


def check_confidence(confidence: float) -> None:
  """Raises a `UserError` unless a confidence lies between 0 and 1."""
  if not 0 < confidence < 1:
    raise component.UserError(
      f'confidence must lie between 0 and 1, got {confidence}: 0.95 is 95 %'
    )


def summarize(results: pd.DataFrame) -> pd.DataFrame:
  """Means and 95 % intervals over the admitted seeds of each run and length.

  Args:
    results: a table as `records.load` gives it.

  Returns:
    One row a (digest, length), runs in the order of their first row and
    lengths ascending, with `COLUMNS`: for each of `MEASURES` the mean and the
    ends `_low` and `_high` of its interval over the admitted seeds only, NaN
    where none is admitted; `in_distribution`, the mean token accuracy of *all*
    seeds at the trained length, which says how far a run came that was not
    admitted; `label`, the run in a table of its task.
  """
  names = labels(results)
  columns = {str(name): results[name].to_numpy() for name in results}
  admitted_N = columns['admitted'].astype(bool)
  inside_N = columns['length'] == columns['trained_length']
  rows = []
  for digest, run in positions(results):
    inside = run[inside_N[run]]
    same = {
      'label': names[digest],
      'in_distribution': columns['token'][inside].mean()
      if len(inside)
      else math.nan,
    }
    for cell in by_length(columns['length'], run):
      rows.append(same | _cell(columns, cell, cell[admitted_N[cell]]))
  return pd.DataFrame(rows, columns=list(COLUMNS))


def positions(results: pd.DataFrame) -> Iterator[tuple[str, np.ndarray]]:
  """Digest and rows of every run, in the order of their first rows.

  Arrays and positions, as a table a cell would take ten times as long.
  """
  code_N, digests = pd.factorize(results['digest'])
  order = np.argsort(code_N, kind='stable')
  ends = np.cumsum(np.bincount(code_N, minlength=len(digests)))
  for digest, rows in zip(digests, np.split(order, ends[:-1])):
    yield str(digest), rows


def by_length(length_N: np.ndarray, run: np.ndarray) -> Iterator[np.ndarray]:
  """The rows of a run at each of its lengths, ascending."""
  for length in np.unique(length_N[run]):
    yield run[length_N[run] == length]


def _cell(
  columns: Mapping[str, np.ndarray], cell: np.ndarray, admitted: np.ndarray
) -> dict[str, Any]:
  """A run at one length."""
  row = {name: columns[name][cell[0]] for name in COLUMNS if name in columns}
  row |= {'n_seeds': len(cell), 'n_admitted': len(admitted)}
  for measure, ends in MEASURES.items():
    found = interval(columns[measure][admitted], within=ends)
    row[measure] = found.mean
    row[f'{measure}_low'], row[f'{measure}_high'] = found.low, found.high
  return row


def percent(gate: float) -> str:
  """A gate as one reads it.

  >>> percent(0.99), percent(0.41237)
  ('99%', '41.2%')
  """
  return f'{100 * gate:.3g}%'


def not_admitted(run: pd.DataFrame) -> str:
  """Why a run has no numbers, given its rows of a summary."""
  seeds, inside = run['n_seeds'].max(), run['in_distribution'].iloc[0]
  some = f'{seeds} seed' if seeds == 1 else f'{seeds} seeds'
  whose, found = '', '' if math.isnan(inside) else f' (mean {inside:.1%})'
  if run['parent'].iloc[0]:
    # What was learned is the parent's, and so is the number that counts.
    whose, found = ' of its parent', ''
  gate = percent(run['gate'].iloc[0])
  return (
    f'not admitted: 0 of {some}{whose} reached {gate} in distribution{found}'
  )


def labels(results: pd.DataFrame) -> dict[str, str]:
  """What each run is called beside the others of its task, by digest.

  The schemes, as in `RoPE() -> RoPE(NTK(4))`; runs of the same schemes are
  told apart by their steps or their parameters, else by their digests.
  """
  runs = results.drop_duplicates('digest')
  found = {}
  for _, group in runs.groupby(['task', 'trained_length'], sort=False):
    base = group['name'].str.split(': ', n=1).str[-1]
    for label, twins in group.groupby(base, sort=False):
      endings = [''] if len(twins) == 1 else _differences(twins)
      for digest, ending in zip(twins['digest'], endings, strict=True):
        found[str(digest)] = f'{label}{ending}'
  return {digest: found[digest] for digest in runs['digest']}


def questions(results: pd.DataFrame) -> dict[tuple[str, int], str]:
  """What each task at a trained length is called, beside the others.

  The class of the task, where no other has it; else the task as it is written,
  and the trained length where that differs.

  >>> tasks = ['Copy()', 'Recall(keys=4)', 'Recall(keys=8)']
  >>> names = questions(pd.DataFrame({'task': tasks, 'trained_length': 64}))
  >>> list(names.values())
  ['Copy', 'Recall(keys=4)', 'Recall(keys=8)']
  """
  columns = ['task', 'trained_length']
  found = results.drop_duplicates(columns)[columns]
  keys = [(str(task), int(trained)) for task, trained in found.to_numpy()]
  kind = lambda task: task.split('(')[0]
  names = {}
  for task, trained in keys:
    alike = [key for key in keys if kind(key[0]) == kind(task)]
    name = kind(task)
    if len({other for other, _ in alike}) > 1:
      name = task.removesuffix('()')
    if len({length for other, length in alike if other == task}) > 1:
      name = f'{name} at {trained:,}'
    names[task, trained] = name
  return names


def _differences(twins: pd.DataFrame) -> list[str]:
  """An ending for each of several runs that have the same schemes."""
  for column in ('steps', 'parameters'):
    if twins[column].is_unique:
      return [f' [{value:,} {column}]' for value in twins[column]]
  return [f' [{digest}]' for digest in twins['digest']]
