"""This very command again, as a worker of its launch, here or elsewhere."""

import contextlib
import importlib
import os
import pathlib
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

from posexp import component
from posexp.launch import scheduler, signals

# Seconds between two looks at a worker.
LOOK = 0.2
# What makes a process a worker: of which launch, and of which run alone.
LAUNCH, RETRIES, ONLY = 'POSEXP_LAUNCH', 'POSEXP_RETRIES', 'POSEXP_ONLY'
# What decides on numbers and places, and a worker elsewhere cannot know; which
# device it has, a node knows best.
_PASSED, _OWN = (
  ('JAX_', 'XLA_', 'POSEXP_'),
  ('JAX_PLATFORMS', 'JAX_PLATFORM_NAME'),
)


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
  """The command of a worker of a launch, of one run alone if it is named.

  Raises:
    UserError: one sentence, if nothing is there to be repeated.
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
    if name.startswith(_PASSED) and name not in _OWN
  }
  environment |= {
    'PYTHONPATH': os.pathsep.join(paths),
    LAUNCH: launch.name,
    RETRIES: str(launch.retries),
    **({ONLY: only} if only else {}),
  }
  return Command(launch.argv, environment, os.getcwd())


def start(asked: Command) -> subprocess.Popen:
  """A worker that stops should this process die; it speaks on stderr."""
  return subprocess.Popen(
    [sys.executable, '-P', '-m', 'posexp', *asked.arguments],
    env={**os.environ, **asked.environment, signals.LAUNCHER: str(os.getpid())},
    cwd=asked.directory,
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
    return self.code < 0 or self.code >= 128


class Job:
  """A worker that another system starts: a call of this object.

  Args:
    asked: what it does.
  """

  def __init__(self, asked: Command):
    self._asked = asked
    self._process: subprocess.Popen | None = None

  def __call__(self) -> Ended:
    """Works to the end; whatever interrupts it, what is under way is kept."""
    self._process = start(self._asked)
    try:
      said = self._finished(self._process)
    finally:
      self.keep()
    return Ended(self._process.returncode, tuple(said.splitlines()))

  def _finished(self, process: subprocess.Popen) -> str:
    """What a worker said; looked for often, so that a signal is heard."""
    while True:
      with contextlib.suppress(subprocess.TimeoutExpired):
        return process.communicate(timeout=LOOK)[1]

  def keep(self) -> None:
    """Has the worker keep what it has, and stop, if it is at work."""
    if self._process is not None and self._process.poll() is None:
      self._process.terminate()
      self._process.wait()

  def checkpoint(self) -> Any:
    """What goes on in its place when it was preempted, in submitit's words."""
    self.keep()
    helpers = importlib.import_module('submitit.helpers')
    return helpers.DelayedSubmission(self)

  def __getstate__(self) -> dict[str, Any]:
    return {'_asked': self._asked, '_process': None}
