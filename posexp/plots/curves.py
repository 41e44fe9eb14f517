"""Figures by sequence length: accuracy, success, kinds of errors."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import axes

from posexp.claims import intervals, seed_spread
from posexp.plots import experiment, layout, paper


class Measure(NamedTuple):
  """A panel: its title, its axis, a column with its ends, and that of seeds."""

  title: str
  axis: str
  column: str
  seeds: str | None


ACCURACY = Measure('', 'accuracy (% of targets)', 'token', 'token')
SUCCESS = Measure('', 'seeds at the gate (%)', 'success', None)
ORDER = Measure('order errors', 'errors (% of targets)', 'order', 'order')
RETRIEVAL = Measure('retrieval errors', '', 'retrieval', 'retrieval')


def accuracy(results: pd.DataFrame) -> paper.Plate:
  """Accuracy by length: means with intervals, every seed, chance.

  Args:
    results: of one task and trained length, see `paper.questions`.
  """
  results = paper.one_question(results)
  summary = intervals.summarize(results)
  return _plate(
    'accuracy',
    'Accuracy by sequence length',
    results,
    summary,
    [ACCURACY],
    paper.seeds(summary),
  )


def success(results: pd.DataFrame) -> paper.Plate:
  """The share of seeds that reach the gate, by length, with Wilson's interval.

  Args:
    results: of one task and trained length, see `paper.questions`.
  """
  results = paper.one_question(results)
  cells = seed_spread.cells(results)
  gate = intervals.percent(results['gate'].iloc[0])
  how = f'at least {gate} of targets right, 95 % intervals of Wilson'
  return _plate(
    'success',
    'Share of the admitted seeds that succeed, by sequence length',
    results,
    cells,
    [SUCCESS],
    how,
  )


def errors(results: pd.DataFrame) -> paper.Plate:
  """Order errors and retrieval errors by length, a panel each.

  Args:
    results: of one task and trained length, see `paper.questions`.
  """
  results = paper.one_question(results)
  summary = intervals.summarize(results)
  return _plate(
    'errors',
    'Order errors, which an ordering mistake would make, and other errors',
    results,
    summary,
    [ORDER, RETRIEVAL],
    paper.seeds(summary),
  )


def _plate(
  name: str,
  what: str,
  results: pd.DataFrame,
  cells: pd.DataFrame,
  measures: Sequence[Measure],
  how: str,
) -> paper.Plate:
  digests = paper.order(cells, measures[0].column)
  task, trained = results[['task', 'trained_length']].iloc[0]
  return paper.Plate(
    name,
    _draw(results, cells, measures, digests),
    _table(cells, measures),
    f'{what}. {task}, trained at {trained} tokens; {how}.',
    paper.source(results),
  )


def _draw(
  results: pd.DataFrame,
  cells: pd.DataFrame,
  measures: Sequence[Measure],
  digests: Sequence[str],
) -> Any:
  looks = paper.looks(results)
  names = dict(zip(cells['digest'], cells['label']))
  keys = [paper.key(names[d], looks[d]) for d in digests]
  width = paper.COLUMN if len(measures) == 1 else experiment.WIDTH
  with matplotlib.rc_context(experiment.STYLE):
    drawn, spots = layout.frame(
      [measure.title for measure in measures],
      keys,
      left=layout.LEFT,
      panel=1.7,
      width=width,
      below=0.4,
    )
    for spot, measure in zip(spots, measures):
      paper.lengths_axis(spot, results)
      paper.percent(spot.yaxis)
      spot.grid(axis='y')
      spot.set_ylabel(measure.axis)
      _lines(spot, measure, cells, results, digests, looks)
      if measure.title:  # Above it stands the trained length.
        spot.set_title(measure.title, loc='left', pad=11)
    layout.alike(spots, 'y')
    if measures[0] is ACCURACY:
      _chance(spots[0], results)
  return drawn


def _lines(
  spot: axes.Axes,
  measure: Measure,
  cells: pd.DataFrame,
  results: pd.DataFrame,
  digests: Sequence[str],
  looks: Mapping[str, Mapping[str, Any]],
) -> None:
  """A line a run, the runs side by side at each length."""
  shifts = paper.beside(list(results['length'].unique()), len(digests))
  admitted = results[results['admitted'].astype(bool)]
  for digest, shift in zip(digests, shifts):
    run, look = cells[cells['digest'] == digest], looks[digest]
    x = run['length'] * shift
    low, high = (run[f'{measure.column}{end}'] for end in ('_low', '_high'))
    spot.vlines(x, low, high, look['color'], lw=2.2, alpha=0.35)
    if measure.seeds:
      mine = admitted[admitted['digest'] == digest]
      dots = {**look, 'marker': 'o', 'linestyle': 'none', 'markersize': 1.8}
      spot.plot(mine['length'] * shift, mine[measure.seeds], **dots)
    how = {**look, 'gid': f'mean:{digest}', 'zorder': 3}
    spot.plot(x, run[measure.column], **how)
  paper.share_axis(spot)


def _chance(spot: axes.Axes, results: pd.DataFrame) -> None:
  """What guessing scores, dotted and named."""
  chance = results.drop_duplicates('length').sort_values('length')
  y = chance['chance'].to_numpy()
  if not np.isfinite(y).all():
    return
  left, right = spot.get_xlim()
  at = np.r_[left, chance['length'], right]
  spot.plot(
    at, np.r_[y[0], y, y[-1]], ':', color=experiment.GREY, lw=1, zorder=1
  )
  spot.text(left, y[0], ' chance', va='bottom', color=experiment.GREY)
  low = np.floor(10 * min(spot.get_ylim()[0], y.min() - 0.02)) / 10
  spot.set_ylim(max(-0.02, low), 1.02)


def _table(cells: pd.DataFrame, measures: Sequence[Measure]) -> pd.DataFrame:
  """Rows of runs as in the grid, columns of lengths, percent."""
  found: dict[str, dict[str, str]] = {}
  for _, row in cells.iterrows():
    line = found.setdefault(row['label'], {})
    for measure in measures:
      part = f'{measure.column}, ' if len(measures) > 1 else ''
      column = measure.column
      ends = row[f'{column}_low'], row[f'{column}_high']
      text = paper.number(row[column], *ends)
      line[f'{part}{row["length"]}'] = text if row['n_admitted'] else 'n.a.'
  table = pd.DataFrame.from_dict(found, orient='index')
  by = [
    f'{f"{m.column}, " if len(measures) > 1 else ""}{n}'
    for m in measures
    for n in sorted(cells['length'].unique())
  ]
  return table[by].fillna('–')
