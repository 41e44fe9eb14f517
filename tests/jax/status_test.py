"""What `posexp status` says of a work directory, kind by kind."""

import json
import os

import pytest

from posexp.cli import flags, main
from posexp.launch import failures, launcher, locks, status
from tests import recorded, small

DONE, OTHER, BUSY, BAD, CUT, IDLE = (letter * 16 for letter in 'abcdef')


@pytest.fixture
def workdir(tmp_path):
  """Two finished runs, one that failed, one that was cut, one not begun."""
  names = zip((DONE, OTHER, BUSY, BAD, CUT, IDLE), 'uvwxyz', strict=True)
  plan = [(d, f'the run {n}', 1e9) for d, n in names]
  # What is stopped is twice as large, and OTHER is much larger and slower.
  plan[4] = (CUT, 'the run y', 2e9)
  plan[1] = (OTHER, 'the run v', 1e12)
  status.plan(tmp_path, plan)
  for digest, seconds in ((DONE, 30.0), (OTHER, 9e3)):
    recorded.write(tmp_path, digest=digest, seconds={'total': seconds})
  for digest in (BUSY, BAD, IDLE):
    (tmp_path / 'runs' / digest).mkdir(parents=True)
  failures.write(tmp_path / 'runs' / BAD, sentence='out of luck', launch='x')
  cut = tmp_path / 'runs' / CUT / 'checkpoints' / 'step_00000050'
  cut.mkdir(parents=True)
  return tmp_path


def test_every_kind_is_told(workdir):
  with locks.claimed(workdir / 'runs' / BUSY) as claim:
    # As its own clock says: what that of this host says does not matter.
    claim.say(share=0.5, host='a-host', pid=7, seconds=90.0)
    lines = status.text(workdir).splitlines()
  assert lines[0] == (
    '2 done, 1 running, 1 failed, 1 stopped, 1 waiting of 6 runs'
  )
  assert lines[1] == ('running   50% after 1 min 30 s by a-host:7  the run w')
  assert lines[2] == f'failed   the run x [{BAD}]'
  assert lines[3].strip() == 'out of luck'
  assert lines[4] == 'stopped  the run y: resumes with the next launch'
  # Half of one of 30 s, a whole one, and one that is twice as large.
  assert lines[5].startswith('about 1 min 45 s left by 1 process, as long as')


def test_a_dead_owner_is_not_running(workdir):
  (workdir / 'runs' / BUSY / 'claim').write_text('{"pid": 7}')
  kinds = {state.digest: state.kind for state in status.states(workdir)}
  assert kinds[BUSY] == status.STOPPED


def test_one_plan_is_written_once(workdir):
  (path,) = (workdir / 'grids').glob('*.json')
  known = json.loads(path.read_text())['runs']
  assert status.plan(workdir, map(tuple, known)) == path
  assert list((workdir / 'grids').glob('*.json')) == [path]


def test_what_an_earlier_grid_left_undone_is_not_waited_for(workdir):
  (first,) = (workdir / 'grids').glob('*.json')
  second = status.plan(workdir, [(IDLE, 'z', 1e9), ('9' * 16, 'new', 2e9)])
  # What is newest is said, and not seen by the times of files.
  os.utime(second, ns=(1, 1))
  with locks.claimed(workdir / 'runs' / BUSY):
    kinds = {state.digest: state.kind for state in status.states(workdir)}
  assert kinds == {
    DONE: 'done',
    OTHER: 'done',
    BUSY: 'running',
    IDLE: 'waiting',
    '9' * 16: 'waiting',
  }
  status.plan(workdir, map(tuple, json.loads(first.read_text())['runs']))
  assert BAD in {state.digest for state in status.states(workdir)}


def test_nothing_is_known_before_a_run_has_finished(tmp_path):
  assert 'no grid was launched' in status.text(tmp_path)
  status.plan(tmp_path, [(IDLE, 'a run', 1e9)])
  assert status.text(tmp_path).splitlines() == [
    '1 waiting of 1 runs',
    'time left: not known before a run has finished',
  ]


def test_the_command(workdir, capsys):
  assert main.main(['posexp', 'status', str(workdir)]) == 0
  assert '2 done, 1 failed' in capsys.readouterr().out
  assert main.main(['posexp', 'status', str(workdir / 'none')]) == 2
  assert 'no work directory' in capsys.readouterr().err


def test_following_ends_when_nothing_is_left(tmp_path, capsys):
  status.plan(tmp_path, [(DONE, 'a run', 1e9)])
  recorded.write(tmp_path, digest=DONE, seconds={'total': 3.0})
  assert main.main(['posexp', 'status', str(tmp_path), '--follow']) == 0
  assert capsys.readouterr().out == '1 done of 1 runs\n'


@pytest.mark.parametrize(
  'text, sentence',
  [
    ('{"format": 2, "runs": []}', 'of a newer version of posexp'),
    ('{"format": ', 'cannot be read'),
    ('[]', 'cannot be read'),
  ],
)
def test_a_plan_that_cannot_be_read_is_a_sentence_before_any_compute(
  tmp_path, text, sentence
):
  status.plan(tmp_path, [(IDLE, 'a run', 1e9)])
  (path,) = (tmp_path / 'grids').glob('*.json')
  path.write_text(text)
  with pytest.raises(ValueError, match=sentence):
    launcher.execute([small.run()], tmp_path, launcher.ExecutorConfig())
  assert not (tmp_path / 'runs').exists()


def test_a_directory_that_others_may_change_is_told(tmp_path, capsys):
  flags.writable(tmp_path)
  assert capsys.readouterr().err == ''
  tmp_path.chmod(0o777)
  flags.writable(tmp_path)
  assert 'may be written to by everyone' in capsys.readouterr().err
  if os.getuid() == 0:
    tmp_path.chmod(0o755)
    os.chown(tmp_path, 12345, -1)
    flags.writable(tmp_path)
    assert 'belongs to another user' in capsys.readouterr().err
