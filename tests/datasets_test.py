"""Frozen evaluation sets: the same bytes, read by anyone, and what breaks."""

import fcntl
import functools
import hashlib
import itertools
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds

from posexp import cli, datasets, evaluate, tasks
from posexp.datasets import examples, frozen, published, store
from tests import small

TASK = small.run().task
SETS = tuple(datasets.Set(TASK, length) for length in (12, 24))


@pytest.fixture(scope='module')
def drawn():
  return {one: datasets.draw(one) for one in SETS}


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


def shard(where, one=SETS[0]):
  (path,) = store.place(one, where).glob('*array_record*')
  return path


def files(where):
  return {
    path.relative_to(where): path.read_bytes()
    for path in where.rglob('*')
    if path.is_file()
  }


def same(got, expected):
  got, expected = examples.fields(got), examples.fields(expected)
  assert list(got) == list(expected)
  for name, array in got.items():
    assert array.dtype == expected[name].dtype
    np.testing.assert_array_equal(array, expected[name])


def test_every_default_set_is_published_under_its_name():
  assert {one.name for one in published.sets()} == set(published.digests()), (
    'the catalogue has changed: run make digests'
  )
  assert len({one.name for one in published.sets()}) == len(published.sets())
  assert {one.task for one in published.sets()} >= set(tasks.CATALOGUE)


# One of each kind of draw: shuffled, independent, and a body with filler.
@pytest.mark.parametrize(
  'one',
  [
    datasets.Set(tasks.Reverse(), 64),
    datasets.Set(tasks.Copy(distinct=False), 1024),
    datasets.Set(tasks.Presence(filler=64), 128),
  ],
  ids=str,
)
def test_what_is_drawn_here_is_what_was_published(one):
  expected = published.digests()[one.name]
  assert datasets.digest(datasets.draw(one)) == expected


def test_no_setting_of_jax_changes_what_is_drawn(drawn):
  with jax.threefry_partitionable(False), jax.default_prng_impl('rbg'):
    same(datasets.draw(SETS[0]), drawn[SETS[0]])


@pytest.mark.parametrize('task', tasks.CATALOGUE, ids=str)
def test_wider_numbers_change_no_type_of_what_is_drawn(task):
  sample = functools.partial(task.sample, length=64, batch=1)
  key = jax.random.key(0)
  jax.config.update('jax_enable_x64', True)
  try:
    shapes = jax.eval_shape(sample, key)
  finally:
    jax.config.update('jax_enable_x64', False)
  for name, array in examples.fields(shapes).items():
    wanted = np.bool_ if name in ('targets', 'ends') else np.int32
    assert array.dtype == wanted, name


def test_an_example_is_found_from_its_key_as_described():
  task = tasks.Copy(symbols=4, distinct=False, eos=False)
  text = json.dumps(task.to_dict(), sort_keys=True)
  key = jax.random.key(0x0E7A1)
  for part in (int(hashlib.sha256(text.encode()).hexdigest()[:8], 16), 7, 1):
    key = jax.random.fold_in(key, np.uint32(part))
  second = jax.jit(lambda key: task.sample(key, length=7, batch=64))(key)
  batch = datasets.draw(datasets.Set(task, 7), 128)
  np.testing.assert_array_equal(second.tokens_BxL, batch.tokens_BxL[64:])


def test_a_digest_is_of_names_types_shapes_and_bytes():
  plain = np.arange(2, dtype=np.int32).reshape(1, 2)
  batch = tasks.Batch(
    tokens_BxL=plain,
    targets_BxL=np.array([[False, True]]),
    ends_BxL=np.array([[False, False]]),
    foils_BxLxC=-np.ones((1, 2, 1), np.int32),
    strata={'gap': plain},
  )
  content = (
    b'ends |b1 (1, 2)\n\0\0'
    b'foils <i4 (1, 2, 1)\n' + b'\xff' * 8 + b'strata/gap <i4 (1, 2)\n'
    b'\0\0\0\0\1\0\0\0'
    b'targets |b1 (1, 2)\n\0\1'
    b'tokens <i4 (1, 2)\n\0\0\0\0\1\0\0\0'
  )
  assert datasets.digest(batch) == hashlib.sha256(content).hexdigest()
  big = batch._replace(tokens_BxL=plain.astype('>i4').T.copy().T)
  assert datasets.digest(big) == datasets.digest(batch)


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
  assert about['digest'] == datasets.digest(drawn[one])
  assert about['length'] == 12
  assert about['key'].startswith('threefry2x32')


def test_a_published_set_is_a_configuration_of_the_builder(tmp_path):
  one = published.sets()[0]
  builder = frozen.PosexpFrozen(config=one.name, data_dir=tmp_path)
  assert builder.info.full_name == f'posexp_frozen/{one.name}/1.0.0'
  assert builder.info.features['tokens'].shape == (one.length,)
  assert len(frozen.PosexpFrozen.BUILDER_CONFIGS) == len(published.sets())


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


def test_drawing_something_else_than_was_published_is_an_error(monkeypatch):
  one = SETS[0]
  monkeypatch.setattr(published, 'digests', lambda: {one.name: 'f00d'})
  with pytest.raises(ValueError, match='expected f00d as published'):
    store.load(TASK, 12, 5)


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
  with pytest.raises(store.Damaged, match=sentence):
    evaluate.examples(TASK, 12, 5)
  with pytest.raises(store.Damaged, match=sentence):
    store.build((*SETS, datasets.Set(TASK, 16)), copy)
  assert files(copy) == before
  assert store.state(SETS[0], copy) in (store.BUILT, store.DAMAGED)


def test_other_bytes_than_published_are_told_with_both_digests(
  copy, drawn, monkeypatch
):
  one = SETS[0]
  monkeypatch.setattr(published, 'digests', lambda: {one.name: 'f00d'})
  found = datasets.digest(drawn[one])
  sentence = f'{one.name}.*array_record.* the digest {found}, expected f00d'
  with pytest.raises(store.Damaged, match=sentence):
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


EXPERIMENT = """
from tests import small

def grid():
  yield small.run()
"""


def test_the_command_builds_lists_and_verifies(tmp_path, monkeypatch, capsys):
  monkeypatch.setenv('POSEXP_DATA', 'to be overwritten')
  experiment = tmp_path / 'mine.py'
  experiment.write_text(EXPERIMENT)

  def posexp(action, *words):
    where = f'--data_dir={tmp_path / "data"}'
    code = cli.main(['posexp', 'data', action, *words, where])
    return code, *capsys.readouterr()

  code, _, told = posexp('verify', str(experiment))
  assert code == cli.BAD_INPUT and 'none of 2 evaluation sets' in told
  code, text, _ = posexp('build', str(experiment))
  assert code == 0 and '2 sets built, 0 there before' in text
  code, text, _ = posexp('list', str(experiment))
  rows = [line.split('  ') for line in text.splitlines()]
  assert rows[2][0] == SETS[0].name and rows[2][-1] == 'built'
  assert posexp('verify', str(experiment))[0] == 0
  shard(tmp_path / 'data').unlink()
  code, text, _ = posexp('list', str(experiment))
  assert [line.split()[-1] for line in text.splitlines()[2:4]] == [
    'damaged',
    'built',
  ]
  code, text, told = posexp('verify', str(experiment))
  assert code == cli.FAILED and '1 damaged' in text
  assert str(store.place(SETS[0], tmp_path / 'data')) in told
  assert '`posexp data build FILE` of its run' in told
  shutil.rmtree(store.place(SETS[0], tmp_path / 'data'))
  text = posexp('verify', str(experiment))[1]
  assert '1 set read, 0 damaged, 1 not built' in text
  text = posexp('build', str(experiment))[1]
  assert '1 set built, 1 there before' in text
  assert 'none of' in (told := posexp('verify')[2]), told
  text = posexp('list')[1]
  for name, digest in published.digests().items():
    assert re.search(rf'{name} .* {digest[:12]}  missing', text)


def test_no_other_word_is_taken(capsys):
  assert cli.main(['posexp', 'data', 'biuld']) == cli.BAD_INPUT
  assert "cannot be 'biuld' (did you mean build?)" in capsys.readouterr().err


OTHER = datasets.Set(tasks.Copy(symbols=4, distinct=False), 8)
WITHOUT = """
import sys
from posexp import datasets, tasks
from posexp.datasets import store
one = datasets.Set(tasks.Copy(symbols=4, distinct=False), 8)
assert store.load(one.task, 8, 5).tokens_BxL.shape == (5, 8)
assert 'tensorflow_datasets' not in sys.modules
store.build([one], store.directory())
assert store.load(one.task, 8, 5).tokens_BxL.shape == (5, 8)
assert 'tensorflow_datasets' in sys.modules
assert 'tensorflow' not in sys.modules
"""


@pytest.fixture(scope='module')
def elsewhere(tmp_path_factory):
  """A set that another process built, and the errors of that process."""
  path = tmp_path_factory.mktemp('elsewhere')
  # A stand-in for TensorFlow that tells when someone so much as tries.
  package = path / 'path' / 'tensorflow'
  package.mkdir(parents=True)
  (package / '__init__.py').write_text(
    f'open({str(path / "imported")!r}, "w").close()'
  )
  root = pathlib.Path(__file__).parents[1]
  done = subprocess.run(
    [sys.executable, '-c', WITHOUT],
    env={
      **os.environ,
      'PYTHONPATH': os.pathsep.join([str(path / 'path'), str(root)]),
      'POSEXP_DATA': str(path / 'data'),
    },
    capture_output=True,
    text=True,
  )
  return path, done


def test_tensorflow_is_never_imported_even_if_it_is_there(elsewhere):
  path, done = elsewhere
  assert done.returncode == 0, done.stderr
  assert not (path / 'imported').exists()


def test_two_processes_write_the_same_bytes(elsewhere, tmp_path):
  store.build([OTHER], tmp_path)
  mine = files(tmp_path / store.DATASET)
  assert len(mine) == 6
  assert mine == files(elsewhere[0] / 'data' / store.DATASET)
