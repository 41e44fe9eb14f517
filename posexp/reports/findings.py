"""What a report tells: tables, and sentences of what they show."""

import json
import math
import os
import pathlib
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from posexp.claims import contrasts, intervals, seed_spread
from posexp.plots import report
from posexp.reports import tables
from posexp.results import records

# Sentences of claims in the summary of a question, largest differences first.
CLAIMS = 12


class Evidence(NamedTuple):
  """The tables behind a report.

  Attributes:
    name: of the work directory.
    progress: sentences of what is not finished.
    results: as `records.load` gives them, evaluations of the same weights
      joined.
    cells: a row a run and length.
    pairs: as `comparisons.pairs` gives them.
    configs: of every run, as its record has it.
    coverage: text, '' where there is none.
    notes: sentences on records that could not be read, and on what is missing.
    memo: whether a memo lies beside the report.
  """

  name: str
  progress: tuple[str, ...]
  results: pd.DataFrame
  cells: pd.DataFrame
  pairs: pd.DataFrame
  configs: tuple[dict[str, Any], ...]
  coverage: str
  notes: tuple[str, ...]
  memo: bool


def load(workdir: str | os.PathLike, progress: str = '') -> Evidence:
  """Everything that a report of a work directory tells.

  Args:
    workdir: as given to `posexp run`.
    progress: what `posexp status` says, '' if nothing is to be said.

  Raises:
    UserError: if there is no such directory.
  """
  directory = pathlib.Path(workdir)
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter('always')
    found = records.read_all(directory)
    results = records.load(directory, [r['digest'] for r in found])
    covered = records.coverage(directory) if found else pd.DataFrame()
  told = dict.fromkeys(str(warning.message) for warning in caught)
  joined = intervals.joined(results) if len(results) else results
  pairs = contrasts.pairs(joined)
  cells = pd.DataFrame(columns=list(seed_spread.COLUMNS))
  if len(joined):
    cells = report.with_errors(seed_spread.cells(joined), joined)
    cells = _ranked(cells, pairs)
  return Evidence(
    name=directory.resolve().name,
    progress=tuple(line for line in progress.splitlines() if line.strip()),
    results=joined,
    cells=cells,
    pairs=pairs,
    configs=tuple(_config(record) for record in found),
    coverage=tables.coverage(covered) if len(covered) else '',
    notes=(*told, *_missing(cells)),
    memo=(directory / 'memo.html').exists(),
  )


def _ranked(cells: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
  """Cells with how many runs are shown to be better, plus one; NaN alone."""
  ranks = contrasts.ranks(pairs)[['digest', 'length', 'rank', 'tied']]
  return cells.merge(ranks, on=['digest', 'length'], how='left')


def _config(record: dict[str, Any]) -> dict[str, Any]:
  """What is needed to trust, and to repeat, the numbers of a run."""
  names = 'digest', 'name', 'task', 'scheme', 'parent', 'trained_length'
  found = {name: record.get(name) for name in names}
  found['seeds'] = ', '.join(map(str, record['config']['seeds']))
  found['parameters'] = record['parameters']['total']
  found['seconds'] = record.get('seconds', {}).get('total', math.nan)
  versions = record.get('versions', {})
  found['versions'] = ', '.join(f'{k} {v}' for k, v in versions.items())
  device = record.get('device', {})
  found['device'] = ', '.join(f'{k} {v}' for k, v in device.items())
  found['config'] = json.dumps(record['config'], indent=1)
  return found


def _missing(cells: pd.DataFrame) -> Iterator[str]:
  """Sentences on cells that are not there, and on seeds that are too few."""
  for (task, trained), group in cells.groupby(contrasts.QUESTION, sort=False):
    where = f'{task}, trained at {trained} tokens'
    lengths = set(group['length'])
    for _, run in group.groupby('digest', sort=False):
      lacking = sorted(lengths - set(run['length']))
      if lacking:
        yield (
          f'{where}: {run["label"].iloc[0]} was not evaluated at '
          f'{", ".join(map(str, lacking))} tokens, so those cells are missing'
        )
    if group['n_seeds'].max() == 1:
      yield (
        f'{where}: one seed, so no interval and no comparison; give the runs '
        'more seeds'
      )


def questions(found: Evidence) -> Iterator[tuple[str, int, pd.DataFrame]]:
  """Every task and trained length, with its cells."""
  for (task, _), group in found.cells.groupby(contrasts.QUESTION, sort=False):
    yield str(task), group['trained_length'].iloc[0], group


def claims(found: Evidence, task: str, trained: int) -> list[str]:
  """What can be claimed of a question, and what its seeds could have shown."""
  pairs = found.pairs
  mine = pairs[(pairs['task'] == task) & (pairs['trained_length'] == trained)]
  if mine.empty:
    return ['Fewer than two admitted runs, so there is nothing to compare.']
  seeds = sorted(set(mine['n']))
  some = '-'.join(dict.fromkeys(map(str, (seeds[0], seeds[-1]))))
  if seeds[-1] < 2:
    return [
      f'{len(mine)} comparisons, none on two seeds or more: no difference can '
      'be claimed.'
    ]
  claimed = mine[mine['claimed']]
  least = float(np.nanmedian(mine['detectable']))
  said = [
    f'{len(claimed)} of {len(mine)} differences are claimed, by paired t '
    f'tests over {some} common admitted seeds with Holm’s correction at 5 %. '
    f'All others are ties. {_least(least)}'
  ]
  order = claimed['effect'].abs().sort_values(ascending=False, kind='stable')
  for _, row in claimed.loc[order.index[:CLAIMS]].iterrows():
    said.append(f'At {row["length"]} tokens {contrasts.claim(row)}.')
  if len(claimed) > CLAIMS:
    said.append(
      f'{len(claimed) - CLAIMS} more are in the table of comparisons.'
    )
  return said


def _least(least: float) -> str:
  what = 'The smallest difference that these seeds were likely to show (four '
  what += 'times in five; median over comparisons)'
  if least > 1:
    return f'{what} is more than 100 points: more seeds are needed.'
  return f'{what} is {100 * least:.1f} points.'


def not_admitted(found: Evidence) -> list[tuple[str, str, str]]:
  """Task, run and reason of every run without a number, or with fewer seeds."""
  summary = intervals.summarize(found.results)
  rows = []
  for _, run in summary.groupby('digest', sort=False):
    admitted, seeds = run['n_admitted'].max(), run['n_seeds'].max()
    where = f'{run["task"].iloc[0]} at {run["trained_length"].iloc[0]}'
    if not admitted:
      why = intervals.not_admitted(run)
    elif admitted < seeds:
      gate = intervals.percent(run['gate'].iloc[0])
      why = f'{seeds - admitted} of {seeds} seeds did not reach {gate}'
    else:
      continue
    rows.append((where, run['label'].iloc[0], why))
  return rows
