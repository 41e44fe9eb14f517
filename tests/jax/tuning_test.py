"""Tuned runs: what is tried, which rate is taken, and what is made of it."""

import dataclasses
import shutil

import numpy as np
import pytest

import posexp
from posexp import component, schemes
from posexp.cost import flop_count
from posexp.launch import (
  asked,
  grid,
  ray_executor,
  scheduler,
  status,
  worker_command,
)
from posexp.results import progress, records
from posexp.runs import config, stacking, tuning
from posexp.training import rates
from tests import recorded, small

RATES, SEEDS = (1e-2, 1e-5), (7, 8)
RUN = small.run(train=small.train_config(steps=60))
TUNED = posexp.tuned(RUN, rates=RATES, seeds=SEEDS)
RETROFIT = TUNED.retrofit(schemes.RoPE(schemes.NTK(2)))


def at(rate, run=RUN):
  """The run at a rate of its own, without any tuning."""
  train = dataclasses.replace(run.train, learning_rate=rate)
  return dataclasses.replace(run, train=train)


def test_a_trial_differs_in_its_rate_its_seeds_and_its_evaluation():
  slow, fast = TUNED.trials
  for trial, rate in ((slow, 1e-5), (fast, 1e-2)):
    evaluation = dataclasses.replace(RUN.evaluate, lengths=(12,))
    assert trial == dataclasses.replace(
      at(rate), seeds=SEEDS, evaluate=evaluation, trial=True
    )
    assert trial.lengths == (12,) and not trial.diagnosed
  look = dataclasses.replace(RUN.evaluate, diagnose='all')
  looked = dataclasses.replace(TUNED, evaluate=look)
  assert [trial.diagnosed for trial in looked.trials] == [(), ()]
  assert RUN.trials == () == RETROFIT.trials
  assert (TUNED.before, RETROFIT.before) == (TUNED.trials, (TUNED,))
  assert grid.plan([RETROFIT, RUN]) == (slow, fast, TUNED, RETROFIT, RUN)


def test_a_tuned_run_is_another_run_with_another_name():
  assert len({RUN.digest, TUNED.digest, *(t.digest for t in TUNED.trials)}) == 4
  again = posexp.tuned(RUN, rates=RATES[::-1], seeds=SEEDS)
  assert again.digest == TUNED.digest
  names = [run.name for run in grid.plan([RETROFIT])]
  assert names == [
    'Ordering: RoPE() [trial at 1e-05]',
    'Ordering: RoPE() [trial at 0.01]',
    'Ordering: RoPE() [tuned]',
    'Ordering: RoPE() [tuned] -> RoPE(NTK(2))',
  ]
  for run in (TUNED, RETROFIT, *TUNED.trials):
    assert config.Run.from_dict(run.to_dict()) == run


def test_one_program_trains_the_trials_and_the_run():
  runs = RUN, TUNED, *TUNED.trials
  assert len({stacking.split(run)[0] for run in runs}) == 1


BAD = {
  'one rate': (
    lambda: posexp.tuned(RUN, rates=(1e-3,)),
    r'two or more different learning rates, got \(0.001,\): .* no tuning',
  ),
  'no rate': (lambda: posexp.tuned(RUN, rates=()), r'learning rates, got \(\)'),
  'the same rate twice': (
    lambda: posexp.tuned(RUN, rates=(1e-3, 1e-2, 1e-3)),
    'two or more different learning rates',
  ),
  'a rate of 0': (
    lambda: posexp.tuned(RUN, rates=(0.0, 1e-3)),
    'rates of Tuning must be above 0, got 0: write learning rates',
  ),
  'a rate that is text': (
    lambda: posexp.tuned(RUN, rates=('fast', 1e-3)),
    "rates of Tuning must be a number, got 'fast'",
  ),
  'no seed': (
    lambda: posexp.tuned(RUN, rates=RATES, seeds=()),
    r'seeds of Tuning must be one or more different numbers, got \(\)',
  ),
  'a seed of the run': (
    lambda: posexp.tuned(RUN, rates=RATES, seeds=(4, 5)),
    r'none of the run, got 5 among \(4, 5\) and among \(3, 5\)',
  ),
  'a retrofit': (
    lambda: posexp.tuned(RUN.retrofit(schemes.NoPE()), rates=RATES),
    r'NoPE\(\) takes over the weights of Ordering: RoPE\(\): give posexp.tuned',
  ),
  'a retrofit of a trial': (
    lambda: TUNED.trials[0].retrofit(schemes.NoPE()),
    r'\[trial at 1e-05\] only tells which .*: retrofit the run that',
  ),
  'a trial that is tuned': (
    lambda: dataclasses.replace(TUNED, trial=True),
    'leave out trial=True',
  ),
  'seeds from the command line': (
    lambda: grid.change([RETROFIT], ['seeds=7,9']),
    r'got 7 among \(7, 8\) and among \(7, 9\)',
  ),
  'the rate from the command line': (
    lambda: grid.change([RETROFIT], ['train.learning_rate=1e-3']),
    'train.learning_rate concerns no run of the grid: .* set tuning.rates',
  ),
  'tuning of a grid without it': (
    lambda: grid.change([RUN], ['tuning.rates=1e-3,1e-2']),
    r'tuning.rates concerns no run .*: none is tuned, .*posexp.tuned\(run',
  ),
}


@pytest.mark.parametrize(('make', 'sentence'), BAD.values(), ids=list(BAD))
def test_what_cannot_be_tuned_is_a_sentence(make, sentence):
  with pytest.raises(component.UserError, match=sentence):
    make()


def test_default_seeds_are_of_no_run():
  run = dataclasses.replace(RUN, seeds=tuple(range(100)))
  assert posexp.tuned(run, rates=RATES).trials[0].seeds == tuning.SEEDS


def test_changes_reach_what_they_concern():
  runs = grid.plan([RETROFIT, RUN])
  changed = grid.change(runs, ['train.steps=9', 'seeds=0', 'model.layers=2'])
  *trials, tuned, retrofit, plain = changed
  assert [run.train.steps for run in changed] == [9, 9, 9, 0, 9]
  assert {run.model.layers for run in changed} == {2}
  assert (tuned.seeds, retrofit.seeds, plain.seeds) == ((0,),) * 3
  assert tuple(trials) == tuned.trials and trials[0].seeds == SEEDS

  changed = grid.change(runs, ['train.learning_rate=1', 'tuning.rates=2.,3'])
  *trials, tuned, retrofit, plain = changed
  assert [run.train.learning_rate for run in trials] == [2, 3]
  assert plain == at(1.0)
  assert tuned.train == retrofit.parent.train == TUNED.train

  settings = ['tuning=None', 'train.learning_rate=1']
  plain, retrofit = grid.change([RETROFIT], settings)
  assert plain == at(1.0) and retrofit.parent == plain


def test_a_selection_brings_the_trials_and_shows_none():
  runs = grid.plan([RETROFIT, RUN])
  assert grid.select(runs, 'NTK') == runs[:4]
  assert grid.select(runs, '*RoPE()') == (RUN,)
  with pytest.raises(component.UserError) as raised:
    grid.select(runs, 'trial')
  assert 'tuned' in str(raised.value) and '[trial' not in str(raised.value)


def test_an_estimate_counts_the_trials(monkeypatch):
  monkeypatch.setattr(flop_count, 'matmul_rate', lambda *_: 4e9)
  runs = grid.plan([RETROFIT])
  text = grid.estimate(runs)
  total = sum(flop_count.run_flops(run) for run in runs)
  assert (
    f'4 runs, 2 of them trials of a learning rate, {total / 1e12:.1f}' in text
  )
  row = next(n for n in text.splitlines() if 'trial at 0.01' in n)
  assert row.split()[-5:-2] == ['12', '7,8', f'{0:.2f}']
  assert 'trial' not in grid.estimate([RUN])


def test_nothing_is_asked_of_trials(tmp_path):
  # The retrofit and its parent; a run that is not tuned is not compared with
  # one that is.
  runs = grid.plan([RETROFIT, at(1e-3)])
  planned = asked.contrasts(tmp_path / 'mine.py', object(), runs, runs)
  of_trials = {trial.digest for trial in TUNED.trials}
  assert len(planned) == 1
  assert not of_trials & {digest for c in planned for digest in c.digests}


def finish(workdir, run, learned, diverged=()):
  """Record a run by hand: what each seed scored on the examples of the gate."""
  body = recorded.record(run.digest, run.name, task=str(run.task))
  seeds = [str(seed) for seed in run.seeds]
  rows = [row | {'seed': seed} for row in body['results'] for seed in run.seeds]
  body |= {
    'config': run.to_dict(),
    'learned': dict(zip(seeds, learned, strict=True)),
    'diverged': {seed: 4 if seed in diverged else -1 for seed in seeds},
    'results': rows,
  }
  records.write(workdir, body, recorded.outcomes())


@pytest.mark.parametrize(
  ('slow', 'fast', 'diverged', 'chosen'),
  [
    ((0.6, 0.8), (0.5, 0.8), (), 1e-5),
    ((0.6, 0.8), (0.9, 0.6), (), 1e-2),
    # The mean decides, and not the best seed.
    ((0.5, 0.6), (1.0, 0.0), (), 1e-5),
    # Equal means, in another order and not quite equal as floats are summed.
    ((0.1, 0.7), (0.7, 0.1), (), 1e-5),
    # A seed that diverged scores nothing, whatever it would.
    ((0.4, 0.5), (0.9, 0.9), ('7', '8'), 1e-5),
    ((0.4, 0.5), (0.9, 0.95), ('7',), 1e-2),
    # Neither does one whose accuracy was no number.
    ((0.4, 0.5), (0.85, float('nan')), (), 1e-5),
  ],
)
def test_the_best_mean_is_taken(slow, fast, diverged, chosen, tmp_path):
  one, other = TUNED.trials
  finish(tmp_path, one, slow)
  finish(tmp_path, other, fast, diverged)
  choice = rates.choose(TUNED, tmp_path)
  assert choice.rate == rates.of(TUNED, tmp_path) == chosen
  assert choice.tried['1e-05'] == {'7': slow[0], '8': slow[1]}
  scores = [0.0 if s in diverged else a for s, a in zip('78', fast)]
  assert choice.tried['0.01'] == dict(zip('78', np.nan_to_num(scores)))
  assert choice.trials == {'1e-05': one.digest, '0.01': other.digest}
  assert rates.of(RUN, tmp_path) == RUN.train.learning_rate


def test_a_trial_that_is_missing_is_a_sentence(tmp_path):
  finish(tmp_path, TUNED.trials[0], (0.5, 0.5))
  with pytest.raises(records.DamagedRecord, match=r'at 0.01\] has no record'):
    rates.choose(TUNED, tmp_path)


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  """With a retrofit of a tuned run, and all that it needs."""
  path = tmp_path_factory.mktemp('tuned')
  assert small.execute(path, RETROFIT) == {}
  return path


def test_a_tuned_run_is_the_run_at_the_rate_that_its_trials_chose(workdir):
  means, tried = {}, {}
  for trial in TUNED.trials:
    record = records.read(workdir, trial.digest)
    assert set(record['diverged'].values()) == {-1}
    rate = trial.train.learning_rate
    tried[str(rate)] = record['learned']
    means[rate] = np.mean(list(record['learned'].values()))
  assert means[1e-2] > means[1e-5]  # Or it is the smaller by default.
  record = records.whole(workdir, TUNED.digest)
  digests = [trial.digest for trial in TUNED.trials]
  assert record['tuned'] == {
    'rate': 1e-2,
    'tried': tried,
    'trials': dict(zip(('1e-05', '0.01'), digests)),
  }
  # Bit for bit what the rate gives without any choice.
  plain = at(1e-2)
  assert small.execute(workdir, plain) == {}
  same = records.whole(workdir, plain.digest)
  for name in ('losses', 'results', 'learned', 'gate_examples'):
    assert record[name] == same[name], name
  one, other = (records.outcomes(workdir, r.digest) for r in (TUNED, plain))
  assert one.equals(other)
  # A retrofit has it from its root.
  moved = records.read(workdir, RETROFIT.digest)
  for name in ('tuned', 'learned'):
    assert moved[name] == record[name]


def test_trials_are_in_no_table_and_are_counted(workdir):
  names = set(records.load(workdir)['name'])
  assert {n.split(': ')[1] for n in names} >= {
    'RoPE() [tuned]',
    'RoPE() [tuned] -> RoPE(NTK(2))',
  }
  assert not [name for name in names if 'trial' in name]
  asked_for = [run.digest for run in grid.plan([RETROFIT])]
  table = records.load(workdir, asked_for)
  assert set(table['digest']) == {TUNED.digest, RETROFIT.digest}
  assert table['tuned'].all() and set(table['rate']) == {1e-2}
  every = records.load(workdir, asked_for, trials=True)
  trials = every[every['digest'].isin([t.digest for t in TUNED.trials])]
  assert set(trials['length']) == {12} and not trials['tuned'].any()
  assert set(trials['rate']) == set(RATES)
  states = {state.digest: state.kind for state in status.states(workdir)}
  assert {states[digest] for digest in asked_for} == {status.DONE}


def test_what_is_interrupted_goes_on_at_the_rate_that_was_chosen(
  workdir, tmp_path
):
  path = tmp_path / 'again'
  shutil.copytree(workdir, path)
  expected = records.whole(path, TUNED.digest)
  directory = records.run_directory(path, TUNED.digest)
  (directory / 'record.json').unlink()
  shutil.rmtree(directory / 'checkpoints' / 'step_00000060')
  trials = {
    trial.digest: records.read(path, trial.digest) for trial in TUNED.trials
  }
  assert small.execute(path, TUNED) == {}
  assert 'resumed Ordering: RoPE() [tuned] at step 50 of 60' in (
    path / 'log.txt'
  ).read_text('utf-8')
  found = records.whole(path, TUNED.digest)
  for name in ('losses', 'results', 'tuned'):
    assert found[name] == expected[name]
  assert trials == {d: records.read(path, d) for d in trials}


def test_beside_others_each_has_its_own_rate(workdir, tmp_path):
  for trial in TUNED.trials:
    shutil.copytree(
      records.run_directory(workdir, trial.digest),
      records.run_directory(tmp_path, trial.digest),
    )
  other = at(1e-3)
  runs = [*grid.plan([TUNED]), at(1e-2), other]
  with progress.Progress(1.0, tmp_path / 'log.txt') as tell:
    launch = scheduler.Launch(runs, tmp_path, tell, retries=0, most=3)
    assert scheduler.execute(launch) == {}
  tuned, same, slower = (
    records.whole(tmp_path, run.digest) for run in (TUNED, at(1e-2), other)
  )
  assert tuned['losses'] == same['losses'] != slower['losses']
  assert tuned['seconds']['first_chunk'] == same['seconds']['first_chunk']


def test_a_run_whose_trial_failed_says_so(tmp_path, monkeypatch):
  def fail(run, *_):
    raise ValueError('no weights')

  monkeypatch.setattr(scheduler.job, 'compute', fail)
  failures = small.execute(tmp_path, TUNED)
  assert failures[TUNED.digest] == (
    'its trial failed: Ordering: RoPE() [trial at 1e-05]'
  )
  assert len(failures) == 3


def test_a_worker_of_a_tuned_run_has_its_trials(monkeypatch):
  monkeypatch.setenv(worker_command.ONLY, TUNED.digest)
  assert worker_command.share(grid.plan([RETROFIT, RUN])) == (
    *TUNED.trials,
    TUNED,
  )


def test_a_task_of_ray_waits_for_those_of_the_trials(tmp_path, monkeypatch):
  submitted = {}

  class Fake:
    """What of Ray submits a task; a reference is the digest of its run."""

    def remote(self, task):
      assert task is ray_executor.work
      return self

    def options(self, **_):
      class Task:
        def remote(self, command, *before):
          digest = command.environment[worker_command.ONLY]
          submitted[digest] = before
          return digest

      return Task()

  monkeypatch.setattr(ray_executor, 'library', Fake)
  runs = grid.plan([RETROFIT, RUN])
  with progress.Progress(1.0, tmp_path / 'log.txt') as tell:
    launch = scheduler.Launch(runs, tmp_path, tell, argv=('run', 'mine.py'))
    ray_executor._Tasks(launch, {'CPU': 1.0}).start()
  slow, fast = (trial.digest for trial in TUNED.trials)
  assert submitted == {
    slow: (),
    fast: (),
    TUNED.digest: (slow, fast),
    RETROFIT.digest: (TUNED.digest,),
    RUN.digest: (),
  }
