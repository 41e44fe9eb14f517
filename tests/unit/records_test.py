"""A record is whole, its run's own and unchanged, or it is not read."""

import contextlib
import copy
import errno
import functools
import json
import multiprocessing
import os
import pathlib
import stat

import numpy as np
import pandas as pd
import pytest

from posexp import component
from posexp.results import files, records
from tests.recorded import (
  A,
  B,
  cut,
  outcomes,
  part,
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
  assert names == {read['details'], read['outcomes'], 'record.json'}
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
  with pytest.raises(files.AlreadyThere, match=str(path)):
    write(tmp_path, name='another')
  assert [p.read_bytes() for p in sorted(path.parent.iterdir())] == before


def of_writer(number):
  """What one of two processes has to write of the same run."""
  arrays = outcomes()
  arrays['8/nats'] = arrays['8/nats'] + number
  return record(losses=[[float(number)]], name=f'writer {number}'), arrays


def is_of_writer(workdir, number, digest=A):
  """Whether a run's record and all its parts are those of one process."""
  made, arrays = of_writer(number)
  read = records.whole(workdir, digest)
  table = records.outcomes(workdir, digest)
  nats = table.loc[table['length'] == 8, 'nats'].to_numpy()
  assert len(list((workdir / 'runs' / digest).iterdir())) == 3
  return (
    read['name'] == made['name']
    and read['losses'] == made['losses']
    and (nats == arrays['8/nats'].ravel()).all()
  )


@pytest.mark.parametrize('written', [0, 1, 2])
def test_of_two_who_finish_at_once_the_first_record_stays_whole(
  tmp_path, monkeypatch, written
):
  """The second finishes after the first has written so many of three files."""
  put, before = files.put, []

  def put_in_between(path, content, *, over):
    if len(before) == written:
      monkeypatch.setattr(files, 'put', put)
      records.write(tmp_path, *of_writer(2))
    before.append(path)
    put(path, content, over=over)

  monkeypatch.setattr(files, 'put', put_in_between)
  with pytest.raises(files.AlreadyThere, match=r'record\.json'):
    records.write(tmp_path, *of_writer(1))
  assert is_of_writer(tmp_path, 2)


def finish_all(workdir, number, digests, barrier):
  made, arrays = of_writer(number)
  for digest in digests:
    barrier.wait()
    with contextlib.suppress(files.AlreadyThere):
      records.write(workdir, made | {'digest': digest}, arrays)


@pytest.mark.slow
def test_two_processes_that_finish_200_runs_at_once_damage_none(tmp_path):
  digests = [f'{number:016x}' for number in range(200)]
  context = multiprocessing.get_context('spawn')
  barrier = context.Barrier(2)
  processes = [
    context.Process(
      target=finish_all, args=(tmp_path, number, digests, barrier)
    )
    for number in (1, 2)
  ]
  for process in processes:
    process.start()
  for process in processes:
    process.join()
  assert [process.exitcode for process in processes] == [0, 0]
  for digest in digests:
    assert is_of_writer(tmp_path, 1, digest) != is_of_writer(
      tmp_path, 2, digest
    )


def test_what_a_dead_process_left_is_removed_with_the_next_record(
  tmp_path, monkeypatch
):
  put = files.put

  def die(path, content, *, over):
    if not over:
      raise KeyboardInterrupt
    put(path, content, over=over)

  monkeypatch.setattr(files, 'put', die)
  with pytest.raises(KeyboardInterrupt):
    records.write(tmp_path, *of_writer(1))
  assert len(list((tmp_path / 'runs' / A).iterdir())) == 2
  monkeypatch.undo()
  records.write(tmp_path, *of_writer(2))
  assert is_of_writer(tmp_path, 2)


def test_names_are_flushed_before_the_record_that_relies_on_them(
  tmp_path, monkeypatch
):
  """The order of moves and of flushes of the directories that they change."""
  done, replace, link = [], pathlib.Path.replace, os.link
  monkeypatch.setattr(
    files, 'sync', lambda path: done.append(('sync', path.name))
  )

  def note_replace(self, path):
    done.append(('move', path.name.partition('-')[0]))
    return replace(self, path)

  def note_link(source, path):
    done.append(('move', path.name))
    link(source, path)

  monkeypatch.setattr(pathlib.Path, 'replace', note_replace)
  monkeypatch.setattr(os, 'link', note_link)
  write(tmp_path)
  assert done == [
    ('sync', 'runs'),
    ('sync', tmp_path.name),
    ('move', 'outcomes'),
    ('sync', A),
    ('move', 'details'),
    ('sync', A),
    ('move', 'record.json'),
    ('sync', A),
  ]


def test_a_directory_that_cannot_be_flushed_stops_nothing(
  tmp_path, monkeypatch
):
  fsync = os.fsync

  def no_directories(descriptor):
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
      raise OSError(errno.EINVAL, 'Invalid argument')
    fsync(descriptor)

  monkeypatch.setattr(os, 'fsync', no_directories)
  write(tmp_path)
  assert records.read(tmp_path, A) is not None


def test_a_work_directory_that_may_not_be_read_is_a_sentence(
  tmp_path, monkeypatch
):
  write(tmp_path)

  def refuse(path):
    raise PermissionError(errno.EACCES, 'Permission denied', str(path))

  monkeypatch.setattr(os, 'listdir', refuse)
  with pytest.raises(component.UserError, match=r'cannot read .*Permission de'):
    records.load(tmp_path)


def test_without_links_a_record_is_moved_once(tmp_path, monkeypatch):
  def link(source, target):
    raise PermissionError('no links here')

  monkeypatch.setattr(os, 'link', link)
  path = write(tmp_path)
  assert records.read(tmp_path, A)['name'] == 'Ordering: RoPE()'
  with pytest.raises(files.AlreadyThere, match=str(path)):
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

  details = part(path, 'details').read_text()
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
    for form in (1, 2, 3, records.FORMAT + 1)
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
  path = part(write(tmp_path), 'details')
  harm(path)
  with pytest.raises(records.DamagedRecord, match=str(path)):
    records.whole(tmp_path, A)
  assert len(records.load(tmp_path)) == 4


def swap(path):
  np.savez_compressed(path, **{**outcomes(), '8/example': np.ones(4)})


@pytest.mark.parametrize('harm', [cut, pathlib.Path.unlink, swap])
def test_damaged_outcomes_are_named(tmp_path, harm):
  path = part(write(tmp_path), 'outcomes')
  harm(path)
  with pytest.raises(records.DamagedRecord, match=str(path)):
    records.outcomes(tmp_path, A)


def test_a_target_without_an_answer_has_no_kind_of_error():
  table = records.with_kinds(pd.DataFrame({'kind': [0, 1, 2, 3]}))
  assert table['token'].tolist() == [True, False, False, False]
  for name, place in (('order', 1), ('retrieval', 2)):
    wanted = [float(n == place) for n in range(3)]
    assert table[name].tolist()[:3] == wanted and np.isnan(table[name][3])
