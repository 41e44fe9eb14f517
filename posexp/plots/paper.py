"""A figure of a paper with its numbers, and what several figures share."""

import math
import os
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib import axes, figure, lines, ticker

from posexp import component
from posexp.claims import intervals
from posexp.plots import experiment, latex

# The width of a column of a page that has two, in inches.
COLUMN = 8.5 / 2.54
# Letters in a line of a legend's entry.
ENTRY = 44


class Plate(NamedTuple):
  """A figure, and what stands beside it in a paper.

  Attributes:
    name: of its files.
    drawn: at the size that it is read at, text of 7 points.
    table: its numbers as text, a row a line of the figure.
    caption: what it shows, in sentences.
    source: lines that say from which records it is.
  """

  name: str
  drawn: figure.Figure
  table: pd.DataFrame
  caption: str
  source: tuple[str, ...] = ()

  def latex(self) -> str:
    """The numbers as a table of LaTeX, in the manner of booktabs."""
    return latex.table(self.table, self.caption, self.name, self.source)

  def save(self, directory: str | os.PathLike) -> list[pathlib.Path]:
    """Writes name.png, name.pdf and name.tex: the paths."""
    paths = experiment.save(self.drawn, directory, self.name)
    path = pathlib.Path(directory) / f'{self.name}.tex'
    path.write_text(self.latex(), 'utf-8')
    return [*paths, path]


def questions(results: pd.DataFrame) -> Iterator[pd.DataFrame]:
  """The results of each task and trained length.

  Evaluations of the same weights are joined, as `statistics.joined` does.
  """
  joined = intervals.joined(results) if len(results) else results
  for _, group in joined.groupby(['task', 'trained_length'], sort=False):
    yield group


def one_question(results: pd.DataFrame) -> pd.DataFrame:
  """The results, if they are of one question and there are any to draw.

  Raises:
    UserError: a sentence, if not.
  """
  found = results.drop_duplicates(['task', 'trained_length'])
  if len(found) > 1:
    raise component.UserError(
      f'a figure shows one task at one trained length, and these are '
      f'{len(found)}: give one of paper.questions(results)'
    )
  if not results['admitted'].astype(bool).any():
    raise component.UserError(
      'nothing to draw: no seed learned the task at the trained length'
    )
  return results


def looks(results: pd.DataFrame) -> dict[str, dict[str, Any]]:
  """How each run is drawn, as keywords of `plot`, by digest."""
  each = experiment.looks(results)
  return {digest: look._asdict() for digest, look in each.items()}


def key(label: str, look: Mapping[str, Any]) -> lines.Line2D:
  """The handle of a legend's entry."""
  shown = experiment.wrap(label, ENTRY * experiment.LETTER)
  return lines.Line2D([], [], **look, label=shown)


def order(summary: pd.DataFrame, column: str) -> list[str]:
  """The admitted runs, from the topmost line at the longest length down."""
  shown = summary[summary['n_admitted'] > 0].dropna(subset=[column])
  last = shown.sort_values('length').drop_duplicates('digest', keep='last')
  by = last.sort_values(['length', column], ascending=False, kind='stable')
  return [str(digest) for digest in by['digest']]


def beside(lengths: Sequence[float], number: int) -> list[float]:
  """Factors on lengths that put so many runs side by side."""
  octaves = np.diff(np.log2(sorted(lengths)))
  step = min([0.06, *(octaves / (2 * max(1, number)))])
  return [2 ** (step * (n - (number - 1) / 2)) for n in range(number)]


def lengths_axis(spot: axes.Axes, results: pd.DataFrame) -> None:
  """An axis of lengths in tokens, the trained one marked and named."""
  lengths = np.sort(results['length'].unique())
  trained = results['trained_length'].iloc[0]
  ends = min(lengths[0], trained), max(lengths[-1], trained)
  spot.set_xscale('log', base=2)
  spot.set_xlim(ends[0] / 2**0.3, ends[1] * 2**0.3)
  spot.xaxis.set_minor_locator(ticker.NullLocator())
  experiment.ticks(spot, lengths, [f'{n:,}' for n in lengths])
  spot.set_xlabel('sequence length (tokens)')
  spot.axvline(trained, color=experiment.GREY, lw=0.8, gid='trained', zorder=1)
  left = math.log2(trained / ends[0]) <= math.log2(ends[1] / ends[0]) / 2
  spot.annotate(
    f'trained at {trained:,}',
    (trained, 1),
    xycoords=('data', 'axes fraction'),
    xytext=(2 if left else -2, 2),
    textcoords='offset points',
    ha='left' if left else 'right',
    color=experiment.GREY,
  )


def percent(axis: Any) -> None:
  """Shares as numbers of percent."""
  axis.set_major_formatter(ticker.PercentFormatter(1, symbol='', decimals=0))


def share_axis(spot: axes.Axes) -> None:
  """Ends of an axis of shares: no further than these go."""
  low, high = spot.get_ylim()
  spot.set_ylim(max(-0.02, low), min(1.02, max(high, 0.1)))


def number(mean: float, low: float, high: float) -> str:
  """A share in percent with its interval, as tables show it.

  >>> number(0.5, 0.25, 0.75), number(0.5, math.nan, math.nan)
  ('50.0 [25.0, 75.0]', '50.0')
  >>> number(math.nan, math.nan, math.nan)
  '–'
  """
  if math.isnan(mean):
    return '–'
  ends = f' [{100 * low:.1f}, {100 * high:.1f}]'
  return f'{100 * mean:.1f}' + ('' if math.isnan(low) else ends)


def seeds(summary: pd.DataFrame) -> str:
  """How many seeds are behind a figure, in words.

  Args:
    summary: rows with label, n_seeds, n_admitted, as `statistics.summarize`
      gives them.
  """
  runs = summary.drop_duplicates('digest')
  shown = runs[runs['n_admitted'] > 0]
  counts = sorted({int(n) for n in shown['n_admitted']})
  many = ' to '.join(map(str, dict.fromkeys((counts[0], counts[-1]))))
  text = f'{many} seed{"s" * (counts[-1] > 1)} a run'
  if counts[-1] > 1:
    text += ', mean with 95 % t interval over seeds'
  else:
    text += ', which give no interval'
  left = [f'{row["label"]}' for _, row in runs.iterrows() if not row.n_admitted]
  if left:
    text += f'. Not admitted, as no seed learned the task: {", ".join(left)}'
  return text


def source(results: pd.DataFrame) -> tuple[str, ...]:
  """Which records are behind a figure."""
  runs = results.drop_duplicates('digest')
  return tuple(f'{d}: {n}' for d, n in zip(runs['digest'], runs['name']))


def slug(text: str) -> str:
  """A text as part of a file's name.

  >>> slug('Ordering(symbols=16), 2x')
  'Ordering-symbols-16-2x'
  """
  return re.sub(r'[^A-Za-z0-9.]+', '-', text).strip('-')
