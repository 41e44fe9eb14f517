"""The figures of a memo, from the tables of a study; PNG bytes."""

import textwrap
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import axes, figure, lines, patches, ticker

from posexp.claims import intervals
from posexp.plots import experiment, layout
from posexp.studies import compare, criteria, plan, verdict
from posexp.studies import evidence as evidence_lib

# Left of bars, whose options have their names there, in inches and letters.
WORDS, LETTERS = 1.15, 18
# The height of a bar, whose name may take two lines.
BAR = 0.3
# Panels in a row.
ACROSS = 2

Rows = dict[str, pd.DataFrame]  # by option
Panels = list[tuple[str, Rows]]  # with their titles


def panels(found: evidence_lib.Evidence, regime: str) -> Panels:
  """The options of each panel: a variant and schedule, or a schedule."""
  study = found.study
  if study.kind == 'regression':
    return [
      (
        label(group),
        {
          name: criteria.rows(found, cell)
          for name, cell in verdict.members(found, group).items()
        },
      )
      for group in study.groups()
      if group[0] == regime
    ]
  shown: Panels = []
  for schedule in ('zero-shot', 'adapted'):
    mine = [
      cell
      for cell in study.cells
      if cell.regime == regime
      and cell not in found.missing
      and cell.schedule in ('trained', schedule)
    ]
    if any(cell.schedule == schedule for cell in mine):
      rows = {c.option: criteria.rows(found, c) for c in mine}
      shown.append((schedule, rows))
  return shown


def label(group: tuple[str, str, str]) -> str:
  """What the panel of a group is called.

  >>> label(('base 27', 'A', 'zero-shot'))
  'variant A, zero-shot'
  """
  _, variant, schedule = group
  return ', '.join(filter(None, (variant and f'variant {variant}', schedule)))


def draw(found: evidence_lib.Evidence, regime: str) -> dict[str, bytes]:
  """The figures of a regime as PNG, by name; none where no seed is admitted.

  accuracy: token accuracy by length of every option, mean over tasks.
  errors: order and retrieval errors at the target, stacked, an option a bar.
  square: in a regression, the 2 x 2 of base scaling and bias at the target.
  """
  shown = [(title, rows) for title, rows in panels(found, regime) if rows]
  here = found.cells['regime'] == regime
  if not shown or not found.cells.loc[here, 'admitted'].any():
    return {}
  with matplotlib.rc_context(experiment.STYLE):
    drawn = {
      'accuracy': accuracy(found.study, shown),
      'errors': errors(found.study, shown),
    }
    if found.study.kind == 'regression':
      drawn['square'] = square(found, regime)
    return {name: layout.png(one) for name, one in drawn.items()}


def accuracy(study: plan.Study, shown: Panels) -> figure.Figure:
  """Token accuracy by length of every option, unsaved."""
  looks = looks_of(study)
  names = list(dict.fromkeys(name for _, rows in shown for name in rows))
  keys = [
    lines.Line2D([], [], **looks[name], label=entry(study, name))
    for name in names
  ]
  drawn, spots = layout.frame([title for title, _ in shown], keys)
  for spot, (_, rows) in zip(spots, shown):
    _curves(spot, rows, looks, study)
  for spot in spots[::ACROSS]:
    spot.set_ylabel('accuracy (% of targets, mean over tasks)')
  layout.alike(spots, 'y')
  return drawn


def errors(study: plan.Study, shown: Panels) -> figure.Figure:
  """Order and retrieval errors at the target, unsaved."""
  keys = [
    patches.Patch(facecolor=c, hatch=h, edgecolor='white', lw=0, label=name)
    for _, name, c, h in experiment.KINDS[1:]
  ]
  most = max(len(rows) for _, rows in shown)
  panel = max(layout.PANEL, BAR * most)
  titles = [title for title, _ in shown]
  drawn, spots = layout.frame(titles, keys, left=WORDS, panel=panel)
  for spot, (_, rows) in zip(spots, shown):
    _bars(spot, rows, study)
  layout.alike(spots, 'x')
  return drawn


def square(found: evidence_lib.Evidence, regime: str) -> figure.Figure:
  """The 2 x 2 at the target, unsaved."""
  groups = [g for g in found.study.groups() if g[0] == regime]
  names = ('base as trained', 'base scaled')
  keys = [
    lines.Line2D([], [], **_pair(n), label=name) for n, name in enumerate(names)
  ]
  drawn, spots = layout.frame([label(group) for group in groups], keys)
  target = found.study.target
  for spot, group in zip(spots, groups):
    _cross(spot, verdict.square(found, group), target)
  for spot in spots[::ACROSS]:
    spot.set_ylabel(f'accuracy at {target:,} tokens (% of targets)')
  layout.alike(spots, 'y')
  return drawn


def entry(study: plan.Study, option: str) -> str:
  """A legend's entry; a dollar sign would start mathematics."""
  return study.shown(option).replace('$', r'\$')


def looks_of(study: plan.Study) -> dict[str, dict[str, Any]]:
  """How each option is drawn, everywhere alike; the root dashed in grey."""
  names = [name for name in plan.OPTIONS if study.kind == 'regression']
  names += [cell.option for cell in study.cells]
  names = [n for n in dict.fromkeys(names) if n != plan.ROOT]
  looks: dict[str, dict[str, Any]] = {
    plan.ROOT: {'color': experiment.GREY, 'linestyle': '--', 'marker': 'h'}
  }
  for n, name in enumerate(names):
    looks[name] = {
      'color': experiment.COLORS[n % len(experiment.COLORS)],
      'marker': experiment.MARKERS[n % len(experiment.MARKERS)],
    }
  return looks


def _pair(number: int) -> dict[str, Any]:
  return {
    'color': experiment.COLORS[number],
    'marker': experiment.MARKERS[number],
    'linestyle': ('--', '-')[number],
  }


def _mean(rows: pd.DataFrame, column: str, length: int) -> intervals.Interval:
  values = compare.by_seed(rows, column, length)
  return intervals.interval(values, within=intervals.SHARE)


def _curves(
  spot: axes.Axes, rows: Rows, looks: dict[str, Any], study: plan.Study
) -> None:
  lengths = sorted(
    {int(n) for r in rows.values() for n in r['length'].unique()}
  )
  spot.set_xscale('log', base=2)
  for n, (name, mine) in enumerate(rows.items()):
    # Side by side at each length, so that intervals can be told apart.
    shift = 2 ** (0.05 * (n - (len(rows) - 1) / 2))
    at = [length for length in lengths if (mine['length'] == length).any()]
    means = [_mean(mine, 'token', length) for length in at]
    x = np.array(at) * shift
    low, high = ([getattr(m, end) for m in means] for end in ('low', 'high'))
    spot.vlines(x, low, high, looks[name]['color'], lw=2.2, alpha=0.35)
    spot.plot(x, [m.mean for m in means], **looks[name], gid=f'mean:{name}')
  spot.axvline(study.trained_length, color=experiment.GREY, lw=0.8, zorder=1)
  where: dict[str, Any] = {'transform': spot.get_xaxis_transform()}
  words = f'trained at {study.trained_length:,}'
  spot.text(
    study.trained_length * 1.03, 0.02, words, color=experiment.GREY, **where
  )
  spot.xaxis.set_minor_locator(ticker.NullLocator())
  if lengths:
    spot.set_xlim(lengths[0] / 2**0.35, lengths[-1] * 2**0.35)
    spot.set_xticks(lengths, [f'{n:,}' for n in lengths])
  spot.set_xlabel('sequence length (tokens)')
  _percent(spot.yaxis)
  spot.grid(axis='y')


def _bars(spot: axes.Axes, rows: Rows, study: plan.Study) -> None:
  target = study.target
  left = np.zeros(len(rows))
  for column, _, color, hatch in experiment.KINDS[1:]:
    found = [_mean(mine, column, target) for mine in rows.values()]
    share = np.array([one.mean for one in found])
    spot.barh(
      range(len(rows)), share, 0.7, left, color=color, hatch=hatch,
      edgecolor='white', lw=0.4,
    )  # fmt: skip
    ends = [
      np.array([getattr(one, e) for one in found]) for e in ('low', 'high')
    ]
    # A NaN end, of one seed, draws nothing.
    place = np.arange(len(rows)) + (0.12 if column == 'order' else -0.12)
    spot.hlines(place, left + ends[0], left + ends[1], 'black', lw=0.8)
    left = left + np.nan_to_num(share)
  spot.set_yticks(
    range(len(rows)),
    [textwrap.fill(entry(study, name), LETTERS) for name in rows],
  )
  spot.invert_yaxis()
  _percent(spot.xaxis)
  spot.set_xlabel(f'errors at {target:,} tokens (% of targets)')


def _cross(spot: axes.Axes, rows: Rows, target: int) -> None:
  for n, names in enumerate(
    ((plan.ROOT, plan.BIASED), (plan.SCALED, plan.DEPLOYED))
  ):
    both = [(x, rows[name]) for x, name in enumerate(names) if name in rows]
    at = np.array([x for x, _ in both]) + 0.03 * (n - 0.5)
    means = [_mean(mine, 'token', target) for _, mine in both]
    low, high = ([getattr(m, end) for m in means] for end in ('low', 'high'))
    look = _pair(n)
    spot.vlines(at, low, high, look['color'], lw=2.2, alpha=0.35)
    spot.plot(at, [m.mean for m in means], **look)
  spot.set_xlim(-0.4, 1.4)
  spot.set_xticks([0, 1], ['without the bias', 'with the bias'])
  _percent(spot.yaxis)
  spot.grid(axis='y')


def _percent(axis: Any) -> None:
  axis.set_major_formatter(ticker.PercentFormatter(1, symbol='', decimals=0))
