"""All figures that the records of a work directory allow, in one folder."""

import functools
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import pandas as pd

from posexp import component
from posexp.claims import intervals
from posexp.plots import (
  curves,
  heads,
  heatmap,
  paper,
  psychometric,
  retrofits,
  wrapped,
)
from posexp.results import (
  attention_records,
  cost_records,
  explanations,
  records,
)

# More runs in one figure cannot be told apart.
RUNS = 8


class Written(NamedTuple):
  """The files, and a sentence for each figure that there is not."""

  paths: tuple[pathlib.Path, ...]
  notes: tuple[str, ...]


def write(
  workdir: str | os.PathLike,
  output: str | os.PathLike,
  tell: Callable[[float], None] = lambda _: None,
) -> Written:
  """Writes every figure, as PNG, PDF and a table for LaTeX.

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
  notes: list[str] = []
  groups = _groups(workdir)
  for group in groups:
    for make in group():
      try:
        paths += make().save(output)
      except component.UserError as error:
        notes.append(str(error))
    tell(1 / len(groups))
  return Written(tuple(paths), tuple(dict.fromkeys(notes)))


Make = Callable[[], paper.Plate]


def _groups(workdir: str | os.PathLike) -> list[Callable[[], Iterable[Make]]]:
  """What makes the figures, in parts of about the same work."""
  results = records.load(workdir)
  others = functools.partial(_others, pathlib.Path(workdir))
  if results.empty:
    none = f'no finished run under {workdir}: nothing to draw of runs'
    return [functools.partial(_never, none), others]
  results = intervals.joined(results)
  names = intervals.questions(results)
  seen = functools.cache(lambda: attention_records.load(workdir))
  found: list[Callable[[], Iterable[Make]]] = []
  for question in paper.questions(results):
    task, trained = question[['task', 'trained_length']].iloc[0]
    short = paper.slug(names[task, trained])[:80]
    ending = f'-{short}' if len(names) > 1 else ''
    if not question['admitted'].astype(bool).any():
      never = f'{task}, trained at {trained} tokens: no seed learned the task'
      found.append(functools.partial(_never, never))
      continue
    parts = list(_parts(question))
    for place, part in enumerate(parts):
      last = f'{ending}-{place + 1}' if len(parts) > 1 else ending
      found.append(functools.partial(_of_part, workdir, part, last, seen))
    found.append(functools.partial(_of_retrofits, question, ending))
  if len(names) > 1:
    found.append(lambda: [functools.partial(heatmap.grid, results)])
  return [*found, others]


def _never(sentence: str) -> Iterator[Make]:
  """In the place of figures that there are not."""

  def make() -> paper.Plate:
    raise component.UserError(sentence)

  yield make


def _ended(make: Make, ending: str) -> paper.Plate:
  made = make()
  return made._replace(name=f'{made.name}{ending}')


def _parts(question: pd.DataFrame) -> Iterator[pd.DataFrame]:
  """The admitted runs, so many a figure, the best at the far end first."""
  summary = intervals.summarize(question)
  digests = paper.order(summary, 'token')
  if question['digest'].nunique() <= RUNS:
    yield question
    return
  for begin in range(0, len(digests), RUNS):
    yield question[question['digest'].isin(digests[begin : begin + RUNS])]


def _of_part(
  workdir: str | os.PathLike,
  part: pd.DataFrame,
  ending: str,
  seen: Callable[[], pd.DataFrame],
) -> Iterator[Make]:
  makes: list[Make] = [
    functools.partial(draw, part)
    for draw in (curves.accuracy, curves.success, curves.errors)
  ]
  try:
    strata = psychometric.strata(workdir, part)
  except component.UserError as error:  # A damaged file, named.
    yield from _never(str(error))
    strata = {}
  for by, table in strata.items():
    makes.append(functools.partial(psychometric.by_stratum, part, table, by))
  makes.append(lambda: heads.attention(part, seen()))
  for make in makes:
    yield functools.partial(_ended, make, ending)


def _of_retrofits(question: pd.DataFrame, ending: str) -> Iterator[Make]:
  if question['parent_digest'].isin(question['digest']).any():
    make = functools.partial(retrofits.retrofits, question)
    yield functools.partial(_ended, make, ending)


def _explained(path: pathlib.Path) -> paper.Plate:
  return wrapped.explained(explanations.read(path))


def _others(workdir: pathlib.Path) -> Iterator[Make]:
  """Figures of what other commands have left in the work directory."""
  explained = sorted((workdir / 'explain').glob('*.npz'))
  for path in explained:
    yield functools.partial(_explained, path)
  if not explained:
    yield from _never(
      'no periods and biases: leave them there with posexp explain SCHEME '
      f'--output={workdir}/explain'
    )
  measured = [body for body in cost_records.read_all(workdir) if body['groups']]
  if measured:
    yield functools.partial(wrapped.cost, measured[-1])
  else:
    yield from _never(
      'no costs: leave them there with posexp measure SCHEME '
      f'--workdir={workdir}'
    )
