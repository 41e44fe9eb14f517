"""The small figures of a report: SVG as matplotlib writes it, for a page.

The script of the page finds the parts of a run by their ids, which are those of
`curves.Curves` after the name of the figure, and what they show in `Figure`.
"""

import io
from collections.abc import Mapping
from typing import Any, NamedTuple

import matplotlib
import pandas as pd
from matplotlib import figure as figure_lib
from matplotlib import lines
from matplotlib.backends import backend_svg

from posexp.claims import format as format_lib
from posexp.plots import curves, elements, style

# In inches, of which a browser has 96 pixels: a phone is 390 pixels wide.
WIDTH, HEIGHT = 3.7, 2.7
# Left, bottom, width and height of the panel, as shares of the figure.
PANEL = 0.15, 0.22, 0.82, 0.68
STYLE: dict[Any, Any] = style.STYLE | {
  'svg.fonttype': 'none',
  'font.size': 8,
  'axes.facecolor': 'none',
  'figure.facecolor': 'none',
  **dict.fromkeys(('axes.labelsize', 'xtick.labelsize', 'ytick.labelsize'), 8),
}
# Nothing of when and with what it was drawn: the same every time.
UNSAID = dict.fromkeys(('Creator', 'Date', 'Format', 'Type'))


class Measure(NamedTuple):
  """What a figure shows: a column of cells, a share."""

  title: str
  axis: str
  column: str


MEASURES = (
  Measure('Accuracy', 'accuracy (% of targets)', 'token'),
  Measure('Success', 'seeds at the gate (%)', 'success'),
  Measure('Order errors', '% of targets', 'order'),
  Measure('Retrieval errors', '% of targets', 'retrieval'),
)


class Figure(NamedTuple):
  """An SVG, and what each mark of its parts shows.

  Attributes:
    name: what its ids begin with.
    svg: one element.
    marks: by kind and run, such as 'seeds:RUN': a text for each mark in the
      order drawn, of a length in tokens and its numbers in percent; of a seed
      its number as well, before the others. With `|` between them.
  """

  name: str
  svg: str
  marks: dict[str, list[str]]


def draw(
  measure: Measure,
  cells: pd.DataFrame,
  results: pd.DataFrame,
  looks: Mapping[str, style.Look],
  name: str,
) -> Figure:
  """Return one figure of a question.

  Args:
    measure: what it shows.
    cells: rows a run and length, with the column of the measure and its ends.
    results: rows a seed of the same runs.
    looks: how each run is drawn, by digest.
    name: of the figure, unlike any other of the page.
  """
  cells = cells.dropna(subset=[measure.column])
  admitted = results[results['admitted'].astype(bool)]
  shown = {digest: looks[digest] for digest in cells['digest'].unique()}
  titles = {measure.column: ''}
  means = curves.tidy(cells, titles).sort_values('x', kind='stable')
  seeds = None
  if measure.column in admitted:
    seeds = curves.tidy(admitted, titles)
  # All of these figures have the same margins, so nothing has to lay them
  # out, which takes longer than to draw: a report has hundreds.
  with matplotlib.rc_context(STYLE):
    drawn = figure_lib.Figure((WIDTH, HEIGHT))
    panel = drawn.add_axes(PANEL)
    trained = results['trained_length'].iloc[0]
    elements.length_axis(panel, results['length'], trained)
    curves.Curves(means, shown, {}, seeds).panel(panel)
    elements.share_axes([panel], measure.axis)
    panel.set_ylim(-0.02, 1.02)
    if measure.column == 'token':
      elements.chance(panel, results)
    element = svg(drawn, name)
  marks = _marks('mean', means, ['x'], ['value'])
  marks |= _marks('interval', means, ['x'], curves.VALUES)
  if seeds is not None:
    marks |= _marks('seeds', seeds, ['x', 'seed'], ['value'])
  return Figure(name, element, marks)


def svg(drawn: figure_lib.Figure, name: str) -> str:
  """Return a figure as an element whose ids begin with its name."""
  backend_svg.FigureCanvasSVG(drawn)
  for part in drawn.findobj(lambda artist: bool(artist.get_gid())):
    part.set_gid(f'{name}:{part.get_gid()}')
  written = io.StringIO()
  with matplotlib.rc_context(STYLE | {'svg.hashsalt': name}):
    drawn.savefig(written, format='svg', metadata=UNSAID)
  text = written.getvalue()
  return text[text.index('<svg') :]


def swatch(look: style.Look, name: str) -> str:
  """Return a run's line and marker as a legend has them, as SVG."""
  drawn = figure_lib.Figure((28 / 72, 12 / 72), facecolor='none')
  how = look._asdict() | {'markevery': [1], 'markersize': 6}
  drawn.add_artist(lines.Line2D([0, 0.5, 1], [0.5] * 3, **how))
  return svg(drawn, name)


def _marks(
  kind: str, rows: pd.DataFrame, places: list[str], shares: list[str]
) -> dict[str, list[str]]:
  """Return what the marks of a kind show, by kind and run.

  What is not a number has no mark.
  """
  rows = rows.dropna(subset=shares)
  columns = [rows[place].map(str) for place in places]
  columns += [rows[share].map(format_lib.percent) for share in shares]
  texts = ['|'.join(parts) for parts in zip(*columns)]
  return {
    f'{kind}:{run}': [texts[row] for row in rows_of_run]
    for run, rows_of_run in rows.groupby('run').indices.items()
  }
