"""The figure of an experiment: accuracy by length, and kinds of error.

Drawn from the table of `records.load` alone, with no display and no global
state; the same table gives the same bytes.
"""

import os
import pathlib

import pandas as pd
from matplotlib import axes, figure, lines

from posexp import component
from posexp.claims import intervals
from posexp.plots import curves, elements, layout, paper, style
from posexp.plots.style import Look, Looks, looks

__all__ = ['Look', 'Looks', 'bars', 'draw', 'looks', 'overview']

# In inches: curves with their axis, the least of it; a row of bars, and the
# title of all bars.
CURVES, BARS, TITLE = 3.1, 1.25, 0.35
# Letters in a line of the legend beside the curves.
ENTRY = 31
# With no, one and several admitted seeds in a run.
SHOWN = ('no seed learned it', 'one seed a run', 'mean, 95% interval, seeds')

Runs = dict[str, pd.DataFrame]  # the rows of a summary, by digest


def overview(
  results: pd.DataFrame, directory: str | os.PathLike, name: str = 'overview'
) -> list[pathlib.Path]:
  """Write the figure of the results of `records.load` as PNG and PDF.

  Returns:
    Their paths.
  """
  return paper.save(draw(results), directory, name)


@style.styled
def draw(results: pd.DataFrame) -> figure.Figure:
  """Return the figure of `overview`: a block for each task and trained length.

  Above, accuracy by length: means over admitted seeds with 95 % intervals, and
  every admitted seed, runs side by side; below, what became of the targets.
  """
  if results.empty:
    raise component.UserError(
      'no results to draw: the table of results is empty'
    )
  results = intervals.joined(results)
  summary = intervals.summarize(results)
  all_looks = looks(results)
  heights: list[float] = []
  blocks = []
  for _, question in summary.groupby(['task', 'trained_length'], sort=False):
    runs = {str(d): run for d, run in question.groupby('digest', sort=False)}
    names = paper.entries(question)
    keys = style.keys({d: all_looks[d] for d in runs}, names, ENTRY)
    rows = -(-len(runs) // _columns(runs))
    heights += [
      max(CURVES, layout.legend_height(keys) + 0.9),
      TITLE + rows * BARS,
    ]
    blocks.append((runs, keys))
  drawn = layout.blank(style.WIDTH, sum(heights))
  parts = drawn.subfigures(len(heights), squeeze=False, height_ratios=heights)
  for (runs, keys), above, below in zip(blocks, parts[::2, 0], parts[1::2, 0]):
    rows_of_runs = results[results['digest'].isin(list(runs))]
    _curves(above, runs, rows_of_runs, all_looks, keys)
    _bars(below, runs)
  return drawn


def _columns(runs: Runs) -> int:
  return 3 if len(runs) in (5, 6) else min(len(runs), 4)


def _curves(
  part: figure.SubFigure,
  runs: Runs,
  results: pd.DataFrame,
  all_looks: style.Looks,
  keys: list[lines.Line2D],
) -> None:
  """Draw accuracy by length with a legend that names excluded runs too."""
  layout.title(part, style.wrap(paper.in_words(results), 70, 1))
  counts = {digest: run['n_admitted'].max() for digest, run in runs.items()}
  shown = {d: all_looks[d] for d, number in counts.items() if number}
  panel = part.subplots()
  trained = results['trained_length'].iloc[0]
  elements.length_axis(panel, results['length'], trained)
  admitted = results[results['admitted'].astype(bool)]
  means, seeds = (
    curves.tidy(rows, {'token': ''}) for rows in (pd.concat(runs), admitted)
  )
  curves.Curves(means, shown, {}, seeds).panel(panel)
  elements.share_axes([panel], 'accuracy (% of targets)')
  elements.chance(panel, results)
  for key, digest in zip(keys, runs):
    key.set_visible(digest in shown)
  legend = panel.legend(
    handles=keys,
    title=SHOWN[min(2, max(counts.values()))],
    alignment='left',
    loc='upper left',
    bbox_to_anchor=(1.01, 1.02),
    handlelength=2.6,
  )
  for text, digest in zip(legend.get_texts(), runs):
    text.set_color('black' if digest in shown else style.GREY)


def _bars(part: figure.SubFigure, runs: Runs) -> None:
  """Draw what became of the targets, a panel for each run."""
  columns = _columns(runs)
  letters = int((style.WIDTH / columns - 0.4) / style.LETTER)
  labels = [style.wrap(r['label'].iloc[0], letters) for r in runs.values()]
  part.suptitle(
    'What became of the targets, by sequence length (tokens)',
    x=0.01,
    ha='left',
    size=7,
  )
  panels = layout.grid(part, labels, columns, sharey=True)
  for panel, run in zip(panels, runs.values()):
    bars(panel, run, letters)
  layout.ylabel(panels, '% of targets')
  part.legend(
    handles=style.kinds(),
    loc='outside upper right',
    ncols=3,
  )


def bars(panel: axes.Axes, run: pd.DataFrame, letters: int = 30) -> None:
  """Draw stacked shares of correct, order and retrieval errors by length.

  Args:
    panel: the panel.
    run: its rows of a summary.
    letters: how many fit in a line across the panel.
  """
  x = range(len(run))
  panel.set_xlim(-0.6, len(run) - 0.4)
  panel.set_ylim(0, 1)
  elements.ticks(panel, x, [f'{n:,}' for n in run['length']])
  panel.set_yticks([0, 0.5, 1])
  elements.percent(panel.yaxis)
  if run['n_admitted'].max() == 0:
    panel.set_facecolor('0.93')
    why = style.wrap(intervals.not_admitted(run), letters, 5)
    middle = (sum(panel.get_xlim()) / 2, 0.5)
    panel.text(*middle, why, ha='center', va='center', color=style.GREY)
    return
  elements.stack(panel.bar, run, style.KINDS)
