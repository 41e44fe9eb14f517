"""Having a grid computed, here or on a cluster, to an exit code."""

import contextlib
import dataclasses
import os
import pathlib
import re
import sys
from collections.abc import Callable, Sequence

import jax

from posexp import component
from posexp.cost import flop_count
from posexp.launch import (
  disk,
  exit_codes,
  grid,
  job,
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
from posexp.models import environment, mesh
from posexp.reports.trackers import kinds
from posexp.results import progress
from posexp.runs import config

EXECUTORS = ('local', 'ray', 'slurm')


@dataclasses.dataclass(frozen=True)
class ExecutorConfig:
  """Who computes a grid; by default this process alone.

  Attributes:
    workers: processes of this machine, tasks at once on a Ray node that has no
      accelerator, or jobs of a SLURM array.
    executor: local, ray or slurm.
    address: of a Ray cluster, host:port; one of this machine unless given.
    slurm: what a job asks for, NAME=VALUE.
    pack: runs that one program trains at once, see `loop.most`.
    coordinator: where the first process of several of one run listens.
    processes: how many there are, and
    process: which this is, see `multihost.join`.
    track: trackers that are told of runs as they finish.
    retries: how often a run that failed is tried again.
    argv: the words after `posexp` on the command line, which workers repeat.
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
  retries: int = scheduler.RETRIES
  argv: Sequence[str] = ()

  @property
  def local(self) -> bool:
    """Whether it is this machine that computes, under this command alone."""
    return self.executor == 'local'

  @property
  def alone(self) -> bool:
    """Whether it is this process that computes."""
    return self.local and self.workers == 1

  def check(self) -> None:
    """Check that the settings go together.

    Raises:
      UserError: if they do not.
    """
    component.one_of('--executor', self.executor, EXECUTORS)
    if self.workers < 1:
      raise component.UserError(
        f'--workers must be at least 1, got {self.workers}: 1 computes in '
        'this process'
      )
    for flag, value, executor in (
      ('address', self.address, 'ray'),
      ('slurm', self.slurm, 'slurm'),
    ):
      if value and self.executor != executor:
        raise component.UserError(
          f'--{flag} is for --executor={executor}, and this is '
          f'--executor={self.executor}: leave one of them out'
        )
    if self.local:
      local_executor.check(self.workers)
    elif self.executor == 'ray':
      ray_executor.check(self.address)
    else:
      slurm_executor.library(self.slurm)
    self._check_hosts()
    kinds.check(self.track)

  def _check_hosts(self) -> None:
    if self.coordinator is None:
      if (self.processes, self.process) != (None, None):
        raise component.UserError(
          '--processes and --process are for a run over several hosts: give '
          '--coordinator=HOST:PORT of the first, too'
        )
      return
    if self.pack == 0:
      raise component.UserError(
        '--pack=0 asks the memory of one host: with --coordinator give the '
        'number of runs that one program trains at once'
      )
    if not self.alone:
      raise component.UserError(
        '--coordinator is for one run over several hosts, a process each: '
        'leave out --workers and --executor'
      )
    if self.coordinator == multihost.AUTO:
      return
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


def take_cores(executor: ExecutorConfig) -> None:
  """Take the cores that are this process's own; call it before JAX starts.

  Raises:
    UserError: if the settings of the executor do not go together.
  """
  if worker_command.joined() is None:
    executor.check()
    if not executor.local:
      # An accelerator is for those who compute, on this machine perhaps.
      jax.config.update('jax_platforms', 'cpu')
  mesh.use_all_cores()
  if executor.coordinator:
    multihost.join(executor.coordinator, executor.processes, executor.process)


@environment.fixed()
def check(
  runs: Sequence[config.Run],
  workdir: pathlib.Path,
  executor: ExecutorConfig,
) -> None:
  """Check, before any compute, that runs can be computed.

  Raises:
    UserError: if one cannot.
  """
  multihost.check(runs)
  if executor.local:  # Others know best what memory they have.
    multihost.agree(
      lambda: grid.check(runs, workdir, executor.workers), 'the grid'
    )


@environment.fixed()
def execute(
  runs: Sequence[config.Run],
  workdir: pathlib.Path,
  executor: ExecutorConfig,
) -> int:
  """Compute what is missing of a planned grid, and say how that ended.

  In a process that is a worker it does not return but exits, since the launcher
  does the rest; so do all processes but the first of one run over several
  hosts.

  Args:
    runs: parents before their retrofits.
    workdir: where records go; other launchers may share it.
    executor: who computes.

  Returns:
    0, 1 if some run failed, 3 if the disk is full, 130 or 143 if it was stopped
    by SIGINT or SIGTERM.
  """
  mesh.cache_compilations()
  workers = executor.workers if executor.local else 1
  if workers > 1 and not mesh.on_cpu(jax.devices()[0]):
    raise component.UserError(
      f'--workers={workers} is for CPUs: one process uses all of an '
      'accelerator; leave it out'
    )
  if worker_command.joined() is not None:
    sys.exit(_work(runs, workdir, executor))
  if not multihost.leads():
    sys.exit(_follow(runs, workdir))
  code = exit_codes.BAD_INPUT
  try:
    code = _lead(runs, workdir, executor)
  finally:
    multihost.Hosts(runs, {}).end(code)
  return code


class _Voice(progress.Progress):
  """A worker's progress: notes for its launcher, the rest through its claim."""

  def note(self, text: str) -> None:
    with contextlib.suppress(OSError):  # Its launcher may be gone.
      print(text, file=sys.stderr, flush=True)

  def show(self) -> None:
    pass


class _Quiet(_Voice):
  """The progress of a process that follows: the first one tells."""

  def note(self, text: str) -> None:
    pass


def _follow(runs: Sequence[config.Run], workdir: pathlib.Path) -> int:
  """`execute` in all processes of a run but the first, which alone speaks."""
  nowhere = pathlib.Path(os.devnull)
  with signals.noted(), _Quiet(1.0, nowhere, live=False) as tell:
    return multihost.Hosts(runs, job.actions(workdir, tell)).follow()


def _work(
  runs: Sequence[config.Run], workdir: pathlib.Path, executor: ExecutorConfig
) -> int:
  """`execute` in a worker, of which its launcher tells."""
  name, retries = worker_command.joined() or ('', 0)
  share, most = worker_command.share(runs), executor.pack
  with _Voice(1.0, workdir / 'log.txt', live=False) as tell:
    launch = scheduler.Launch(
      share, workdir, tell, retries=retries, most=most, name=name
    )
    return _exit_code(lambda: scheduler.execute(launch), tell.note, stopped='')


def _lead(
  runs: Sequence[config.Run], workdir: pathlib.Path, executor: ExecutorConfig
) -> int:
  """`execute` in the process that workers and other hosts follow."""
  status.check(workdir)
  plan = [(run.digest, run.name, flop_count.run_flops(run)) for run in runs]
  total = sum(effort for _, _, effort in plan)
  with progress.Progress(total, workdir / 'log.txt') as tell:
    launch = scheduler.Launch(
      runs,
      workdir,
      tell,
      retries=executor.retries,
      most=executor.pack,
      argv=tuple(executor.argv),
    )

    def work() -> scheduler.Failures:
      with disk.room(workdir):
        status.plan(workdir, plan)
      shown = [run for run in runs if not run.trial]
      with tracking.followed(shown, workdir, executor.track, tell):
        if executor.alone:
          return scheduler.execute(launch)
        return worker_pool.execute(launch, _hired(launch, executor))

    return _exit_code(
      work,
      tell.note,
      stopped='stopped: what is finished is kept; the same command goes on '
      'from the last checkpoint',
    )


def _hired(
  launch: scheduler.Launch, executor: ExecutorConfig
) -> Sequence[worker_pool.Member]:
  """Those who compute in place of this process, not yet at work."""
  workers = executor.workers
  if executor.executor == 'ray':
    return [ray_executor.hire(launch, workers, executor.address)]
  if executor.executor == 'slurm':
    return slurm_executor.hire(launch, workers, executor.slurm)
  return local_executor.hire(launch, workers)


def _exit_code(
  work: Callable[[], scheduler.Failures],
  note: Callable[[str], None],
  stopped: str,
) -> int:
  """Do some work and return its exit code; note why if it did not end."""
  try:
    with signals.noted():
      failures = work()
  except KeyboardInterrupt as interrupt:
    if stopped:
      note(stopped)
    return getattr(interrupt, 'code', exit_codes.INTERRUPTED)
  except disk.Full as full:
    note(str(full))
    return full.code
  return exit_codes.FAILED if failures else 0
