"""Studies end to end: planned, run by one command, interrupted, judged."""

import json
import re

import numpy as np
import pytest

import posexp
from posexp import schemes
from posexp.cli import main
from posexp.evaluation import evaluate
from posexp.inspect import mechanisms
from posexp.launch import study_runs
from posexp.reports import document, memo
from posexp.results import records
from posexp.runs import config, diff
from posexp.studies import evidence, plan

FILE = """
import functools
import posexp
from posexp import schemes, tasks
from posexp.launch import study_runs, study_sizes

TASK = tasks.Mixture(tuple(
  tasks.Ordering(symbols=16, queries=1, filler=4) for _ in study_sizes.TASKS
))
SIZES = {
  name: study_sizes.Size(
    task=TASK,
    model=posexp.Model(layers=1, width=16, heads=2),
    train=posexp.Train(length=12, steps=steps, batch=8, warmup=1),
    adapt=posexp.Train(length=24, steps=2, batch=8, warmup=1),
    factor=2,
    stands_for=2048,
    seeds=(0, 1),
    tokens=384,
    timed=24,
    minutes=0.01,
    transfers=('Nothing.',),
  )
  for name, steps in (('small', 2), ('full', 3))
}


def study(size):
  of = SIZES[size]
  plain = schemes.RoPE()
  root = of.root(plain)
  make = functools.partial(study_runs.retrofits, root, of, 'base 10,000')
  parts = [
    *make('no change', plain),
    *make('T5', plain + study_sizes.learned_bias(of)),
  ]
  return study_runs.planned(
    parts,
    of,
    kind='choice',
    size=size,
    question='Which?',
    command='posexp run small_study.py',
    untested=('Everything.',),
  )
"""


@pytest.fixture(scope='module')
def file(tmp_path_factory):
  path = tmp_path_factory.mktemp('study') / 'small_study.py'
  path.write_text(FILE)
  return str(path)


def assert_admitted_by_task(workdir, study):
  """Accuracies by task add up to what a seed is admitted by."""
  records_of = {c: records.read(workdir, c.digest) for c in study.cells}
  root = records_of[study.cells[0]]
  run = config.Run.from_dict(root['config'])
  number = run.evaluate.number(12)
  batch = evaluate.examples(run.task, 12, number, evaluate.GATE_FOLD)
  asked = batch.targets_BxL & ~batch.ends_BxL
  targets_K = np.bincount(batch.strata['task'][asked])
  assert len(targets_K) == len(study.tasks) and targets_K.all()
  for seed, accuracy in root['learned'].items():
    shares = root['learned_by_task'][seed]
    assert list(shares) == ['0', '1', '2', '3', '4']
    mean = np.average(list(shares.values()), weights=targets_K)
    np.testing.assert_allclose(accuracy, mean, rtol=1e-12)
  for name in ('learned', 'learned_by_task', 'gate'):
    assert all(r[name] == root[name] for r in records_of.values())


def test_a_study_runs_by_one_command_to_its_memo(file, tmp_path, capsys):
  workdir = tmp_path / 'work'
  command = ['posexp', 'run', file, f'--workdir={workdir}']
  assert main.main(command) == 0
  said, warned = capsys.readouterr()
  assert str(workdir / 'memo.html') in said
  assert 'With 2 seeds the study cannot claim a gain (from 4 on)' in warned
  study = plan.read(workdir)
  assert [c.label for c in study.cells] == ['root', 'no change', 'T5', 'T5']
  assert study.lookups == {'root': (0, 0), 'no change': (0, 0), 'T5': (12, 24)}
  assert study.adaptation == (
    '2 steps of 8 sequences of 24 tokens, 384 tokens a seed, all weights, '
    'learning rate 0.001'
  )
  found = evidence.load(workdir, study)
  assert not found.missing
  # Five tasks at two lengths, two seeds; nothing was learned in two steps.
  assert len(found.cells) == 4 * 5 * 2 * 2
  assert not found.cells['admitted'].any()
  assert set(found.collapse['digest']) == {c.digest for c in study.cells}
  assert 'not admitted' in (workdir / 'memo.md').read_text()
  assert_admitted_by_task(workdir, study)
  # As if all had been.
  good = found._replace(cells=found.cells.assign(admitted=True))
  blocks = list(mechanisms.blocks(good))
  assert [b.text for b in blocks if isinstance(b, document.Heading)] == [
    'What rotations encode, and what scaling does to them',
    'What each bias does to neighbouring distances',
    'How much a logit changes per token of distance',
    'What the heads do',
  ]
  # Again: nothing is computed twice, and the memo is the same but for dates.
  before = sorted(workdir.rglob('record.json')), sorted(workdir.glob('meas*/*'))
  text = (workdir / 'memo.md').read_text()
  assert main.main(command) == 0
  after = sorted(workdir.rglob('record.json')), sorted(workdir.glob('meas*/*'))
  assert before == after
  assert (workdir / 'memo.md').read_text() == text
  capsys.readouterr()
  assert main.main(['posexp', 'memo', str(workdir)]) == 0
  assert memo.answer(found) in capsys.readouterr().out
  # Of another size it is refused before anything is computed.
  assert main.main([*command, '--size=full']) == 2
  error = capsys.readouterr().err
  assert "size 'small', and this is a choice study of size 'full'" in error
  assert '--workdir' in error
  assert len(records.read_all(workdir)) == 4


def test_the_size_of_a_study_is_checked(file, capsys, tmp_path):
  for words, sentence in (
    (['--size=large'], "'large'"),
    (['--set=train.steps=3'], '--set would make another study'),
    (['--seeds=1'], '--seeds would make another study'),
  ):
    assert main.main(['posexp', 'run', file, *words]) == 2
    assert sentence in capsys.readouterr().err
  plain = tmp_path / 'plain.py'
  plain.write_text('def grid(): pass\n')
  assert main.main(['posexp', 'run', str(plain), '--size=full']) == 2
  assert '--size=full is for a study' in capsys.readouterr().err


@pytest.mark.parametrize('name', ('regression', 'choice'))
@pytest.mark.parametrize('size', ('small', 'full'))
def test_published_studies_are_planned(name, size, capsys):
  """Every cell once, from one set of weights a regime, adapted alike."""
  from posexp.launch import grid

  planned = grid.load(f'experiments/study_{name}.py', size).planned
  study, runs = planned.study, planned.runs
  assert study.kind == name and study.size == size
  assert len(set(study.cells)) == len(runs)
  roots = {run.root for run in runs}
  assert len(roots) == len(study.regimes)
  assert study.target // study.trained_length == 8 - 4 * (name == 'choice')
  for cell, run in zip(study.cells, runs):
    assert cell.digest == run.digest
    assert run.seeds == runs[0].seeds and run.task == runs[0].task
    if (cell.label, cell.schedule) != ('bias B', 'zero-shot'):
      assert (cell.schedule == 'trained') == (run.parent is None)
    assert bool(run.parent and run.train.steps) == (cell.schedule == 'adapted')
    assert run.train.length == (
      study.target if cell.schedule == 'adapted' else study.trained_length
    )
  adapted = {run.train for run in runs if run.parent and run.train.steps}
  assert len(adapted) == 1
  timed = {str(scheme) for scheme in planned.question.compared}
  first = [c for c in study.cells if c.regime == study.regimes[0]]
  assert timed == {
    str(run.scheme)
    for cell, run in zip(study.cells, runs)
    if cell in first and cell.schedule == 'adapted'
  }


def test_one_factor_is_changed_in_each_step_of_the_two_by_two():
  from posexp.launch import grid

  planned = grid.load('experiments/study_regression.py', 'small').planned
  found = {
    (c.regime, c.label, c.schedule): run
    for c, run in zip(planned.study.cells, planned.runs)
  }
  regime = planned.study.regimes[0]
  at = lambda label: found[regime, label, 'zero-shot'].changes
  how = 'adapted: 500 steps at 32 to 256'
  assert at('base scaling') == ('frequencies of RoPE: Law() -> NTK(8)',)
  assert at('bias A') == ('adds ALiBi()',)
  assert at('deployed A') == (*at('base scaling'), *at('bias A'))
  assert found[regime, 'root', 'adapted'].changes == (how,)
  assert found[regime, 'interpolation B', 'adapted'].changes == (
    'frequencies of RoPE: Law() -> Linear(8)',
    'adds T5(max_distance=256)',
    how,
  )
  # A table of zeros changes no answer: the run without it stands for it.
  assert (
    found[regime, 'bias B', 'zero-shot'] == found[regime, 'root', 'trained']
  )
  for option in ('deployed', 'interpolation', 'by parts', 'YaRN'):
    run = found[regime, f'{option} B', 'zero-shot']
    scheme = found[regime, f'{option} B', 'adapted'].scheme
    assert run.scheme == diff.without(scheme, schemes.T5)


def test_what_a_bias_looks_up_grows_with_the_keys():
  shape = posexp.Model(layers=1, width=16, heads=2)
  table = schemes.T5(buckets=8, max_distance=16)
  for scheme, expected in (
    (schemes.RoPE() + table, [5, 40]),
    (table + schemes.T5(), [10, 80]),
    (schemes.RoPE(), [0, 0]),
    (schemes.ALiBi(), [0, 0]),
    # The weights of a head's network, whatever the length.
    (schemes.FIRE(), [33, 33]),
  ):
    assert [study_runs.lookups(scheme, shape, n) for n in (5, 40)] == expected


def test_the_plan_in_the_work_directory_is_plain(file, tmp_path):
  from posexp.launch import grid

  planned = grid.load(file).planned
  plan.write(tmp_path, planned.study)
  body = json.loads((tmp_path / 'study.json').read_text())
  assert not re.search('/|object at', json.dumps(body))
