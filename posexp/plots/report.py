"""The small figures of a report, as SVG whose parts a page can find.

Drawn by matplotlib; what a reader points at, a seed, an interval or a line,
becomes a group with the run and the length that it shows, and with a title.
Colours are variables of the page, which has a light and a dark theme.
"""

import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import axes, colors, figure, ticker
from matplotlib.backends import backend_svg

from posexp.claims import intervals
from posexp.plots import experiment
from posexp.plots import svg as svg_lib
from posexp.plots.svg import GREY, GRID, INK

# In inches, of which a browser has 96 pixels: a phone is 390 pixels wide.
WIDTH, HEIGHT = 3.7, 2.55
LEFT, RIGHT, TOP, BOTTOM = 0.5, 0.1, 0.22, 0.55
STYLE = experiment.STYLE | {
  'svg.fonttype': 'none',
  'font.family': 'sans-serif',
  'font.size': 8,
  **dict.fromkeys(('xtick.labelsize', 'ytick.labelsize'), 8),
  **dict.fromkeys(
    ('text.color', 'axes.labelcolor', 'xtick.color', 'ytick.color'), INK
  ),
  'axes.edgecolor': GREY,
  'axes.facecolor': 'none',
  'grid.color': GRID,
}
# Blended with white until they are this light, and with black until this dark.
LIGHT, DARK = 0.26, 0.40


class Measure(NamedTuple):
  """What a figure shows: columns of cells, and a column of results or ''."""

  key: str
  title: str
  axis: str
  column: str
  seeds: str


ACCURACY = Measure(
  'accuracy', 'Accuracy', '% of targets right', 'mean', 'token'
)
SUCCESS = Measure('success', 'Success', '% of seeds at the gate', 'success', '')
ORDER = Measure('order', 'Order errors', '% of targets', 'order', 'order')
RETRIEVAL = Measure(
  'retrieval', 'Retrieval errors', '% of targets', 'retrieval', 'retrieval'
)
MEASURES = ACCURACY, SUCCESS, ORDER, RETRIEVAL


def svg(
  measure: Measure,
  cells: pd.DataFrame,
  results: pd.DataFrame,
  looks: Mapping[str, experiment.Look],
  name: str,
) -> str:
  """One figure of a question, as an SVG element.

  Args:
    measure: what it shows.
    cells: rows a run and length, with the column of the measure and its ends.
    results: rows a seed of the same runs.
    looks: how each run is drawn, by digest.
    name: of the figure, unlike any other of the page.
  """
  with matplotlib.rc_context(STYLE | {'svg.hashsalt': name}):
    drawn = figure.Figure((WIDTH, HEIGHT), facecolor='none')
    backend_svg.FigureCanvasSVG(drawn)
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    panel = drawn.add_axes(
      (LEFT / WIDTH, BOTTOM / HEIGHT, wide / WIDTH, high / HEIGHT)
    )
    _scales(panel, measure, cells)
    parts = dict(_runs(panel, measure, cells, results, looks))
    written = io.StringIO()
    drawn.savefig(written, format='svg', metadata={'Date': None})
  what = f'{measure.title} by length, as in the table of results'
  return svg_lib.element(written.getvalue(), parts, what)


def _scales(panel: axes.Axes, measure: Measure, cells: pd.DataFrame) -> None:
  """Both axes with their units, the trained length marked."""
  lengths = np.sort(cells['length'].unique())
  trained = cells['trained_length'].iloc[0]
  ends = min(lengths[0], trained), max(lengths[-1], trained)
  panel.set_xscale('log', base=2)
  panel.set_xlim(ends[0] / 2**0.3, ends[1] * 2**0.3)
  panel.xaxis.set_minor_locator(ticker.NullLocator())
  panel.set_xticks(lengths, _spread(lengths, panel.get_xlim()))
  panel.set_xlabel('sequence length (tokens)')
  panel.set_ylim(-0.02, 1.04)
  panel.yaxis.set_major_formatter(ticker.PercentFormatter(1, symbol=''))
  panel.set_ylabel(measure.axis)
  panel.grid(axis='y')
  panel.axvline(trained, color=GREY, lw=0.8, zorder=1)
  panel.text(
    trained,
    1.02,
    f'trained at {trained}',
    color=GREY,
    ha='left' if trained <= lengths[len(lengths) // 2] else 'right',
    transform=panel.get_xaxis_transform(),
  )
  if measure is ACCURACY and cells['chance'].notna().all():
    chance = cells.drop_duplicates('length').sort_values('length')
    panel.plot(
      chance['length'], chance['chance'], ':', color=GREY, lw=1, zorder=1
    )
    panel.text(
      ends[0] / 2**0.28,
      chance['chance'].iloc[0],
      'chance',
      color=GREY,
      va='bottom',
    )


def _spread(lengths: np.ndarray, ends: tuple[float, float]) -> list[str]:
  """Names of ticks, some left out where they would meet."""
  inches = WIDTH - LEFT - RIGHT
  at = np.log2(lengths / ends[0]) / np.log2(ends[1] / ends[0]) * inches
  kept: list[int] = []
  for i in (0, len(lengths) - 1, *range(len(lengths))):
    need = 0.075 * (len(str(lengths[i])) + 1)
    if all(abs(at[i] - at[k]) >= need for k in kept):
      kept.append(i)
  return [str(n) if i in kept else '' for i, n in enumerate(lengths)]


def _runs(
  panel: axes.Axes,
  measure: Measure,
  cells: pd.DataFrame,
  results: pd.DataFrame,
  looks: Mapping[str, experiment.Look],
) -> Iterator[tuple[str, list[str]]]:
  """Draws every admitted run; what the marks of each part of it show."""
  shown = cells[cells['n_admitted'] > 0]
  runs = dict(list(shown.groupby('digest', sort=False)))
  admitted = results[results['admitted'].astype(bool)]
  seeds = dict(list(admitted.groupby('digest', sort=False)))
  octaves = np.diff(np.log2(np.sort(cells['length'].unique())))
  step = min([0.06, *(octaves / (2 * max(1, len(runs))))])
  for place, (key, run) in enumerate(runs.items()):
    digest = str(key)
    look = looks[digest]
    shift = 2 ** (step * (place - (len(runs) - 1) / 2))
    y = run[measure.column]
    panel.plot(
      run['length'] * shift, y, **look._asdict(), gid=f'line:{digest}', zorder=3
    )
    yield f'line:{digest}', _texts(run['length'], y)
    ends = [run[f'{measure.column}{end}'] for end in ('_low', '_high')]
    some = np.isfinite(np.array(ends)).all(axis=0).tolist()
    x, low, high = (v[some] for v in (run['length'] * shift, *ends))
    if any(some):
      bars = panel.vlines(x, low, high, look.color, lw=2.4, alpha=0.35)
      bars.set_gid(f'interval:{digest}')
      yield (
        f'interval:{digest}',
        _texts(run['length'][some], y[some], low, high),
      )
    if measure.seeds:
      mine = seeds[digest]
      points = look._replace(marker='o', linestyle='none')._asdict()
      points |= {'markersize': 2.6, 'gid': f'seed:{digest}', 'zorder': 4}
      panel.plot(mine['length'] * shift, mine[measure.seeds], **points)
      at = [f'{n}|{s}' for n, s in zip(mine['length'], mine['seed'])]
      yield f'seed:{digest}', _texts(at, mine[measure.seeds])


def _texts(at: Iterable[Any], *shares: Iterable[float]) -> list[str]:
  """What marks show: the place, then numbers in percent."""
  return [
    '|'.join([str(place), *(f'{100 * value:.1f}' for value in values)])
    for place, *values in zip(at, *shares)
  ]


def themes(looks: Iterable[experiment.Look]) -> tuple[str, str]:
  """Variables of the colours of runs, in a light and in a dark theme."""
  each = sorted({colors.to_hex(look.color) for look in looks})
  light = ''.join(f'--c{c[1:]}:{_toward(c, "black", DARK)};' for c in each)
  dark = ''.join(f'--c{c[1:]}:{_toward(c, "white", LIGHT)};' for c in each)
  return light, dark


def _toward(color: str, other: str, edge: float) -> str:
  """A colour, blended until it stands out from the theme's background."""
  one, two = np.array(colors.to_rgb(color)), np.array(colors.to_rgb(other))
  for share in np.linspace(0, 1, 21):
    mixed = (1 - share) * one + share * two
    light = _luminance(mixed)
    if light >= edge if other == 'white' else light <= edge:
      break
  return colors.to_hex(mixed)


def _luminance(rgb: np.ndarray) -> float:
  """Relative luminance, as contrast is defined by (WCAG 2)."""
  linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
  return float(linear @ (0.2126, 0.7152, 0.0722))


def with_errors(cells: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
  """Cells of `inference.cells` with what else the figures show."""
  summary = intervals.summarize(results)
  columns = ['chance', 'bag', 'recent', 'parent', 'name', 'scheme']
  for measure in (ORDER, RETRIEVAL):
    columns += [f'{measure.column}{end}' for end in ('', '_low', '_high')]
  more = summary[['digest', 'length', *columns]]
  return cells.merge(more, on=['digest', 'length'], validate='1:1')
