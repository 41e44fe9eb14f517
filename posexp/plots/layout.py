"""Figures of several panels that share one legend, below them."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib import axes, figure
from matplotlib.backends import backend_agg

from posexp.plots import style

# In inches: a panel with its title and labels, a line of text, and what an
# entry of the legend has beside its letters.
HEIGHT, LINE, KEY = 2.1, 0.125, 0.6
# In a row of the legend at most.
ENTRIES = 3


def panels(
  titles: Sequence[str],
  keys: Sequence[Any] = (),
  *,
  across: int = 2,
  height: float = HEIGHT,
  width: float = style.WIDTH,
  **shared: Any,
) -> tuple[figure.Figure, list[axes.Axes]]:
  """Return a figure with a panel for each title, and a legend below.

  Args:
    titles: of the panels, row by row.
    keys: the handles of the legend, each with its label.
    across: panels in a row, if there are so many.
    height: of a row of panels, in inches.
    width: of the figure, in inches.
    **shared: sharex and sharey, as of `Figure.subplots`: the same ends in all
      panels, so that they can be compared.
  """
  across = min(across, len(titles))
  entries = _entries(keys, width) if keys else 1
  legend = legend_height(keys, entries) if keys else 0.0
  drawn = blank(width, math.ceil(len(titles) / across) * height + legend)
  made = grid(drawn, titles, across, **shared)
  if keys:
    drawn.legend(
      handles=list(keys),
      loc='outside lower left',
      ncols=entries,
      alignment='left',
    )
  return drawn, made


def blank(width: float, height: float) -> figure.Figure:
  """Return an empty figure that needs no display; sizes in inches."""
  drawn = figure.Figure((width, height), layout='constrained')
  backend_agg.FigureCanvasAgg(drawn)
  pad = 0.06
  drawn.get_layout_engine().set(w_pad=pad, h_pad=pad)  # type: ignore[union-attr, call-arg]
  return drawn


def grid(
  part: figure.FigureBase, titles: Sequence[str], across: int, **shared: Any
) -> list[axes.Axes]:
  """Return panels with titles; each has its ticks named, shared or not."""
  rows = math.ceil(len(titles) / across)
  made = part.subplots(rows, across, squeeze=False, **shared).flatten()
  panels = list(made[: len(titles)])
  for panel in made[len(titles) :]:
    panel.remove()
  for panel, title in zip(panels, titles):
    panel.set_title(title, loc='left')
    panel.tick_params(labelbottom=True)
  return panels


def ylabel(panels: Sequence[axes.Axes], label: str) -> None:
  """Label the y axes of the panels that are first in their rows."""
  for panel in panels:
    place = panel.get_subplotspec()
    if place is None or place.is_first_col():
      panel.set_ylabel(label)


def title(part: figure.FigureBase, text: str) -> None:
  """Set the title of a figure, or of a part of it, at its left edge."""
  part.suptitle(text, x=0.01, ha='left', size=9, weight='bold')


def legend_height(keys: Sequence[Any], entries: int = 1) -> float:
  """Return about how high a legend is, in inches, with entries in a row."""
  lines = [str(key.get_label()).count('\n') + 1 for key in keys]
  rows = math.ceil(len(keys) / entries)
  # Legends are filled column by column.
  columns = [lines[n : n + rows] for n in range(0, len(lines), rows)]
  return max(LINE * sum(c) + 0.05 * len(c) for c in columns) + 0.1


def _entries(keys: Sequence[Any], width: float) -> int:
  """Return how many entries of a legend fit in a row."""
  labels = '\n'.join(str(key.get_label()) for key in keys)
  longest = max(map(len, labels.split('\n')))
  most = int(width / (KEY + longest * style.LETTER))
  return max(1, min(ENTRIES, most, len(keys)))
