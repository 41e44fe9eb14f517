"""The sets whose digests are in the repository.

`make digests`, or `python -m posexp.data.published`, draws them all and writes
digests.json.
"""

import contextlib
import functools
import json
import pathlib
import sys

from posexp import component, tasks
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
  """Return each task of the catalogue and of LONGER at all its LENGTHS."""
  listed = []
  for task in (*tasks.CATALOGUE, *LONGER):
    for length in LENGTHS:
      with contextlib.suppress(component.UserError):
        task.check(length)
        listed.append(examples.Set(task, length))
  return tuple(listed)


@functools.cache
def digests() -> dict[str, str]:
  """Return the published digest of each set, by its name."""
  return {
    name: entry['digest']
    for name, entry in json.loads(PATH.read_text('utf-8'))['sets'].items()
  }


def publish() -> str:
  """Draw all sets and write their digests; return what is new or changed."""
  before = digests() if PATH.exists() else {}
  entries = {}
  for eval_set, batch in examples.draw_each(sets()):
    print(eval_set, file=sys.stderr)
    entries[eval_set.name] = {
      'task': str(eval_set.task),
      'length': eval_set.length,
      'digest': examples.digest(batch),
    }
  content = {
    'about': f'SHA-256 of the first {examples.NUMBER} evaluation examples of '
    'each set, as posexp.data.digest defines it; make digests '
    'writes this file.',
    'sets': entries,
  }
  PATH.write_text(json.dumps(content, indent=1) + '\n', 'utf-8')
  new, gone = entries.keys() - before.keys(), before.keys() - entries.keys()
  changed = sum(
    before.get(name, entry['digest']) != entry['digest']
    for name, entry in entries.items()
  )
  return (
    f'{PATH}: {len(entries)} sets, {len(new)} new, {len(gone)} gone, '
    f'{changed} changed'
  )


if __name__ == '__main__':
  print(publish())
