"""One run over several processes, one a host: the first leads, all compute.

The first goes through a grid as if it were alone, and before each piece of
computing tells the others which. It alone writes records and notes; each writes
its part of a checkpoint. See `posexp.launch.agreement` for what all agree on.
"""

import os
import pathlib
import socket
import sys
import time
from collections import Counter
from collections.abc import Sequence

import jax
import numpy as np

from posexp import component
from posexp.launch import agreement, job, signals
from posexp.models import mesh
from posexp.results import progress
from posexp.runs import config
from posexp.training import loop

# What the others are told.
WAIT, COMPUTE, TRAIN, END = range(4)
# The address for which JAX asks the cluster that it finds itself in.
AUTO = 'auto'
# Seconds after which the others take a silent process for dead, and end.
HEARTBEAT = 30
# Seconds that the others wait for the first to start.
PATIENCE = 240.0


def join(address: str, processes: int | None, process: int | None) -> None:
  """Becomes one of the processes of a run; before JAX starts.

  Args:
    address: host:port of the first, where it listens; or AUTO.
    processes: how many there are; None for AUTO, as the next.
    process: which of them this is, from 0.

  Raises:
    UserError: one sentence, if they cannot come together.
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
    said = str(error).strip().splitlines() or [type(error).__name__]
    raise component.UserError(
      f'the processes of --coordinator={address} did not come together '
      f'({said[0][:200]}): start the same command on every host, each with a '
      '--process of its own, and give a host:port of the first that all reach'
    ) from None
  mesh.joined = True


def _reach(address: str) -> None:
  """Waits until the first process listens, which JAX would not survive."""
  host, _, port = address.rpartition(':')
  until = time.monotonic() + PATIENCE
  while True:
    try:
      socket.create_connection((host, int(port)), timeout=5).close()
      return
    except OSError as error:
      if time.monotonic() > until:
        raise component.UserError(
          f'no process listens at --coordinator={address} after '
          f'{PATIENCE:.0f} s ({error}): start the same command with '
          '--process=0 there, and give an address that this host reaches'
        ) from None
    time.sleep(0.5)


def check(runs: Sequence[config.Run]) -> None:
  """Raises a `UserError`, one sentence, for what processes cannot share."""
  if not mesh.several():
    return
  devices = Counter(device.process_index for device in jax.devices())
  if len(set(devices.values())) > 1:
    raise component.UserError(
      f'the processes have {", ".join(map(str, devices.values()))} devices: '
      'give each the same number (on a CPU JAX_NUM_CPU_DEVICES says how many)'
    )
  plan = ' '.join(run.digest for run in runs)
  agreement.same(lambda: plan, 'the grid')
  for run in runs:
    on = mesh.mesh(len(run.seeds), run.train.batch)
    busy = len({device.process_index for device in on.devices.flat})
    if busy < jax.process_count():
      raise component.UserError(
        f'{run.name} can be spread over {on.devices.size} of '
        f'{jax.device_count()} devices, and {jax.process_count() - busy} of '
        f'{jax.process_count()} processes would have none of them: give seeds '
        f'(now {len(run.seeds)}) or a batch (now {run.train.batch}) that the '
        'devices divide'
      )


class Others:
  """The other processes of a run, as the first one tells them what to do.

  Where there are none it computes, and nothing is told.
  """

  def __init__(self, runs: Sequence[config.Run]):
    self._number = {run.digest: n for n, run in enumerate(runs)}

  def wait(self) -> None:
    """Tells them that there is nothing to do as yet.

    Raises:
      together.Left: if one of them was asked to stop.
    """
    if number := self._tell(WAIT):
      raise agreement.Left(number)

  def compute(
    self,
    run: config.Run,
    workdir: pathlib.Path,
    tell: progress.Progress,
    beside: loop.Beside,
  ) -> None:
    """`single.compute`, in all processes."""
    self._tell(COMPUTE, beside.width, [run])
    job.compute(run, workdir, tell, beside)

  def train(
    self,
    runs: Sequence[config.Run],
    workdir: pathlib.Path,
    tell: progress.Progress,
    beside: loop.Beside,
  ) -> list[loop.Trained]:
    """`single.trained`, in all processes."""
    self._tell(TRAIN, beside.width, runs)
    return job.trained(runs, workdir, tell, beside)

  def end(self, code: int) -> None:
    """Tells them that all is done, and with what they end."""
    self._tell(END, code)
    if mesh.several():
      jax.distributed.shutdown()

  def _tell(
    self, what: int, number: int = 0, runs: Sequence[config.Run] = ()
  ) -> int:
    """The signal that asks one of them to stop, 0 if none."""
    if not mesh.several():
      return 0
    wanted_N = np.zeros(len(self._number), np.int32)
    wanted_N[[self._number[run.digest] for run in runs]] = 1
    every = agreement.exchange([signals.asked(), what, number, *wanted_N])
    return int(every[:, 0].max())


class _Quiet(progress.Progress):
  """The progress of a process that follows: the first one tells."""

  def note(self, text: str) -> None:
    pass

  def show(self) -> None:
    pass


def follow(runs: Sequence[config.Run], workdir: pathlib.Path) -> int:
  """Computes what the first process says until it is done; its exit code."""
  nothing = [0] * (2 + len(runs))
  devnull = pathlib.Path(os.devnull)
  with signals.noted(), _Quiet(1.0, devnull, live=False) as tell:
    while True:
      every = agreement.exchange([signals.asked(), *nothing])
      _, what, number, *wanted = every[0].tolist()
      if what == END:
        jax.distributed.shutdown()
        return number
      if what == WAIT:
        continue
      mine = [run for run, mine in zip(runs, wanted, strict=True) if mine]
      beside = loop.Beside(number)
      try:
        if what == TRAIN:
          job.trained(mine, workdir, tell, beside)
        else:
          job.compute(mine[0], workdir, tell, beside)
      except agreement.Left:
        continue
      except Exception as error:
        # The first has it too, and deals with it, or only knows of it.
        if isinstance(error, agreement.Apart) and error.__cause__:
          print(
            f'posexp: process {jax.process_index()}: {error}', file=sys.stderr
          )
