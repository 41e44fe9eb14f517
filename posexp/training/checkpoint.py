"""Checkpoints of a run: written whole or not at all, by orbax.

Orbax's CheckpointManager is not used: it refuses a step below the newest one,
it keeps the highest steps, which may be the unreadable ones, and all hosts must
restore together, where here each reads for itself.
"""

import contextlib
import itertools
import logging
import pathlib
import re
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from posexp.results import files

# Begins the name of a directory in which a checkpoint is being written.
SAVING = 'saving-'
# What orbax and the libraries below it take literally in a path.
_PLAIN = re.compile(r'[\w./ +=,@-]+')


class Checkpoints:
  """The checkpoints of one run, each in a directory named by its step.

  A checkpoint that cannot be read, or that another configuration wrote, is
  reported, left where it is and passed over for the one before it.

  Attributes:
    directory: where they lie; made when the first is saved.
    digest: of the configuration; saved with each and compared on reading.
    report: called with one sentence for each checkpoint that is passed over.
  """

  def __init__(
    self,
    directory: pathlib.Path,
    *,
    digest: str,
    report: Callable[[str], None],
  ):
    self.directory = directory.resolve()
    self.digest = digest
    self.report = report
    self._passed_over: set[pathlib.Path] = set()

  def steps(self) -> list[int]:
    """Return the steps that have a complete checkpoint, the newest first."""
    steps = [
      int(path.name.removeprefix('step_'))
      for path in self.directory.glob('step_*')
      if re.fullmatch(r'step_\d+', path.name)
    ]
    return sorted(steps, reverse=True)

  def save(self, step: int, tree: Any) -> None:
    """Write a checkpoint, then remove all before it but the last.

    Each process writes its part of arrays that several have. Later steps, which
    were passed over, stay where they are until the run reaches them.
    """
    first = jax.process_index() == 0
    # Its own, as another process may save the same step of the same run.
    drawn = np.int32(secrets.randbelow(2**31))
    token = int(multihost_utils.broadcast_one_to_all(drawn))
    own = self.directory / f'{SAVING}{token:08x}'
    files.make_directory(own)
    ocp.multihost.sync_global_processes('posexp-save')
    with (
      _plain(own) as directory,
      _raised_only(),
      ocp.StandardCheckpointer() as checkpointer,
    ):
      body = {'tree': tree, 'digest': self._mark()}
      checkpointer.save(directory / self._name(step), body)
    if first:
      self._move_into_place(own / self._name(step))
      shutil.rmtree(own, ignore_errors=True)
      before = [other for other in self.steps() if other < step]
      for old in before[1:]:
        shutil.rmtree(self._path(old), ignore_errors=True)

  def _move_into_place(self, saved: pathlib.Path) -> None:
    """Move a checkpoint to its place; one of another process there stays."""
    path = self.directory / saved.name
    if path in self._passed_over:
      _move_aside(path)
      self._passed_over.remove(path)
    # Else it is as good as this one, as the run and the step are the same.
    try:
      saved.rename(path)
    except OSError:
      if not path.exists():
        raise
    files.sync(self.directory)

  def latest(self, like: Any) -> tuple[int, Any] | None:
    """Read the newest readable checkpoint.

    Args:
      like: a tree of arrays of the same shapes and types.

    Returns:
      The step and the tree, None where there is none.
    """
    for step in self.steps():
      tree = self._read(step, like)
      if tree is not None:
        return step, tree
    return None

  def _read(self, step: int, like: Any) -> Any | None:
    path = self._path(step)
    process, options = jax.process_index(), {}
    if jax.process_count() > 1:
      # Each reads for itself: were one not to find it, others would wait.
      options['multiprocessing_options'] = ocp.options.MultiprocessingOptions(
        primary_host=process, active_processes={process}
      )
    try:
      with (
        _plain(self.directory) as directory,
        _raised_only(),
        ocp.StandardCheckpointer(**options) as checkpointer,
      ):
        body = {'tree': like, 'digest': self._mark()}
        saved = checkpointer.restore(directory / self._name(step), body)
    # Whatever orbax and its storage raise on a damaged file means the same.
    except Exception as error:
      self._passed_over.add(path)
      self.report(
        f'checkpoint {path} cannot be read '
        f'({type(error).__name__}: {str(error).splitlines()[0][:120]}): it is '
        'left there and an earlier one, or the start, is used'
      )
      return None
    if not np.array_equal(saved['digest'], self._mark()):
      self._passed_over.add(path)
      self.report(
        f'checkpoint {path} belongs to another configuration than '
        f'{self.digest}: it is left there and an earlier one, or the start, '
        'is used'
      )
      return None
    return saved['tree']

  def _mark(self) -> np.ndarray:
    return np.frombuffer(self.digest.encode(), np.uint8)

  def _path(self, step: int) -> pathlib.Path:
    return self.directory / self._name(step)

  @staticmethod
  def _name(step: int) -> str:
    return f'step_{step:08d}'


def _move_aside(path: pathlib.Path) -> None:
  """Move a checkpoint that was passed over to a name of its own."""
  for number in itertools.count(1):
    other = path.with_name(f'{path.name}.unreadable-{number}')
    if not path.exists():
      return
    if not other.exists():
      path.rename(other)


@contextlib.contextmanager
def _plain(directory: pathlib.Path) -> Iterator[pathlib.Path]:
  """Give another path to a directory whose own has odd characters.

  Orbax takes `[1]` for a pattern, and a backslash for more than a letter.
  """
  if _PLAIN.fullmatch(str(directory)):
    yield directory
    return
  with tempfile.TemporaryDirectory(prefix='posexp-') as folder:
    alias = pathlib.Path(folder) / 'checkpoints'
    alias.symlink_to(directory, target_is_directory=True)
    yield alias


@contextlib.contextmanager
def _raised_only() -> Iterator[None]:
  """Keep what orbax raises from being printed as well.

  Its threads log the traceback of an error each. Tensorstore prints another one
  for each array whose writing ends after the first has failed, perhaps after
  the save itself: so that what is shown of these is restored after a success
  alone.
  """
  logger, show = logging.getLogger('absl'), sys.unraisablehook

  def show_others(unraisable: Any) -> None:
    if str(unraisable.exc_value) != 'Event loop is closed':
      show(unraisable)

  level = logger.level
  logger.setLevel(logging.CRITICAL)
  sys.unraisablehook = show_others
  try:
    yield
    sys.unraisablehook = show
  finally:
    logger.setLevel(level)
