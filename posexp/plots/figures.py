"""The figures of a paper, each with its numbers: what `posexp figures` draws.

Each function takes one question, see `paper.questions`, unless it says
otherwise, and raises a `UserError` where there is nothing to draw.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import axes, ticker
from matplotlib.lines import Line2D

from posexp import component
from posexp.claims import contrasts, intervals, timings
from posexp.claims import format as format_lib
from posexp.plots import curves, elements, layout, paper, style

# Lengths with panels of their own, among them the first and the last.
LENGTHS = 3
# Strata that are numbers of tokens.
TOKENS = ('gap', 'distance', 'evidence', 'start', 'place')
KINDS = ('order', 'retrieval')
# Numbers of a head that are comparable between lengths, see
# `posexp.evaluation.attention_statistics`.
MEASURES = {
  'entropy': 'entropy / ln n',
  'first': 'mass on the first token',
  'beyond': 'mass beyond trained length',
  'reach_share': 'mean distance / length',
  'rank_share': 'rank of the right key / keys',
}
QUANTITIES = {
  'train': 'training step, batch 1',
  'prefill': 'prefill, batch 1',
  'decode': 'decoding, per token',
}
# Above this ratio between the ends, the axis of costs is logarithmic.
FAR = 4.0


@style.styled
def accuracy(results: pd.DataFrame) -> paper.Plate:
  """Draw accuracy by length: means with intervals, every seed, chance."""
  question = paper.ask(results)
  lines = question.curves({'token': ''})
  drawn, panels = lines.draw(question.length_axis, width=style.COLUMN)
  elements.share_axes(panels, 'accuracy (% of targets)')
  elements.chance(panels[0], results)
  what = 'Accuracy by sequence length'
  return question.plate('accuracy', drawn, lines.numbers(), what)


@style.styled
def success(results: pd.DataFrame) -> paper.Plate:
  """Draw the share of all seeds that reach the gate, with Wilson's interval."""
  question = paper.ask(results, intervals.cells, 'success')
  lines = question.curves({'success': ''})
  drawn, panels = lines.draw(question.length_axis, width=style.COLUMN)
  elements.share_axes(panels, 'seeds at the gate (%)')
  gate = format_lib.gate(results['gate'].iloc[0])
  return question.plate(
    'success',
    drawn,
    lines.numbers(),
    'Share of all seeds that succeed, by sequence length',
    f'at least {gate} of targets right there and at the trained length; 95 % '
    'intervals of Wilson',
  )


@style.styled
def errors(results: pd.DataFrame) -> paper.Plate:
  """Draw order errors and retrieval errors by length, a panel each."""
  question = paper.ask(results, column='order')
  lines = question.curves({kind: f'{kind} errors' for kind in KINDS})
  drawn, panels = lines.draw(question.length_axis, sharey=True)
  elements.share_axes(panels, 'errors (% of targets)')
  what = 'Order errors, which an ordering mistake would make, and other errors'
  return question.plate('errors', drawn, lines.numbers(), what)


@style.styled
def by_stratum(
  results: pd.DataFrame, table: pd.DataFrame, stratum: str
) -> paper.Plate:
  """Draw order errors above, retrieval errors below, a column a length.

  Args:
    results: of one task and trained length.
    table: of the stratum, as `results.by_stratum.errors` gives it.
    stratum: its name, such as the gap between two events.
  """
  question = paper.ask(results).only(table['digest'])
  lengths, bins = _some(table['length']), table['bin']
  seeds = pd.concat(
    curves.tidy(
      table[table['length'] == n],
      {kind: f'{kind} errors, {question.length(n)}'},
      x='bin',
    )
    for kind in KINDS
    for n in lengths
  )
  means = curves.means(seeds, intervals.SHARE)
  tokens = stratum in TOKENS
  unit = f'{stratum} (tokens)' if tokens else stratum
  beyond = tokens and question.trained <= bins.max()

  def axis(panel: axes.Axes) -> None:
    if bins.min() > 0 and bins.max() / bins.min() > 8:
      elements.token_axis(panel, unit)
    else:
      panel.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
      panel.set_xlabel(unit)
    if beyond:
      panel.axvline(question.trained, color=style.GREY, lw=0.8, gid='trained')

  names = {digest: question.names[digest] for digest in question.looks}
  lines = curves.Curves(means, question.looks, names, seeds)
  drawn, panels = lines.draw(
    axis, across=len(lengths), height=1.65, sharex=True, sharey=True
  )
  elements.share_axes(panels, '% of targets')
  how = paper.seeds(question.summary)
  if bins.nunique() < bins.max() - bins.min():
    how += '. Each point is a doubling, from where it stands'
  if beyond:
    how += '. Grey: the trained length'
  return question.plate(
    f'psychometric-{paper.slug(stratum)}',
    drawn,
    lines.numbers(head=f'{stratum} {{}}'),
    f'Errors by {unit}',
    how,
  )


def _some(lengths: pd.Series) -> list[int]:
  """Return a few lengths that lie evenly, the first and last among them."""
  every = np.unique(lengths)
  index = np.linspace(0, len(every) - 1, min(LENGTHS, len(every)))
  return every[index.round().astype(int)].tolist()


@style.styled
def attention(results: pd.DataFrame, table: pd.DataFrame) -> paper.Plate:
  """Draw what attention does by layer, at the longest length of each run.

  Args:
    results: of one task and trained length.
    table: as `attention_records.load` gives it, of these runs.
  """
  question = paper.ask(results)
  seeds = _heads(question, table)
  question = question.only(seeds['run'])
  looks = {d: k._replace(linestyle='none') for d, k in question.looks.items()}
  names = {digest: question.names[digest] for digest in looks}
  now = curves.Curves(curves.means(seeds), looks, names, seeds)
  trained = {digest: f'{name} in training' for digest, name in names.items()}
  before = curves.means(seeds.assign(value=seeds['baseline']))
  bar: dict[str, Any] = {'lw': 2.2, 'alpha': 0.6}
  step = 0.5 / len(looks)

  def axis(panel: axes.Axes) -> None:
    panel.set_xlim(seeds['x'].min() - 0.5, seeds['x'].max() + 0.5)
    panel.set_xticks(np.unique(seeds['x']))
    panel.set_xlabel('layer')

  drawn, panels = now.draw(
    axis,
    extra=[Line2D([], [], color=style.GREY, label='in training', **bar)],
    step=step,
    across=3,
    height=1.65,
  )
  for panel, (_, rows) in zip(panels, before.groupby('panel', sort=False)):
    for number, (digest, look) in enumerate(looks.items()):
      run = rows[rows['run'] == digest]
      x = run['x'] + step * (number - len(looks) / 2)
      panel.hlines(run['value'], x, x + step, look.color, **bar)
    panel.set_ylim(0, max(0.05, panel.get_ylim()[1]))
  layout.ylabel(panels, 'mean over heads')
  where = ' or '.join(f'{n:,}' for n in np.unique(seeds['length']))
  then = curves.Curves(before, looks, trained)
  tables = (c.numbers(format_lib.number, 'layer {}') for c in (now, then))
  return question.plate(
    'attention',
    drawn,
    pd.concat(tables),
    f'Attention by layer at {where} tokens, the mean over the heads of a '
    'layer; a bar is the same heads in training, at the trained length',
  )


def _heads(question: paper.Question, table: pd.DataFrame) -> pd.DataFrame:
  """Return the mean over heads of each layer and seed, for `Curves`."""
  heads = table.merge(question.admitted[['digest', 'seed', 'length']])
  heads = heads.assign(
    panel=heads['measure'].map(MEASURES),
    run=heads['digest'],
    x=heads['layer'] + 1,
  ).dropna(subset=['panel', 'value'])
  far = heads.groupby('run')['length'].transform('max')
  heads = heads[heads['length'] == far]
  if heads.empty:
    raise component.UserError('the records have no diagnostics of attention')
  # Panels in the order of `MEASURES`.
  heads = heads.sort_values(
    'measure', key=lambda names: names.map([*MEASURES].index), kind='stable'
  )
  keys = ['panel', 'run', 'x', 'seed', 'length']
  of_seed = heads.groupby(keys, sort=False)[['value', 'baseline']]
  return of_seed.mean().reset_index()


@style.styled
def retrofits(results: pd.DataFrame) -> paper.Plate:
  """Draw the accuracy of each retrofit beside its parent's, seed by seed."""
  question = paper.ask(results)
  pairs = _pairs(question)
  gains = contrasts.family(
    {
      key: contrasts.paired(
        cell['token'].to_numpy(),
        cell['before'].to_numpy(),
        1 / cell['targets'].max(),
      )
      for key, cell in pairs.groupby(['digest', 'length'])
    }
  )
  texts = {
    key: format_lib.bracketed(*gain[:3], format_lib.points)
    for key, gain in gains.items()
  }
  digests = list(dict.fromkeys(pairs['digest']))
  # A retrofit's name begins with its parent's.
  labels = [question.names[d].split(' -> ', 1)[-1] for d in digests]
  dot = style.Look(style.GREY, 'o', 'none', style.GREY)
  dots = {'before': dot._replace(markerfacecolor='white'), 'after': dot}
  lengths = _some(pairs['length'])
  drawn, panels = layout.panels(
    [question.length(n) for n in lengths],
    style.keys(dots, {name: f'{name}, a seed' for name in dots}),
    across=len(lengths),
    height=0.75 + max(0.7, 0.34 * len(labels)),
    sharey=True,
  )
  for panel, n in zip(panels, lengths):
    for row, digest in enumerate(digests):
      if (digest, n) in texts:
        pair = pairs[(pairs['digest'] == digest) & (pairs['length'] == n)]
        color = question.looks[digest].color
        _row(panel, row, pair, color, texts[digest, n])
    panel.set_xlim(-0.04, 1.04)
    elements.percent(panel.xaxis)
    panel.set_xlabel('accuracy (% of targets)')
    panel.grid(axis='x')
    panel.tick_params(axis='y', length=0)
  panels[0].set_ylim(len(labels) - 0.5, -0.5)
  names = [style.wrap(label, 25, 2) for label in labels]
  panels[0].set_yticks(range(len(labels)), names)
  numbers = pd.Series(texts).unstack().loc[digests].set_axis(labels)
  many = paper.span([gain.n for gain in gains.values()])
  return question.plate(
    'retrofits',
    drawn,
    numbers.add_prefix('gain at ').fillna(format_lib.MISSING),
    'Accuracy (%) before and after a retrofit',
    f'a line a seed, {many} of them; the mean gain in points with its t '
    f'interval over seeds; all {len(gains)} intervals hold at once in 95 % of '
    'experiments',
  )


def _pairs(question: paper.Question) -> pd.DataFrame:
  """Return rows of retrofits with their parent's accuracy of the same seed.

  The retrofit that is best at the longest length comes first.
  """
  rows = question.admitted
  parents = rows[['digest', 'seed', 'length', 'token']]
  parents = parents.set_axis(
    ['parent_digest', 'seed', 'length', 'before'], axis=1
  )
  pairs = rows.merge(parents)
  if pairs.empty:
    raise component.UserError(
      'no run is a retrofit of another that is admitted'
    )
  means = pairs.groupby(['digest', 'length'])['token'].transform('mean')
  return pairs.assign(mean=means).sort_values(
    ['length', 'mean', 'seed'], ascending=[False, False, True]
  )


def _row(
  panel: axes.Axes, row: int, pair: pd.DataFrame, color: Any, gain: str
) -> None:
  """Draw the seeds of a retrofit, one below the other, and its gain."""
  n = len(pair)
  y_N = row + 0.12 + 0.36 * (np.arange(n) + 0.5 - n / 2) / n
  panel.hlines(y_N, pair['before'], pair['token'], color, lw=0.8)
  dots: dict[str, Any] = {'ls': 'none', 'marker': 'o', 'ms': 2.6}
  panel.plot(pair['before'], y_N, **dots, color=color, mfc='white', mew=0.7)
  gid = f'after:{pair["digest"].iloc[0]}'
  panel.plot(pair['token'], y_N, **dots, color=color, gid=gid)
  panel.text(
    0.5,
    row - 0.28,
    gain,
    ha='center',
    va='center',
    size=6,
    transform=panel.get_yaxis_transform(),
  )


@style.styled
def cost(body: dict[str, Any]) -> paper.Plate:
  """Draw the time of schemes as a multiple of a baseline's, by length.

  A panel a quantity, a line a scheme, with 95 % intervals.

  Args:
    body: of one measurement, as `cost_records.read` gives it.
  """
  table = timings.table(body)
  if table.empty:
    raise component.UserError('no costs to draw: the table is empty')
  baseline = table['baseline'].iloc[0]
  others = table[table['scheme'] != baseline]
  others = others.rename(columns={'low': 'ratio_low', 'high': 'ratio_high'})
  means = pd.concat(
    curves.tidy(others[others['quantity'] == q], {'ratio': title}, run='scheme')
    for q, title in QUANTITIES.items()
  )
  looks = style.numbered(others['scheme'])
  lengths = np.unique(others['length'])

  def axis(panel: axes.Axes) -> None:
    elements.token_axis(panel, 'tokens')
    panel.set_xlim(lengths[0] / 2**0.5, lengths[-1] * 2**0.5)
    elements.ticks(panel, lengths, [f'{n:,}' for n in lengths])
    panel.axhline(1, color=style.GREY, lw=0.8, gid='baseline', zorder=1)

  lines = curves.Curves(means, looks, {scheme: scheme for scheme in looks})
  of_baseline = f'{style.wrap(baseline, 40)}, the baseline'
  drawn, panels = lines.draw(
    axis,
    extra=[Line2D([], [], color=style.GREY, lw=0.8, label=of_baseline)],
    across=3,
    height=2.4,
  )
  layout.title(
    drawn, 'What position costs: medians and 95% intervals of paired ratios'
  )
  panels[0].set_ylabel('time, as a multiple of the baseline')
  for panel in panels:
    low, high = panel.get_ylim()
    if high / max(low, 1e-9) > FAR and high > FAR:
      panel.set_yscale('log', base=2)
      panel.yaxis.set_minor_locator(ticker.NullLocator())
    panel.yaxis.set_major_formatter(ticker.FormatStrFormatter('%g'))
  return paper.Plate(
    'cost',
    drawn,
    lines.numbers(format_lib.number),
    f'Time as a multiple of {baseline}: medians of '
    f'{paper.span(others["rounds"])} rounds in turns, with distribution-free '
    '95 % intervals.',
    (f'measured {body["measured"]}',),
  )
