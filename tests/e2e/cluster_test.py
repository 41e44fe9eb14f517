"""Ray and SLURM: the same bits, nodes and jobs that go away, plain refusals."""

import contextlib
import dataclasses
import os
import pathlib
import re
import signal
import sys
import time

import pytest

from posexp.cli import main
from posexp.launch import exit_codes, scheduler, slurm_executor, worker_command
from posexp.results import progress
from tests import crash

# Its logger keeps the stream that it finds, which must outlive a test.
with contextlib.suppress(ImportError):
  import submitit  # noqa: F401


def parents(pid: int) -> list[int]:
  """The process that started one, the one before, and so on."""
  found = []
  while pid > 1:
    text = pathlib.Path(f'/proc/{pid}/stat').read_text()
    pid = int(text.rpartition(')')[2].split()[1])
    found.append(pid)
  return found


def unfinished(workdir: pathlib.Path) -> bool:
  """Whether some run has a checkpoint, and none of its last step."""
  steps = [
    max(int(one.name[5:]) for one in run.glob('step_????????'))
    for run in workdir.glob('runs/*/checkpoints')
    if list(run.glob('step_????????'))
  ]
  return any(0 < step < 300 for step in steps)


def resumed(workdir: pathlib.Path) -> bool:
  """Whether a run went on from a checkpoint, by the log."""
  text = (workdir / 'log.txt').read_text()
  return bool(re.search(r'resumed .* at step [1-9]\d* of 300', text))


def test_a_grid_outlives_a_node_of_a_ray_cluster(grid_file, grid_whole):
  pytest.importorskip('ray', reason="needs pip install 'posexp[ray]'")
  from ray import cluster_utils

  head = {'num_cpus': 1, 'include_dashboard': False}
  cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
  try:
    other = cluster.add_node(num_cpus=1)
    raylet = other.all_processes['raylet'][0].process.pid
    workdir = grid_file.parent / 'ray'
    process = crash.command(
      grid_file,
      workdir,
      crash.ONLY,
      '--executor=ray',
      f'--address={cluster.address}',
    )
    # Until the node that will die has something to be gone on with; there it
    # stands still, or it might be done before the node is dead.
    while True:
      for pid in crash.training(process, workdir, kept=True):
        if raylet in parents(pid):
          os.kill(pid, signal.SIGSTOP)
          break
      else:
        time.sleep(0.05)
        continue
      if unfinished(workdir):
        break
      os.kill(pid, signal.SIGCONT)
    cluster.remove_node(other, allow_graceful=False)
    # A node that is gone takes its processes along; one that goes on without
    # its raylet may finish the run before it notices.
    os.kill(pid, signal.SIGKILL)
    crash.finish(process)
  finally:
    cluster.shutdown()
  assert resumed(workdir)
  assert crash.differences(grid_whole, workdir) == []
  assert crash.twice(workdir) == []
  assert crash.strays(workdir) == []


def test_no_ray_cluster_at_an_address_is_a_sentence(
  grid_file, tmp_path, capsys
):
  pytest.importorskip('ray', reason="needs pip install 'posexp[ray]'")
  words = ['run', str(grid_file), f'--workdir={tmp_path}/w', '--executor=ray']
  words += ['--address=127.0.0.1:1']
  assert main.main(['posexp', *words]) == exit_codes.BAD_INPUT
  told = capsys.readouterr().err
  assert told.startswith('posexp: no Ray cluster at --address=127.0.0.1:1 (')
  assert told.endswith('or leave --address out for one of this machine\n')
  assert told.count('\n') == 1 and not (tmp_path / 'w').exists()


def test_a_preempted_job_goes_on_where_it_was(grid_file, grid_whole, tmp_path):
  """By submitit's executor for one machine, in place of SLURM."""
  pytest.importorskip('submitit', reason="needs pip install 'posexp[slurm]'")
  workdir = grid_file.parent / 'slurm'
  process = crash.command(
    grid_file,
    workdir,
    crash.ONLY,
    *('--executor=slurm', '--workers=2', '--slurm=cluster=local'),
    POSEXP_SLURM=str(tmp_path),
  )
  (worker, *_) = crash.training(process, workdir)
  # As SLURM tells all processes of a job that it is preempted.
  for pid in (worker, parents(worker)[0]):
    os.kill(pid, signal.SIGUSR2)
  crash.finish(process)
  logs = ''.join(p.read_text() for p in tmp_path.glob('*/*.err'))
  logs += ''.join(p.read_text() for p in tmp_path.glob('*/*.out'))
  assert 'Requeued job' in logs and resumed(workdir)
  assert crash.differences(grid_whole, workdir) == []
  assert crash.twice(workdir) == []
  assert crash.strays(workdir) == []


def test_what_a_job_asks_for():
  assert slurm_executor.parameters(
    ['mem_gb=8', 'slurm_qos=low', 'slurm_setup=["a"]']
  ) == {
    'mem_gb': 8,
    'slurm_qos': 'low',
    'slurm_setup': ['a'],
  }
  with pytest.raises(ValueError, match="--slurm='time' must be NAME=VALUE"):
    slurm_executor.parameters(['time'])


def test_what_submitit_does_not_know_is_a_sentence(tmp_path, monkeypatch):
  pytest.importorskip('submitit', reason="needs pip install 'posexp[slurm]'")
  monkeypatch.setenv('POSEXP_SLURM', str(tmp_path))
  with (
    progress.Progress(1.0, tmp_path / 'log.txt') as tell,
    pytest.raises(ValueError, match=r'the jobs were refused \(.*minutes'),
  ):
    launch = scheduler.Launch((), tmp_path, tell, argv=('run', 'file.py'))
    slurm_executor.hire(launch, 1, ['cluster=local', 'minutes=3'])


@pytest.mark.parametrize(
  'module, executor, sentence',
  [
    ('ray', 'ray', "--executor=ray needs ray: pip install 'posexp[ray]'"),
    (
      'submitit',
      'slurm',
      "--executor=slurm needs submitit: pip install 'posexp[slurm]'",
    ),
    (None, 'dask', "--executor cannot be 'dask' (known: local, ray, slurm)"),
    (None, 'ray --slurm=mem_gb=1', '--slurm is for --executor=slurm, and this'),
    (None, 'local --address=a:1', '--address is for --executor=ray, and this'),
    (None, 'ray --workers=0', '--workers must be at least 1, got 0'),
  ],
)
def test_an_executor_that_cannot_be_is_a_sentence(
  grid_file, tmp_path, capsys, monkeypatch, module, executor, sentence
):
  if module:
    monkeypatch.setitem(sys.modules, module, None)
  words = ['run', str(grid_file), f'--workdir={tmp_path}/w']
  words += f'--executor={executor}'.split()
  assert main.main(['posexp', *words]) == exit_codes.BAD_INPUT
  told = capsys.readouterr().err
  assert sentence in told and told.count('\n') == 1
  assert not (tmp_path / 'w').exists()


def test_slurm_without_its_commands_is_a_sentence(
  grid_file, tmp_path, capsys, monkeypatch
):
  pytest.importorskip('submitit', reason="needs pip install 'posexp[slurm]'")
  monkeypatch.setenv('PATH', str(tmp_path))
  words = ['run', str(grid_file), f'--workdir={tmp_path}/w', '--executor=slurm']
  assert main.main(['posexp', *words]) == exit_codes.BAD_INPUT
  assert 'needs the command sbatch, which is not on' in capsys.readouterr().err


def test_a_worker_repeats_the_command_from_where_it_was_given(
  tmp_path, monkeypatch
):
  with progress.Progress(1.0, tmp_path / 'log.txt') as tell:
    launch = scheduler.Launch((), tmp_path, tell)
  with pytest.raises(ValueError, match='repeat a command, and this is none'):
    worker_command.command(launch)
  launch = dataclasses.replace(launch, argv=('run', 'file.py'))
  monkeypatch.setenv('XLA_FLAGS', '--some')
  monkeypatch.setenv('JAX_PLATFORMS', 'cpu')
  found = worker_command.command(launch, 'abc')
  assert found.arguments == ('run', 'file.py')
  assert found.directory == os.getcwd()
  assert found.environment[worker_command.ONLY] == 'abc'
  # What decides on bits goes along, and what a node knows better does not.
  assert found.environment['XLA_FLAGS'] == '--some'
  assert 'JAX_PLATFORMS' not in found.environment
  assert worker_command.ONLY not in worker_command.command(launch).environment
