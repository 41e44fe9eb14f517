"""The figures of a memo, from the tables of a study; PNG bytes."""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pandas as pd
from matplotlib import axes, figure

from posexp.claims import intervals
from posexp.plots import curves, elements, layout, paper, style
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


def _curves(
  study: plan.Study,
  seeds: pd.DataFrame,
  within: Callable[[str, float, pd.Series], curves.Ends] | None = None,
) -> curves.Curves:
  """Return curves of options, alike in all figures; the root in grey."""
  known = plan.OPTIONS if study.kind == 'regression' else ()
  options = [*known, *(cell.option for cell in study.cells)]
  here = set(seeds['run'])
  looks = {
    option: look
    for option, look in style.numbered(options, reference=plan.ROOT).items()
    if option in here
  }
  names = {option: study.shown(option) for option in looks}
  return curves.Curves(curves.means(seeds, within), looks, names, seeds)


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
def accuracy(study: plan.Study, shown: Panels) -> figure.Figure:
  """Return token accuracy by length of every option, every seed a point."""
  trained = study.trained_length
  seeds = pd.concat(
    curves.tidy(_seeds(rows, ['token']), {'token': title}, run='option')
    for title, rows in shown
  )

  def within(option: str, length: float, values: pd.Series) -> curves.Ends:
    if (option, length) == (plan.ROOT, trained):
      return intervals.passed(values, study.gate)
    return intervals.SHARE

  drawn, panels = _curves(study, seeds, within).draw(
    lambda panel: elements.length_axis(panel, seeds['x'], trained),
    sharey=True,
  )
  elements.share_axes(panels, 'accuracy (% of targets)')
  return drawn


@style.styled
def errors(study: plan.Study, shown: Panels) -> figure.Figure:
  """Return order and retrieval errors at the target."""
  most = max(len(rows) for _, rows in shown)
  drawn, panels = layout.panels(
    [title for title, _ in shown],
    style.kinds(style.KINDS[1:]),
    height=0.6 + max(1.2, 0.3 * most),
    sharex=True,
  )
  for panel, (_, rows) in zip(panels, shown):
    _bars(panel, rows, study)
  return drawn


def _bars(panel: axes.Axes, rows: Rows, study: plan.Study) -> None:
  kinds = {kind: kind for kind, *_ in style.KINDS[1:]}
  seeds = _seeds(rows, list(kinds), [study.target])
  cells = curves.means(curves.tidy(seeds, kinds, run='option'), intervals.SHARE)
  means, lows, highs = (
    cells.pivot(index='run', columns='panel', values=value).reindex(
      index=list(rows), columns=list(kinds)
    )
    for value in curves.VALUES
  )
  elements.stack(panel.barh, means, style.KINDS[1:])
  # Intervals of neighbours are drawn one above the other.
  left = np.zeros(len(rows))
  for kind, aside in zip(kinds, (0.12, -0.12)):
    middle = means[kind].to_numpy()
    sides = middle - lows[kind], highs[kind] - middle
    panel.errorbar(
      left + middle,
      np.arange(len(rows)) + aside,
      xerr=np.asarray(sides, np.float64),
      fmt='none',
      ecolor='black',
      lw=0.8,
      capsize=2,
      capthick=0.8,
    )
    left = left + np.nan_to_num(middle)
  names = [style.wrap(study.shown(option), 18) for option in rows]
  panel.set_yticks(range(len(rows)), names)
  panel.invert_yaxis()
  elements.percent(panel.xaxis)
  panel.set_xlabel(f'errors at {study.target:,} tokens (% of targets)')


@style.styled
def square(evidence: evidence_lib.Evidence, regime: str) -> figure.Figure:
  """Return the 2 x 2 of base scaling and bias at the target."""
  target = evidence.study.target
  places = {
    plan.ROOT: ('base as trained', 0),
    plan.BIASED: ('base as trained', 1),
    plan.SCALED: ('base scaled', 0),
    plan.DEPLOYED: ('base scaled', 1),
  }
  parts = []
  for group in evidence.study.groups():
    if group[0] == regime:
      rows = _seeds(verdict.square(evidence, group), ['token'], [target])
      base, bias = zip(*rows['option'].map(places))
      rows = rows.assign(base=base, bias=bias)
      titles = {'token': label(group)}
      parts.append(curves.tidy(rows, titles, x='bias', run='base'))
  seeds = pd.concat(parts)
  looks = style.numbered(base for base, _ in places.values())
  trained = looks['base as trained']
  looks['base as trained'] = trained._replace(linestyle='--')
  names = dict(zip(looks, looks))

  def axis(panel: axes.Axes) -> None:
    panel.set_xlim(-0.4, 1.4)
    panel.set_xticks([0, 1], ['without the bias', 'with the bias'])

  means = curves.means(seeds, intervals.SHARE)
  lines = curves.Curves(means, looks, names, seeds)
  drawn, panels = lines.draw(axis, sharey=True)
  elements.share_axes(panels, f'accuracy at {target:,} tokens (% of targets)')
  return drawn


@style.styled
def periods(
  study: plan.Study, by_regime: Mapping[str, Mapping[str, np.ndarray]]
) -> bytes:
  """Draw the period of each pair, before and after scaling, as PNG.

  Args:
    study: for its lengths.
    by_regime: a panel a regime: periods in tokens by how they are scaled; what
      comes first is not.
  """
  rows = [
    (regime, name, k, period, np.nan, np.nan)
    for regime, ways in by_regime.items()
    for name, period_K in ways.items()
    for k, period in enumerate(period_K)
  ]
  means = pd.DataFrame(rows, columns=['panel', 'run', 'x', *curves.VALUES])
  names = dict.fromkeys(means['run'])
  looks = style.numbered(names, reference=next(iter(names)))
  lengths = {
    study.trained_length: f'trained: {study.trained_length:,}',
    study.target: f'target: {study.target:,}',
  }
  lines = curves.Curves(means, looks, dict(zip(names, names)))
  drawn, panels = lines.draw(
    lambda panel: elements.period_axes(panel, 'pair of dimensions', lengths),
    step=0,
    sharey=True,
  )
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
  parts = []
  for title, rows in panels(evidence, regime):
    for option, cells in rows.items():
      of_option = heads[heads['digest'].isin(cells['digest'])]
      by_seed = of_option.groupby(['distance', 'seed'])['value'].mean()
      seeds = by_seed.reset_index().assign(option=option)
      titles = {'value': title}
      parts.append(curves.tidy(seeds, titles, x='distance', run='option'))
  seeds = pd.concat(parts)
  if seeds.empty:
    return None
  trained = evidence.study.trained_length

  def axis(panel: axes.Axes) -> None:
    elements.token_axis(panel, 'distance (tokens)')
    panel.set_xlim(seeds['x'].min() / 2**0.3, seeds['x'].max() * 2**0.3)
    panel.set_yscale('log')
    elements.mark(panel, {trained: f'trained at {trained:,} tokens'})

  drawn, made = _curves(evidence.study, seeds).draw(axis, sharey=True)
  layout.ylabel(made, 'change of a logit (nats a token)')
  return paper.png(drawn)
