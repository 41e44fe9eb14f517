"""A figure of a paper with its numbers, and what all of these share."""

import io
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import pandas as pd
from matplotlib import axes
from matplotlib import figure as figure_lib

from posexp import component
from posexp.claims import intervals
from posexp.plots import curves, elements, style

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
    table: its numbers as text, a row for each line of the figure.
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


def questions(results: pd.DataFrame) -> Iterator[pd.DataFrame]:
  """Yield the results of each task and trained length.

  Evaluations of the same weights are joined, as `intervals.joined` does.
  """
  joined = intervals.joined(results) if len(results) else results
  for _, group in joined.groupby(['task', 'trained_length'], sort=False):
    yield group


class Question(NamedTuple):
  """A task at a trained length, with what all of its figures share.

  Attributes:
    results: a table as `records.load` gives it.
    admitted: the rows of admitted seeds.
    summary: means over them with intervals, a row for each run and length.
    looks: of the runs that are drawn, the topmost line first.
    names: what each run is called, by digest.
    trained: the trained length.
  """

  results: pd.DataFrame
  admitted: pd.DataFrame
  summary: pd.DataFrame
  looks: style.Looks
  names: dict[str, str]
  trained: int

  def curves(self, columns: Mapping[str, str]) -> curves.Curves:
    """Return columns of the summary by length, each with its panel's title."""
    means = curves.tidy(self.summary, columns)
    known = {c: title for c, title in columns.items() if c in self.admitted}
    seeds = curves.tidy(self.admitted, known) if known else None
    return curves.Curves(means, self.looks, self.names, seeds)

  def length_axis(self, panel: axes.Axes) -> None:
    """Make a panel's axis of lengths, the trained one marked."""
    elements.length_axis(panel, self.results['length'], self.trained)

  def length(self, tokens: int) -> str:
    """Return a length in words, as a multiple of the trained one too."""
    return f'{tokens:,} tokens ({tokens / self.trained:.3g}×)'

  def only(self, digests: Iterable[str]) -> 'Question':
    """Return it with the looks of some runs."""
    known = set(digests)
    looks = {d: look for d, look in self.looks.items() if d in known}
    return self._replace(looks=looks)

  def plate(
    self,
    name: str,
    figure: figure_lib.Figure,
    table: pd.DataFrame,
    what: str,
    how: str = '',
  ) -> Plate:
    """Return a figure of it as a plate.

    Args:
      name: of its files.
      figure: the figure.
      table: its numbers.
      what: what it shows, without a full stop.
      how: over what; admitted seeds by default.
    """
    how = how or seeds(self.summary)
    caption = f'{what}. {in_words(self.results)}; {how}.'
    return Plate(name, figure, table, caption, source(self.results))


def ask(
  results: pd.DataFrame,
  summarize: Callable[[pd.DataFrame], pd.DataFrame] = intervals.summarize,
  column: str = 'token',
) -> Question:
  """Return the question of which results are.

  Args:
    results: of one task and trained length.
    summarize: how its cells are computed.
    column: of the cells, by whose value runs are ordered.

  Raises:
    UserError: if they are of several, or if no seed learned the task.
  """
  count = len(results.drop_duplicates(['task', 'trained_length']))
  if count > 1:
    raise component.UserError(
      f'a figure shows one task at one trained length, and these are {count}: '
      'give one of plots.questions(results)'
    )
  admitted = results[results['admitted'].astype(bool)]
  if admitted.empty:
    raise component.UserError(
      'nothing to draw: no seed learned the task at the trained length'
    )
  summary = summarize(results)
  return Question(
    results,
    admitted,
    summary,
    style.ranked(results, summary, column),
    intervals.labels(results),
    results['trained_length'].iloc[0],
  )


def in_words(results: pd.DataFrame) -> str:
  """Return the task and trained length of results of one question."""
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
    ', mean with 95 % interval over seeds'
    if most > 1
    else ', which give no interval'
  )
  if not admitted.all():
    excluded = ', '.join(runs.loc[~admitted, 'label'])
    text += f'. Not admitted, as no seed learned the task: {excluded}'
  return text


def entries(summary: pd.DataFrame) -> dict[str, str]:
  """Return what a legend says of each run, of those not admitted too."""
  names = {}
  for digest, run in summary.groupby('digest', sort=False):
    admitted, seeds = run['n_admitted'].max(), run['n_seeds'].max()
    name = run['label'].iloc[0]
    if not admitted:
      name += f'\n{intervals.not_admitted(run)}'
    elif admitted < seeds:
      name += f'\n{admitted} of {seeds} seeds'
    names[str(digest)] = name
  return names


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
