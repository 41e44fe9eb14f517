"""Progress with an estimate: a bar for people, lines in a log file."""

import contextlib
import datetime
import pathlib
import sys
import time
from collections.abc import Iterator
from typing import Any, Protocol, Self

import tqdm.auto

# Seconds between two lines of a log.
EVERY = 15.0
# Seconds between two reports to those who watch a run.
SAY = 1.0


class Watcher(Protocol):
  """Whoever is told how far a run is, such as the lock of its directory."""

  def say(self, **state: Any) -> None: ...


class Progress:
  """How far a grid is, in units of arithmetic, shown wherever it is read.

  In a terminal and in a notebook a bar with the time that remains; in a log
  file, and in place of the bar where output is redirected, a line from time to
  time.

  Attributes:
    path: the log file, appended to.
  """

  def __init__(
    self, total: float, path: pathlib.Path, live: bool | None = None
  ):
    self.path = path
    self.total = max(total, 1.0)
    self.done = 0.0
    self._computed = 0.0  # Without what was skipped; what the rate is of.
    self._start = time.monotonic()
    self._last = self._said = 0.0
    self._label = ''
    self._watchers: tuple[Watcher, ...] = ()
    self._effort = self._before = 0.0
    self._live = live
    if live is None:  # Wherever somebody can see it.
      self._live = sys.stderr.isatty() or _in_a_notebook()
    self._bar = tqdm.auto.tqdm(
      total=100.0,
      disable=not self._live,
      bar_format='{percentage:3.0f} % |{bar:24}| {desc}',
      dynamic_ncols=True,
    )

  def __enter__(self) -> Self:
    return self

  def __exit__(self, *error: object) -> None:
    self._bar.close()

  def note(self, text: str) -> None:
    """Write one line for people and for the log."""
    if self._live:
      self._bar.write(text, file=sys.stderr)
    else:
      print(text, file=sys.stderr, flush=True)
    self._log(text)

  @contextlib.contextmanager
  def on(
    self, *watchers: Watcher, effort: float, had: float = 0.0
  ) -> Iterator[None]:
    """Tell watchers how far runs are, while in the context.

    Args:
      *watchers: those of the runs.
      effort: the work of the runs in all.
      had: how much of it had been done, and counted, before.
    """
    self._watchers, self._effort = watchers, effort
    self._before = self.done - had
    try:
      yield
    finally:
      self._watchers = ()

  def skip(self, work: float) -> None:
    """Count work that was found done."""
    self.done += work

  def advance(self, work: float, label: str) -> None:
    """Count work that was done, and say on what."""
    self.done += work
    self._computed += work
    self._label = label
    self.show()
    now = time.monotonic()
    if self._watchers and now - self._said > SAY:
      self._said = now
      share = (self.done - self._before) / max(self._effort, 1.0)
      for watcher in self._watchers:
        watcher.say(share=min(1.0, share), label=label)

  def show(self) -> None:
    """Move the bar, and from time to time write a line to the log."""
    if self._live:
      self._bar.n = min(100.0, 100 * self.done / self.total)
      self._bar.set_description_str(f'{self.remaining()} left  {self._label}')
    now = time.monotonic()
    if now - self._last > EVERY:
      self._last = now
      self._log(self.line())
      if not self._live:
        print(self.line(), file=sys.stderr, flush=True)

  def line(self) -> str:
    """Return the state in one line."""
    share = 100 * min(1.0, self.done / self.total)
    return f'{share:5.1f} %  {self.remaining():>9} left  {self._label}'

  def remaining(self) -> str:
    """Return the time that is left, from the rate so far."""
    if not self._computed:
      return '?'
    elapsed = time.monotonic() - self._start
    left = max(self.total - self.done, 0.0) * elapsed / self._computed
    return duration(left)

  def _log(self, text: str) -> None:
    stamp = datetime.datetime.now().isoformat(timespec='seconds')
    # A full disk is an error where something is lost, which is not here.
    with contextlib.suppress(OSError), self.path.open('a') as file:
      file.write(f'{stamp}  {text}\n')


def _in_a_notebook() -> bool:
  # Packages import ipykernel where no kernel runs; a kernel's shell has one.
  ipython = sys.modules.get('IPython')
  shell = ipython.get_ipython() if ipython else None
  return getattr(shell, 'kernel', None) is not None


def duration(seconds: float) -> str:
  """Return seconds as people say them.

  >>> duration(8), duration(75), duration(7500)
  ('8 s', '1 min 15 s', '2 h 5 min')
  """
  whole = round(seconds)
  if whole < 60:
    return f'{whole} s'
  if whole < 3600:
    return f'{whole // 60} min {whole % 60} s'
  return f'{whole // 3600} h {whole % 3600 // 60} min'
