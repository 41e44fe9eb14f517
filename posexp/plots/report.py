"""The small figures of a report, as SVG whose parts a page can find.

Drawn by matplotlib like all others; what a reader points at, a seed, an
interval or a line, becomes a group with the run and the lengths that it shows.
Colours are variables of the page, which has a light and a dark theme.
"""

import io
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import colors

from posexp.claims import format as format_lib
from posexp.claims import intervals
from posexp.plots import elements, layout, style
from posexp.plots import svg as svg_lib

# In inches, of which a browser has 96 pixels: a phone is 390 pixels wide.
WIDTH, HEIGHT = 3.7, 2.7
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
  """What a figure shows: a column of cells, and one of results or ''."""

  key: str
  title: str
  axis: str
  column: str
  seeds: str


ACCURACY = Measure(
  'accuracy', 'Accuracy', 'accuracy (% of targets)', 'mean', 'token'
)
SUCCESS = Measure('success', 'Success', 'seeds at the gate (%)', 'success', '')
ORDER = Measure('order', 'Order errors', '% of targets', 'order', 'order')
RETRIEVAL = Measure(
  'retrieval', 'Retrieval errors', '% of targets', 'retrieval', 'retrieval'
)
MEASURES = ACCURACY, SUCCESS, ORDER, RETRIEVAL


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
  admitted = results[results['admitted'].astype(bool)]
  shown = {digest: looks[digest] for digest in cells['digest'].unique()}
  column = measure.column
  with matplotlib.rc_context(STYLE | {'svg.hashsalt': name}):
    drawn = layout.blank(WIDTH, HEIGHT)
    panel = drawn.subplots()
    if measure is ACCURACY:
      elements.accuracy(panel, cells, results, shown, column)
    else:
      trained = results['trained_length'].iloc[0]
      elements.length_axis(panel, results['length'], trained)
      seeds = admitted if measure.seeds else None
      elements.curves(panel, cells, column, shown, seeds=seeds)
      panel.set_ylim(-0.02, 1.04)
      elements.share_axes([panel], measure.axis)
    written = io.StringIO()
    drawn.savefig(written, format='svg', metadata={'Date': None})
  marks: dict[str, list[str]] = {}
  for digest in shown:
    run = cells[cells['digest'] == digest].sort_values('length')
    ends = [f'{column}_low', f'{column}_high']
    marks[f'mean:{digest}'] = _texts(run, ['length'], [column])
    known = run.dropna(subset=ends)
    marks[f'interval:{digest}'] = _texts(known, ['length'], [column, *ends])
    if measure.seeds:
      each = admitted[admitted['digest'] == digest]
      marks[f'seeds:{digest}'] = _texts(
        each, ['length', 'seed'], [measure.seeds]
      )
  what = f'{measure.title} by length, as in the table of results'
  return svg_lib.element(written.getvalue(), marks, what)


def _texts(
  rows: pd.DataFrame, places: list[str], shares: list[str]
) -> list[str]:
  """Return what each mark shows: its place, then numbers in percent."""
  return [
    '|'.join(
      [
        *(str(row[place]) for place in places),
        *(format_lib.percent(row[share]) for share in shares),
      ]
    )
    for row in rows.to_dict('records')
  ]


def themes(looks: Iterable[style.Look]) -> tuple[str, str]:
  """Return variables of the colours of runs, for a light and a dark theme."""
  each = sorted({colors.to_hex(look.color) for look in looks})
  light = {c: _toward(c, 'black', lambda found: found <= DARK) for c in each}
  dark = {c: _toward(c, 'white', lambda found: found >= LIGHT) for c in each}
  variables = [
    ''.join(f'--c{color[1:]}:{mixed};' for color, mixed in theme.items())
    for theme in (light, dark)
  ]
  return variables[0], variables[1]


def _toward(color: str, other: str, stands_out: Any) -> str:
  """Return a colour, blended until it stands out from the background."""
  for share in np.linspace(0, 1, 21):
    mixed = style.blend(color, other, share)
    if stands_out(_luminance(np.array(mixed))):
      break
  return colors.to_hex(mixed)


def _luminance(rgb: np.ndarray) -> float:
  """Return relative luminance, by which contrast is defined (WCAG 2)."""
  linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
  return float(linear @ (0.2126, 0.7152, 0.0722))


def with_errors(cells: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
  """Return cells of `seed_spread.cells` with what else the figures show."""
  summary = intervals.summarize(results)
  columns = ['chance', 'bag', 'recent', 'parent', 'name', 'scheme']
  for measure in (ORDER, RETRIEVAL):
    columns += [f'{measure.column}{end}' for end in elements.ENDS]
  more = summary[['digest', 'length', *columns]]
  return cells.merge(more, on=['digest', 'length'], validate='1:1')
