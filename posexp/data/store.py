"""The data directory: building, reading and verifying frozen sets.

The layout is that of TFDS, so that other frameworks can read it:

```
DIRECTORY/posexp_frozen/NAME/1.0.0/    a set
DIRECTORY/posexp_frozen/NAME/incomplete.*  what an interrupted build left
```

What evaluation asks for and the directory lacks is drawn and not written: the
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
from posexp.results import files

DATASET, VERSION = 'posexp_frozen', '1.0.0'
_SET = re.compile(r'\w+_[0-9a-f]{8}_\d+')
_PARTIAL = re.compile(rf'incomplete\..*_{re.escape(VERSION)}')
_SHARD = re.compile(rf'{DATASET}-test\.array_record-\d+-of-\d+')
_INFO = {'dataset_info.json', 'features.json', 'metadata.json'}
# What else lies beside the sets: TFDS's own and the lock of a build.
_NOT_SETS = {'.config', '.lock'}
MISSING, BUILT, DAMAGED = 'missing', 'built', 'damaged'


class DamagedSet(component.UserError):
  """A set that is there and is not what it should be."""


def directory() -> pathlib.Path:
  """Return where frozen sets lie: $POSEXP_DATA, or under the user's cache.

  Raises:
    UserError: if neither is there, for a user without a home.
  """
  if (root := _directory()) is None:
    raise component.UserError(
      'no data directory, as this user has no home: set HOME, or give '
      '--data_dir'
    )
  return root


def _directory() -> pathlib.Path | None:
  if path := os.environ.get('POSEXP_DATA'):
    return pathlib.Path(files.local(path))
  cache = files.cache()
  return None if cache is None else cache / 'data'


def place(eval_set: examples.Set, root: pathlib.Path) -> pathlib.Path:
  """Return the directory of a set."""
  return root / DATASET / eval_set.name / VERSION


def there(eval_set: examples.Set, root: pathlib.Path) -> bool:
  """Return whether a set was built, or something else lies where it goes."""
  with _access('read', root):
    return place(eval_set, root).exists()


def load(task: tasks.Task, length: int, number: int) -> tasks.Batch:
  """Return the first evaluation examples: read if they were built, else drawn.

  Those of a published set are compared with its digest in either case.

  Raises:
    DamagedSet: if the set that was built cannot be read, or is not the one that
      was published.
    UserError: if this machine draws other examples than were published.
  """
  eval_set = examples.Set(task, length)
  root = _directory()
  if number <= examples.NUMBER and root and there(eval_set, root):
    return examples.first(read(eval_set, root), number)
  if eval_set.name not in published.digests():
    return examples.draw(eval_set, number)
  batch = examples.draw(eval_set, max(number, examples.NUMBER))
  _check_drawn(eval_set, examples.first(batch, examples.NUMBER))
  return examples.first(batch, number)


def read(eval_set: examples.Set, root: pathlib.Path) -> tasks.Batch:
  """Return all examples of a set that was built, compared with their digest.

  Raises:
    DamagedSet: one sentence, with the file and the digests.
  """
  from posexp.data import frozen

  path = place(eval_set, root)
  # Without a file, only published sets are built.
  command = '`posexp data build`'
  if eval_set.name not in published.digests():
    command = '`posexp data build FILE` of its run'
  remedy = f'move {path} away and run {command}'
  try:
    batch, metadata = frozen.read(path)
    digest, recorded = examples.digest(batch), metadata.pop('digest')
  except Exception as error:  # Of TFDS, protobuf, json or array_record.
    reason = (str(error).strip().splitlines() or [''])[0]
    raise DamagedSet(
      f'evaluation set {path} cannot be read ({type(error).__name__}: '
      f'{reason}): {remedy}'
    ) from None
  provenance = frozen.provenance(eval_set)
  for key in ('task', 'length', 'key'):
    if metadata.get(key) != provenance[key]:
      raise DamagedSet(
        f'evaluation set {path} has the {key} {metadata.get(key)}, expected '
        f'{provenance[key]}: {remedy}'
      )
  expected = published.digests().get(eval_set.name, recorded)
  if digest != expected:
    raise DamagedSet(
      f'evaluation set {path}/{DATASET}-test.array_record* has the digest '
      f'{digest}, expected {expected}: {remedy}'
    )
  return batch


def state(eval_set: examples.Set, root: pathlib.Path) -> str:
  """Return MISSING, BUILT, or DAMAGED by the names of its files; read none."""
  path = place(eval_set, root)
  if not there(eval_set, root):
    return MISSING
  if not path.is_dir():
    return DAMAGED
  with _access('read', root):
    names = {file.name for file in path.iterdir()}
  shards = {name for name in names if _SHARD.fullmatch(name)}
  return BUILT if shards and names - shards == _INFO else DAMAGED


def size(eval_set: examples.Set, root: pathlib.Path) -> int:
  """Return the bytes on disk."""
  with _access('read', root):
    paths = place(eval_set, root).glob('*')
    return sum(path.stat().st_size for path in paths if path.is_file())


def build(
  sets: Sequence[examples.Set],
  root: pathlib.Path,
  tell: Callable[[examples.Set, bool], None] = lambda eval_set, found: None,
) -> int:
  """Build the sets that are not there yet and verify those that are.

  A set is written under another name and moved into place. What an
  interrupted build left is removed first.

  Args:
    sets: what to build.
    root: the data directory.
    tell: called with each set and whether it was found.

  Returns:
    How many were built.

  Raises:
    DamagedSet: if a set is there and is damaged; before anything is written.
    UserError: if the directory cannot be written to or is not ours, or this
      machine draws other examples than were published.
  """
  check(root)
  with _locked(root):
    with _access('write to', root):
      for partial in (root / DATASET).glob('*/incomplete.*'):
        shutil.rmtree(partial)
    missing = []
    for eval_set in sets:
      if there(eval_set, root):
        read(eval_set, root)
        tell(eval_set, True)
      else:
        missing.append(eval_set)
    from posexp.data import frozen

    for eval_set, batch in examples.draw_each(missing):
      _check_drawn(eval_set, batch)
      with _access('write to', root):
        frozen.write(eval_set, batch, root)
      tell(eval_set, False)
  return len(missing)


def check(root: pathlib.Path) -> None:
  """Raise a `UserError` if what lies where the sets go is not a set.

  The sentence names what is foreign, or cannot be read.
  """
  home = root / DATASET
  with _access('read', root):
    for path in (root, home):
      if path.exists() and not path.is_dir():
        raise component.UserError(
          f'{path} is a file, expected a directory: give another with '
          '--data_dir'
        )
    for path in home.iterdir() if home.exists() else ():
      if path.name not in _NOT_SETS and not _is_set(path):
        raise component.UserError(
          f'{path} is no evaluation set of posexp: move it away, or give '
          'another directory with --data_dir'
        )


def _is_set(path: pathlib.Path) -> bool:
  """Return whether a directory is that of a set, or of an interrupted build."""
  inside = path.iterdir() if path.is_dir() else [path]
  return _SET.fullmatch(path.name) is not None and all(
    item.name == VERSION or _PARTIAL.fullmatch(item.name) for item in inside
  )


def _check_drawn(eval_set: examples.Set, batch: tasks.Batch) -> None:
  expected = published.digests().get(eval_set.name)
  if expected and (digest := examples.digest(batch)) != expected:
    raise component.UserError(
      f'the examples of {eval_set} drawn here have the digest {digest}, '
      f'expected {expected} as published in {published.PATH}: an evaluation on '
      'them cannot be compared; report it with the version of jax'
    )


@contextlib.contextmanager
def _locked(root: pathlib.Path) -> Iterator[None]:
  """One build at a time; the lock goes with the process that holds it."""
  home = root / DATASET
  with _access('write to', root):
    home.mkdir(parents=True, exist_ok=True)
    file = (home / '.lock').open('w')
  with file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise component.UserError(
        f'another build is writing to {home}: wait until it is done'
      ) from None
    yield


@contextlib.contextmanager
def _access(action: str, root: pathlib.Path) -> Iterator[None]:
  """Turn what the system forbids into a sentence."""
  try:
    yield
  except OSError as error:
    remedy = 'make it readable, or ' if action == 'read' else ''
    raise component.UserError(
      f'cannot {action} the data directory {root} '
      f'({error.strerror or error}): {remedy}give another with --data_dir'
    ) from None
