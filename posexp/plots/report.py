"""The small figures of a report, as SVG whose parts a page can find.

Drawn by matplotlib like all others; what a reader points at, a seed, an
interval or a line, becomes a group with the run and the lengths that it shows.
Colours are variables of the page, which has a light and a dark theme.
"""

import io
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import colors, figure
from matplotlib.backends import backend_svg

from posexp.claims import format as format_lib
from posexp.claims import intervals
from posexp.plots import elements, style
from posexp.plots import svg as svg_lib

# In inches, of which a browser has 96 pixels: a phone is 390 pixels wide.
WIDTH, HEIGHT = 3.7, 2.7
# Left, bottom, width and height of the panel, as shares of the figure.
PANEL = 0.15, 0.22, 0.82, 0.68
STYLE: dict[Any, Any] = style.STYLE | {
  'svg.fonttype': 'none',
  'font.size': 8,
  'axes.edgecolor': style.GREY,
  'axes.facecolor': 'none',
  'figure.facecolor': 'none',
  **dict.fromkeys(('axes.labelsize', 'xtick.labelsize', 'ytick.labelsize'), 8),
}
# Blended with white until they are this light, and with black until this dark.
LIGHT, DARK = 0.26, 0.40


class Measure(NamedTuple):
  """What a figure shows: a column of cells, a share."""

  key: str
  title: str
  axis: str
  column: str


MEASURES = (
  Measure('accuracy', 'Accuracy', 'accuracy (% of targets)', 'mean'),
  Measure('success', 'Success', 'seeds at the gate (%)', 'success'),
  Measure('order', 'Order errors', '% of targets', 'order'),
  Measure('retrieval', 'Retrieval errors', '% of targets', 'retrieval'),
)


def svg(
  measure: Measure,
  cells: pd.DataFrame,
  results: pd.DataFrame,
  looks: Mapping[str, style.Look],
  name: str,
) -> str:
  """Return one figure of a question, as an SVG element.

  Args:
    measure: what it shows.
    cells: rows a run and length, with the column of the measure and its ends.
    results: rows a seed of the same runs.
    looks: how each run is drawn, by digest.
    name: of the figure, unlike any other of the page.
  """
  cells = cells[cells['n_admitted'] > 0]
  shown = {digest: looks[digest] for digest in cells['digest'].unique()}
  column = measure.column
  with matplotlib.rc_context(STYLE | {'svg.hashsalt': name}):
    # All of these figures have the same margins, so nothing has to lay them
    # out, which takes longer than to draw: a report has hundreds.
    drawn = figure.Figure((WIDTH, HEIGHT))
    backend_svg.FigureCanvasSVG(drawn)
    panel = drawn.add_axes(PANEL)
    elements.by_length([panel], [column], measure.axis, cells, results, shown)
    panel.set_ylim(-0.02, 1.02)
    if measure.key == 'accuracy':
      elements.chance(panel, results)
    written = io.StringIO()
    drawn.savefig(written, format='svg', metadata={'Date': None})
  what = f'{measure.title} by length, as in the table of results'
  marks = _marks(column, cells, results)
  return svg_lib.element(written.getvalue(), marks, what)


def _marks(
  column: str, cells: pd.DataFrame, results: pd.DataFrame
) -> dict[str, list[str]]:
  """Return what the marks of each part of a run show, by its id."""
  ends = [f'{column}{end}' for end in elements.ENDS]
  of_seed = {'mean': 'token'}.get(column, column)
  cells = cells.sort_values('length')
  marks = _texts('mean', cells, ['length'], [column])
  marks |= _texts('interval', cells.dropna(subset=ends), ['length'], ends)
  if of_seed in results:
    admitted = results[results['admitted'].astype(bool)]
    marks |= _texts('seeds', admitted, ['length', 'seed'], [of_seed])
  return marks


def _texts(
  kind: str, rows: pd.DataFrame, places: list[str], shares: list[str]
) -> dict[str, list[str]]:
  """Return the place of each row, and its numbers in percent, by kind:run."""
  columns = [rows[place].map(str) for place in places]
  columns += [rows[share].map(format_lib.percent) for share in shares]
  texts = ['|'.join(parts) for parts in zip(*columns)]
  return {
    f'{kind}:{digest}': [texts[row] for row in rows_of_run]
    for digest, rows_of_run in rows.groupby('digest').indices.items()
  }


def themes(looks: Iterable[style.Look]) -> tuple[str, str]:
  """Return variables of the colours of runs, for a light and a dark theme."""
  light = dark = ''
  for color in sorted({colors.to_hex(look.color) for look in looks}):
    darker = _toward('black', color, lambda luminance: luminance <= DARK)
    lighter = _toward('white', color, lambda luminance: luminance >= LIGHT)
    light += f'--c{color[1:]}:{darker};'
    dark += f'--c{color[1:]}:{lighter};'
  return light, dark


def _toward(other: str, color: str, stands_out: Callable[[float], bool]) -> str:
  """Return a colour, blended until it stands out from the background."""
  blends = (style.blend(color, other, n / 20) for n in range(21))
  return colors.to_hex(next(c for c in blends if stands_out(_luminance(c))))


def _luminance(color: Any) -> float:
  """Return relative luminance, by which contrast is defined (WCAG 2)."""
  rgb = np.array(color)
  linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
  return float(linear @ (0.2126, 0.7152, 0.0722))


def with_errors(cells: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
  """Return cells of `intervals.cells` with what else the figures show."""
  summary = intervals.summarize(results)
  columns = ['chance', 'bag', 'recent', 'parent', 'name', 'scheme']
  for kind in ('order', 'retrieval'):
    columns += [f'{kind}{end}' for end in elements.ENDS]
  more = summary[['digest', 'length', *columns]]
  return cells.merge(more, on=['digest', 'length'], validate='1:1')
