"""Records as tables: a row a seed and length, or a row a target."""

import numpy as np
import pandas as pd
import pytest

from posexp.claims import intervals
from posexp.results import records
from tests.recorded import (
  LENGTHS,
  SEEDS,
  A,
  B,
  cut,
  outcomes,
  record,
  write,
)


def test_load_gives_a_row_a_seed_and_length(tmp_path):
  write(tmp_path)
  write(
    tmp_path,
    digest=B,
    name='Ordering: RoPE() -> NoPE()',
    parent='RoPE()',
    parent_digest=A,
  )
  table = records.load(tmp_path)
  assert tuple(table) == records.COLUMNS
  assert len(table) == 8
  assert table['digest'].tolist() == [A] * 4 + [B] * 4
  first = table[:4]
  assert first['length'].tolist() == [8, 8, 16, 16]
  assert first['ratio'].tolist() == [1.0, 1.0, 2.0, 2.0]
  assert first['seed'].tolist() == [3, 5, 3, 5]
  assert first['token'].tolist() == [1.0, 0.5, 1.0, 0.5]
  assert first['chance'].tolist() == [0.5, 0.5, 0.25, 0.25]
  assert first['bag'].tolist()[:2] == [0.5, 0.5]
  assert first['bag'].isna().tolist() == [False, False, True, True]
  assert first['recent'].isna().all()
  assert first['diverged'].tolist() == [-1, 12, -1, 12]
  assert first['admitted'].tolist() == [True, False, True, False]
  assert (first[['parameters', 'steps']] == [1234, 20]).all(axis=None)
  assert first['end'].isna().all() and first['end'].dtype == np.float64
  assert (first['parent'] == '').all() and (first['parent_digest'] == '').all()
  assert (table[4:]['parent'] == 'RoPE()').all()
  total = table[['token', 'order', 'retrieval']].sum(axis=1)
  np.testing.assert_allclose(total, 1, rtol=0, atol=1e-12)


def test_the_accuracy_of_an_admitted_seed_is_not_cut_at_the_gate(tmp_path):
  made = record(learned={'3': 0.992, '5': 0.988})
  # By chance, the seed that learned does worse where results are from.
  for row in made['results']:
    row['token'] = {3: 0.96, 5: 0.999}[row['seed']]
  records.write(tmp_path, made, outcomes())
  table = records.load(tmp_path)
  assert table['admitted'].tolist() == [True, False, True, False]
  (cell,) = intervals.summarize(table[table['length'] == 8]).to_dict('records')
  assert (cell['n_admitted'], cell['n_seeds']) == (1, 2)
  assert cell['token'] == 0.96 < cell['gate']


def test_trials_are_no_results_and_a_tuned_run_says_its_rate(tmp_path):
  config = record()['config']
  steps = {'steps': 20, 'learning_rate': 0.25}
  root = {**config, 'train': steps, 'parent': None}
  write(tmp_path, digest='c' * 16, config={**root, 'trial': True})
  write(tmp_path, digest='d' * 16, config={**root, 'trial': False})
  tuned = {'rate': 0.5, 'tried': {}, 'trials': {'0.5': 'c' * 16}}
  write(tmp_path, config={**root, 'tuning': {}}, tuned=tuned)
  child = {**root, 'train': {'steps': 4, 'learning_rate': 2.0}, 'parent': root}
  names = {'parent': 'RoPE()', 'name': 'Ordering: RoPE() -> NoPE()'}
  write(tmp_path, digest=B, config=child, tuned=tuned, **names)
  write(tmp_path, digest='e' * 16, config=child, **names)
  write(tmp_path, digest='f' * 16)  # Of a version that had none of it.
  runs = records.load(tmp_path).drop_duplicates('digest').set_index('digest')
  assert runs['tuned'].to_dict() == {
    A: True,
    B: True,
    'd' * 16: False,
    'e' * 16: False,
    'f' * 16: False,
  }
  # The root's, also of a run that is adapted at another.
  rates = {A: 0.5, B: 0.5, 'd' * 16: 0.25, 'e' * 16: 0.25}
  assert runs['rate'].dropna().to_dict() == rates
  assert records.load(tmp_path, ['c' * 16, A])['digest'].unique() == [A]
  assert len(records.read_all(tmp_path, trials=True)) == 6
  every = records.load(tmp_path, ['c' * 16], trials=True)
  assert set(every['rate']) == {0.25} and not every['tuned'].any()


def test_the_gate_is_at_99_percent(tmp_path):
  write(tmp_path, learned={'3': 0.99, '5': 0.9899999})
  table = records.load(tmp_path)
  assert table.groupby('seed')['admitted'].all().to_dict() == {
    3: True,
    5: False,
  }


def test_a_task_may_have_a_gate_of_its_own(tmp_path):
  write(tmp_path, gate=0.4, learned={'3': 0.4, '5': 0.39})
  table = records.load(tmp_path)
  assert (table['gate'] == 0.4).all()
  assert table['admitted'].tolist() == [True, False, True, False]


def test_load_keeps_the_order_that_is_asked_for(tmp_path):
  for digest, name in (('a', 'z'), ('b', 'y'), ('c', 'x')):
    write(tmp_path, digest=digest * 16, name=name)
  assert records.load(tmp_path)['name'].unique().tolist() == ['x', 'y', 'z']
  digests = [B, 'd' * 16, A, B]
  # Damage to what is not asked for is no warning, or this would be an error.
  cut(tmp_path / 'runs' / ('c' * 16) / 'record.json')
  table = records.load(tmp_path, digests)
  assert table['name'].unique().tolist() == ['y', 'z']
  assert len(table) == 8


def test_an_empty_table_has_the_columns_and_their_types(tmp_path):
  empty = records.load(tmp_path)
  assert empty.empty and tuple(empty) == records.COLUMNS
  write(tmp_path)
  (tmp_path / 'runs' / '.DS_Store').touch()
  (tmp_path / 'runs' / (B)).mkdir()
  full = records.load(tmp_path)
  pd.testing.assert_series_equal(empty.dtypes, full.dtypes)
  assert not empty['admitted'].any()


@pytest.mark.parametrize('digests', [None, [A]])
def test_no_work_directory_is_a_sentence(tmp_path, digests):
  with pytest.raises(ValueError, match=r'no work directory .*nowhere: give'):
    records.load(tmp_path / 'nowhere', digests)


def test_outcomes_are_a_row_a_target(tmp_path):
  write(tmp_path)
  table = records.outcomes(tmp_path, A)
  assert list(table) == [
    *('length', 'seed', 'example', 'gap', 'side', 'kind', 'nats')
  ]
  assert len(table) == len(LENGTHS) * len(SEEDS) * 4
  one = table[(table['length'] == 16) & (table['seed'] == 5)]
  assert one['kind'].tolist() == [0, 1, 2, 0]
  assert one['example'].tolist() == [0, 0, 1, 1]
  assert one['gap'].tolist() == [1, 1, 2, -1]
  assert one['nats'].tolist() == [4, 5, 6, 7]


def test_strata_are_shares_of_the_targets_that_have_one(tmp_path):
  write(tmp_path)
  table = records.strata(tmp_path, A, 'gap')
  assert list(table) == [
    *('length', 'seed', 'gap', 'token', 'order', 'retrieval', 'nats', 'targets')
  ]
  one = table[(table['length'] == 8) & (table['seed'] == 5)]
  assert one.iloc[:, 2:].to_numpy().tolist() == [
    [1, 0.5, 0.5, 0, 4.5, 2],
    [2, 0, 0, 1, 6, 1],
  ]
  several = records.strata(tmp_path, A, ['gap', 'side'])
  one = several[(several['length'] == 8) & (several['seed'] == 5)]
  assert one[['gap', 'side']].to_numpy().tolist() == [[1, 0], [1, 1], [2, 0]]
  assert one['order'].tolist() == [0, 1, 0]


def test_a_run_that_is_its_parent_evaluated_again_is_marked(tmp_path):
  still = {'steps': 0}
  root = {'scheme': 'RoPE()', 'task': 'Ordering()', 'train': {'steps': 20}}
  configs = {
    'root': root,
    'evaluation': root | {'parent': root, 'train': still},
    'retrofit': root | {'parent': root, 'train': still, 'scheme': 'NoPE()'},
    'adapted': root | {'parent': root},
    'transfer': root | {'parent': root, 'train': still, 'task': 'Copy()'},
  }
  for n, (name, plain) in enumerate(configs.items()):
    config = plain | {'seeds': list(SEEDS)}
    write(tmp_path, digest=f'{n}' * 16, name=name, config=config)
  table = records.load(tmp_path)
  assert set(table.loc[table['reevaluation'], 'name']) == {'evaluation'}


def test_a_model_that_gives_no_probabilities_has_no_nats(tmp_path):
  nats = np.full((2, 4), np.nan, np.float32)
  arrays = outcomes() | {f'{length}/nats': nats for length in LENGTHS}
  records.write(tmp_path, record(), arrays)
  assert records.load(tmp_path)['nats'].isna().all()
  assert records.outcomes(tmp_path, A)['nats'].isna().all()
  assert records.strata(tmp_path, A, 'gap')['nats'].isna().all()


@pytest.mark.parametrize(
  'name', ['depth', 'kind', 'nats', 'example', 'seed', 'length']
)
def test_an_unknown_stratum_is_a_sentence(tmp_path, name):
  write(tmp_path)
  with pytest.raises(ValueError, match=f"'{name}' .known: gap, side"):
    records.strata(tmp_path, A, name)


def test_outcomes_of_a_run_that_has_not_finished_are_a_sentence(tmp_path):
  with pytest.raises(ValueError, match=f'no finished run {A}'):
    records.outcomes(tmp_path, A)


def test_what_tells_runs_of_one_name_apart_is_named(tmp_path):
  """Other seeds, another rate; in a retrofit as in the run it is made of."""
  train = {'steps': 20, 'learning_rate': 0.001}
  same = {'seeds': list(SEEDS), 'scheme': 'A', 'task': 'O'}
  root = {**same, 'train': train}
  faster = {**root, 'train': {**train, 'learning_rate': 0.003}}
  configs = [
    root,
    faster,
    {**root, 'scheme': 'B', 'train': {**train, 'steps': 0}, 'parent': root},
    {
      **faster,
      'scheme': 'B',
      'train': {**faster['train'], 'steps': 0},
      'parent': faster,
    },
  ]
  for n, config in enumerate(configs):
    name = 'O: A() -> B()' if n > 1 else 'O: A()'
    write(tmp_path, digest=str(n), name=name, config=config)
  table = records.load(tmp_path).drop_duplicates('digest')
  assert table.set_index('digest')['variant'].to_dict() == {
    '0': 'learning_rate=0.001',
    '1': 'learning_rate=0.003',
    '2': 'learning_rate=0.001',
    '3': 'learning_rate=0.003',
  }
  names = intervals.labels(table)
  assert names['1'] == 'A() [learning_rate=0.003]'
  alone = records.load(tmp_path, ['0', '2'])
  assert (alone['variant'] == '').all()


def test_runs_of_many_differences_are_told_by_their_digests(tmp_path):
  for n in range(2):
    train = {'steps': 20, 'a': n, 'b': n, 'c': n, 'd': n}
    write(tmp_path, digest=str(n), config={'seeds': [3, 5], 'train': train})
  table = records.load(tmp_path)
  assert set(intervals.labels(table).values()) == {'RoPE() [0]', 'RoPE() [1]'}
