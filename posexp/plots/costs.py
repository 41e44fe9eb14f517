"""The figure of costs: each scheme beside the baseline, by length."""

import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import axes, figure, lines, ticker

from posexp import component
from posexp.claims import format as format_lib
from posexp.claims import timings
from posexp.plots import elements, layout, paper, style

TITLES = {
  'train': 'training step, batch 1',
  'prefill': 'prefill, batch 1',
  'decode': 'decoding, per token',
}
# Above this ratio between the ends, the axis is logarithmic.
FAR = 4.0


def overview(
  table: pd.DataFrame, directory: str | os.PathLike, name: str = 'measure'
) -> list[pathlib.Path]:
  """Write the figure as PNG and PDF, and return their paths."""
  return paper.save(draw(table), directory, name)


def cost(body: dict[str, Any]) -> paper.Plate:
  """Draw the time of schemes as a multiple of a baseline's, by length.

  Args:
    body: of one measurement, as `cost_records.read` gives it.
  """
  table = timings.table(body)
  others = table[table['scheme'] != table['baseline']]
  return paper.Plate(
    'cost',
    draw(table),
    paper.table(_numbers(others)),
    f'Time as a multiple of {table["baseline"].iloc[0]}: medians of '
    f'{paper.span(others["rounds"])} rounds in turns, with distribution-free '
    '95 % intervals.',
    (f'measured {body["measured"]}',),
  )


def _numbers(others: pd.DataFrame) -> Iterator[tuple[str, str, str]]:
  for row in others.to_dict('records'):
    ends = row['ratio'], row['low'], row['high']
    text = format_lib.bracketed(*ends, format_lib.number)
    yield row['scheme'], f'{row["quantity"]}, {row["length"]:,}', text


@style.styled
def draw(table: pd.DataFrame) -> figure.Figure:
  """Return the figure: ratios to the baseline with 95 % intervals.

  A panel a quantity, a line a scheme, side by side at each length.

  Args:
    table: of one measurement, as `timings.table` gives it.
  """
  if table.empty:
    raise component.UserError('no costs to draw: the table is empty')
  quantities = [q for q in TITLES if (table['quantity'] == q).any()]
  others = table[table['scheme'] != table['baseline']]
  looks = style.numbered(others['scheme'])
  baseline = f'{style.wrap(table["baseline"].iloc[0], 40)}, the baseline'
  drawn, panels = layout.panels(
    [TITLES[quantity] for quantity in quantities],
    [
      *style.keys(looks, {scheme: scheme for scheme in looks}),
      lines.Line2D([], [], color=style.GREY, lw=0.8, label=baseline),
    ],
    across=3,
    height=2.4,
  )
  layout.title(
    drawn,
    'What position costs: medians and 95% intervals of paired ratios',
  )
  for panel, quantity in zip(panels, quantities):
    _panel(panel, others[others['quantity'] == quantity], looks)
  panels[0].set_ylabel('time, as a multiple of the baseline')
  return drawn


def _panel(panel: axes.Axes, rows: pd.DataFrame, looks: style.Looks) -> None:
  lengths = np.unique(rows['length'])
  elements.token_axis(panel, 'tokens')
  panel.set_xlim(lengths[0] / 2**0.5, lengths[-1] * 2**0.5)
  elements.ticks(panel, lengths, [f'{n:,}' for n in lengths])
  panel.axhline(1, color=style.GREY, lw=0.8, gid='baseline', zorder=1)
  rows = rows.rename(columns={'low': 'ratio_low', 'high': 'ratio_high'})
  elements.curves(panel, rows, 'ratio', looks, by='scheme')
  low, high = panel.get_ylim()
  if high / max(low, 1e-9) > FAR and rows['ratio'].max() > FAR:
    panel.set_yscale('log', base=2)
    panel.yaxis.set_minor_locator(ticker.NullLocator())
  panel.yaxis.set_major_formatter(ticker.FormatStrFormatter('%g'))
  panel.grid(axis='y')
