"""What attention does, layer by layer, beside the same heads in training."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import figure, lines

from posexp import component
from posexp.claims import format as format_lib
from posexp.claims import intervals
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
  summary = intervals.summarize(paper.one_question(results))
  admitted = results.loc[results['admitted'].astype(bool)]
  heads = table[table['measure'].isin(list(MEASURES))]
  heads = heads.merge(admitted[['digest', 'seed', 'length']])
  far = heads.groupby('digest')['length'].transform('max')
  heads = heads[heads['length'] == far].dropna(subset=['value'])
  if heads.empty:
    raise component.UserError('the records have no diagnostics of attention')
  keys = ['digest', 'measure', 'layer']
  of_seed = heads.groupby([*keys, 'seed'], sort=False)
  seeds = of_seed[['value', 'baseline']].mean().reset_index()
  means = elements.means(seeds, keys, ['value'])
  baseline = seeds.groupby(keys)['baseline'].mean().reset_index()
  means = means.merge(baseline, on=keys)
  looks = style.ranked(results, summary)
  known = set(means['digest'])
  looks = {digest: looks[digest] for digest in looks if digest in known}
  names = intervals.labels(results)
  where = ' or '.join(f'{n:,}' for n in np.unique(heads['length']))
  return paper.Plate(
    'attention',
    _draw(means, seeds, looks, names),
    paper.table(_numbers(means, looks, names)),
    f'Attention by layer at {where} tokens, the mean over the heads of a '
    'layer; a bar is the same heads in training, at the trained length. '
    f'{paper.question(results)}; {paper.seeds(summary)}.',
    paper.source(results),
  )


@style.styled
def _draw(
  means: pd.DataFrame,
  seeds: pd.DataFrame,
  looks: style.Looks,
  names: Mapping[str, str],
) -> figure.Figure:
  measures = [m for m in MEASURES if (means['measure'] == m).any()]
  bar: dict[str, Any] = {'lw': 2.2, 'alpha': 0.6}
  grey = lines.Line2D([], [], color=style.GREY, label='in training', **bar)
  looks = {d: look._replace(linestyle='none') for d, look in looks.items()}
  drawn, spots = layout.panels(
    [MEASURES[measure] for measure in measures],
    [*style.keys(looks, names), grey],
    across=3,
    height=1.65,
  )
  layers = np.unique(means['layer'])
  step = 0.5 / len(looks)
  for spot, measure in zip(spots, measures):
    here, each = (t[t['measure'] == measure] for t in (means, seeds))
    for number, (digest, look) in enumerate(looks.items()):
      run = here[here['digest'] == digest]
      x = run['layer'] + step * (number - len(looks) / 2)
      spot.hlines(run['baseline'], x, x + step, look.color, **bar)
    elements.curves(
      spot, here, 'value', looks, x='layer', seeds=each,
      step=step,
    )  # fmt: skip
    spot.set_xlim(layers[0] - 0.5, layers[-1] + 0.5)
    spot.set_xticks(layers, [str(n + 1) for n in layers])
    spot.set_xlabel('layer')
    spot.set_ylim(0, max(0.05, spot.get_ylim()[1]))
    spot.grid(axis='y')
  layout.ylabel(spots, 'mean over heads')
  return drawn


def _numbers(
  means: pd.DataFrame, looks: style.Looks, names: Mapping[str, str]
) -> Iterator[tuple[str, str, str]]:
  """Yield every run and layer: in training, and now."""
  for digest in looks:
    run = means[means['digest'] == digest].sort_values('layer')
    for measure, title in MEASURES.items():
      for row in run[run['measure'] == measure].to_dict('records'):
        before, after = map(format_lib.number, (row['baseline'], row['value']))
        line = f'{names[digest]}, layer {row["layer"] + 1}'
        yield line, title, f'{before} → {after}'
