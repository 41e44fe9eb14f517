"""Whole runs: records, skipping, resuming after a kill, retrofits, failures."""

import dataclasses
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from posexp import component, data, schemes, tasks
from posexp.cost import flop_count
from posexp.evaluation import evaluate
from posexp.launch import failures, grid, job, scheduler
from posexp.models import transformer
from posexp.reports import tables
from posexp.results import progress, records
from posexp.runs import config
from posexp.training import checkpoint, train_step
from tests import small

NUMBERS = ('exact', 'token', 'order', 'retrieval', 'first_error', 'diverged')


def assert_same_results(a: pathlib.Path, b: pathlib.Path, digest: str):
  """The same numbers, targets and weights, bit for bit."""
  one, two = records.whole(a, digest), records.whole(b, digest)
  for key in ('results', 'losses', 'diverged', 'learned'):
    assert one[key] == two[key], key
  x, y = records.outcomes(a, digest), records.outcomes(b, digest)
  assert x.equals(y)


def test_a_run_leaves_a_record_and_is_not_computed_again(tmp_path):
  run = small.run()
  retrofit = run.retrofit(schemes.RoPE(schemes.NTK(2)) + schemes.T5())
  assert small.execute(tmp_path, retrofit) == {}
  table = records.load(tmp_path)
  assert len(table) == 2 * 2 * 2  # Runs, seeds, lengths.
  assert set(table['parent']) == {'', 'RoPE()'}
  np.testing.assert_allclose(
    table['token'] + table['order'] + table['retrieval'], 1.0
  )
  record = records.read(tmp_path, retrofit.digest)
  assert record['transfer']['new'] == ['block_0/position/T5']
  assert config.Run.from_dict(record['config']) == retrofit
  stamps = {p: p.stat().st_mtime_ns for p in tmp_path.rglob('*.json')}
  assert small.execute(tmp_path, retrofit) == {}
  assert stamps == {p: p.stat().st_mtime_ns for p in tmp_path.rglob('*.json')}


def test_a_zero_shot_change_to_the_same_scheme_changes_no_answer(tmp_path):
  run = small.run()
  same = run.retrofit(schemes.RoPE(schemes.Linear(1)))
  small.execute(tmp_path, same)
  a = records.outcomes(tmp_path, run.digest)
  b = records.outcomes(tmp_path, same.digest)
  assert a.equals(b)


def gate_examples(run):
  """The fold that decides which seeds count, drawn by its definition."""
  root = jax.random.key(0x06A7E, impl='threefry2x32')
  root = jax.random.fold_in(root, data.examples.word(run.task))
  root = jax.random.fold_in(root, run.train.length)
  number, length = run.evaluate.examples, run.train.length
  assert number <= 64  # One draw.
  batch = run.task.sample(jax.random.fold_in(root, 0), length=length, batch=64)
  return jax.tree.map(lambda x: np.asarray(x)[:number], batch)


def gate_accuracy(workdir, run):
  """Shares of right answers on that fold, by seed, from the saved weights."""
  tell = progress.Progress(1.0, workdir / 'log.txt')
  weights = job.weights(run, workdir, tell)
  batch, net, shares = gate_examples(run), transformer.of(run), {}
  asked = (batch.targets_BxL & ~batch.ends_BxL)[:, 1:]
  for n, seed in enumerate(run.seeds):
    params = jax.tree.map(lambda x, n=n: x[n], weights)
    logits = transformer.predict(net, params, jnp.asarray(batch.tokens_BxL))
    right = np.argmax(logits, axis=-1) == batch.tokens_BxL[:, 1:]
    shares[str(seed)] = right[asked].mean()
  return shares


def test_a_retrofit_is_judged_by_its_root_and_moved_from_its_parent(tmp_path):
  run = small.run(scheme=schemes.T5())
  child = run.retrofit(schemes.NoPE())
  grandchild = child.retrofit(schemes.Sinusoidal() + schemes.T5())
  small.execute(tmp_path, grandchild)
  runs = run, child, grandchild
  one, *others = (records.read(tmp_path, r.digest) for r in runs)
  inside = lambda record: {
    str(r['seed']): r['token'] for r in record['results'] if r['length'] == 12
  }
  assert one['learned'] == gate_accuracy(tmp_path, run)
  assert one['learned'] != inside(one)
  assert [other['learned'] for other in others] == [one['learned']] * 2
  digests = [record['gate_examples'] for record in (one, *others)]
  assert digests == [data.digest(gate_examples(run)), None, None]
  # What was dropped on the way does not come back.
  table = ['block_0/position/T5']
  assert [other['transfer'] for other in others] == [
    {'kept': [], 'new': [], 'dropped': table},
    {'kept': [], 'new': table, 'dropped': []},
  ]


def test_progress_ends_at_the_arithmetic_that_was_promised(tmp_path):
  run = small.run()
  runs = grid.plan([run.retrofit(schemes.NoPE())])
  total = sum(flop_count.run_flops(r) for r in runs)
  record = records.run_directory(tmp_path, run.digest) / 'record.json'
  # From the start, from the last checkpoint, and with nothing to do.
  for _ in range(3):
    with progress.Progress(total, tmp_path / 'log.txt') as tell:
      assert scheduler.execute(scheduler.Launch(runs, tmp_path, tell)) == {}
      assert tell.done == pytest.approx(total)
    if 'resumed' not in (tmp_path / 'log.txt').read_text():
      record.unlink()


def test_checkpoints_are_as_frequent_as_asked(tmp_path, monkeypatch):
  saved, save = [], checkpoint.Checkpoints.save

  def spy(self, step, tree):
    saved.append(step)
    save(self, step, tree)

  monkeypatch.setattr(train_step, 'CHUNK', 5)
  monkeypatch.setattr(checkpoint.Checkpoints, 'save', spy)
  run = small.run(train=small.train_config(steps=33, checkpoint_every=7))
  small.execute(tmp_path, run)
  # The first multiple of 5 after each of 7, 14, 21 and 28; then the end.
  assert saved == [10, 15, 25, 30, 33]


class Stop(Exception):
  """Stands for the process being gone: nothing after it runs."""


@pytest.mark.parametrize('seed', [1, 2])
def test_a_run_stopped_at_a_random_step_ends_bit_identical(
  tmp_path, monkeypatch, seed
):
  monkeypatch.setattr(train_step, 'CHUNK', 5)
  run = small.run(train=small.train_config(steps=33, checkpoint_every=7))
  small.execute(tmp_path / 'whole', run)
  # The first checkpoint is at step 10, the end of the second call.
  stop = random.Random(seed).randrange(3, 7)

  class Dying(progress.Progress):
    calls = 0

    def advance(self, work, label):
      type(self).calls += 1
      if self.calls == stop:
        raise KeyboardInterrupt

  broken = tmp_path / 'broken'
  broken.mkdir()
  with (
    pytest.raises(KeyboardInterrupt),
    Dying(1.0, broken / 'log.txt') as tell,
  ):
    scheduler.execute(scheduler.Launch([run], broken, tell))
  assert records.read(broken, run.digest) is None
  assert small.execute(broken, run) == {}
  assert 'resumed Ordering: RoPE() at step' in (broken / 'log.txt').read_text()
  assert_same_results(tmp_path / 'whole', broken, run.digest)


EXPERIMENT = """
from tests import small
from posexp import schemes

def grid():
  run = small.run(train=small.train_config(
      steps=600, batch=64, checkpoint_every=50))
  yield run.retrofit(schemes.ALiBi())
"""


def test_a_run_killed_from_outside_ends_bit_identical(tmp_path):
  file = tmp_path / 'experiment.py'
  file.write_text(EXPERIMENT)
  command = [sys.executable, '-m', 'posexp', 'run', str(file)]
  root = str(pathlib.Path(__file__).parents[2])
  # Compiling is what takes the time of so few steps.
  quick = {'JAX_DISABLE_MOST_OPTIMIZATIONS': '1'}
  environment = {**os.environ, 'PYTHONPATH': root, **quick}

  def start(workdir):
    return subprocess.Popen(
      [*command, f'--workdir={workdir}'],
      env=environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      start_new_session=True,
      text=True,
    )

  killed = start(tmp_path / 'killed')
  deadline = time.monotonic() + 300
  # Not where a step is still being written.
  while not list(tmp_path.glob('killed/runs/*/checkpoints/step_????????')):
    assert killed.poll() is None and time.monotonic() < deadline
    time.sleep(0.02)
  os.killpg(killed.pid, signal.SIGKILL)
  killed.communicate()
  assert not list((tmp_path / 'killed').rglob('record.json'))
  again, whole = start(tmp_path / 'killed'), start(tmp_path / 'whole')
  _, told = again.communicate(timeout=300)
  assert again.returncode == 0, told
  assert 'resumed Ordering: RoPE() at step' in told
  out, _ = whole.communicate(timeout=300)
  assert whole.returncode == 0 and 'ALiBi' in out
  digests = [p.name for p in (tmp_path / 'whole' / 'runs').iterdir()]
  assert len(digests) == 2
  for digest in digests:
    assert_same_results(tmp_path / 'whole', tmp_path / 'killed', digest)


def test_a_failing_run_is_told_and_the_rest_goes_on(tmp_path):
  good = small.run()
  bad = dataclasses.replace(good, scheme=Broken())
  failures = small.execute(tmp_path, bad, bad.retrofit(schemes.NoPE()), good)
  assert failures[bad.digest] == 'ValueError: this scheme has no rotation'
  assert 'its parent failed' in failures[bad.retrofit(schemes.NoPE()).digest]
  assert records.read(tmp_path, good.digest) is not None
  assert 'failed' in (tmp_path / 'log.txt').read_text()


@dataclasses.dataclass(frozen=True)
class Broken(schemes.Scheme):
  """Fails when it is traced, which no check of a configuration can see."""

  def rotate(self, params, x_BxLxHxE, at, side):
    raise ValueError('this scheme has no rotation')


@dataclasses.dataclass(frozen=True)
class Crashing(schemes.Scheme):
  """Fails in a way that nobody foresaw."""

  def rotate(self, params, x_BxLxHxE, at, side):
    raise RuntimeError('out of luck')


@dataclasses.dataclass(frozen=True)
class Refusing(schemes.Scheme):
  """Says itself what cannot be, which trying again does not change."""

  def rotate(self, params, x_BxLxHxE, at, side):
    raise component.UserError('give Refusing an even width')


def test_what_a_scheme_refuses_is_one_sentence_and_not_tried_again(tmp_path):
  run = small.run(scheme=Refusing())
  with progress.Progress(1.0, tmp_path / 'log.txt') as tell:
    launch = scheduler.Launch([run], tmp_path, tell, retries=3)
    told = scheduler.execute(launch)
  assert told == {run.digest: 'give Refusing an even width'}
  failure = failures.read(records.run_directory(tmp_path, run.digest))
  assert failure['attempts'] == 1 and failure['traceback'] == []
  assert 'Traceback' not in (tmp_path / 'log.txt').read_text()


def test_only_what_nobody_foresaw_leaves_a_traceback(tmp_path):
  crash = small.run(scheme=Crashing())
  foreseen = crash.retrofit(schemes.NoPE())
  assert len(small.execute(tmp_path, foreseen, crash)) == 2
  told, path = (
    records.run_directory(tmp_path, run.digest) / failures.NAME
    for run in (foreseen, crash)
  )
  assert failures.read(told.parent)['traceback'] == []
  lines = failures.read(path.parent)['traceback']
  assert 'RuntimeError: out of luck' in lines
  log = (tmp_path / 'log.txt').read_text()
  assert str(path) in log and str(told) not in log
  # From the scheme's own file on; posexp's way there is in the failure file.
  shown = log[log.index('Traceback') :]
  assert 'in rotate' in shown and 'RuntimeError: out of luck' in shown
  assert 'posexp/launch' not in shown and any('loop.py' in x for x in lines)


def test_a_diverged_run_says_so_in_plain_json(tmp_path):
  wild = small.train_config(learning_rate=1e30, clip=1e30, warmup=0, decay=0.0)
  run = small.run(train=wild)
  assert small.execute(tmp_path, run) == {}
  record = records.whole(tmp_path, run.digest)
  assert set(record['diverged']) == {'3', '5'}
  assert all(0 <= step < 30 for step in record['diverged'].values())
  assert record['losses'] == [[None], [None]]


def test_a_damaged_record_is_named_left_and_the_rest_goes_on(tmp_path):
  good = small.run()
  other = small.run(scheme=schemes.ALiBi())
  path = records.run_directory(tmp_path, other.digest) / 'record.json'
  path.parent.mkdir(parents=True)
  path.write_text('{"digest": "')
  failures = small.execute(tmp_path, other, good)
  assert str(path) in failures[other.digest]
  assert path.read_text() == '{"digest": "'
  with pytest.warns(UserWarning, match='cannot be read'):
    table = records.load(tmp_path)
  assert set(table['scheme']) == {'RoPE()'}


def test_a_lost_parent_checkpoint_is_a_sentence(tmp_path):
  run = small.run()
  small.execute(tmp_path, run)
  shutil.rmtree(records.run_directory(tmp_path, run.digest) / 'checkpoints')
  child = run.retrofit(schemes.NoPE())
  failures = small.execute(tmp_path, child)
  assert 'move that directory away to train it again' in failures[child.digest]


def test_the_record_tells_what_is_behind_a_number(tmp_path):
  task, scheme = tasks.Copy(symbols=16), schemes.T5(buckets=8, max_distance=16)
  run = small.run(task=task, scheme=scheme)
  small.execute(tmp_path, run)
  record = records.whole(tmp_path, run.digest)
  assert record['versions']['jax'] and record['device']['platform']
  assert record['matmul_precision'] == 'highest'
  # A table of 8 buckets for 2 heads in one layer.
  assert record['parameters']['positional'] == 16
  assert record['seconds']['train'] > 0
  assert len(record['losses'][0]) == -(-30 // train_step.CHUNK)
  # Which examples: the same for every run of the task, told by their bytes.
  for length in run.lengths:
    batch = evaluate.examples(task, length, run.evaluate.examples)
    assert record['examples'][str(length)] == data.digest(batch)
  first, second = record['losses']
  assert first != second
  assert json.loads(json.dumps(record)) == record
  assert record['chance'] == {str(n): run.task.chance(n) for n in (12, 24)}
  for n in (12, 24):
    found = record['baselines'][str(n)]
    assert found == evaluate.baselines(run.task, n, 16)
    # With distinct tokens the last of the bag is certain.
    assert run.task.chance(n) < found['bag'] < 1
    assert found['recent'] <= found['bag']
  # Copies of 5 and of 11 tokens, in 16 sequences, by 2 seeds.
  table = records.outcomes(tmp_path, run.digest)
  counts = table.groupby(['length', 'seed', 'example']).size()
  assert len(counts) == 2 * 2 * 16
  assert (counts[12] == 5).all() and (counts[24] == 11).all()


def test_a_run_that_fails_at_its_end_is_counted_once(tmp_path, monkeypatch):
  def fail(*_):
    raise ValueError('no room for the record')

  monkeypatch.setattr(records, 'write', fail)
  run = small.run()
  total = flop_count.run_flops(run)
  with progress.Progress(total, tmp_path / 'log.txt') as tell:
    failures = scheduler.execute(scheduler.Launch([run], tmp_path, tell))
    assert failures == {run.digest: 'ValueError: no room for the record'}
    assert tell.done == pytest.approx(total)


def test_another_arm_is_evaluated_where_it_is_asked_for(tmp_path):
  run = small.run(
    evaluate=config.Evaluate(lengths=(12,), examples=16, diagnose='none')
  )
  twin = tasks.Presence(symbols=16, queries=1, filler=4)
  arm = run.on(
    twin,
    evaluate=config.Evaluate(lengths=(16, 24), examples=16, diagnose='none'),
  )
  assert small.execute(tmp_path, run, arm) == {}
  table = records.load(tmp_path, [arm.digest])
  assert table['length'].tolist() == [16, 16, 24, 24]
  assert set(table['task']) == {str(twin)}
  root = records.read(tmp_path, run.digest)
  assert records.read(tmp_path, arm.digest)['learned'] == root['learned']
  assert '16 (1.33x)' in tables.text(table)
