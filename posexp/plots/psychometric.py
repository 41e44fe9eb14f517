"""Errors by a stratum of the targets, such as the gap between two events."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import axes, ticker

from posexp.claims import intervals
from posexp.plots import experiment, layout, paper
from posexp.results import records

# More values than so many are joined, in bins of a doubling each.
VALUES = 9
# A bin with fewer targets of a seed is not shown.
FEWEST = 10
# Lengths that are shown at most, among them the first and the last.
LENGTHS = 3
# Strata that are no quantity; those with few values are none either.
CLASSES = ('task', 'query', 'mention', 'present')
QUANTITY = 4
_TOKENS = ('gap', 'distance', 'evidence', 'start', 'place')


def strata(
  workdir: str | os.PathLike, results: pd.DataFrame
) -> dict[str, pd.DataFrame]:
  """Errors of every admitted seed by each stratum that is a quantity.

  Args:
    workdir: as given to `posexp run`.
    results: of one task and trained length.

  Returns:
    By stratum: rows of digest, length, seed and bin with order, retrieval and
    targets. `bin` is the value, or where a doubling begins.
  """
  found: dict[str, list[pd.DataFrame]] = {}
  admitted = results[results['admitted'].astype(bool)]
  for key, run in admitted.groupby('digest', sort=False):
    digest = str(key)
    for by, table in _of_run(workdir, digest):
      mine = table[table['seed'].isin(run['seed'])]
      found.setdefault(by, []).append(mine.assign(digest=digest))
  joined = {by: pd.concat(tables) for by, tables in found.items()}
  return {
    by: _binned(table)
    for by, table in joined.items()
    if table['value'].nunique() > QUANTITY
  }


def _of_run(
  workdir: str | os.PathLike, digest: str
) -> Iterator[tuple[str, pd.DataFrame]]:
  """Kinds of errors by value, of every stratum of a run."""
  table = records.outcomes(workdir, digest)
  for by in records.strata_of(table):
    if by not in CLASSES:
      seen = table[table[by] >= 0]
      counts = pd.DataFrame(
        {
          **{name: seen[name] for name in ('length', 'seed')},
          'value': seen[by],
          'order': seen['kind'] == 1,
          'retrieval': seen['kind'] == 2,
          'targets': 1,
        }
      )
      parts = counts.groupby(['length', 'seed', 'value'], as_index=False)
      yield by, parts.sum()


def _binned(table: pd.DataFrame) -> pd.DataFrame:
  """Shares in bins of a value or of a doubling each."""
  value = table['value'].to_numpy()
  if table['value'].nunique() > VALUES:
    value = 2 ** np.log2(np.maximum(value, 1)).astype(int)
  keys = ['digest', 'length', 'seed', 'bin']
  counts = table.assign(bin=value).groupby(keys, sort=False)
  total = counts[['order', 'retrieval', 'targets']].sum().reset_index()
  total = total[total['targets'] >= FEWEST]
  for kind in ('order', 'retrieval'):
    total[kind] = total[kind] / total['targets']
  return total.sort_values(keys)


def by_stratum(
  results: pd.DataFrame, table: pd.DataFrame, by: str
) -> paper.Plate:
  """Order errors above, retrieval errors below, a column a length.

  Args:
    results: of one task and trained length.
    table: of the stratum, as `strata` gives it.
    by: its name.
  """
  results = paper.one_question(results)
  summary = intervals.summarize(results)
  lengths = _some(sorted(table['length'].unique()))
  means = _means(table[table['length'].isin(lengths)])
  digests = [d for d in paper.order(summary, 'token') if d in set(table.digest)]
  unit = f'{by} (tokens)' if by in _TOKENS else by
  task, trained = results[['task', 'trained_length']].iloc[0]
  joined = table['bin'].nunique() < table['bin'].max() - table['bin'].min()
  bins = ' Each point is a doubling, from where it stands.' if joined else ''
  if unit != by and trained <= means['bin'].max():
    bins += ' Grey: the trained length.'
  return paper.Plate(
    f'psychometric-{paper.slug(by)}',
    _draw(results, means, digests, lengths, unit),
    _table(summary, means, digests, by),
    f'Errors by {unit}. {task}, trained at {trained} tokens; '
    f'{paper.seeds(summary)}.{bins}',
    paper.source(results),
  )


def _some(lengths: Sequence[int]) -> list[int]:
  index = np.linspace(0, len(lengths) - 1, min(LENGTHS, len(lengths)))
  return [int(lengths[i]) for i in index.round().astype(int)]


def _means(table: pd.DataFrame) -> pd.DataFrame:
  """Means over seeds with their intervals, a row a run, length and bin."""
  rows = []
  for keys, cell in table.groupby(['digest', 'length', 'bin'], sort=False):
    row = dict(zip(('digest', 'length', 'bin'), keys))
    for kind in ('order', 'retrieval'):
      mean = intervals.interval(cell[kind], within=intervals.SHARE)
      row |= {kind: mean.mean, f'{kind}_low': mean.low}
      row |= {f'{kind}_high': mean.high}
    rows.append(row)
  return pd.DataFrame(rows)


def _draw(
  results: pd.DataFrame,
  means: pd.DataFrame,
  digests: Sequence[str],
  lengths: Sequence[int],
  unit: str,
) -> Any:
  looks, names = paper.looks(results), intervals.labels(results)
  trained = results['trained_length'].iloc[0]
  kinds = ('order', 'retrieval')
  titles = [
    f'{kind} errors, {n:,} tokens ({n / trained:.3g}×)'
    for kind in kinds
    for n in lengths
  ]
  keys = [paper.key(names[d], looks[d]) for d in digests]
  with matplotlib.rc_context(experiment.STYLE):
    drawn, spots = layout.frame(
      titles,
      keys,
      across=len(lengths),
      panel=1.25,
      below=0.42,
    )
    cells = [(kind, n) for kind in kinds for n in lengths]
    for place, (spot, (kind, n)) in enumerate(zip(spots, cells)):
      mine = means[means['length'] == n]
      _axis(spot, means['bin'], unit)
      _curves(spot, kind, mine, digests, looks)
      if unit.endswith('(tokens)') and trained <= means['bin'].max():
        spot.axvline(trained, color=experiment.GREY, lw=0.8, gid='trained')
      if place % len(lengths) == 0:
        spot.set_ylabel('% of targets')
    layout.alike(spots, 'y')
    layout.alike(spots, 'x')
  return drawn


def _axis(spot: axes.Axes, bins: pd.Series, unit: str) -> None:
  values = np.sort(bins.unique())
  if values[0] > 0 and values[-1] / values[0] > 8:
    spot.set_xscale('log', base=2)
    spot.xaxis.set_minor_locator(ticker.NullLocator())
    spot.xaxis.set_major_formatter(ticker.FormatStrFormatter('%g'))
  else:
    spot.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
  spot.set_xlabel(unit)
  paper.percent(spot.yaxis)
  spot.grid(axis='y')


def _curves(
  spot: axes.Axes,
  kind: str,
  mine: pd.DataFrame,
  digests: Sequence[str],
  looks: dict[str, dict[str, Any]],
) -> None:
  for digest in digests:
    run, look = mine[mine['digest'] == digest].sort_values('bin'), looks[digest]
    ends = run[f'{kind}_low'], run[f'{kind}_high']
    spot.fill_between(run['bin'], *ends, color=look['color'], alpha=0.13, lw=0)
    spot.plot(run['bin'], run[kind], **look, gid=f'{kind}:{digest}')
  paper.share_axis(spot)


def _table(
  summary: pd.DataFrame, means: pd.DataFrame, digests: Sequence[str], by: str
) -> pd.DataFrame:
  """A row a run, length and kind of error; a column a bin."""
  names = dict(zip(summary['digest'], summary['label']))
  bins = sorted(means['bin'].unique())
  rows = {}
  for digest in digests:
    for n, cell in means[means['digest'] == digest].groupby('length'):
      at = cell.set_index('bin')
      for kind in ('order', 'retrieval'):
        rows[f'{names[digest]}, {n}, {kind}'] = [
          f'{100 * at[kind][b]:.1f}' if b in at.index else '–' for b in bins
        ]
  columns = [f'{by} {b}' for b in bins]
  return pd.DataFrame.from_dict(rows, orient='index', columns=columns)
