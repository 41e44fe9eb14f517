"""What tells runs of one name apart: the fields in which they differ."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# Longer than a name should be; a digest tells more in less.
MOST = 3


def described(record: Mapping[str, Any]) -> dict[str, Any]:
  """Return what decides a record's numbers: configuration and revision."""
  return {**record['config'], 'revision': record.get('revision')}


def differences(configs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
  """Return the fields in which configurations differ, of each of them.

  By dotted names. What differs alike in a run and in its parent is named once.

  >>> one = {'train': {'steps': 9, 'batch': 2}, 'seeds': [0]}
  >>> differences([one, {**one, 'seeds': [0, 1]}])
  [{'seeds': '0'}, {'seeds': '0,1'}]
  """
  flat = [dict(_flat(config, '')) for config in configs]
  names = dict.fromkeys(name for fields in flat for name in fields)
  differing = [
    name for name in names if len({fields.get(name) for fields in flat}) > 1
  ]
  shown = [
    name
    for name in differing
    if name.removeprefix('parent.') not in differing or name[:7] != 'parent.'
  ]
  return [{name: fields.get(name) for name in shown} for fields in flat]


def endings(configs: Sequence[Mapping[str, Any]]) -> list[str]:
  """Return what tells each configuration from the others, '' if too much.

  >>> one = {'train': {'learning_rate': 0.001}, 'seeds': [0]}
  >>> endings([one, {**one, 'train': {'learning_rate': 0.003}}])
  ['learning_rate=0.001', 'learning_rate=0.003']
  """
  described = []
  for fields in differences(configs):
    text = (f'{n.split(".")[-1]}={value}' for n, value in fields.items())
    described.append(', '.join(text) if len(fields) <= MOST else '')
  return described


def _flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
  """Yield the fields of nested values, a list of plain values as text."""
  nested = isinstance(value, list) and any(isinstance(v, dict) for v in value)
  if isinstance(value, Mapping) or nested:
    items = enumerate(value) if nested else value.items()
    for part, inner in items:
      yield from _flat(inner, f'{name}.{part}' if name else str(part))
  elif isinstance(value, list):
    yield name, ','.join(map(str, value))
  else:
    yield name, value
