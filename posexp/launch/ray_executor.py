"""One Ray task a run, on a cluster whose nodes share the work directory."""

import pathlib
import socket
from collections.abc import Sequence
from typing import Any

from posexp import component
from posexp.launch import disk, scheduler, signals, worker_command, worker_pool
from posexp.results import progress, records
from posexp.runs import config

# What a task asks of a node, by the first of these that the cluster has.
KINDS = ('TPU', 'GPU', 'CPU')
# For a cluster to answer, in seconds.
PATIENCE = 10.0


class Died(Exception):
  """A worker was killed: its task is tried again, here or on another node."""


def library() -> Any:
  """Ray, if it is installed.

  Raises:
    UserError: one sentence that names the extra.
  """
  return component.extra('ray', '--executor=ray', 'ray')


def check(address: str | None) -> None:
  """Raises a `UserError` if Ray, or a cluster at an address, is not there.

  Ray itself asks for minutes.
  """
  library()
  host, _, port = (address or '').removeprefix('ray://').rpartition(':')
  if not host or not port.isdigit():
    return
  try:
    socket.create_connection((host, int(port)), timeout=PATIENCE).close()
  except (OSError, OverflowError) as error:
    raise _unreachable(address, error) from None


def _unreachable(address: str | None, error: Exception) -> component.UserError:
  said = str(error).strip().splitlines() or [type(error).__name__]
  return component.UserError(
    f'no Ray cluster at --address={address or "local"} ({said[0]}): start one '
    'with `ray start --head` and give its host:port, or leave --address out '
    'for one of this machine'
  )


def hire(
  runs: Sequence[config.Run],
  workdir: pathlib.Path,
  launch: scheduler.Launch,
  tell: progress.Progress,
  workers: int,
  address: str | None,
) -> worker_pool.Member:
  """The tasks of a grid, not yet submitted, on a cluster that was reached.

  Args:
    runs: parents before their retrofits.
    workdir: which all nodes share.
    launch: this one.
    tell: whom it tells what happens to them.
    workers: tasks at once on a node that computes on its CPU.
    address: host:port of a running cluster; one of this machine by default.

  Raises:
    UserError: one sentence, if there is no cluster at the address.
  """
  connect(address)
  left = [run for run in runs if not records.finished(workdir, run.digest)]
  return _Tasks(left, launch, tell, resources(workers))


def connect(address: str | None) -> None:
  """Joins a cluster, or starts one of this machine alone."""
  ray = library()
  quiet = {'log_to_driver': False, 'logging_level': 'ERROR'}
  if ray.is_initialized():
    return
  try:
    more = {} if address else {'include_dashboard': False}
    with signals.kept():  # Ray would leave at once where one asks to stop.
      ray.init(address=address or 'local', **more, **quiet)
  except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
    raise _unreachable(address, error) from None


def resources(workers: int) -> dict[str, float]:
  """What a task asks for: all accelerators of a kind that the least node has.

  On CPUs a share of the least node's cores, as JAX uses all that it may.
  """
  nodes = [n['Resources'] for n in library().nodes() if n['Alive']]
  for kind in KINDS:
    there = [node[kind] for node in nodes if node.get(kind)]
    if there and kind == 'GPU':
      return {kind: 1}
    if there:
      return {kind: min(there) if kind == 'TPU' else min(there) // workers or 1}
  raise component.UserError(
    'no node of the Ray cluster has a TPU, a GPU or a CPU to compute on: add '
    'one with `ray start --address=...`'
  )


class _Tasks(worker_pool.Member):
  """All tasks of a grid; each waits for that of its parent."""

  def __init__(
    self,
    runs: Sequence[config.Run],
    launch: scheduler.Launch,
    tell: progress.Progress,
    asked: dict[str, float],
  ):
    self._ray, self._runs, self._launch = library(), runs, launch
    self._tell, self._asked = tell, asked
    self._left: dict[Any, config.Run] = {}

  def start(self) -> None:
    more = dict(self._asked)
    remote = self._ray.remote(work).options(
      num_cpus=more.pop('CPU', 0),
      num_gpus=more.pop('GPU', 0),
      resources=more,
      # Nodes may go away often. A run that kills its processes is given up by
      # the next of them.
      max_retries=worker_pool.DEATHS,
      retry_exceptions=[Died],
    )
    by_digest: dict[str, Any] = {}
    for run in self._runs:
      asked = worker_command.command(self._launch, run.digest)
      parent = run.parent and by_digest.get(run.parent.digest)
      # A reference among the arguments is waited for.
      reference = remote.remote(asked, parent)
      by_digest[run.digest] = reference
      self._left[reference] = run

  def at_work(self, settled: int) -> bool:
    if not self._left:
      return False
    every = list(self._left)
    ready, _ = self._ray.wait(every, num_returns=len(every), timeout=0)
    for reference in ready:
      self._ended(self._left.pop(reference), reference)
    return bool(self._left) and not self.full

  def _ended(self, run: config.Run, reference: Any) -> None:
    """Says what a task had to say."""
    try:
      ended = self._ray.get(reference)
    except self._ray.exceptions.RayError as error:
      said = str(error).strip().splitlines() or [type(error).__name__]
      self._tell.note(f'task    {run.name}: {said[-1]}')
      return
    for line in ended.lines:
      self._tell.note(line)
    self.full |= ended.code == disk.Full.code

  def ask(self) -> None:
    for reference in self._left:
      self._ray.cancel(reference, recursive=False)

  def wait(self) -> None:
    every = list(self._left)
    if every:
      self._ray.wait(every, num_returns=len(every))

  def kill(self) -> None:
    for reference in self._left:
      self._ray.cancel(reference, force=True, recursive=False)


def work(asked: worker_command.Command, parent: Any) -> worker_command.Ended:
  """A task: a worker of one run, whose parent's task has ended.

  Raises:
    Died: if a signal killed it.
  """
  ended = worker_command.Job(asked)()
  if ended.died:
    raise Died(f'its worker ended with {ended.code}')
  return ended
