"""What figures are made of: the length axis, its marks, and curves."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import axes, ticker

from posexp.claims import intervals
from posexp.plots import layout, style

# Of a column's name: its mean, and the ends of its interval.
ENDS = ('', '_low', '_high')


class Names(ticker.Formatter):
  """Names of ticks, some left out where they would meet, the ends first."""

  def __init__(self, names: Sequence[str]):
    self.names = list(names)
    letters = max(len(line) for name in names for line in name.split('\n'))
    size = matplotlib.rcParams['xtick.labelsize'] / 7
    self.need = (letters + 0.7) * style.LETTER * size

  def format_ticks(self, values: Any) -> list[str]:
    """Return the name of each tick, '' where there is no room for it."""
    panel = self.axis.axes  # type: ignore[union-attr]
    places = [(value, 1) for value in values]
    across = panel.transData.transform(places)[:, 0] / panel.figure.dpi
    kept: list[int] = []
    for i in (0, len(self.names) - 1, *range(len(self.names))):
      if all(abs(across[i] - across[k]) >= self.need for k in kept):
        kept.append(i)
    return [name * (i in kept) for i, name in enumerate(self.names)]


def ticks(panel: axes.Axes, places: Any, names: Sequence[str]) -> None:
  """Set a tick at every place, named where there is room."""
  panel.xaxis.set_major_locator(ticker.FixedLocator(places))
  panel.xaxis.set_major_formatter(Names(names))


def length_axis(panel: axes.Axes, lengths: Any, trained: int) -> None:
  """Make the axis of sequence lengths, in tokens and trained lengths.

  Args:
    panel: the panel.
    lengths: all that are shown.
    trained: the trained length, which is marked and named.
  """
  lengths = np.unique(lengths)
  ends = min(lengths[0], trained), max(lengths[-1], trained)
  token_axis(panel, 'sequence length (tokens, × trained length)')
  panel.set_xlim(ends[0] / 2**0.3, ends[1] * 2**0.3)
  ticks(panel, lengths, [f'{n:,}\n{n / trained:.3g}×' for n in lengths])
  mark(panel, {trained: f'trained at {trained:,} tokens'})


def token_axis(panel: axes.Axes, label: str) -> None:
  """Make a logarithmic axis of tokens: of lengths, of distances."""
  panel.set_xscale('log', base=2)
  panel.xaxis.set_minor_locator(ticker.NullLocator())
  panel.xaxis.set_major_formatter(ticker.StrMethodFormatter('{x:,g}'))
  panel.set_xlabel(label)


def mark(panel: axes.Axes, lengths: Mapping[int, str]) -> None:
  """Draw a grey line at each length of an axis, with its name above."""
  for length, name in lengths.items():
    panel.axvline(length, color=style.GREY, lw=0.8, gid='trained', zorder=1)
    place = panel.transData.transform((length, 1))
    across = panel.transAxes.inverted().transform(place)[0]
    panel.annotate(
      name,
      (length, 1),
      xycoords=('data', 'axes fraction'),
      xytext=(0, 2),
      textcoords='offset points',
      ha='left' if across <= 0.5 else 'right',
      color=style.GREY,
    )
  if title := panel.get_title(loc='left'):
    panel.set_title(title, loc='left', pad=12)  # Above the names.


def mark_heights(panel: axes.Axes, lengths: Mapping[int, str]) -> None:
  """Draw a grey line at each length of a y axis, with its name at its end."""
  for length, name in lengths.items():
    panel.axhline(length, color=style.GREY, lw=0.8, zorder=1)
    panel.text(
      1,
      length,
      name,
      color=style.GREY,
      ha='right',
      va='bottom',
      transform=panel.get_yaxis_transform(),
    )


def percent(axis: Any) -> None:
  """Show shares as numbers of percent."""
  axis.set_major_formatter(lambda share, _: f'{100 * share:.4g}')


def share_axes(panels: Sequence[axes.Axes], label: str) -> None:
  """Make y axes of shares in percent, which go no further than these."""
  for panel in panels:
    low, high = panel.get_ylim()
    panel.set_ylim(max(-0.02, low), min(1.02, max(high, 0.1)))
    percent(panel.yaxis)
    panel.grid(axis='y')
  layout.ylabel(panels, label)


def by_length(
  panels: Sequence[axes.Axes],
  columns: Sequence[str],
  label: str,
  cells: pd.DataFrame,
  results: pd.DataFrame,
  looks: style.Looks,
) -> None:
  """Draw shares by sequence length, a column of cells in each panel.

  Args:
    panels: a panel a column.
    columns: of shares, with their ends _low and _high.
    label: of the y axis.
    cells: rows a run and length.
    results: a table as `records.load` gives it, of these runs; admitted seeds
      are points where it has the column.
    looks: of the runs to draw.
  """
  trained = results['trained_length'].iloc[0]
  # What cells call the mean is token accuracy.
  seeds = results[results['admitted'].astype(bool)]
  seeds = seeds.assign(mean=seeds['token'])
  for panel, column in zip(panels, columns):
    length_axis(panel, results['length'], trained)
    points = seeds if column in seeds else None
    curves(panel, cells, column, looks, seeds=points)
  share_axes(panels, label)


def chance(panel: axes.Axes, results: pd.DataFrame) -> None:
  """Draw what guessing scores by length, dotted and named, if it is known."""
  at = results.drop_duplicates('length').sort_values('length')
  y = at['chance'].to_numpy()
  if np.isfinite(y).all():
    left, right = panel.get_xlim()
    x, y = np.r_[left, at['length'], right], np.r_[y[0], y, y[-1]]
    panel.plot(x, y, ':', color=style.GREY, lw=1, gid='chance', zorder=1)
    panel.text(left, y[0], ' chance', va='bottom', color=style.GREY)
    low = np.floor(10 * min(panel.get_ylim()[0], y.min() - 0.02)) / 10
    panel.set_ylim(max(-0.02, low), 1.02)


def accuracy(
  panel: axes.Axes,
  cells: pd.DataFrame,
  results: pd.DataFrame,
  looks: style.Looks,
) -> None:
  """Draw accuracy by length as `by_length` does, and chance."""
  label = 'accuracy (% of targets)'
  by_length([panel], ['token'], label, cells, results, looks)
  chance(panel, results)


def curves(
  panel: axes.Axes,
  cells: pd.DataFrame,
  column: str,
  looks: style.Looks,
  *,
  x: str = 'length',
  by: str = 'digest',
  seeds: pd.DataFrame | None = None,
  step: float = 0.06,
) -> None:
  """Draw a line for each run with intervals, and its seeds as points.

  Runs stand side by side at each place, so that they can be told apart. The
  parts of a run have the ids `mean:`, `interval:` and `seeds:` with its name.

  Args:
    panel: the panel, with its scales set.
    cells: rows a run and place, with the column and its ends _low and _high.
    column: what is shown.
    looks: of the runs to draw, from left to right.
    x: the column of places.
    by: the column that names the run.
    seeds: rows a run, place and seed; none are drawn without.
    step: between two runs, in octaves of a logarithmic axis, or in its units;
      less where there is no room.
  """
  logarithmic = panel.get_xscale() == 'log'
  places = np.unique(cells[x].to_numpy(np.float64))
  gaps = np.diff(np.log2(places) if logarithmic else places)
  step = min([step, *(0.5 * gaps / max(1, len(looks)))])
  low, high = f'{column}_low', f'{column}_high'
  runs = _by_run(cells.sort_values(x), by, [x, column, low, high])
  points = {} if seeds is None else _by_run(seeds, by, [x, column])
  for number, (run, look) in enumerate(looks.items()):
    if run not in runs:
      continue
    shift = step * (number - (len(looks) - 1) / 2)
    factor, term = (2**shift, 0.0) if logarithmic else (1.0, shift)
    across, heights, lows, highs = runs[run]
    across = across * factor + term
    known = np.isfinite(lows) & np.isfinite(highs)
    panel.vlines(
      across[known],
      lows[known],
      highs[known],
      look.color,
      lw=2.4,
      alpha=0.35,
      gid=f'interval:{run}',
    )
    if run in points:
      of_seeds, heights_of_seeds = points[run]
      dots = look._replace(marker='o', linestyle='none')._asdict()
      dots |= {'markersize': 2, 'gid': f'seeds:{run}', 'zorder': 4}
      panel.plot(of_seeds * factor + term, heights_of_seeds, **dots)
    line = {**look._asdict(), 'gid': f'mean:{run}', 'zorder': 3}
    panel.plot(across, heights, **line)


def _by_run(
  rows: pd.DataFrame, by: str, columns: Sequence[str]
) -> dict[Any, list[np.ndarray]]:
  """Return columns of each run's rows; tables for each run take far longer."""
  numbers = [rows[column].to_numpy(np.float64) for column in columns]
  return {
    run: [column[places] for column in numbers]
    for run, places in rows.groupby(by).indices.items()
  }


def means(
  table: pd.DataFrame,
  by: list[str],
  columns: Sequence[str],
  within: tuple[float, float] | None = None,
) -> pd.DataFrame:
  """Return means over seeds with their intervals, for `curves`.

  Args:
    table: rows of seeds.
    by: columns that tell cells apart.
    columns: what is averaged.
    within: ends that it cannot pass.
  """
  rows = []
  for key, cell in table.groupby(by, sort=False):
    row = dict(zip(by, key))
    for column in columns:
      mean = intervals.interval(cell[column], within=within)
      row |= {f'{column}{end}': value for end, value in zip(ENDS, mean)}
    rows.append(row)
  ends = [f'{column}{end}' for column in columns for end in ENDS]
  return pd.DataFrame(rows, columns=[*by, *ends])
