"""The figures of a memo, from the tables of a study; PNG bytes."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib import axes, figure, lines, patches

from posexp.claims import intervals
from posexp.plots import elements, layout, paper, style
from posexp.studies import compare, criteria, plan, verdict
from posexp.studies import evidence as evidence_lib

Rows = dict[str, pd.DataFrame]  # by option
Panels = list[tuple[str, Rows]]  # with their titles


def panels(evidence: evidence_lib.Evidence, regime: str) -> Panels:
  """Return the options of each panel: a variant and schedule, or a schedule."""
  study = evidence.study
  if study.kind == 'regression':
    return [
      (
        label(group),
        {
          option: criteria.rows(evidence, cell)
          for option, cell in verdict.members(evidence, group).items()
        },
      )
      for group in study.groups()
      if group[0] == regime
    ]
  shown: Panels = []
  for schedule in ('zero-shot', 'adapted'):
    cells = [
      cell
      for cell in study.cells
      if cell.regime == regime
      and cell not in evidence.missing
      and cell.schedule in ('trained', schedule)
    ]
    if any(cell.schedule == schedule for cell in cells):
      rows = {cell.option: criteria.rows(evidence, cell) for cell in cells}
      shown.append((schedule, rows))
  return shown


def label(group: tuple[str, str, str]) -> str:
  """Return what the panel of a group is called.

  >>> label(('base 27', 'A', 'zero-shot'))
  'variant A, zero-shot'
  """
  _, variant, schedule = group
  return ', '.join(filter(None, (variant and f'variant {variant}', schedule)))


def draw(evidence: evidence_lib.Evidence, regime: str) -> dict[str, bytes]:
  """Draw the figures of a regime as PNG; none where no seed is admitted.

  Returns:
    By name:
    accuracy: token accuracy by length of every option, mean over tasks.
    errors: order and retrieval errors at the target, stacked, an option a bar.
    square: in a regression, the 2 x 2 of base scaling and bias at the target.
  """
  shown = [item for item in panels(evidence, regime) if item[1]]
  here = evidence.cells['regime'] == regime
  if not shown or not evidence.cells.loc[here, 'admitted'].any():
    return {}
  drawn = {
    'accuracy': accuracy(evidence.study, shown),
    'errors': errors(evidence.study, shown),
  }
  if evidence.study.kind == 'regression':
    drawn['square'] = square(evidence, regime)
  return {name: paper.png(figure) for name, figure in drawn.items()}


def looks(study: plan.Study) -> style.Looks:
  """Return how each option is drawn, everywhere alike; the root in grey."""
  known = plan.OPTIONS if study.kind == 'regression' else ()
  options = [*known, *(cell.option for cell in study.cells)]
  return style.numbered(options, reference=plan.ROOT)


def keys(study: plan.Study, shown: style.Looks) -> list[lines.Line2D]:
  """Return the handles of a legend of options."""
  return style.keys(shown, {option: study.shown(option) for option in shown})


@style.styled
def accuracy(study: plan.Study, shown: Panels) -> figure.Figure:
  """Return token accuracy by length of every option, every seed a point."""
  options = {option for _, rows in shown for option in rows}
  of_study = {o: look for o, look in looks(study).items() if o in options}
  titles = [title for title, _ in shown]
  drawn, panels = layout.panels(titles, keys(study, of_study), sharey=True)
  for panel, (_, rows) in zip(panels, shown):
    seeds = _seeds(rows, ['token'])
    means = elements.means(
      seeds, ['option', 'length'], ['token'], intervals.SHARE
    )
    here = {option: of_study[option] for option in rows}
    elements.length_axis(
      panel, [study.trained_length, *seeds['length']], study.trained_length
    )
    elements.curves(panel, means, 'token', here, by='option', seeds=seeds)
  elements.share_axes(panels, 'accuracy (% of targets)')
  return drawn


def _seeds(
  rows: Rows, columns: list[str], lengths: Iterable[int] | None = None
) -> pd.DataFrame:
  """Return the mean over tasks of each admitted seed, by option and length."""
  parts = []
  for option, cells in rows.items():
    for length in lengths or np.unique(cells['length']):
      seeds = {c: compare.by_seed(cells, c, int(length)) for c in columns}
      part = pd.DataFrame(seeds).rename_axis('seed').reset_index()
      parts.append(part.assign(option=option, length=int(length)))
  return pd.concat(parts)


@style.styled
def errors(study: plan.Study, shown: Panels) -> figure.Figure:
  """Return order and retrieval errors at the target."""
  handles = [
    patches.Patch(facecolor=c, hatch=h, edgecolor='white', lw=0, label=name)
    for _, name, c, h in style.KINDS[1:]
  ]
  most = max(len(rows) for _, rows in shown)
  titles = [title for title, _ in shown]
  height = 0.6 + max(1.2, 0.3 * most)
  drawn, panels = layout.panels(titles, handles, height=height, sharex=True)
  for panel, (_, rows) in zip(panels, shown):
    _bars(panel, rows, study)
  return drawn


def _bars(panel: axes.Axes, rows: Rows, study: plan.Study) -> None:
  kinds = [kind[0] for kind in style.KINDS[1:]]
  seeds = _seeds(rows, kinds, [study.target])
  means = elements.means(seeds, ['option'], kinds, intervals.SHARE)
  means = means.set_index('option').reindex(list(rows))
  place = np.arange(len(rows))
  left = np.zeros(len(rows))
  for column, _, color, hatch in style.KINDS[1:]:
    share = means[column].to_numpy(np.float64)
    panel.barh(
      place, share, 0.7, left, color=color, hatch=hatch, edgecolor='white',
      lw=0.4,
    )  # fmt: skip
    low, high = (left + means[f'{column}{end}'] for end in elements.ENDS[1:])
    # A NaN end, of one seed, draws nothing.
    aside = 0.12 if column == 'order' else -0.12
    panel.hlines(place + aside, low, high, 'black', lw=0.8)
    left = left + np.nan_to_num(share)
  panel.set_yticks(place, [style.wrap(study.shown(o), 18) for o in rows])
  panel.invert_yaxis()
  elements.percent(panel.xaxis)
  panel.set_xlabel(f'errors at {study.target:,} tokens (% of targets)')


@style.styled
def square(evidence: evidence_lib.Evidence, regime: str) -> figure.Figure:
  """Return the 2 x 2 of base scaling and bias at the target."""
  target = evidence.study.target
  groups = [g for g in evidence.study.groups() if g[0] == regime]
  options = {
    plan.ROOT: ('base as trained', 0),
    plan.BIASED: ('base as trained', 1),
    plan.SCALED: ('base scaled', 0),
    plan.DEPLOYED: ('base scaled', 1),
  }
  bases = style.numbered(base for base, _ in options.values())
  trained = bases['base as trained']
  bases['base as trained'] = trained._replace(linestyle='--')
  drawn, panels = layout.panels(
    [label(group) for group in groups],
    style.keys(bases, dict(zip(bases, bases))),
    sharey=True,
  )
  for panel, group in zip(panels, groups):
    seeds = _seeds(verdict.square(evidence, group), ['token'], [target])
    places = [options[option] for option in seeds['option']]
    seeds[['base', 'bias']] = pd.DataFrame(places, index=seeds.index)
    means = elements.means(seeds, ['base', 'bias'], ['token'], intervals.SHARE)
    elements.curves(
      panel, means, 'token', bases, x='bias', by='base', seeds=seeds
    )
    panel.set_xlim(-0.4, 1.4)
    panel.set_xticks([0, 1], ['without the bias', 'with the bias'])
  elements.share_axes(panels, f'accuracy at {target:,} tokens (% of targets)')
  return drawn
