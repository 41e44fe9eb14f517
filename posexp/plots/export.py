"""All figures that the records of a work directory allow, in one folder."""

import functools
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import pandas as pd

from posexp import component
from posexp.claims import contrasts, intervals
from posexp.plots import (
  explanation,
  figures,
  forest,
  heatmap,
  paper,
  style,
)
from posexp.results import (
  attention_records,
  by_stratum,
  cost_records,
  explanations,
  plans,
  records,
)

# More runs in one figure cannot be told apart.
RUNS = 8

# How a figure is made, or why it is not.
Part = Callable[[], paper.Plate] | str


class Written(NamedTuple):
  """The files, and a sentence for each figure that there is not."""

  paths: tuple[pathlib.Path, ...]
  notes: tuple[str, ...]


def write(
  workdir: str | os.PathLike,
  output: str | os.PathLike,
  tell: Callable[[float], None] = lambda _: None,
) -> Written:
  """Write every figure, as PNG, PDF and a table for LaTeX.

  Args:
    workdir: as given to `posexp run`; its folder explain/ may hold what
      `posexp explain --output` wrote, and its measured/ what `posexp measure
      --workdir` did.
    output: a folder, made where there is none.
    tell: called from time to time with the share of the work since.

  Raises:
    UserError: if there is no such work directory.
  """
  paths: list[pathlib.Path] = []
  notes: dict[str, None] = {}  # In their order, each once.
  workdir = pathlib.Path(workdir)
  parts = [*_of_runs(workdir), ('', _of_commands(workdir))]
  for ending, plates in parts:
    for make in plates:
      if isinstance(make, str):
        notes[make] = None
        continue
      try:
        plate = make()
      except component.UserError as error:
        notes[str(error)] = None
        continue
      plate = plate._replace(name=f'{plate.name}{ending}')
      paths += plate.save(output)
    tell(1 / len(parts))
  return Written(tuple(paths), tuple(notes))


def _of_runs(workdir: pathlib.Path) -> Iterator[tuple[str, Iterable[Part]]]:
  """Yield the figures of runs in parts of about the same work.

  With what the names of a part's figures end in.
  """
  results = records.load(workdir)
  if results.empty:
    yield '', [f'no finished run under {workdir}: nothing to draw of runs']
    return
  planned = contrasts.planned(results, plans.read(workdir, results))
  results = intervals.joined(results)
  names = intervals.questions(results)
  diagnostics = functools.cache(lambda: attention_records.load(workdir))
  for question in paper.questions(results):
    task, trained = question[['task', 'trained_length']].iloc[0]
    name = paper.slug(names[task, trained])[:80]
    ending = f'-{name}' if len(names) > 1 else ''
    if not question['admitted'].astype(bool).any():
      yield ending, [f'{paper.in_words(question)}: no seed learned the task']
      continue
    asked = planned[
      (planned['task'] == task) & (planned['trained_length'] == trained)
    ]
    if len(asked):
      source = paper.source(question)
      yield ending, [functools.partial(forest.contrasts, asked, source)]
    parts = list(_parts(question))
    for place, part in enumerate(parts):
      number = f'-{place + 1}' if len(parts) > 1 else ''
      yield f'{ending}{number}', _of_part(workdir, part, diagnostics)
    if question['parent_digest'].isin(question['digest']).any():
      yield ending, [functools.partial(figures.retrofits, question)]
  if len(names) > 1:
    yield '', [functools.partial(heatmap.grid, results)]


def _parts(question: pd.DataFrame) -> Iterator[pd.DataFrame]:
  """Yield the runs of each figure, the best at the longest length first."""
  if question['digest'].nunique() <= RUNS:
    yield question
    return
  digests = list(style.ranked(question, intervals.summarize(question)))
  for begin in range(0, len(digests), RUNS):
    yield question[question['digest'].isin(digests[begin : begin + RUNS])]


def _of_part(
  workdir: pathlib.Path,
  part: pd.DataFrame,
  diagnostics: Callable[[], pd.DataFrame],
) -> Iterator[Part]:
  for draw in (figures.accuracy, figures.success, figures.errors):
    yield functools.partial(draw, part)
  try:
    tables = by_stratum.errors(workdir, part)
  except component.UserError as error:  # A damaged file, named.
    yield str(error)
    tables = {}
  for stratum, table in tables.items():
    yield functools.partial(figures.by_stratum, part, table, stratum)
  yield lambda: figures.attention(part, diagnostics())


def _explained(path: pathlib.Path) -> paper.Plate:
  return explanation.explained(explanations.read(path))


def _of_commands(workdir: pathlib.Path) -> Iterator[Part]:
  """Yield figures of what other commands have left in the work directory."""
  explained = sorted((workdir / 'explain').glob('*.npz'))
  for path in explained:
    yield functools.partial(_explained, path)
  if not explained:
    yield (
      'the figure of periods and biases was not drawn: run posexp explain '
      f'SCHEME --output={workdir}/explain first'
    )
  measured = [body for body in cost_records.read_all(workdir) if body['groups']]
  if measured:
    yield functools.partial(figures.cost, measured[-1])
  else:
    yield (
      'the figure of costs was not drawn: run posexp measure SCHEME '
      f'--workdir={workdir} first'
    )
