"""The data directory: building, reading and verifying frozen sets.

TFDS's own layout, so that other frameworks can read it:

```
DIRECTORY/posexp_frozen/NAME/1.0.0/    a set
DIRECTORY/posexp_frozen/NAME/incomplete.*  what an interrupted build left
```

What evaluation asks for and the directory lacks is drawn, not written: the
arrays are the same, and no evaluation depends on a directory.
"""

import contextlib
import fcntl
import os
import pathlib
import re
import shutil
from collections.abc import Callable, Iterator, Sequence

from posexp import component, tasks
from posexp.data import examples, published

DATASET, VERSION = 'posexp_frozen', '1.0.0'
_SET = re.compile(r'\w+_[0-9a-f]{8}_\d+')
_PARTIAL = re.compile(rf'incomplete\..*_{re.escape(VERSION)}')
_SHARD = re.compile(rf'{DATASET}-test\.array_record-\d+-of-\d+')
_INFO = {'dataset_info.json', 'features.json', 'metadata.json'}
# What else lies beside the sets: TFDS's own and the lock of a build.
_OURS = {'.config', '.lock'}
MISSING, BUILT, DAMAGED = 'missing', 'built', 'damaged'


class Damaged(component.UserError):
  """A set that is there and is not what it should be."""


def directory() -> pathlib.Path:
  """Where frozen sets lie: $POSEXP_DATA, or under the user's cache."""
  if where := os.environ.get('POSEXP_DATA'):
    return pathlib.Path(where).expanduser()
  cache = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
  return pathlib.Path(cache).expanduser() / 'posexp' / 'data'


def place(one: examples.Set, where: pathlib.Path) -> pathlib.Path:
  """The directory of a set."""
  return where / DATASET / one.name / VERSION


def there(one: examples.Set, where: pathlib.Path) -> bool:
  """Whether a set was built, or something else lies where it goes."""
  with _reading(where):
    return place(one, where).exists()


def load(task: tasks.Task, length: int, number: int) -> tasks.Batch:
  """The first evaluation examples: read if they were built, else drawn.

  Those of a published set are compared with its digest in either case.

  Raises:
    Damaged: if the set that was built cannot be read, or is not the one that
      was published.
    UserError: if this machine draws other examples than were published.
  """
  one = examples.Set(task, length)
  if number <= examples.NUMBER and there(one, directory()):
    return examples.first(read(one, directory()), number)
  if one.name not in published.digests():
    return examples.draw(one, number)
  batch = examples.draw(one, max(number, examples.NUMBER))
  _check_drawn(one, examples.first(batch, examples.NUMBER))
  return examples.first(batch, number)


def read(one: examples.Set, where: pathlib.Path) -> tasks.Batch:
  """All examples of a set that was built, compared with their digest.

  Raises:
    Damaged: one sentence, with the file and the digests.
  """
  from posexp.data import frozen

  path = place(one, where)
  # Without a file, only published sets are built.
  build_it = '`posexp data build`'
  if one.name not in published.digests():
    build_it = '`posexp data build FILE` of its run'
  again = f'move {path} away and run {build_it}'
  try:
    batch, about = frozen.read(path)
    found, said = examples.digest(batch), about.pop('digest')
  except Exception as error:  # Of TFDS, protobuf, json or array_record.
    reason = str(error).strip().splitlines()[0] if str(error).strip() else ''
    raise Damaged(
      f'evaluation set {path} cannot be read ({type(error).__name__}: '
      f'{reason}): {again}'
    ) from None
  for key in ('task', 'length', 'key'):
    expected = frozen.provenance(one)[key]
    if about.get(key) != expected:
      raise Damaged(
        f'evaluation set {path} has the {key} {about.get(key)}, expected '
        f'{expected}: {again}'
      )
  expected = published.digests().get(one.name, said)
  if found != expected:
    raise Damaged(
      f'evaluation set {path}/{DATASET}-test.array_record* has the digest '
      f'{found}, expected {expected}: {again}'
    )
  return batch


def state(one: examples.Set, where: pathlib.Path) -> str:
  """MISSING, BUILT, or DAMAGED by the names of its files; reads none."""
  path = place(one, where)
  if not there(one, where):
    return MISSING
  if not path.is_dir():
    return DAMAGED
  with _reading(where):
    names = [file.name for file in path.iterdir()]
  shards = [name for name in names if _SHARD.fullmatch(name)]
  return BUILT if shards and {*names} - {*shards} == _INFO else DAMAGED


def size(one: examples.Set, where: pathlib.Path) -> int:
  """Bytes on disk."""
  path = place(one, where)
  return sum(f.stat().st_size for f in path.glob('*') if f.is_file())


def build(
  sets: Sequence[examples.Set],
  where: pathlib.Path,
  tell: Callable[[examples.Set, bool], None] = lambda one, found: None,
) -> int:
  """Builds the sets that are not there yet and verifies those that are.

  A set is written under another name and moved into place. What an
  interrupted build left is removed first.

  Args:
    sets: what to build.
    where: the data directory.
    tell: called with each set and whether it was found.

  Returns:
    How many were built.

  Raises:
    Damaged: if a set is there and is damaged; before anything is written.
    UserError: if the directory cannot be written to or is not ours, or this
      machine draws other examples than were published.
  """
  check(where)
  with _locked(where):
    for partial in (where / DATASET).glob('*/incomplete.*'):
      try:
        shutil.rmtree(partial)
      except OSError as error:
        raise _unwritable(where, error) from None
    missing = []
    for one in sets:
      if there(one, where):
        read(one, where)
        tell(one, True)
      else:
        missing.append(one)
    from posexp.data import frozen

    for one, batch in examples.draw_each(missing):
      _check_drawn(one, batch)
      try:
        frozen.write(one, batch, where)
      except OSError as error:
        raise _unwritable(where, error) from None
      tell(one, False)
  return len(missing)


def check(where: pathlib.Path) -> None:
  """Raises if what lies where the sets go is not a set.

  Raises:
    UserError: naming what is foreign, or cannot be read.
  """
  home = where / DATASET
  with _reading(where):
    for path in (where, home):
      if path.exists() and not path.is_dir():
        raise component.UserError(
          f'{path} is a file, expected a directory: give another with '
          '--data_dir'
        )
    for path in home.iterdir() if home.exists() else ():
      inside = path.iterdir() if path.is_dir() else [path]
      ours = _SET.fullmatch(path.name) and all(
        one.name == VERSION or _PARTIAL.fullmatch(one.name) for one in inside
      )
      if not ours and path.name not in _OURS:
        raise component.UserError(
          f'{path} is no evaluation set of posexp: move it away, or give '
          'another directory with --data_dir'
        )


def _check_drawn(one: examples.Set, batch: tasks.Batch) -> None:
  expected = published.digests().get(one.name)
  if expected and (found := examples.digest(batch)) != expected:
    raise component.UserError(
      f'the examples of {one} drawn here have the digest {found}, expected '
      f'{expected} as published in {published.PATH}: an evaluation on them '
      'cannot be compared; report it with the version of jax'
    )


@contextlib.contextmanager
def _locked(where: pathlib.Path) -> Iterator[None]:
  """One build at a time; the lock goes with the process that holds it."""
  home = where / DATASET
  try:
    home.mkdir(parents=True, exist_ok=True)
    file = (home / '.lock').open('w')
  except OSError as error:
    raise _unwritable(where, error) from None
  with file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise component.UserError(
        f'another build is writing to {home}: wait until it is done'
      ) from None
    yield


@contextlib.contextmanager
def _reading(where: pathlib.Path) -> Iterator[None]:
  """What the system forbids, as a sentence."""
  try:
    yield
  except OSError as error:
    raise component.UserError(
      f'cannot read the data directory {where} ({error.strerror or error}): '
      'make it readable, or give another with --data_dir'
    ) from None


def _unwritable(where: pathlib.Path, error: OSError) -> component.UserError:
  return component.UserError(
    f'cannot write to the data directory {where} ({error.strerror or error}): '
    'give another with --data_dir'
  )
