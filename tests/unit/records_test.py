"""A record is whole, its run's own and unchanged, or it is not read."""

import copy
import functools
import json
import os
import pathlib

import numpy as np
import pytest

from posexp.results import files, records
from tests.recorded import (
  A,
  B,
  cut,
  outcomes,
  record,
  write,
)


def test_what_is_written_is_read(tmp_path):
  made = record()
  before = copy.deepcopy(made)
  path = records.write(tmp_path, made, outcomes())
  assert path == tmp_path / 'runs' / (A) / 'record.json'
  read = records.whole(tmp_path, A)
  assert {k: read[k] for k in made} == made == before
  assert read['format'] == records.FORMAT
  names = {p.name for p in path.parent.iterdir()}
  assert names == {'details.json', 'outcomes.npz', 'record.json'}
  # What few read is not in what all read.
  brief = records.read(tmp_path, A)
  assert set(read) - set(brief) == {'losses'}
  assert brief == {k: read[k] for k in brief}


@pytest.mark.parametrize('name', ['', '.', '..', '../x', '/etc', 'a\\b', 'a\0'])
def test_no_name_of_a_run_leads_out_of_the_work_directory(tmp_path, name):
  for call in (records.read, records.whole, records.outcomes, records.finished):
    with pytest.raises(ValueError, match='sixteen hexadecimal digits'):
      call(tmp_path, name)
  with pytest.raises(ValueError, match='sixteen hexadecimal digits'):
    records.write(tmp_path, record(digest=name), outcomes())
  assert not list(tmp_path.iterdir())


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

  details = path.with_name('details.json').read_text()
  read = json.loads(details, parse_constant=refuse)
  assert read == {'losses': [[None, None]]}
  json.loads(path.read_text(), parse_constant=refuse)
  table = records.load(tmp_path)
  assert table['first_error'].isna().tolist() == [True, False, False, False]
  assert table['admitted'].tolist() == [True, False, True, False]


def test_keys_that_json_changes_do_not_damage_a_record(tmp_path):
  # As numbers 3 sorts before 15, as text after it.
  write(tmp_path, extra={3: 'a', 15: 'b'}, pair=(1, 2))
  read = records.read(tmp_path, A)
  assert read['extra'] == {'3': 'a', '15': 'b'}
  assert read['pair'] == [1, 2]


def test_lists_of_numbers_are_on_a_line_each_and_texts_are_left(tmp_path):
  numbers, texts = [[0.5, None, -1e-9] * 40] * 3, ['[\n 1,\n  2\n]', '[ 3 ]']
  made = {**record(), 'numbers': numbers, 'texts': texts}
  path = records.write(tmp_path, made, outcomes())
  lines = path.read_text().splitlines()
  assert sum('0.5, null, -1e-09, 0.5' in line for line in lines) == 3
  read = records.read(tmp_path, A)
  assert (read['numbers'], read['texts']) == (numbers, texts)


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


def change(path):
  text = path.read_text()
  assert text.count('"token": 1.0') == 2
  path.write_text(text.replace('"token": 1.0', '"token": 0.9', 1))


def another(path, form):
  """Another version may have its checksum elsewhere."""
  body = json.loads(path.read_text()) | {'format': form}
  path.write_text(json.dumps(body))


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
  **{
    f'format {form}': (functools.partial(another, form=form), f'format {form}')
    for form in (1, 2, records.FORMAT + 1)
  },
}


@pytest.mark.parametrize('damage', DAMAGE)
def test_damage_is_named_and_the_rest_is_loaded(tmp_path, damage):
  damaged = write(tmp_path)
  write(tmp_path, digest=B, name='Ordering: NoPE()')
  harm, sentence = DAMAGE[damage]
  harm(damaged)
  with pytest.raises(records.DamagedRecord) as error:
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
  with pytest.raises(
    records.DamagedRecord, match=f'belongs to configuration {A}'
  ):
    records.read(tmp_path, 'c' * 16)
  with pytest.warns(UserWarning, match='c' * 16):
    assert records.load(tmp_path).empty


def another_loss(path):
  text = path.read_text()
  assert text.count('0.25') == 1
  path.write_text(text.replace('0.25', '0.26'))


@pytest.mark.parametrize('harm', [cut, pathlib.Path.unlink, another_loss])
def test_damaged_details_are_named(tmp_path, harm):
  path = write(tmp_path).with_name('details.json')
  harm(path)
  with pytest.raises(records.DamagedRecord, match=str(path)):
    records.whole(tmp_path, A)
  assert len(records.load(tmp_path)) == 4


def swap(path):
  np.savez_compressed(path, **{**outcomes(), '8/example': np.ones(4)})


@pytest.mark.parametrize('harm', [cut, pathlib.Path.unlink, swap])
def test_damaged_outcomes_are_named(tmp_path, harm):
  path = write(tmp_path).with_name('outcomes.npz')
  harm(path)
  with pytest.raises(records.DamagedRecord, match=str(path)):
    records.outcomes(tmp_path, A)
