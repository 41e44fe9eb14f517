"""Having a grid computed, here or on a cluster, to an exit code."""

import os
import pathlib
import re
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax

from posexp import component
from posexp.cli import flags
from posexp.cost import flop_count
from posexp.launch import (
  agreement,
  grid,
  local_executor,
  multihost,
  ray_executor,
  scheduler,
  signals,
  slurm_executor,
  status,
  tracking,
  worker_command,
  worker_pool,
)
from posexp.models import mesh
from posexp.reports.trackers import kinds
from posexp.results import progress
from posexp.runs import config

EXECUTORS = ('local', 'ray', 'slurm')


class Hands(NamedTuple):
  """Who computes.

  Attributes:
    workers: processes of this machine, tasks at once on a Ray node that has no
      accelerator, or jobs of a SLURM array.
    executor: local, ray or slurm.
    address: of a Ray cluster, host:port; one of this machine unless given.
    slurm: what a job asks for, NAME=VALUE.
    pack: runs that one program trains at once, see `training.most`.
    coordinator: where the first process of several of one run listens.
    processes: how many there are, and
    process: which this is, see `hosts.join`.
    track: trackers that are told of runs as they finish.
  """

  workers: int = 1
  executor: str = 'local'
  address: str | None = None
  slurm: Sequence[str] = ()
  pack: int | None = None
  coordinator: str | None = None
  processes: int | None = None
  process: int | None = None
  track: Sequence[str] = ()

  @property
  def local(self) -> bool:
    """Whether it is this machine that computes, under this command alone."""
    return self.executor == 'local'

  @property
  def alone(self) -> bool:
    """Whether it is this process that computes."""
    return self.local and self.workers == 1

  def check(self) -> None:
    """Raises a `UserError`, one sentence, for what makes no sense."""
    component.one_of('--executor', self.executor, EXECUTORS)
    if self.workers < 1:
      raise component.UserError(
        f'--workers must be at least 1, got {self.workers}: 1 computes in '
        'this process'
      )
    if self.local:
      local_executor.check(self.workers)
    for flag, value, of in (
      ('address', self.address, 'ray'),
      ('slurm', self.slurm, 'slurm'),
    ):
      if value and self.executor != of:
        raise component.UserError(
          f'--{flag} is for --executor={of}, and this is '
          f'--executor={self.executor}: leave one of them out'
        )
    if self.executor == 'ray':
      ray_executor.check(self.address)
    if self.executor == 'slurm':
      slurm_executor.library(self.slurm)
    self._check_hosts()
    kinds.check(self.track)

  def _check_hosts(self) -> None:
    place = self.processes, self.process
    if self.coordinator is None and place != (None, None):
      raise component.UserError(
        '--processes and --process are for a run over several hosts: give '
        '--coordinator=HOST:PORT of the first, too'
      )
    if self.coordinator and self.pack == 0:
      raise component.UserError(
        '--pack=0 asks the memory of one host: with --coordinator give the '
        'number of runs that one program trains at once'
      )
    if self.coordinator and not self.alone:
      raise component.UserError(
        '--coordinator is for one run over several hosts, a process each: '
        'leave out --workers and --executor'
      )
    if self.coordinator not in (None, multihost.AUTO):
      if not re.fullmatch(r'.+:\d+', self.coordinator):
        raise component.UserError(
          '--coordinator must be HOST:PORT of the first process, or auto, got '
          f'{self.coordinator!r}'
        )
      if self.processes is None or self.process is None:
        raise component.UserError(
          f'--coordinator={self.coordinator} needs --processes, how many there '
          'are, and --process, which of them this is, from 0'
        )
      if not 0 <= self.process < self.processes:
        raise component.UserError(
          f'--process must be from 0 to {self.processes - 1} of '
          f'--processes={self.processes}, got {self.process}'
        )


# This process alone.
HERE = Hands()


def take_cores(hands: Hands) -> None:
  """Takes the cores that are this process's own; before JAX starts.

  Raises:
    UserError: one sentence, for hands that make no sense.
  """
  if local_executor.joined() is None:
    hands.check()
    if not hands.local:
      # An accelerator is for those who compute, on this machine perhaps.
      jax.config.update('jax_platforms', 'cpu')
  mesh.use_all_cores()
  if hands.coordinator:
    multihost.join(hands.coordinator, hands.processes, hands.process)


def check(
  runs: Sequence[config.Run], workdir: pathlib.Path, hands: Hands = HERE
) -> None:
  """Raises a `UserError`, one sentence, for runs that cannot be computed."""
  multihost.check(runs)
  if hands.local:  # Others know best what memory they have.
    work = lambda: grid.check(runs, workdir, hands.workers)
    agreement.same(work, 'the grid')


def conduct(
  runs: Sequence[config.Run],
  workdir: pathlib.Path,
  launch: scheduler.Launch,
  hands: Hands = HERE,
) -> int:
  """Computes what is missing of a planned grid, and says how that ended.

  A worker's process ends here: its launcher does the rest.

  Args:
    runs: parents before their retrofits.
    workdir: where records go; other launchers may share it.
    launch: this one.
    hands: who computes.

  Returns:
    0, 1 if some run failed, 3 if the disk is full, 130 or 143 if it was stopped
    by SIGINT or SIGTERM.
  """
  mesh.cache_compilations()
  if hands.local and not hands.alone and not mesh.on_cpu(jax.devices()[0]):
    raise component.UserError(
      f'--workers={hands.workers} is for CPUs: one process uses all of an '
      'accelerator; leave it out'
    )
  mine = local_executor.joined()
  if mine is not None:
    share = lambda tell: scheduler.execute(
      _mine(runs), workdir, tell, mine, hands.pack
    )
    with local_executor.Voice(1.0, workdir / 'log.txt') as voice:
      sys.exit(_ended(share, voice))
  if not agreement.first():
    sys.exit(multihost.follow(runs, workdir))
  code = flags.BAD_INPUT
  try:
    code = _lead(runs, workdir, launch, hands)
  finally:
    multihost.Others(runs).end(code)
  return code


def _lead(
  runs: Sequence[config.Run],
  workdir: pathlib.Path,
  launch: scheduler.Launch,
  hands: Hands,
) -> int:
  """`conduct`, of the process that the others work for."""
  status.check(workdir)
  efforts = [flop_count.run_flops(run) for run in runs]

  def work(tell: progress.Progress) -> scheduler.Failures:
    plan = [(r.digest, r.name, e) for r, e in zip(runs, efforts, strict=True)]
    try:
      status.plan(workdir, plan)
    except OSError as error:
      if scheduler.is_full(error):
        raise scheduler.full(workdir) from error
      raise
    with tracking.followed(runs, workdir, hands.track, tell):
      if hands.alone:
        return scheduler.execute(runs, workdir, tell, launch, hands.pack)
      members = _hired(runs, workdir, tell, launch, hands)
      return worker_pool.execute(runs, workdir, tell, launch, members)

  with progress.Progress(sum(efforts), workdir / 'log.txt') as tell:
    return _ended(work, tell)


def _mine(runs: Sequence[config.Run]) -> Sequence[config.Run]:
  """The runs that this worker is for: all, or one and its parents."""
  only = os.environ.get(worker_command.ONLY)
  return grid.plan(run for run in runs if only in (None, run.digest))


def _hired(
  runs: Sequence[config.Run],
  workdir: pathlib.Path,
  tell: progress.Progress,
  launch: scheduler.Launch,
  hands: Hands,
) -> Sequence[worker_pool.Member]:
  """Those who compute in place of this process, not yet at work."""
  if hands.executor == 'ray':
    address = hands.address
    return [
      ray_executor.hire(runs, workdir, launch, tell, hands.workers, address)
    ]
  if hands.executor == 'slurm':
    return slurm_executor.hire(launch, tell, hands.workers, hands.slurm)
  return local_executor.hire(launch, tell, hands.workers)


def _ended(
  work: Callable[[progress.Progress], scheduler.Failures],
  tell: progress.Progress,
) -> int:
  """Does the work, and tells how it ended."""
  try:
    with signals.noted():
      failures = work(tell)
  except KeyboardInterrupt as stopped:
    if local_executor.joined() is None:
      tell.note(
        'stopped: what is finished is kept; the same command goes on from the '
        'last checkpoint'
      )
    return getattr(stopped, 'code', flags.INTERRUPTED)
  except scheduler.Full as full:
    tell.note(str(full))
    return full.code
  return flags.FAILED if failures else 0
