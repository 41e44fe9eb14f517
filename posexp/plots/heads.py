"""What attention does, layer by layer, beside the same heads in training."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import figure, lines

from posexp import component
from posexp.claims import format as format_lib
from posexp.plots import elements, layout, paper, style

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
  """Draw diagnostics of attention by layer at the longest length of each run.

  Args:
    results: of one task and trained length, see `paper.questions`.
    table: as `attention_records.load` gives it, of these runs.

  Raises:
    UserError: if their records have no diagnostics.
  """
  question = paper.ask(results)
  heads = table[table['measure'].isin(list(MEASURES))]
  heads = heads.merge(question.admitted[['digest', 'seed', 'length']])
  far = heads.groupby('digest')['length'].transform('max')
  heads = heads[heads['length'] == far].dropna(subset=['value'])
  if heads.empty:
    raise component.UserError('the records have no diagnostics of attention')
  keys = ['digest', 'measure', 'layer']
  of_seed = heads.groupby([*keys, 'seed'], sort=False)
  seeds = of_seed[['value', 'baseline']].mean().reset_index()
  means = elements.means(seeds, keys, ['value', 'baseline'])
  question = question.only(means['digest'])
  where = ' or '.join(f'{n:,}' for n in np.unique(heads['length']))
  return question.plate(
    'attention',
    _draw(question, means, seeds),
    _table(question, means),
    f'Attention by layer at {where} tokens, the mean over the heads of a '
    'layer; a bar is the same heads in training, at the trained length',
  )


@style.styled
def _draw(
  question: paper.Question, means: pd.DataFrame, seeds: pd.DataFrame
) -> figure.Figure:
  measures = [m for m in MEASURES if (means['measure'] == m).any()]
  bar: dict[str, Any] = {'lw': 2.2, 'alpha': 0.6}
  grey = lines.Line2D([], [], color=style.GREY, label='in training', **bar)
  points = question._replace(
    looks={
      digest: look._replace(linestyle='none')
      for digest, look in question.looks.items()
    }
  )
  drawn, panels = layout.panels(
    [MEASURES[measure] for measure in measures],
    [*points.keys, grey],
    across=3,
    height=1.65,
  )
  layers = np.unique(means['layer'])
  step = 0.5 / len(points.looks)
  for panel, measure in zip(panels, measures):
    here, each = (t[t['measure'] == measure] for t in (means, seeds))
    for number, (digest, look) in enumerate(points.looks.items()):
      run = here[here['digest'] == digest]
      x = run['layer'] + step * (number - len(points.looks) / 2)
      panel.hlines(run['baseline'], x, x + step, look.color, **bar)
    where: dict[str, Any] = {'x': 'layer', 'step': step}
    elements.curves(panel, here, 'value', points.looks, seeds=each, **where)
    panel.set_xlim(layers[0] - 0.5, layers[-1] + 0.5)
    panel.set_xticks(layers, [str(n + 1) for n in layers])
    panel.set_xlabel('layer')
    panel.set_ylim(0, max(0.05, panel.get_ylim()[1]))
    panel.grid(axis='y')
  layout.ylabel(panels, 'mean over heads')
  return drawn


def _table(question: paper.Question, means: pd.DataFrame) -> pd.DataFrame:
  """Return every run and layer: in training, and now."""
  texts = []
  for digest in question.looks:
    run = means[means['digest'] == digest].sort_values('layer')
    for measure, title in MEASURES.items():
      for row in run[run['measure'] == measure].to_dict('records'):
        before, after = map(format_lib.number, (row['baseline'], row['value']))
        line = f'{question.names[digest]}, layer {row["layer"] + 1}'
        texts.append((line, title, f'{before} → {after}'))
  return paper.table(texts)
