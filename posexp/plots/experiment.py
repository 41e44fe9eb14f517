"""The figure of an experiment: accuracy by length, and kinds of error.

Drawn from the table of `records.load` alone, with no display and no global
state; the same table gives the same bytes.
"""

import os
import pathlib
import textwrap
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import axes, colors, figure, lines, patches, ticker
from matplotlib.backends import backend_agg

from posexp import component
from posexp.claims import intervals

# The width of a page's text, in inches: figures are read at this size.
WIDTH = 17 / 2.54
DPI = 200

_STYLE_FILE = pathlib.Path(__file__).with_name('paper.mplstyle')
STYLE: dict[Any, Any] = dict(
  matplotlib.rc_params_from_file(_STYLE_FILE, use_default_template=False)
)
GREY = '0.45'
# With no, one and several admitted seeds in a run.
SHOWN = ('no seed learned it', 'one seed a run', 'mean, 95% t interval, seeds')

# Markers differ too, so that colour is never needed.
COLORS: list[str] = STYLE['axes.prop_cycle'].by_key()['color']
MARKERS = 'osD^vPX<>ph*'
# A retrofit has its parent's colour, darker or lighter, and never a full line.
SHADES = (('black', 0.4), ('white', 0.3), ('black', 0.65), ('white', 0.5))
DASHES = ((0, (4, 1.5)), (0, (2, 0.9)), (0, (5, 1.2, 1.2, 1.2)))

# What became of a target. Light, dark and hatched: they differ in grey as well.
KINDS = (
  ('token', 'correct', '#E3E3E3', ''),
  ('order', 'order error', '#882255', ''),
  ('retrieval', 'retrieval error', '#44AA99', '/////'),
)

# In inches: edges, the title, the space for a legend, for ticks and their
# label, for the key to the bars, a row of bars and the gap below it.
EDGE, LEFT, TITLE, LEGEND = 0.1, 0.55, 0.42, 2.15
TICKS, KEY, BARS, GAP = 0.55, 0.3, 0.85, 0.32
LINE, LETTER = 0.125, 0.0625

Runs = dict[Any, pd.DataFrame]  # the rows of a summary, by digest


class Look(NamedTuple):
  """How a run is drawn."""

  color: Any
  marker: str
  linestyle: Any
  markerfacecolor: Any


Looks = dict[Any, Look]  # by digest


class _Size(NamedTuple):
  """The parts of a block that depend on what is in it, in inches."""

  columns: int
  panel: float
  curves: float
  names: list[float]
  height: float


def overview(
  results: pd.DataFrame, directory: str | os.PathLike, name: str = 'overview'
) -> list[pathlib.Path]:
  """Writes a figure of the results of `records.load`: the paths of `save`."""
  return save(draw(results), directory, name)


def save(
  drawn: figure.Figure, directory: str | os.PathLike, name: str
) -> list[pathlib.Path]:
  """Writes a figure as PNG (200 dpi) and PDF, `name` with an ending."""
  directory = pathlib.Path(directory)
  directory.mkdir(parents=True, exist_ok=True)
  png, pdf = (directory / f'{name}{ending}' for ending in ('.png', '.pdf'))
  # No dates and no versions, so that an unchanged figure is an unchanged file.
  with matplotlib.rc_context(STYLE):
    drawn.savefig(png, metadata={'Software': None})
    unsaid = dict.fromkeys(('CreationDate', 'Creator', 'Producer'))
    drawn.savefig(pdf, metadata=unsaid)
  return [png, pdf]


def draw(results: pd.DataFrame) -> figure.Figure:
  """The figure of `overview`, unsaved: one block a task and trained length.

  Above, accuracy by length: means over admitted seeds with 95 % intervals, and
  every admitted seed, runs side by side; below, what became of the targets.
  """
  if results.empty:
    raise component.UserError(
      'no results to draw: the table of results is empty'
    )
  results = intervals.joined(results)
  styles = looks(results)
  summary = intervals.summarize(results)
  tasks = summary.groupby(['task', 'trained_length'], sort=False)
  groups = [dict(list(g.groupby('digest', sort=False))) for _, g in tasks]
  heights = [_size(runs).height for runs in groups]
  with matplotlib.rc_context(STYLE):
    drawn = figure.Figure((WIDTH, sum(heights)))
    backend_agg.FigureCanvasAgg(drawn)
    blocks = drawn.subfigures(len(groups), squeeze=False, height_ratios=heights)
    for block, runs in zip(blocks[:, 0], groups):
      _block(block, runs, results[results['digest'].isin(runs)], styles)
  return drawn


def looks(results: pd.DataFrame) -> Looks:
  """How each run is drawn, by digest; the same schemes alike in every task."""
  names = intervals.labels(results)
  parents = dict(zip(results['digest'], results['parent_digest']))
  found: dict[str, Look] = {}
  families: dict[str, int] = {}
  for digest, name in names.items():
    root = digest
    while parents.get(root):
      root = parents[root]
    family = names.get(root, root)
    number = families.setdefault(family, 0)
    if name in found:
      continue
    color = COLORS[list(families).index(family) % len(COLORS)]
    marker = MARKERS[len(found) % len(MARKERS)]
    found[name] = Look(color, marker, '-', color)
    if root != digest:
      shade = _blend(color, *SHADES[number % len(SHADES)])
      dash = DASHES[number % len(DASHES)]
      found[name] = Look(shade, marker, dash, 'white')
      families[family] += 1
  return {digest: found[name] for digest, name in names.items()}


def _blend(color: str, other: str, share: float) -> tuple[float, ...]:
  one, two = (np.array(colors.to_rgb(c)) for c in (color, other))
  return tuple((1 - share) * one + share * two)


def _size(runs: Runs) -> _Size:
  """How much room a task needs."""
  columns = 3 if len(runs) in (5, 6) else min(len(runs), 4)
  panel = (WIDTH - LEFT - EDGE + 0.16) / columns - 0.16
  legend = sum(1.3 + _entry(run).count('\n') for run in runs.values())
  curves = max(2.3, LINE * (legend + 2))
  titles = [wrap(run['label'].iloc[0], panel) for run in runs.values()]
  high = [LINE * (1 + title.count('\n')) + 0.06 for title in titles]
  names = [max(high[i : i + columns]) for i in range(0, len(high), columns)]
  bars = sum(names) + len(names) * (BARS + GAP)
  height = TITLE + curves + TICKS + KEY + bars + EDGE
  return _Size(columns, panel, curves, names, height)


def _block(
  on: figure.SubFigure, runs: Runs, results: pd.DataFrame, styles: Looks
) -> None:
  """One task: its title, its curves and a panel of bars a run."""
  size = _size(runs)

  def place(left: float, top: float, wide: float, high: float) -> axes.Axes:
    down = 1 - (top + high) / size.height
    return on.add_axes((left / WIDTH, down, wide / WIDTH, high / size.height))

  task, trained = results[['task', 'trained_length']].iloc[0]
  title = wrap(f'{task}, trained at {trained} tokens', 0.75 * WIDTH, 1)
  y = 1 - 0.16 / size.height
  on.text(EDGE / WIDTH, y, title, size=9, weight='bold', va='center')
  panel = place(LEFT, TITLE, WIDTH - LEFT - LEGEND, size.curves)
  curves(panel, runs, results, styles)
  _legend(panel, runs, styles)
  top = TITLE + size.curves + TICKS
  _key(on, 1 - (top + 0.1) / size.height)
  for index, run in enumerate(runs.values()):
    row, column = divmod(index, size.columns)
    down = top + KEY + sum(size.names[: row + 1]) + row * (BARS + GAP)
    panel = place(LEFT + column * (size.panel + 0.16), down, size.panel, BARS)
    errors(panel, run)
    panel.set_ylabel('' if column else '% of targets')
    panel.tick_params(labelleft=column == 0)


def _legend(panel: axes.Axes, runs: Runs, styles: Looks) -> None:
  handles = [lines.Line2D([], [], **styles[run]._asdict()) for run in runs]
  admitted = [run['n_admitted'].max() for run in runs.values()]
  for handle, number in zip(handles, admitted):
    handle.set_visible(number > 0)
  legend = panel.legend(
    handles,
    map(str, range(len(handles))),
    title=SHOWN[min(2, max(admitted))],
    alignment='left',
    loc='upper left',
    bbox_to_anchor=(1.03, 1.02),
    handlelength=2.6,
  )
  # Set afterwards: a legend leaves out what starts with an underscore.
  for text, run, number in zip(legend.get_texts(), runs.values(), admitted):
    text.set(text=_entry(run), color='black' if number else GREY)


def _entry(run: pd.DataFrame) -> str:
  """A run's entry in the legend."""
  admitted, seeds = run['n_admitted'].max(), run['n_seeds'].max()
  label = wrap(run['label'].iloc[0], LEGEND - 0.3)
  if admitted == 0:
    return f'{label}\n{wrap(intervals.not_admitted(run), LEGEND - 0.3, 4)}'
  return label if admitted == seeds else f'{label}\n{admitted} of {seeds} seeds'


def _key(on: figure.SubFigure, y: float) -> None:
  """What the bars are, and a legend of their parts."""
  title = 'What became of the targets, by sequence length (tokens)'
  on.text(LEFT / WIDTH, y, title, va='center')
  bars = [
    patches.Patch(facecolor=color, hatch=hatch, edgecolor='white', linewidth=0)
    for _, _, color, hatch in KINDS
  ]
  names, corner = [kind[1] for kind in KINDS], (1 - EDGE / WIDTH, y)
  on.legend(bars, names, loc='center right', bbox_to_anchor=corner, ncols=3)


def curves(
  panel: axes.Axes, runs: Runs, results: pd.DataFrame, styles: Looks
) -> None:
  """Accuracy by length of every admitted run."""
  _scales(panel, results)
  runs = {digest: r for digest, r in runs.items() if r['n_admitted'].max()}
  admitted = results[results['admitted'].astype(bool)]
  octaves = np.diff(np.log2(np.sort(results['length'].unique())))
  # Side by side, within half of the way to the next length.
  step = min([0.06, *(octaves / (2 * max(1, len(runs))))])
  for index, (digest, run) in enumerate(runs.items()):
    look, shift = styles[digest], 2 ** (step * (index - (len(runs) - 1) / 2))
    x = run['length'].to_numpy() * shift
    low, high = run['token_low'].to_numpy(), run['token_high'].to_numpy()
    bars = panel.vlines(x, low, high, look.color, lw=2.4, alpha=0.35)
    bars.set_gid(f'interval:{digest}')
    seeds = admitted[admitted['digest'] == digest]
    points = look._replace(marker='o', linestyle='none')._asdict()
    at, each = seeds['length'] * shift, seeds['token']
    panel.plot(at, each, **points, markersize=2, gid=f'seeds:{digest}')
    how = {**look._asdict(), 'gid': f'mean:{digest}', 'zorder': 3}
    panel.plot(x, run['token'].to_numpy(), **how)
  _marks(panel, results)


def _scales(panel: axes.Axes, results: pd.DataFrame) -> None:
  """Both axes, with their units, and a tick at every length."""
  lengths = np.sort(results['length'].unique())
  trained = results['trained_length'].iloc[0]
  panel.set_xscale('log', base=2)
  ends = min(lengths[0], trained), max(lengths[-1], trained)
  panel.set_xlim(ends[0] / 2**0.3, ends[1] * 2**0.3)
  panel.xaxis.set_minor_locator(ticker.NullLocator())
  ticks(panel, lengths, [f'{n}\n{n / trained:.3g}×' for n in lengths])
  panel.set_xlabel('sequence length (tokens, and times the trained length)')
  panel.yaxis.set_major_formatter(ticker.PercentFormatter(1, symbol=''))
  panel.set_ylabel('accuracy (% of targets answered right)')
  panel.grid(axis='y')


def ticks(panel: axes.Axes, places: Any, names: list[str]) -> None:
  """A tick at every place, named where there is room, the ends first."""
  across = panel.transData.transform([(x, 1) for x in places])[:, 0]
  letters = max(len(line) for name in names for line in name.split('\n'))
  need = (letters + 0.7) * LETTER * DPI
  kept: list[int] = []
  for i in (0, len(names) - 1, *range(len(names))):
    if all(abs(across[i] - across[k]) >= need for k in kept):
      kept.append(i)
  panel.set_xticks(places, [n * (i in kept) for i, n in enumerate(names)])


def _marks(panel: axes.Axes, results: pd.DataFrame) -> None:
  """The trained length and chance, each with its name."""
  trained = results['trained_length'].iloc[0]
  left, right = panel.get_xlim()
  panel.axvline(trained, color=GREY, lw=0.8, gid='trained', zorder=1)
  where: dict[str, Any] = {'transform': panel.get_xaxis_transform()}
  name = f'trained at {trained} tokens'
  panel.text(trained, 1.01, name, color=GREY, ha='center', **where)
  chance = results.drop_duplicates('length').sort_values('length')
  y = chance['chance'].to_numpy()
  x, y = np.r_[left, chance['length'], right], np.r_[y[0], y, y[-1]]
  panel.plot(x, y, ':', color=GREY, lw=1, gid='chance', zorder=1)
  panel.text(left, y[0], ' chance', va='bottom', color=GREY)
  low = min(panel.get_ylim()[0], y.min() - 0.02)
  panel.set_ylim(max(0, np.floor(10 * low) / 10), 1.02)


def errors(panel: axes.Axes, run: pd.DataFrame) -> None:
  """Stacked shares of correct, order error and retrieval error by length."""
  inches = panel.bbox.width / DPI
  panel.set_title(wrap(run['label'].iloc[0], inches), loc='left', pad=3)
  panel.set_xlim(-0.6, len(run) - 0.4)
  panel.set_ylim(0, 1)
  ticks(panel, range(len(run)), [str(n) for n in run['length']])
  panel.yaxis.set_major_locator(ticker.FixedLocator([0, 0.5, 1]))
  panel.yaxis.set_major_formatter(ticker.PercentFormatter(1, symbol=''))
  if run['n_admitted'].max() == 0:
    panel.set_facecolor('0.93')
    why = wrap(intervals.not_admitted(run), inches, 5)
    middle = (sum(panel.get_xlim()) / 2, 0.5)
    panel.text(*middle, why, ha='center', va='center', color=GREY)
    return
  bottom = np.zeros(len(run))
  for column, label, color, hatch in KINDS:
    share = run[column].to_numpy()
    for bar in panel.bar(range(len(run)), share, 0.78, bottom, label=label):
      bar.set(facecolor=color, hatch=hatch, edgecolor='white', linewidth=0.4)
    bottom = bottom + share


def wrap(text: str, inches: float, most: int = 3) -> str:
  """A label in a figure: without empty brackets, broken at spaces."""
  text = text.replace('()', '').replace('->', '→')
  width = max(8, int(inches / LETTER))
  parts = textwrap.wrap(text, width, max_lines=most, placeholder=' …')
  # A dollar sign would start mathematics.
  return '\n'.join(parts).replace('$', r'\$')
