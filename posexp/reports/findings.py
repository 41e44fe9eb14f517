"""What a report tells: tables, and sentences of what they show."""

import json
import os
import pathlib
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from posexp.claims import contrasts, intervals
from posexp.claims import format as format_lib
from posexp.reports import contrasts_text, tables
from posexp.results import records

# Sentences of claims in the summary of a question, largest differences first.
CLAIMS = 12


class Findings(NamedTuple):
  """The tables behind a report.

  Attributes:
    name: of the work directory.
    progress: sentences of what is not finished.
    results: as `records.load` gives them, evaluations of the same weights
      joined.
    cells: a row for each run and length.
    pairs: as `contrasts.pairs` gives them.
    configs: what is needed to trust, and to repeat, the numbers of each run.
    coverage: text, '' where there is none.
    notes: sentences on records that could not be read, and on what is missing.
    memo: whether a memo lies beside the report.
    not_admitted: task, run and reason of every run without a number, or with
      fewer seeds.
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
  not_admitted: tuple[tuple[str, str, str], ...]


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
    place = ['digest', 'length']
    summary = intervals.summarize(joined)
    cells = intervals.cells(joined)
    more = [name for name in summary if name not in cells]
    cells = cells.merge(summary[[*place, *more]], on=place, validate='1:1')
    ranks = contrasts.ranks(pairs)[[*place, 'rank', 'tied']]
    cells = cells.merge(ranks, on=place, how='left')
  return Findings(
    name=directory.resolve().name,
    progress=tuple(line for line in progress.splitlines() if line.strip()),
    results=joined,
    cells=cells,
    pairs=pairs,
    configs=tuple(map(_config, finished)),
    coverage=tables.coverage(covered) if len(covered) else '',
    notes=(*damaged, *_missing(cells)),
    memo=(directory / 'memo.html').exists(),
    not_admitted=tuple(_not_admitted(joined)) if len(joined) else (),
  )


def of_question(table: pd.DataFrame, task: str, trained: int) -> pd.DataFrame:
  """Return the rows of a task at a trained length."""
  return table[(table['task'] == task) & (table['trained_length'] == trained)]


def _config(record: dict[str, Any]) -> dict[str, Any]:
  facts = {
    'task': f'{record["task"]}, trained at {record["trained_length"]} tokens',
    'seeds': ', '.join(map(str, record['config']['seeds'])),
    'parameters': f'{record["parameters"]["total"]:,}',
    'seconds': record.get('seconds', {}).get('total', format_lib.MISSING),
  }
  for name in ('versions', 'device'):
    values = record.get(name, {}).items()
    facts[name] = ', '.join(f'{key} {value}' for key, value in values)
  return {
    'digest': record['digest'],
    'name': record['name'],
    'facts': facts,
    'config': json.dumps(record['config'], indent=1),
  }


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


def claims(findings: Findings, task: str, trained: int) -> list[str]:
  """Return what can be claimed of a question, and what could have been."""
  pairs = of_question(findings.pairs, task, trained)
  if pairs.empty:
    return ['Fewer than two admitted runs, so there is nothing to compare.']
  fewest, most = pairs['n'].min(), pairs['n'].max()
  if most < 2:
    return [
      f'{len(pairs)} comparisons, none on two seeds or more: no difference can '
      'be claimed.'
    ]
  claimed = pairs[pairs['claimed']]
  seeds = '-'.join(dict.fromkeys(map(str, (fewest, most))))
  least = float(np.nanmedian(pairs['detectable']))
  size = f'{100 * least:.1f} points'
  if least > 1:
    size = 'more than 100 points: more seeds are needed'
  order = claimed['effect'].abs().sort_values(ascending=False, kind='stable')
  sentences = [
    f'{len(claimed)} of {len(pairs)} differences are claimed, by paired t '
    f'tests over {seeds} common admitted seeds with Holm’s correction at 5 %. '
    'All others are ties. The smallest difference that these seeds were likely '
    f'to show (four times in five; median over comparisons) is {size}.'
  ]
  for _, row in claimed.loc[order.index[:CLAIMS]].iterrows():
    sentences.append(f'At {row["length"]} tokens {contrasts_text.claim(row)}.')
  if len(claimed) > CLAIMS:
    more = len(claimed) - CLAIMS
    sentences.append(f'{more} more are in the table of comparisons.')
  return sentences


def _not_admitted(results: pd.DataFrame) -> Iterator[tuple[str, str, str]]:
  """Yield task, run and reason of each run that lost seeds."""
  summary = intervals.summarize(results)
  for _, run in summary.groupby('digest', sort=False):
    admitted, seeds = run['n_admitted'].max(), run['n_seeds'].max()
    if admitted < seeds:
      gate = format_lib.gate(run['gate'].iloc[0])
      why = f'{seeds - admitted} of {seeds} seeds did not reach {gate}'
      if not admitted:
        why = intervals.not_admitted(run)
      where = f'{run["task"].iloc[0]} at {run["trained_length"].iloc[0]}'
      yield where, run['label'].iloc[0], why
