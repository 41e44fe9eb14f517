"""A figure of a paper with its numbers, and what all of these share."""

import io
import os
import pathlib
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pandas as pd
from matplotlib import figure as figure_lib

from posexp import component
from posexp.claims import format as format_lib
from posexp.claims import intervals
from posexp.plots import style

# What a text may hold that LaTeX's usual fonts and pandas do not write.
_SIGNS = {
  '->': '→',  # First, as its parts are signs too.
  '→': r'$\rightarrow$',
  '−': '$-$',
  '±': r'$\pm$',
  '×': r'$\times$',
  '–': '--',
  '’': "'",
}


class Plate(NamedTuple):
  """A figure, and what stands beside it in a paper.

  Attributes:
    name: of its files.
    figure: at the size that it is read at, text of 7 points.
    table: its numbers as text, a row a line of the figure.
    caption: what it shows, in sentences.
    source: lines that say from which records it is.
  """

  name: str
  figure: figure_lib.Figure
  table: pd.DataFrame
  caption: str
  source: tuple[str, ...] = ()

  def latex(self) -> str:
    """Return the numbers as a table of LaTeX, in the manner of booktabs."""
    return latex(self.table, self.caption, self.name, self.source)

  def save(self, directory: str | os.PathLike) -> list[pathlib.Path]:
    """Write name.png, name.pdf and name.tex, and return their paths."""
    paths = save(self.figure, directory, self.name)
    path = pathlib.Path(directory) / f'{self.name}.tex'
    path.write_text(self.latex(), 'utf-8')
    return [*paths, path]


@style.styled
def save(
  figure: figure_lib.Figure, directory: str | os.PathLike, name: str
) -> list[pathlib.Path]:
  """Write a figure as PNG (200 dpi) and PDF, `name` with an ending."""
  directory = pathlib.Path(directory)
  directory.mkdir(parents=True, exist_ok=True)
  path, pdf = (directory / f'{name}{ending}' for ending in ('.png', '.pdf'))
  path.write_bytes(png(figure))
  # No dates and no versions, so that an unchanged figure is an unchanged file.
  unsaid = dict.fromkeys(('CreationDate', 'Creator', 'Producer'))
  figure.savefig(pdf, metadata=unsaid)
  return [path, pdf]


@style.styled
def png(figure: figure_lib.Figure) -> bytes:
  """Return a figure as the bytes of a PNG file."""
  packed = io.BytesIO()
  figure.savefig(packed, format='png', metadata={'Software': None})
  return packed.getvalue()


def latex(
  numbers: pd.DataFrame,
  caption: str,
  label: str,
  comments: Iterable[str] = (),
) -> str:
  r"""Return a table environment with \toprule, \midrule and \bottomrule.

  Args:
    numbers: text and numbers as they are to be shown; its index is the first
      column.
    caption: what it shows, as plain text: what LaTeX reads as commands is
      escaped, here and in every cell.
    label: for \ref, written tab:label.
    comments: lines before it that LaTeX does not print.

  >>> print(latex(pd.DataFrame({'at 64': ['50 %']}, ['a_b']), 'It.', 'x'))
  \begin{table}[t]
  \centering
  \caption{It.}
  \label{tab:x}
  \begin{tabular}{ll}
  \toprule
   & at 64 \\
  \midrule
  a\_b & 50 \% \\
  \bottomrule
  \end{tabular}
  \end{table}
  <BLANKLINE>
  """
  plain = pd.DataFrame({'': [caption]})
  cell = plain.style.format(escape='latex').hide(axis='index')
  escaped = cell.to_latex().split('\n')[2].removesuffix(r' \\')
  styled = numbers.style.format(escape='latex')
  for axis in (0, 1):
    styled = styled.format_index(escape='latex', axis=axis)
  text = styled.to_latex(
    hrules=True,
    position='t',
    position_float='centering',
    column_format='l' + 'l' * numbers.shape[1],
    caption=escaped,
    label=f'tab:{label}',
  )
  for sign, written in _SIGNS.items():
    text = text.replace(sign, written)
  return ''.join(f'% {" ".join(c.split())}\n' for c in comments) + text


def table(cells: Iterable[tuple[str, str, str]]) -> pd.DataFrame:
  """Return a table of cells, each a row, a column and its text."""
  rows: dict[str, dict[str, str]] = {}
  for row, column, text in cells:
    rows.setdefault(row, {})[column] = text
  numbers = pd.DataFrame.from_dict(rows, orient='index')
  return numbers.fillna(format_lib.MISSING)


def questions(results: pd.DataFrame) -> Iterator[pd.DataFrame]:
  """Yield the results of each task and trained length.

  Evaluations of the same weights are joined, as `intervals.joined` does.
  """
  joined = intervals.joined(results) if len(results) else results
  for _, group in joined.groupby(['task', 'trained_length'], sort=False):
    yield group


def one_question(results: pd.DataFrame) -> pd.DataFrame:
  """Return the results, if they are of one question and can be drawn.

  Raises:
    UserError: if they are of several, or if no seed learned the task.
  """
  count = len(results.drop_duplicates(['task', 'trained_length']))
  if count > 1:
    raise component.UserError(
      f'a figure shows one task at one trained length, and these are {count}: '
      'give one of plots.questions(results)'
    )
  if not results['admitted'].astype(bool).any():
    raise component.UserError(
      'nothing to draw: no seed learned the task at the trained length'
    )
  return results


def question(results: pd.DataFrame) -> str:
  """Return the task and trained length of results, in words."""
  task, trained = results[['task', 'trained_length']].iloc[0]
  return f'{task}, trained at {trained} tokens'


def seeds(summary: pd.DataFrame) -> str:
  """Return how many seeds are behind a figure, in words.

  Args:
    summary: rows with label, n_seeds, n_admitted, as `intervals.summarize`
      gives them.
  """
  runs = summary.drop_duplicates('digest')
  admitted = runs['n_admitted'] > 0
  counts = runs.loc[admitted, 'n_admitted']
  most = int(counts.max())
  text = f'{span(counts)} seed{"s" * (most > 1)} a run'
  text += (
    ', mean with 95 % t interval over seeds'
    if most > 1
    else ', which give no interval'
  )
  if not admitted.all():
    excluded = ', '.join(runs.loc[~admitted, 'label'])
    text += f'. Not admitted, as no seed learned the task: {excluded}'
  return text


def span(counts: Iterable[int]) -> str:
  """Return the least and the greatest of some counts, in words.

  >>> span([3, 5, 4]), span([3, 3])
  ('3 to 5', '3')
  """
  ends = min(counts), max(counts)
  return ' to '.join(str(int(count)) for count in dict.fromkeys(ends))


def source(results: pd.DataFrame) -> tuple[str, ...]:
  """Return which records are behind a figure."""
  runs = results.drop_duplicates('digest')
  return tuple(f'{d}: {n}' for d, n in zip(runs['digest'], runs['name']))


def slug(text: str) -> str:
  """Return a text as part of a file's name.

  >>> slug('Ordering(symbols=16), 2x')
  'Ordering-symbols-16-2x'
  """
  return re.sub(r'[^A-Za-z0-9.]+', '-', text).strip('-')
