"""What `posexp measure` leaves behind, and how to read it; no JAX.

A work directory holds one file a measurement, measured/<number>.json, with the
question, the versions, the device, and every round's timings. Numbers tell
which is newer, as the clocks of two hosts would not.
"""

import datetime
import json
import os
import pathlib
import warnings
from typing import Any

import pandas as pd

from posexp import component
from posexp.results import files, records

FORMAT = 1

# What is measured, by the name that a user writes, and what a call of it is.
QUANTITIES = {
  'train': 'training step: forward, backward, AdamW',
  'prefill': 'prefill: the forward pass into a cache',
  'decode': 'decoding one token from a full cache',
}


def write(workdir: str | os.PathLike, body: dict[str, Any]) -> pathlib.Path:
  """Write a measurement under the next number, with the time of this host."""
  now = datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')
  body = {'format': FORMAT, 'measured': now, **body}
  # Through JSON once, so that the checksum is of what will be read.
  body = json.loads(json.dumps(body, allow_nan=False))
  text = json.dumps({**body, 'checksum': _checksum(body)}, indent=1)
  files.make_directory(_directory(workdir))
  while True:
    number = 1 + max(map(_number, _paths(workdir)), default=0)
    path = _directory(workdir) / f'{number:06}.json'
    try:
      files.put(path, text.encode(), over=False)
      return path
    except files.AlreadyThere:  # Of another process, just now.
      continue


def read(path: str | os.PathLike) -> dict[str, Any]:
  """Return a measurement as it was written.

  Raises:
    DamagedRecord: naming the file, if it is truncated, changed or of another
      format.
  """
  try:
    body = json.loads(pathlib.Path(path).read_text('utf-8'))
    checksum, form = body.pop('checksum'), body['format']
  except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
    raise records.DamagedRecord(
      f'measurement {path} cannot be read ({type(error).__name__}: {error}): '
      'move it away and measure again'
    ) from None
  if checksum != _checksum(body) or form != FORMAT:
    raise records.DamagedRecord(
      f'measurement {path} was changed after it was written, or is of another '
      f'format than {FORMAT}: move it away and measure again'
    )
  return body


def read_all(workdir: str | os.PathLike) -> list[dict[str, Any]]:
  """Return every measurement, oldest first; a damaged one is a warning.

  Raises:
    UserError: if there is no such directory.
  """
  if not pathlib.Path(workdir).is_dir():
    raise component.UserError(
      f'no work directory {workdir}: give the one that `posexp measure` wrote '
      'to'
    )
  measurements = []
  for path in sorted(_paths(workdir), key=_number):
    try:
      measurements.append(read(path))
    except records.DamagedRecord as error:
      warnings.warn(str(error), stacklevel=2)
  return measurements


def rounds(workdir: str | os.PathLike) -> pd.DataFrame:
  """Return every timing: measured, quantity, length, scheme, round, seconds."""
  rows = [
    {
      'measured': body['measured'],
      'quantity': group['quantity'],
      'length': group['length'],
      'scheme': scheme,
      'round': number,
      'seconds': seconds,
    }
    for body in read_all(workdir)
    for group in body['groups']
    for scheme, seconds_R in group['seconds'].items()
    for number, seconds in enumerate(seconds_R)
  ]
  columns = ['measured', 'quantity', 'length', 'scheme', 'round', 'seconds']
  return pd.DataFrame(rows, columns=columns)


def _checksum(body: dict[str, Any]) -> str:
  return records.checksum(json.dumps(body, sort_keys=True).encode())


def _paths(workdir: str | os.PathLike) -> list[pathlib.Path]:
  return sorted(_directory(workdir).glob('*.json'))


def _number(path: pathlib.Path) -> int:
  """Return the number of a measurement; 0 of one that has none."""
  return int(path.stem) if path.stem.isdecimal() else 0


def _directory(workdir: str | os.PathLike) -> pathlib.Path:
  return pathlib.Path(workdir) / 'measured'
