"""Workers: shared cores, the same bits, deaths survived, requests to stop."""

import os
import pathlib
import resource
import signal
import types

import pytest

from posexp.cli import main
from posexp.launch import (
  disk,
  exit_codes,
  failures,
  job,
  locks,
  scheduler,
  signals,
  status,
  worker_pool,
)
from posexp.results import progress, records
from posexp.training import train_step
from tests import crash, small


def test_workers_give_the_same_bits_though_one_is_killed(grid_file, grid_whole):
  workdir = grid_file.parent / 'workers'
  process = crash.command(grid_file, workdir, crash.ONLY, '--workers=2')
  (victim, *_) = crash.training(process, workdir)
  assert victim != process.pid
  os.kill(victim, signal.SIGKILL)
  told = crash.finish(process)
  assert 'was killed by SIGKILL, as the kernel does without memory' in told
  assert crash.differences(grid_whole, workdir) == []
  assert crash.strays(workdir) == []
  assert crash.twice(workdir) == []


# Where the kernel keeps the memory of groups of processes: cgroups, versions 1
# and 2; what limits them there, and what tells of those that it killed.
GROUPS = {
  '/sys/fs/cgroup/memory': ('memory.limit_in_bytes', 'memory.oom_control'),
  '/sys/fs/cgroup': ('memory.max', 'memory.events'),
}


@pytest.fixture
def small_group():
  """A group of processes that may have no memory, and who was killed there."""
  for parent, (limit, events) in GROUPS.items():
    group = pathlib.Path(parent) / f'posexp-{os.getpid()}'
    try:
      group.mkdir()
    except OSError:
      continue
    if (group / limit).exists():
      (group / limit).write_text(str(2**20))
      yield group, group / events
      group.rmdir()
      return
    group.rmdir()
  pytest.skip('needs to make a group of processes with little memory: root')


def test_a_worker_killed_by_the_kernel_without_memory_is_replaced(
  grid_file, grid_whole, small_group
):
  group, events = small_group
  workdir = grid_file.parent / 'memory'
  process = crash.command(grid_file, workdir, crash.ONLY, '--workers=2')
  (victim, *_) = crash.training(process, workdir)
  # What it takes from now on is more than it may have.
  (group / 'cgroup.procs').write_text(str(victim))
  told = crash.finish(process)
  assert 'oom_kill 1' in events.read_text().splitlines()
  assert 'was killed by SIGKILL, as the kernel does without memory' in told
  assert crash.differences(grid_whole, workdir) == []
  assert crash.strays(workdir) == []


def test_being_asked_to_stop_keeps_what_is_under_way(grid_file, grid_whole):
  workdir = grid_file.parent / 'stopped'
  process = crash.command(grid_file, workdir, crash.ONLY)
  crash.training(process, workdir)
  process.send_signal(signal.SIGTERM)
  told, _ = process.communicate(timeout=300)
  assert process.returncode == 143
  assert told.splitlines()[-1] == (
    'stopped: what is finished is kept; the same command goes on from the last '
    'checkpoint'
  )
  kinds = {state.kind for state in status.states(workdir)}
  assert status.RUNNING not in kinds and status.STOPPED in kinds
  crash.finish(crash.command(grid_file, workdir, crash.ONLY))
  assert crash.differences(grid_whole, workdir) == []
  assert crash.strays(workdir) == []


def test_a_stop_is_kept_where_no_checkpoint_was_due(tmp_path, monkeypatch):
  monkeypatch.setattr(train_step, 'CHUNK', 5)
  run = small.run(train=small.train_config(checkpoint_every=1000))

  class Asking(progress.Progress):
    def advance(self, work, label):
      super().advance(work, label)
      signal.raise_signal(signal.SIGTERM)

  with (
    Asking(1.0, tmp_path / 'log.txt') as tell,
    signals.noted(),
    pytest.raises(signals.Stopped),
  ):
    scheduler.execute(scheduler.Launch([run], tmp_path, tell))
  directory = records.run_directory(tmp_path, run.digest)
  assert os.listdir(directory / 'checkpoints') == ['step_00000005']
  assert not (directory / 'claim').exists()


def test_two_launchers_compute_nothing_twice(grid_file, grid_whole):
  workdir = grid_file.parent / 'two'
  both = [crash.command(grid_file, workdir, crash.ONLY) for _ in range(2)]
  for process in both:
    crash.finish(process)
  assert crash.differences(grid_whole, workdir) == []
  assert crash.twice(workdir) == []
  assert crash.strays(workdir) == []


@pytest.mark.parametrize(
  'workers, sentence',
  [
    ('0', '--workers must be at least 1, got 0'),
    ('-2', '--workers must be at least 1, got -2'),
    ('9999', '--workers=9999 is pointless on'),
  ],
)
def test_a_senseless_number_of_workers_is_a_sentence(
  grid_file, tmp_path, capsys, workers, sentence
):
  words = ['run', str(grid_file), f'--workers={workers}']
  words += [f'--workdir={tmp_path}/w']
  assert main.main(['posexp', *words]) == exit_codes.BAD_INPUT
  assert sentence in capsys.readouterr().err
  assert not (tmp_path / 'w').exists()


def alone(tmp_path, run, **options):
  tmp_path.mkdir(exist_ok=True)
  with progress.Progress(1.0, tmp_path / 'log.txt') as tell:
    launch = scheduler.Launch([run], tmp_path, tell, **options)
    return scheduler.execute(launch)


def test_a_run_whose_process_dies_again_and_again_is_given_up(tmp_path):
  run = small.run()
  directory = records.run_directory(tmp_path, run.digest)
  directory.mkdir(parents=True)
  # As an owner leaves it that was killed in its second attempt.
  (directory / locks.NAME).write_text('{"launch": "this one", "attempt": 2}')
  said = alone(tmp_path, run, name='this one')[run.digest]
  assert 'died 2 times without a word' in said
  assert failures.read(directory)['attempts'] == 2
  # Another worker of the launch does not try again; another launch does.
  assert alone(tmp_path, run, name='this one') == {run.digest: said}
  assert alone(tmp_path, run) == {}
  assert failures.read(directory) == {}


def test_a_run_that_fails_is_tried_again(tmp_path, monkeypatch):
  tries = []

  compute = job.compute

  def flaky(*given):
    tries.append(1)
    if len(tries) == 1:
      raise RuntimeError('the network went away')
    return compute(*given)

  monkeypatch.setattr(job, 'compute', flaky)
  run = small.run()
  assert alone(tmp_path, run, retries=1) == {}
  assert len(tries) == 2
  log = (tmp_path / 'log.txt').read_text()
  assert 'attempt 1 failed: RuntimeError: the network went away' in log


def test_a_full_disk_ends_the_launch_with_a_sentence(tmp_path, monkeypatch):
  def full(*_):
    try:
      raise OSError(28, 'No space left on device')
    except OSError:
      raise RuntimeError('tensorstore gave up') from None

  monkeypatch.setattr(job, 'compute', full)
  with pytest.raises(disk.Full, match='make room, and the same command goes'):
    alone(tmp_path, small.run())


def test_a_disk_without_room_keeps_what_is_finished(grid_file, grid_whole):
  """By a limit on the size of a file, which checkpoints go beyond."""
  workdir = grid_file.parent / 'full'
  limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))
  root = '--only=*: RoPE()'
  process = crash.command(grid_file, workdir, root, before=limit)
  told, _ = process.communicate()
  assert process.returncode == exit_codes.FULL, told
  assert (
    f'no space left for {workdir}: what is finished is kept; make room, and '
    'the same command goes on from there'
  ) in told
  assert 'Traceback' not in told
  crash.finish(crash.command(grid_file, workdir, root))
  # The whole grid has more runs, and what is here is the same as there.
  assert crash.differences(workdir, grid_whole) == ['other runs']
  assert crash.strays(workdir) == []


def test_a_worker_stops_when_its_launcher_is_gone(monkeypatch):
  assert not signals.asked()
  monkeypatch.setenv(signals.LAUNCHER, '1' if os.getppid() != 1 else '2')
  with signals.noted(), pytest.raises(signals.Stopped) as stopped:
    signals.obey()
  assert stopped.value.code == 143
  assert not signals._asked


class Exited(worker_pool.Worker):
  """A worker that has ended with a code, and counts how often it started."""

  started = 0

  def __init__(self, code, tell):
    super().__init__('7', tell)
    self._code = code

  def code(self):
    return self._code

  def start(self):
    self.started += 1

  ask = wait = kill = start


@pytest.mark.parametrize(
  ('code', 'starts', 'sentence'),
  [
    (0, 0, ''),
    (255, 0, 'worker  7 ended with exit code 255, which is none of posexp'),
    (137, 1, 'worker  7 was killed by SIGKILL, as the kernel does without'),
  ],
)
def test_a_worker_s_exit_code_says_how_it_ended(code, starts, sentence):
  notes = []
  worker = Exited(code, types.SimpleNamespace(note=notes.append))
  assert worker.at_work(0) == (starts > 0) and worker.started == starts
  assert len(notes) == bool(sentence) and ''.join(notes).startswith(sentence)


def test_a_second_signal_does_not_wait():
  with signals.noted():
    signal.raise_signal(signal.SIGINT)
    assert signals.asked()
    with pytest.raises(signals.Stopped) as stopped:
      signal.raise_signal(signal.SIGINT)
  assert stopped.value.code == 130
  assert not signals.asked()
