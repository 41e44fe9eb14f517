"""What `posexp measure` leaves behind, and how to read it; no JAX.

A work directory holds one file a measurement, measured/<when>.json, with the
question, the versions, the device, and every round's timings.
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
  """Write a measurement under the moment at which it ended."""
  # So fine that two written one after the other have a file each.
  now = datetime.datetime.now().isoformat(timespec='microseconds')
  body = {'format': FORMAT, 'measured': now, **body}
  # Through JSON once, so that the checksum is of what will be read.
  body = json.loads(json.dumps(body, allow_nan=False))
  text = json.dumps({**body, 'checksum': _checksum(body)}, indent=1)
  path = _directory(workdir) / f'{now.replace(":", "")}.json'
  path.parent.mkdir(parents=True, exist_ok=True)
  files.put(path, text.encode(), over=False)
  return path


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
  for path in sorted(_directory(workdir).glob('*.json')):
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


def _directory(workdir: str | os.PathLike) -> pathlib.Path:
  return pathlib.Path(workdir) / 'measured'
