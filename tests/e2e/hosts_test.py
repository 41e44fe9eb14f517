"""One run over several processes, against the same run in one."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from posexp.cli import main
from posexp.launch import grid, job, multihost, status
from posexp.results import progress, records
from tests import crash

FILE = """
import dataclasses

import posexp
from posexp import schemes
from tests import small

def grid():
  root = small.run(
    train=small.train_config(steps=STEPS, batch=BATCH, checkpoint_every=50),
    evaluate=posexp.Evaluate(lengths=(12,), examples=16),
    seeds=(3, 5),
  )
  yield root
  yield root.retrofit(
    schemes.RoPE() + schemes.ALiBi(), train=small.train_config(steps=20)
  )
  # Its batch is split over all devices.
  yield dataclasses.replace(root, seeds=(7,))
"""
# What two processes do together, in which those that are named fail.
ALIKE = """
import sys

import jax

from posexp.launch import multihost

multihost.ALIKE = 10
address, process, *failing = sys.argv[1:]
multihost.join(address, 2, int(process))


def work():
  if process in failing:
    raise RuntimeError('no kernel for this scheme')


for _ in range(2):
  try:
    multihost.alike(work)
  except RuntimeError as error:
    print('all had:', error)
  multihost.exchange([1])
jax.distributed.shutdown()
"""
# Sums over a batch that is split are rounded otherwise: relative to the
# largest number, after so few steps.
TOLERANCE = 2e-5


def file(
  folder: pathlib.Path, steps: int = 30, batch: int = 8, name: str = 'hosts'
) -> pathlib.Path:
  path = folder / f'{name}.py'
  text = FILE.replace('STEPS', str(steps)).replace('BATCH', str(batch))
  path.write_text(text)
  return path


def devices(number: int) -> dict[str, str]:
  """The variables of a process that has so many."""
  flag = f'--xla_force_host_platform_device_count={number}'
  return {
    'XLA_FLAGS': f'{os.environ.get("XLA_FLAGS", "")} {flag}',
    'JAX_NUM_CPU_DEVICES': str(number),
  }


def address() -> str:
  """Where nobody listens yet."""
  with socket.socket() as free:
    free.bind(('localhost', 0))
    return f'localhost:{free.getsockname()[1]}'


def start(
  workdir: pathlib.Path, *files: pathlib.Path, number: int
) -> list[subprocess.Popen]:
  """A process for each file, of a run over several hosts; all are this one."""
  where = address()
  return [
    crash.command(
      path,
      workdir,
      f'--coordinator={where}',
      f'--processes={len(files)}',
      f'--process={process}',
      **devices(number),
    )
    for process, path in enumerate(files)
  ]


def ended(processes: list[subprocess.Popen]) -> list[tuple[int, str]]:
  """The exit code of each and what it said."""
  try:
    said = [process.communicate(timeout=240)[0] for process in processes]
  finally:
    for process in processes:
      with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
  return [
    (process.returncode, text)
    for process, text in zip(processes, said, strict=True)
  ]


@pytest.fixture(scope='module')
def shared(tmp_path_factory):
  """The work directory of two processes of four devices each."""
  folder = tmp_path_factory.mktemp('hosts')
  path = file(folder)
  (code, said), (other, quiet) = ended(
    start(folder / 'shared', path, path, number=4)
  )
  assert (code, other) == (0, 0), said + quiet
  assert 'accuracy, %' in said
  assert 'accuracy, %' not in quiet
  return folder / 'shared', path


@pytest.fixture(scope='module')
def alone(shared, tmp_path_factory):
  """That of one process, of two devices."""
  _, path = shared
  workdir = tmp_path_factory.mktemp('alone')
  crash.finish(crash.command(path, workdir, **devices(2)))
  return workdir


def close(one, other) -> bool:
  """Whether numbers differ by no more than the rounding of sums."""
  one, other = np.asarray(one, float), np.asarray(other, float)
  return bool(np.abs(one - other).max() <= TOLERANCE * np.abs(one).max())


def weights(path: pathlib.Path, workdir: pathlib.Path) -> list[np.ndarray]:
  """All parameters of the root, read by this process, of two devices."""
  root = grid.load(path).runs[0]
  with progress.Progress(1.0, workdir.parent / 'weights.txt') as tell:
    return jax.tree.leaves(job.weights(root, workdir, tell))


def test_numbers_are_those_of_one_process(shared, alone):
  """Losses, and nats of each target; seeds and batches are both spread."""
  workdir, path = shared
  for run in grid.load(path).runs:
    here, there = (records.whole(w, run.digest) for w in (alone, workdir))
    assert here['device']['mesh'] == {'seed': 2, 'data': 1}
    seeds = len(run.seeds)
    assert there['device']['mesh'] == {'seed': seeds, 'data': 8 // seeds}
    assert there['device']['processes'] == 2
    assert here['examples'] == there['examples']
    assert close(here['losses'], there['losses'])
    one, two = (records.outcomes(w, run.digest) for w in (alone, workdir))
    assert close(one.pop('nats'), two.pop('nats'))
    assert one.drop(columns='kind').equals(two.drop(columns='kind'))
    assert (one['kind'] == two['kind']).mean() > 0.98
  assert not crash.strays(workdir)


def test_checkpoints_of_several_processes_are_read_by_one(shared, alone):
  """Each process has written some of one; it is restored on fewer devices."""
  workdir, path = shared
  root = grid.load(path).runs[0]
  folder = records.run_directory(workdir, root.digest) / 'checkpoints'
  for step in folder.iterdir():
    parts = {part.name for part in step.glob('ocdbt.process_*')}
    assert parts == {'ocdbt.process_0', 'ocdbt.process_1'}
    assert all(any(step.glob(f'{part}/d/*')) for part in parts)
  pairs = zip(weights(path, alone), weights(path, workdir), strict=True)
  assert all(close(*pair) for pair in pairs)


def test_eight_devices_of_one_process_give_the_bits_of_two(
  shared, alone, tmp_path
):
  _, path = shared
  process = crash.command(path, tmp_path, **devices(8))
  assert '2 seeds' in crash.finish(process)
  root = grid.load(path).runs[0]
  assert records.read(tmp_path, root.digest)['device']['mesh']['seed'] == 8
  pairs = zip(weights(path, alone), weights(path, tmp_path), strict=True)
  assert all(np.array_equal(*pair) for pair in pairs)


def test_one_process_goes_on_where_several_were_stopped(tmp_path):
  """Any of them may be asked; all keep what they have and say how it ended."""
  path, workdir = file(tmp_path, steps=5000), tmp_path / 'runs'
  processes = start(workdir, path, path, number=1)
  crash.training(processes[0], workdir, kept=True)
  processes[1].terminate()
  (code, said), (other, quiet) = ended(processes)
  assert (code, other) == (143, 143), said + quiet
  assert 'the same command goes on from the last checkpoint' in said
  (claimed,) = status.states(workdir)[:1]
  assert claimed.kind == status.STOPPED
  process = crash.command(path, workdir)
  while 'resumed' not in (line := process.stdout.readline()):
    assert line
  assert 'at step' in line
  crash.kill(process)


def test_where_one_process_dies_the_others_end(tmp_path):
  path, workdir = file(tmp_path, steps=5000), tmp_path / 'runs'
  processes = start(workdir, path, path, number=1)
  crash.training(processes[0], workdir)
  os.killpg(processes[1].pid, signal.SIGKILL)
  code, said = ended(processes[:1])[0]
  assert code, said
  processes[1].communicate()


@pytest.mark.parametrize('failing', [['0', '1'], ['1']], ids=['all', 'one'])
def test_what_fails_in_all_is_raised_and_in_one_ends_all(failing, tmp_path):
  (script := tmp_path / 'alike.py').write_text(ALIKE)
  root = str(pathlib.Path(__file__).parents[2])
  where = address()
  processes = [
    subprocess.Popen(
      [sys.executable, script, where, process, *failing],
      env={**os.environ, 'PYTHONPATH': root, **devices(1)},
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      start_new_session=True,
      text=True,
    )
    for process in '01'
  ]
  (code, said), (other, quiet) = ended(processes)
  if len(failing) == 2:
    assert (code, other) == (0, 0), said + quiet
    twice = ['all had: no kernel for this scheme'] * 2
    for text in (said, quiet):
      assert [x for x in text.splitlines() if 'all had' in x] == twice
    return
  assert code and other, said + quiet
  assert 'all had' not in said + quiet
  assert 'process 1 of 2 cannot go on (no kernel for this scheme)' in quiet
  assert 'process 0 of 2 cannot go on' in said


def test_processes_that_cannot_share_a_run_say_why(tmp_path):
  """Other grids; and a batch of which some would have nothing to do."""
  one, other = file(tmp_path), file(tmp_path, steps=40, name='other')
  for code, said in ended(start(tmp_path / 'runs', one, other, number=1)):
    assert code == 2
    assert 'the grid is not the same in process 1 as in the first' in said
  odd = file(tmp_path, batch=7, name='odd')
  for code, said in ended(start(tmp_path / 'runs', odd, odd, odd, number=1)):
    assert code == 2
    assert 'can be spread over 1 of 3 devices' in said
    assert 'seeds (now 2) or a batch (now 7)' in said


def test_a_first_process_that_never_comes_is_a_sentence(
  tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(multihost, 'PATIENCE', 0.1)
  flags = '--coordinator=localhost:1', '--processes=2', '--process=1'
  assert main.main(['posexp', 'run', str(file(tmp_path)), *flags]) == 2
  said = capsys.readouterr().err
  assert 'no process listens at --coordinator=localhost:1' in said
  assert 'start the same command with --process=0 there' in said


@pytest.mark.parametrize(
  ('flags', 'sentence'),
  [
    (['--process=1'], 'give --coordinator=HOST:PORT of the first, too'),
    (['--coordinator=a:1', '--process=1'], 'needs --processes'),
    (['--coordinator=a'], 'must be HOST:PORT of the first process, or auto'),
    (
      ['--coordinator=a:1', '--process=2', '--processes=2'],
      '--process must be from 0 to 1 of --processes=2, got 2',
    ),
    (['--coordinator=auto', '--workers=2'], 'leave out --workers'),
    (['--coordinator=auto', '--pack=0'], 'give the number of runs'),
    (['--coordinator=auto', '--executor=ray'], 'leave out --workers'),
  ],
)
def test_hosts_that_cannot_be_are_a_sentence(flags, sentence, tmp_path, capsys):
  assert main.main(['posexp', 'run', str(file(tmp_path)), *flags]) == 2
  assert sentence in capsys.readouterr().err
