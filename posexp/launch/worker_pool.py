"""Workers of any kind: kept at work, watched through what they leave behind."""

import abc
import math
import pathlib
import signal
import time
from collections.abc import Sequence

from posexp.cost import flop_count
from posexp.launch import disk, failures, locks, scheduler, signals
from posexp.results import progress, records
from posexp.runs import config

# Seconds between two looks at what the workers are doing.
LOOK = 0.5
# Seconds that workers have to leave by themselves once all runs are settled.
GRACE = 30.0
# How often in a row a worker is replaced with nothing finished in between.
DEATHS = 10


class Member(abc.ABC):
  """One or more workers that start, are watched, and are asked to stop.

  Attributes:
    full: whether one of them found no room on the disk.
  """

  full = False

  @abc.abstractmethod
  def start(self) -> None:
    """Starts it."""

  @abc.abstractmethod
  def at_work(self, settled: int) -> bool:
    """Whether it runs; so many runs have finished or failed by now."""

  @abc.abstractmethod
  def ask(self) -> None:
    """Asks it to keep what it has and to stop."""

  @abc.abstractmethod
  def wait(self) -> None:
    """Waits until it has."""

  @abc.abstractmethod
  def kill(self) -> None:
    """Ends it at once."""


class Worker(Member):
  """A process somewhere that repeats the command.

  Args:
    name: as one reads it.
    tell: whom it tells what happens to it.
  """

  def __init__(self, name: str, tell: progress.Progress):
    self.name, self._tell = name, tell
    self._deaths = self._settled = 0

  @abc.abstractmethod
  def code(self) -> int | None:
    """What it ended with, negative for a signal; None while it runs."""

  def at_work(self, settled: int) -> bool:
    """Whether it runs; where a signal killed it, it is told and replaced.

    But not for ever, should it die again and again with no run `settled`.
    """
    code = self.code()
    if code is None:
      return True
    self.full = code == disk.Full.code
    # One that was told to stop, by somebody else than its launcher, died too.
    if 0 <= code < 128:
      return False
    name = signal.Signals(-code if code < 0 else code - 128).name
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
  runs: Sequence[config.Run],
  workdir: pathlib.Path,
  tell: progress.Progress,
  launch: scheduler.Launch,
  crew: Sequence[Member],
) -> scheduler.Failures:
  """As `local.execute`, by workers that repeat this very command.

  A worker that is killed is replaced, and the run that it had is taken over.
  """
  watch, begun = _Watch(runs, workdir, tell, launch), list[Member]()
  try:
    for worker in crew:
      worker.start()
      begun.append(worker)
    until = math.inf
    while not signals.asked() and sum(w.at_work(watch.settled) for w in begun):
      if watch.nothing_left:  # A job that is still queued is not waited for.
        until = min(until, time.monotonic() + GRACE)
      if time.monotonic() > until:
        break
      time.sleep(LOOK)
      watch.look()
    signals.obey()
  finally:
    _end(begun)
  watch.look()
  if any(worker.full for worker in crew):
    raise disk.full(workdir)
  return _missing(runs, workdir, launch, tell)


def _end(crew: Sequence[Member]) -> None:
  """Has all keep what they have and stop; at another signal kills them."""
  try:
    for worker in crew:
      worker.ask()
    for worker in crew:
      worker.wait()
  except KeyboardInterrupt:
    for worker in crew:
      worker.kill()
    raise


class _Watch:
  """How far the workers are, from records, failures and claims.

  Attributes:
    settled: how many runs have finished or failed so far.
  """

  def __init__(
    self,
    runs: Sequence[config.Run],
    workdir: pathlib.Path,
    tell: progress.Progress,
    launch: scheduler.Launch,
  ):
    self._workdir, self._tell, self._launch = workdir, tell, launch
    self._left = {
      records.run_directory(workdir, run.digest): flop_count.run_flops(run)
      for run in runs
    }
    # The work of what is settled, and what each other had done when first seen.
    self._done, self._had = 0.0, dict[pathlib.Path, float]()
    self.settled = 0
    for path in list(self._left):
      if not records.finished(workdir, path.name):
        continue
      effort = self._left.pop(path)
      self._done += effort
      tell.skip(effort)

  @property
  def nothing_left(self) -> bool:
    """Whether every run has finished or failed."""
    return not self._left

  def look(self) -> None:
    for path in [p for p in self._left if self._is_settled(p)]:
      self._done += self._left.pop(path)
      self.settled += 1
    partly, label = 0.0, ''
    for path, effort in self._left.items():
      said, alive = locks.state(path) or ({}, False)
      if not alive:
        continue
      share = float(said.get('share', 0.0))
      if path not in self._had:  # Where it goes on costs no time now.
        self._had[path] = share
        self._tell.skip(share * effort)
      partly += effort * share
      label = str(said.get('label') or said.get('name') or label)
    more = self._done + partly - self._tell.done
    if more >= 0:
      self._tell.advance(more, label)
    else:  # What a dead worker had done since its last checkpoint.
      self._tell.skip(more)

  def _is_settled(self, path: pathlib.Path) -> bool:
    if records.finished(self._workdir, path.name):
      return True
    return failures.read(path).get('launch') == self._launch.name


def _missing(
  runs: Sequence[config.Run],
  workdir: pathlib.Path,
  launch: scheduler.Launch,
  tell: progress.Progress,
) -> scheduler.Failures:
  """The sentence of each run without a good record, by digest."""
  found: scheduler.Failures = {}
  for run in runs:
    said = failures.read(records.run_directory(workdir, run.digest))
    try:
      if records.read(workdir, run.digest) is not None:
        continue
      sentence = 'no worker was left that could compute it'
    except records.Damaged as error:
      sentence = str(error)
    if said.get('launch') == launch.name:
      sentence = said['sentence']
    else:
      tell.note(f'failed  {run.name}: {sentence}')
    found[run.digest] = sentence
  return found
