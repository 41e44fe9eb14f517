"""A record is whole, its run's own and unchanged, or it is not read."""

import copy
import json
import os
import pathlib

import numpy as np
import pandas as pd
import pytest

from posexp import files, records

LENGTHS, SEEDS = (8, 16), (3, 5)
A, B = 'a' * 16, 'b' * 16


def record(digest=A, name='Ordering: RoPE()', **changes):
  """A finished run of two seeds at two lengths; seed 5 learned nothing."""
  shares = {3: (1.0, 0.0, 0.0), 5: (0.5, 0.2, 0.3)}
  rest = {'exact': 0.5, 'first_error': 1.5, 'end': None, 'targets': 4}
  results = [
    {'seed': seed, 'length': length, **rest}
    | dict(zip(('token', 'order', 'retrieval'), shares[seed]))
    for length in LENGTHS
    for seed in SEEDS
  ]
  return {
    'digest': digest,
    'name': name,
    'task': 'Ordering()',
    'scheme': 'RoPE()',
    'parent': None,
    'parent_digest': None,
    'trained_length': 8,
    'config': {'seeds': list(SEEDS), 'train': {'steps': 20}},
    'parameters': {'total': 1234, 'positional': 0},
    'losses': [[0.5, None], [0.5, 0.25]],
    'diverged': {'3': -1, '5': 12},
    'learned': {'3': 1.0, '5': 0.5},
    'chance': {'8': 0.5, '16': 0.25},
    'baselines': {'8': {'random': 0.49, 'bag': 0.5}, '16': {}},
    'results': results,
  } | changes


def outcomes():
  """Four targets a length: seed 3 all right, seed 5 one of each and a right."""
  arrays = {}
  for length in LENGTHS:
    arrays[f'{length}/kind'] = np.array([[0, 0, 0, 0], [0, 1, 2, 0]], np.int8)
    nats = np.arange(8, dtype=np.float32).reshape(2, 4)
    arrays[f'{length}/nats'] = nats
    arrays[f'{length}/example'] = np.array([0, 0, 1, 1], np.int32)
    arrays[f'{length}/strata/gap'] = np.array([1, 1, 2, -1], np.int32)
    arrays[f'{length}/strata/side'] = np.array([0, 1, 0, 1], np.int32)
  return arrays


def write(workdir, **changes):
  return records.write(workdir, record(**changes), outcomes())


def test_what_is_written_is_read(tmp_path):
  made = record()
  before = copy.deepcopy(made)
  path = records.write(tmp_path, made, outcomes())
  assert path == tmp_path / 'runs' / (A) / 'record.json'
  read = records.read(tmp_path, A)
  assert {k: read[k] for k in made} == made == before
  assert read['format'] == records.FORMAT
  names = {p.name for p in path.parent.iterdir()}
  assert names == {'outcomes.npz', 'record.json'}


def test_a_run_that_has_not_finished_is_none(tmp_path):
  assert records.read(tmp_path, B) is None
  assert records.read(tmp_path / 'nowhere', B) is None


def test_a_record_is_never_written_over(tmp_path):
  path = write(tmp_path)
  before = [p.read_bytes() for p in sorted(path.parent.iterdir())]
  with pytest.raises(FileExistsError, match='immutable'):
    write(tmp_path, name='another')
  assert [p.read_bytes() for p in sorted(path.parent.iterdir())] == before


def test_of_two_writers_at_once_one_fails(tmp_path, monkeypatch):
  """The file appears after the look and before the move."""
  path = write(tmp_path)
  before = path.read_bytes()
  monkeypatch.setattr(pathlib.Path, 'exists', lambda self: False)
  with pytest.raises(FileExistsError, match='immutable'):
    write(tmp_path, name='another')
  assert path.read_bytes() == before


def test_without_links_a_record_is_moved_once(tmp_path, monkeypatch):
  def link(source, target):
    raise PermissionError('no links here')

  monkeypatch.setattr(os, 'link', link)
  path = write(tmp_path)
  assert records.read(tmp_path, A)['name'] == 'Ordering: RoPE()'
  with pytest.raises(FileExistsError, match='immutable'):
    files.put(path, b'', over=False)


def test_a_failed_write_leaves_no_record(tmp_path, monkeypatch):
  def fail(file):
    raise OSError('disk full')

  monkeypatch.setattr(os, 'fsync', fail)
  with pytest.raises(OSError, match='disk full'):
    write(tmp_path)
  monkeypatch.undo()
  assert records.read(tmp_path, A) is None
  assert list((tmp_path / 'runs' / (A)).iterdir()) == []
  write(tmp_path)
  assert records.read(tmp_path, A) is not None


def test_a_record_that_could_not_be_loaded_is_not_written(tmp_path):
  with pytest.raises(KeyError, match='chance'):
    made = record()
    del made['chance']
    records.write(tmp_path, made, outcomes())
  with pytest.raises(TypeError, match='float32'):
    write(tmp_path, losses=[np.float32(1)])
  assert not (tmp_path / 'runs').exists()


def test_numbers_that_are_not_finite_are_null(tmp_path):
  made = record(losses=[[float('nan'), float('inf')]])
  made['learned']['5'] = float('nan')
  made['results'][0]['first_error'] = float('nan')
  path = records.write(tmp_path, made, outcomes())

  def refuse(name):
    raise AssertionError(f'{name} is not JSON')

  read = json.loads(path.read_text(), parse_constant=refuse)
  assert read['losses'] == [[None, None]]
  table = records.load(tmp_path)
  assert table['first_error'].isna().tolist() == [True, False, False, False]
  assert table['admitted'].tolist() == [True, False, True, False]


def test_keys_that_json_changes_do_not_damage_a_record(tmp_path):
  # As numbers 3 sorts before 15, as text after it.
  write(tmp_path, extra={3: 'a', 15: 'b'}, pair=(1, 2))
  read = records.read(tmp_path, A)
  assert read['extra'] == {'3': 'a', '15': 'b'}
  assert read['pair'] == [1, 2]


@pytest.mark.parametrize(
  'name', ['Ünïcode: 😀\n"\\', 'a/../\0 b', '$x$ </script>']
)
def test_any_name_survives(tmp_path, name):
  write(tmp_path, name=name)
  assert records.load(tmp_path)['name'].tolist() == [name] * 4


@pytest.mark.parametrize(
  'digest', ['', '.', '..', '../a', '/tmp', 'a\\b', 'a\0']
)
def test_a_digest_cannot_lead_elsewhere(tmp_path, digest):
  with pytest.raises(ValueError, match='digest is sixteen'):
    write(tmp_path, digest=digest)
  with pytest.raises(ValueError, match='digest is sixteen'):
    records.read(tmp_path, digest)
  assert list(tmp_path.iterdir()) == []


def cut(path):
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def change(path):
  text = path.read_text()
  assert text.count('"token": 1.0') == 2
  path.write_text(text.replace('"token": 1.0', '"token": 0.9', 1))


def newer(path):
  """As a later version would write it, its checksum right."""
  body = json.loads(path.read_text())
  del body['checksum']
  body['format'] = records.FORMAT + 1
  path.write_text(json.dumps({**body, 'checksum': records._checksum(body)}))


DAMAGE = {
  'truncated': (cut, 'cannot be read'),
  'emptied': (lambda p: p.write_bytes(b''), 'cannot be read'),
  'not text': (lambda p: p.write_bytes(b'\xff\xfe\x00'), 'cannot be read'),
  'a list': (lambda p: p.write_text('[1]'), 'cannot be read'),
  'null': (lambda p: p.write_text('null'), 'cannot be read'),
  'another thing': (
    lambda p: p.write_text('{"digest": "a"}'),
    'cannot be read',
  ),
  'a directory': (lambda p: (p.unlink(), p.mkdir()), 'cannot be read'),
  'changed': (change, 'was changed after it was written'),
  'newer': (newer, f'has format {records.FORMAT + 1}'),
}


@pytest.mark.parametrize('damage', DAMAGE)
def test_damage_is_named_and_the_rest_is_loaded(tmp_path, damage):
  damaged = write(tmp_path)
  write(tmp_path, digest=B, name='Ordering: NoPE()')
  harm, sentence = DAMAGE[damage]
  harm(damaged)
  with pytest.raises(records.Damaged) as error:
    records.read(tmp_path, A)
  assert sentence in str(error.value) and str(damaged) in str(error.value)
  with pytest.warns(UserWarning) as told:
    table = records.load(tmp_path)
  assert [str(w.message) for w in told] == [str(error.value)]
  assert table['digest'].unique().tolist() == [B]
  assert damaged.exists()


def test_a_record_under_another_name_is_foreign(tmp_path):
  path = write(tmp_path)
  path.parent.rename(tmp_path / 'runs' / ('c' * 16))
  with pytest.raises(records.Damaged, match=f'belongs to configuration {A}'):
    records.read(tmp_path, 'c' * 16)
  with pytest.warns(UserWarning, match='c' * 16):
    assert records.load(tmp_path).empty


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


def test_records_from_before_nats_and_gates_still_load(tmp_path):
  bare = {k: v for k, v in outcomes().items() if not k.endswith('nats')}
  records.write(tmp_path, record(), bare)
  table = records.load(tmp_path)
  assert table['nats'].isna().all() and (table['gate'] == 0.99).all()
  assert records.outcomes(tmp_path, A)['nats'].isna().all()
  assert records.strata(tmp_path, A, 'gap')['nats'].isna().all()


@pytest.mark.parametrize(
  'name', ['depth', 'kind', 'nats', 'example', 'seed', 'length']
)
def test_an_unknown_stratum_is_a_sentence(tmp_path, name):
  write(tmp_path)
  with pytest.raises(ValueError, match=f"'{name}' .known: gap, side"):
    records.strata(tmp_path, A, name)


def swap(path):
  np.savez_compressed(path, **{**outcomes(), '8/example': np.ones(4)})


@pytest.mark.parametrize('harm', [cut, pathlib.Path.unlink, swap])
def test_damaged_outcomes_are_named(tmp_path, harm):
  path = write(tmp_path).with_name('outcomes.npz')
  harm(path)
  with pytest.raises(records.Damaged, match=str(path)):
    records.outcomes(tmp_path, A)


def test_outcomes_of_a_run_that_has_not_finished_are_a_sentence(tmp_path):
  with pytest.raises(ValueError, match=f'no finished run {A}'):
    records.outcomes(tmp_path, A)
