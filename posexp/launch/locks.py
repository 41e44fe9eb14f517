"""Locks: who computes what, among all launchers that share a work directory.

A claim is an exclusive lock on runs/<digest>/claim. The kernel, or the server
of a shared file system, gives it back the moment its owner dies, so that no
claim goes stale and none is broken by a clock. What is written in the file is
for `posexp status` and for counting attempts; nobody trusts it for more. A lock
that a file system lost costs a computation, and no record.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import socket
import time
from collections.abc import Iterator
from typing import Any

from posexp import component
from posexp.results import files

NAME = 'claim'


class Claim:
  """A run that is this process's own until it is released.

  What an owner that died without releasing it had written is `before`.
  """

  def __init__(self, path: pathlib.Path, descriptor: int):
    self.path, self._descriptor = path, descriptor
    self.before = _content(descriptor)
    self._begun = time.monotonic()
    self._body: dict[str, Any] = {}

  def say(self, **state: Any) -> None:
    """Write what others may know: plain values by name."""
    self._body = {
      'host': socket.gethostname(),
      'pid': os.getpid(),
      **self._body,
      # By the clock of this host: another's may be hours ahead.
      'seconds': time.monotonic() - self._begun,
      **state,
    }
    text = json.dumps(self._body).encode()
    with contextlib.suppress(OSError):  # A full disk stops no run by itself.
      os.pwrite(self._descriptor, text, 0)
      os.ftruncate(self._descriptor, len(text))

  def release(self) -> None:
    """Remove the claim while it is held, unless it is another's by now."""
    if _same(self._descriptor, self.path):
      self.path.unlink(missing_ok=True)
    os.close(self._descriptor)


@contextlib.contextmanager
def claimed(directory: pathlib.Path) -> Iterator[Claim | None]:
  """Hold the claim of a run's directory; None if another process has it.

  Raises:
    UserError: if the file system has no locks, or nothing may be written.
  """
  claim = _take(directory)
  try:
    yield claim
  finally:
    if claim is not None:
      claim.release()


def _take(directory: pathlib.Path) -> Claim | None:
  path = directory / NAME
  while True:
    try:
      files.make_directory(directory)
      # Whoever may write to the directory may take over from anyone.
      descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except PermissionError as error:
      raise component.UserError(
        f'cannot write to {directory} ({error.strerror}): make it writable, or '
        'give another --workdir'
      ) from None
    claim = None
    try:
      if not _locked(descriptor, path, fcntl.LOCK_EX):
        return None
      # Between opening and locking its owner may have removed it.
      if _same(descriptor, path):
        claim = Claim(path, descriptor)
        return claim
    finally:
      if claim is None:
        os.close(descriptor)


def state(directory: pathlib.Path) -> tuple[dict[str, Any], bool] | None:
  """Return what a claim says, and whether its owner is alive.

  None where there is no claim.
  """
  path = directory / NAME
  try:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
  except OSError:
    return None
  try:
    # Shared, so that two who look do not take each other for an owner.
    alive = not _locked(descriptor, path, fcntl.LOCK_SH)
    return _content(descriptor), alive
  finally:
    os.close(descriptor)


def _locked(descriptor: int, path: pathlib.Path, how: int) -> bool:
  try:
    fcntl.flock(descriptor, how | fcntl.LOCK_NB)
  except BlockingIOError:
    return False
  except OSError as error:
    raise component.UserError(
      f'{path} cannot be locked ({error.strerror}): launchers that share a '
      'work directory need a file system with locks; give another --workdir'
    ) from None
  return True


def _same(descriptor: int, path: pathlib.Path) -> bool:
  """Return whether an open file is the one at a path."""
  try:
    return os.path.samestat(os.fstat(descriptor), path.stat())
  except FileNotFoundError:
    return False


def _content(descriptor: int) -> dict[str, Any]:
  """Return what is written in a claim; nothing, where it is being written."""
  try:
    body = json.loads(os.pread(descriptor, 2**16, 0))
  except ValueError:
    return {}
  return body if isinstance(body, dict) else {}
