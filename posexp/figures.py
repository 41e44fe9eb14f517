"""The figure of an experiment: accuracy by length, and kinds of error.

Drawn from the table of `records.load` alone, with no display and no global
state; the same table gives the same bytes.
"""

import os
import pathlib
import textwrap
from collections.abc import Iterable
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import axes, figure, lines, patches, ticker
from matplotlib.backends import backend_agg

from posexp import statistics

# The width of a page's text, in inches: figures are read at this size.
WIDTH = 17 / 2.54

STYLE: dict[Any, Any] = {
  'axes.axisbelow': True,
  'axes.labelsize': 7.5,
  'axes.linewidth': 0.6,
  'axes.spines.right': False,
  'axes.spines.top': False,
  'font.family': 'DejaVu Sans',  # comes with matplotlib: the same everywhere
  'font.size': 7.5,
  'grid.color': '0.9',
  'grid.linewidth': 0.6,
  'hatch.linewidth': 0.5,
  'legend.fontsize': 7,
  'legend.frameon': False,
  'lines.linewidth': 1.3,
  'lines.markersize': 4.2,
  'pdf.fonttype': 42,  # text that journals accept and editors can change
  'xtick.labelsize': 7,
  'xtick.major.width': 0.6,
  'xtick.minor.size': 0,
  'ytick.labelsize': 7,
  'ytick.major.width': 0.6,
}

# Okabe and Ito's palette without its yellow, which is faint on paper.
COLORS = (
  '#0072B2',
  '#D55E00',
  '#009E73',
  '#CC79A7',
  '#000000',
  '#E69F00',
  '#56B4E9',
)
MARKERS = 'osD^vPX<>ph*'
# A retrofit has its parent's colour, darker or lighter, and never a full line.
SHADES = (('black', 0.35), ('white', 0.35), ('black', 0.6), ('white', 0.55))
DASHES = ((0, (4, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.2, 1.2, 1.2)))
GREY = '0.45'

# What became of a target: correct, order error, retrieval error. Light, dark
# and middle, so that they differ in grey as well.
KINDS = (
  ('token', 'correct', '#E3E3E3', ''),
  ('order', 'order error', '#882255', ''),
  ('retrieval', 'retrieval error', '#44AA99', '/////'),
)


class Look(NamedTuple):
  """How a run is drawn."""

  color: Any
  marker: str
  dash: Any
  face: Any


def overview(
  results: pd.DataFrame, directory: str | os.PathLike, name: str = 'overview'
) -> list[pathlib.Path]:
  """Writes a figure of the results as PNG (200 dpi) and PDF.

  Args:
    results: a table as `records.load` gives it.
    directory: where to write; made if it is not there.
    name: of the files, without an ending.

  Returns:
    The two paths, PNG first.
  """
  directory = pathlib.Path(directory)
  directory.mkdir(parents=True, exist_ok=True)
  drawn = draw(results)
  nothing = {
    'png': {'Software': None},
    'pdf': {'CreationDate': None, 'Creator': None, 'Producer': None},
  }
  paths = []
  # A style is looked up again when a figure is rendered.
  with matplotlib.rc_context(STYLE):
    for ending, metadata in nothing.items():
      paths.append(directory / f'{name}.{ending}')
      drawn.savefig(paths[-1], dpi=200, metadata=metadata)
  return paths


def draw(results: pd.DataFrame) -> figure.Figure:
  """The figure of `overview`, unsaved: one block a task and trained length.

  Above, accuracy by length: a line through the means over admitted seeds with
  95 % intervals, and every admitted seed as a point, runs side by side at each
  length. Below, for each run, what became of its targets.

  Raises:
    ValueError: if there are no results.
  """
  if results.empty:
    raise ValueError('no results to draw: the table of results is empty')
  summary = statistics.summarize(results)
  styles = looks(results)
  with matplotlib.rc_context(STYLE):
    groups = summary.groupby(['task', 'trained_length'], sort=False)
    blocks = [
      _Block(group, results[results['digest'].isin(group['digest'])], styles)
      for _, group in groups
    ]
    drawn = figure.Figure((WIDTH, sum(block.height for block in blocks)))
    backend_agg.FigureCanvasAgg(drawn)
    top = 0.0
    for block in blocks:
      block.draw(drawn, top)
      top += block.height
  return drawn


def looks(results: pd.DataFrame) -> dict[str, Look]:
  """How each run is drawn, by digest; the same scheme alike in every task."""
  names = statistics.labels(results)
  runs = results.drop_duplicates('digest').set_index('digest')
  by_name: dict[str, Look] = {}
  colors: dict[str, str] = {}
  retrofits: dict[str, int] = {}
  for digest, name in names.items():
    root, parent = digest, runs['parent_digest'][digest]
    while parent:
      root, parent = parent, runs['parent_digest'].get(parent, '')
    family = names.get(root, root)
    color = colors.setdefault(family, COLORS[len(colors) % len(COLORS)])
    if name in by_name:
      continue
    marker = MARKERS[len(by_name) % len(MARKERS)]
    if not runs['parent_digest'][digest]:
      by_name[name] = Look(color, marker, '-', color)
      continue
    index = retrofits.setdefault(family, 0)
    retrofits[family] += 1
    shade = _blend(color, *SHADES[index % len(SHADES)])
    by_name[name] = Look(shade, marker, DASHES[index % len(DASHES)], 'white')
  return {digest: by_name[name] for digest, name in names.items()}


def _blend(color: str, other: str, share: float) -> tuple[float, ...]:
  one, two = (np.array(matplotlib.colors.to_rgb(c)) for c in (color, other))
  return tuple((1 - share) * one + share * two)


class _Block:
  """One task: its height in inches is known before it is drawn."""

  TITLE, LEFT, TICKS, LEGEND, LINE = 0.42, 0.55, 0.5, 2.15, 0.125

  def __init__(
    self, group: pd.DataFrame, results: pd.DataFrame, styles: dict[str, Look]
  ):
    self.results, self.styles = results, styles
    self.runs = {
      str(run['digest'].iloc[0]): run
      for _, run in group.groupby('digest', sort=False)
    }
    self.entries = [_entry(run) for run in self.runs.values()]
    text = sum(1.25 + entry.count('\n') for entry in self.entries)
    self.curves = max(2.3, self.LINE * text + 0.1)
    number = len(self.runs)
    self.columns = 3 if number in (5, 6) else min(number, 4)
    self.rows = -(-number // self.columns)
    titles = [_wrap(label, 28).count('\n') for label in group['label']]
    self.name = 0.12 * (1 + max(titles)) + 0.06
    self.bars, self.gap = 0.85, 0.32
    self.height = (
      self.TITLE
      + self.curves
      + self.TICKS
      + 0.3
      + self.rows * (self.name + self.bars + self.gap)
      + 0.1
    )

  def draw(self, on: figure.Figure, top: float) -> None:
    first = next(iter(self.runs.values()))
    task, length = first[['task', 'trained_length']].iloc[0]
    y = 1 - (top + 0.16) / on.get_figheight()
    title = _literal(f'{task}, trained at {length} tokens')
    on.text(0.1 / WIDTH, y, title, size=9, weight='bold', va='center')
    top += self.TITLE
    wide = WIDTH - self.LEFT - self.LEGEND
    panel = _place(on, self.LEFT, top, wide, self.curves)
    curves(panel, self.runs, self.results, self.styles)
    self._legend(panel)
    top += self.curves + self.TICKS
    self._kinds(on, top)
    top += 0.3
    gap = 0.16
    wide = (WIDTH - self.LEFT - 0.1 + gap) / self.columns
    for index, run in enumerate(self.runs.values()):
      row, column = divmod(index, self.columns)
      down = top + row * (self.name + self.bars + self.gap) + self.name
      panel = _place(on, self.LEFT + column * wide, down, wide - gap, self.bars)
      errors(panel, run)
      panel.tick_params(labelleft=column == 0)
      if column == 0:
        panel.set_ylabel('% of targets')

  def _legend(self, panel: axes.Axes) -> None:
    handles = [_handle(run, self.styles) for run in self.runs.values()]
    legend = panel.legend(
      handles,
      map(str, range(len(handles))),
      loc='upper left',
      bbox_to_anchor=(1.03, 1.02),
      borderaxespad=0,
      handlelength=2.6,
      labelspacing=0.45,
    )
    # Set afterwards: a legend leaves out what starts with an underscore.
    runs = self.runs.values()
    for text, entry, run in zip(legend.get_texts(), self.entries, runs):
      text.set_text(entry)
      text.set_color('black' if run['n_admitted'].max() else GREY)

  def _kinds(self, on: figure.Figure, top: float) -> None:
    y = 1 - (top + 0.12) / on.get_figheight()
    on.text(
      self.LEFT / WIDTH,
      y,
      'What became of the targets, by sequence length (tokens)',
      va='center',
    )
    on.legend(
      [
        patches.Patch(facecolor=c, hatch=h, edgecolor='white', linewidth=0)
        for _, _, c, h in KINDS
      ],
      [label for _, label, _, _ in KINDS],
      loc='center right',
      bbox_to_anchor=(1 - 0.1 / WIDTH, y),
      ncols=3,
      borderaxespad=0,
      columnspacing=1.2,
      handlelength=1.4,
    )


def _place(
  on: figure.Figure, left: float, top: float, wide: float, high: float
) -> axes.Axes:
  """Axes at a place given in inches from the upper left corner."""
  x, y = on.get_figwidth(), on.get_figheight()
  return on.add_axes((left / x, 1 - (top + high) / y, wide / x, high / y))


def _entry(run: pd.DataFrame) -> str:
  """A run's entry in the legend."""
  admitted, seeds = run['n_admitted'].max(), run['n_seeds'].max()
  label = _wrap(run['label'].iloc[0], 30)
  if admitted == 0:
    return f'{label}\n{_wrap(not_admitted(run), 34)}'
  return label if admitted == seeds else f'{label}\n{admitted} of {seeds} seeds'


def not_admitted(run: pd.DataFrame) -> str:
  """Why a run has no line, given its rows of a summary."""
  seeds, inside = run['n_seeds'].max(), run['in_distribution'].iloc[0]
  whose = " of its parent's" if run['parent'].iloc[0] else ' of'
  found = '' if np.isnan(inside) else f' (in distribution: {inside:.0%})'
  return f'not admitted: 0{whose} {seeds} seeds learned the task{found}'


def _handle(run: pd.DataFrame, styles: dict[str, Look]) -> lines.Line2D:
  look = styles[str(run['digest'].iloc[0])]
  if run['n_admitted'].max() == 0:
    return lines.Line2D([], [], linestyle='none')
  return lines.Line2D([], [], **_drawn_as(look))


def _drawn_as(look: Look) -> dict[str, Any]:
  return {
    'color': look.color,
    'linestyle': look.dash,
    'marker': look.marker,
    'markerfacecolor': look.face,
  }


def curves(
  panel: axes.Axes,
  runs: dict[str, pd.DataFrame],
  results: pd.DataFrame,
  styles: dict[str, Look],
) -> None:
  """Accuracy by length of every admitted run."""
  _scales(panel, results)
  admitted = results[results['admitted'].astype(bool)]
  shown = {k: run for k, run in runs.items() if run['n_admitted'].max()}
  shifts = _shifts(len(shown), results['length'].unique())
  for shift, (digest, run) in zip(shifts, shown.items()):
    look = styles[digest]
    run = run[run['n_admitted'] > 0]
    x = run['length'].to_numpy() * shift
    y = run['token'].to_numpy()
    ends = run[['token_low', 'token_high']].to_numpy()
    panel.vlines(
      x, *ends.T, color=look.color, linewidth=0.9, gid=f'interval:{digest}'
    )
    panel.plot(x, y, **_drawn_as(look), gid=f'mean:{digest}', zorder=3)
    seeds = admitted[admitted['digest'] == digest]
    panel.plot(
      seeds['length'] * shift,
      seeds['token'],
      linestyle='none',
      marker='.',
      markersize=3.6,
      markeredgewidth=0.3,
      markeredgecolor='white',
      color=look.color,
      gid=f'seeds:{digest}',
      zorder=4,
    )
  _marks(panel, results)


def _shifts(number: int, lengths: Iterable[int]) -> np.ndarray:
  """Factors on the length that put runs side by side, about 1."""
  octaves = np.diff(np.log2(np.sort(np.asarray(list(lengths), float))))
  room = 0.5 * octaves.min() if octaves.size else 0.5
  step = min(0.06, room / max(1, number))
  return 2 ** (step * (np.arange(number) - (number - 1) / 2))


def _scales(panel: axes.Axes, results: pd.DataFrame) -> None:
  """Both axes, with their units, and a tick at every length."""
  lengths = np.sort(results['length'].unique())
  trained = results['trained_length'].iloc[0]
  panel.set_xscale('log', base=2)
  panel.set_xlim(lengths[0] / 2**0.3, lengths[-1] * 2**0.3)
  panel.xaxis.set_major_locator(ticker.FixedLocator(lengths.tolist()))
  panel.xaxis.set_minor_locator(ticker.NullLocator())
  panel.set_xticklabels([f'{n}\n{n / trained:.3g}×' for n in lengths])
  panel.set_xlabel('sequence length (tokens, and times the trained length)')
  panel.yaxis.set_major_formatter(ticker.PercentFormatter(1, symbol=''))
  panel.set_ylabel('accuracy (% of targets answered right)')
  panel.grid(axis='y')


def _marks(panel: axes.Axes, results: pd.DataFrame) -> None:
  """The trained length and chance, each with its name."""
  trained = results['trained_length'].iloc[0]
  panel.axvline(trained, color=GREY, linewidth=0.8, gid='trained', zorder=1)
  panel.annotate(
    f'trained at {trained} tokens',
    (trained, 1),
    (2, 3),
    xycoords=('data', 'axes fraction'),
    textcoords='offset points',
    color=GREY,
    size=7,
  )
  chance = results.drop_duplicates('length').sort_values('length')
  x, y = chance['length'].to_numpy(), chance['chance'].to_numpy()
  ends = np.array(panel.get_xlim())
  x, y = np.r_[ends[0], x, ends[1]], np.r_[y[0], y, y[-1]]
  panel.plot(x, y, ':', color=GREY, linewidth=1, gid='chance', zorder=1)
  panel.annotate(
    'chance',
    (ends[0], y[0]),
    (2, 2),
    textcoords='offset points',
    color=GREY,
    size=7,
  )
  low, _ = panel.get_ylim()
  panel.set_ylim(max(0, np.floor(10 * min(low, y.min() - 0.02)) / 10), 1.02)


def errors(panel: axes.Axes, run: pd.DataFrame) -> None:
  """Stacked shares of correct, order error and retrieval error by length."""
  panel.set_title(_wrap(run['label'].iloc[0], 28), size=7.5, loc='left', pad=3)
  panel.set_xlim(-0.6, len(run) - 0.4)
  panel.set_ylim(0, 1)
  panel.set_xticks(range(len(run)), run['length'])
  panel.yaxis.set_major_locator(ticker.FixedLocator([0, 0.5, 1]))
  panel.yaxis.set_major_formatter(ticker.PercentFormatter(1, symbol=''))
  if run['n_admitted'].max() == 0:
    panel.set_facecolor('0.93')
    text = _wrap(not_admitted(run), 26)
    panel.text(
      0.5,
      0.5,
      text,
      transform=panel.transAxes,
      ha='center',
      va='center',
      color=GREY,
      size=7,
    )
    return
  bottom = np.zeros(len(run))
  for column, label, color, hatch in KINDS:
    panel.bar(
      range(len(run)),
      run[column],
      0.78,
      bottom,
      color=color,
      hatch=hatch,
      edgecolor='white',
      linewidth=0.4,
      label=label,
    )
    bottom = bottom + run[column].to_numpy()


def _wrap(text: str, width: int) -> str:
  """A label in a figure: without empty brackets, broken at spaces."""
  text = text.replace('()', '').replace('->', '→')
  return _literal('\n'.join(textwrap.wrap(text, width, max_lines=3)))


def _literal(text: str) -> str:
  """Text whose dollar signs do not start mathematics."""
  return text.replace('$', r'\$')
