"""What the heads of finished runs do, beside what they did in training."""

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from posexp.results import records

# Of the table that `load` gives, in this order, whether or not it has rows.
_TYPES = {
  **dict.fromkeys(('digest', 'name'), 'str'),
  **dict.fromkeys(('length', 'seed', 'layer', 'head'), 'int64'),
  'measure': 'str',
  **dict.fromkeys(('distance', 'value', 'baseline'), 'float64'),
}
COLUMNS = tuple(_TYPES)
EMPTY = pd.DataFrame(columns=list(COLUMNS)).astype(_TYPES)


def load(
  workdir: str | os.PathLike, digests: Iterable[str] | None = None
) -> pd.DataFrame:
  """What each head does, a row a run, length, seed, layer, head and measure.

  Columns: digest, name, length, seed, layer, head, measure (see
  `posexp.evaluation.attention_statistics`: finite, entropy, first, beyond,
  reach, reach_share and rank_share, and by distance rank, margin and
  resolution), distance (where the bin begins, in tokens; NaN for measures
  that have none), value, and baseline: the value of the same seed, layer,
  head and bin in the run that was trained from nothing, at its trained
  length; NaN where that has no such bin or its record is missing.

  Args:
    workdir: as given to `posexp run`.
    digests: the runs to load, in this order, of those that have finished; all
      of them, by name, by default.

  Raises:
    UserError: if there is no such directory.
  """
  known = {record['digest']: record for record in records.read_all(workdir)}
  wanted = known if digests is None else dict.fromkeys(digests)
  frames = [
    frame
    for digest in wanted
    if digest in known
    for frame in _frames(workdir, known[digest], known)
  ]
  if not frames:
    return EMPTY
  table = pd.concat(frames, ignore_index=True)
  return table[list(COLUMNS)].astype(_TYPES)


def root(
  record: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]]
) -> Mapping[str, Any] | None:
  """The record of the run that was trained from nothing, None if missing."""
  found: Mapping[str, Any] | None = record
  while found is not None and found['parent_digest']:
    found = known.get(found['parent_digest'])
  return found


def _frames(
  workdir: str | os.PathLike,
  record: Mapping[str, Any],
  known: Mapping[str, Mapping[str, Any]],
) -> Iterator[pd.DataFrame]:
  trained = root(record, known)
  before = None if trained is None else _at_home(workdir, trained)
  for row in _diagnostics(workdir, record):
    for part in ('heads', 'binned'):
      for measure, values in row[part].items():
        value = np.asarray(values, np.float64)
        index = np.indices(value.shape).reshape(value.ndim, -1)
        bins_N = np.asarray(row['bins'], np.float64)
        yield pd.DataFrame(
          {
            'digest': record['digest'],
            'name': record['name'],
            'length': row['length'],
            'seed': np.asarray(record['config']['seeds'])[index[0]],
            'layer': index[1],
            'head': index[2],
            'measure': measure,
            'distance': bins_N[index[3]] if part == 'binned' else np.nan,
            'value': value.ravel(),
            'baseline': _baseline(before, part, measure, value.shape).ravel(),
          }
        )


def _diagnostics(
  workdir: str | os.PathLike, record: Mapping[str, Any]
) -> list[dict[str, Any]]:
  """What was seen of a run's attention; a damaged file is a warning."""
  try:
    return (records.whole(workdir, record['digest']) or {}).get(
      'diagnostics', []
    )
  except records.Damaged as error:
    warnings.warn(str(error), stacklevel=2)
    return []


def _at_home(
  workdir: str | os.PathLike, record: Mapping[str, Any]
) -> Mapping[str, Any] | None:
  """What the heads of a run do at the length that it was trained at."""
  for row in _diagnostics(workdir, record):
    if row['length'] == record['trained_length']:
      return row
  return None


def _baseline(
  before: Mapping[str, Any] | None,
  part: str,
  measure: str,
  shape: tuple[int, ...],
) -> np.ndarray:
  """The values before, NaN in bins that there were not."""
  found = np.full(shape, np.nan)
  if before is not None and measure in before[part]:
    values = np.asarray(before[part][measure], np.float64)
    # The bins are the last axis of those that have them.
    both = tuple(slice(min(pair)) for pair in zip(shape, values.shape))
    found[both] = values[both]
  return found
