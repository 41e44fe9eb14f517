"""What a run leaves behind: written once, checked, and read as tables; no JAX.

A work directory holds one directory a run, named by the digest of its whole
configuration:

  runs/<digest>/record.json           config, versions, timings and results
  runs/<digest>/details-<sum>.json    losses, and what was seen of attention
  runs/<digest>/outcomes-<sum>.npz    what became of every target
  runs/<digest>/checkpoints/          orbax

A record names its other two files, and these are named by the checksum of what
is in them. So two processes that finish the same run spoil nothing: the record
of the first stays, with its own files.
"""

import datetime
import hashlib
import io
import json
import math
import os
import pathlib
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import orjson
import pandas as pd

from posexp import component
from posexp.results import files, variants

FORMAT = 4

# The token accuracy at the trained length at which a seed has learned its task,
# unless the task says otherwise.
GATE = 0.99

# What most of a record would be and few read.
DETAILED = ('losses', 'coverage', 'diagnostics')
OUTCOMES, DETAILS = 'outcomes', 'details'
_ENDINGS = {OUTCOMES: 'npz', DETAILS: 'json'}

# What stands in a record between its values and their checksum.
_SEAL = b',\n "checksum": "'

# A list of numbers or nulls in JSON that is written over several lines, which
# no text is.
_NUMBERS = re.compile(r'\[\n[^\[\]{}"]*\n *\]')

# Of the table that `load` gives, in this order. Types are fixed, so that an
# empty table can be worked with like any other.
_TYPES = {
  **dict.fromkeys(('digest', 'name', 'task', 'scheme'), 'str'),
  **dict.fromkeys(('parent', 'parent_digest'), 'str'),
  **dict.fromkeys(('trained_length', 'length'), 'int64'),
  'ratio': 'float64',
  'seed': 'int64',
  **dict.fromkeys(('exact', 'token', 'order', 'retrieval'), 'float64'),
  'unanswered': 'float64',
  **dict.fromkeys(('nats', 'first_error', 'end'), 'float64'),
  **dict.fromkeys(('chance', 'bag', 'recent'), 'float64'),
  **dict.fromkeys(('targets', 'parameters', 'steps', 'diverged'), 'int64'),
  'gate': 'float64',
  **dict.fromkeys(('admitted', 'reevaluation', 'tuned'), 'bool'),
  'rate': 'float64',
  'variant': 'str',
}
COLUMNS = tuple(_TYPES)

# What became of a target, by its kind: correct, an order or a retrieval error.
# Any further kind is no answer, which is not correct and no error of either.
KINDS = ('token', 'order', 'retrieval')
# Columns of `outcomes` that are no strata.
_NO_STRATA = ('length', 'seed', 'example', 'kind', 'nats')


class DamagedRecord(component.UserError):
  """A record that cannot be read, or is not what its name says."""


def admitted(record: Mapping[str, Any]) -> dict[str, bool]:
  """Return which seeds of a run count, by seed.

  A seed is admitted if it learned the task: if the token accuracy of the root
  run at the trained length is at least the gate. That accuracy is of examples
  that nothing else uses, so that an admitted seed may score below the gate in
  the results. Means, intervals, comparisons and figures are over admitted seeds
  and over no others.

  >>> admitted({'gate': 0.99, 'learned': {'3': 0.995, '5': 0.5, '7': None}})
  {'3': True, '5': False, '7': False}
  """
  # An accuracy that was not finite is recorded as None.
  return {
    seed: accuracy is not None and accuracy >= record['gate']
    for seed, accuracy in record['learned'].items()
  }


def reevaluates(record: Mapping[str, Any]) -> bool:
  """Return whether a run is only its parent evaluated again.

  That is what `posexp evaluate` adds: the weights, scheme and task of the
  parent, at other lengths, on other examples or in other windows.
  """
  config = record['config']
  parent = config.get('parent')
  if not parent or config['train']['steps']:
    return False
  return all(config[name] == parent[name] for name in ('scheme', 'task'))


def is_trial(record: Mapping[str, Any]) -> bool:
  """Return whether a run only tells at which rate a tuned run is trained."""
  return bool(record['config'].get('trial'))


def run_directory(workdir: str | os.PathLike, digest: str) -> pathlib.Path:
  """Return where the files of a run are.

  Raises:
    UserError: if the digest is not one plain name, and could lead elsewhere.
  """
  if digest in ('', '.', '..') or {'/', '\\', '\0'} & set(digest):
    raise component.UserError(
      f'a digest is sixteen hexadecimal digits, got {digest!r}: it is the name '
      'of a directory under runs'
    )
  return pathlib.Path(workdir) / 'runs' / digest


def write(
  workdir: str | os.PathLike,
  record: dict[str, Any],
  outcomes: dict[str, np.ndarray],
) -> pathlib.Path:
  """Write a finished run: its parts first, then, in one move, its record.

  A record is there whole or not at all, and it is never written over, not
  even by a process that finishes the same run at the same moment. What could
  not be loaded as a table fails here, and not where it is read.

  Args:
    workdir: as given to `posexp run`.
    record: plain values; a number that is not finite becomes null.
    outcomes: the arrays of every target.

  Raises:
    AlreadyThere: if the run has a record; that one and its parts stay as they
      are.
  """
  record = json.loads(json.dumps(_finite(record)))
  _table([record])
  directory = run_directory(workdir, record['digest'])
  path = directory / 'record.json'
  if path.exists():
    raise files.AlreadyThere(f'{path} is there already')
  packed = io.BytesIO()
  np.savez_compressed(packed, **outcomes)  # type: ignore[arg-type]
  now = datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')
  body = {'format': FORMAT, 'finished': now, **record}
  details = {name: body.pop(name) for name in DETAILED if name in body}
  parts = {OUTCOMES: packed.getvalue(), DETAILS: _text(details).encode()}
  files.make_directory(directory)
  for name, content in parts.items():
    body[name] = _part_name(name, content)
    files.put(directory / body[name], content, over=True)
  values = _text(body).removesuffix('\n}').encode()
  try:
    files.put(path, _sealed(values), over=False)
  except files.AlreadyThere:
    _remove_strays(directory, read(workdir, record['digest']) or body)
    raise
  _remove_strays(directory, body)
  return path


def _remove_strays(directory: pathlib.Path, body: Mapping[str, Any]) -> None:
  """Remove the parts that a run's record does not name.

  They are those of a process that came second, or of one that died before it
  wrote its record.
  """
  for name, ending in _ENDINGS.items():
    for path in directory.glob(f'{name}-*.{ending}'):
      if path.name != body[name]:
        path.unlink(missing_ok=True)


def read(workdir: str | os.PathLike, digest: str) -> dict[str, Any] | None:
  """Return the record of a run, None if it has not finished.

  Raises:
    DamagedRecord: naming the file, if it is truncated, changed or of another
      run.
  """
  path = run_directory(workdir, digest) / 'record.json'
  remedy = 'it is left there; move it away to run that configuration again'
  try:
    content = path.read_bytes()
    record = orjson.loads(content)  # Four times as fast, of thousands of runs.
    del record['checksum']
    owner, form = record['digest'], record['format']
  except (FileNotFoundError, NotADirectoryError):
    return None
  except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
    raise DamagedRecord(
      f'record {path} cannot be read ({type(error).__name__}: {error}): '
      f'{remedy}'
    ) from None
  if owner != digest:
    raise DamagedRecord(
      f'record {path} belongs to configuration {owner}: it is left there; move '
      'it away to run this configuration'
    )
  if form != FORMAT:
    raise DamagedRecord(
      f'record {path} has format {form}, and this version reads {FORMAT}: read '
      f'it with the version that wrote it; {remedy}'
    )
  if content != _sealed(content.rpartition(_SEAL)[0]):
    raise DamagedRecord(
      f'record {path} was changed after it was written: {remedy}'
    )
  return record


def list_runs(workdir: str | os.PathLike) -> list[str]:
  """Return the digests of a work directory's runs, finished or not, in order.

  Raises:
    UserError: if there is no such directory, or it may not be read.
  """
  try:
    if not os.path.isdir(workdir):
      raise component.UserError(
        f'no work directory {workdir}: give the one that `posexp run` wrote to'
      )
    os.listdir(workdir)  # Whether that is allowed.
    return sorted(os.listdir(pathlib.Path(workdir) / 'runs'))
  except FileNotFoundError:
    return []
  except OSError as error:
    raise component.UserError(
      f'cannot read the work directory {workdir} ({error.strerror}): make it '
      'readable, or give another'
    ) from None


def finished(workdir: str | os.PathLike, digest: str) -> bool:
  """Return whether a run has a record, good or not."""
  return (run_directory(workdir, digest) / 'record.json').exists()


def whole(workdir: str | os.PathLike, digest: str) -> dict[str, Any] | None:
  """Return the record of a run with its details, None if it has not finished.

  Raises:
    DamagedRecord: naming the file, as `read`, and if its details are.
  """
  record = read(workdir, digest)
  if record is None:
    return None
  return record | json.loads(_part(workdir, record, DETAILS))


def read_all(
  workdir: str | os.PathLike,
  digests: Iterable[str] | None = None,
  *,
  details: bool = False,
  trials: bool = False,
) -> list[dict[str, Any]]:
  """Return the records of finished runs; a damaged one is a warning.

  Without the trials that only tell at which rate a tuned run is trained: they
  are no results, and what is made of records need not know of them.

  Args:
    workdir: as given to `posexp run`.
    digests: the runs, in this order; all of them, by name, by default.
    details: whether to read these too, which takes most of the time.
    trials: whether to return those, too.

  Raises:
    UserError: if there is no such directory.
  """
  known = list_runs(workdir)
  wanted = known if digests is None else dict.fromkeys(digests)
  records = []
  for digest in wanted:
    try:
      record = (whole if details else read)(workdir, digest)
    except component.UserError as error:
      warnings.warn(str(error), stacklevel=3)
      continue
    if record is not None and (trials or not is_trial(record)):
      records.append(record)
  if digests is None:
    records.sort(key=lambda record: (record['name'], record['digest']))
  return records


def load(
  workdir: str | os.PathLike,
  digests: Iterable[str] | None = None,
  *,
  trials: bool = False,
) -> pd.DataFrame:
  """Return the results under a work directory by run, seed and length.

  Columns: digest, name, task, scheme, parent (the scheme it was trained with,
  '' if none), parent_digest, trained_length, length, ratio (length over
  trained length), seed, exact, token, order, retrieval, nats (minus the mean
  log-probability of the right token, whose exponential is the perplexity; NaN
  where the model gives none), first_error, end (NaN where the task has none),
  chance, bag and recent (what answerers that cannot order score on the same
  examples, see `Task.guesses`; NaN where the task has none), targets,
  parameters, steps, diverged (step or -1), gate (0.99, or what the task says),
  admitted (whether the seed learned the task, see `admitted`), reevaluation
  (whether the run is only its parent evaluated again), tuned (whether the
  learning rate of the root run was chosen by trials, see `posexp.tuned`), rate
  (the peak learning rate of the root run, NaN where the record does not say),
  variant (the fields in which it differs from others of its name, '' if there
  are none or many). A record that cannot be read is a warning that names its
  file.

  Args:
    workdir: as given to `posexp run`.
    digests: the runs to load, in this order, of those that have finished; all
      of them, by name, by default.
    trials: whether the trials of tuned runs have rows, too.

  Raises:
    UserError: if there is no such directory.
  """
  return _table(read_all(workdir, digests, trials=trials))


def coverage(workdir: str | os.PathLike) -> pd.DataFrame:
  """Return what each run was evaluated on that training never used.

  Columns: digest, name, length, kind (see `posexp.schemes.coverage`), unseen
  (the share of what is in use that is new), seed, mass (the share of attention
  that falls on it).
  """
  rows = [
    {
      **{key: record[key] for key in ('digest', 'name')},
      **{key: row[key] for key in ('length', 'kind', 'unseen')},
      'seed': int(seed),
      'mass': mass,
    }
    for record in read_all(workdir, details=True)
    for row in record.get('coverage', [])
    for seed, mass in row['mass'].items()
  ]
  columns = ['digest', 'name', 'length', 'kind', 'unseen', 'seed', 'mass']
  return pd.DataFrame(rows, columns=columns)


def outcomes(workdir: str | os.PathLike, digest: str) -> pd.DataFrame:
  """Return every target of a run: length, seed, example, strata, kind and nats.

  kind is 0 for correct, 1 for an order error, 2 for a retrieval error, 3 where
  the model's logits were not finite; nats is minus the right token's
  log-probability.

  Raises:
    UserError: if the run has not finished.
    DamagedRecord: naming the file, if its record or outcomes are damaged.
  """
  record = read(workdir, digest)
  if record is None:
    raise component.UserError(f'no finished run {digest} under {workdir}')
  packed = _part(workdir, record, OUTCOMES)
  frames = []
  with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
    for length in sorted({int(name.split('/')[0]) for name in arrays.files}):
      prefix = f'{length}/strata/'
      columns = {'example': arrays[f'{length}/example']}
      for name in arrays.files:
        if name.startswith(prefix):
          columns[name.removeprefix(prefix)] = arrays[name]
      kind_SxT, nats_SxT = arrays[f'{length}/kind'], arrays[f'{length}/nats']
      for seed, kind_T, nats_T in zip(
        record['config']['seeds'], kind_SxT, nats_SxT, strict=True
      ):
        frame = pd.DataFrame({**columns, 'kind': kind_T, 'nats': nats_T})
        frame.insert(0, 'seed', seed)
        frame.insert(0, 'length', length)
        frames.append(frame)
  return pd.concat(frames, ignore_index=True)


def strata(
  workdir: str | os.PathLike, digest: str, by: str | list[str]
) -> pd.DataFrame:
  """Return shares of correct, order error and retrieval error by strata.

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
  table = with_kinds(table[(table[names] >= 0).all(axis=1)])
  grouped = table.groupby(['length', 'seed', *names])
  means = grouped[[*KINDS, 'nats']].mean()
  return means.assign(targets=grouped.size()).reset_index()


def strata_of(table: pd.DataFrame) -> list[str]:
  """Return the strata that a table of `outcomes` has."""
  return [str(column) for column in table if column not in _NO_STRATA]


def with_kinds(table: pd.DataFrame) -> pd.DataFrame:
  """Return a table of `outcomes` with a column for each of `KINDS`."""
  kinds: dict[str, Any] = {
    name: table['kind'] == kind for kind, name in enumerate(KINDS)
  }
  answered = table['kind'] < len(KINDS)
  if not answered.all():
    for name in KINDS[1:]:
      kinds[name] = kinds[name].astype(float).where(answered)
  return table.assign(**kinds)


def checksum(content: bytes) -> str:
  """Return sixteen hexadecimal digits that change with every byte."""
  return hashlib.sha256(content).hexdigest()[:16]


def _table(records: Iterable[dict[str, Any]]) -> pd.DataFrame:
  records = list(records)
  described = _variants(records)
  rows = [
    {**row, 'variant': variant}
    for record, variant in zip(records, described, strict=True)
    for row in _rows(record)
  ]
  # By columns, which takes half the time.
  columns = {name: [row[name] for row in rows] for name in COLUMNS}
  return pd.DataFrame(columns).astype(_TYPES)


def _variants(records: list[dict[str, Any]]) -> list[str]:
  """Return what tells each record from the others of its name."""
  by_name: dict[tuple[str, ...], list[int]] = {}
  for n, record in enumerate(records):
    by_name.setdefault((record['name'], record['task']), []).append(n)
  described = [''] * len(records)
  for places in by_name.values():
    if len(places) > 1:
      twins = [variants.described(records[n]) for n in places]
      for n, ending in zip(places, variants.endings(twins), strict=True):
        described[n] = ending
  return described


def _rows(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
  run = {
    **{name: record[name] for name in ('digest', 'name', 'task', 'scheme')},
    'parent': record['parent'] or '',
    'parent_digest': record['parent_digest'] or '',
    'trained_length': record['trained_length'],
    'parameters': record['parameters']['total'],
    'steps': record['config']['train']['steps'],
    'gate': record['gate'],
    'reevaluation': reevaluates(record),
    'tuned': bool(record.get('tuned')),
    'rate': _rate(record),
  }
  counts = admitted(record)
  for row in record['results']:
    seed, length = str(row['seed']), str(row['length'])
    baselines = record['baselines'].get(length, {})
    yield {
      **run,
      **row,
      'ratio': row['length'] / record['trained_length'],
      'chance': record['chance'][length],
      'bag': baselines.get('bag'),
      'recent': baselines.get('recent'),
      'diverged': record['diverged'][seed],
      'admitted': counts[seed],
    }


def _rate(record: Mapping[str, Any]) -> float | None:
  """Return the peak learning rate at which the root of a run was trained."""
  if record.get('tuned'):
    return record['tuned']['rate']
  root = record['config']
  while root.get('parent'):
    root = root['parent']
  return root['train'].get('learning_rate')


def _part(
  workdir: str | os.PathLike, record: Mapping[str, Any], name: str
) -> bytes:
  """Return the file of a part of a record, as it was written.

  Raises:
    DamagedRecord: naming the file, if it is missing or another one.
  """
  path = run_directory(workdir, record['digest']) / record[name]
  try:
    content = path.read_bytes()
  except OSError as error:
    raise DamagedRecord(f'{name} {path} cannot be read ({error})') from None
  if record[name] != _part_name(name, content):
    raise DamagedRecord(
      f'{name} {path} are not those that were written: move the directory '
      'away to run that configuration again'
    )
  return content


def _part_name(name: str, content: bytes) -> str:
  return f'{name}-{checksum(content)}.{_ENDINGS[name]}'


def _text(body: dict[str, Any]) -> str:
  """Return JSON with a list of numbers, most of a record, on one line each."""
  text = json.dumps(body, indent=1)
  return _NUMBERS.sub(lambda found: ' '.join(found[0].split()), text)


def _sealed(values: bytes) -> bytes:
  """Return a record's values with the checksum of their bytes as the last.

  So that nothing need be written again to be checked.
  """
  return values + _SEAL + f'{checksum(values)}"\n}}'.encode()


def _finite(value: Any) -> Any:
  """Return plain values with None, JSON's null, for what is not finite."""
  if isinstance(value, dict):
    return {k: _finite(v) for k, v in value.items()}
  if isinstance(value, list | tuple):
    return [_finite(v) for v in value]
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value
