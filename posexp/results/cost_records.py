"""What `posexp measure` leaves behind, and how to read it; no JAX.

A work directory holds one file a measurement, measured/<when>.json, with the
question, the versions, the device, and every round's timings.
"""

import datetime
import json
import os
import pathlib
import warnings
from collections.abc import Iterable
from typing import Any

import pandas as pd

from posexp import component
from posexp.claims import intervals
from posexp.cost import paired_timing
from posexp.results import files, records

FORMAT = 1

# What is measured, by the name that a user writes, and what a call of it is.
QUANTITIES = {
  'train': 'training step: forward, backward, AdamW',
  'prefill': 'prefill: the forward pass into a cache',
  'decode': 'decoding one token from a full cache',
}

# Of the table that `load` gives, in this order.
_TYPES = {
  **dict.fromkeys(('measured', 'baseline', 'scheme', 'quantity'), 'str'),
  'length': 'int64',
  **dict.fromkeys(('seconds', 'ratio', 'low', 'high'), 'float64'),
  **dict.fromkeys(('rounds', 'calls'), 'int64'),
  **dict.fromkeys(('memory', 'resident', 'flops', 'accessed'), 'float64'),
  **dict.fromkeys(('loops', 'same_program'), 'bool'),
  **dict.fromkeys(('total', 'positional'), 'int64'),
}
COLUMNS = tuple(_TYPES)


def write(workdir: str | os.PathLike, body: dict[str, Any]) -> pathlib.Path:
  """Writes a measurement under the moment at which it ended."""
  # So fine that two written one after the other have a file each.
  now = datetime.datetime.now().isoformat(timespec='microseconds')
  body = {'format': FORMAT, 'measured': now, **body}
  # Through JSON once, so that the checksum is of what will be read.
  body = json.loads(json.dumps(body, allow_nan=False))
  text = json.dumps({**body, 'checksum': records.checksum(body)}, indent=1)
  path = _directory(workdir) / f'{now.replace(":", "")}.json'
  path.parent.mkdir(parents=True, exist_ok=True)
  files.put(path, text.encode(), over=False)
  return path


def read(path: str | os.PathLike) -> dict[str, Any]:
  """A measurement as it was written.

  Raises:
    Damaged: naming the file, if it is truncated, changed or of another format.
  """
  try:
    body = json.loads(pathlib.Path(path).read_text('utf-8'))
    said, form = body.pop('checksum'), body['format']
  except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
    raise records.Damaged(
      f'measurement {path} cannot be read ({type(error).__name__}: {error}): '
      'move it away and measure again'
    ) from None
  if said != records.checksum(body) or form != FORMAT:
    raise records.Damaged(
      f'measurement {path} was changed after it was written, or is of another '
      f'format than {FORMAT}: move it away and measure again'
    )
  return body


def read_all(workdir: str | os.PathLike) -> list[dict[str, Any]]:
  """Every readable measurement, oldest first; a damaged one is a warning.

  Raises:
    UserError: if there is no such directory.
  """
  if not pathlib.Path(workdir).is_dir():
    raise component.UserError(
      f'no work directory {workdir}: give the one that `posexp measure` wrote '
      'to'
    )
  found = []
  for path in sorted(_directory(workdir).glob('*.json')):
    try:
      found.append(read(path))
    except records.Damaged as error:
      warnings.warn(str(error), stacklevel=2)
  return found


def load(workdir: str | os.PathLike) -> pd.DataFrame:
  """All measurements under a work directory, as `table` gives each."""
  frames = [table(body) for body in read_all(workdir)]
  return pd.concat([table({}), *frames], ignore_index=True)


def table(body: dict[str, Any]) -> pd.DataFrame:
  """One row a quantity, length and scheme of a measurement.

  Columns: measured (when), baseline, scheme, quantity ('train', 'prefill' or
  'decode'), length, seconds (of a call, median over rounds), ratio (to the
  baseline in the same round, median), low and high (its 95 % interval, NaN
  with fewer than 6 rounds), rounds, calls (in a timing), memory (bytes that
  XLA plans for), resident (bytes that the process or the device held, NaN if
  not asked for), flops and accessed (bytes), of a call by XLA, which counts
  the body of a loop once: where there are `loops`, they say little;
  same_program (whether it runs the instructions of the baseline, see
  `cost_programs.instructions`; False where that was not recorded); total and
  positional (how many parameters).
  """
  rows = [row for group in body.get('groups', ()) for row in _rows(body, group)]
  return pd.DataFrame(rows, columns=list(COLUMNS)).astype(_TYPES)


def _rows(
  body: dict[str, Any], group: dict[str, Any]
) -> Iterable[dict[str, Any]]:
  baseline = body['question']['baseline']
  base_R = group['seconds'].get(baseline)
  program = group['facts'].get(baseline, {}).get('program')
  for scheme, seconds_R in group['seconds'].items():
    ratio = paired_timing.ratio(
      seconds_R, base_R or [float('nan')] * len(seconds_R)
    )
    facts = group['facts'][scheme]
    yield {
      'measured': body['measured'],
      'baseline': baseline,
      'scheme': scheme,
      'quantity': group['quantity'],
      'length': group['length'],
      'seconds': intervals.median(seconds_R).median,
      'ratio': ratio.median,
      'low': ratio.low,
      'high': ratio.high,
      'rounds': ratio.n,
      'calls': group['calls'],
      'accessed': facts['bytes_accessed'],
      'same_program': bool(program) and facts.get('program') == program,
      **{name: facts.get(name) for name in COLUMNS if name in facts},
    }


def rounds(workdir: str | os.PathLike) -> pd.DataFrame:
  """Every timing: measured, quantity, length, scheme, round, seconds."""
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


def _directory(workdir: str | os.PathLike) -> pathlib.Path:
  return pathlib.Path(workdir) / 'measured'
