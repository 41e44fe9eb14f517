"""What a work directory holds, for other tools: tables and trackers."""

import io
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from posexp import component
from posexp.reports.trackers import kinds, series
from posexp.results import files, records

TABLES = ('csv', 'parquet')
FORMATS = (*TABLES, *kinds.KINDS)

# CSV has no types: pandas reads it back as it was, '' as text, by
#   pd.read_csv(path, dtype={'digest': str, 'parent_digest': str},
#               na_values='nan', keep_default_na=False)
# and to the last bit with float_precision='round_trip', which its version 3.1
# and later ones do anyway.
MISSING = 'nan'


def finished(
  workdir: str | pathlib.Path, to: str | None
) -> list[dict[str, Any]]:
  """Return the records to be exported; a damaged one is a warning.

  Args:
    workdir: as given to `posexp run`.
    to: csv, parquet, tensorboard or wandb.

  Raises:
    UserError: one sentence, for another format, one whose extra is not
      installed, or where nothing can be exported.
  """
  if to is None:
    raise component.UserError(
      '`posexp export` needs a format: give --to=csv, --to=parquet, '
      '--to=tensorboard or --to=wandb'
    )
  component.one_of('--to', to, FORMATS)
  flag = f'--to={to}'
  if to == 'parquet':
    component.extra('pyarrow', flag, 'parquet')
  finished_runs = records.read_all(workdir, details=to not in TABLES)
  if not finished_runs:
    raise component.UserError(
      f'no finished run in {workdir}: `posexp run FILE --workdir={workdir}` '
      'computes those of a file'
    )
  if to in kinds.KINDS:
    kinds.KINDS[to].require(flag)
  return finished_runs


def place(workdir: str | pathlib.Path, to: str) -> pathlib.Path:
  """Return the directory that an export goes to unless one is named."""
  path = pathlib.Path(workdir)
  return kinds.KINDS[to].place(path) if to in kinds.KINDS else path


def write(
  exported: Iterable[Mapping[str, Any]],
  workdir: str | pathlib.Path,
  to: str,
  output: str | pathlib.Path,
) -> list[pathlib.Path]:
  """Export records over what is there of them; return where they went.

  Args:
    exported: what `finished` gives.
    workdir: as given to `posexp run`.
    to: csv or parquet, two tables each, `results` (see `records.load`) and
      `runs` (see `runs`); tensorboard or wandb, see `posexp.reports.trackers`.
    output: a directory that is there.

  Raises:
    UserError: one sentence, if a tracker does not take it.
    OSError: if it cannot be written.
  """
  listed, output = list(exported), pathlib.Path(output)
  if to in kinds.KINDS:
    tracker = kinds.make(to, pathlib.Path(workdir), output)
    for record in listed:
      tracker.send(record)
    return [output]
  digests = [record['digest'] for record in listed]
  tables = {'results': records.load(workdir, digests), 'runs': runs(listed)}
  paths = []
  for name, table in tables.items():
    paths.append(output / f'{name}.{to}')
    files.put(paths[-1], _packed(table, to), over=True)
  return paths


def _packed(table: pd.DataFrame, to: str) -> bytes:
  """Return a table as the content of a file, from which floats are exact."""
  if to == 'csv':
    return table.to_csv(index=False, na_rep=MISSING).encode()
  content = io.BytesIO()
  table.to_parquet(content, engine='pyarrow', index=False)
  return content.getvalue()


def runs(exported: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
  """Return a row for each record: what was asked for, what it took, under what.

  Columns: digest, name, task, scheme, parent, parent_digest ('' if none),
  trained_length, tokens, gate, seeds (how many), admitted (how many of them
  learned the task), changes (to the parent), and by dotted names all of
  parameters, config (such as config.train.steps), seconds, device and versions.
  Where only some runs have a value, the others have NaN, or '' for text.
  """
  rows = [series.flat(series.settings(record)) for record in exported]
  names = dict.fromkeys(name for row in rows for name in row)
  # Parts stay together, whichever run has a column first.
  parts = list(dict.fromkeys(map(_part, names)))
  order = sorted(names, key=lambda name: parts.index(_part(name)))
  return pd.DataFrame({n: _column([row.get(n) for row in rows]) for n in order})


def _part(name: str) -> str:
  """Return what of a run a column is about, such as config.train."""
  return '.'.join(name.split('.')[:2])


def _column(values: list[Any]) -> pd.Series:
  """Return values of one type, the missing ones NaN or, in text, ''."""
  known = [value for value in values if value is not None]
  types = {type(value) for value in known}
  if known and len(known) == len(values) and len(types) == 1:
    return pd.Series(values, dtype='str' if types == {str} else None)
  if known and types <= {int, float}:
    return pd.Series(values, dtype='float64')
  texts = ['' if value is None else str(value) for value in values]
  return pd.Series(texts, dtype='str')
