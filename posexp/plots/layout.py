"""Figures of several panels that share one legend, below them."""

import io
import math
from collections.abc import Sequence
from typing import Any

from matplotlib import axes, figure
from matplotlib.backends import backend_agg

from posexp.plots import experiment

# In inches: the height of a panel, the space above, below, left and between,
# a line of the legend, and the space between two entries.
PANEL, TOP, BELOW, LEFT, GAP, LINE, SPACE = (
  2.1,
  0.3,
  0.45,
  0.5,
  0.35,
  0.12,
  0.05,
)
# What an entry of the legend has beside its letters: its line, and a space.
KEY = 0.6
# In a row of the legend at most.
ENTRIES = 3


def frame(
  titles: Sequence[str],
  keys: Sequence[Any],
  *,
  left: float = LEFT,
  panel: float = PANEL,
  across: int = 2,
  width: float = experiment.WIDTH,
  below: float = BELOW,
  gap: float | None = None,
) -> tuple[figure.Figure, list[axes.Axes]]:
  """A figure with a panel a title, and a legend below.

  Args:
    titles: of the panels, row by row.
    keys: the handles of the legend, each with its label.
    left: of the panels, in inches, as are
    panel: their height,
    width: of the figure, and
    below: the space for ticks and their label, and
    gap: between two panels.
    across: panels in a row, if there are so many.
  """
  across = min(across, len(titles))
  rows, high = math.ceil(len(titles) / across), TOP + panel + below
  entries, legend = _legend(keys, width)
  height = rows * high + legend
  drawn = figure.Figure((width, height))
  backend_agg.FigureCanvasAgg(drawn)
  if gap is None:
    gap = left if left > LEFT else GAP
  wide = (width - left - experiment.EDGE - gap * (across - 1)) / across
  spots = []
  for n, title in enumerate(titles):
    row, column = divmod(n, across)
    x = (left + column * (wide + gap)) / width
    y = 1 - (row * high + TOP + panel) / height
    spot = drawn.add_axes((x, y, wide / width, panel / height))
    spot.set_title(title, loc='left')
    spots.append(spot)
  if keys:
    place = (min(left, LEFT) / width, 0.05 / height)
    drawn.legend(
      handles=list(keys), loc='lower left', bbox_to_anchor=place, ncols=entries
    )
  return drawn, spots


def _legend(keys: Sequence[Any], width: float) -> tuple[int, float]:
  """Entries in a row, and the height of them all."""
  if not keys:
    return 1, 0.0
  lines = [str(key.get_label()).split('\n') for key in keys]
  longest = max(len(line) for label in lines for line in label)
  entries = int((width - LEFT) / (KEY + longest * experiment.LETTER))
  entries = max(1, min(ENTRIES, entries, len(keys)))
  rows = math.ceil(len(keys) / entries)
  # Legends are filled column by column.
  columns = [lines[n : n + rows] for n in range(0, len(lines), rows)]
  most = max(
    sum(LINE * len(label) + SPACE for label in column) for column in columns
  )
  return entries, most + 0.14


def alike(spots: Sequence[axes.Axes], axis: str) -> None:
  """The same ends in all panels, so that they can be compared."""
  get, put = f'get_{axis}lim', f'set_{axis}lim'
  ends = [getattr(spot, get)() for spot in spots]
  for spot in spots:
    getattr(spot, put)(min(e[0] for e in ends), max(e[1] for e in ends))


def png(drawn: figure.Figure) -> bytes:
  """A figure as the bytes of a PNG file."""
  packed = io.BytesIO()
  drawn.savefig(packed, format='png', metadata={'Software': None})
  return packed.getvalue()
