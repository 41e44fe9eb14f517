"""Retrofits before and after, paired by seed."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib import axes, figure, lines

from posexp import component
from posexp.claims import format as format_lib
from posexp.claims import intervals
from posexp.plots import elements, layout, paper, psychometric, style


class Pair(NamedTuple):
  """A retrofit at a length: a value a common seed, and the mean difference."""

  digest: str
  label: str
  length: int
  before_N: np.ndarray
  after_N: np.ndarray
  gain: intervals.Interval

  @property
  def text(self) -> str:
    """The gain in points with its interval."""
    return format_lib.bracketed(*self.gain[:3], format_lib.points)


def retrofits(results: pd.DataFrame) -> paper.Plate:
  """Draw the accuracy of each retrofit beside its parent's, seed by seed.

  Args:
    results: of one task and trained length, see `paper.questions`.

  Raises:
    UserError: if no retrofit has its parent among them.
  """
  pairs = _pairs(paper.one_question(results))
  if not pairs:
    raise component.UserError(
      'no run is a retrofit of another that is admitted'
    )
  # The best at the longest length first.
  pairs = sorted(pairs, key=lambda p: (-p.length, -float(p.after_N.mean())))
  labels = {pair.digest: pair.label for pair in pairs}
  by_length = sorted(pairs, key=lambda pair: pair.length)
  numbers = paper.table(
    (pair.label, f'gain at {pair.length}', pair.text) for pair in by_length
  )
  many = paper.span([pair.gain.n for pair in pairs])
  return paper.Plate(
    'retrofits',
    _draw(results, pairs, labels),
    numbers.loc[list(labels.values())],
    f'Accuracy (%) before and after a retrofit. {paper.question(results)}; a '
    f'line a seed, {many} of them; the mean gain in points with its 95 % t '
    'interval over seeds, not corrected for the number of retrofits.',
    paper.source(results),
  )


def _pairs(results: pd.DataFrame) -> list[Pair]:
  admitted = results[results['admitted'].astype(bool)]
  runs = dict(list(admitted.groupby('digest', sort=False)))
  names = intervals.labels(results)
  pairs = []
  for key, run in runs.items():
    digest, parent = str(key), run['parent_digest'].iloc[0]
    if parent not in runs:
      continue
    # A retrofit's name begins with its parent's.
    label = names[digest].split(' -> ', 1)[-1]
    columns = ['seed', 'length', 'token']
    both = runs[parent][columns].merge(run[columns], on=columns[:2])
    for length, cell in both.groupby('length'):
      before, after = (cell[f'token_{end}'].to_numpy() for end in 'xy')
      gain = intervals.interval(after - before)
      pairs.append(Pair(digest, label, int(str(length)), before, after, gain))
  return pairs


@style.styled
def _draw(
  results: pd.DataFrame, pairs: Sequence[Pair], labels: dict[str, str]
) -> figure.Figure:
  trained = results['trained_length'].iloc[0]
  looks = style.looks(results)
  grey: dict[str, Any] = {
    'color': style.GREY,
    'marker': 'o',
    'linestyle': 'none',
  }
  keys = [
    lines.Line2D([], [], **grey, mfc='white', label='before, a seed'),
    lines.Line2D([], [], **grey, label='after, a seed'),
  ]
  lengths = psychometric.some(pd.Series([pair.length for pair in pairs]))
  drawn, spots = layout.panels(
    [f'{n:,} tokens ({n / trained:.3g}×)' for n in lengths],
    keys,
    across=len(lengths),
    height=0.75 + max(0.7, 0.34 * len(labels)),
    sharey=True,
  )
  rows = {digest: row for row, digest in enumerate(labels)}
  for spot, n in zip(spots, lengths):
    for pair in pairs:
      if pair.length == n:
        _row(spot, rows[pair.digest], pair, looks[pair.digest].color)
    spot.set_xlim(-0.04, 1.04)
    elements.percent(spot.xaxis)
    spot.set_xlabel('accuracy (% of targets)')
    spot.grid(axis='x')
    spot.tick_params(axis='y', length=0)
  spots[0].set_ylim(len(rows) - 0.5, -0.5)
  names = [style.wrap(label, 25, 2) for label in labels.values()]
  spots[0].set_yticks(range(len(rows)), names)
  return drawn


def _row(spot: axes.Axes, row: int, pair: Pair, color: Any) -> None:
  """Draw the seeds of a retrofit, one below the other, and its gain."""
  n = len(pair.after_N)
  y_N = row + 0.12 + 0.36 * (np.arange(n) + 0.5 - n / 2) / max(n, 1)
  spot.hlines(y_N, pair.before_N, pair.after_N, color, lw=0.8)
  dots: dict[str, Any] = {'linestyle': 'none', 'marker': 'o', 'markersize': 2.6}
  spot.plot(pair.before_N, y_N, **dots, color=color, mfc='white', mew=0.7)
  spot.plot(pair.after_N, y_N, **dots, color=color, gid=f'after:{pair.digest}')
  place = 0.5, row - 0.28
  how: dict[str, Any] = {'ha': 'center', 'va': 'center', 'size': 6}
  spot.text(*place, pair.text, transform=spot.get_yaxis_transform(), **how)
