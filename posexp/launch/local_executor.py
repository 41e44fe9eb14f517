"""Worker processes of this machine: this very command, several times.

They are not tied to cores: while one compiles, on a single core, another has
the rest, and a run that the others wait for has them all.
"""

import os
import threading

from posexp import component
from posexp.launch import scheduler, worker_command, worker_pool
from posexp.results import progress


def check(workers: int) -> None:
  """Check that there are no more workers than cores.

  Raises:
    UserError: if there are.
  """
  cores = len(os.sched_getaffinity(0))
  if workers > cores:
    raise component.UserError(
      f'--workers={workers} is pointless on {cores} cores: workers that share '
      f'a core wait for each other; give at most {cores}'
    )


def hire(launch: scheduler.Launch, workers: int) -> list[worker_pool.Worker]:
  """Return so many worker processes, not yet started."""
  work = worker_command.command(launch)
  return [_Worker(str(n), launch.tell, work) for n in range(workers)]


class _Worker(worker_pool.Worker):
  """One worker process, and what it says."""

  def __init__(
    self, name: str, tell: progress.Progress, work: worker_command.Command
  ):
    super().__init__(name, tell)
    self._work = work

  def start(self) -> None:
    self.process = worker_command.start(self._work)
    self._reader = threading.Thread(target=self._listen, daemon=True)
    self._reader.start()

  def _listen(self) -> None:
    assert self.process.stderr is not None
    for line in self.process.stderr:
      self._tell.note(line.rstrip())

  def code(self) -> int | None:
    return self.process.poll()

  def ask(self) -> None:
    if self.process.poll() is None:
      self.process.terminate()

  def wait(self) -> None:
    self.process.wait()
    self._reader.join(timeout=5)

  def kill(self) -> None:
    self.process.kill()
