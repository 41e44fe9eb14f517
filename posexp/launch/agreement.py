"""What the processes of one run, one a host, must agree on.

Alone, a process agrees with itself, and nothing here costs anything.
"""

import hashlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils
from orbax.checkpoint import multihost

from posexp import component
from posexp.launch import exit_codes, signals
from posexp.models import mesh

# Seconds that a process which failed waits for the others to fail alike: they
# may be slower to compile. One that died is missed sooner, by its heartbeat.
ALIKE = 120

# How often all have failed alike: no barrier has the name of another.
_failed = 0


class Apart(component.UserError):
  """Processes cannot go on with a run; raised in each, one sentence."""


class Left(signals.Stopped):
  """Raised in every process, as one was asked to stop."""


def first() -> bool:
  """Whether this is the process that leads, and writes what is written once."""
  return not mesh.several() or jax.process_index() == 0


def exchange(mine: Sequence[int] | np.ndarray) -> np.ndarray:
  """The numbers of every process, P x N, in each of them."""
  mine_N = np.asarray(mine, np.int32)
  if not mesh.several():
    return mine_N[None]
  try:
    return np.asarray(multihost_utils.process_allgather(mine_N))
  except jax.errors.JaxRuntimeError as error:
    lost(error)


def asked() -> int:
  """The signal that asks any process to stop, 0 if none."""
  if not mesh.several():
    return signals.asked()
  return int(exchange([signals.asked()]).max())


def obey() -> None:
  """Raises `Left` in every process if any was asked to stop."""
  if number := asked():
    raise Left(number)


def same(work: Callable[[], str | None], what: str) -> None:
  """Does in every process what must come out the same, before they compute.

  Args:
    work: gives what it came to, in words that are compared, if anything.
    what: that is, in words for people.

  Raises:
    Apart: if it failed in some process, or came out otherwise there. A process
      that is alone raises what `work` does.
  """
  if not mesh.several():
    work()
    return
  found, failure = '', None
  try:
    found = work() or ''
  except Exception as error:
    failure = error
  digest = hashlib.sha256(found.encode()).digest()[:16]
  words = np.frombuffer(digest, np.int32)
  every_PxN = exchange([failure is not None, *words])
  if failure is not None:
    raise Apart(str(failure)) from failure
  if (bad_P := np.flatnonzero(every_PxN[:, 0])).size:
    raise Apart(f'process {bad_P[0]} cannot go on, see what it says itself')
  other_P = np.flatnonzero((every_PxN != every_PxN[0]).any(axis=1))
  if other_P.size:
    raise Apart(
      f'{what} is not the same in process {other_P[0]} as in the first: all '
      'need the same command, the same files and a --workdir that they share'
    )


def alike(work: Callable[[], Any]) -> Any:
  """Does in every process what fails in all of them, or ends this one.

  All raise what they agreed on, and an error that all have, such as one of a
  scheme as it is compiled. Were it this process alone that failed, or was asked
  twice to stop, the others would wait for it for ever.
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
      lost(error)
    raise
  except BaseException as error:  # Asked twice to stop: at once, then.
    lost(error)


def lost(error: BaseException) -> NoReturn:
  """Ends this process at once, as nobody waits for the others any more."""
  if not isinstance(error, signals.Stopped):
    traceback.print_exception(error)
  said = str(error).strip().splitlines() or [type(error).__name__]
  print(
    f'posexp: process {jax.process_index()} of {jax.process_count()} cannot go '
    f'on ({said[0][:200]}), so all end: the same command goes on from the last '
    'checkpoint',
    file=sys.stderr,
    flush=True,
  )
  os._exit(getattr(error, 'code', exit_codes.FAILED))
