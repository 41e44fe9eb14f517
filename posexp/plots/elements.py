"""What figures are made of: axes of lengths and of shares, and their marks."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import axes, ticker

from posexp.plots import layout, style


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


def period_axes(
  panel: axes.Axes, label: str, lengths: Mapping[int, str]
) -> None:
  """Make the axes of periods by pair of dimensions, some lengths marked."""
  panel.set_yscale('log')
  panel.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
  panel.set_xlabel(label)
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


def stack(
  bars: Callable[..., Any], shares: pd.DataFrame, kinds: style.Kinds
) -> None:
  """Draw what became of the targets: a stacked bar for each row of shares.

  Args:
    bars: `bar` or `barh` of a panel.
    shares: with a column for each kind.
    kinds: what is drawn, from the first on.
  """
  start = np.zeros(len(shares))
  for column, label, color, hatch in kinds:
    share = shares[column].to_numpy(np.float64)
    look = {'color': color, 'hatch': hatch, 'edgecolor': 'white', 'lw': 0.4}
    bars(np.arange(len(shares)), share, 0.78, start, label=label, **look)
    start = start + np.nan_to_num(share)
