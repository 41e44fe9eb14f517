"""Workers of any kind, watched through what they leave in a work directory."""

import abc
import math
import pathlib
import time
from collections.abc import Sequence

from posexp.cost import flop_count
from posexp.launch import (
  disk,
  exit_codes,
  failures,
  locks,
  scheduler,
  signals,
)
from posexp.results import progress, records

# Seconds between two looks at what the workers are doing.
LOOK = 0.5
# Seconds that workers have to leave by themselves once all runs are settled.
GRACE = 30.0
# How often in a row a worker is replaced with nothing finished in between.
DEATHS = 10
# A worker that ends with one of these has said why.
_SAID = (
  exit_codes.DONE,
  exit_codes.FAILED,
  exit_codes.BAD_INPUT,
  exit_codes.FULL,
)


class Member(abc.ABC):
  """One or more workers that are started, watched, and asked to stop.

  Attributes:
    full: whether one of them found no room on the disk.
  """

  full = False

  @abc.abstractmethod
  def start(self) -> None: ...

  @abc.abstractmethod
  def at_work(self, settled: int) -> bool:
    """Return whether it runs; so many runs have finished or failed by now."""

  @abc.abstractmethod
  def ask(self) -> None:
    """Ask it to keep what it has and to stop."""

  @abc.abstractmethod
  def wait(self) -> None:
    """Wait until it has."""

  @abc.abstractmethod
  def kill(self) -> None: ...


class Worker(Member):
  """A process somewhere that repeats the command; its name is for people."""

  def __init__(self, name: str, tell: progress.Progress):
    self.name, self._tell = name, tell
    self._deaths = self._settled = 0

  @abc.abstractmethod
  def code(self) -> int | None:
    """Return what it ended with, negative for a signal; None while it runs."""

  def at_work(self, settled: int) -> bool:
    """Return whether it runs; one that a signal killed is replaced.

    But not for ever, should it die again and again with no run `settled`.
    """
    code = self.code()
    if code is None:
      return True
    self.full = code == disk.Full.code
    # One that was told to stop, by somebody else than its launcher, died too.
    name = exit_codes.killed_by(code)
    if not name:
      if code not in _SAID:
        self._tell.note(
          f'worker  {self.name} ended with exit code {code}, which is none of '
          'posexp: see what it printed above; the same command goes on'
        )
      return False
    hint = ', as the kernel does without memory' if name == 'SIGKILL' else ''
    self._deaths = 1 + self._deaths * (settled == self._settled)
    self._settled = settled
    more = self._deaths < DEATHS
    self._tell.note(
      f'worker  {self.name} was killed by {name}{hint}: '
      + ('another takes its place' if more else f'{DEATHS} times, it is left')
    )
    if more:
      self.start()
    return more


def execute(
  launch: scheduler.Launch, members: Sequence[Member]
) -> scheduler.Failures:
  """Compute what is missing of a grid by workers that repeat this very command.

  A worker that is killed is replaced, and the run that it had is taken over.
  """
  watch, started = _Watch(launch), list[Member]()
  try:
    for member in members:
      member.start()
      started.append(member)
    until = math.inf
    # All are asked, as one that died is replaced then.
    while not signals.asked() and sum(
      member.at_work(watch.settled) for member in started
    ):
      if watch.nothing_left:  # A job that is still queued is not waited for.
        until = min(until, time.monotonic() + GRACE)
      if time.monotonic() > until:
        break
      time.sleep(LOOK)
      watch.look()
    signals.obey()
  finally:
    _end(started)
  watch.look()
  if any(member.full for member in members):
    raise disk.full(f'for {launch.workdir}')
  return _missing(launch)


def _end(members: Sequence[Member]) -> None:
  """Have all keep what they have and stop; at another signal kill them."""
  try:
    for member in members:
      member.ask()
    for member in members:
      member.wait()
  except KeyboardInterrupt:
    for member in members:
      member.kill()
    raise


class _Watch:
  """How far the workers are, from records, failures and claims.

  Attributes:
    settled: how many runs have finished or failed so far.
  """

  def __init__(self, launch: scheduler.Launch):
    self._launch = launch
    # The arithmetic of each run that is not settled, by its directory.
    self._left: dict[pathlib.Path, float] = {}
    # That of what is settled, and which of the others have been seen at work.
    self._done, self._seen = 0.0, set[pathlib.Path]()
    self.settled = 0
    for run in launch.runs:
      effort = flop_count.run_flops(run)
      if records.finished(launch.workdir, run.digest):
        self._done += effort
        launch.tell.skip(effort)
      else:
        self._left[records.run_directory(launch.workdir, run.digest)] = effort

  @property
  def nothing_left(self) -> bool:
    """Whether every run has finished or failed."""
    return not self._left

  def look(self) -> None:
    """Count what is settled, and how far the other runs are."""
    for path in [p for p in self._left if self._is_settled(p)]:
      self._done += self._left.pop(path)
      self.settled += 1
    tell, partly, label = self._launch.tell, 0.0, ''
    for path, effort in self._left.items():
      said, alive = locks.state(path) or ({}, False)
      if not alive:
        continue
      share = float(said.get('share', 0.0))
      if path not in self._seen:  # Where it goes on costs no time now.
        self._seen.add(path)
        tell.skip(share * effort)
      partly += effort * share
      label = str(said.get('label') or said.get('name') or label)
    more = self._done + partly - tell.done
    if more >= 0:
      tell.advance(more, label)
    else:  # What a dead worker had done since its last checkpoint.
      tell.skip(more)

  def _is_settled(self, path: pathlib.Path) -> bool:
    if records.finished(self._launch.workdir, path.name):
      return True
    return failures.read(path).get('launch') == self._launch.name


def _missing(launch: scheduler.Launch) -> scheduler.Failures:
  """Return the sentence of each run without a good record, by digest."""
  missing: scheduler.Failures = {}
  for run in launch.runs:
    failure = failures.read(records.run_directory(launch.workdir, run.digest))
    try:
      if records.read(launch.workdir, run.digest) is not None:
        continue
      sentence = 'no worker was left that could compute it'
    except records.DamagedRecord as error:
      sentence = str(error)
    if failure.get('launch') == launch.name:
      sentence = failure['sentence']
    else:
      launch.tell.note(f'failed  {run.name}: {sentence}')
    missing[run.digest] = sentence
  return missing
