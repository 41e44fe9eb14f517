"""The command line, as a person meets it."""

import os

import pytest

from posexp import cli

TINY = """
from tests import small
from posexp import schemes

def grid():
  yield small.run()
  yield small.run().retrofit(schemes.RoPE(schemes.NTK(2)))

def figure(results, directory):
  path = directory / 'figure.txt'
  path.write_text(f'{len(results)} rows')
  return [path]
"""


@pytest.fixture
def file(tmp_path):
  path = tmp_path / 'tiny.py'
  path.write_text(TINY)
  return str(path)


def call(*words):
  return cli.main(['posexp', *words])


def test_help_lists_every_command_and_flag(capsys):
  for words in ((), ('help',), ('--help',), ('run', '--help')):
    assert call(*words) == 0
    out = capsys.readouterr().out
    for name in cli.COMMANDS:
      assert f'posexp {name}' in out
    for flag in ('--workdir', '--only', '--set', '--seeds', '--dry_run'):
      assert flag in out


def test_run_then_show_then_run_again(file, tmp_path, capsys):
  workdir = str(tmp_path / 'w')
  assert call('run', file, f'--workdir={workdir}', '--seeds=4') == 0
  first = capsys.readouterr()
  assert 'RoPE() -> RoPE(NTK(2))' in first.out
  assert (tmp_path / 'w' / 'figure.txt').read_text() == '4 rows'
  assert 'done' in first.err and 'done' in (tmp_path / 'w/log.txt').read_text()
  assert call('show', workdir) == 0
  assert 'RoPE(NTK(2))' in capsys.readouterr().out
  assert call('run', file, f'--workdir={workdir}', '--seeds=4') == 0
  assert 'done' not in capsys.readouterr().err


def test_a_dry_run_writes_nothing(file, tmp_path, capsys):
  workdir = tmp_path / 'w'
  assert call('run', file, f'--workdir={workdir}', '--dry_run') == 0
  out = capsys.readouterr().out
  # One layer of width 16: 12 * 16^2 for the matrices, 24 * 16 embedding and
  # BOS, 24 tokens out, 3 norms.
  tokens = 4 + 16 + 4
  count = 12 * 16**2 + (2 * tokens + 1) * 16 + 3 * 16
  assert f'{count:,}' in out and 'Nothing was computed' in out
  assert not workdir.exists()


@pytest.mark.parametrize(
  ('words', 'sentence'),
  [
    (['rnu'], "no command 'rnu' (did you mean run?): "),
    (['run'], '`posexp run` takes FILE, got 0 arguments'),
    (['run', 'no/such.py'], "no experiment file 'no/such.py'"),
    (['run', '{file}', '--seeds=a'], "whole numbers such as 0,1,2, got 'a'"),
    (['run', '{file}', '--set=train.step=3'], 'did you mean steps'),
    (['run', '{file}', '--only=zzz'], 'matches no run'),
    (['run', '{file}', '--wrokdir=x'], 'wrokdir'),
    (['run', '{file}', '--workdir=/dev/null/x'], 'cannot write to the work'),
    (['show', '/no/such/dir'], '/no/such/dir'),
    (['schemes', 'RoPE'], 'takes no argument, got 1 arguments: RoPE'),
  ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
  file, capsys, words, sentence
):
  assert call(*[word.format(file=file) for word in words]) == cli.BAD_INPUT
  captured = capsys.readouterr()
  assert sentence in captured.err
  assert captured.err.count('\n') == 1 and captured.out == ''


@pytest.mark.parametrize(
  ('text', 'sentence'),
  [
    ('def grid(:\n', 'broken.py:1: '),
    ('x = 1\nimport no_such_thing\n', 'broken.py:2: ModuleNotFoundError'),
    (
      'from tests import small\nfrom posexp import config\n'
      'def grid():\n  yield small.run(model=config.Model(width=9))',
      'broken.py:4: width must be divisible by heads',
    ),
  ],
)
def test_a_mistake_in_a_file_names_its_line(tmp_path, capsys, text, sentence):
  path = tmp_path / 'broken.py'
  path.write_text(text)
  assert call('run', str(path)) == cli.BAD_INPUT
  assert sentence in capsys.readouterr().err


def test_an_unwritable_work_directory_is_found_before_compute(file, tmp_path):
  if os.getuid() == 0:
    pytest.skip('root may write everywhere')
  tmp_path.chmod(0o500)
  assert call('run', file, f'--workdir={tmp_path}/w') == cli.BAD_INPUT


def test_schemes_and_tasks_are_listed(capsys):
  assert call('schemes') == 0
  out = capsys.readouterr().out
  for name in ('NoPE()', 'RoPE(NTK(4))', 'T5()', 'Learned', 'Interpolate'):
    assert name in out
  assert call('tasks') == 0
  out = capsys.readouterr().out
  for name in ('Copy', 'Reverse', 'Ordering', 'Presence'):
    assert name in out
