"""What trackers of experiments are told of a run: its curves and settings."""

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from posexp.results import records

# Steps that a loss is the mean of, in records that do not say.
LOSS_EVERY = 50
# Columns of results, and what a tracker calls them.
NAMES = {
  'token': 'accuracy',
  **{n: n for n in ('order', 'retrieval', 'exact', 'nats', 'chance')},
}
# Of a record, what a table of runs begins with.
ABOUT = (
  *('digest', 'name', 'task', 'scheme', 'parent', 'parent_digest'),
  *('trained_length', 'tokens', 'gate'),
)
# Of a record, what is nested.
GROUPS = ('parameters', 'config', 'seconds', 'device', 'versions')


class Curves(NamedTuple):
  """What was measured of one seed of a run.

  Attributes:
    loss: the mean training loss of the steps up to each step; NaN where it was
      not finite.
    lengths: numbers by name at each evaluated length in tokens, what was not
      measured left out.
  """

  loss: tuple[tuple[int, float], ...]
  lengths: tuple[tuple[int, dict[str, float]], ...]


def curves(record: Mapping[str, Any]) -> dict[int, Curves]:
  """Return the curves of each seed of a record with its details.

  >>> results = [{'seed': 7, 'length': 8, 'token': 0.5, 'nats': None}]
  >>> train = {'steps': 80}
  >>> by_seed = curves({
  ...   'config': {'seeds': [7], 'train': train},
  ...   'losses': [[2.5, 1.5]],
  ...   'chance': {'8': 0.25},
  ...   'results': results,
  ... })
  >>> by_seed[7].loss
  ((50, 2.5), (80, 1.5))
  >>> by_seed[7].lengths
  ((8, {'accuracy': 0.5, 'chance': 0.25}),)
  """
  steps = record['config']['train']['steps']
  every = record.get('loss_every', LOSS_EVERY)
  by_seed = {}
  for seed, losses in zip(
    record['config']['seeds'], record['losses'], strict=True
  ):
    loss = tuple(
      (min((n + 1) * every, steps), math.nan if value is None else value)
      for n, value in enumerate(losses)
    )
    rows = [row for row in record['results'] if row['seed'] == seed]
    lengths = tuple((row['length'], _numbers(record, row)) for row in rows)
    by_seed[seed] = Curves(loss, lengths)
  return by_seed


def _numbers(
  record: Mapping[str, Any], row: Mapping[str, Any]
) -> dict[str, float]:
  """Return what is known of a row, by a tracker's names."""
  row = {**row, 'chance': record['chance'][str(row['length'])]}
  known = {name: row.get(column) for column, name in NAMES.items()}
  return {name: v for name, v in known.items() if v is not None}


def settings(
  record: Mapping[str, Any], seed: int | None = None
) -> dict[str, Any]:
  """Return what a run was asked to be and what it took, as plain values.

  Without its parent's, which has a record of its own.

  Args:
    record: of the run.
    seed: one of its seeds, to say whether that is admitted; how many are, by
      default.
  """
  admitted = records.admitted(record)
  about = {name: record.get(name) for name in ABOUT}
  about |= {'seeds': len(admitted), 'admitted': sum(admitted.values())}
  if seed is not None:
    about |= {'seed': seed, 'admitted': admitted[str(seed)]}
  about['changes'] = '; '.join(record.get('changes', ()))
  groups = {name: _keyed(record.get(name, {})) for name in GROUPS}
  for name in ('parent', 'type'):
    groups['config'].pop(name, None)
  return about | groups


def flat(nested: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
  """Return nested values by dotted names; a list is its JSON.

  >>> flat({'a': 1, 'b': {'c': None, 'd': [2, 3]}})
  {'a': 1, 'b.c': None, 'b.d': '[2, 3]'}
  """
  by_name: dict[str, Any] = {}
  for name, value in nested.items():
    if isinstance(value, Mapping):
      by_name |= flat(value, f'{prefix}{name}.')
    else:
      text = json.dumps(value) if isinstance(value, list) else value
      by_name[f'{prefix}{name}'] = text
  return by_name


def _keyed(value: Any) -> Any:
  """Return plain values, a list of dictionaries as one by place."""
  if isinstance(value, Mapping):
    return {name: _keyed(v) for name, v in value.items()}
  if isinstance(value, list) and any(isinstance(v, dict) for v in value):
    return {str(n): _keyed(v) for n, v in enumerate(value)}
  return value
