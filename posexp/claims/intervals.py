"""Intervals over seeds, and the table of every run at every length.

The rule: a run's numbers are over its admitted seeds, those that learned the
task at the trained length (`records.admitted`), and over no others; a seed is
never picked for how it did, so there is no maximum over seeds anywhere.

Length generalisation is bimodal over seeds: some extrapolate and some do not,
and a mean hides which. So beside the mean there are the inter-quartile mean of
the seeds and how many of them succeeded.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import special, stats

from posexp import component
from posexp.claims import format

# The two ends of a share, for `interval`.
SHARE = (0.0, 1.0)

# What is averaged over seeds, shares of targets or of sequences and nats, with
# the ends that it cannot pass.
MEASURES = {
  **dict.fromkeys(('token', 'exact', 'order', 'retrieval'), SHARE),
  'nats': (0.0, math.inf),
}

# Of the bootstrap: the same on every machine and in every report.
SEED, RESAMPLES = 20250521, 4999
# Fewer values have too few different resamples for an interval of 95 %.
FEWEST = 5
# How much is cut off at either end for an inter-quartile mean.
QUARTER = 0.25

# Of the table that `summarize` gives, in this order; each measure is followed
# by the ends of its interval.
COLUMNS = (
  *('digest', 'label', 'name', 'scheme', 'parent', 'task', 'trained_length'),
  *('length', 'ratio', 'n_seeds', 'n_admitted', 'chance', 'gate', 'bag'),
  *('recent', 'in_distribution'),
  *(f'{m}{end}' for m in MEASURES for end in ('', '_low', '_high')),
)
# Of the table that `cells` gives.
CELLS = (
  *('digest', 'label', 'task', 'trained_length', 'length', 'ratio'),
  *('n_seeds', 'n_admitted', 'mean', 'mean_low', 'mean_high'),
  *('iqm', 'iqm_low', 'iqm_high'),
  *('successes', 'success', 'success_low', 'success_high', 'gate'),
)

# What rows that become a part of another run take over from it.
_OF_RUN = ('parent', 'parent_digest', 'steps', 'reevaluation')


class Interval(NamedTuple):
  """A mean, the ends of its confidence interval and the values behind it."""

  mean: float
  low: float
  high: float
  n: int


class Share(NamedTuple):
  """A probability, the ends of its interval, and what was counted."""

  share: float
  low: float
  high: float
  successes: int
  n: int


class Middle(NamedTuple):
  """An inter-quartile mean, the ends of its interval, how many values."""

  iqm: float
  low: float
  high: float
  n: int


class Median(NamedTuple):
  """A median, the ends of its confidence interval and how many values."""

  median: float
  low: float
  high: float
  n: int


def interval(
  values: Iterable[float],
  confidence: float = 0.95,
  *,
  within: tuple[float, float] | None = None,
) -> Interval:
  """Return Student's t interval for a mean over independent seeds.

    mean ± t_{(1 + confidence) / 2, n - 1} · s / √n,

  s² the variance over seeds with n - 1 below: for values that are about
  normal. Bimodal outcomes (some seeds extrapolate, some do not) are not, so
  show every seed beside the interval.

  Args:
    values: one number per seed. If one is NaN, the result is NaN.
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


def wilson(successes: int, n: int, confidence: float = 0.95) -> Share:
  """Return Wilson's interval for a probability of success.

    (k + z²/2) / (n + z²) ± z / (n + z²) · √(k (n - k) / n + z²/4),

  z the normal quantile of (1 + confidence) / 2. Its coverage is the nominal
  one on average over probabilities; for one probability and few trials it can
  be some points off, as that of every interval for counts.

  Args:
    successes: k, how many succeeded.
    n: of how many.
    confidence: the share of such intervals that cover the true probability.

  Returns:
    The share and the ends of its interval; all NaN for no trial.

  Source: Wilson 1927, as `scipy.stats.binomtest` has it.

  >>> share, low, high, k, n = wilson(3, 4)
  >>> print(f'{share:.2f} [{low:.3f}, {high:.3f}] from {k} of {n}')
  0.75 [0.301, 0.954] from 3 of 4
  """
  if not 0 <= successes <= n:
    raise component.UserError(
      f'successes must lie between 0 and n, got {successes} of {n}'
    )
  if not n:
    return Share(math.nan, math.nan, math.nan, 0, 0)
  test = stats.binomtest(successes, n)
  low, high = test.proportion_ci(confidence, method='wilson')
  return Share(successes / n, float(low), float(high), successes, n)


def middle(
  values: Iterable[float],
  confidence: float = 0.95,
  *,
  within: tuple[float, float] | None = None,
) -> Middle:
  """Return the inter-quartile mean, its interval by an expanded bootstrap.

  The mean of what is left after a quarter of the values, rounded down, was cut
  off at either end: all of three, the middle two of four, the middle six of
  ten. The interval is that of the percentile bootstrap at the tails

    Φ(-√(n / (n - 1)) · t_{(1 + confidence) / 2, n - 1}),

  which makes up for what a plain one lacks with few values. Over normal, skewed
  and two-heaped values and 5 to 30 seeds it covered the true middle in 92 to
  98 % of simulated samples where 95 were asked (in its unit test).

  Args:
    values: one number per seed. If one is NaN, the result is NaN.
    confidence: the share of such intervals that cover the true middle.
    within: ends that the quantity cannot pass, such as `SHARE`.

  Returns:
    The middle; low and high are NaN below 5 values, which have too few
    different resamples, and the middle too for none.

  Source: Agarwal et al. 2021, 2108.13264 (the middle); Hesterberg 2015,
  1411.5279 (the expansion).

  >>> iqm, low, high, n = middle([0.1, 0.8, 0.9, 0.9, 1.0, 1.0])
  >>> print(f'{iqm:.2f} [{low:.2f}, {high:.2f}] from {n}')
  0.90 [0.28, 1.00] from 6
  >>> middle([0.1, 0.75, 1.0, 1.0])
  Middle(iqm=0.875, low=nan, high=nan, n=4)
  """
  array = np.asarray(list(values), np.float64)
  return middles(array[None], confidence, within=within)[0]


def middles(
  values_CxN: np.ndarray,
  confidence: float = 0.95,
  *,
  within: tuple[float, float] | None = None,
) -> list[Middle]:
  """Return `middle` of several cells of as many values each."""
  check_confidence(confidence)
  n = values_CxN.shape[1]
  if n < FEWEST:
    center_C = _iqm(values_CxN) if n else np.full(len(values_CxN), math.nan)
    return [Middle(float(c), math.nan, math.nan, n) for c in center_C]
  index_RxN = np.random.default_rng(SEED).integers(0, n, (RESAMPLES, n))
  reach = math.sqrt(n / (n - 1)) * special.stdtrit(n - 1, (1 + confidence) / 2)
  tail = float(special.ndtr(-reach))
  results = []
  for values_N in values_CxN:
    ends = np.quantile(_iqm(values_N[index_RxN]), [tail, 1 - tail])
    if within is not None:
      ends = np.clip(ends, *within)
    low, high = map(float, ends)
    results.append(Middle(float(_iqm(values_N)), low, high, n))
  return results


def _iqm(values: np.ndarray) -> np.ndarray:
  return stats.trim_mean(values, QUARTER, axis=-1)


def median(values: Iterable[float], confidence: float = 0.95) -> Median:
  """Return the distribution-free interval of a median.

    [x_(k), x_(n + 1 - k)],  k the largest with P(Binomial(n, 1/2) < k) <=
    (1 - confidence) / 2,

  x_(k) the k-th of the sorted values. It holds for independent values of
  whatever distribution, such as ratios of timings, whose outliers are all on
  one side, and covers the true median at least as often as it says.

  Args:
    values: one number per round. If one is NaN, the result is NaN.
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
  """Raise a `UserError` unless a confidence lies between 0 and 1."""
  if not 0 < confidence < 1:
    raise component.UserError(
      f'confidence must lie between 0 and 1, got {confidence}: 0.95 is 95 %'
    )


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


def summarize(results: pd.DataFrame) -> pd.DataFrame:
  """Return means and 95 % intervals over admitted seeds, by run and length.

  Args:
    results: a table as `records.load` gives it.

  Returns:
    One row a (digest, length), runs in the order of their first row and
    lengths ascending, with `COLUMNS`: for each of `MEASURES` the mean and the
    ends `_low` and `_high` of its interval, NaN where no seed is admitted;
    `in_distribution`, the mean token accuracy of *all* seeds at the trained
    length, which says how far a run came that was not admitted; `label`, the
    run in a table of its task.
  """
  names = labels(results)
  columns = {str(name): results[name].to_numpy() for name in results}
  trained_N = columns['length'] == columns['trained_length']
  rows = []
  for run, cell, admitted in _cells(columns):
    row = _row(columns, COLUMNS, cell, admitted)
    trained = columns['token'][run[trained_N[run]]]
    row['in_distribution'] = trained.mean() if trained.size else math.nan
    row['label'] = names[row['digest']]
    for measure, ends in MEASURES.items():
      mean = interval(columns[measure][admitted], within=ends)
      row[measure] = mean.mean
      row[f'{measure}_low'], row[f'{measure}_high'] = mean.low, mean.high
    rows.append(row)
  return pd.DataFrame(rows, columns=list(COLUMNS))


def cells(results: pd.DataFrame, measure: str = 'token') -> pd.DataFrame:
  """Return mean, middle and success of every run at every length.

  A seed succeeds at a length where its token accuracy there is at least the
  gate, that is where it does as well as what counts as learned.

  Args:
    results: a table as `records.load` gives it.
    measure: of which middle and mean are taken: 'token', 'exact', 'order',
      'retrieval' or 'nats'.

  Returns:
    One row a (digest, length) with `CELLS`, runs in the order of their first
    row and lengths ascending. Numbers are over admitted seeds, NaN where there
    are none.
  """
  if measure not in MEASURES:
    raise component.UserError(
      f'measure must be one of {", ".join(MEASURES)}, got {measure!r}'
    )
  within = MEASURES[measure]
  names = labels(results)
  columns = {str(name): results[name].to_numpy() for name in results}
  rows: list[dict[str, Any]] = []
  values: list[np.ndarray] = []
  for _, cell, admitted in _cells(columns):
    row = _row(columns, CELLS, cell, admitted)
    row['label'] = names[row['digest']]
    successes = int((columns['token'][admitted] >= row['gate']).sum())
    share = wilson(successes, len(admitted))
    row['successes'], row['success'] = successes, share.share
    row['success_low'], row['success_high'] = share.low, share.high
    values.append(columns[measure][admitted].astype(np.float64))
    mean = interval(values[-1], within=within)
    row['mean'], row['mean_low'], row['mean_high'] = mean[:3]
    rows.append(row)
  # Resampled together, all that have as many seeds.
  for n in {len(each) for each in values}:
    places = [place for place, each in enumerate(values) if len(each) == n]
    stacked = np.array([values[p] for p in places]).reshape(len(places), n)
    for place, found in zip(places, middles(stacked, within=within)):
      row = rows[place]
      row['iqm'], row['iqm_low'], row['iqm_high'] = found[:3]
  return pd.DataFrame(rows, columns=list(CELLS))


def _cells(
  columns: dict[str, np.ndarray],
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
  """Yield the rows of a run, those at one length, and the admitted of these.

  Arrays of places, as a table for each would take ten times as long.
  """
  admitted_N = columns['admitted'].astype(bool)
  code_N, digests = pd.factorize(columns['digest'])
  order = np.argsort(code_N, kind='stable')
  ends = np.cumsum(np.bincount(code_N, minlength=len(digests)))
  for run in np.split(order, ends[:-1]) if len(digests) else ():
    length_R = columns['length'][run]
    for length in np.unique(length_R):
      cell = run[length_R == length]
      yield run, cell, cell[admitted_N[cell]]


def _row(
  columns: dict[str, np.ndarray],
  names: Iterable[str],
  cell: np.ndarray,
  admitted: np.ndarray,
) -> dict[str, Any]:
  """Return what all rows of a run at a length have in common."""
  row = {name: columns[name][cell[0]] for name in names if name in columns}
  return row | {'n_seeds': len(cell), 'n_admitted': len(admitted)}


def not_admitted(run: pd.DataFrame) -> str:
  """Return why a run has no numbers, given its rows of a summary."""
  seeds, inside = run['n_seeds'].max(), run['in_distribution'].iloc[0]
  some = f'{seeds} seed' if seeds == 1 else f'{seeds} seeds'
  mean = '' if math.isnan(inside) else f' (mean {inside:.1%})'
  if run['parent'].iloc[0]:
    # What was learned is the parent's, and so is the number that counts.
    some, mean = f'{some} of its parent', ''
  gate = format.gate(run['gate'].iloc[0])
  return f'not admitted: 0 of {some} reached {gate} in distribution{mean}'


def labels(results: pd.DataFrame) -> dict[str, str]:
  """Return what each run is called beside the others of its task, by digest.

  The schemes, as in `RoPE() -> RoPE(NTK(4))`; runs of the same schemes are
  told apart by their steps or their parameters, else by their digests.
  """
  runs = results.drop_duplicates('digest')
  names = {}
  for _, group in runs.groupby(['task', 'trained_length'], sort=False):
    base = group['name'].str.split(': ', n=1).str[-1]
    for label, twins in group.groupby(base, sort=False):
      endings = [''] if len(twins) == 1 else _differences(twins)
      for digest, ending in zip(twins['digest'], endings, strict=True):
        names[str(digest)] = f'{label}{ending}'
  return {digest: names[digest] for digest in runs['digest']}


def questions(results: pd.DataFrame) -> dict[tuple[str, int], str]:
  """Return what each task at a trained length is called beside the others.

  The class of the task, where no other has it; else the task as it is written,
  and the trained length where that differs.

  >>> tasks = ['Copy()', 'Recall(keys=4)', 'Recall(keys=8)']
  >>> names = questions(pd.DataFrame({'task': tasks, 'trained_length': 64}))
  >>> list(names.values())
  ['Copy', 'Recall(keys=4)', 'Recall(keys=8)']
  """
  columns = ['task', 'trained_length']
  pairs = results.drop_duplicates(columns)[columns].to_numpy()
  keys = [(str(task), int(trained)) for task, trained in pairs]
  names = {}
  for task, trained in keys:
    name = task.split('(')[0]
    alike = [key for key in keys if key[0].split('(')[0] == name]
    if len({other for other, _ in alike}) > 1:
      name = task.removesuffix('()')
    if len({length for other, length in alike if other == task}) > 1:
      name = f'{name} at {trained:,}'
    names[task, trained] = name
  return names


def _differences(twins: pd.DataFrame) -> list[str]:
  """Return an ending for each of several runs that have the same schemes."""
  for column in ('steps', 'parameters'):
    if twins[column].is_unique:
      return [f' [{value:,} {column}]' for value in twins[column]]
  return [f' [{digest}]' for digest in twins['digest']]
