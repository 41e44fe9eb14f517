"""The figures of a memo on mechanisms: periods of pairs, worth of a token."""

from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import axes, lines, ticker

from posexp.plots import experiment, layout, study_figures
from posexp.studies import evidence as evidence_lib
from posexp.studies import plan

# Where what is not scaled stands in a figure: dashed, in grey.
PLAIN: dict[str, Any] = {
  'color': experiment.GREY,
  'linestyle': '--',
  'marker': 'h',
}

Periods = Mapping[str, np.ndarray]  # by how they are scaled


def periods(study: plan.Study, by_regime: Mapping[str, Periods]) -> bytes:
  """The period of each pair, before and after scaling, a panel a regime; PNG.

  Args:
    study: for its lengths.
    by_regime: periods in tokens; what comes first is not scaled.
  """
  names = list(dict.fromkeys(n for p in by_regime.values() for n in p))
  looks: dict[str, dict[str, Any]] = {
    name: {
      'color': experiment.COLORS[n % len(experiment.COLORS)],
      'marker': experiment.MARKERS[n % len(experiment.MARKERS)],
    }
    for n, name in enumerate(names[1:])
  } | {names[0]: PLAIN}
  keys = [lines.Line2D([], [], **looks[name], label=name) for name in names]
  with matplotlib.rc_context(experiment.STYLE):
    drawn, spots = layout.frame(list(by_regime), keys)
    for spot, found in zip(spots, by_regime.values()):
      for name, period_K in found.items():
        spot.plot(range(len(period_K)), period_K, **looks[name])
      spot.set_yscale('log')
      for length, word in (
        (study.trained_length, 'trained'),
        (study.target, 'target'),
      ):
        spot.axhline(length, color=experiment.GREY, lw=0.8, zorder=1)
        spot.text(
          0.99,
          length * 1.06,
          f'{word}: {length:,}',
          color=experiment.GREY,
          ha='right',
          transform=spot.get_yaxis_transform(),
        )
      spot.set_xlabel('pair of dimensions')
      spot.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    for spot in spots[:: study_figures.ACROSS]:
      spot.set_ylabel('period (tokens)')
    layout.alike(spots, 'y')
    return layout.png(drawn)


def worth(
  found: evidence_lib.Evidence, regime: str, seen: pd.DataFrame
) -> bytes | None:
  """What a token of distance is worth to a logit, by distance; PNG.

  Args:
    found: the tables of a study.
    regime: whose cells.
    seen: 'resolution' at the target: digest, distance, value, with a row a
      seed, layer and head.
  """
  shown = [
    (title, rows)
    for title, rows in study_figures.panels(found, regime)
    if any(seen['digest'].isin(r['digest']).any() for r in rows.values())
  ]
  if not shown:
    return None
  looks = study_figures.looks_of(found.study)
  names = list(dict.fromkeys(name for _, rows in shown for name in rows))
  keys = [
    lines.Line2D(
      [], [], **looks[name], label=study_figures.entry(found.study, name)
    )
    for name in names
  ]
  with matplotlib.rc_context(experiment.STYLE):
    drawn, spots = layout.frame([title for title, _ in shown], keys)
    for spot, (_, rows) in zip(spots, shown):
      for name, mine in rows.items():
        one = seen[seen['digest'].isin(mine['digest'])]
        mean = one.groupby('distance')['value'].mean()
        spot.plot(mean.index, mean, **looks[name])
      _worth_axes(spot, found.study)
    for spot in spots[:: study_figures.ACROSS]:
      spot.set_ylabel('change of a logit (nats a token)')
    layout.alike(spots, 'y')
    return layout.png(drawn)


def _worth_axes(spot: axes.Axes, study: plan.Study) -> None:
  spot.set_xscale('log', base=2)
  spot.set_yscale('log')
  spot.xaxis.set_major_formatter(ticker.FuncFormatter(lambda n, _: f'{n:,.0f}'))
  spot.axvline(study.trained_length, color=experiment.GREY, lw=0.8, zorder=1)
  spot.text(
    study.trained_length * 1.05,
    0.02,
    f'trained at {study.trained_length:,}',
    color=experiment.GREY,
    transform=spot.get_xaxis_transform(),
  )
  spot.set_xlabel('distance (tokens)')
