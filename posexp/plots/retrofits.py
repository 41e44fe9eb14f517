"""Retrofits before and after, paired by seed."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib import axes, figure

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
  question = paper.ask(results)
  pairs = list(_pairs(question))
  if not pairs:
    raise component.UserError(
      'no run is a retrofit of another that is admitted'
    )
  # The best at the longest length first.
  pairs.sort(key=lambda pair: (-pair.length, -float(pair.after_N.mean())))
  labels = {pair.digest: pair.label for pair in pairs}
  numbers = paper.table(
    (pair.label, f'gain at {pair.length}', pair.text)
    for pair in sorted(pairs, key=lambda pair: pair.length)
  )
  many = paper.span([pair.gain.n for pair in pairs])
  return question.plate(
    'retrofits',
    _draw(question, pairs, labels),
    numbers.loc[list(labels.values())],
    'Accuracy (%) before and after a retrofit',
    f'a line a seed, {many} of them; the mean gain in points with its 95 % t '
    'interval over seeds, not corrected for the number of retrofits',
  )


def _pairs(question: paper.Question) -> Iterator[Pair]:
  runs = dict(list(question.admitted.groupby('digest', sort=False)))
  for key, run in runs.items():
    digest, parent = str(key), run['parent_digest'].iloc[0]
    if parent not in runs:
      continue
    # A retrofit's name begins with its parent's.
    label = question.names[digest].split(' -> ', 1)[-1]
    columns = ['seed', 'length', 'token']
    both = runs[parent][columns].merge(run[columns], on=columns[:2])
    for length, cell in both.groupby('length'):
      before, after = (cell[f'token_{end}'].to_numpy() for end in 'xy')
      gain = intervals.interval(after - before)
      yield Pair(digest, label, int(str(length)), before, after, gain)


@style.styled
def _draw(
  question: paper.Question, pairs: Sequence[Pair], labels: dict[str, str]
) -> figure.Figure:
  dot = style.Look(style.GREY, 'o', 'none', style.GREY)
  dots = {'before': dot._replace(markerfacecolor='white'), 'after': dot}
  lengths = psychometric.some(pd.Series([pair.length for pair in pairs]))
  drawn, panels = layout.panels(
    [f'{n:,} tokens ({n / question.trained:.3g}×)' for n in lengths],
    style.keys(dots, {name: f'{name}, a seed' for name in dots}),
    across=len(lengths),
    height=0.75 + max(0.7, 0.34 * len(labels)),
    sharey=True,
  )
  rows = {digest: row for row, digest in enumerate(labels)}
  for panel, n in zip(panels, lengths):
    for pair in pairs:
      if pair.length == n:
        color = question.looks[pair.digest].color
        _row(panel, rows[pair.digest], pair, color)
    panel.set_xlim(-0.04, 1.04)
    elements.percent(panel.xaxis)
    panel.set_xlabel('accuracy (% of targets)')
    panel.grid(axis='x')
    panel.tick_params(axis='y', length=0)
  panels[0].set_ylim(len(rows) - 0.5, -0.5)
  names = [style.wrap(label, 25, 2) for label in labels.values()]
  panels[0].set_yticks(range(len(rows)), names)
  return drawn


def _row(panel: axes.Axes, row: int, pair: Pair, color: Any) -> None:
  """Draw the seeds of a retrofit, one below the other, and its gain."""
  n = len(pair.after_N)
  y_N = row + 0.12 + 0.36 * (np.arange(n) + 0.5 - n / 2) / max(n, 1)
  panel.hlines(y_N, pair.before_N, pair.after_N, color, lw=0.8)
  dots: dict[str, Any] = {'ls': 'none', 'marker': 'o', 'ms': 2.6}
  panel.plot(pair.before_N, y_N, **dots, color=color, mfc='white', mew=0.7)
  panel.plot(pair.after_N, y_N, **dots, color=color, gid=f'after:{pair.digest}')
  how: dict[str, Any] = {'ha': 'center', 'va': 'center', 'size': 6}
  how['transform'] = panel.get_yaxis_transform()
  panel.text(0.5, row - 0.28, pair.text, **how)
