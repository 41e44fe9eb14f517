"""Checkpoints of a run: written whole or not at all, by orbax."""

import logging
import pathlib
import re
import shutil
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

# Orbax logs every array that it writes.
logging.getLogger('absl').setLevel(logging.WARNING)


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

  def steps(self) -> list[int]:
    """Return the steps that have a complete checkpoint, the newest first."""
    steps = [
      int(path.name.removeprefix('step_'))
      for path in self.directory.glob('step_*')
      if re.fullmatch(r'step_\d+', path.name)
    ]
    return sorted(steps, reverse=True)

  def save(self, step: int, tree: Any) -> None:
    """Write a checkpoint, then remove all but it and the one before.

    Each process writes its part of arrays that several have.
    """
    path = self._path(step)
    first = jax.process_index() == 0
    if first and path.exists():  # Passed over; it must not block the run.
      path.rename(path.with_name(f'{path.name}.unreadable'))
    self.directory.mkdir(parents=True, exist_ok=True)
    ocp.multihost.sync_global_processes('posexp-save')
    with ocp.StandardCheckpointer() as checkpointer:
      checkpointer.save(path, {'tree': tree, 'digest': self._mark()})
    for old in self.steps()[2:] if first else ():
      shutil.rmtree(self._path(old), ignore_errors=True)

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
      with ocp.StandardCheckpointer(**options) as checkpointer:
        saved = checkpointer.restore(
          path, {'tree': like, 'digest': self._mark()}
        )
    # Whatever orbax and its storage raise on a damaged file means the same.
    except Exception as error:
      self.report(
        f'checkpoint {path} cannot be read '
        f'({type(error).__name__}: {str(error).splitlines()[0][:120]}): it is '
        'left there and an earlier one, or the start, is used'
      )
      return None
    if not np.array_equal(saved['digest'], self._mark()):
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
    return self.directory / f'step_{step:08d}'
