"""A grid of schemes and tasks, as colours with their numbers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import pandas as pd
from matplotlib import axes, cm, colors, figure, patches, ticker
from matplotlib.backends import backend_agg

from posexp import component
from posexp.claims import contrasts, intervals
from posexp.plots import experiment, paper

# In inches: names of schemes, of tasks above and to the right, a row, the bar
# below, and the widest column.
NAMES, TASKS, RIGHT, ROW, BAR, WIDEST = 1.75, 0.9, 0.75, 0.3, 0.62, 0.9
MAP = 'cividis'  # Even in lightness, also to those who are blind to colours.


def grid(results: pd.DataFrame, ratio: float | None = None) -> paper.Plate:
  """Accuracy of every scheme at every task, at a multiple of trained length.

  Args:
    results: a table as `records.load` gives it, of two questions or more.
    ratio: length over trained length; the largest that all questions have by
      default.

  Raises:
    UserError: a sentence, if there are not two tasks or no such ratio.
  """
  results = intervals.joined(results) if len(results) else results
  groups = list(paper.questions(results))
  if len(groups) < 2:
    raise component.UserError(
      'a grid of schemes and tasks needs two tasks or more'
    )
  common = set.intersection(*(set(group['ratio']) for group in groups))
  ratio = max(common, default=math.nan) if ratio is None else ratio
  if ratio not in common:
    raise component.UserError(
      'the tasks were evaluated at no common multiple of their trained length '
      f'{"" if math.isnan(ratio) else f"{ratio:g} "}: give one that all have'
    )
  cells = _cells(results, ratio)
  names = intervals.questions(results)
  rows = list(dict.fromkeys(cells['label']))
  table = {
    row: {
      name: _text(_cell(cells, key, row), '\N{EN DASH}')
      for key, name in names.items()
    }
    for row in rows
  }
  return paper.Plate(
    'grid',
    _draw(cells, names, rows),
    pd.DataFrame.from_dict(table, orient='index'),
    f'Accuracy (% of targets) at {ratio:g} times the trained length, mean and '
    'half of its 95 % t interval over admitted seeds. Bold: no run is shown to '
    'be better (paired t tests over seeds, Holm’s correction over all pairs '
    'and lengths of a task). n.a.: no seed learned the task.',
    paper.source(results),
  )


def _cells(results: pd.DataFrame, ratio: float) -> pd.DataFrame:
  """A row a run at its length of that ratio, with how many beat it."""
  summary = intervals.summarize(results)
  ranks = contrasts.ranks(contrasts.pairs(results))
  cells = summary[summary['ratio'] == ratio].merge(
    ranks[['digest', 'length', 'rank']], on=['digest', 'length'], how='left'
  )
  # A scheme is one row, though its run has another digest in each task.
  twins = cells.groupby(['task', 'trained_length'])['label'].transform(
    lambda label: label.duplicated(keep=False)
  )
  return cells[~twins]


def _cell(
  cells: pd.DataFrame, key: tuple[str, int], row: str
) -> dict[Any, Any] | None:
  task, trained = key
  found = cells[
    (cells['task'] == task)
    & (cells['trained_length'] == trained)
    & (cells['label'] == row)
  ]
  return found.to_dict('records')[0] if len(found) else None


def _text(cell: Mapping[Any, Any] | None, missing: str) -> str:
  if cell is None:
    return missing
  if not cell['n_admitted']:
    return 'n.a.'
  half = (cell['token_high'] - cell['token_low']) / 2
  mean = f'{100 * cell["token"]:.0f}'
  return mean if math.isnan(half) else f'{mean} ±{100 * half:.0f}'


def _draw(
  cells: pd.DataFrame, names: Mapping[tuple[str, int], str], rows: Sequence[str]
) -> figure.Figure:
  wide = min(WIDEST, (experiment.WIDTH - NAMES - RIGHT) / len(names))
  width = NAMES + wide * len(names) + RIGHT
  height = TASKS + ROW * len(rows) + BAR
  with matplotlib.rc_context(experiment.STYLE):
    drawn = figure.Figure((width, height))
    backend_agg.FigureCanvasAgg(drawn)
    spot = drawn.add_axes(
      (
        NAMES / width,
        BAR / height,
        wide * len(names) / width,
        ROW * len(rows) / height,
      )
    )
    _fill(spot, cells, names, rows, wide)
    shades = cm.ScalarMappable(colors.Normalize(0, 1), MAP)
    bar = drawn.add_axes(
      (
        NAMES / width,
        0.36 / height,
        min(2.2, wide * len(names)) / width,
        0.08 / height,
      )
    )
    drawn.colorbar(
      shades,
      cax=bar,
      orientation='horizontal',
      label='accuracy (% of targets)',
      format=ticker.PercentFormatter(1, symbol=''),
    )
  return drawn


def _fill(
  spot: axes.Axes,
  cells: pd.DataFrame,
  names: Mapping[tuple[str, int], str],
  rows: Sequence[str],
  wide: float,
) -> None:
  shades = matplotlib.colormaps[MAP]
  for y, row in enumerate(rows):
    for x, key in enumerate(names):
      cell = _cell(cells, key, row)
      known = cell is not None and cell['n_admitted'] > 0
      face = shades(cell['token']) if cell and known else '0.93'
      hatch = '' if known or cell is None else '/////'
      spot.add_patch(
        patches.Rectangle(
          (x - 0.5, y - 0.5), 1, 1, facecolor=face, hatch=hatch, ec='white'
        )
      )
      text = _text(cell, '')
      parts = text.split() if len(text) * experiment.LETTER > wide else [text]
      best = known and cell is not None and cell['rank'] == 1
      dark = known and sum(colors.to_rgb(face)) < 1.5
      spot.text(
        x,
        y,
        '\n'.join(parts),
        ha='center',
        va='center',
        weight='bold' if best else 'normal',
        color='white' if dark else 'black',
        linespacing=1.0,
        size=6 if len(parts) > 1 else 7,
      )
  spot.set_xlim(-0.5, len(names) - 0.5)
  spot.set_ylim(len(rows) - 0.5, -0.5)
  short = [experiment.wrap(row, NAMES - 0.1, 2) for row in rows]
  spot.set_yticks(range(len(rows)), short)
  tops = [experiment.wrap(name, 1.2, 2) for name in names.values()]
  spot.set_xticks(range(len(names)), tops, rotation=35, ha='left')
  spot.tick_params(length=0, top=True, labeltop=True, labelbottom=False)
  for side in spot.spines.values():
    side.set_visible(False)
