"""Frozen evaluation sets on disk: read by anyone, and what breaks."""

import fcntl
import itertools
import json
import os
import pathlib
import re
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds

from posexp import component, data, tasks
from posexp.data import examples, frozen, published, store
from posexp.evaluation import evaluate
from tests import small
from tests.sets import SETS, TASK, files, shard


@pytest.fixture(scope='module')
def drawn():
  return {one: data.draw(one) for one in SETS}


@pytest.fixture(scope='module')
def built(tmp_path_factory):
  where = tmp_path_factory.mktemp('data')
  assert store.build(SETS, where) == 2
  return where


@pytest.fixture
def copy(built, tmp_path, monkeypatch):
  """A copy of what was built, where evaluation looks for it."""
  where = tmp_path / 'data'
  shutil.copytree(built, where)
  monkeypatch.setenv('POSEXP_DATA', str(where))
  evaluate.examples.cache_clear()
  yield where
  evaluate.examples.cache_clear()


def same(got, expected):
  got, expected = examples.fields(got), examples.fields(expected)
  assert list(got) == list(expected)
  for name, array in got.items():
    assert array.dtype == expected[name].dtype
    np.testing.assert_array_equal(array, expected[name])


def test_plain_tfds_reads_what_was_drawn(built, drawn):
  one = SETS[1]
  builder = tfds.builder_from_directory(store.place(one, built))
  source = builder.as_data_source('test')
  assert len(source) == 512
  for n in (0, 100, 511):
    row, batch = source[n], drawn[one]
    assert sorted(row) == ['ends', 'foils', 'strata', 'targets', 'tokens']
    np.testing.assert_array_equal(row['tokens'], batch.tokens_BxL[n])
    np.testing.assert_array_equal(row['targets'], batch.targets_BxL[n])
    np.testing.assert_array_equal(row['foils'], batch.foils_BxLxC[n])
    np.testing.assert_array_equal(row['strata']['gap'], batch.strata['gap'][n])
    assert (row['tokens'].dtype, row['ends'].dtype) == (np.int32, np.bool_)


def test_the_dataset_says_what_it_is_and_where_it_is_from(built, drawn):
  one = SETS[0]
  info = tfds.builder_from_directory(store.place(one, built)).info
  assert 'order error' in info.description
  assert 'Which of two events came first?' in info.config_description
  for name in ('tokens', 'targets', 'ends', 'foils'):
    assert len(info.features[name].doc.desc) > 10
  assert 'grouped by' in info.features['strata']['gap'].doc.desc
  about = dict(info.metadata)
  assert tasks.Task.from_dict(about['task']) == TASK
  assert about['digest'] == data.digest(drawn[one])
  assert about['length'] == 12
  assert about['key'].startswith('threefry2x32')


def test_evaluation_reads_what_was_built(copy, drawn, monkeypatch):
  def forbidden(*arguments):
    raise AssertionError('drawn, not read')

  with monkeypatch.context() as patch:
    patch.setattr(examples, 'draw', forbidden)
    same(evaluate.examples(TASK, 12, 512), drawn[SETS[0]])
    few = evaluate.examples(TASK, 12, 70)
    same(few, examples.first(drawn[SETS[0]], 70))
    for length, number in ((12, 513), (13, 5)):
      with pytest.raises(AssertionError, match='drawn'):
        evaluate.examples(TASK, length, number)
  more = evaluate.examples(TASK, 12, 513)
  same(examples.first(more, 512), drawn[SETS[0]])


def flip(where):
  content = bytearray(shard(where).read_bytes())
  content[len(content) // 3] ^= 1
  shard(where).write_bytes(content)


def swap(where):
  other = shard(where, SETS[1])
  shard(where).write_bytes(other.read_bytes())


def edit(where):
  path = store.place(SETS[0], where) / 'metadata.json'
  about = json.loads(path.read_text())
  path.write_text(json.dumps({**about, 'length': 24}))


def rename(where):
  shutil.rmtree(store.place(SETS[0], where))
  store.place(SETS[1], where).rename(store.place(SETS[0], where))


DAMAGES = {
  'one bit': (flip, 'cannot be read'),
  'cut short': (
    lambda w: os.truncate(shard(w), 70000),
    'cannot be read',
  ),
  'no examples': (lambda w: shard(w).unlink(), 'cannot be read'),
  'no metadata': (
    lambda w: (store.place(SETS[0], w) / 'metadata.json').unlink(),
    "KeyError: 'digest'",
  ),
  'half of the features': (
    lambda w: os.truncate(store.place(SETS[0], w) / 'features.json', 50),
    'cannot be read',
  ),
  'a file in its place': (
    lambda w: (
      shutil.rmtree(store.place(SETS[0], w)),
      store.place(SETS[0], w).touch(),
    ),
    'cannot be read',
  ),
  'examples of another set': (swap, 'cannot be read'),
  'metadata of another set': (edit, 'the length 24, expected 12'),
  'another set': (rename, 'the length 24, expected 12'),
}


@pytest.mark.parametrize('kind', DAMAGES)
def test_a_damaged_set_is_refused_everywhere(kind, copy, capsys):
  damage, words = DAMAGES[kind]
  damage(copy)
  before = files(copy)
  path = re.escape(str(store.place(SETS[0], copy)))
  sentence = f'evaluation set {path}.*{words}.*move {path} away'
  with pytest.raises(store.DamagedSet, match=sentence):
    evaluate.examples(TASK, 12, 5)
  with pytest.raises(store.DamagedSet, match=sentence):
    store.build((*SETS, data.Set(TASK, 16)), copy)
  assert files(copy) == before
  assert store.state(SETS[0], copy) in (store.BUILT, store.DAMAGED)


def test_other_bytes_than_published_are_told_with_both_digests(
  copy, drawn, monkeypatch
):
  one = SETS[0]
  monkeypatch.setattr(published, 'digests', lambda: {one.name: 'f00d'})
  found = data.digest(drawn[one])
  sentence = f'{one.name}.*array_record.* the digest {found}, expected f00d'
  with pytest.raises(store.DamagedSet, match=sentence):
    evaluate.examples(TASK, 12, 5)


def test_a_run_on_a_damaged_set_fails_before_it_trains(copy, tmp_path):
  flip(copy)
  run = small.run()
  failures = small.execute(tmp_path / 'w', run)
  assert 'move' in failures[run.digest]
  assert not list((tmp_path / 'w').rglob('checkpoints'))


def test_an_interrupted_build_is_completed_by_the_next(copy, monkeypatch):
  partial = store.place(SETS[0], copy).with_name('incomplete.ABCDEF_1.0.0')
  shutil.move(store.place(SETS[0], copy), partial)
  assert store.state(SETS[0], copy) == store.MISSING
  told = []
  assert store.build(SETS, copy, lambda *what: told.append(what)) == 1
  assert told == [(SETS[1], True), (SETS[0], False)]
  assert not partial.exists()
  store.read(SETS[0], copy)


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
  def fails(self):
    whole = original(self)
    yield from itertools.islice(whole, 100)
    raise OSError(28, 'No space left on device')

  original = frozen.PosexpFrozen._generate_examples
  with monkeypatch.context() as patch:
    patch.setattr(frozen.PosexpFrozen, '_generate_examples', fails)
    with pytest.raises(ValueError, match='No space left'):
      store.build(SETS[:1], tmp_path)
  assert not list(tmp_path.rglob('*array_record*'))
  assert not list(tmp_path.rglob('incomplete*'))
  assert store.build(SETS[:1], tmp_path) == 1
  store.read(SETS[0], tmp_path)


def test_two_builds_at_once_do_not_mix(copy):
  with (copy / store.DATASET / '.lock').open('w') as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    with pytest.raises(ValueError, match='another build is writing to'):
      store.build(SETS, copy)
  assert store.build(SETS, copy) == 0


@pytest.mark.parametrize(
  'name', ['notes.txt', 'mnist/3.0.1/x', f'{SETS[0].name}/2.0.0/x']
)
def test_a_foreign_directory_is_refused(name, copy):
  path = copy / store.DATASET / name
  path.parent.mkdir(parents=True, exist_ok=True)
  path.touch()
  first = copy / store.DATASET / pathlib.Path(name).parts[0]
  with pytest.raises(ValueError, match=f'{first} is no evaluation set'):
    store.build(SETS, copy)


def test_a_file_in_place_of_the_directory_is_refused(tmp_path):
  (tmp_path / 'file').touch()
  with pytest.raises(ValueError, match='file is a file, expected a directory'):
    store.build(SETS, tmp_path / 'file')


def test_a_directory_that_may_not_be_read_is_a_sentence(copy, monkeypatch):
  def forbidden(self, **options):
    raise PermissionError(13, 'Permission denied')

  # Whoever runs the tests may be allowed everything.
  for name in ('exists', 'iterdir'):
    with monkeypatch.context() as patch:
      patch.setattr(pathlib.Path, name, forbidden)
      for ask in (
        lambda: store.build(SETS, copy),
        lambda: store.state(SETS[0], copy),
        lambda: store.check(copy),
      ):
        with pytest.raises(ValueError, match=f'read .*{copy} .*denied.*make'):
          ask()
  with monkeypatch.context() as patch:
    patch.setattr(pathlib.Path, 'exists', forbidden)
    with pytest.raises(ValueError, match=f'read .*{copy} .*denied.*make'):
      evaluate.examples(TASK, 12, 5)


def test_where_the_data_directory_is(monkeypatch):
  monkeypatch.setenv('POSEXP_DATA', '/a')
  assert store.directory() == pathlib.Path('/a')
  monkeypatch.delenv('POSEXP_DATA')
  monkeypatch.setenv('XDG_CACHE_HOME', '/b')
  assert store.directory() == pathlib.Path('/b/posexp/data')
  monkeypatch.delenv('XDG_CACHE_HOME')
  monkeypatch.setenv('HOME', '/c')
  assert store.directory() == pathlib.Path('/c/.cache/posexp/data')


def test_without_a_home_evaluation_draws_and_the_command_says_what_to_give(
  monkeypatch,
):
  monkeypatch.delenv('POSEXP_DATA', raising=False)
  monkeypatch.setattr(store.files, 'cache', lambda: None)
  same(store.load(TASK, 12, 5), data.draw(examples.Set(TASK, 12), 5))
  with pytest.raises(component.UserError, match='no home: set HOME, or give'):
    store.directory()
