"""Requests to stop: noted when a signal comes, obeyed where work is kept."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

# Names the process that started this one, where it is a worker.
LAUNCHER = 'POSEXP_LAUNCHER'
SIGNALS = (signal.SIGINT, signal.SIGTERM)

_asked: list[int] = []


class Stopped(KeyboardInterrupt):
  """Raised once what was under way is kept.

  Attributes:
    code: what the process ends with: 130 for SIGINT, 143 for SIGTERM.
  """

  def __init__(self, number: int):
    super().__init__(number)
    self.code = 128 + number


@contextlib.contextmanager
def kept() -> Iterator[None]:
  """Give signals back their handlers, should a library take them over."""
  before = {number: signal.getsignal(number) for number in SIGNALS}
  try:
    yield
  finally:
    if threading.current_thread() is threading.main_thread():
      for number, handler in before.items():
        signal.signal(number, handler)


@contextlib.contextmanager
def noted() -> Iterator[None]:
  """Note SIGINT and SIGTERM; a second one interrupts at once.

  A worker hears its launcher alone, which never sends SIGINT, and not the
  terminal that both have. Outside the main thread, where no signal can be
  caught, nothing changes.
  """
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  worker = LAUNCHER in os.environ

  def note(number: int, frame: object) -> None:
    if _asked and not worker:
      raise Stopped(number)
    _asked.append(number)

  _asked.clear()
  heard = SIGNALS[1:] if worker else SIGNALS
  before = {number: signal.signal(number, note) for number in heard}
  try:
    yield
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)
    _asked.clear()


def asked() -> int:
  """Return the signal that asks to stop once work is kept, 0 if none.

  Also for a worker whose launcher is gone: nobody waits for it any more.
  """
  launcher = os.environ.get(LAUNCHER)
  if launcher and not _asked and os.getppid() != int(launcher):
    _asked.append(signal.SIGTERM)
  return _asked[0] if _asked else 0


def obey() -> None:
  """Raise `Stopped` if that was asked for."""
  if number := asked():
    raise Stopped(number)
