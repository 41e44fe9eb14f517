"""Errors and perplexity of the targets of a run, by a stratum of them."""

import os
from collections.abc import Iterator

import numpy as np
import pandas as pd

from posexp import component
from posexp.results import records

# Bins in a doubling of the place.
PER_OCTAVE = 1
# More values than so many are joined, in bins of a doubling each.
VALUES = 9
# A bin with fewer targets of a seed is left out.
FEWEST = 10
# Strata that are no quantity; those with few values are none either.
CLASSES = ('task', 'query', 'mention', 'present')
QUANTITY = 4


def edges(
  trained: int, longest: int, per_octave: int = PER_OCTAVE
) -> np.ndarray:
  """Return the first place of each bin and one past the last.

  Geometric and distinct. The trained length is an edge: a bin holds places of
  which all, or none, are beyond it.

  Args:
    trained: the trained length, at least 2.
    longest: the length that the bins cover.
    per_octave: bins in a doubling.

  >>> edges(8, 32).tolist(), edges(8, 20, per_octave=2).tolist()
  ([1, 2, 4, 8, 16, 32], [1, 2, 3, 4, 6, 8, 11, 16, 20])
  """
  low = np.floor(-np.log2(trained) * per_octave)
  high = np.ceil(np.log2(longest / trained) * per_octave)
  places = np.round(trained * 2 ** (np.arange(low, high + 1) / per_octave))
  return np.unique(np.clip(places, 1, longest)).astype(np.int64)


def perplexity(
  workdir: str | os.PathLike, digest: str, per_octave: int = PER_OCTAVE
) -> pd.DataFrame:
  """Return perplexity by how many tokens stand before the target.

  Perplexity is exp of the mean nats of a bin's targets, seed by seed.

  Args:
    workdir: as given to `posexp run`.
    digest: the run, of a task with the stratum 'place'.
    per_octave: bins in a doubling of the place.

  Returns:
    One row a length, seed and bin, with columns first and last (places of the
    bin), nats, perplexity and targets.

  Raises:
    UserError: if the run has no such stratum or no nats.
  """
  table = records.strata(workdir, digest, 'place')
  if table['nats'].isna().all():
    raise component.UserError(
      f'the record of {digest} has no nats, as it was written by a version '
      'without them: move it away and run it again'
    )
  record = records.read(workdir, digest)
  assert record is not None
  longest = int(table['length'].max())
  edge = edges(record['trained_length'], longest, per_octave)
  number = np.searchsorted(edge, table['place'], side='right') - 1
  table = table.assign(
    first=edge[number],
    last=edge[number + 1] - 1,
    nats=table['nats'] * table['targets'],
  )
  keys = ['length', 'seed', 'first', 'last']
  sums = table.groupby(keys)[['nats', 'targets']].sum().reset_index()
  sums['nats'] /= sums['targets']
  return sums.assign(perplexity=np.exp(sums['nats']))


def errors(
  workdir: str | os.PathLike, results: pd.DataFrame
) -> dict[str, pd.DataFrame]:
  """Return errors of every admitted seed by each stratum that is a quantity.

  Args:
    workdir: as given to `posexp run`.
    results: of one task and trained length.

  Returns:
    By stratum: rows of digest, length, seed and bin with order, retrieval and
    targets. `bin` is the value, or where a doubling begins.
  """
  tables: dict[str, list[pd.DataFrame]] = {}
  admitted = results[results['admitted'].astype(bool)]
  for digest, run in admitted.groupby('digest', sort=False):
    for stratum, counts in _counts(workdir, str(digest)):
      counts = counts[counts['seed'].isin(run['seed'])].assign(digest=digest)
      tables.setdefault(stratum, []).append(counts)
  joined = {stratum: pd.concat(parts) for stratum, parts in tables.items()}
  return {
    stratum: _binned(counts)
    for stratum, counts in joined.items()
    if counts['value'].nunique() > QUANTITY
  }


def _counts(
  workdir: str | os.PathLike, digest: str
) -> Iterator[tuple[str, pd.DataFrame]]:
  """Yield how often each kind of error was made by value of each stratum."""
  table = records.outcomes(workdir, digest)
  for stratum in records.strata_of(table):
    if stratum in CLASSES:
      continue
    known = table[(table[stratum] >= 0) & (table['kind'] < len(records.KINDS))]
    # The name of a stratum may be that of a column, too.
    counts = pd.DataFrame(
      {
        'length': known['length'],
        'seed': known['seed'],
        'value': known[stratum],
        'order': known['kind'] == 1,
        'retrieval': known['kind'] == 2,
        'targets': 1,
      }
    )
    keys = ['length', 'seed', 'value']
    yield stratum, counts.groupby(keys, as_index=False).sum()


def _binned(counts: pd.DataFrame) -> pd.DataFrame:
  """Return shares in bins of a value or of a doubling each."""
  value = counts['value'].to_numpy()
  if counts['value'].nunique() > VALUES:
    value = 2 ** np.log2(np.maximum(value, 1)).astype(int)
  keys = ['digest', 'length', 'seed', 'bin']
  cells = counts.assign(bin=value).groupby(keys, sort=False)
  shares = cells[['order', 'retrieval', 'targets']].sum().reset_index()
  shares = shares[shares['targets'] >= FEWEST]
  for kind in ('order', 'retrieval'):
    shares[kind] = shares[kind] / shares['targets']
  return shares.sort_values(keys)
