"""Workers as a SLURM job array, through submitit; requeued when preempted."""

import ast
import os
import pathlib
import shutil
import signal
import time
from collections.abc import Iterable
from typing import Any

from posexp import component
from posexp.launch import (
  exit_codes,
  failures,
  scheduler,
  worker_command,
  worker_pool,
)
from posexp.results import files, progress

# What to wait for a cancelled job, in seconds, as SLURM's KillWait does.
PATIENCE = 30.0
# Where jobs run unless --slurm=cluster=... says otherwise.
SLURM = 'slurm'


def folder(launch: scheduler.Launch) -> pathlib.Path:
  """Return where submitit keeps jobs and logs: never in a work directory.

  It pickles what a job is, and nothing that is shared with others is to be
  unpickled. All nodes must see it.
  """
  cache = os.environ.get('POSEXP_SLURM', '~/.cache/posexp/slurm')
  return pathlib.Path(files.local(cache)) / launch.name


def parameters(given: Iterable[str]) -> dict[str, Any]:
  """Parse what `--slurm=NAME=VALUE` asks for, in submitit's names.

  >>> parameters(['timeout_min=60', 'slurm_partition=gpu'])
  {'timeout_min': 60, 'slurm_partition': 'gpu'}

  Raises:
    UserError: for what is no NAME=VALUE.
  """
  asked: dict[str, Any] = {}
  for word in given:
    name, equals, text = word.partition('=')
    if not equals or not name:
      raise component.UserError(
        f'--slurm={word!r} must be NAME=VALUE, e.g. --slurm=timeout_min=60'
      )
    try:
      asked[name] = ast.literal_eval(text)
    except (ValueError, SyntaxError):
      asked[name] = text
  return asked


def library(given: Iterable[str]) -> Any:
  """Import submitit, and check that what it needs is there.

  Raises:
    UserError: without submitit or SLURM, or for what is no NAME=VALUE.
  """
  submitit = component.extra('submitit', '--executor=slurm', 'slurm')
  cluster = parameters(given).get('cluster', SLURM)
  if cluster == SLURM and not shutil.which('sbatch'):
    raise component.UserError(
      '--executor=slurm needs the command sbatch, which is not on the PATH: '
      'launch from a login node of the cluster, or give --slurm=cluster=local'
    )
  return submitit


def hire(
  launch: scheduler.Launch, workers: int, given: Iterable[str]
) -> list[worker_pool.Worker]:
  """Submit so many workers as one array.

  Args:
    launch: the grid.
    workers: jobs of the array.
    given: what they ask for, see `parameters`; `cluster=local` runs them on
      this machine without SLURM.
  """
  submitit, asked = library(given), parameters(given)
  cluster = asked.pop('cluster', SLURM)
  job = worker_command.Job(worker_command.command(launch))
  try:
    executor = submitit.AutoExecutor(folder(launch), cluster=cluster)
    executor.update_parameters(
      **{'name': 'posexp', 'timeout_min': 24 * 60, **asked}
    )
    jobs = executor.submit_array([job] * workers)
  except (ValueError, NameError, RuntimeError, OSError) as error:
    said = ' '.join(str(error).split())
    raise component.UserError(
      f'the jobs were refused ({said}): see --slurm'
    ) from None
  return [_Worker(executor, job, submitted, launch.tell) for submitted in jobs]


class _Worker(worker_pool.Worker):
  """A job, and the one that takes its place should it die."""

  def __init__(
    self,
    executor: Any,
    job: worker_command.Job,
    submitted: Any,
    tell: progress.Progress,
  ):
    super().__init__(submitted.job_id, tell)
    self._executor, self._work = executor, job
    self._job: Any = submitted
    self._fresh = True
    self._ended: int | None = None
    self._until = 0.0
    tell.note(f'job     {submitted.job_id}: logs in {submitted.paths.folder}')

  def start(self) -> None:
    self._ended = None
    if self._fresh:
      self._fresh = False
      return
    # SLURM may have put it into the queue again by itself.
    self._job.cancel(check=False)
    try:
      self._job = self._executor.submit(self._work)
    except (RuntimeError, OSError) as error:
      said = ' '.join(str(error).split())
      self._tell.note(f'job     none takes its place: refused ({said})')
      self._ended = exit_codes.FAILED
      return
    self.name = self._job.job_id

  def code(self) -> int | None:
    if self._ended is None and self._job.done():
      self._ended = self._outcome()
    return self._ended

  def _outcome(self) -> int:
    """Return the exit code of a job; what it had to say is passed on."""
    if 'CANCELLED' in self._job.state:  # By a person, who meant it.
      return exit_codes.FAILED
    try:
      ended = self._job.result()
    except Exception as error:  # Cancelled, or its node is gone.
      self._tell.note(f'job     {self.name}: {failures.first_line(error)}')
      return -signal.SIGTERM
    for line in ended.lines:
      self._tell.note(line)
    return ended.code

  def ask(self) -> None:
    self._until = time.monotonic() + PATIENCE
    if not self._job.done():
      self._job.cancel(check=False)

  def wait(self) -> None:
    while not self._job.done() and time.monotonic() < self._until:
      time.sleep(worker_pool.LOOK)

  def kill(self) -> None:
    self.ask()
