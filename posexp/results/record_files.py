"""What a run leaves behind: immutable, checked, no JAX.

A work directory holds one directory a run, named by the digest of its whole
configuration:

  runs/<digest>/record.json    config, versions, timings and results
  runs/<digest>/details.json   losses, and what was seen of attention
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
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from posexp import component
from posexp.results import files

FORMAT = 3
# In the first, details were in the record itself; before the third, the
# checksum was of its values, however they were written.
READABLE = (1, 2, FORMAT)

# What most of a record would be and few read.
DETAILED = ('losses', 'coverage', 'diagnostics')
OUTCOMES, DETAILS = 'outcomes', 'details'
_FILES = {OUTCOMES: 'outcomes.npz', DETAILS: 'details.json'}

# What stands in a record between its values and their checksum.
_SEAL = b',\n "checksum": "'

# A list of numbers or nulls in JSON that is written over several lines, which
# no text is.
_NUMBERS = re.compile(r'\[\n[^\[\]{}"]*\n *\]')


class Damaged(component.UserError):
  """A record that cannot be read, or is not what its name says."""


def run_directory(workdir: str | os.PathLike, digest: str) -> pathlib.Path:
  """Where a run's files lie.

  Raises:
    UserError: if the digest is not one plain name, and could lead elsewhere.
  """
  if digest in ('', '.', '..') or {'/', '\\', '\0'} & set(digest):
    raise component.UserError(
      f'a digest is sixteen hexadecimal digits, got {digest!r}: it is the name '
      'of a directory under runs'
    )
  return pathlib.Path(workdir) / 'runs' / digest


def as_read(record: dict[str, Any]) -> dict[str, Any]:
  """A record as it will be read: through JSON once.

  A number that is not finite becomes null, as JSON has no other word for it.
  """
  return json.loads(json.dumps(_finite(record)))


def write(
  workdir: str | os.PathLike,
  record: dict[str, Any],
  outcomes: dict[str, np.ndarray],
) -> pathlib.Path:
  """Writes a finished run: its parts first, then, in one move, its record.

  A record is there whole or not at all, and it is never written over, not
  even by a process that finishes the same run at the same moment.

  Args:
    workdir: as given to `posexp run`.
    record: as it will be read, see `as_read`.
    outcomes: the arrays of every target.
  """
  directory = run_directory(workdir, record['digest'])
  path = directory / 'record.json'
  if path.exists():
    raise files.there_already(path)
  packed = io.BytesIO()
  np.savez_compressed(packed, **outcomes)  # type: ignore[arg-type]
  body = {'format': FORMAT, **record}
  kept = {name: body.pop(name) for name in DETAILED if name in body}
  parts = {OUTCOMES: packed.getvalue(), DETAILS: _text(kept).encode()}
  body |= {name: _hash(content) for name, content in parts.items()}
  directory.mkdir(parents=True, exist_ok=True)
  for name, content in parts.items():
    files.put(directory / _FILES[name], content, over=True)
  values = _text(body).removesuffix('\n}').encode()
  files.put(path, _sealed(values), over=False)
  return path


def read(workdir: str | os.PathLike, digest: str) -> dict[str, Any] | None:
  """A run's record, None if it has not finished.

  Raises:
    Damaged: naming the file, if it is truncated, changed or not this run's.
  """
  path = run_directory(workdir, digest) / 'record.json'
  again = 'it is left there; move it away to run that configuration again'
  try:
    content = path.read_bytes()
    record = orjson.loads(content)  # Four times as fast, of thousands of runs.
    said = record.pop('checksum')
    mine, form = record['digest'], record['format']
  except (FileNotFoundError, NotADirectoryError):
    return None
  except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
    raise Damaged(
      f'record {path} cannot be read ({type(error).__name__}: {error}): {again}'
    ) from None
  if mine != digest:
    raise Damaged(
      f'record {path} belongs to configuration {mine}: it is left there; move '
      'it away to run this configuration'
    )
  if form not in READABLE:
    known = ', '.join(map(str, READABLE))
    raise Damaged(
      f'record {path} has format {form}, and this version reads {known}: read '
      f'it with the version that wrote it; {again}'
    )
  if form == FORMAT:
    whole = content == _sealed(content.rpartition(_SEAL)[0])
  else:
    whole = said == checksum(record)
  if not whole:
    raise Damaged(f'record {path} was changed after it was written: {again}')
  return record


def finished(workdir: str | os.PathLike, digest: str) -> bool:
  """Whether a run has a record, good or not."""
  return (run_directory(workdir, digest) / 'record.json').exists()


def whole(workdir: str | os.PathLike, digest: str) -> dict[str, Any] | None:
  """A run's record with its details, None if it has not finished.

  Raises:
    Damaged: naming the file, as `read`, and if its details are.
  """
  record = read(workdir, digest)
  if record is None or DETAILS not in record:  # An older one holds them itself.
    return record
  return record | json.loads(part(workdir, record, DETAILS))


def part(
  workdir: str | os.PathLike, record: Mapping[str, Any], name: str
) -> bytes:
  """The file of a part of a record, as it was written.

  Raises:
    Damaged: naming the file, if it is missing or another one.
  """
  path = run_directory(workdir, record['digest']) / _FILES[name]
  try:
    content = path.read_bytes()
  except OSError as error:
    raise Damaged(f'{name} {path} cannot be read ({error})') from None
  if _hash(content) != record[name]:
    raise Damaged(
      f'{name} {path} are not those that were written: move the directory '
      'away to run that configuration again'
    )
  return content


def _text(body: dict[str, Any]) -> str:
  """JSON, lists of numbers on one line each: most of a record is those."""
  text = json.dumps(body, indent=1)
  return _NUMBERS.sub(lambda found: ' '.join(found[0].split()), text)


def _sealed(values: bytes) -> bytes:
  """A record's values, and the checksum of their bytes as the last of them.

  So that nothing need be written again to be checked.
  """
  return values + _SEAL + f'{_hash(values)}"\n}}'.encode()


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
  """Sixteen hexadecimal digits that change with any value of a body."""
  return _hash(json.dumps(body, sort_keys=True).encode())
