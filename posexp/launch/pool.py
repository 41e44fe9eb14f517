"""Worker processes: this very command, several times.

They are not tied to cores: while one compiles, on a single core, another has
the rest, and a run that the others wait for has them all.
"""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

from posexp import config, measure, options, records
from posexp.launch import claims, failures, local, progress, stop

# Seconds between two looks at what the workers are doing.
LOOK = 0.5
# How often in a row a worker is replaced with nothing finished in between.
DEATHS = 10
# What makes a process a worker: of which launch.
LAUNCH, RETRIES = 'POSEXP_LAUNCH', 'POSEXP_RETRIES'


def check(workers: int) -> None:
  """Raises a ValueError for fewer workers than one, or more than cores."""
  cores = len(os.sched_getaffinity(0))
  if workers < 1:
    raise ValueError(
      f'--workers must be at least 1, got {workers}: 1 computes in this process'
    )
  if workers > cores:
    raise ValueError(
      f'--workers={workers} is pointless on {cores} cores: workers that share '
      f'a core wait for each other; give at most {cores}'
    )


def joined() -> local.Launch | None:
  """The launch that this process is a worker of, None if it is none."""
  if LAUNCH not in os.environ:
    return None
  return local.Launch(os.environ[LAUNCH], int(os.environ[RETRIES]))


class Voice(progress.Progress):
  """A worker's progress: notes for the launcher, the rest through its claim."""

  def note(self, text: str) -> None:
    with contextlib.suppress(OSError):  # Its launcher may be gone.
      print(text, file=sys.stderr, flush=True)

  def show(self) -> None:
    pass


def execute(
  runs: Sequence[config.Run],
  workdir: pathlib.Path,
  tell: progress.Progress,
  launch: local.Launch,
  workers: int,
) -> local.Failures:
  """As `local.execute`, by so many workers that repeat this very command.

  A worker that is killed is replaced, and the run that it had is taken over.
  """
  if not options.GIVEN:
    raise ValueError(
      f'workers={workers} repeats a command, and this is none: use '
      '`posexp run`, or workers=1'
    )
  crew = [_Worker(number, launch, tell) for number in range(workers)]
  watch = _Watch(runs, workdir, tell, launch)
  try:
    while not stop.asked() and sum(w.at_work(watch.settled) for w in crew):
      time.sleep(LOOK)
      watch.look()
    stop.obey()
  finally:
    _end(crew)
  watch.look()
  if any(worker.process.returncode == local.Full.code for worker in crew):
    raise local.full(workdir)
  return _missing(runs, workdir, launch, tell)


def _end(crew: Sequence['_Worker']) -> None:
  """Has all keep what they have and stop; at another signal kills them."""
  try:
    for worker in crew:
      worker.ask()
    for worker in crew:
      worker.wait()
  except KeyboardInterrupt:
    for worker in crew:
      worker.process.kill()
    raise


class _Worker:
  """One worker process, and what it says."""

  def __init__(
    self, number: int, launch: local.Launch, tell: progress.Progress
  ):
    self.number, self._tell = number, tell
    self._environment = {
      **os.environ,
      stop.LAUNCHER: str(os.getpid()),
      LAUNCH: launch.name,
      RETRIES: str(launch.retries),
    }
    self._deaths = self._settled = 0
    self._start()

  def _start(self) -> None:
    # What the launcher imports, whatever lies in the current directory.
    paths = [str(pathlib.Path(config.__file__).parents[1])]
    paths += [p for p in [os.environ.get('PYTHONPATH')] if p]
    self.process = subprocess.Popen(
      [sys.executable, '-P', '-m', 'posexp', *options.GIVEN],
      env={**self._environment, 'PYTHONPATH': os.pathsep.join(paths)},
      stdin=subprocess.DEVNULL,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.PIPE,
      text=True,
      errors='replace',
    )
    self._reader = threading.Thread(target=self._listen, daemon=True)
    self._reader.start()

  def _listen(self) -> None:
    assert self.process.stderr is not None
    for line in self.process.stderr:
      self._tell.note(line.rstrip())

  def at_work(self, settled: int) -> bool:
    """Whether it runs; where a signal killed it, it is told and replaced.

    But not for ever, should it die again and again with no run `settled`.
    """
    code = self.process.poll()
    if code is None:
      return True
    # One that was told to stop, by somebody else than its launcher, died too.
    if 0 <= code < 128:
      return False
    name = signal.Signals(-code if code < 0 else code - 128).name
    hint = ', as the kernel does without memory' if name == 'SIGKILL' else ''
    self._deaths = 1 + self._deaths * (settled == self._settled)
    self._settled = settled
    more = self._deaths < DEATHS
    self._tell.note(
      f'worker  {self.number} was killed by {name}{hint}: '
      + ('another takes its place' if more else f'{DEATHS} times, it is left')
    )
    if more:
      self._start()
    return more

  def ask(self) -> None:
    """Asks it to keep what it has and to stop."""
    if self.process.poll() is None:
      self.process.terminate()

  def wait(self) -> None:
    self.process.wait()
    self._reader.join(timeout=5)


class _Watch:
  """How far the workers are, from records, failures and claims.

  Attributes:
    settled: how many runs have finished or failed so far.
  """

  def __init__(
    self,
    runs: Sequence[config.Run],
    workdir: pathlib.Path,
    tell: progress.Progress,
    launch: local.Launch,
  ):
    self._tell, self._launch = tell, launch
    self._left = {
      records.run_directory(workdir, run.digest): measure.run_flops(run)
      for run in runs
    }
    # The work of what is settled, and what each other had done when first seen.
    self._done, self._had = 0.0, dict[pathlib.Path, float]()
    self.settled = 0
    for path in [p for p in self._left if (p / 'record.json').exists()]:
      effort = self._left.pop(path)
      self._done += effort
      tell.skip(effort)

  def look(self) -> None:
    for path in [p for p in self._left if self._is_settled(p)]:
      self._done += self._left.pop(path)
      self.settled += 1
    partly, label = 0.0, ''
    for path, effort in self._left.items():
      said, alive = claims.state(path) or ({}, False)
      if not alive:
        continue
      share = float(said.get('share', 0.0))
      if path not in self._had:  # Where it goes on costs no time now.
        self._had[path] = share
        self._tell.skip(share * effort)
      partly += effort * share
      label = str(said.get('label') or said.get('name') or label)
    more = self._done + partly - self._tell.done
    if more >= 0:
      self._tell.advance(more, label)
    else:  # What a dead worker had done since its last checkpoint.
      self._tell.skip(more)

  def _is_settled(self, path: pathlib.Path) -> bool:
    if (path / 'record.json').exists():
      return True
    return failures.read(path).get('launch') == self._launch.name


def _missing(
  runs: Sequence[config.Run],
  workdir: pathlib.Path,
  launch: local.Launch,
  tell: progress.Progress,
) -> local.Failures:
  """The sentence of each run without a good record, by digest."""
  found: local.Failures = {}
  for run in runs:
    said = failures.read(records.run_directory(workdir, run.digest))
    try:
      if records.read(workdir, run.digest) is not None:
        continue
      sentence = 'no worker was left that could compute it'
    except records.Damaged as error:
      sentence = str(error)
    if said.get('launch') == launch.name:
      sentence = said['sentence']
    else:
      tell.note(f'failed  {run.name}: {sentence}')
    found[run.digest] = sentence
  return found
