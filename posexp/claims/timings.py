"""What may be said of timings: ratios to a baseline, with their intervals."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from posexp import component
from posexp.claims import intervals
from posexp.results import cost_records

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


def ratio(
  seconds_R: Sequence[float], baseline_R: Sequence[float]
) -> intervals.Median:
  """Return the median over rounds of one timing over another of the same round.

  >>> ratio([2.0, 6.0, 9.0], [1.0, 2.0, 3.0]).median
  3.0
  """
  seconds, baseline = (
    np.asarray(seconds_R, float),
    np.asarray(baseline_R, float),
  )
  if seconds.shape != baseline.shape:
    raise component.UserError(
      f'ratios are taken round by round, got {seconds.size} rounds and '
      f'{baseline.size}: time both in the same rounds'
    )
  return intervals.median(seconds / baseline)


def load(workdir: str | os.PathLike) -> pd.DataFrame:
  """Return all measurements under a work directory, as `table` gives each."""
  frames = [table(body) for body in cost_records.read_all(workdir)]
  return pd.concat([table({}), *frames], ignore_index=True)


def table(body: dict[str, Any]) -> pd.DataFrame:
  """Return a row for each quantity, length and scheme of a measurement.

  Columns: measured (when), baseline, scheme, quantity ('train', 'prefill' or
  'decode'), length, seconds (of a call, median over rounds), ratio (to the
  baseline in the same round, median), low and high (its 95 % interval, NaN
  with fewer than 6 rounds), rounds, calls (in a timing), memory (bytes that
  XLA plans for), resident (bytes that the process or the device held, NaN if
  not asked for), flops and accessed (bytes), of a call by XLA, which counts
  the body of a loop once: where there are `loops`, they say little;
  same_program (whether it runs the instructions of the baseline, see
  `posexp.cost.programs.instructions`; False where that was not recorded);
  total and positional (how many parameters).

  Args:
    body: as `cost_records.read` gives it.
  """
  rows = [row for group in body.get('groups', ()) for row in _rows(body, group)]
  return pd.DataFrame(rows, columns=list(COLUMNS)).astype(_TYPES)


def _rows(
  body: dict[str, Any], group: dict[str, Any]
) -> Iterator[dict[str, Any]]:
  baseline = body['question']['baseline']
  baseline_R = group['seconds'].get(baseline)
  program = group['facts'].get(baseline, {}).get('program')
  for scheme, seconds_R in group['seconds'].items():
    compared = ratio(seconds_R, baseline_R or [np.nan] * len(seconds_R))
    facts = group['facts'][scheme]
    yield {
      'measured': body['measured'],
      'baseline': baseline,
      'scheme': scheme,
      'quantity': group['quantity'],
      'length': group['length'],
      'seconds': intervals.median(seconds_R).median,
      'ratio': compared.median,
      'low': compared.low,
      'high': compared.high,
      'rounds': compared.n,
      'calls': group['calls'],
      'accessed': facts['bytes_accessed'],
      'same_program': bool(program) and facts.get('program') == program,
      **{name: facts[name] for name in COLUMNS if name in facts},
    }
