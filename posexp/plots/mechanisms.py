"""The figures of a memo on mechanisms: periods of pairs, worth of a token."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from posexp.plots import (
  elements,
  explanation,
  layout,
  paper,
  study_figures,
  style,
)
from posexp.studies import evidence as evidence_lib
from posexp.studies import plan

Periods = Mapping[str, np.ndarray]  # by how they are scaled


@style.styled
def periods(study: plan.Study, by_regime: Mapping[str, Periods]) -> bytes:
  """Draw the period of each pair, before and after scaling, as PNG.

  Args:
    study: for its lengths.
    by_regime: periods in tokens, a panel a regime; what comes first is not
      scaled.
  """
  names = [name for ways in by_regime.values() for name in ways]
  looks = style.numbered(names, reference=names[0])
  drawn, panels = layout.panels(
    list(by_regime), style.keys(looks, dict(zip(names, names))), sharey=True
  )
  lengths = {
    study.trained_length: f'trained: {study.trained_length:,}',
    study.target: f'target: {study.target:,}',
  }
  for panel, ways in zip(panels, by_regime.values()):
    for name, period_K in ways.items():
      panel.plot(range(len(period_K)), period_K, **looks[name]._asdict())
    explanation.period_axes(panel, 'pair of dimensions', lengths)
  layout.ylabel(panels, 'period (tokens)')
  return paper.png(drawn)


@style.styled
def worth(
  evidence: evidence_lib.Evidence, regime: str, heads: pd.DataFrame
) -> bytes | None:
  """Draw what a token of distance is worth to a logit, by distance, as PNG.

  Args:
    evidence: the tables of a study.
    regime: whose cells.
    heads: 'resolution' at the target: digest, distance, value, with a row a
      seed, layer and head.
  """
  shown = {}
  for title, rows in study_figures.panels(evidence, regime):
    parts = [
      heads[heads['digest'].isin(cells['digest'])].assign(option=option)
      for option, cells in rows.items()
    ]
    of_seed = pd.concat(parts).groupby(['option', 'distance', 'seed'])
    if len(of_seed):
      shown[title] = of_seed['value'].mean().reset_index()
  if not shown:
    return None
  study = evidence.study
  known = set(pd.concat(shown.values())['option'])
  looks = {
    option: look
    for option, look in study_figures.looks(study).items()
    if option in known
  }
  keys = study_figures.keys(study, looks)
  drawn, panels = layout.panels(list(shown), keys, sharey=True)
  for panel, seeds in zip(panels, shown.values()):
    means = elements.means(seeds, ['option', 'distance'], ['value'])
    elements.token_axis(panel, 'distance (tokens)')
    panel.set_yscale('log')
    elements.curves(
      panel, means, 'value', looks, x='distance', by='option', seeds=seeds
    )
    trained = study.trained_length
    elements.mark(panel, {trained: f'trained at {trained:,} tokens'})
  layout.ylabel(panels, 'change of a logit (nats a token)')
  return paper.png(drawn)
