"""What attention does, layer by layer, beside the same heads in training."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import axes, lines

from posexp import component
from posexp.claims import intervals
from posexp.plots import experiment, layout, paper

# Numbers of a head that are comparable between lengths, see
# `posexp.evaluation.attention_statistics`.
MEASURES = {
  'entropy': 'entropy / ln n',
  'first': 'mass on the first token',
  'beyond': 'mass beyond trained length',
  'reach_share': 'mean distance / length',
  'rank_share': 'rank of the right key / keys',
}


def attention(results: pd.DataFrame, table: pd.DataFrame) -> paper.Plate:
  """Diagnostics of attention by layer at the longest length of each run.

  Args:
    results: of one task and trained length, see `paper.questions`.
    table: as `attention_records.load` gives it, of these runs.

  Raises:
    UserError: a sentence, if their records have no diagnostics.
  """
  results = paper.one_question(results)
  summary = intervals.summarize(results)
  admitted = results[results['admitted'].astype(bool)]
  mine = table[table['measure'].isin(list(MEASURES))]
  mine = mine.merge(admitted[['digest', 'seed', 'length']])
  far = mine.groupby('digest')['length'].transform('max')
  mine = mine[mine['length'] == far].dropna(subset=['value'])
  if mine.empty:
    raise component.UserError('the records have no diagnostics of attention')
  means = _means(mine)
  known = set(means['digest'])
  digests = [d for d in paper.order(summary, 'token') if d in known]
  task, trained = results[['task', 'trained_length']].iloc[0]
  longest = sorted({int(n) for n in mine['length']})
  where = ' or '.join(f'{n:,}' for n in longest)
  return paper.Plate(
    'attention',
    _draw(results, means, digests),
    _table(summary, means, digests),
    f'Attention by layer at {where} tokens, the mean over the heads of a '
    'layer; a bar is the same heads in training, at the trained length. '
    f'{task}, trained at {trained} tokens; {paper.seeds(summary)}.',
    paper.source(results),
  )


def _means(table: pd.DataFrame) -> pd.DataFrame:
  """Means over heads, then over seeds with their intervals."""
  keys = ['digest', 'measure', 'layer']
  heads = table.groupby([*keys, 'seed'], sort=False)[['value', 'baseline']]
  rows = []
  for key, cell in heads.mean().groupby(level=keys, sort=False):
    mean = intervals.interval(cell['value'])
    baseline = float(cell['baseline'].mean())
    ends = {'value': mean.mean, 'low': mean.low, 'high': mean.high}
    rows.append(dict(zip(keys, key)) | ends | {'baseline': baseline})
  return pd.DataFrame(rows)


def _draw(
  results: pd.DataFrame, means: pd.DataFrame, digests: Sequence[str]
) -> Any:
  looks, names = paper.looks(results), intervals.labels(results)
  shown = [m for m in MEASURES if (means['measure'] == m).any()]
  keys = [paper.key(names[d], looks[d]) for d in digests]
  keys.append(_bar(experiment.GREY, 'in training'))
  with matplotlib.rc_context(experiment.STYLE):
    drawn, spots = layout.frame(
      [MEASURES[m] for m in shown], keys, across=3, panel=1.25
    )
    for place, (spot, measure) in enumerate(zip(spots, shown)):
      _panel(spot, means[means['measure'] == measure], digests, looks)
      if place % 3 == 0:
        spot.set_ylabel('mean over heads')
  return drawn


def _bar(color: Any, label: str = '') -> lines.Line2D:
  return lines.Line2D([], [], color=color, lw=2.2, alpha=0.8, label=label)


def _panel(
  spot: axes.Axes,
  means: pd.DataFrame,
  digests: Sequence[str],
  looks: Mapping[str, Mapping[str, Any]],
) -> None:
  layers = sorted(means['layer'].unique())
  step = 0.7 / max(1, len(digests))
  for place, digest in enumerate(digests):
    run = means[means['digest'] == digest].sort_values('layer')
    look = {**looks[digest], 'linestyle': 'none'}
    x = run['layer'] + step * (place - (len(digests) - 1) / 2)
    color = look['color']
    spot.hlines(
      run['baseline'], x - step / 2, x + step / 2, color, lw=2.2, alpha=0.5
    )
    spot.vlines(x, run['low'], run['high'], color, lw=1)
    spot.plot(x, run['value'], **look, gid=f'value:{digest}')
  spot.set_xlim(layers[0] - 0.5, layers[-1] + 0.5)
  spot.set_xticks(layers, [str(n + 1) for n in layers])
  spot.set_xlabel('layer')
  spot.set_ylim(0, max(0.05, spot.get_ylim()[1]))
  spot.grid(axis='y')


def _table(
  summary: pd.DataFrame, means: pd.DataFrame, digests: Sequence[str]
) -> pd.DataFrame:
  names = dict(zip(summary['digest'], summary['label']))
  rows = {}
  shown = [m for m in MEASURES if (means['measure'] == m).any()]
  for digest in digests:
    for layer, cell in means[means['digest'] == digest].groupby('layer'):
      at = {str(row['measure']): row for _, row in cell.iterrows()}
      rows[f'{names[digest]}, layer {int(str(layer)) + 1}'] = [
        _change(at[m]) if m in at else '–' for m in shown
      ]
  columns = [MEASURES[m] for m in shown]
  return pd.DataFrame.from_dict(rows, orient='index', columns=columns)


def _change(row: pd.Series) -> str:
  """In training and now."""
  before = '–' if np.isnan(row['baseline']) else f'{row["baseline"]:.2f}'
  return f'{before} → {row["value"]:.2f}'
