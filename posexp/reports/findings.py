"""What a report tells, as tables."""

import os
import pathlib
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import pandas as pd

from posexp.claims import contrasts, intervals
from posexp.claims import format as format_lib
from posexp.reports import tables
from posexp.results import plans, records

PLACE = ['digest', 'length']


class Findings(NamedTuple):
  """The tables behind a report.

  Attributes:
    name: of the work directory.
    progress: what is not finished, as `posexp status` says it.
    results: as `records.load` gives them, evaluations of the same weights
      joined.
    cells: a row for each run and length, see `intervals.cells`, with the
      columns of `intervals.summarize` and the rank too.
    planned: as `contrasts.planned` gives it: what can be claimed.
    pairs: as `contrasts.pairs` gives them, to explore; those that differ first,
      then the largest.
    records: of the finished runs.
    coverage: text, '' where there is none.
    notes: sentences on records that could not be read, and on what is missing.
    memo: whether a memo lies beside the report.
  """

  name: str
  progress: str
  results: pd.DataFrame
  cells: pd.DataFrame
  planned: pd.DataFrame
  pairs: pd.DataFrame
  records: tuple[dict[str, Any], ...]
  coverage: str
  notes: tuple[str, ...]
  memo: bool


def load(workdir: str | os.PathLike, progress: str = '') -> Findings:
  """Return everything that a report of a work directory tells.

  Args:
    workdir: as given to `posexp run`.
    progress: what `posexp status` says, '' if nothing is to be said.

  Raises:
    UserError: if there is no such directory.
  """
  directory = pathlib.Path(workdir)
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter('always')
    finished = records.read_all(directory)
    results = records.load(directory, [r['digest'] for r in finished])
    covered = records.coverage(directory) if finished else pd.DataFrame()
  damaged = dict.fromkeys(str(warning.message) for warning in caught)
  joined = intervals.joined(results) if len(results) else results
  pairs = contrasts.pairs(joined)
  cells = pd.DataFrame(columns=list(intervals.CELLS))
  if len(joined):
    summary, cells = intervals.summarize(joined), intervals.cells(joined)
    more = [name for name in summary if name not in cells]
    cells = cells.merge(summary[PLACE + more], on=PLACE, validate='1:1')
    ranks = contrasts.ranks(pairs)[[*PLACE, 'rank', 'tied']]
    cells = cells.merge(ranks, on=PLACE, how='left')
  order = pairs.assign(size=pairs['effect'].abs()).sort_values(
    ['differs', 'size'], ascending=False, kind='stable'
  )
  return Findings(
    name=directory.resolve().name,
    progress=progress,
    results=joined,
    cells=cells,
    planned=contrasts.planned(results, plans.read(directory, results)),
    pairs=order,
    records=tuple(finished),
    coverage=tables.coverage(covered) if len(covered) else '',
    notes=(*damaged, *_missing(cells)),
    memo=(directory / 'memo.html').exists(),
  )


def _missing(cells: pd.DataFrame) -> Iterator[str]:
  """Yield sentences on missing cells, and on seeds that are too few."""
  for (task, trained), group in cells.groupby(contrasts.QUESTION, sort=False):
    where = f'{task}, trained at {trained} tokens'
    lengths = set(group['length'])
    for _, run in group.groupby('digest', sort=False):
      if lacking := sorted(lengths - set(run['length'])):
        yield (
          f'{where}: {run["label"].iloc[0]} was not evaluated at '
          f'{", ".join(map(str, lacking))} tokens, so those cells are missing'
        )
    if group['n_seeds'].max() == 1:
      yield (
        f'{where}: one seed, so no interval and no comparison; give the runs '
        'more seeds'
      )


def not_admitted(cells: pd.DataFrame) -> Iterator[tuple[str, str, str]]:
  """Yield task, run and reason of each run that lost seeds."""
  for _, run in cells.groupby('digest', sort=False):
    first, admitted = run.iloc[0], run['n_admitted'].max()
    lost = first['n_seeds'] - admitted
    if lost:
      gate = format_lib.gate(first['gate'])
      why = f'{lost} of {first["n_seeds"]} seeds did not reach {gate}'
      if not admitted:
        why = intervals.not_admitted(run)
      where = f'{first["task"]} at {first["trained_length"]}'
      yield where, first['label'], why
