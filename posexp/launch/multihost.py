"""One run over several processes, one a host: the first leads, all compute.

The first process goes through a grid as if it were alone, and tells the others
what to compute before it does so itself. It alone writes records and notes; all
write their parts of a checkpoint. A process that is alone agrees with itself.
"""

import hashlib
import os
import socket
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils
from orbax.checkpoint import multihost

from posexp import component
from posexp.launch import exit_codes, failures, signals
from posexp.models import mesh
from posexp.runs import config

# The address for which JAX asks the cluster that it finds itself in.
AUTO = 'auto'
# Seconds after which the others take a silent process for dead, and end.
HEARTBEAT = 30
# Seconds that the others wait for the first to start.
PATIENCE = 240.0
# Seconds that a process which failed waits for the others to fail alike: they
# may be slower to compile. One that died is missed sooner, by its heartbeat.
ALIKE = 120
# What the first process tells the others to do.
WAIT, COMPUTE, TRAIN, END = range(4)

# What is done with runs, for a program of so many; the first process may give
# it more than it tells the others.
Action = Callable[..., Any]

# How often all have failed alike: no barrier has the name of another.
_failed = 0


class Apart(component.UserError):
  """Processes cannot go on with a run; raised in each."""


class Left(signals.Stopped):
  """Raised in every process, as one was asked to stop."""


def join(address: str, processes: int | None, process: int | None) -> None:
  """Become one of the processes of a run; call it before JAX starts.

  Args:
    address: host:port of the first, where it listens; or AUTO.
    processes: how many there are; None for AUTO, as the next.
    process: which of them this is, from 0.

  Raises:
    UserError: if they cannot come together.
  """
  if address != AUTO and process:
    _reach(address)
  try:
    with signals.kept():
      jax.distributed.initialize(
        None if address == AUTO else address,
        processes,
        process,
        heartbeat_timeout_seconds=HEARTBEAT,
        shutdown_timeout_seconds=HEARTBEAT,
      )
  except (RuntimeError, ValueError) as error:
    why = failures.first_line(error)
    raise component.UserError(
      f'the processes of --coordinator={address} did not come together '
      f'({why}): start the same command on every host, each '
      'with a --process of its own, and give a host:port of the first that '
      'all reach'
    ) from None
  mesh.joined = True


def _reach(address: str) -> None:
  """Wait until the first process listens, which JAX would not survive."""
  until = time.monotonic() + PATIENCE
  while error := unreachable(address, 5.0):
    if time.monotonic() > until:
      raise component.UserError(
        f'no process listens at --coordinator={address} after '
        f'{PATIENCE:.0f} s ({error}): start the same command with --process=0 '
        'there, and give an address that this host reaches'
      )
    time.sleep(0.5)


def unreachable(address: str, patience: float) -> Exception | None:
  """Return why nothing answers at host:port within so many seconds, if so."""
  host, _, port = address.rpartition(':')
  try:
    socket.create_connection((host, int(port)), timeout=patience).close()
  except (OSError, OverflowError) as error:
    return error
  return None


def check(runs: Sequence[config.Run]) -> None:
  """Check that all processes can share every run.

  Raises:
    UserError: if they have different devices or grids, or too many devices.
  """
  if not mesh.several():
    return
  devices = Counter(device.process_index for device in jax.devices())
  if len(set(devices.values())) > 1:
    raise component.UserError(
      f'the processes have {", ".join(map(str, devices.values()))} devices: '
      'give each the same number (on a CPU JAX_NUM_CPU_DEVICES says how many)'
    )
  agree(lambda: ' '.join(run.digest for run in runs), 'the grid')
  for run in runs:
    used = mesh.mesh(len(run.seeds), run.train.batch).devices
    idle = jax.process_count() - len({d.process_index for d in used.flat})
    if idle:
      raise component.UserError(
        f'{run.name} can be spread over {used.size} of {jax.device_count()} '
        f'devices, and {idle} of {jax.process_count()} processes would have '
        f'none of them: give seeds (now {len(run.seeds)}) or a batch (now '
        f'{run.train.batch}) that the devices divide'
      )


def leads() -> bool:
  """Return whether this process writes what is written once."""
  return not mesh.several() or jax.process_index() == 0


def exchange(numbers: Sequence[int]) -> np.ndarray:
  """Return the numbers of every process, P x N, in each of them."""
  numbers_N = np.asarray(numbers, np.int32)
  if not mesh.several():
    return numbers_N[None]
  try:
    return np.asarray(multihost_utils.process_allgather(numbers_N))
  except jax.errors.JaxRuntimeError as error:
    _leave(error)


def stop() -> signals.Stopped | None:
  """Return what to raise if any process was asked to stop."""
  number = int(exchange([signals.asked()]).max())
  if not number:
    return None
  return Left(number) if mesh.several() else signals.Stopped(number)


def agree(work: Callable[[], str | None], what: str) -> None:
  """Do in every process what must come out the same, before they compute.

  Args:
    work: returns what is compared, if anything is.
    what: the name of that, for people.

  Raises:
    Apart: if it failed in some process, or came out otherwise there. A process
      that is alone raises what `work` does.
  """
  if not mesh.several():
    work()
    return
  words, failure = '', None
  try:
    words = work() or ''
  except Exception as error:
    failure = error
  digest = hashlib.sha256(words.encode()).digest()[:16]
  every_PxN = exchange(
    [failure is not None, *np.frombuffer(digest, np.int32).tolist()]
  )
  if failure is not None:
    raise Apart(str(failure)) from failure
  failed_P = np.flatnonzero(every_PxN[:, 0])
  if failed_P.size:
    raise Apart(f'process {failed_P[0]} cannot go on, see what it says itself')
  other_P = np.flatnonzero((every_PxN != every_PxN[0]).any(axis=1))
  if other_P.size:
    raise Apart(
      f'{what} is not the same in process {other_P[0]} as in the first: all '
      'need the same command, the same files and a --workdir that they share'
    )


def alike(work: Callable[[], Any]) -> Any:
  """Do in every process what fails in all of them, or end this process.

  All raise what they agreed on, and an error that all have. Were it this
  process alone that failed, or was asked twice to stop, the others would wait
  for ever.
  """
  global _failed
  if not mesh.several():
    return work()
  try:
    return work()
  except (Apart, Left):
    raise
  except Exception as error:
    _failed += 1
    everyone = set(range(jax.process_count()))
    try:
      multihost.sync_global_processes(
        f'posexp-failed-{_failed}', timeout=ALIKE, processes=everyone
      )
    except Exception:  # Whatever a barrier raises where somebody is missing.
      _leave(error)
    raise
  except BaseException as error:  # Asked twice to stop: at once, then.
    _leave(error)


def _leave(error: BaseException) -> NoReturn:
  """End this process at once, as nobody waits for the others any more."""
  if not isinstance(error, signals.Stopped):
    traceback.print_exception(error)
  why = failures.first_line(error)
  print(
    f'posexp: process {jax.process_index()} of {jax.process_count()} cannot go '
    f'on ({why}), so all end: the same command goes on from the '
    'last checkpoint',
    file=sys.stderr,
    flush=True,
  )
  os._exit(getattr(error, 'code', exit_codes.FAILED))


class Hosts:
  """The processes of a grid, the same runs in all; they do what the first does.

  `actions` are what COMPUTE and TRAIN do, in each process.
  """

  def __init__(self, runs: Sequence[config.Run], actions: Mapping[int, Action]):
    self._runs, self._actions = runs, actions

  def do(
    self, action: int, runs: Sequence[config.Run], width: int, **more: Any
  ) -> Any:
    """Have all processes do an action with runs, in a program for `width` runs.

    The first process alone gives `more` to the action.
    """
    self._tell(action, width, {run.digest for run in runs})
    return alike(lambda: self._actions[action](runs, width, **more))

  def wait(self) -> None:
    """Tell the others that nothing is to be done yet; `Left` if one stops."""
    if number := self._tell(WAIT):
      raise Left(number)

  def end(self, code: int) -> None:
    """Tell the others that all is done, and the exit code."""
    self._tell(END, code)
    if mesh.several():
      jax.distributed.shutdown()

  def _tell(
    self, action: int, number: int = 0, digests: frozenset | set = frozenset()
  ) -> int:
    """Return the signal that asks one of them to stop, 0 if none."""
    if not mesh.several():
      return 0
    wanted = [run.digest in digests for run in self._runs]
    every_PxN = exchange([signals.asked(), action, number, *wanted])
    return int(every_PxN[:, 0].max())

  def follow(self) -> int:
    """Do what the first process says until it is done; return its exit code."""
    nothing = [0] * (2 + len(self._runs))
    while True:
      every_PxN = exchange([signals.asked(), *nothing])
      _, action, number, *wanted = every_PxN[0].tolist()
      if action == END:
        jax.distributed.shutdown()
        return number
      if action == WAIT:
        continue
      runs = [run for run, here in zip(self._runs, wanted) if here]
      try:
        alike(lambda: self._actions[action](runs, number))  # noqa: B023
      except Left:
        continue
      except Exception as error:
        # The first has it too, and deals with it, or only knows of it.
        if isinstance(error, Apart) and error.__cause__:
          print(
            f'posexp: process {jax.process_index()}: {error}', file=sys.stderr
          )
