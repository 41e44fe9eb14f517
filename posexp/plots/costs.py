"""The figure of costs: each scheme beside the baseline, by length."""

import math
import os
import pathlib
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import axes, figure, lines, ticker
from matplotlib.backends import backend_agg

from posexp import component
from posexp.plots import experiment

# In inches: the panels, what is left, above and below of them, between them,
# a line of the legend, and a marker.
PANEL, LEFT, TOP, BELOW, GAP = 2.0, 0.5, 0.5, 0.5, 0.42
LINE, MARKER = 0.16, 0.06
# Letters of a legend's entry at most, and letters in a line of one.
LONGEST, LETTERS = 90, 96

TITLES = {
  'train': 'training step, batch 1',
  'prefill': 'prefill, batch 1',
  'decode': 'decoding, per token',
}
# Doublings beside the first and the last length.
ASIDE = 0.5
# Above this ratio between the ends, the axis is logarithmic.
FAR = 4.0


def overview(
  table: pd.DataFrame, directory: str | os.PathLike, name: str = 'measure'
) -> list[pathlib.Path]:
  """Writes the figure as PNG and PDF; their paths."""
  return experiment.save(draw(table), directory, name)


def draw(table: pd.DataFrame) -> figure.Figure:
  """Ratios to the baseline by length with 95 % intervals, unsaved.

  A panel a quantity, a line a scheme, side by side at each length.

  Args:
    table: of one measurement, as `timings.table` gives it.
  """
  if table.empty:
    raise component.UserError('no costs to draw: the table is empty')
  quantities = [q for q in TITLES if (table['quantity'] == q).any()]
  others = table[table['scheme'] != table['baseline']]
  schemes = list(dict.fromkeys(others['scheme']))
  legend = LINE * (1 + math.ceil((1 + len(schemes)) / _across(table)))
  height = TOP + PANEL + BELOW + legend
  with matplotlib.rc_context(experiment.STYLE):
    drawn = figure.Figure((experiment.WIDTH, height))
    backend_agg.FigureCanvasAgg(drawn)
    taken = LEFT + experiment.EDGE + GAP * (len(quantities) - 1)
    wide = (experiment.WIDTH - taken) / len(quantities)
    for n, quantity in enumerate(quantities):
      left = (LEFT + n * (wide + GAP)) / experiment.WIDTH
      size = wide / experiment.WIDTH, PANEL / height
      panel = drawn.add_axes((left, (BELOW + legend) / height, *size))
      rows = others[others['quantity'] == quantity]
      _panel(panel, rows, schemes)
      panel.set_title(TITLES[quantity], loc='left')
      _scales(panel, table[table['quantity'] == quantity])
      if not n:
        panel.set_ylabel('time, as a multiple of the baseline')
    _words(drawn, table, schemes, height)
  return drawn


def _name(scheme: str) -> str:
  """A scheme in the legend: without empty brackets, and not too long."""
  name = scheme.replace('()', '')
  return name if len(name) <= LONGEST else f'{name[: LONGEST - 2]} …'


def _across(table: pd.DataFrame) -> int:
  """How many entries of the legend fit beside one another."""
  longest = max(len(_name(scheme)) for scheme in table['scheme'])
  # With each go a line, a marker and the space between two entries.
  return max(1, min(3, LETTERS // (longest + 8)))


def _look(number: int) -> dict[str, Any]:
  return {
    'color': experiment.COLORS[number % len(experiment.COLORS)],
    'marker': experiment.MARKERS[number % len(experiment.MARKERS)],
  }


def _panel(panel: axes.Axes, rows: pd.DataFrame, schemes: list[str]) -> None:
  """A line a scheme through its medians."""
  panel.axhline(1, color=experiment.GREY, lw=0.8, gid='baseline', zorder=1)
  step = _step(panel, rows, len(schemes))
  for n, scheme in enumerate(schemes):
    mine = rows[rows['scheme'] == scheme].sort_values('length')
    look = _look(n)
    x = mine['length'] * 2 ** (step * (n - (len(schemes) - 1) / 2))
    ends = mine['low'], mine['high']
    bars = panel.vlines(x, *ends, look['color'], lw=2.4, alpha=0.35)
    bars.set_gid(f'interval:{scheme}')
    panel.plot(x, mine['ratio'], **look, gid=f'ratio:{scheme}', zorder=3)


def _step(panel: axes.Axes, rows: pd.DataFrame, number: int) -> float:
  """How far apart schemes stand at a length, in doublings.

  A marker's width, or less where that would reach to the next length or out
  of the panel.
  """
  at = np.log2(np.sort(rows['length'].unique()))
  inches = panel.bbox.width / experiment.DPI
  marker = (np.ptp(at) + 2 * ASIDE) * MARKER / inches
  return min([marker, 1.6 * ASIDE / number, *(0.7 * np.diff(at) / number)])


def _scales(panel: axes.Axes, rows: pd.DataFrame) -> None:
  """Both axes with their units, and a tick at every length."""
  lengths = np.sort(rows['length'].unique())
  panel.set_xscale('log', base=2)
  panel.set_xlim(lengths[0] / 2**ASIDE, lengths[-1] * 2**ASIDE)
  panel.xaxis.set_minor_locator(ticker.NullLocator())
  panel.set_xticks(lengths, [f'{n:,}' for n in lengths])
  panel.set_xlabel('tokens')
  low, high = panel.get_ylim()
  if high / max(low, 1e-9) > FAR and rows['ratio'].max() > FAR:
    panel.set_yscale('log', base=2)
    panel.yaxis.set_minor_locator(ticker.NullLocator())
  panel.yaxis.set_major_formatter(ticker.FormatStrFormatter('%g'))
  panel.grid(axis='y')


def _words(
  drawn: figure.Figure,
  table: pd.DataFrame,
  schemes: list[str],
  height: float,
) -> None:
  where = experiment.EDGE / experiment.WIDTH, 1 - 0.16 / height
  title = 'What position costs: medians and 95% intervals of paired ratios'
  drawn.text(*where, title, size=9, weight='bold', va='center')
  shown = [lines.Line2D([], [], **_look(n)) for n in range(len(schemes))]
  names = [_name(scheme).replace('$', r'\$') for scheme in schemes]
  base = _name(table['baseline'].iloc[0]).replace('$', r'\$')
  shown.append(lines.Line2D([], [], color=experiment.GREY, lw=0.8))
  drawn.legend(
    shown,
    [*names, f'{base}, the baseline'],
    loc='lower left',
    bbox_to_anchor=(LEFT / experiment.WIDTH, 0.08 / height),
    ncols=_across(table),
    handlelength=2.6,
  )
