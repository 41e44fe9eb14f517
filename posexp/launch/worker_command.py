"""The same command again, as a worker of its launch, here or elsewhere."""

import contextlib
import importlib
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from posexp import component
from posexp.launch import exit_codes, grid, scheduler, signals
from posexp.runs import config

# Seconds between two looks at a worker.
LOOK = 0.2
# What makes a process a worker, in its environment: the name of its launch and
# how often that tries a run again; and the one run that it is for, if any.
LAUNCH, RETRIES, ONLY = 'POSEXP_LAUNCH', 'POSEXP_RETRIES', 'POSEXP_ONLY'
# What decides on numbers and places, and a worker elsewhere cannot know.
_PASSED = 'JAX_', 'XLA_', 'POSEXP_'
# Which device a node has it knows best.
_NOT_PASSED = 'JAX_PLATFORMS', 'JAX_PLATFORM_NAME'


class Command(NamedTuple):
  """What a worker does, the same on all nodes that share files.

  Attributes:
    arguments: as `posexp` was given them.
    environment: on top of the node's own.
    directory: where relative paths begin.
  """

  arguments: tuple[str, ...]
  environment: Mapping[str, str]
  directory: str


def command(launch: scheduler.Launch, only: str = '') -> Command:
  """Return the command of a worker, for one run alone if that is given.

  Raises:
    UserError: if nothing is there to be repeated.
  """
  if not launch.argv:
    raise component.UserError(
      'workers repeat a command, and this is none: use `posexp run`, or '
      'workers=1 here'
    )
  # What the launcher imports, whatever lies in the current directory.
  paths = [str(pathlib.Path(__file__).parents[2])]
  paths += [p for p in [os.environ.get('PYTHONPATH')] if p]
  environment = {
    name: value
    for name, value in os.environ.items()
    if name.startswith(_PASSED) and name not in _NOT_PASSED
  }
  environment |= {
    'PYTHONPATH': os.pathsep.join(paths),
    LAUNCH: launch.name,
    RETRIES: str(launch.retries),
    **({ONLY: only} if only else {}),
  }
  return Command(launch.argv, environment, os.getcwd())


def joined() -> tuple[str, int] | None:
  """Return the name and the retries of the launch that this process works for.

  None if it is no worker.
  """
  if LAUNCH not in os.environ:
    return None
  return os.environ[LAUNCH], int(os.environ[RETRIES])


def share(runs: Iterable[config.Run]) -> tuple[config.Run, ...]:
  """Return the runs that this worker is for: all, or one and what it needs."""
  only = os.environ.get(ONLY)
  return grid.plan(run for run in runs if only in (None, run.digest))


def start(work: Command) -> subprocess.Popen:
  """Start a worker that stops should this process die; it speaks on stderr."""
  return subprocess.Popen(
    [sys.executable, '-P', '-m', 'posexp', *work.arguments],
    env={**os.environ, **work.environment, signals.LAUNCHER: str(os.getpid())},
    cwd=work.directory,
    stdin=subprocess.DEVNULL,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
    errors='replace',
  )


class Ended(NamedTuple):
  """How a worker ended, and what it said."""

  code: int
  lines: tuple[str, ...]

  @property
  def died(self) -> bool:
    """Whether a signal ended it, by itself or after it kept its work."""
    return bool(exit_codes.killed_by(self.code))


class Job:
  """A worker that another system starts: a call of this object."""

  def __init__(self, work: Command):
    self._work = work
    self._process: subprocess.Popen | None = None

  def __call__(self) -> Ended:
    """Work to the end; whatever interrupts it, what is under way is kept."""
    self._process = start(self._work)
    try:
      said = None
      while said is None:  # A signal is heard between two looks.
        with contextlib.suppress(subprocess.TimeoutExpired):
          said = self._process.communicate(timeout=LOOK)[1]
    finally:
      self.keep()
    return Ended(self._process.returncode, tuple(said.splitlines()))

  def keep(self) -> None:
    """Have the worker keep what it has, and stop, if it is at work."""
    if self._process is not None and self._process.poll() is None:
      self._process.terminate()
      self._process.wait()

  def checkpoint(self) -> Any:
    """Return what goes on in its place once it was preempted, for submitit."""
    self.keep()
    helpers = importlib.import_module('submitit.helpers')
    return helpers.DelayedSubmission(self)

  def __getstate__(self) -> dict[str, Any]:
    return {'_work': self._work, '_process': None}
