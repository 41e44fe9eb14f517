"""Runs side by side in one program: the same bits, one compilation, no loss."""

import collections
import contextlib
import dataclasses
import json
import shutil
import signal
import time

import jax
import numpy as np
import pytest

from posexp import schemes
from posexp.launch import grid, locks, scheduler, signals
from posexp.models import compile_counter, memory, mesh
from posexp.results import progress, records
from posexp.runs import config, stacking
from posexp.training import capacity, loop, train_step
from tests import crash, small

pytestmark = pytest.mark.optimised


def rates(*values, **changes):
  """Runs of one seed that differ in numbers of their training alone."""
  more = {'steps': 30, 'checkpoint_every': 10, **changes}
  # What is side by side is training: one length is one program less of each.
  evaluate = config.Evaluate(lengths=(12,), examples=16, diagnose='none')
  return [
    small.run(
      train=small.train_config(learning_rate=rate, decay=10 * rate, **more),
      evaluate=evaluate,
      seeds=(n,),
    )
    for n, rate in enumerate(values)
  ]


def computed(workdir, runs, most, tell=progress.Progress):
  workdir.mkdir(exist_ok=True)
  with tell(1.0, workdir / 'log.txt') as bar, signals.noted():
    planned = grid.plan(runs)
    launch = scheduler.Launch(planned, workdir, bar, retries=0, most=most)
    return scheduler.execute(launch)


@pytest.fixture(scope='module')
def three():
  """Three roots and a retrofit that is adapted, of each of two."""
  roots = rates(1e-3, 3e-3, 1e-2)
  adapt = small.train_config(steps=20, learning_rate=2e-3)
  more = [
    root.retrofit(schemes.RoPE() + schemes.ALiBi(), train=adapt)
    for root in roots[:2]
  ]
  return [*roots, *more]


@pytest.fixture(scope='module')
def alone(three, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('alone')
  assert computed(workdir, three, 1) == {}
  return workdir


def test_what_can_be_side_by_side(three):
  other = small.run(train=small.train_config(warmup=3), seeds=(0,))
  still = three[0].retrofit(schemes.NoPE())
  plan = grid.plan([*three, other, still])
  found = stacking.alike(plan)
  first, second, third, *adapted = three
  for run in three[:3]:
    assert found[run.digest] == (first, second, third)
  assert found[other.digest] == (other,)
  assert found[adapted[0].digest] == tuple(adapted)
  assert still.digest not in found
  roots = found[first.digest]
  both = (first, second)
  assert (
    stacking.pack(first, roots, 2) == stacking.pack(second, roots, 2) == both
  )
  assert stacking.pack(third, roots, 2) == (third,)


@pytest.mark.usefixtures('own_programs')
def test_side_by_side_gives_the_bits_of_alone(three, alone, tmp_path):
  before = collections.Counter(compile_counter.counted)
  begun = time.monotonic()
  assert computed(tmp_path, three, 3) == {}
  elapsed = time.monotonic() - begun
  assert crash.differences(alone, tmp_path) == []
  assert crash.strays(tmp_path) == []
  # Roots are one program, and their retrofits another.
  log = (tmp_path / 'log.txt').read_text()
  assert f'programs made: {compile_counter.since(before)}' in log
  assert (
    compile_counter.counted[compile_counter.TRAINING] - before['training'] == 2
  )
  seconds = records.read(tmp_path, three[2].digest)['seconds']
  assert 0 < seconds['train'] < seconds['total'] < elapsed


@pytest.mark.usefixtures('own_programs')
def test_runs_of_one_stem_are_compiled_once_though_alone(three, tmp_path):
  look = config.Evaluate(lengths=(12, 24), examples=16)
  roots = [dataclasses.replace(run, evaluate=look) for run in three[:3]]
  before = collections.Counter(compile_counter.counted)
  assert computed(tmp_path, roots, 1) == {}
  more = compile_counter.counted - before
  # Lengths of up to 128 tokens share a program of evaluation.
  assert more == {'training': 1, 'evaluation': 1, 'diagnosis': 2}


class Asking(progress.Progress):
  """Asks to stop once there is something to keep."""

  def advance(self, work, label):
    super().advance(work, label)
    signal.raise_signal(signal.SIGTERM)


def test_a_pack_that_is_stopped_goes_on_where_each_run_was(
  three, alone, tmp_path, monkeypatch
):
  monkeypatch.setattr(train_step, 'CHUNK', 10)
  with pytest.raises(signals.Stopped):
    computed(tmp_path, three, 3, Asking)
  kept = sorted(tmp_path.glob('runs/*/checkpoints/step_00000010'))
  assert len(kept) == 3 and not list(tmp_path.glob('runs/*/claim'))
  # As if the process had died between two of them.
  shutil.rmtree(kept[0])
  assert computed(tmp_path, three, 3) == {}
  log = (tmp_path / 'log.txt').read_text()
  assert log.count('at step 10 of 30') == 2
  for run in three:
    mine, same = (records.whole(w, run.digest) for w in (tmp_path, alone))
    assert mine['results'] == same['results']
    # Losses are means over other stretches here.
    np.testing.assert_allclose(
      np.mean(mine['losses']), np.mean(same['losses']), rtol=1e-4
    )
    mine, same = (records.outcomes(w, run.digest) for w in (tmp_path, alone))
    assert mine.equals(same)


def test_what_another_process_has_is_left_to_it(three, alone, tmp_path):
  roots = three[:3]
  directory = records.run_directory(tmp_path, roots[1].digest)
  took = []

  class Watching(progress.Progress):
    def note(self, text):
      super().note(text)
      if text.startswith('done') and not took:
        took.append(text)
        held.close()

  with contextlib.ExitStack() as held:
    held.enter_context(locks.claimed(directory))
    assert computed(tmp_path, roots, 3, Watching) == {}
  assert took and f'{roots[0].name}' in took[0]
  mine, same = (records.outcomes(w, roots[1].digest) for w in (tmp_path, alone))
  assert mine.equals(same)


def test_a_pack_that_fails_is_trained_one_by_one(
  three, alone, tmp_path, monkeypatch
):
  real = loop.train

  def fail(runs, *more):
    if len(runs) > 1:
      raise RuntimeError('too large')
    return real(runs, *more)

  monkeypatch.setattr(loop, 'train', fail)
  assert computed(tmp_path, three[:3], 3) == {}
  assert (
    'alone, as beside others: RuntimeError: too large'
    in (tmp_path / 'log.txt').read_text()
  )
  assert len(list(tmp_path.glob('runs/*/record.json'))) == 3


def test_a_damaged_record_is_the_fault_of_its_run_alone(three, tmp_path):
  first, second, third = three[:3]
  assert computed(tmp_path, [second], 1) == {}
  path = records.run_directory(tmp_path, second.digest) / 'record.json'
  path.write_text('{}')
  assert set(computed(tmp_path, [first, second, third], 3)) == {second.digest}
  log = (tmp_path / 'log.txt').read_text()
  assert 'alone, as beside others' not in log


def test_who_is_trained_beside_a_run_that_kills_is_tried_again(
  three, alone, tmp_path
):
  """A process died twice in a pack that the first run was computed with."""
  roots = three[:3]
  for run, attempt in zip(roots, (2, 0, 0), strict=True):
    directory = records.run_directory(tmp_path, run.digest)
    directory.mkdir(parents=True)
    body = {'launch': 'this one', 'attempt': attempt}
    (directory / locks.NAME).write_text(json.dumps(body))
  with progress.Progress(1.0, tmp_path / 'log.txt') as tell:
    launch = scheduler.Launch(roots, tmp_path, tell, most=3, name='this one')
    found = scheduler.execute(launch)
  assert set(found) == {roots[0].digest}
  assert 'beside it' not in (tmp_path / 'log.txt').read_text()
  for run in roots[1:]:
    mine, same = (records.outcomes(w, run.digest) for w in (tmp_path, alone))
    assert mine.equals(same)


def test_an_accelerator_trains_all_at_once(three, monkeypatch):
  """In one program of them all; here on a CPU that is taken for one."""
  roots = three[:3]
  on = mesh.mesh(1, 8)
  wanted = [losses(one, on) for one in roots]
  monkeypatch.setattr(mesh, 'on_cpu', lambda _: False)
  train_step._programs.cache_clear()
  on = mesh.mesh(3, 8)
  start, advance = train_step.programs(roots[0], on, 10, number=3)
  members = train_step.members(roots, on, 3)
  _, found = advance(start(members), members, np.int32(0))
  np.testing.assert_allclose(
    np.asarray(found), np.concatenate(wanted), rtol=2e-5
  )


def losses(run, on):
  start, advance = train_step.programs(run, on, 10)
  members = train_step.members([run], on)
  return np.asarray(advance(start(members), members, np.int32(0))[1])[:1]


def test_an_accelerator_has_as_many_as_its_memory_holds(three, monkeypatch):
  devices = jax.device_count()
  assert capacity.most(three[0]) == devices  # One seed, and no idle core.
  assert capacity.most(small.run(seeds=tuple(range(2 * devices)))) == 1
  monkeypatch.setattr(mesh, 'on_cpu', lambda _: False)
  assert capacity.most(three[0]) == 1 and capacity.most(three[0], 5) == 5

  def fitting(available):
    capacity.fitting.cache_clear()
    monkeypatch.setattr(memory, 'available', lambda _: available)
    return capacity.most(three[0], 0)

  assert fitting(None) == fitting(1) == 1
  assert fitting(2**31) == pytest.approx(2 * fitting(2**30), abs=1)
  assert fitting(2**30) > 10
