"""What a run leaves behind, and how to read it: immutable, checked, no JAX.

A work directory holds one directory a run, named by the digest of its whole
configuration:

  runs/<digest>/record.json    config, versions, timings and results
  runs/<digest>/outcomes.npz   what became of every target, with its strata
  runs/<digest>/checkpoints/   orbax
"""

import hashlib
import json
import os
import pathlib
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

FORMAT = 1

# A run's numbers beyond its trained length count only if it learned the task.
GATE = 0.99

# Of the table that `load` gives, in this order.
COLUMNS = (
  'digest',
  'name',
  'task',
  'scheme',
  'parent',
  'parent_digest',
  'trained_length',
  'length',
  'ratio',
  'seed',
  'exact',
  'token',
  'order',
  'retrieval',
  'first_error',
  'end',
  'chance',
  'targets',
  'parameters',
  'steps',
  'diverged',
  'admitted',
)


class Damaged(ValueError):
  """A record that cannot be read, or is not what its name says."""


def run_directory(workdir: str | os.PathLike, digest: str) -> pathlib.Path:
  """Where a run's files lie."""
  return pathlib.Path(workdir) / 'runs' / digest


def write(
  workdir: str | os.PathLike,
  record: dict[str, Any],
  outcomes: dict[str, np.ndarray],
) -> pathlib.Path:
  """Writes a finished run: first its outcomes, then, in one move, its record.

  A record is there whole or not at all, and it is never written over.
  """
  directory = run_directory(workdir, record['digest'])
  directory.mkdir(parents=True, exist_ok=True)
  path = directory / 'record.json'
  if path.exists():
    raise FileExistsError(
      f'{path} is there already: a record is immutable; move it away to run '
      'this configuration again'
    )
  _replace(
    directory / 'outcomes.npz',
    lambda file: np.savez_compressed(file, **outcomes),  # type: ignore[arg-type]
  )
  body = {'format': FORMAT, **record}
  body['checksum'] = _checksum(body)
  text = json.dumps(body, indent=1)
  _replace(path, lambda file: file.write(text.encode()))
  return path


def read(workdir: str | os.PathLike, digest: str) -> dict[str, Any] | None:
  """A run's record, None if it has not finished.

  Raises:
    Damaged: naming the file, if it is truncated or not this run's.
  """
  path = run_directory(workdir, digest) / 'record.json'
  if not path.exists():
    return None
  try:
    record = json.loads(path.read_text())
    checksum = record.pop('checksum')
    mine = record['digest']
  except (ValueError, KeyError, AttributeError, OSError) as error:
    raise Damaged(
      f'record {path} cannot be read ({type(error).__name__}: {error}): it '
      'is left there; move it away to run that configuration again'
    ) from None
  if mine != digest:
    raise Damaged(
      f'record {path} belongs to configuration {mine}: it is left there; move '
      'it away to run this configuration'
    )
  if checksum != _checksum(record):
    raise Damaged(
      f'record {path} was changed after it was written: it is left there; '
      'move it away to run that configuration again'
    )
  return record


def read_all(workdir: str | os.PathLike) -> list[dict[str, Any]]:
  """Every readable record, by name; a damaged one is a warning."""
  found = []
  for directory in sorted((pathlib.Path(workdir) / 'runs').glob('*')):
    try:
      record = read(workdir, directory.name)
    except Damaged as error:
      warnings.warn(str(error), stacklevel=2)
      continue
    if record is not None:
      found.append(record)
  return sorted(found, key=lambda r: (r['name'], r['digest']))


def load(
  workdir: str | os.PathLike, digests: Iterable[str] | None = None
) -> pd.DataFrame:
  """The results under a work directory: one row a run, seed and length.

  Columns: digest, name, task, scheme, parent (the scheme it was trained with,
  '' if none), parent_digest, trained_length, length, ratio (length over
  trained length), seed, exact, token, order, retrieval, first_error, end,
  chance, targets, parameters, steps, diverged (step or -1), admitted (learned
  the task at the trained length, token accuracy at least 0.99).

  Args:
    workdir: as given to `posexp run`.
    digests: the runs to load, in this order; all of them by default.
  """
  records = read_all(workdir)
  if digests is not None:
    by_digest = {record['digest']: record for record in records}
    records = [by_digest[d] for d in digests if d in by_digest]
  rows = [row for record in records for row in _rows(record)]
  return pd.DataFrame(rows, columns=list(COLUMNS))


def _rows(record: dict[str, Any]) -> Iterable[dict[Any, Any]]:
  same = {
    'digest': record['digest'],
    'name': record['name'],
    'task': record['task'],
    'scheme': record['scheme'],
    'parent': record['parent'] or '',
    'parent_digest': record['parent_digest'] or '',
    'trained_length': record['trained_length'],
    'parameters': record['parameters']['total'],
    'steps': record['config']['train']['steps'],
  }
  for result in record['results']:
    seed = str(result['seed'])
    values = {
      **same,
      **result,
      'ratio': result['length'] / record['trained_length'],
      'chance': record['chance'][str(result['length'])],
      'diverged': record['diverged'][seed],
      'admitted': record['learned'][seed] >= GATE,
    }
    yield {column: values[column] for column in COLUMNS}


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
    left out), with columns token, order, retrieval and targets.
  """
  names = [by] if isinstance(by, str) else list(by)
  table = outcomes(workdir, digest)
  for name in names:
    if name not in table:
      known = ', '.join(c for c in table if c not in ('kind', 'example'))
      raise ValueError(f'{digest} has no stratum {name!r} (known: {known})')
  table = table[(table[names] >= 0).all(axis=1)]
  for kind, column in enumerate(('token', 'order', 'retrieval')):
    table[column] = table['kind'] == kind
  grouped = table.groupby(['length', 'seed', *names])
  shares = grouped[['token', 'order', 'retrieval']].mean()
  shares['targets'] = grouped.size()
  return shares.reset_index()


def outcomes(workdir: str | os.PathLike, digest: str) -> pd.DataFrame:
  """Every target of a run: length, seed, example, kind and its strata.

  kind is 0 for correct, 1 for an order error, 2 for a retrieval error.
  """
  record = read(workdir, digest)
  if record is None:
    raise ValueError(f'no finished run {digest} under {workdir}')
  path = run_directory(workdir, digest) / 'outcomes.npz'
  frames = []
  with np.load(path, allow_pickle=False) as data:
    for length in sorted({int(name.split('/')[0]) for name in data.files}):
      kind_SxT = data[f'{length}/kind']
      prefix = f'{length}/strata/'
      columns = {'example': data[f'{length}/example']}
      for name in data.files:
        if name.startswith(prefix):
          columns[name.removeprefix(prefix)] = data[name]
      for seed, kind_T in zip(record['config']['seeds'], kind_SxT):
        frame = pd.DataFrame({**columns, 'kind': kind_T})
        frame.insert(0, 'seed', seed)
        frame.insert(0, 'length', length)
        frames.append(frame)
  return pd.concat(frames, ignore_index=True)


def _replace(path: pathlib.Path, fill: Any) -> None:
  """Writes a file under another name, flushes it, and moves it into place."""
  partial = path.with_name(f'.{path.name}.{os.getpid()}.partial')
  try:
    with partial.open('wb') as file:
      fill(file)
      file.flush()
      os.fsync(file.fileno())
    partial.replace(path)
  finally:
    partial.unlink(missing_ok=True)


def _checksum(body: dict[str, Any]) -> str:
  text = json.dumps(body, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:16]
