"""Curves in panels: a line a run, with intervals and seeds, and as a table."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
from matplotlib import axes, figure

from posexp.claims import format as format_lib
from posexp.claims import intervals
from posexp.plots import layout, style

# Of a column's name: its mean, and the ends of its interval.
ENDS = ('', '_low', '_high')
VALUES = [f'value{end}' for end in ENDS]

# That a mean cannot pass, see `intervals.interval`.
Ends = tuple[float, float]


class Curves(NamedTuple):
  """What a figure of curves shows.

  Attributes:
    means: rows a panel, run and place, with columns panel, run, x, value,
      value_low and value_high; see `tidy` and `means`.
    looks: of the runs to draw, from left to right.
    names: what each run is called.
    seeds: rows a panel, run, place and seed, with columns panel, run, x and
      value; none are drawn without.
  """

  means: pd.DataFrame
  looks: style.Looks
  names: Mapping[str, str]
  seeds: pd.DataFrame | None = None

  def draw(
    self,
    axis: Callable[[axes.Axes], Any],
    *,
    extra: Sequence[Any] = (),
    step: float = 0.035,
    **how: Any,
  ) -> tuple[figure.Figure, list[axes.Axes]]:
    """Return the figure and its panels, in the order of their rows.

    Args:
      axis: called with each panel, before its curves: sets its x axis.
      extra: handles of the legend after those of the runs.
      step: see `panel`.
      **how: see `layout.panels`.
    """
    titles = list(dict.fromkeys(self.means['panel']))
    keys = [*style.keys(self.looks, self.names), *extra]
    drawn, panels = layout.panels(titles, keys, **how)
    for panel, title in zip(panels, titles):
      axis(panel)
      self.panel(panel, title, step)
      panel.grid(axis='y')
    return drawn, panels

  def panel(
    self, panel: axes.Axes, title: str = '', step: float = 0.035
  ) -> None:
    """Draw the curves of one panel.

    Runs stand side by side at each place, so that they can be told apart. The
    parts of a run have the ids `mean:`, `interval:` and `seeds:` with its name.

    Args:
      panel: with its scales set.
      title: of the panel whose rows are drawn.
      step: between two runs, in octaves of a logarithmic axis, or in its
        units; less where there is no room.
    """
    means = self.means[self.means['panel'] == title].sort_values('x')
    runs, points = _by_run(means, VALUES), {}
    if self.seeds is not None:
      points = _by_run(self.seeds[self.seeds['panel'] == title], ['value'])
    logarithmic = panel.get_xscale() == 'log'
    places = np.unique(means['x'].to_numpy(np.float64))
    gaps = np.diff(np.log2(places) if logarithmic else places)
    step = min([step, *(0.5 * gaps / max(1, len(self.looks)))])
    for number, (run, look) in enumerate(self.looks.items()):
      if run not in runs:
        continue
      shift = step * (number - (len(self.looks) - 1) / 2)
      factor, term = (2**shift, 0.0) if logarithmic else (1.0, shift)
      across, heights, lows, highs = runs[run]
      across = across * factor + term
      known = np.isfinite(lows) & np.isfinite(highs)
      bar: dict[str, Any] = {'lw': 2.4, 'alpha': 0.35, 'color': look.color}
      ends = across[known], lows[known], highs[known]
      panel.vlines(*ends, gid=f'interval:{run}', **bar)
      if run in points:
        of_seeds, heights_of_seeds = points[run]
        dots = look._replace(marker='o', linestyle='none')._asdict()
        dots |= {'markersize': 2, 'gid': f'seeds:{run}', 'zorder': 4}
        panel.plot(of_seeds * factor + term, heights_of_seeds, **dots)
      line = {**look._asdict(), 'gid': f'mean:{run}', 'zorder': 3}
      panel.plot(across, heights, **line)

  def numbers(
    self,
    show: Callable[[float], str] = format_lib.percent,
    head: str = '{}',
  ) -> pd.DataFrame:
    """Return the numbers as text: a row a run and panel, a column a place.

    Args:
      show: how a number is written.
      head: of a column, with its place.
    """
    by_row: dict[str, dict[str, str]] = {}
    panels = list(dict.fromkeys(self.means['panel']))
    for name in self.names.values():
      for title in panels:
        by_row[', '.join(filter(None, (name, title)))] = {}
    for row in self.means.sort_values('x', kind='stable').to_dict('records'):
      line = ', '.join(filter(None, (self.names[row['run']], row['panel'])))
      mean, low, high = (row[column] for column in VALUES)
      text = format_lib.bracketed(mean, low, high, show)
      by_row[line][head.format(row['x'])] = text
    table = pd.DataFrame.from_dict(by_row, orient='index')
    return table.fillna(UNKNOWN).replace(format_lib.MISSING, UNKNOWN)


UNKNOWN = 'n.a.'


def _by_run(
  rows: pd.DataFrame, columns: Sequence[str]
) -> dict[Any, list[np.ndarray]]:
  """Return columns of each run's rows; tables for each run take far longer."""
  numbers = [rows[column].to_numpy(np.float64) for column in ('x', *columns)]
  return {
    run: [column[places] for column in numbers]
    for run, places in rows.groupby('run').indices.items()
  }


def tidy(
  table: pd.DataFrame,
  columns: Mapping[str, str],
  x: str = 'length',
  run: str = 'digest',
) -> pd.DataFrame:
  """Return columns of a table as rows of panels, for `Curves`.

  Args:
    table: with each column and perhaps its ends, _low and _high.
    columns: with the titles of their panels.
    x: the column of places.
    run: the column that names the run.
  """
  parts = []
  for column, title in columns.items():
    named = {
      f'{column}{end}': value
      for end, value in zip(ENDS, VALUES)
      if f'{column}{end}' in table
    }
    kept = [name for name in (run, x, 'seed') if name in table]
    part = table[[*kept, *named]]
    part = part.rename(columns=named | {run: 'run', x: 'x'})
    parts.append(part.assign(panel=title))
  return pd.concat(parts, ignore_index=True)


def means(
  seeds: pd.DataFrame,
  within: Callable[[Any, float, pd.Series], Ends] | Ends | None = None,
) -> pd.DataFrame:
  """Return means over seeds with their intervals, for `Curves`.

  Args:
    seeds: rows of seeds, see `tidy`.
    within: ends that a mean cannot pass, or what gives them for a run, a place
      and the values there.
  """
  keys, rows = ['panel', 'run', 'x'], []
  for key, cell in seeds.groupby(keys, sort=False):
    values = cell['value']
    _, run, x = place = cast(tuple[Any, Any, Any], key)
    if within is None or isinstance(within, tuple):
      ends = within
    else:
      ends = within(run, x, values)
    rows.append((*place, *intervals.interval(values, within=ends)[:3]))
  return pd.DataFrame(rows, columns=[*keys, *VALUES])
