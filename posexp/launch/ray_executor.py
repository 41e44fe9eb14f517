"""One Ray task a run, on a cluster whose nodes share the work directory."""

import re
from typing import Any

from posexp import component
from posexp.launch import (
  disk,
  failures,
  multihost,
  scheduler,
  signals,
  worker_command,
  worker_pool,
)
from posexp.results import records
from posexp.runs import config

# What a task asks of a node, by the first of these that the cluster has.
KINDS = ('TPU', 'GPU', 'CPU')
# For a cluster to answer, in seconds.
PATIENCE = 10.0


class Died(Exception):
  """A worker was killed: its task is tried again, here or on another node."""


def library() -> Any:
  """Import Ray, or say which extra has it."""
  return component.extra('ray', '--executor=ray', 'ray')


def check(address: str | None) -> None:
  """Check that Ray is there, and a cluster at the address.

  Ray itself would try for minutes.

  Raises:
    UserError: if one of them is not.
  """
  library()
  at = (address or '').removeprefix('ray://')
  known = re.fullmatch(r'.+:\d+', at)
  if known and (error := multihost.unreachable(at, PATIENCE)):
    raise _unreachable(address, error)


def _unreachable(address: str | None, error: Exception) -> component.UserError:
  why = failures.first_line(error)
  return component.UserError(
    f'no Ray cluster at --address={address or "local"} ({why}): start one '
    'with `ray start --head` and give its host:port, or leave --address out '
    'for one of this machine'
  )


def hire(
  launch: scheduler.Launch, workers: int, address: str | None
) -> worker_pool.Member:
  """Reach a cluster, and return the tasks of a grid, not yet submitted.

  Args:
    launch: the grid, whose work directory all nodes share.
    workers: tasks at once on a node that computes on its CPU.
    address: host:port of a running cluster; one of this machine by default.
  """
  connect(address)
  return _Tasks(launch, resources(workers))


def connect(address: str | None) -> None:
  """Join a cluster, or start one of this machine alone."""
  ray = library()
  if ray.is_initialized():
    return
  try:
    local = {} if address else {'include_dashboard': False}
    with signals.kept():  # Ray would leave at once where one asks to stop.
      ray.init(
        address=address or 'local',
        log_to_driver=False,
        logging_level='ERROR',
        **local,
      )
  except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
    raise _unreachable(address, error) from None


def resources(workers: int) -> dict[str, float]:
  """Return what a task asks for: the accelerators that the least node has.

  On CPUs a share of the least node's cores, as JAX uses all that it may.
  """
  nodes = [n['Resources'] for n in library().nodes() if n['Alive']]
  for kind in KINDS:
    numbers = [node[kind] for node in nodes if node.get(kind)]
    if not numbers:
      continue
    if kind == 'GPU':
      return {kind: 1}
    least = min(numbers)
    return {kind: least if kind == 'TPU' else least // workers or 1}
  raise component.UserError(
    'no node of the Ray cluster has a TPU, a GPU or a CPU to compute on: add '
    'one with `ray start --address=...`'
  )


class _Tasks(worker_pool.Member):
  """All tasks of a grid; each waits for those of its parent or its trials."""

  def __init__(self, launch: scheduler.Launch, needs: dict[str, float]):
    self._ray, self._launch, self._needs = library(), launch, needs
    self._left: dict[Any, config.Run] = {}

  def start(self) -> None:
    needs = dict(self._needs)
    remote = self._ray.remote(work).options(
      num_cpus=needs.pop('CPU', 0),
      num_gpus=needs.pop('GPU', 0),
      resources=needs,
      # Nodes may go away often. A run that kills its processes is given up by
      # the next of them.
      max_retries=worker_pool.DEATHS,
      retry_exceptions=[Died],
    )
    by_digest: dict[str, Any] = {}
    for run in self._launch.runs:
      if records.finished(self._launch.workdir, run.digest):
        continue
      command = worker_command.command(self._launch, run.digest)
      digests = [needed.digest for needed in run.before]
      before = [by_digest[d] for d in digests if d in by_digest]
      # References among the arguments are waited for.
      reference = remote.remote(command, *before)
      by_digest[run.digest] = reference
      self._left[reference] = run

  def at_work(self, settled: int) -> bool:
    if not self._left:
      return False
    tasks = list(self._left)
    ready, _ = self._ray.wait(tasks, num_returns=len(tasks), timeout=0)
    for reference in ready:
      self._ended(self._left.pop(reference), reference)
    return bool(self._left) and not self.full

  def _ended(self, run: config.Run, reference: Any) -> None:
    """Pass on what a task had to say."""
    try:
      ended = self._ray.get(reference)
    except self._ray.exceptions.RayError as error:
      said = str(error).strip().splitlines() or [type(error).__name__]
      self._launch.tell.note(f'task    {run.name}: {said[-1]}')
      return
    for line in ended.lines:
      self._launch.tell.note(line)
    self.full |= ended.code == disk.Full.code

  def ask(self) -> None:
    for reference in self._left:
      self._ray.cancel(reference, recursive=False)

  def wait(self) -> None:
    tasks = list(self._left)
    if tasks:
      self._ray.wait(tasks, num_returns=len(tasks))

  def kill(self) -> None:
    for reference in self._left:
      self._ray.cancel(reference, force=True, recursive=False)


def work(command: worker_command.Command, *before: Any) -> worker_command.Ended:
  """Do a task: a worker of one run, whose parent's or trials' tasks have ended.

  Raises:
    Died: if a signal killed it.
  """
  ended = worker_command.Job(command)()
  if ended.died:
    raise Died(f'its worker ended with {ended.code}')
  return ended
