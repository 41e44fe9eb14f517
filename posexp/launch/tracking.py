"""Telling trackers of the runs of a grid as they finish."""

import contextlib
import pathlib
import shlex
import threading
import time
from collections.abc import Iterator, Sequence

from posexp.launch import signals
from posexp.reports.trackers import base, kinds
from posexp.results import progress, records
from posexp.runs import config

# Seconds between two looks at what has finished.
EVERY = 2.0
# Seconds that are waited, once all is computed, for a tracker that takes
# nothing any more; and for one at all once a stop was asked for.
PATIENCE, HURRY = 60.0, 5.0


@contextlib.contextmanager
def followed(
  runs: Sequence[config.Run],
  workdir: pathlib.Path,
  names: Sequence[str],
  tell: progress.Progress,
) -> Iterator[None]:
  """Send runs to trackers as their records appear, whoever computes them.

  Runs that had finished before are sent, too, unless they were sent: in the end
  trackers have what `posexp export` would give them. It happens in a thread
  that reads records alone: a tracker that fails or hangs is one note, and no
  run and no record depends on it.
  """
  senders = [
    _Sender(name, runs, workdir, tell) for name in dict.fromkeys(names)
  ]
  for sender in senders:
    sender.start()
  try:
    yield
  finally:
    for sender in senders:
      sender.finish()


class _Sender(threading.Thread):
  """One tracker, and the runs that it has not got."""

  def __init__(
    self,
    name: str,
    runs: Sequence[config.Run],
    workdir: pathlib.Path,
    tell: progress.Progress,
  ):
    super().__init__(daemon=True)
    self._kind, self._workdir, self._tell = name, workdir, tell
    self._left = {run.digest: run for run in runs}
    self._ended = threading.Event()
    self._moved = time.monotonic()
    self._told = False

  def run(self) -> None:
    try:
      tracker = kinds.make(self._kind, self._workdir)
      last = False
      while not last:
        last = self._ended.wait(EVERY)
        self._look(tracker)
    except Exception as error:  # Whatever a library raises, runs go on.
      self._note(str(error).strip() or type(error).__name__)

  def finish(self) -> None:
    """Have the last of them sent, unless it takes too long."""
    self._ended.set()
    begun = self._moved = time.monotonic()
    while self.is_alive():
      self.join(0.1)
      now = time.monotonic()
      stopping = signals.asked() and now - begun > HURRY
      if self.is_alive() and (stopping or now - self._moved > PATIENCE):
        self._note(f'{len(self._left)} runs were not sent in time')
        return

  def _look(self, tracker: base.Tracker) -> None:
    for digest, run in list(self._left.items()):
      if not records.finished(self._workdir, digest):
        continue
      if not tracker.has(digest, run.name, run.seeds):
        # A damaged one is told by whoever needs it.
        with contextlib.suppress(records.DamagedRecord):
          record = records.whole(self._workdir, digest)
          if record is not None:
            tracker.send(record)
      del self._left[digest]
      self._moved = time.monotonic()

  def _note(self, why: str) -> None:
    if self._told:  # One that was not waited for may still fail.
      return
    self._told = True
    self._tell.note(
      f'note    --track={self._kind}: {" ".join(why.split())}: all runs are '
      f'recorded; `posexp export {shlex.quote(str(self._workdir))} '
      f'--to={self._kind}` sends them'
    )
