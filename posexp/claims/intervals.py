"""Intervals over seeds, and the table of every run at every length.

The rule: a run's means are over its admitted seeds, those that learned the
task at the trained length (`records.admitted`), and over no others. Examples of
their own say which these are: a seed is never picked for how it did on those
that the numbers are of, and there is no maximum over seeds anywhere. A
probability of success is over all seeds.

Length generalisation is bimodal over seeds: some extrapolate and some do not,
and a mean hides which. So beside the mean there are the inter-quartile mean of
the seeds and how many of them succeeded.
"""

import functools
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import special, stats

from posexp import component
from posexp.claims import format, gaffke
from posexp.results import plans

# The two ends of a share, for `interval`.
SHARE = (0.0, 1.0)

# What is averaged over seeds, shares of targets or of sequences and nats, with
# the ends that it cannot pass.
MEASURES = {
  measure: (0.0, math.inf) if measure == 'nats' else SHARE
  for measure in plans.MEASURES
}

# Of the bootstrap: the same on every machine and in every report.
SEED, RESAMPLES = 20250521, 4999
# Fewer values have too few different resamples for an interval of 95 %.
FEWEST = 5
# How much is cut off at either end for an inter-quartile mean.
QUARTER = 0.25

# How near to an end a value may be, as a share of the range between both, for
# Student's interval; see `interval`.
NEAR = 0.03

_ENDS = ('', '_low', '_high')
_NOTHING = math.nan, math.nan
# Of the table that `summarize` gives, in this order; each measure is followed
# by the ends of its interval.
COLUMNS = (
  *('digest', 'label', 'name', 'scheme', 'parent', 'task', 'trained_length'),
  *('length', 'ratio', 'n_seeds', 'n_admitted', 'chance', 'gate', 'bag'),
  *('recent', 'in_distribution'),
  *(f'{m}{end}' for m in MEASURES for end in _ENDS),
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
  """A mean, the ends of its confidence interval and how many values it has."""

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
  """Return an interval for a mean over independent seeds.

    mean ± t_{(1 + confidence) / 2, n - 1} · s / √n,

  s² the variance over seeds with n - 1 below, is Student's, for values that are
  about normal. A share is not where values sit at an end: some seeds solve a
  task and some do not, and three that do have hardly a spread, though every
  other seed may fail. So where a value lies within 3 % of the range from an
  end, or this interval passes an end or has no width, there is Gaffke's in its
  place, which stays between the ends by construction. Its low end is the
  quantile (1 - confidence) / 2 of

    w_0 · least + Σ w_i x_i,  w uniform on the simplex (Dirichlet(1, ..., 1)),

  and its high end the quantile (1 + confidence) / 2 with the most in place of
  the least. Where all values are at an end it is that of Clopper and Pearson.
  It assumes no distribution, so it is wide: nothing between 29 and 100 % is
  excluded by three seeds at 100 %. What these intervals cover is shown in
  docs/explanation/calibration.md.

  Args:
    values: one number per seed. If one is NaN, the result is NaN.
    confidence: the share of such intervals that cover the true mean.
    within: the least and the most that a value can be, such as `SHARE`. If one
      of them is infinite, Student's interval is cut at the other.

  Returns:
    The interval; low and high are NaN for one value, the mean too for none.

  Source: Gaffke 2005, Three test statistics for a nonparametric one-sided
  hypothesis on the mean of a nonnegative variable; that it covers was proved
  for some distributions and never seen to fail, see Learned-Miller and Thomas
  2019, arXiv 1905.06208.

  >>> mean, low, high, n = interval([0.80, 0.90, 0.85])
  >>> print(f'{mean:.3f} [{low:.3f}, {high:.3f}] from {n}')
  0.850 [0.726, 0.974] from 3
  >>> mean, low, high, n = interval([1.0, 1.0, 1.0], within=SHARE)
  >>> print(f'{mean:.3f} [{low:.3f}, {high:.3f}] from {n}')
  1.000 [0.292, 1.000] from 3
  >>> interval([0.9])
  Interval(mean=0.9, low=nan, high=nan, n=1)
  """
  check_confidence(confidence)
  array = np.asarray(list(values), np.float64)
  n = array.size
  if n < 2:
    return Interval(float(array.mean()) if n else math.nan, *_NOTHING, n)
  ends = None if within is None else np.array([within])
  means, lows, highs = by_row(array[None], confidence, ends)
  return Interval(float(means[0]), float(lows[0]), float(highs[0]), n)


def by_row(
  values_CxN: np.ndarray, confidence: float, within_Cx2: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Return the means of cells of N >= 2 values and the ends, see `interval`."""
  n = values_CxN.shape[1]
  mean_C = values_CxN.mean(1)
  quantile = special.stdtrit(n - 1, (1 + confidence) / 2)
  half_C = quantile * values_CxN.std(1, ddof=1) / math.sqrt(n)
  low_C, high_C = mean_C - half_C, mean_C + half_C
  if within_Cx2 is None:
    return mean_C, low_C, high_C
  least_C, most_C = within_Cx2.T
  bounded_C = np.isfinite(within_Cx2).all(1) & np.isfinite(mean_C)
  near_C = NEAR * np.where(bounded_C, most_C - least_C, 0)
  first_C, last_C = values_CxN.min(1), values_CxN.max(1)
  passes_C = (low_C < least_C) | (high_C > most_C)
  passes_C |= (first_C < least_C + near_C) | (last_C > most_C - near_C)
  # As rounding gives equal values a spread.
  passes_C |= first_C == last_C
  passes_C &= bounded_C
  low_C, high_C = np.maximum(low_C, least_C), np.minimum(high_C, most_C)
  if passes_C.any():
    ends = gaffke.ends(values_CxN[passes_C], confidence, within_Cx2[passes_C])
    low_C[passes_C], high_C[passes_C] = ends
  return mean_C, low_C, high_C


def wilson(successes: int, n: int, confidence: float = 0.95) -> Share:
  """Return Wilson's interval for a probability of success.

    (k + z²/2) / (n + z²) ± z / (n + z²) · √(k (n - k) / n + z²/4),

  z the normal quantile of (1 + confidence) / 2. Its coverage is the nominal
  one on average over probabilities, and some points off for a single one.

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
) -> Interval:
  """Return the inter-quartile mean, its interval by an expanded bootstrap.

  The mean of what is left after a quarter of the values, rounded down, was cut
  off at either end: all of three, the middle two of four, the middle six of
  ten. The interval is that of the percentile bootstrap at the tails

    Φ(-√(n / (n - 1)) · t_{(1 + confidence) / 2, n - 1}),

  which makes up for what a plain one lacks with few values. Over normal, skewed
  and bimodal values and 5 to 30 seeds it covered the true middle in 92 to
  98 % of simulated samples where 95 were asked (in its unit test).

  The arguments are those of `interval`.

  Returns:
    The middle; low and high are NaN below 5 values, which have too few
    different resamples, and the middle too for none.

  Source: Agarwal et al. 2021, 2108.13264 (the middle); Hesterberg 2015,
  1411.5279 (the expansion).

  >>> iqm, low, high, n = middle([0.1, 0.8, 0.9, 0.9, 1.0, 1.0])
  >>> print(f'{iqm:.2f} [{low:.2f}, {high:.2f}] from {n}')
  0.90 [0.28, 1.00] from 6
  >>> middle([0.1, 0.75, 1.0, 1.0])
  Interval(mean=0.875, low=nan, high=nan, n=4)
  """
  check_confidence(confidence)
  array = np.asarray(list(values), np.float64)
  n = array.size
  iqm = float(_iqm(array)) if n else math.nan
  if n < FEWEST:
    return Interval(iqm, math.nan, math.nan, n)
  reach = math.sqrt(n / (n - 1)) * special.stdtrit(n - 1, (1 + confidence) / 2)
  tail = float(special.ndtr(-reach))
  ends = np.quantile(_iqm(array[_resampled(n, RESAMPLES)]), [tail, 1 - tail])
  if within is not None:
    ends = np.clip(ends, *within)
  low, high = map(float, ends)
  return Interval(iqm, low, high, n)


def _iqm(values: np.ndarray) -> np.ndarray:
  return stats.trim_mean(values, QUARTER, axis=-1)


@functools.lru_cache(maxsize=4)
def _resampled(n: int, resamples: int) -> np.ndarray:
  """Return the indices of the bootstrap, the same for all of one size."""
  return np.random.default_rng(SEED).integers(0, n, (resamples, n))


def median(values: Iterable[float], confidence: float = 0.95) -> Median:
  """Return the distribution-free interval of a median.

    [x_(k), x_(n + 1 - k)],  k the largest with P(Binomial(n, 1/2) < k) <=
    (1 - confidence) / 2,

  x_(k) the k-th of the sorted values. It holds for independent values of any
  distribution, such as ratios of timings, whose outliers are all on one side,
  and covers the true median at least as often as it says.

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
  center = float(np.median(array)) if n else math.nan
  fitting = special.bdtr(np.arange(n), n, 0.5) <= (1 - confidence) / 2
  k = int(fitting.sum())
  if math.isnan(center) or not k:
    return Median(center, math.nan, math.nan, n)
  return Median(center, float(array[k - 1]), float(array[n - k]), n)


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
    ends `_low` and `_high` of its interval, NaN where no seed is admitted. At
    the trained length of a root the seeds that count have passed the gate, so
    that accuracy is taken to lie between it and 1, and errors below what it
    leaves (or, if a seed is beyond, between that seed and 1);
    `in_distribution`, the mean token accuracy of *all* seeds at the trained
    length, which says how far a run came that was not admitted; `label`, the
    run in a table of its task.
  """
  names = labels(results)
  columns = {str(name): results[name].to_numpy() for name in results}
  places, rows, admitted = _cells(results), [], []
  for (digest, _), cell in places.items():
    admitted.append(cell[columns['admitted'][cell].astype(bool)])
    row = {name: columns[name][cell[0]] for name in COLUMNS if name in columns}
    row |= {'n_seeds': len(cell), 'n_admitted': len(admitted[-1])}
    trained = places.get((digest, row['trained_length']))
    row['in_distribution'] = (
      math.nan if trained is None else columns['token'][trained].mean()
    )
    row['label'] = names[digest]
    rows.append(row)
  table = pd.DataFrame(rows, columns=list(COLUMNS))
  first = [cell[0] for cell in places.values()]
  gates_C = np.where(_gated(results)[first], columns['gate'][first], math.nan)
  for measure in MEASURES:
    ends = [f'{measure}{end}' for end in _ENDS]
    table[ends] = _means(measure, columns[measure], admitted, gates_C)
  return table


def passed(values: Iterable[float], gate: float) -> tuple[float, float]:
  """Return the ends of accuracies that a gate has let pass, for `interval`.

  >>> passed([0.995, 1.0], 0.99), passed([0.985, 1.0], 0.99)
  ((0.99, 1.0), (0.985, 1.0))
  """
  return min((gate, *map(float, values))), SHARE[1]


def _gated(results: pd.DataFrame) -> np.ndarray:
  """Return of which rows the accuracy is what the gate has let pass.

  Those at the trained length of root runs, and of these evaluated again.
  """
  runs = results.drop_duplicates('digest').set_index('digest')
  roots = runs.loc[runs['parent_digest'] == '', 'name']
  # Evaluations in windows have another name.
  again = results['parent_digest'].map(roots) == results['name']
  again &= results['reevaluation'].astype(bool)
  there = results['length'] == results['trained_length']
  return (there & (again | (results['parent_digest'] == ''))).to_numpy(bool)


def _means(
  measure: str,
  value_N: np.ndarray,
  cells: Sequence[np.ndarray],
  gates_C: np.ndarray,
) -> np.ndarray:
  """Return a row a cell of a measure: its mean and the ends of its interval.

  Cells with as many values are computed at once, as there may be thousands.

  Args:
    measure: one of `MEASURES`.
    value_N: of each row of the results.
    cells: the rows that count in each cell.
    gates_C: that the accuracy of a cell has passed; NaN where there is none.
  """
  table_Cx3 = np.full((len(cells), 3), math.nan)
  sizes = np.array([len(cell) for cell in cells], np.int64)
  for n in set(sizes) - {0}:
    alike = np.flatnonzero(sizes == n)
    values_CxN = value_N[np.stack([cells[int(c)] for c in alike])].astype(
      np.float64
    )
    if n == 1:
      table_Cx3[alike, 0] = values_CxN[:, 0]
      continue
    within_Cx2 = np.tile(MEASURES[measure], (len(alike), 1)).astype(np.float64)
    least_C, most_C = within_Cx2.T
    gate_C = gates_C[alike]
    if measure == 'token':
      floor_C = np.fmin(gate_C, values_CxN.min(1))
      within_Cx2[:, 0] = np.where(np.isnan(gate_C), least_C, floor_C)
    elif measure in ('order', 'retrieval'):
      roof_C = np.fmax(1 - gate_C, values_CxN.max(1))
      within_Cx2[:, 1] = np.where(np.isnan(gate_C), most_C, roof_C)
    table_Cx3[alike] = np.column_stack(by_row(values_CxN, 0.95, within_Cx2))
  return table_Cx3


def cells(results: pd.DataFrame, measure: str = 'token') -> pd.DataFrame:
  """Return mean, middle and success of every run at every length.

  A seed succeeds if it learned the task and its token accuracy at that length
  is at least the gate too, that is if it does as well there as what counts as
  learned. One that did not learn the task is no success.

  Args:
    results: a table as `records.load` gives it.
    measure: of which middle and mean are taken: 'token', 'exact', 'order',
      'retrieval' or 'nats'.

  Returns:
    The rows of `summarize` with `CELLS`; mean and middle are over admitted
    seeds, NaN where there are none, and successes are of all seeds.
  """
  if measure not in MEASURES:
    raise component.UserError(
      f'measure must be one of {", ".join(MEASURES)}, got {measure!r}'
    )
  table = summarize(results)
  table = table.rename(columns={f'{measure}{e}': f'mean{e}' for e in _ENDS})
  admitted_N = results['admitted'].to_numpy(bool)
  value_N, token_N = results[measure].to_numpy(), results['token'].to_numpy()
  rows = []
  for cell, gate in zip(_cells(results).values(), table['gate']):
    admitted = cell[admitted_N[cell]]
    iqm = middle(value_N[admitted], within=MEASURES[measure])
    successes = int((token_N[admitted] >= gate).sum())
    rows.append((*iqm[:3], *wilson(successes, len(cell))[:4]))
  names = [f'{name}{end}' for name in ('iqm', 'success') for end in _ENDS]
  beside = pd.DataFrame(rows, columns=[*names, 'successes'])
  return table.join(beside)[list(CELLS)]


def _cells(results: pd.DataFrame) -> dict[tuple[str, int], np.ndarray]:
  """Return the places of the rows of each run and length, in that order.

  Arrays of places, as a table for each would take ten times as long.
  """
  places: Any = results.groupby(['digest', 'length']).indices
  order = {digest: n for n, digest in enumerate(results['digest'].unique())}
  ordered = sorted(places, key=lambda cell: (order[cell[0]], cell[1]))
  return {cell: places[cell] for cell in ordered}


def not_admitted(run: pd.DataFrame) -> str:
  """Return why a run has no numbers, given its rows of a summary."""
  seeds, inside = run['n_seeds'].max(), run['in_distribution'].iloc[0]
  some = f'{seeds} seed' if seeds == 1 else f'{seeds} seeds'
  mean = '' if math.isnan(inside) else f' (mean {inside:.1%})'
  if run['parent'].iloc[0]:
    # What was learned is the parent's, and so is the number that counts.
    some, mean = f'{some} of its parent', ''
  gate = format.gate(run['gate'].iloc[0])
  return f'not admitted: 0 of {some} reached {gate} at the trained length{mean}'


def labels(results: pd.DataFrame) -> dict[str, str]:
  """Return what each run is called beside the others of its task, by digest.

  The schemes, as in `RoPE() -> RoPE(NTK(4))`; runs of the same schemes are
  told apart by their steps or their parameters, else by the fields in which
  they differ or, where these are many, by their digests.
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
  if 'variant' in twins and twins['variant'].is_unique:
    return [f' [{variant}]' for variant in twins['variant']]
  return [f' [{digest}]' for digest in twins['digest']]
