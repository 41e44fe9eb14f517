"""A grid that is killed at random moments ends as if nothing had happened.

The whole process group of the launcher gets SIGKILL and the same command is
given again. Then every record, target and weight is compared, bit for bit, with
those of a grid that was left alone; no run may have been trained twice to its
end, and no file may be left behind.

Command: python -m tests.crash --kills=20
"""

import argparse
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable

from posexp.launch import status
from posexp.results import files, records

FILE = """
from posexp import schemes
from tests import small

def grid():
  # The last two are trained side by side, as are their adaptations.
  for scheme, rate in (
    (schemes.RoPE(), 1e-3),
    (schemes.ALiBi(), 1e-3),
    (schemes.T5(), 1e-3),
    (schemes.T5(), 2e-3),
  ):
    train = small.train_config(
      steps=STEPS, checkpoint_every=50, learning_rate=rate
    )
    root = small.run(scheme=scheme, train=train, seeds=(3, 5, 9))
    yield root
    yield root.retrofit(schemes.RoPE(schemes.NTK(2)))
    yield root.retrofit(
      schemes.RoPE() + schemes.ALiBi(), train=small.train_config(steps=STEPS)
    )
"""
# A root and its retrofits: what the tests take of the grid.
ONLY = '--only=*: RoPE()*'
# All that a finished grid leaves, relative to its work directory.
KNOWN = re.compile(
  r'log\.txt|(grids|plans)/(newest|\w{16}\.json)|'
  r'runs/\w{16}/(config|record)\.json|'
  r'runs/\w{16}/(details-\w{16}\.json|outcomes-\w{16}\.npz)|'
  r'runs/\w{16}/checkpoints/step_\d{8}/.*'
)


def grid(folder: pathlib.Path, steps: int) -> pathlib.Path:
  """The file of a grid of 12 runs, of so many steps each."""
  body = FILE.replace('STEPS', str(steps)).encode()
  files.put(folder / 'crashing.py', body, over=True)
  return folder / 'crashing.py'


def command(
  file: pathlib.Path,
  workdir: pathlib.Path,
  *more: str,
  before: Callable[[], None] | None = None,
  **variables: str,
) -> subprocess.Popen:
  """The grid, in a process group of its own, with variables set for it.

  What is called `before` it is called in its process.
  """
  root = pathlib.Path(__file__).parents[1]
  environment = {**os.environ, 'PYTHONPATH': str(root), **variables}
  # Compiling is what takes the time of so few steps.
  environment['JAX_DISABLE_MOST_OPTIMIZATIONS'] = '1'
  environment['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'
  return subprocess.Popen(
    [
      sys.executable,
      '-m',
      'posexp',
      'run',
      file,
      f'--workdir={workdir}',
      *more,
    ],
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    start_new_session=True,
    preexec_fn=before,
    text=True,
  )


def training(
  process: subprocess.Popen, workdir: pathlib.Path, kept: bool = False
) -> list[int]:
  """The processes that train, once there are some.

  Args:
    process: their launcher, or the one that does it all.
    workdir: where.
    kept: whether they must have written a checkpoint.
  """
  while True:
    assert process.poll() is None, process.communicate()
    found = [
      state.said['pid']
      for state in (status.states(workdir) if workdir.exists() else ())
      if state.kind == status.RUNNING and state.said.get('share')
      if not kept or list(workdir.glob(f'runs/{state.digest}/*/step_*'))
    ]
    if found:
      return found
    time.sleep(0.05)


def kill(process: subprocess.Popen) -> None:
  os.killpg(process.pid, signal.SIGKILL)
  process.communicate()


def finish(process: subprocess.Popen) -> str:
  out, _ = process.communicate()
  assert process.returncode == 0, out
  return out


def moments(whole: float, kills: int, seed: int) -> list[float]:
  """When to kill, in seconds after each start, about evenly over a grid."""
  rng = random.Random(seed)
  # What starting takes is spent again by each; compiling is not, so that the
  # killed grid would end before its last kill.
  each = max(3.0, 0.7 * whole / kills)
  return [rng.uniform(0.3, 1.7) * each + 2.0 for _ in range(kills)]


def differences(one: pathlib.Path, other: pathlib.Path) -> list[str]:
  """What two work directories differ in, a sentence each."""
  said = []
  digests = {path.name for path in (one / 'runs').iterdir()}
  if digests != {path.name for path in (other / 'runs').iterdir()}:
    said.append('other runs')
  for digest in sorted(digests):
    a, b = records.whole(one, digest), records.whole(other, digest)
    if a is None or b is None:
      said.append(f'{digest} has not finished')
      continue
    for key in a.keys() - {'seconds', 'finished', 'checksum'}:
      if a[key] != b[key]:
        said.append(f'{key} of {a["name"]}')
    if not records.outcomes(one, digest).equals(
      records.outcomes(other, digest)
    ):
      said.append(f'outcomes of {a["name"]}')
  return said


def strays(workdir: pathlib.Path) -> list[str]:
  """Files that no finished grid has."""
  files = [p for p in workdir.rglob('*') if p.is_file()]
  names = [p.relative_to(workdir).as_posix() for p in files]
  return [name for name in names if not KNOWN.fullmatch(name)]


def twice(workdir: pathlib.Path) -> list[str]:
  """Runs that were computed again although they had finished, by the log.

  Whoever finishes a run second finds its record there, and says so.
  """
  log = (workdir / 'log.txt').read_text()
  runs = Counter(record['name'] for record in records.read_all(workdir))
  done = Counter(re.findall(r'  done    (.*): accuracy [\d.]+ to', log))
  late = re.findall(r'  twice   (.*): another process', log)
  more = (name for name, times in done.items() if times > runs[name])
  return [*more, *late]


def crash(
  folder: pathlib.Path, kills: int, steps: int, seed: int, *more: str
) -> tuple[int, list[str]]:
  """How often the grid was killed before it ended, and what went wrong."""
  file = grid(folder, steps)
  begun = time.monotonic()
  finish(command(file, folder / 'whole', *more))
  whole, killed = time.monotonic() - begun, 0
  for seconds in moments(whole, kills, seed):
    process = command(file, folder / 'killed', *more)
    try:
      told, _ = process.communicate(timeout=seconds)
      assert process.returncode == 0, told
      break
    except subprocess.TimeoutExpired:
      kill(process)
      killed += 1
  finish(command(file, folder / 'killed', *more))
  workdir = folder / 'killed'
  return killed, [
    *differences(folder / 'whole', workdir),
    *(f'stray file {name}' for name in strays(workdir)),
    *(f'finished twice: {name}' for name in twice(workdir)),
  ]


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--kills', type=int, default=20)
  parser.add_argument('--steps', type=int, default=1500)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--workers', type=int, default=1)
  given = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    begun = time.monotonic()
    killed, wrong = crash(
      pathlib.Path(folder),
      given.kills,
      given.steps,
      given.seed,
      f'--workers={given.workers}',
    )
  print(
    f'12 runs killed {killed} times: {len(wrong)} differences, stray files and '
    f'runs finished twice ({time.monotonic() - begun:.0f} s)'
  )
  if not killed:
    wrong.append('it was never killed: raise --steps')
  sys.exit('\n'.join(wrong) or 0)


if __name__ == '__main__':
  main()
