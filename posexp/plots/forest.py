"""The planned contrasts of a question, each with its interval."""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import axes, lines

from posexp import component
from posexp.claims import format as format_lib
from posexp.plots import elements, layout, paper, style

# What a panel shows: less is better of errors and of nats.
MEASURES = {
  'token': 'right answers',
  'exact': 'sequences wholly right',
  'order': 'order errors',
  'retrieval': 'retrieval errors',
  'nats': 'nats a target',
}
# The two estimates of a contrast: columns, where it is drawn and its colour.
ESTIMATES = (
  ('', -0.13, 'black', 'seeds that learned the task'),
  ('all_', 0.17, style.GREY, 'all seeds'),
)


@style.styled
def contrasts(
  planned: pd.DataFrame, source: tuple[str, ...] = ()
) -> paper.Plate:
  """Draw planned contrasts: run less baseline, with simultaneous intervals.

  Over the seeds that learned the task and, where some did not, over all. Filled
  marks are claimed.

  Args:
    planned: the rows of one question, as `contrasts.planned` gives them.
    source: which records are behind them.

  Raises:
    UserError: if none of them could be made.
  """
  if not planned[['effect', 'all_effect']].notna().any(axis=None):
    raise component.UserError(
      'the figure of planned contrasts was not drawn: none of them could be '
      'made'
    )
  pairs = list(dict.fromkeys(zip(planned['label'], planned['baseline'])))
  keys = list(dict.fromkeys(zip(planned['measure'], planned['length'])))
  trained = planned['trained_length'].iloc[0]
  drawn, panels = layout.panels(
    [
      f'{MEASURES[measure]} at {n:,} tokens ({n / trained:.3g}×)'
      for measure, n in keys
    ],
    _legend(planned),
    across=min(2, len(keys)),
    height=0.75 + max(0.7, 0.36 * len(pairs)),
    sharey=True,
  )
  for panel, (measure, length) in zip(panels, keys):
    part = planned[
      (planned['measure'] == measure) & (planned['length'] == length)
    ]
    for row in part.to_dict('records'):
      _draw(panel, pairs.index((row['label'], row['baseline'])), row)
    panel.axvline(0, color=style.GREY, lw=0.8, zorder=1)
    panel.grid(axis='x')
    panel.tick_params(axis='y', length=0)
    if measure == 'nats':
      panel.set_xlabel('difference (nats)')
    else:
      elements.percent(panel.xaxis)
      panel.set_xlabel('difference (percentage points)')
  names = [style.wrap(f'{one} − {other}', 30, 3) for one, other in pairs]
  panels[0].set_ylim(len(pairs) - 0.5, -0.5)
  panels[0].set_yticks(range(len(pairs)), names)
  task = planned['task'].iloc[0]
  return paper.Plate(
    'contrasts',
    drawn,
    _table(planned, pairs),
    f'Planned contrasts, run less baseline. {task}, trained at {trained} '
    f'tokens; {paper.span(planned["all_n"])} paired seeds. The '
    f'{len(planned)} intervals hold all at once with 95 % confidence '
    '(Bonferroni); filled marks, and those with a star, are claimed by '
    'Holm’s method at 5 %.',
    source,
  )


def _legend(planned: pd.DataFrame) -> list[lines.Line2D]:
  """Return the entries of the legend, of what is drawn."""
  mark: dict[str, Any] = {'marker': 'o', 'lw': 0.9}
  keys = [
    lines.Line2D([], [], color=color, label=label, **mark)
    for prefix, _, color, label in ESTIMATES
    if not prefix or (planned['n'] != planned['all_n']).any()
  ]
  mark |= {'color': 'black', 'ls': 'none'}
  keys.append(lines.Line2D([], [], label='claimed', **mark))
  keys.append(lines.Line2D([], [], label='not claimed', mfc='white', **mark))
  return keys


def _draw(panel: axes.Axes, place: int, row: dict[Any, Any]) -> None:
  """Draw both estimates of a contrast, one if all seeds learned the task."""
  for prefix, shift, color, _ in ESTIMATES:
    both = row['n'] != row['all_n']
    mean, low, high = (row[f'{prefix}{c}'] for c in ('effect', 'low', 'high'))
    if math.isnan(mean) or (prefix and not both):
      continue
    y = place + shift * both
    bar = panel.errorbar(
      mean,
      y,
      xerr=np.nan_to_num([[mean - low], [high - mean]]),
      color=color,
      fmt='o',
      ms=4,
      mfc=color if row[f'{prefix}claimed'] else 'white',
      capsize=2,
      lw=0.9,
      zorder=3,
    )
    key = f'{prefix}{row["measure"]}:{row["length"]}:{row["run"]}'
    bar[0].set_gid(f'contrast:{key}')


def _table(planned: pd.DataFrame, pairs: list[tuple[str, str]]) -> pd.DataFrame:
  """Return the differences as text: a contrast a row, a length a column."""
  texts: dict[str, dict[int, str]] = {}
  for row in planned.to_dict('records'):
    nats = row['measure'] == 'nats'
    show = format_lib.significant if nats else format_lib.points
    ends = row['effect'], row['low'], row['high']
    text = format_lib.bracketed(*ends, show)
    column = f'{MEASURES[row["measure"]]} at {row["length"]}'
    place = pairs.index((row['label'], row['baseline']))
    texts.setdefault(column, {})[place] = text + '*' * row['claimed']
  table = pd.DataFrame(texts, index=range(len(pairs)))
  table.index = pd.Index([f'{one} − {other}' for one, other in pairs])
  return table.fillna(format_lib.MISSING)
