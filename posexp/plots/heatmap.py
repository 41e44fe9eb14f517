"""A grid of schemes and tasks, as colours with their numbers."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import axes, cm, colors, figure, patches

from posexp import component
from posexp.claims import contrasts, intervals
from posexp.claims import format as format_lib
from posexp.plots import elements, layout, paper, style

MAP = 'cividis'  # Even in lightness, also to those who are blind to colours.
# In inches: names of schemes and the space beside the last task, the widest
# column, names of tasks and the bar of colours, and a row.
NAMES, WIDEST, TASKS, ROW = 2.2, 0.9, 1.6, 0.3

Cells = dict[tuple[str, str], dict[Any, Any]]  # by scheme and task


def grid(results: pd.DataFrame, ratio: float | None = None) -> paper.Plate:
  """Draw accuracy of every scheme at every task, all equally far beyond.

  Args:
    results: a table as `records.load` gives it, of two questions or more.
    ratio: length over trained length; the largest that all questions have by
      default.

  Raises:
    UserError: if there are not two tasks or no such ratio.
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
  tasks = list(intervals.questions(results).values())
  cells = _cells(results, ratio)
  schemes = list(dict.fromkeys(scheme for scheme, _ in cells))
  numbers = paper.table((*key, _text(cell)) for key, cell in cells.items())
  return paper.Plate(
    'grid',
    _draw(cells, schemes, tasks),
    numbers.reindex(columns=tasks),
    f'Accuracy (% of targets) at {ratio:g} times the trained length, mean and '
    'half of its 95 % t interval over admitted seeds. Bold: no run is shown to '
    'be better (paired t tests over seeds, Holm’s correction over all pairs '
    'and lengths of a task). n.a.: no seed learned the task.',
    paper.source(results),
  )


def _cells(results: pd.DataFrame, ratio: float) -> Cells:
  """Return each run at its length of that ratio, with its rank."""
  summary = intervals.summarize(results)
  ranks = contrasts.ranks(contrasts.pairs(results))
  cells = summary[summary['ratio'] == ratio].merge(
    ranks[['digest', 'length', 'rank']], on=['digest', 'length'], how='left'
  )
  tasks = intervals.questions(results)
  by_key: Cells = {}
  for row in cells.to_dict('records'):
    # A scheme is one row, though its run has another digest in each task.
    task = tasks[row['task'], row['trained_length']]
    by_key[row['label'], task] = row
  return by_key


def _text(cell: Mapping[Any, Any]) -> str:
  if not cell['n_admitted']:
    return 'n.a.'
  whole = functools.partial(format_lib.percent, digits=0)
  ends = cell['token_low'], cell['token_high']
  return format_lib.plus_minus(cell['token'], *ends, whole)


@style.styled
def _draw(
  cells: Cells, schemes: Sequence[str], tasks: Sequence[str]
) -> figure.Figure:
  wide = min(WIDEST, (style.WIDTH - NAMES) / len(tasks))
  drawn = layout.blank(NAMES + wide * len(tasks), TASKS + ROW * len(schemes))
  panel = drawn.subplots()
  for y, scheme in enumerate(schemes):
    for x, task in enumerate(tasks):
      if (scheme, task) in cells:
        _fill(panel, x, y, cells[scheme, task], wide)
  panel.set_xlim(-0.5, len(tasks) - 0.5)
  panel.set_ylim(len(schemes) - 0.5, -0.5)
  panel.set_yticks(range(len(schemes)), [style.wrap(s, 26, 2) for s in schemes])
  tops = [style.wrap(task, 20, 2) for task in tasks]
  panel.set_xticks(range(len(tasks)), tops, rotation=35, ha='left')
  panel.tick_params(length=0, top=True, labeltop=True, labelbottom=False)
  panel.spines[:].set_visible(False)
  bar = drawn.colorbar(
    cm.ScalarMappable(colors.Normalize(0, 1), MAP),
    ax=panel,
    location='bottom',
    label='accuracy (% of targets)',
    aspect=25,
    pad=0.03,
  )
  elements.percent(bar.ax.xaxis)
  return drawn


def _fill(
  panel: axes.Axes, x: int, y: int, cell: Mapping[Any, Any], wide: float
) -> None:
  """Draw one cell; hatched where no seed learned the task."""
  known = cell['n_admitted'] > 0
  face = matplotlib.colormaps[MAP](cell['token']) if known else '0.93'
  corner = x - 0.5, y - 0.5
  hatch = '' if known else '/////'
  panel.add_patch(
    patches.Rectangle(corner, 1, 1, facecolor=face, hatch=hatch, ec='white')
  )
  text = _text(cell)
  broken = len(text) * style.LETTER > wide
  panel.text(
    x,
    y,
    text.replace(' ', '\n') if broken else text,
    ha='center',
    va='center',
    weight='bold' if known and cell['rank'] == 1 else 'normal',
    color='white' if known and np.sum(colors.to_rgb(face)) < 1.5 else 'black',
    linespacing=1.0,
    size=6 if broken else 7,
  )
