"""Trackers are told of runs as they finish, and nothing depends on them."""

import json
import pathlib
import sys
import threading
import time
import types

import pytest

from posexp.cli import main
from posexp.launch import exit_codes, scheduler, signals, tracking
from posexp.reports.trackers import kinds
from posexp.results import progress, records
from tests import recorded, tracked
from tests.recorded import A, B
from tests.small import run as small_run

NAMES = {A: 'Ordering: RoPE()', B: 'Ordering: ALiBi()'}
RUNS = [
  types.SimpleNamespace(digest=digest, name=name, seeds=recorded.SEEDS)
  for digest, name in NAMES.items()
]
FILE = """
from tests import small

def grid():
  yield small.run()
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
  monkeypatch.setenv('WANDB_MODE', 'offline')
  monkeypatch.setattr(tracking, 'EVERY', 0.01)


@pytest.fixture
def tell(tmp_path):
  with progress.Progress(1.0, tmp_path / 'log.txt', live=False) as made:
    yield made


class Fake:
  """A tracker that remembers what it was sent."""

  def __init__(self, send=lambda record: None, there=()):
    self.there, self.sent, self._send = set(there), [], send

  def has(self, digest, name, seeds):
    return digest in self.there

  def send(self, record):
    assert 'losses' in record  # Its details are there, too.
    self._send(record)
    self.sent.append(record['digest'])


class Clock:
  """A clock that a test moves, and how often it was looked at."""

  def __init__(self):
    self.now, self.looks = 0.0, 0

  def monotonic(self):
    self.looks += 1
    return self.now


@pytest.fixture
def use(monkeypatch):
  def replace(tracker):
    monkeypatch.setattr(kinds, 'make', lambda *_: tracker)
    return tracker

  return replace


def finish(workdir, *digests):
  for digest in digests:
    recorded.write(workdir, digest=digest, name=NAMES[digest])


def followed(workdir, tell, names=('fake',)):
  return tracking.followed(RUNS, workdir, names, tell)


def until(done):
  limit = time.monotonic() + 120
  while not done():
    assert time.monotonic() < limit, 'it did not happen'
    time.sleep(0.01)


def test_a_run_is_sent_when_it_finishes_and_once(tmp_path, tell, use):
  fake = use(Fake())
  finish(tmp_path, A)
  with followed(tmp_path, tell):
    until(lambda: fake.sent == [A])  # While the other one is computed.
    finish(tmp_path, B)
  assert fake.sent == [A, B]  # The last of them before the end.


def test_what_was_sent_before_is_not_sent_again(tmp_path, tell, use):
  fake = use(Fake(there=[A]))
  finish(tmp_path, A, B)
  with followed(tmp_path, tell):
    pass
  assert fake.sent == [B]


def test_without_trackers_there_is_no_thread(tmp_path, tell):
  before = threading.active_count()
  with followed(tmp_path, tell, ()):
    assert threading.active_count() == before


def test_one_that_fails_is_one_note(tmp_path, tell, use, capsys):
  def fail(record):
    raise RuntimeError('no\nroute')

  fake = use(Fake(fail))
  finish(tmp_path, A, B)
  with followed(tmp_path, tell):
    pass
  assert fake.sent == []
  said = capsys.readouterr().err
  assert said == (
    'note    --track=fake: no route: all runs are recorded; '
    f'`posexp export {tmp_path} --to=fake` sends them\n'
  )


def test_one_that_hangs_is_not_waited_for(
  tmp_path, tell, use, capsys, monkeypatch
):
  monkeypatch.setattr(tracking, 'PATIENCE', 0.2)
  go = threading.Event()
  fake = use(Fake(lambda record: go.wait(600)))
  finish(tmp_path, A, B)
  with followed(tmp_path, tell):
    pass
  assert fake.sent == []  # It hangs still.
  go.set()
  assert '2 runs were not sent in time: all runs are' in capsys.readouterr().err


def test_one_that_is_slow_is_waited_for_while_it_moves(
  tmp_path, tell, use, monkeypatch
):
  clock = Clock()
  monkeypatch.setattr(tracking, 'time', clock)
  monkeypatch.setattr(tracking, 'PATIENCE', 60)

  def send(record):
    # Both together take longer than its patience.
    clock.now += 40
    looks = clock.looks
    until(lambda: clock.looks > looks + 2)

  fake = use(Fake(send))
  finish(tmp_path, A, B)
  with followed(tmp_path, tell):
    pass
  assert fake.sent == [A, B]


def test_a_stop_waits_for_a_little(tmp_path, tell, use, capsys, monkeypatch):
  monkeypatch.setattr(tracking, 'HURRY', 0.1)
  monkeypatch.setattr(signals, 'asked', lambda: 15)
  go = threading.Event()
  fake = use(Fake(lambda record: go.wait(600)))
  finish(tmp_path, A)
  with pytest.raises(signals.Stopped), followed(tmp_path, tell):
    raise signals.Stopped(15)
  assert fake.sent == []
  go.set()
  assert 'were not sent in time' in capsys.readouterr().err


def test_a_damaged_record_stops_no_other(tmp_path, tell, use, capsys):
  fake = use(Fake())
  finish(tmp_path, A, B)
  recorded.cut(tmp_path / 'runs' / A / 'record.json')
  with followed(tmp_path, tell):
    pass
  assert fake.sent == [B]
  assert capsys.readouterr().err == ''


def _needs(name):
  pytest.importorskip(name, reason=f'needs the extra [{name}]')


def _written(name, workdir):
  """What a tracker has, in a form that is the same if it is the same."""
  if name == 'wandb':
    found = tracked.wandb(workdir).items()
    return {n: json.dumps(run, sort_keys=True) for n, run in found}
  paths = sorted((workdir / name).rglob('*tfevents*'))
  return {str(p.relative_to(workdir)): p.read_bytes() for p in paths}


@pytest.mark.parametrize('name', kinds.KINDS)
def test_what_is_sent_live_is_what_an_export_sends(
  name, tmp_path, tell, monkeypatch
):
  _needs(name)
  with followed(tmp_path, tell, (name, name)):
    finish(tmp_path, A, B)
  live = _written(name, tmp_path)
  assert len(live) == 4  # Two runs of two seeds.
  tracker = kinds.make(name, tmp_path)
  assert all(tracker.has(run.digest, run.name, run.seeds) for run in RUNS)
  sent = []
  with monkeypatch.context() as patch:
    patch.setattr(type(tracker), 'send', lambda _, record: sent.append(record))
    with followed(tmp_path, tell, (name,)):
      pass
  assert sent == []  # Nothing is sent again.
  assert main.main(['posexp', 'export', str(tmp_path), f'--to={name}']) == 0
  assert _written(name, tmp_path) == live


@pytest.mark.parametrize('name', kinds.KINDS)
def test_a_run_that_was_sent_in_part_was_not_sent(name, tmp_path, monkeypatch):
  _needs(name)
  finish(tmp_path, A)
  tracker = kinds.make(name, tmp_path)
  assert not tracker.has(A, NAMES[A], recorded.SEEDS)
  record = records.whole(tmp_path, A)
  one = record | {'config': {**record['config'], 'seeds': [3]}}
  tracker.send(one | {'losses': record['losses'][:1]})
  if name == 'tensorboard':
    assert not tracker.has(A, NAMES[A], recorded.SEEDS)
  tracker.send(record)
  assert tracker.has(A, NAMES[A], recorded.SEEDS)


def test_w_and_b_that_is_disabled_has_nothing(tmp_path, monkeypatch):
  _needs('wandb')
  monkeypatch.setenv('WANDB_MODE', 'disabled')
  finish(tmp_path, A)
  tracker = kinds.make('wandb', tmp_path)
  tracker.send(records.whole(tmp_path, A))
  assert not tracker.has(A, NAMES[A], recorded.SEEDS)


@pytest.fixture
def file(tmp_path):
  path = tmp_path / 'tiny.py'
  path.write_text(FILE)
  return path


def test_a_grid_tells_its_tracker(file, tmp_path, capsys, monkeypatch):
  _needs('tensorboard')

  def compute(launch):
    for run in launch.runs:
      recorded.write(launch.workdir, digest=run.digest, name=run.name)
    return {}

  monkeypatch.setattr(scheduler, 'execute', compute)
  workdir = tmp_path / 'w'
  words = ['run', str(file), f'--workdir={workdir}', '--track=tensorboard']
  assert main.main(['posexp', *words]) == 0
  assert 'note' not in capsys.readouterr().err
  run = small_run()
  got = tracked.tensorboard(workdir / 'tensorboard')
  want = records.load(workdir)
  assert len(got) == len(run.seeds)
  for seed in run.seeds:
    (name,) = [n for n in got if n.endswith(f'{run.digest[:8]}/seed {seed}')]
    mine = want[want['seed'] == seed].set_index('length')['token']
    assert dict(got[name]['length/accuracy']) == mine.to_dict()


@pytest.mark.parametrize(
  'words, hidden, sentence',
  [
    ('--track=tensorbord', '', "--track cannot be 'tensorbord' (did you mean"),
    ('--track=wandb', 'wandb', "needs wandb: pip install 'posexp[wandb]'"),
    (
      '--track=tensorboard,wandb',
      'tensorboard',
      "needs tensorboard: pip install 'posexp[tensorboard]'",
    ),
  ],
)
def test_a_tracker_that_cannot_be_is_told_before_any_compute(
  words, hidden, sentence, file, tmp_path, capsys, monkeypatch
):
  if hidden:
    monkeypatch.setitem(sys.modules, hidden, None)
  workdir = tmp_path / 'w'
  call = ['posexp', 'run', str(file), f'--workdir={workdir}', words]
  assert main.main(call) == exit_codes.BAD_INPUT
  said = capsys.readouterr().err
  assert sentence in said and said.count('\n') == 1
  assert not pathlib.Path(workdir).exists()
