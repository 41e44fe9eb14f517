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

Record = Mapping[str, Any]


def load(
  workdir: str | os.PathLike, digests: Iterable[str] | None = None
) -> pd.DataFrame:
  """Return statistics of heads by run, length, seed, head and measure.

  Columns: digest, name, length, seed, layer, head, measure (see
  `posexp.evaluation.attention_statistics`: finite, entropy, first, beyond,
  reach, reach_share and rank_share, and by distance rank, margin and
  resolution), distance (where the bin begins, in tokens; NaN for measures
  that have none), value, and baseline: the value of the same seed, layer,
  head and bin in the root run, at its trained length; NaN where that has no
  such bin or its record is missing.

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


def _frames(
  workdir: str | os.PathLike, record: Record, known: Mapping[str, Record]
) -> Iterator[pd.DataFrame]:
  root = _root_diagnostics(workdir, record, known)
  for row in _diagnostics(workdir, record):
    for part in ('heads', 'binned'):
      for measure, values in row[part].items():
        value = np.asarray(values, np.float64)
        seed, layer, head, *bins = np.indices(value.shape).reshape(
          value.ndim, -1
        )
        starts_N = np.asarray(row['bins'], np.float64)
        baseline = _like(value, root.get(part, {}).get(measure))
        yield pd.DataFrame(
          {
            'digest': record['digest'],
            'name': record['name'],
            'length': row['length'],
            'seed': np.asarray(record['config']['seeds'])[seed],
            'layer': layer,
            'head': head,
            'measure': measure,
            'distance': starts_N[bins[0]] if bins else np.nan,
            'value': value.ravel(),
            'baseline': baseline.ravel(),
          }
        )


def _root_diagnostics(
  workdir: str | os.PathLike, record: Record, known: Mapping[str, Record]
) -> Mapping[str, Any]:
  """Return what the root's heads do at its trained length; {} if unknown."""
  root: Record | None = record
  while root is not None and root['parent_digest']:
    root = known.get(root['parent_digest'])
  if root is not None:
    for row in _diagnostics(workdir, root):
      if row['length'] == root['trained_length']:
        return row
  return {}


def _diagnostics(
  workdir: str | os.PathLike, record: Record
) -> list[dict[str, Any]]:
  """Return what was seen of attention; a damaged file is a warning."""
  try:
    details = records.whole(workdir, record['digest']) or {}
  except records.DamagedRecord as error:
    warnings.warn(str(error), stacklevel=2)
    return []
  return details.get('diagnostics', [])


def _like(value: np.ndarray, baseline: Any) -> np.ndarray:
  """Return a baseline in the shape of a value, NaN in bins that it lacks."""
  filled = np.full(value.shape, np.nan)
  if baseline is not None:
    known = np.asarray(baseline, np.float64)
    both = tuple(map(slice, map(min, value.shape, known.shape)))
    filled[both] = known[both]
  return filled
