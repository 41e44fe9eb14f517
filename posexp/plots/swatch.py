"""A run's line and marker as a legend has them, as SVG for a page."""

import io
from typing import Any

import matplotlib
from matplotlib import figure, lines
from matplotlib.backends import backend_svg

from posexp.plots import svg as svg_lib

WIDTH, HEIGHT = 28, 12  # In points.


def svg(look: Any) -> str:
  """Return the SVG of how a run is drawn, which a page shows beside its name.

  Args:
    look: as `posexp.plots` gives it for each run, with matplotlib's names.
  """
  style = look._asdict()
  drawn = figure.Figure((WIDTH / 72, HEIGHT / 72), facecolor='none')
  backend_svg.FigureCanvasSVG(drawn)
  drawn.add_artist(
    lines.Line2D([0, 0.5, 1], [0.5] * 3, markevery=[1], markersize=6, **style)
  )
  written = io.StringIO()
  with matplotlib.rc_context({'svg.hashsalt': f'swatch {style}'}):
    drawn.savefig(written, format='svg', metadata={'Date': None})
  return svg_lib.element(written.getvalue(), {}, '')
