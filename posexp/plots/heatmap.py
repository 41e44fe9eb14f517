"""A grid of schemes and tasks, as colours with their numbers."""

import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import figure

from posexp import component
from posexp.claims import contrasts, intervals
from posexp.claims import format as format_lib
from posexp.plots import elements, layout, paper, style

MAP = 'cividis'  # Even in lightness, also to those who are blind to colours.
# In inches: names of schemes and the space beside the last task, the widest
# column, names of tasks and the bar of colours, and a row.
NAMES, WIDEST, TASKS, ROW = 2.2, 0.9, 1.6, 0.3


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
  cells = _cells(results, ratio)
  # In the order of the results, not of the alphabet.
  schemes, tasks = (list(dict.fromkeys(cells[c])) for c in ('label', 'column'))
  numbers = cells.pivot(index='label', columns='column', values='text')
  numbers = numbers.reindex(index=schemes, columns=tasks)
  return paper.Plate(
    'grid',
    _draw(cells, schemes, tasks),
    numbers.fillna(format_lib.MISSING).rename_axis(index=None, columns=None),
    f'Accuracy (% of targets) at {ratio:g} times the trained length, mean and '
    'its 95 % interval over admitted seeds. Bold, to explore and no claim: no '
    'run is seen to be better (paired t tests over seeds, Holm’s correction '
    'over all pairs and lengths of a task). n.a.: no seed learned the task.',
    paper.source(results),
  )


def _cells(results: pd.DataFrame, ratio: float) -> pd.DataFrame:
  """Return each run at its length of that ratio, with its rank and its text.

  A scheme is one row of the grid, though its run has another digest in each
  task; where two runs are called the same, the last.
  """
  summary = intervals.summarize(results)
  ranks = contrasts.ranks(contrasts.pairs(results))
  cells = summary[summary['ratio'] == ratio].merge(
    ranks[['digest', 'length', 'rank']], on=['digest', 'length'], how='left'
  )
  names = intervals.questions(results)
  questions = zip(cells['task'], cells['trained_length'])
  cells['column'] = [names[question] for question in questions]
  cells['text'] = [_text(row) for row in cells.to_dict('records')]
  return cells.drop_duplicates(['label', 'column'], keep='last')


def _text(cell: Mapping[Any, Any]) -> str:
  if not cell['n_admitted']:
    return 'n.a.'
  whole = functools.partial(format_lib.percent, digits=0)
  ends = cell['token_low'], cell['token_high']
  return format_lib.estimate(cell['token'], *ends, whole)


@style.styled
def _draw(
  cells: pd.DataFrame, schemes: list[str], tasks: list[str]
) -> figure.Figure:
  wide = min(WIDEST, (style.WIDTH - NAMES) / len(tasks))
  drawn = layout.blank(NAMES + wide * len(tasks), TASKS + ROW * len(schemes))
  panel = drawn.subplots()
  shares = cells.pivot(index='label', columns='column', values='token')
  shares = shares.reindex(index=schemes, columns=tasks)
  values = shares.to_numpy(np.float64)
  mesh = panel.pcolormesh(values, cmap=MAP, vmin=0, vmax=1, ec='white')
  panel.set_facecolor('0.93')
  for cell in cells.to_dict('records'):
    text = cell['text']
    dark = sum(mesh.to_rgba(cell['token'])[:3]) < 1.5
    broken = len(text) * style.LETTER > wide
    panel.text(
      tasks.index(cell['column']) + 0.5,
      schemes.index(cell['label']) + 0.5,
      text.replace(' ', '\n') if broken else text,
      ha='center',
      va='center',
      weight='bold' if cell['n_admitted'] and cell['rank'] == 1 else 'normal',
      color='white' if cell['n_admitted'] and dark else 'black',
      linespacing=1.0,
      size=6 if broken else 7,
    )
  panel.invert_yaxis()
  names = [style.wrap(scheme, 26, 2) for scheme in schemes]
  panel.set_yticks(np.arange(len(schemes)) + 0.5, names)
  tops = [style.wrap(task, 20, 2) for task in tasks]
  panel.set_xticks(np.arange(len(tasks)) + 0.5, tops, rotation=35, ha='left')
  panel.tick_params(length=0, top=True, labeltop=True, labelbottom=False)
  panel.spines[:].set_visible(False)
  bar = drawn.colorbar(
    mesh,
    ax=panel,
    location='bottom',
    label='accuracy (% of targets)',
    aspect=25,
    pad=0.03,
  )
  elements.percent(bar.ax.xaxis)
  return drawn
