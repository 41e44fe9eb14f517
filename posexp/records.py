"""What a run leaves behind, and how to read it: immutable, checked, no JAX.

A work directory holds one directory a run, named by the digest of its whole
configuration:

  runs/<digest>/record.json    config, versions, timings and results
  runs/<digest>/outcomes.npz   what became of every target, with its strata
  runs/<digest>/checkpoints/   orbax
"""

import hashlib
import io
import json
import math
import os
import pathlib
import re
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from posexp import files

FORMAT = 1

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

# Columns of `outcomes` that are no strata.
_NO_STRATA = ('length', 'seed', 'example', 'kind', 'nats')

# A list of numbers or nulls in JSON that is written over several lines, which
# no text is.
_NUMBERS = re.compile(r'\[\n[^\[\]{}"]*\n *\]')


class Damaged(ValueError):
  """A record that cannot be read, or is not what its name says."""


def run_directory(workdir: str | os.PathLike, digest: str) -> pathlib.Path:
  """Where a run's files lie.

  Raises:
    ValueError: if the digest is not one plain name, and could lead elsewhere.
  """
  if digest in ('', '.', '..') or {'/', '\\', '\0'} & set(digest):
    raise ValueError(
      f'a digest is sixteen hexadecimal digits, got {digest!r}: it is the name '
      'of a directory under runs'
    )
  return pathlib.Path(workdir) / 'runs' / digest


def write(
  workdir: str | os.PathLike,
  record: dict[str, Any],
  outcomes: dict[str, np.ndarray],
) -> pathlib.Path:
  """Writes a finished run: first its outcomes, then, in one move, its record.

  A record is there whole or not at all, and it is never written over, not
  even by a process that finishes the same run at the same moment. A number
  that is not finite becomes null, as JSON has no other word for it.
  """
  directory = run_directory(workdir, record['digest'])
  path = directory / 'record.json'
  if path.exists():
    raise files.there_already(path)
  packed = io.BytesIO()
  np.savez_compressed(packed, **outcomes)  # type: ignore[arg-type]
  body = {'format': FORMAT, **record, 'outcomes': _hash(packed.getvalue())}
  # Through JSON once, so that the checksum is of what will be read.
  body = json.loads(json.dumps(_finite(body)))
  # What cannot be loaded fails now, and not where it is read.
  pd.DataFrame(_rows(body), columns=list(COLUMNS)).astype(_TYPES)
  text = json.dumps({**body, 'checksum': checksum(body)}, indent=1)
  # Lists of numbers on one line each: most of a record is those.
  text = _NUMBERS.sub(lambda found: ' '.join(found[0].split()), text)
  directory.mkdir(parents=True, exist_ok=True)
  files.put(directory / 'outcomes.npz', packed.getvalue(), over=True)
  files.put(path, text.encode(), over=False)
  return path


def read(workdir: str | os.PathLike, digest: str) -> dict[str, Any] | None:
  """A run's record, None if it has not finished.

  Raises:
    Damaged: naming the file, if it is truncated, changed or not this run's.
  """
  path = run_directory(workdir, digest) / 'record.json'
  if not path.exists():
    return None
  again = 'it is left there; move it away to run that configuration again'
  try:
    record = json.loads(path.read_text('utf-8'))
    said = record.pop('checksum')
    mine, form = record['digest'], record['format']
  except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
    raise Damaged(
      f'record {path} cannot be read ({type(error).__name__}: {error}): {again}'
    ) from None
  if mine != digest:
    raise Damaged(
      f'record {path} belongs to configuration {mine}: it is left there; move '
      'it away to run this configuration'
    )
  if said != checksum(record):
    raise Damaged(f'record {path} was changed after it was written: {again}')
  if form != FORMAT:
    raise Damaged(
      f'record {path} has format {form}, and this version reads {FORMAT}: read '
      f'it with the version that wrote it; {again}'
    )
  return record


def read_all(workdir: str | os.PathLike) -> list[dict[str, Any]]:
  """Every readable record, by name; a damaged one is a warning.

  Raises:
    ValueError: if there is no such directory.
  """
  directories = sorted((pathlib.Path(workdir) / 'runs').glob('*'))
  found = _readable(workdir, [directory.name for directory in directories])
  return sorted(found, key=lambda r: (r['name'], r['digest']))


def _readable(
  workdir: str | os.PathLike, digests: Iterable[str]
) -> list[dict[str, Any]]:
  if not pathlib.Path(workdir).is_dir():
    raise ValueError(
      f'no work directory {workdir}: give the one that `posexp run` wrote to'
    )
  found = []
  for digest in digests:
    try:
      record = read(workdir, digest)
    except ValueError as error:
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
    ValueError: if there is no such directory.
  """
  if digests is None:
    records = read_all(workdir)
  else:
    records = _readable(workdir, dict.fromkeys(digests))
  rows = [row for record in records for row in _rows(record)]
  return pd.DataFrame(rows, columns=list(COLUMNS)).astype(_TYPES)


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
    'gate': record.get('gate', GATE),
    'nats': None,
  }
  for result in record['results']:
    seed, length = str(result['seed']), str(result['length'])
    baselines = record.get('baselines', {}).get(length, {})
    values = {
      **same,
      **result,
      'ratio': result['length'] / record['trained_length'],
      'chance': record['chance'][length],
      'bag': baselines.get('bag'),
      'recent': baselines.get('recent'),
      'diverged': record['diverged'][seed],
      # Null, which is not a number, is not an accuracy of nought.
      'admitted': (record['learned'][seed] or 0) >= same['gate'],
    }
    yield {column: values[column] for column in COLUMNS}


def coverage(workdir: str | os.PathLike) -> pd.DataFrame:
  """What each run was evaluated on that training never used.

  Columns: digest, name, length, kind (of regime, see `posexp.coverage`),
  unseen (the share of the regimes in use that is new), seed, mass (the share
  of attention that falls on them).
  """
  rows = [
    {
      **{key: record[key] for key in ('digest', 'name')},
      **{key: row[key] for key in ('length', 'kind', 'unseen')},
      'seed': int(seed),
      'mass': mass,
    }
    for record in read_all(workdir)
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
  known = [str(c) for c in table if c not in _NO_STRATA]
  for name in names:
    if name not in known:
      raise ValueError(
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


def outcomes(workdir: str | os.PathLike, digest: str) -> pd.DataFrame:
  """Every target of a run: length, seed, example, strata, kind and nats.

  kind is 0 for correct, 1 for an order error, 2 for a retrieval error; nats
  is minus the right token's log-probability, NaN where it was not recorded.

  Raises:
    ValueError: if the run has not finished.
    Damaged: naming the file, if its record or outcomes are damaged.
  """
  record = read(workdir, digest)
  if record is None:
    raise ValueError(f'no finished run {digest} under {workdir}')
  path = run_directory(workdir, digest) / 'outcomes.npz'
  try:
    packed = path.read_bytes()
  except OSError as error:
    raise Damaged(f'outcomes {path} cannot be read ({error})') from None
  if _hash(packed) != record['outcomes']:
    raise Damaged(
      f'outcomes {path} are not those that were written: move the directory '
      'away to run that configuration again'
    )
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


def _finite(value: Any) -> Any:
  """Plain values with None where a number is not finite."""
  if isinstance(value, dict):
    return {k: _finite(v) for k, v in value.items()}
  if isinstance(value, list | tuple):
    return [_finite(v) for v in value]
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value


def _hash(content: bytes) -> str:
  return hashlib.sha256(content).hexdigest()[:16]


def checksum(body: dict[str, Any]) -> str:
  """Sixteen hexadecimal digits that change with anything in a record."""
  return _hash(json.dumps(body, sort_keys=True).encode())
