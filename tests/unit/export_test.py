"""What is exported is what `records.load` gives, read by other means."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from posexp.cli import main
from posexp.launch import exit_codes
from posexp.reports import export
from posexp.results import records
from tests import recorded, tracked
from tests.recorded import A, B

NAMES = {'token': 'accuracy'}
# What pandas needed before its version 3.1 to read floats to the last bit.
EXACTLY = {} if pd.__version__ >= '3.1' else {'float_precision': 'round_trip'}
MEASURED = ('token', 'order', 'retrieval', 'exact', 'nats', 'chance')


def fill(workdir, **changes):
  """Two runs, of which the second is a retrofit without training."""
  recorded.write(workdir, loss_every=8, **changes)
  record = recorded.record()
  nested = {
    'seeds': [3, 5],
    'train': {'steps': 0, 'only': 'all'},
    'scheme': {'type': 'Sum', 'terms': [{'type': 'RoPE', 'base': 500.5}]},
    'parent': record['config'] | {'scheme': {'type': 'RoPE'}},
  }
  recorded.write(
    workdir,
    digest=B,
    name='Ordering: RoPE() -> "a, b"',
    parent='RoPE()',
    parent_digest=A,
    config=nested,
    losses=[[], []],
    seconds={'total': 1 / 3},
    versions={'jax': '0.1'},
    # Numbers with no short decimal.
    results=[
      row | {'token': 2 / 3, 'nats': 0.1 + 0.2, 'order': 1e-17}
      for row in record['results']
    ],
  )


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
  monkeypatch.setenv('WANDB_MODE', 'offline')
  monkeypatch.delenv('WANDB_PROJECT', raising=False)


def call(*words):
  return main.main(['posexp', 'export', *map(str, words)])


def read_csv(path):
  """As the module says that pandas reads it."""
  return pd.read_csv(
    path,
    dtype={'digest': str, 'parent_digest': str},
    na_values=export.MISSING,
    keep_default_na=False,
    **EXACTLY,
  )


def read(path):
  return read_csv(path) if path.suffix == '.csv' else pd.read_parquet(path)


@pytest.mark.parametrize('to', export.TABLES)
def test_tables_are_read_back_to_the_last_bit(to, tmp_path, capsys):
  if to == 'parquet':
    pytest.importorskip('pyarrow', reason='needs the extra [parquet]')
  fill(tmp_path / 'work')
  assert call(tmp_path / 'work', f'--to={to}', f'--output={tmp_path}') == 0
  assert capsys.readouterr().out.splitlines() == [
    f'{to}: {tmp_path}/results.{to}',
    f'{to}: {tmp_path}/runs.{to}',
  ]
  want = records.load(tmp_path / 'work')
  assert len(want) == 8 and want['bag'].isna().any()
  got = read(tmp_path / f'results.{to}')
  pd.testing.assert_frame_equal(got, want, check_exact=True)
  runs = read(tmp_path / f'runs.{to}')
  made = export.runs(records.read_all(tmp_path / 'work'))
  pd.testing.assert_frame_equal(runs, made, check_exact=True)
  assert not list(tmp_path.glob('*.partial'))


def test_floats_are_exact_to_pandas_as_it_is(tmp_path):
  fill(tmp_path)
  assert call(tmp_path, '--to=csv') == 0
  got = pd.read_csv(tmp_path / 'results.csv', **EXACTLY)
  want = records.load(tmp_path)
  for name in MEASURED:
    np.testing.assert_array_equal(got[name], want[name])


def test_a_row_a_run_says_what_was_asked_for(tmp_path):
  fill(tmp_path, changes=['one', 'two'])
  table = export.runs(records.read_all(tmp_path)).set_index('digest')
  assert list(table.index) == [A, B]
  assert table['changes'].tolist() == ['one; two', '']
  assert table['parent'].tolist() == ['', 'RoPE()']
  assert table['parameters.total'].tolist() == [1234, 1234]
  assert table['config.train.steps'].tolist() == [20, 0]
  assert table['config.train.only'].tolist() == ['', 'all']
  assert table['config.seeds'].tolist() == ['[3, 5]', '[3, 5]']
  assert table['config.scheme.terms.0.base'].tolist()[1] == 500.5
  assert np.isnan(table['config.scheme.terms.0.base'].iloc[0])
  assert table['seconds.total'].tolist()[1] == 1 / 3
  assert table['seeds'].tolist() == [2, 2]
  assert table['admitted'].tolist() == [1, 1]
  assert not [name for name in table if 'parent.' in name]
  # What belongs together stands together.
  groups = [name.split('.')[0] for name in table if '.' in name]
  assert groups == sorted(groups, key=groups.index)
  order = ['parameters', 'config', 'seconds', 'versions']
  assert list(dict.fromkeys(groups)) == order


def expected(workdir):
  """Points by digest, seed and tag, from the table and from the losses."""
  found = {}
  for _, row in records.load(workdir).iterrows():
    tags = found.setdefault((row['digest'], row['seed']), {})
    for column in MEASURED:
      if not np.isnan(row[column]):
        tag = f'length/{NAMES.get(column, column)}'
        tags.setdefault(tag, []).append((row['length'], row[column]))
  # By hand: 20 steps, a loss every 8 of them in the test's records.
  found[A, 3]['train/loss'] = [(8, 0.5), (16, np.nan)]
  found[A, 5]['train/loss'] = [(8, 0.5), (16, 0.25)]
  return found


def assert_points(got, want, dtype):
  assert set(got) == set(want)
  for tag, points in want.items():
    np.testing.assert_array_equal(
      np.array(got[tag], dtype), np.array(points, dtype), err_msg=tag
    )


def test_the_last_loss_is_of_the_last_step(tmp_path):
  from posexp.reports.trackers import series

  record = recorded.record(loss_every=12)
  found = series.curves(record)
  assert [step for step, _ in found[3].loss] == [12, 20]


def test_tensorboard_has_every_number_once(tmp_path):
  pytest.importorskip('tensorboard', reason='needs the extra [tensorboard]')
  fill(tmp_path)
  for _ in range(2):  # Written again, it is there once.
    assert call(tmp_path, '--to=tensorboard') == 0
    got = tracked.tensorboard(tmp_path / 'tensorboard')
    want = expected(tmp_path)
    assert len(got) == len(want) == 4
    for (digest, seed), points in want.items():
      (name,) = [n for n in got if n.endswith(f'{digest[:8]}/seed {seed}')]
      assert_points(got[name], points, np.float32)


def test_tensorboard_groups_the_seeds_of_a_run(tmp_path):
  pytest.importorskip('tensorboard', reason='needs the extra [tensorboard]')
  fill(tmp_path)
  assert call(tmp_path, '--to=tensorboard') == 0
  found = tracked.settings(tmp_path / 'tensorboard')
  assert sorted(v['group'] for v in found.values()) == [A, A, B, B]
  for values in found.values():
    steps = {A: 20, B: 0}[values['group']]
    assert values['config.train.steps'] == steps
    assert values['scheme'] == 'RoPE()'


def test_the_same_records_give_the_same_event_files(tmp_path):
  """In another process, where sets and maps have another order."""
  pytest.importorskip('tensorboard', reason='needs the extra [tensorboard]')
  fill(tmp_path)
  words = [str(tmp_path), '--to=tensorboard']
  assert call(*words, f'--output={tmp_path / "x"}') == 0
  other = [sys.executable, '-m', 'posexp', 'export', *words]
  subprocess.run([*other, f'--output={tmp_path / "y"}'], check=True)
  x, y = (_content(tmp_path / name) for name in 'xy')
  assert x == y and len(x) == 4


def _content(directory):
  paths = directory.rglob('*tfevents*')
  return {p.relative_to(directory): p.read_bytes() for p in paths}


def test_wandb_has_a_run_a_seed_and_every_number_once(tmp_path):
  pytest.importorskip('wandb', reason='needs the extra [wandb]')
  fill(tmp_path)
  for _ in range(2):
    assert call(tmp_path, '--to=wandb') == 0
  got, want = tracked.wandb(tmp_path), expected(tmp_path)
  assert set(got) == {f'{digest}-{seed}' for digest, seed in want}
  for (digest, seed), points in want.items():
    run = got[f'{digest}-{seed}']
    assert run['code'] == 0 and run['project'] == 'posexp'
    assert_points(_points(run['history']), points, np.float64)
    accuracy = dict(points['length/accuracy'])
    assert run['summary']['accuracy at 16'] == accuracy[16]
    config = run['config']
    assert (config['seed'], config['digest']) == (seed, digest)
    assert config['admitted'] is (seed == 3)
    assert config['config']['train']['steps'] == {A: 20, B: 0}[digest]
  groups = {run['group'] for run in got.values()}
  assert groups == {
    'Ordering: RoPE() aaaaaaaa',
    'Ordering: RoPE() -> "a, b" bbbbbbbb',
  }


def _points(history):
  """Rows of a history as points of each tag."""
  found = {}
  for row in history:
    for tag, value in row.items():
      kind, name = tag.split('/')
      if name not in ('step', 'tokens'):
        at = row[f'{kind}/{"step" if kind == "train" else "tokens"}']
        found.setdefault(tag, []).append((at, value))
  return found


@pytest.mark.parametrize('to', export.FORMATS)
def test_a_damaged_record_is_told_and_the_rest_exported(to, tmp_path):
  _needs(to)
  fill(tmp_path)
  recorded.cut(tmp_path / 'runs' / A / 'record.json')
  with pytest.warns(UserWarning, match=A):
    assert call(tmp_path, f'--to={to}') == 0
  if to in export.TABLES:
    assert set(read(tmp_path / f'results.{to}')['digest']) == {B}
    assert list(read(tmp_path / f'runs.{to}')['digest']) == [B]
  elif to == 'wandb':
    assert set(tracked.wandb(tmp_path)) == {f'{B}-3', f'{B}-5'}
  else:
    assert len(tracked.tensorboard(tmp_path)) == 2


def _needs(to):
  module = {'parquet': 'pyarrow', 'csv': 'pandas'}.get(to, to)
  pytest.importorskip(module, reason=f'needs the extra [{to}]')


@pytest.mark.parametrize(
  'to, module',
  [('parquet', 'pyarrow'), ('tensorboard', 'tensorboard'), ('wandb', 'wandb')],
)
def test_a_missing_extra_is_named(to, module, tmp_path, monkeypatch, capsys):
  fill(tmp_path)
  before = sorted(tmp_path.rglob('*'))
  monkeypatch.setitem(sys.modules, module, None)
  assert call(tmp_path, f'--to={to}') == exit_codes.BAD_INPUT
  said = capsys.readouterr().err
  assert said == (
    f"posexp: --to={to} needs {module}: pip install 'posexp[{to}]'\n"
  )
  assert sorted(tmp_path.rglob('*')) == before


@pytest.mark.parametrize(
  'words, sentence',
  [
    (['WORK'], 'needs a format: give --to=csv'),
    (['WORK', '--to=cvs'], "--to cannot be 'cvs' (did you mean csv?)"),
    (['EMPTY', '--to=csv'], 'no finished run in'),
    (['EMPTY', '--to=wandb'], 'no finished run in'),
    (['NOWHERE', '--to=csv'], 'no work directory'),
    (['WORK', '--to=csv', '--output=FILE/x'], 'another with --output'),
    (['--to=csv'], '`posexp export` needs WORKDIR'),
  ],
)
def test_bad_input_is_one_sentence(words, sentence, tmp_path, capsys):
  fill(tmp_path / 'WORK')
  (tmp_path / 'EMPTY').mkdir()
  (tmp_path / 'FILE').touch()
  before = sorted(tmp_path.rglob('*'))
  places = 'WORK', 'EMPTY', 'NOWHERE', 'FILE'
  for name in places:
    words = [word.replace(name, str(tmp_path / name)) for word in words]
  assert call(*words) == exit_codes.BAD_INPUT
  said = capsys.readouterr().err
  assert sentence in said and said.count('\n') == 1
  assert sorted(tmp_path.rglob('*')) == before


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch, capsys):
  fill(tmp_path)

  def full(*args, **kwargs):
    raise OSError(28, os.strerror(28), str(tmp_path / 'results.csv'))

  monkeypatch.setattr(export.files, 'put', full)
  assert call(tmp_path, '--to=csv') == exit_codes.BAD_INPUT
  assert 'results.csv (No space left on device)' in capsys.readouterr().err


def test_wandb_that_refuses_is_one_sentence(tmp_path, monkeypatch, capsys):
  wandb = pytest.importorskip('wandb', reason='needs the extra [wandb]')
  fill(tmp_path)

  def refuse(**_):
    raise wandb.errors.CommError('run was deleted\nmore')

  monkeypatch.setattr(wandb, 'init', refuse)
  assert call(tmp_path, '--to=wandb') == exit_codes.BAD_INPUT
  said = capsys.readouterr().err
  assert said == (
    'posexp: W&B did not take Ordering: RoPE() (run was deleted)\n'
  )


def test_without_a_key_wandb_says_so_at_once(tmp_path, monkeypatch, capsys):
  wandb = pytest.importorskip('wandb', reason='needs the extra [wandb]')
  fill(tmp_path)

  def nobody():
    raise wandb.errors.UsageError('no key.')

  monkeypatch.delenv('WANDB_MODE')
  monkeypatch.setattr(wandb, 'login', nobody)
  assert call(tmp_path, '--to=wandb') == exit_codes.BAD_INPUT
  said = capsys.readouterr().err
  assert 'cannot log in to W&B (no key): `wandb login` first' in said
