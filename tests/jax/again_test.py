"""Finished runs evaluated again: what is computed, shown and refused."""

import dataclasses
import shutil

import jax
import numpy as np
import pandas as pd
import pytest

from posexp import schemes
from posexp.claims import intervals
from posexp.cli import main
from posexp.launch import exit_codes, grid, reevaluate
from posexp.reports import tables
from posexp.results import records
from posexp.runs import config
from tests import small

RUN = small.run()
RETROFIT = RUN.retrofit(schemes.RoPE(schemes.NTK(2)))
SHORT = small.run(scheme=schemes.Learned(rows=24))


def pretend(plain, digest, name, workdir, like):
  """Records a configuration as finished, with the results of another."""
  record = records.read(like, RUN.digest)
  record |= {'config': plain, 'digest': digest, 'name': name}
  for key in ('format', 'outcomes'):
    del record[key]
  records.write(workdir, record, {})


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  """A work directory with a trained run, a retrofit and one in name only."""
  workdir = tmp_path_factory.mktemp('finished')
  jax.config.update('jax_disable_most_optimizations', True)
  assert small.execute(workdir, RETROFIT) == {}
  jax.config.update('jax_disable_most_optimizations', False)
  pretend(SHORT.to_dict(), SHORT.digest, SHORT.name, workdir, workdir)
  return workdir


@pytest.fixture
def workdir(finished, tmp_path):
  return shutil.copytree(finished, tmp_path / 'w')


def call(*words):
  return main.main(['posexp', 'evaluate', *map(str, words)])


def test_every_run_at_every_length_short_ones_first(finished):
  runs = reevaluate.plan(finished, (48, 20), examples=4, only='RoPE')
  children = [(one.parent, one.lengths, one.evaluate.examples) for one in runs]
  assert children == [
    *((parent, (20,), 4) for parent in (RUN, RETROFIT)),
    *((parent, (48,), 4) for parent in (RUN, RETROFIT)),
  ]
  (windowed,) = reevaluate.plan(finished, (48,), only='*: RoPE()', window=12)
  assert windowed.evaluate == config.Evaluate(
    lengths=(48,), examples=RUN.evaluate.examples, window=12, diagnose='none'
  )
  assert reevaluate.plan(finished, (20,), seeds=(3, 5)) == reevaluate.plan(
    finished, (20,)
  )
  # A run that was evaluated in windows is so again.
  evaluate = dataclasses.replace(RUN.evaluate, window=12)
  run = dataclasses.replace(RUN, evaluate=evaluate)
  assert reevaluate._again(run, 48, None, None).evaluate.window == 12


def test_a_window_as_long_as_the_sequence_is_none():
  for window in (48, 64):
    assert reevaluate._again(RUN, 48, None, window) == reevaluate._again(
      RUN, 48, None, None
    )
  assert reevaluate._again(RUN, 48, None, 47).evaluate.window == 47


def test_one_command_evaluates_what_is_missing(workdir, capsys):
  words = workdir, '--only=RoPE', '--examples=4'
  assert call(*words, '--lengths=48', '--dry_run') == 0
  assert '2 runs' in capsys.readouterr().out
  assert len(records.load(workdir)['digest'].unique()) == 3
  assert call(*words, '--lengths=48') == 0
  first = capsys.readouterr()
  assert first.err.count('done') == 2
  # In the rows of the models.
  assert '48 (4x)' in first.out and '[' not in first.out
  assert first.out.count('RoPE() -> RoPE(NTK(2))') <= 2
  # What was evaluated is not evaluated again, nor are evaluations themselves.
  assert call(*words, '--lengths=48,36') == 0
  assert capsys.readouterr().err.count('done') == 2
  assert call(workdir, '--only=windows', '--lengths=48') == exit_codes.BAD_INPUT
  table = records.load(workdir)
  children = table[table['length'].isin((36, 48))]
  assert len(children) == 2 * 2 * 2 and (children['targets'] == 4).all()
  # The numbers are those of a run that was evaluated there in the first place.
  far = config.Evaluate(lengths=(36, 48), examples=4)
  wide = dataclasses.replace(RETROFIT, evaluate=far)
  assert small.execute(workdir, wide) == {}
  columns = ['seed', 'token', 'order', 'retrieval']
  same = table[(table['parent_digest'] == RETROFIT.digest)]
  expected = records.load(workdir, [wide.digest])
  for length in (36, 48):
    one, two = (x[x['length'] == length] for x in (same, expected))
    np.testing.assert_array_equal(one[columns], two[columns])


@pytest.mark.parametrize(
  ('words', 'sentence'),
  [
    (('{workdir}',), 'needs lengths in tokens: give --lengths=8192,32768'),
    (('{workdir}', '--lengths=a'), "such as 8192,32768, got 'a'"),
    (
      ('{workdir}', '--lengths=4'),
      'at 4 tokens: length must be at least 8, got 4',
    ),
    (
      ('{workdir}', '--lengths=12,48'),
      'Learned(rows=24) at 48 tokens: Learned has 24 rows but a length of 48',
    ),
    (('{workdir}', '--lengths=48', '--only=T5'), "='T5' matches no run (runs"),
    (
      ('{workdir}', '--lengths=48', '--seeds=7'),
      'exactly the seeds 7: give --seeds=3,5, or leave it out',
    ),
    (('{workdir}', '--lengths=48', '--window=1'), 'must be at least 2, got 1'),
    (('{workdir}', '--lengths=48', '--examples=0'), 'at least 1, got 0'),
    (('{empty}', '--lengths=48'), 'no finished run in {empty}: `posexp run'),
    (('/no/such', '--lengths=48'), 'no work directory /no/such'),
    ((), '`posexp evaluate` needs WORKDIR'),
  ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_computed(
  finished, tmp_path, capsys, words, sentence
):
  where = {'workdir': finished, 'empty': tmp_path}
  assert call(*(word.format(**where) for word in words)) == exit_codes.BAD_INPUT
  captured = capsys.readouterr()
  assert sentence.format(**where) in captured.err
  assert captured.err.count('\n') == 1 and not captured.out
  assert len(list(finished.glob('runs/*'))) == 3


def test_a_record_of_another_configuration_is_refused(finished, monkeypatch):
  mine = RUN.digest
  monkeypatch.setattr(config, 'REVISION', 0)
  sentence = f'another version of posexp.* as {mine} is now'
  with pytest.raises(ValueError, match=sentence):
    reevaluate.plan(finished, (48,), only='*: RoPE()')


OWN = """
import dataclasses
from posexp import schemes
from tests import small

@dataclasses.dataclass(frozen=True)
class Mine(schemes.Scheme):
  pass

def grid():
  yield small.run(scheme=Mine())
"""


def test_classes_of_ones_own_are_found_in_their_file(
  finished, tmp_path, capsys
):
  (tmp_path / 'unknown.py').write_text(OWN)
  (run,) = grid.load(str(tmp_path / 'unknown.py')).runs
  pretend(run.to_dict(), run.digest, 'Ordering: Mine()', tmp_path, finished)
  # As in a process that never imported the file.
  type(run.scheme).__module__ = 'forgotten'
  words = tmp_path, '--lengths=48', '--dry_run'
  assert call(*words) == exit_codes.BAD_INPUT
  error = capsys.readouterr().err
  assert "Ordering: Mine(): no Scheme is called 'unknown.Mine'" in error
  assert call(*words, tmp_path / 'unknown.py') == 0
  assert 'Ordering: Mine()' in capsys.readouterr().out


def rows(digest, lengths, targets, **changes):
  """Rows of a run of two seeds that is right by its number of targets."""
  same = dict.fromkeys(records.COLUMNS, 0.5)
  same |= {'digest': digest, 'name': 'O: A()', 'task': 'O()', 'parent': ''}
  same |= {'parent_digest': '', 'trained_length': 8, 'steps': 20, 'gate': 0.99}
  same |= {'scheme': 'A()', 'diverged': -1, 'admitted': True, **changes}
  same['reevaluation'] = not same['steps'] and same['parent'] == same['scheme']
  return [
    {**same, 'seed': seed, 'length': n, 'ratio': n / 8, 'targets': targets}
    | {'token': targets / 1000}
    for n in lengths
    for seed in (0, 1)
  ]


def test_evaluations_join_the_run_whose_weights_they_are_of():
  child = {'parent': 'A()', 'parent_digest': 'a', 'steps': 0}
  windowed = {**child, 'name': 'O: A() in windows of 4'}
  other = {**child, 'name': 'O: A() -> B()', 'scheme': 'B()'}
  of_other = {**other, 'parent_digest': 'b', 'parent': 'B()'}
  table = pd.DataFrame(
    [
      *rows('0', (32, 16, 8), 10, **child),  # Its record comes first by chance.
      *rows('a', (8, 16), 500),
      *rows('1', (16,), 900, **child),
      *rows('b', (8,), 500, **other),
      *rows('2', (64,), 10, **of_other),
      *rows('w', (16,), 10, **windowed),
      *rows('x', (32,), 10, **windowed),
    ]
  )
  joined = intervals.joined(table)
  found = joined[joined['seed'] == 0].set_index(['digest', 'length'])
  assert found['targets'].to_dict() == {
    ('a', 32): 10,
    ('a', 16): 900,
    ('a', 8): 500,
    ('b', 8): 500,
    ('b', 64): 10,
    ('w', 16): 10,
    ('w', 32): 10,
  }
  assert (found.loc['a', 'steps'] == 20).all()
  assert (found.loc['a', 'parent_digest'] == '').all()
  assert (found.loc['b', 'parent_digest'] == 'a').all()
  again_joined = intervals.joined(joined)
  assert again_joined is joined
  lines = tables.text(table).splitlines()
  start = lines.index(next(x for x in lines if x.startswith('accuracy')))
  cells = [line.split() for line in lines[start : start + 6]]
  assert [c[:3] for c in cells[1:4]] == [
    # What counts lies between its least seed and 100 %.
    ['A()', '50.0', '[50,'],
    ['A()', '->', 'B()'],
    ['A()', 'in', 'windows'],
  ]
  counts = next(line for line in lines if line.startswith('(targets'))
  assert counts.split()[3:] == ['500', '10-900', '10', '10']


def test_a_table_of_runs_alone_has_no_counts():
  table = pd.DataFrame(rows('a', (8, 16), 500))
  assert intervals.joined(table) is table
  assert 'targets a seed' not in tables.text(table)


def test_evaluations_have_no_length_but_their_own():
  far = config.Evaluate(lengths=(48,))
  assert RUN.retrofit(RUN.scheme, evaluate=far).lengths == (48,)
  assert RETROFIT.retrofit(schemes.NoPE(), evaluate=far).lengths == (12, 48)
  # Every other run has its trained length too.
  assert small.run(evaluate=far).lengths == (12, 48)
