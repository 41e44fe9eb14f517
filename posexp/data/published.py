"""The sets whose digests are in the repository.

`make digests`, or `python -m posexp.datasets.published`, draws them all and
writes digests.json.
"""

import functools
import json
import pathlib
import sys

from posexp import tasks
from posexp.data import examples

PATH = pathlib.Path(__file__).with_name('digests.json')
LENGTHS = (64, 128, 256, 512, 1024)

# Arms of the catalogue's tasks that can be longer than those with the default
# fields, which run out of symbols.
LONGER: tuple[tasks.Task, ...] = (
  tasks.Copy(distinct=False),
  tasks.Reverse(distinct=False),
  tasks.Ordering(filler=64),
  tasks.Presence(filler=64),
)


@functools.cache
def sets() -> tuple[examples.Set, ...]:
  """Every task of the catalogue and of LONGER at each length it can have."""
  return tuple(
    examples.Set(task, length)
    for task in (*tasks.CATALOGUE, *LONGER)
    for length in LENGTHS
    if _can_have(task, length)
  )


def _can_have(task: tasks.Task, length: int) -> bool:
  try:
    task.check(length)
  except ValueError:
    return False
  return True


@functools.cache
def digests() -> dict[str, str]:
  """The published digest of each set, by its name."""
  return {
    name: entry['digest']
    for name, entry in json.loads(PATH.read_text('utf-8'))['sets'].items()
  }


def publish() -> str:
  """Draws all sets and writes their digests; says what is new or changed."""
  before = digests() if PATH.exists() else {}
  found = {}
  for one, batch in examples.draw_each(sets()):
    print(one, file=sys.stderr)
    found[one.name] = examples.digest(batch)
  entries = {
    one.name: {
      'task': str(one.task),
      'length': one.length,
      'digest': found[one.name],
    }
    for one in sets()
  }
  content = {
    'about': f'SHA-256 of the first {examples.NUMBER} evaluation examples of '
    'each set, as posexp.datasets.examples.digest defines it; make digests '
    'writes this file.',
    'sets': entries,
  }
  PATH.write_text(json.dumps(content, indent=1) + '\n', 'utf-8')
  changed = sum(before.get(name, d) != d for name, d in found.items())
  return (
    f'{PATH}: {len(found)} sets, {len(found.keys() - before.keys())} new, '
    f'{len(before.keys() - found.keys())} gone, {changed} changed'
  )


if __name__ == '__main__':
  print(publish())
