"""Executing a grid in this process, beside others that share its directory."""

import contextlib
import dataclasses
import errno
import functools
import os
import pathlib
import socket
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence

from posexp.cost import flop_count
from posexp.launch import (
  agreement,
  exit_codes,
  failures,
  job,
  locks,
  multihost,
  signals,
)
from posexp.models import compile_counter
from posexp.results import progress, records
from posexp.runs import config, stacking
from posexp.training import loop

Failures = dict[str, str]

# How often a run that failed is tried again, unless its configuration is why.
RETRIES = 1
# Seconds between two looks at runs that another process has.
POLL = 0.5
# What the disk is short of: bytes, of all or of one's own share, or of those
# that one file may have.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Full(Exception):
  """The disk is full: nothing can be finished until there is room again.

  Attributes:
    code: what the process ends with.
  """

  code = exit_codes.FULL


@dataclasses.dataclass(frozen=True)
class Launch:
  """One call of `posexp run`, all of its workers included.

  Attributes:
    name: tells it from any other.
    retries: how often a run that failed is tried again.
    argv: the words after `posexp` that its workers repeat; none where a
      program, and not the command, launches.
  """

  name: str = dataclasses.field(
    default_factory=lambda: (
      f'{socket.gethostname()}-{os.getpid()}-{time.time_ns()}'
    )
  )
  retries: int = RETRIES
  argv: tuple[str, ...] = ()


def execute(
  runs: Iterable[config.Run],
  workdir: pathlib.Path,
  tell: progress.Progress,
  launch: Launch | None = None,
  most: int | None = None,
) -> Failures:
  """Computes what is missing of a planned grid; a failure stops nothing else.

  Any number of processes may do so at once: what another one computes is
  waited for, and taken over should that one die.

  Args:
    runs: parents before their retrofits.
    workdir: where records go.
    tell: whom to tell how far it is.
    launch: which command this is for.
    most: how many runs of one stem are trained at once, as `training.most`
      says by default.

  Returns:
    One sentence for each run that failed, by digest.

  Raises:
    Full: one sentence, if there is no room for what was computed.
    stop.Stopped: if that was asked for, once what was under way is kept.
  """
  waiting, before = list(runs), compile_counter.counted.copy()
  here = _Here(workdir, tell, launch or Launch(), waiting, most)
  while waiting:
    left = [run for run in waiting if not here.settled(run)]
    if len(left) == len(waiting):
      here.others.wait()
      time.sleep(POLL)
    waiting = left
  if compile_counter.counted != before:
    tell.note(f'programs made: {compile_counter.told(before)}')
  return here.failures


class _Here:
  """What this process does of a grid."""

  def __init__(
    self,
    workdir: pathlib.Path,
    tell: progress.Progress,
    launch: Launch,
    runs: Sequence[config.Run],
    most: int | None,
  ):
    self.workdir, self.tell, self.launch = workdir, tell, launch
    self.planned = {run.digest for run in runs}
    self.failures: Failures = {}
    self.others = multihost.Others(runs)
    self._runs, self._most = runs, most
    # Of those that were trained beside others.
    self._beside: dict[str, loop.Beside] = {}
    # Of those that are not, as that failed.
    self._apart: set[str] = set()

  @functools.cached_property
  def _alike(self) -> dict[str, tuple[config.Run, ...]]:
    """Who could be trained together; nobody asks if all have finished."""
    return stacking.alike(self._runs)

  def _pack(self, run: config.Run) -> tuple[config.Run, ...]:
    """Those that a run is trained with, itself among them."""
    every = self._alike.get(run.digest, (run,))
    if len(every) == 1 or run.digest in self._apart:
      return (run,)
    return stacking.pack(run, every, loop.most(every[0], self._most))

  def settled(self, run: config.Run) -> bool:
    """Whether a run has finished or failed; it is computed if it is free."""
    signals.obey()
    try:
      if self._finished(run):
        self._tidied(run)
        self.tell.skip(flop_count.run_flops(run) - self._had(run))
        return True
      if self._awaits(run):
        return False
      directory = records.run_directory(self.workdir, run.digest)
      with locks.claimed(directory) as claim:
        # It may have been finished, or given up, since the look above.
        if claim is None or self._finished(run):
          return False
        sentence = (
          self._given_up(directory)
          or self._orphaned(run)
          or self._computed(run, claim)
        )
    except (ValueError, OSError) as error:
      if is_full(error):
        raise full(self.workdir) from error
      sentence = str(error)
      self.tell.note(f'failed  {run.name}: {sentence}')
    if sentence:
      self.failures[run.digest] = sentence
      self.tell.skip(flop_count.run_flops(run) - self._had(run))
    return True

  def _finished(self, run: config.Run) -> bool:
    return records.read(self.workdir, run.digest) is not None

  def _tidied(self, run: config.Run) -> None:
    """Removes what is left of a process that was killed as it finished."""
    directory = records.run_directory(self.workdir, run.digest)
    # Its claim is the last thing that a process removes.
    if (directory / locks.NAME).exists():
      with locks.claimed(directory) as claim:
        if claim is not None:
          job.tidy(directory)
          failures.clear(directory)

  def _awaits(self, run: config.Run) -> bool:
    """Whether its parent is still being computed by another process."""
    parent = run.parent
    if parent is None or parent.digest in self.failures:
      return False
    return parent.digest in self.planned and not self._finished(parent)

  def _orphaned(self, run: config.Run) -> str | None:
    if run.parent is None or run.parent.digest not in self.failures:
      return None
    return self._give_up(run, f'its parent failed: {run.parent.name}', 0)

  def _given_up(self, directory: pathlib.Path) -> str | None:
    """Why another process of this launch gave a run up, if one did."""
    said = failures.read(directory)
    return said['sentence'] if said.get('launch') == self.launch.name else None

  def _computed(self, run: config.Run, claim: locks.Claim) -> str | None:
    """Computes a run, again if it fails; a sentence if it failed for good."""
    directory = records.run_directory(self.workdir, run.digest)
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
    if run.digest not in self._apart | self._beside.keys():
      self._train_beside(run, claim)
    beside = self._beside.get(run.digest) or self._alone(run)
    whole = flop_count.run_flops(run)
    for attempt in range(died + 1, self.launch.retries + 2):
      claim.say(launch=self.launch.name, name=run.name, attempt=attempt)
      begun = self.tell.done
      try:
        with self.tell.on(claim, effort=whole, had=self._had(run)):
          self.others.compute(run, self.workdir, self.tell, beside)
        failures.clear(directory)
        return None
      except Exception as error:
        if is_full(error):
          raise full(self.workdir) from error
        sentence = str(error).strip() or type(error).__name__
        # As if it had not been tried: what it did is counted when it is done.
        self.tell.skip(begun - self.tell.done)
        foreseen = _foreseen(error)
        if foreseen or attempt > self.launch.retries:
          return self._give_up(run, sentence, attempt, not foreseen)
        self.tell.note(
          f'again   {run.name}: attempt {attempt} failed: {sentence}'
        )
    raise AssertionError('the last attempt returns')

  def _had(self, run: config.Run) -> float:
    """What was done of a run beside others, and counted."""
    beside = run.digest in self._beside
    return loop.effort(run) * run.train.steps if beside else 0.0

  def _alone(self, run: config.Run) -> loop.Beside:
    """How a run is trained whose mates have finished, or that has none."""
    return loop.Beside(len(self._pack(run)))

  def _train_beside(self, run: config.Run, claim: locks.Claim) -> None:
    """Trains a run beside those of its pack that nobody has."""
    mine = {run: claim}
    with contextlib.ExitStack() as stack:
      for mate in self._pack(run):
        if mate != run and self._free(mate):
          directory = records.run_directory(self.workdir, mate.digest)
          other = stack.enter_context(locks.claimed(directory))
          if other and self._free(mate):
            mine[mate] = other
      if len(mine) == 1:
        return
      # In the order of the plan, which other processes of this run have.
      mine = {mate: mine[mate] for mate in self._pack(run) if mate in mine}
      for mate, own in mine.items():
        # Should the process die, each is tried alone before it is to blame.
        own.say(launch=self.launch.name, name=mate.name, attempt=0)
      effort = sum(flop_count.run_flops(mate) for mate in mine)
      wide, begun = self._alone(run), self.tell.done
      try:
        with self.tell.on(*mine.values(), effort=effort):
          found = self.others.train(list(mine), self.workdir, self.tell, wide)
      except Exception as error:
        if is_full(error):
          raise full(self.workdir) from error
        self.tell.skip(begun - self.tell.done)
        self._apart |= {mate.digest for mate in mine}
        self.tell.note(f'again   {run.name}: alone, as beside others: {error}')
        return
    for mate, trained in zip(mine, found, strict=True):
      beside = wide._replace(seconds=trained.seconds)
      self._beside[mate.digest] = beside

  def _free(self, run: config.Run) -> bool:
    """Whether a run can be trained now, beside another one.

    One whose process died in this launch is tried alone.
    """
    there = functools.partial(records.finished, self.workdir)
    parent = run.parent and run.parent.digest
    if parent and (parent in self.failures or not there(parent)):
      return False
    if run.digest in self._apart | self._beside.keys() or there(run.digest):
      return False
    directory = records.run_directory(self.workdir, run.digest)
    said, _ = locks.state(directory) or ({}, False)
    died = said.get('launch') == self.launch.name
    return not died and self._given_up(directory) is None

  def _give_up(
    self, run: config.Run, sentence: str, attempts: int, trace: bool = False
  ) -> str:
    """Records that a run failed, for `posexp status` and for this launch."""
    path = failures.write(
      records.run_directory(self.workdir, run.digest),
      name=run.name,
      sentence=sentence,
      attempts=attempts,
      launch=self.launch.name,
      traceback=traceback.format_exc().splitlines() if trace else [],
    )
    self.tell.note(f'failed  {run.name}: {sentence}')
    if trace:
      self.tell.note(f'        the traceback is in {path}')
    return sentence


def _foreseen(error: Exception) -> bool:
  """Whether an error is a sentence of posexp's own, which no retry changes.

  Libraries and schemes of a user's own raise ValueErrors too.
  """
  if isinstance(error, agreement.Apart):
    if error.__cause__ is None:  # Not the same everywhere, perhaps not yet.
      return False
    error = error.__cause__  # type: ignore[assignment]
  frames = traceback.extract_tb(error.__traceback__)
  mine = pathlib.Path(__file__).parents[1]
  raised = pathlib.Path(frames[-1].filename) if frames else mine
  return isinstance(error, ValueError) and mine in raised.parents


def is_full(error: BaseException | None) -> bool:
  """Whether an error, or what caused it, is a full disk.

  Libraries that write checkpoints tell it by their own types, in words.
  """
  while error is not None:
    if isinstance(error, OSError) and error.errno in _FULL:
      return True
    if any(os.strerror(number) in str(error) for number in _FULL):
      return True
    error = error.__cause__ or error.__context__
  return False


@contextlib.contextmanager
def room(workdir: pathlib.Path) -> Iterator[None]:
  """Raise `Full` for whatever error a full disk gives inside."""
  try:
    yield
  except Exception as error:
    if is_full(error):
      raise full(workdir) from error
    raise


def full(workdir: pathlib.Path) -> Full:
  """What is raised where there is no room, with what to do."""
  return Full(
    f'no space left for {workdir}: what is finished is kept; make room, and '
    'the same command goes on from the last checkpoint'
  )
