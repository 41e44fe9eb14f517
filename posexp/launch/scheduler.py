"""Executing a grid in this process, beside others that share its directory.

A run that cannot be computed stops no other. What posexp foresees, a
`UserError`, is one sentence; any other exception is kept with its traceback.
"""

import contextlib
import dataclasses
import functools
import os
import pathlib
import socket
import textwrap
import time
import traceback
from collections.abc import Mapping, Sequence

from posexp import component
from posexp.cost import flop_count
from posexp.launch import disk, failures, job, locks, multihost, signals
from posexp.models import compile_counter
from posexp.results import files, progress, records
from posexp.runs import config, stacking
from posexp.training import capacity

# A sentence for each run that failed, by digest.
Failures = dict[str, str]

# How often a run that failed is tried again, unless its configuration is why.
RETRIES = 1
# Seconds between two looks at runs that another process has.
POLL = 0.5


@dataclasses.dataclass(frozen=True)
class Launch:
  """A grid that is computed, by this process or by workers.

  Attributes:
    runs: parents before their retrofits, trials before what they tune.
    workdir: where records go; any number of processes may share it.
    tell: the progress of the grid.
    retries: how often a run that failed is tried again.
    most: how many runs of one stem are trained at once, see `capacity.most`.
    argv: the words after `posexp` that its workers repeat; none where a
      program, and not the command, launches.
    name: tells it from any other, and is that of its workers, too.
  """

  runs: Sequence[config.Run]
  workdir: pathlib.Path
  tell: progress.Progress
  retries: int = RETRIES
  most: int | None = None
  argv: tuple[str, ...] = ()
  name: str = dataclasses.field(
    default_factory=lambda: (
      f'{socket.gethostname()}-{os.getpid()}-{time.time_ns()}'
    )
  )


def execute(launch: Launch) -> Failures:
  """Compute what is missing of a planned grid; a failure stops nothing else.

  What another process computes is waited for, and taken over should that one
  die.

  Returns:
    One sentence for each run that failed, by digest.

  Raises:
    disk.Full: if there is no room for what was computed.
    signals.Stopped: if that was asked for, once what was under way is kept.
  """
  waiting, before = list(launch.runs), compile_counter.counted.copy()
  scheduler = _Scheduler(launch)
  while waiting:
    left = [run for run in waiting if not scheduler.settle(run)]
    if len(left) == len(waiting):
      scheduler.hosts.wait()
      time.sleep(POLL)
    waiting = left
  if compile_counter.counted != before:
    launch.tell.note(f'programs made: {compile_counter.since(before)}')
  return scheduler.failures


class _Scheduler:
  """What this process does of a grid."""

  def __init__(self, launch: Launch):
    self.launch = launch
    self.workdir, self.tell = launch.workdir, launch.tell
    self.failures: Failures = {}
    actions = job.actions(launch.workdir, launch.tell)
    self.hosts = multihost.Hosts(launch.runs, actions)
    self._planned = {run.digest for run in launch.runs}
    # What training took each that was trained beside others, in seconds.
    self._trained: dict[str, Mapping[str, float]] = {}
    # Those that are trained alone, since something failed beside others.
    self._apart: set[str] = set()

  @functools.cached_property
  def _alike(self) -> dict[str, tuple[config.Run, ...]]:
    """Who could be trained together; nobody asks if all have finished."""
    return stacking.alike(self.launch.runs)

  def _stack(self, run: config.Run) -> tuple[config.Run, ...]:
    """Those that a run is trained with, itself among them."""
    alike = self._alike.get(run.digest, (run,))
    if len(alike) == 1 or run.digest in self._apart:
      return (run,)
    return stacking.pack(run, alike, capacity.most(alike[0], self.launch.most))

  def settle(self, run: config.Run) -> bool:
    """Compute a run if it is free; whether it has finished or failed."""
    signals.obey()
    try:
      with disk.room(self.workdir):
        if self._finished(run):
          self._tidy(run)
          self._skip(run)
          return True
        if self._awaits(run):
          return False
        with locks.claimed(self._directory(run)) as claim:
          # It may have been finished, or given up, since the look above.
          if claim is None or self._finished(run):
            return False
          sentence = self._given_up(run) or self._compute(run, claim)
    except disk.Full:
      raise
    except Exception as error:
      sentence = _sentence(error)
      self.tell.note(f'failed  {run.name}: {sentence}')
      if not _foreseen(error):
        self.tell.note(_indented(error))
    if sentence:
      self.failures[run.digest] = sentence
      self._skip(run)
    return True

  def _directory(self, run: config.Run) -> pathlib.Path:
    return records.run_directory(self.workdir, run.digest)

  def _finished(self, run: config.Run) -> bool:
    return records.read(self.workdir, run.digest) is not None

  def _skip(self, run: config.Run) -> None:
    """Count what is left of a run as done."""
    self.tell.skip(flop_count.run_flops(run) - self._counted(run))

  def _counted(self, run: config.Run) -> float:
    """Return the arithmetic of a run that was counted beside others."""
    if run.digest not in self._trained:
      return 0.0
    return job.step_flops(run) * run.train.steps

  def _tidy(self, run: config.Run) -> None:
    """Remove what is left of a process that was killed as it finished."""
    directory = self._directory(run)
    # Its claim is the last thing that a process removes.
    if (directory / locks.NAME).exists():
      with locks.claimed(directory) as claim:
        if claim is not None:
          job.tidy(directory)
          failures.clear(directory)

  def _awaits(self, run: config.Run) -> bool:
    """Return whether another process still computes its parent or a trial."""
    if self._failed_before(run):
      return False
    return any(
      needed.digest in self._planned and not self._finished(needed)
      for needed in run.before
    )

  def _failed_before(self, run: config.Run) -> str:
    """Return which of the runs that it needs failed, '' if none did."""
    for needed in run.before:
      if needed.digest in self.failures:
        kind = 'its trial' if needed.trial else 'its parent'
        return f'{kind} failed: {needed.name}'
    return ''

  def _given_up(self, run: config.Run) -> str | None:
    """Return why another process of this launch gave a run up, if one did."""
    failure = failures.read(self._directory(run))
    same = failure.get('launch') == self.launch.name
    return failure['sentence'] if same else None

  def _compute(self, run: config.Run, claim: locks.Claim) -> str | None:
    """Compute a run, again if it fails; a sentence if it failed for good."""
    if failed := self._failed_before(run):
      return self._give_up(run, failed, 0)
    died = 0
    if claim.before.get('launch') == self.launch.name:
      died = int(claim.before.get('attempt', 1))
      self._apart.add(run.digest)  # It may have died of the others.
    if died > self.launch.retries:
      return self._give_up(
        run,
        f'the process that computed it died {died} times without a word: of '
        'too little memory, perhaps, of which fewer seeds, examples or '
        '--workers need less',
        died,
      )
    if run.digest not in self._apart | self._trained.keys():
      self._train_beside(run, claim)
    for attempt in range(died + 1, self.launch.retries + 2):
      claim.say(launch=self.launch.name, name=run.name, attempt=attempt)
      counted, begun = self._counted(run), self.tell.done
      effort = flop_count.run_flops(run)
      try:
        with self.tell.on(claim, effort=effort, had=counted):
          self._attempt(run)
        return None
      except Exception as error:
        if files.is_full(error):
          raise
        # As if it had not been tried: what it did is counted when it is done.
        self.tell.skip(begun - self.tell.done)
        if self._finished(run):  # By a process that had the claim, too.
          self._skip(run)
          return None
        if _foreseen(error):
          return self._give_up(run, _sentence(error), attempt)
        if attempt > self.launch.retries:
          return self._give_up(run, _sentence(error), attempt, error)
        self.tell.note(
          f'again   {run.name}: attempt {attempt} failed: {_sentence(error)}'
        )
    raise AssertionError('the last attempt returns')

  def _attempt(self, run: config.Run) -> None:
    computed = self.hosts.do(
      multihost.COMPUTE,
      [run],
      len(self._stack(run)),
      seconds=self._trained.get(run.digest),
    )
    job.keep(run, self.workdir, self.tell, computed)
    failures.clear(self._directory(run))

  def _train_beside(self, run: config.Run, claim: locks.Claim) -> None:
    """Train a run beside those of its stack that nobody has."""
    stack = self._stack(run)
    with contextlib.ExitStack() as held:
      claims = {}
      # In the order of the plan, which other processes of this run have.
      for mate in stack:
        if mate == run:
          claims[mate] = claim
        elif self._free(mate):
          other = held.enter_context(locks.claimed(self._directory(mate)))
          if other and self._free(mate):
            claims[mate] = other
      if len(claims) == 1:
        return
      for mate, own in claims.items():
        # Should the process die, each is tried alone before it is to blame.
        own.say(launch=self.launch.name, name=mate.name, attempt=0)
      mates, begun = list(claims), self.tell.done
      effort = sum(map(flop_count.run_flops, mates))
      try:
        with self.tell.on(*claims.values(), effort=effort):
          trained = self.hosts.do(multihost.TRAIN, mates, len(stack))
      except Exception as error:
        if files.is_full(error):
          raise
        self.tell.skip(begun - self.tell.done)
        self._apart |= {mate.digest for mate in mates}
        self.tell.note(
          f'again   {run.name}: alone, as beside others: {_sentence(error)}'
        )
        return
    for mate, result in zip(mates, trained, strict=True):
      self._trained[mate.digest] = result.seconds

  def _free(self, run: config.Run) -> bool:
    """Return whether a run can be trained now, beside another one.

    One whose process died in this launch is tried alone.
    """
    for needed in run.before:
      if needed.digest in self.failures:
        return False
      if not records.finished(self.workdir, needed.digest):
        return False
    if run.digest in self._apart | self._trained.keys():
      return False
    if records.finished(self.workdir, run.digest):
      return False
    said, _ = locks.state(self._directory(run)) or ({}, False)
    died = said.get('launch') == self.launch.name
    return not died and self._given_up(run) is None

  def _give_up(
    self,
    run: config.Run,
    sentence: str,
    attempts: int,
    error: Exception | None = None,
  ) -> str:
    """Record that a run failed, for `posexp status` and for this launch.

    The traceback of an `error` is kept whole, and shown.
    """
    trace = ''.join(traceback.format_exception(error)) if error else ''
    path = failures.write(
      self._directory(run),
      name=run.name,
      sentence=sentence,
      attempts=attempts,
      launch=self.launch.name,
      traceback=trace.splitlines(),
    )
    self.tell.note(f'failed  {run.name}: {sentence}')
    if error:
      self.tell.note(
        f'{_indented(error)}\n        The whole traceback is in {path}'
      )
    return sentence


def _foreseen(error: BaseException | None) -> bool:
  """Return whether posexp foresaw an error, which no retry changes."""
  if isinstance(error, multihost.Apart):
    # Without a cause it is not the same everywhere, perhaps not yet.
    error = error.__cause__
  return isinstance(error, component.UserError)


def _sentence(error: Exception) -> str:
  """Return the first line of an error, with its type unless foreseen."""
  lines = str(error).strip().splitlines()
  if isinstance(error, component.UserError) and lines:
    return str(error).strip()
  return ': '.join([type(error).__name__, *lines[:1]])


def _indented(error: Exception) -> str:
  return textwrap.indent(failures.shown(error), ' ' * 8)
