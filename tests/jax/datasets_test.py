"""Frozen evaluation sets: the same bytes, whoever draws them."""

import functools
import hashlib
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

from posexp import data, tasks
from posexp.cli import main
from posexp.data import examples, frozen, published, store
from posexp.launch import exit_codes
from tests.sets import SETS, TASK, files, shard


def test_every_default_set_is_published_under_its_name():
  assert {one.name for one in published.sets()} == set(published.digests()), (
    'the catalogue has changed: run make digests'
  )
  assert len({one.name for one in published.sets()}) == len(published.sets())
  assert {one.task for one in published.sets()} >= set(tasks.CATALOGUE)


SHORTEST = {one.task: one for one in reversed(published.sets())}


@pytest.mark.parametrize('one', SHORTEST.values(), ids=str)
def test_what_is_drawn_here_is_what_was_published(one):
  expected = published.digests()[one.name]
  assert data.digest(data.draw(one)) == expected


def test_no_setting_of_jax_changes_what_is_drawn():
  expected = data.digest(data.draw(SETS[0]))
  with jax.threefry_partitionable(False), jax.default_prng_impl('rbg'):
    assert data.digest(data.draw(SETS[0])) == expected


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
  batch = data.draw(data.Set(task, 7), 128)
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
  assert data.digest(batch) == hashlib.sha256(content).hexdigest()
  big = batch._replace(tokens_BxL=plain.astype('>i4').T.copy().T)
  assert data.digest(big) == data.digest(batch)


def test_a_published_set_is_a_configuration_of_the_builder(tmp_path):
  one = published.sets()[0]
  builder = frozen.PosexpFrozen(config=one.name, data_dir=tmp_path)
  assert builder.info.full_name == f'posexp_frozen/{one.name}/1.0.0'
  assert builder.info.features['tokens'].shape == (one.length,)
  assert len(frozen.PosexpFrozen.BUILDER_CONFIGS) == len(published.sets())


def test_drawing_something_else_than_was_published_is_an_error(monkeypatch):
  one = SETS[0]
  monkeypatch.setattr(published, 'digests', lambda: {one.name: 'f00d'})
  with pytest.raises(ValueError, match='expected f00d as published'):
    store.load(TASK, 12, 5)


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
    code = main.main(['posexp', 'data', action, *words, where])
    return code, *capsys.readouterr()

  code, _, told = posexp('verify', str(experiment))
  assert code == exit_codes.BAD_INPUT and 'none of 2 evaluation sets' in told
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
  assert code == exit_codes.FAILED and '1 damaged' in text
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
  assert main.main(['posexp', 'data', 'biuld']) == exit_codes.BAD_INPUT
  assert "cannot be 'biuld' (did you mean build?)" in capsys.readouterr().err


OTHER = data.Set(tasks.Copy(symbols=4, distinct=False), 8)


WITHOUT = """
import sys
from posexp import data, tasks
from posexp.data import store
one = data.Set(tasks.Copy(symbols=4, distinct=False), 8)
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
  root = pathlib.Path(__file__).parents[2]
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
