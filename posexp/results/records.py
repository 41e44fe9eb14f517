"""The results of finished runs as tables; what they lie in, no JAX."""

import io
import os
import pathlib
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd

from posexp import component
from posexp.results import record_files
from posexp.results.record_files import FORMAT as FORMAT
from posexp.results.record_files import Damaged as Damaged
from posexp.results.record_files import checksum as checksum
from posexp.results.record_files import finished as finished
from posexp.results.record_files import read as read
from posexp.results.record_files import run_directory as run_directory
from posexp.results.record_files import whole as whole

# A run's numbers beyond its trained length count only if it learned the task:
# the token accuracy that says so, unless its task says otherwise.
GATE = 0.99

# Of the table that `load` gives, in this order. Types are fixed, so that an
# empty table can be worked with like any other.
_TYPES = {
  **dict.fromkeys(('digest', 'name', 'task', 'scheme'), 'str'),
  **dict.fromkeys(('parent', 'parent_digest'), 'str'),
  **dict.fromkeys(('trained_length', 'length'), 'int64'),
  'ratio': 'float64',
  'seed': 'int64',
  **dict.fromkeys(('exact', 'token', 'order', 'retrieval'), 'float64'),
  **dict.fromkeys(('nats', 'first_error', 'end'), 'float64'),
  **dict.fromkeys(('chance', 'bag', 'recent'), 'float64'),
  **dict.fromkeys(('targets', 'parameters', 'steps', 'diverged'), 'int64'),
  'gate': 'float64',
  'admitted': 'bool',
}
COLUMNS = tuple(_TYPES)
_OF_RUN = (
  *('digest', 'name', 'task', 'scheme', 'parent', 'parent_digest'),
  *('trained_length', 'parameters', 'steps', 'gate'),
)
_OF_ROW = (
  *('length', 'seed', 'exact', 'token', 'order', 'retrieval'),
  *('first_error', 'end', 'targets'),
)

# Columns of `outcomes` that are no strata.
_NO_STRATA = ('length', 'seed', 'example', 'kind', 'nats')


def write(
  workdir: str | os.PathLike,
  record: dict[str, Any],
  outcomes: dict[str, np.ndarray],
) -> pathlib.Path:
  """Writes a finished run, as `record_files.write`, if its table is one.

  What cannot be loaded fails now, and not where it is read.
  """
  body = record_files.as_read(record)
  _table([body])
  return record_files.write(workdir, body, outcomes)


def read_all(
  workdir: str | os.PathLike, whole: bool = False
) -> list[dict[str, Any]]:
  """Every readable record, by name; a damaged one is a warning.

  Args:
    workdir: as given to `posexp run`.
    whole: with the details, which take most of the time.

  Raises:
    UserError: if there is no such directory.
  """
  directories = sorted((pathlib.Path(workdir) / 'runs').glob('*'))
  digests = [directory.name for directory in directories]
  found = _readable(workdir, digests, record_files.whole if whole else read)
  return sorted(found, key=lambda r: (r['name'], r['digest']))


def _readable(
  workdir: str | os.PathLike,
  digests: Iterable[str],
  reader: Callable[..., dict[str, Any] | None] = read,
) -> list[dict[str, Any]]:
  if not pathlib.Path(workdir).is_dir():
    raise component.UserError(
      f'no work directory {workdir}: give the one that `posexp run` wrote to'
    )
  found = []
  for digest in digests:
    try:
      record = reader(workdir, digest)
    except component.UserError as error:
      warnings.warn(str(error), stacklevel=3)
      continue
    if record is not None:
      found.append(record)
  return found


def load(
  workdir: str | os.PathLike, digests: Iterable[str] | None = None
) -> pd.DataFrame:
  """The results under a work directory: one row a run, seed and length.

  Columns: digest, name, task, scheme, parent (the scheme it was trained with,
  '' if none), parent_digest, trained_length, length, ratio (length over
  trained length), seed, exact, token, order, retrieval, nats (minus the mean
  log-probability of the right token, whose exponential is the perplexity; NaN
  in records of a version without it), first_error, end (NaN where the task has
  none), chance, bag and recent (what answerers that cannot order score on the
  same examples, see `Task.guesses`; NaN where the task has none), targets,
  parameters, steps, diverged (step or -1), gate (0.99, or what the task says),
  admitted (learned the task: token accuracy at the trained length at least
  that of the gate). A record that cannot be read is a warning that names its
  file.

  Args:
    workdir: as given to `posexp run`.
    digests: the runs to load, in this order, of those that have finished; all
      of them, by name, by default.

  Raises:
    UserError: if there is no such directory.
  """
  if digests is None:
    records = read_all(workdir)
  else:
    records = _readable(workdir, dict.fromkeys(digests))
  return _table(records)


def _table(found: Iterable[dict[str, Any]]) -> pd.DataFrame:
  """The results of records, column by column: rows would take twice as long."""
  listed = list(found)
  counts = [len(record['results']) for record in listed]
  of_run: dict[str, list[Any]] = {name: [] for name in _OF_RUN}
  for record in listed:
    for name, value in _constant(record).items():
      of_run[name].append(value)
  index = np.repeat(np.arange(len(listed)), counts)
  table: dict[str, Any] = {
    name: pd.Series(values, dtype=_TYPES[name]).array[index]
    for name, values in of_run.items()
  }
  rows = [row for record in listed for row in record['results']]
  table |= {name: [row[name] for row in rows] for name in _OF_ROW}
  table['nats'] = [row.get('nats') for row in rows]
  table |= _by_row(listed)
  made = pd.DataFrame({name: table[name] for name in _TYPES if name in table})
  made['ratio'] = made['length'] / made['trained_length']
  return made[list(COLUMNS)].astype(_TYPES)


def _constant(record: dict[str, Any]) -> dict[str, Any]:
  """What all rows of a record have in common."""
  return {
    **{name: record[name] for name in ('digest', 'name', 'task', 'scheme')},
    'parent': record['parent'] or '',
    'parent_digest': record['parent_digest'] or '',
    'trained_length': record['trained_length'],
    'parameters': record['parameters']['total'],
    'steps': record['config']['train']['steps'],
    'gate': record.get('gate', GATE),
  }


def _by_row(listed: list[dict[str, Any]]) -> dict[str, list[Any]]:
  """What depends on the seed or the length of a row."""
  names = 'chance', 'bag', 'recent', 'diverged', 'admitted'
  found: dict[str, list[Any]] = {name: [] for name in names}
  for record in listed:
    chance, gate = record['chance'], record.get('gate', GATE)
    baselines = record.get('baselines', {})
    for row in record['results']:
      seed, length = str(row['seed']), str(row['length'])
      simple = baselines.get(length, {})
      found['chance'].append(chance[length])
      found['bag'].append(simple.get('bag'))
      found['recent'].append(simple.get('recent'))
      found['diverged'].append(record['diverged'][seed])
      # Null, which is not a number, is not an accuracy of nought.
      found['admitted'].append((record['learned'][seed] or 0) >= gate)
  return found


def coverage(workdir: str | os.PathLike) -> pd.DataFrame:
  """What each run was evaluated on that training never used.

  Columns: digest, name, length, kind (of regime, see
  `posexp.schemes.coverage`), unseen (the share of the features in use that is
  new), seed, mass (the share of attention that falls on them).
  """
  rows = [
    {
      **{key: record[key] for key in ('digest', 'name')},
      **{key: row[key] for key in ('length', 'kind', 'unseen')},
      'seed': int(seed),
      'mass': mass,
    }
    for record in read_all(workdir, whole=True)
    for row in record.get('coverage', [])
    for seed, mass in row['mass'].items()
  ]
  columns = ['digest', 'name', 'length', 'kind', 'unseen', 'seed', 'mass']
  return pd.DataFrame(rows, columns=columns)


def strata(
  workdir: str | os.PathLike, digest: str, by: str | list[str]
) -> pd.DataFrame:
  """Shares of correct, order error and retrieval error by strata.

  Args:
    workdir: as given to `posexp run`.
    digest: the run.
    by: a stratum of its task ('gap', 'distance', ...), or several.

  Returns:
    One row a length, seed and value of the strata (targets without one, -1,
    left out), with columns token, order, retrieval, nats and targets.
  """
  names = [by] if isinstance(by, str) else list(by)
  table = outcomes(workdir, digest)
  known = strata_of(table)
  for name in names:
    if name not in known:
      raise component.UserError(
        f'{digest} has no stratum {name!r} (known: {", ".join(known)})'
      )
  table = table[(table[names] >= 0).all(axis=1)]
  shares = {
    column: table['kind'] == kind
    for kind, column in enumerate(('token', 'order', 'retrieval'))
  }
  table = table.assign(**shares)
  grouped = table.groupby(['length', 'seed', *names])
  means = grouped[[*shares, 'nats']].mean()
  return means.assign(targets=grouped.size()).reset_index()


def strata_of(table: pd.DataFrame) -> list[str]:
  """The strata that a table of `outcomes` has."""
  return [str(column) for column in table if column not in _NO_STRATA]


def outcomes(workdir: str | os.PathLike, digest: str) -> pd.DataFrame:
  """Every target of a run: length, seed, example, strata, kind and nats.

  kind is 0 for correct, 1 for an order error, 2 for a retrieval error; nats
  is minus the right token's log-probability, NaN where it was not recorded.

  Raises:
    UserError: if the run has not finished.
    Damaged: naming the file, if its record or outcomes are damaged.
  """
  record = read(workdir, digest)
  if record is None:
    raise component.UserError(f'no finished run {digest} under {workdir}')
  packed = record_files.part(workdir, record, record_files.OUTCOMES)
  frames = []
  with np.load(io.BytesIO(packed), allow_pickle=False) as data:
    for length in sorted({int(name.split('/')[0]) for name in data.files}):
      kind_SxT = data[f'{length}/kind']
      prefix = f'{length}/strata/'
      columns = {'example': data[f'{length}/example']}
      for name in data.files:
        if name.startswith(prefix):
          columns[name.removeprefix(prefix)] = data[name]
      seeds = record['config']['seeds']
      unknown = np.full(kind_SxT.shape, np.nan, np.float32)
      nats_SxT = data.get(f'{length}/nats', unknown)
      for seed, *each in zip(seeds, kind_SxT, nats_SxT, strict=True):
        frame = pd.DataFrame({**columns, **dict(zip(('kind', 'nats'), each))})
        frame.insert(0, 'seed', seed)
        frame.insert(0, 'length', length)
        frames.append(frame)
  return pd.concat(frames, ignore_index=True)
