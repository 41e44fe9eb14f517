"""The command line, as a person meets it."""

import concurrent.futures
import errno
import io
import os
import pathlib
import subprocess
import sys
import types

import jax
import pytest

from posexp import version
from posexp.cli import flags, main, run
from posexp.cost import flop_count
from posexp.data import frozen
from posexp.launch import exit_codes, scheduler
from posexp.models import mesh
from tests import recorded, small

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
  return main.main(['posexp', *words])


def test_help_lists_every_command(capsys):
  for words in ((), ('help',), ('--help',), ('-h',)):
    assert call(*words) == 0
    out = capsys.readouterr().out
    for name, command in main.COMMANDS.items():
      assert f'posexp {name}' in out and command.summary in out
    assert max(map(len, out.splitlines())) <= 80


def test_help_of_a_command_lists_its_flags_and_no_others(capsys):
  for words in (('run', '--help'), ('run', '-h'), ('help', 'run')):
    assert call(*words) == 0
    out = capsys.readouterr().out
    for flag in ('--workdir', '--only', '--set', '--seeds', '--dry_run'):
      assert flag in out
    assert '--follow' not in out and '--baseline' not in out
  assert call('status', '--help') == 0
  out = capsys.readouterr().out
  assert '--follow' in out and '--only' not in out


def test_the_version_is_printed(capsys):
  assert call('--version') == 0
  assert capsys.readouterr().out.strip() == version.VERSION


def test_a_starter_experiment_runs_as_it_is(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  assert call('new', 'my_question.py') == 0
  assert 'posexp run my_question.py --dry_run' in capsys.readouterr().out
  few = [f'--set={text}' for text in small.FEW]
  assert call('run', 'my_question.py', *few) == 0
  assert 'SquareRoot() -> NoPE()' in capsys.readouterr().out
  before = pathlib.Path('my_question.py').read_text()
  assert call('new', 'my_question.py') == exit_codes.BAD_INPUT
  assert 'my_question.py is there already' in capsys.readouterr().err
  assert pathlib.Path('my_question.py').read_text() == before


def test_run_then_show_then_run_again(file, tmp_path, capsys):
  workdir = str(tmp_path / 'w')
  assert call('run', file, f'--workdir={workdir}', '--seeds=4') == 0
  first = capsys.readouterr()
  assert 'RoPE() -> RoPE(NTK(2))' in first.out
  said = ' '.join(first.err.split())
  assert '1 planned comparison, 1 seed: one seed shows no' in said
  assert 'Claimed: none of 1 planned comparison (posexp compare' in first.out
  assert (tmp_path / 'w' / 'figure.txt').read_text() == '4 rows'
  assert 'done' in first.err and 'done' in (tmp_path / 'w/log.txt').read_text()
  assert call('show', workdir) == 0
  assert 'RoPE(NTK(2))' in capsys.readouterr().out
  assert call('compare', workdir) == 0
  assert 'RoPE(NTK(2)) against RoPE() at 24' in capsys.readouterr().out
  assert call('compare', workdir, '--against=ntk', '--length=12') == 0
  assert 'no two runs of a question have learned' in capsys.readouterr().out
  assert call('run', file, f'--workdir={workdir}', '--seeds=4') == 0
  assert 'done' not in capsys.readouterr().err


def test_the_table_is_of_the_runs_that_were_asked_for(
  file, tmp_path, capsys, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  for seed in (4, 5):
    assert call('run', file, '--only=ntk', f'--seeds={seed}') == 0
    table = (tmp_path / 'runs' / 'tiny' / 'figure.txt').read_text()
    assert table == '4 rows'
  capsys.readouterr()
  assert call('run', file, '--only=*: RoPE()', '--dry_run') == 0
  assert 'NTK' not in capsys.readouterr().out
  assert call('run', file, '--dry_run', '--seeds=7,8', '--set=seeds=9') == 0
  assert '7,8' in capsys.readouterr().out


def test_a_record_that_cannot_be_read_is_a_note(tmp_path):
  path = tmp_path / 'runs' / 'a' / 'record.json'
  path.parent.mkdir(parents=True)
  path.write_text('{')
  root = str(pathlib.Path(__file__).parents[2])
  told = subprocess.run(
    [sys.executable, '-m', 'posexp', 'show', str(tmp_path)],
    env={**os.environ, 'PYTHONPATH': root},
    capture_output=True,
    text=True,
    check=True,
  )
  (line,) = told.stderr.splitlines()
  assert line.startswith(f'posexp: note: record {path}')
  assert told.stdout.startswith('no results yet')


def test_a_file_that_starts_jax_itself_still_has_every_core(tmp_path):
  path = tmp_path / 'early.py'
  path.write_text(f'import jax\nprint(jax.device_count(), "devices")\n{TINY}')
  root = str(pathlib.Path(__file__).parents[2])
  told = subprocess.run(
    [sys.executable, '-m', 'posexp', 'run', str(path), '--dry_run'],
    env={**os.environ, 'PYTHONPATH': root, 'JAX_PLATFORMS': 'cpu'},
    capture_output=True,
    text=True,
    check=True,
  ).stdout
  assert told.startswith(f'{len(os.sched_getaffinity(0))} devices\n')


def test_a_failure_and_an_interruption_have_exit_codes(
  file, tmp_path, capsys, monkeypatch
):
  def interrupted(*_):
    raise KeyboardInterrupt

  for outcome, code in ((lambda *_: {'a': 'why'}, 1), (interrupted, 130)):
    monkeypatch.setattr(scheduler, 'execute', outcome)
    assert call('run', file, f'--workdir={tmp_path}') == code
  assert 'goes on from the last checkpoint' in capsys.readouterr().err


def test_the_estimate_is_arithmetic_over_the_rate(file, capsys, monkeypatch):
  monkeypatch.setattr(flop_count, 'TYPICAL_SHARE', 0.25)
  monkeypatch.setattr(flop_count, 'matmul_rate', lambda _: 4e12)
  monkeypatch.setattr(flop_count, 'run_flops', lambda _: 60e12)
  assert call('run', file, '--dry_run') == 0
  out = capsys.readouterr().out
  assert out.count('60.00  1 min 0 s') == 2
  assert '2 runs, 120.0 TFLOP, about 2 min 0 s on this machine' in out
  assert 'at 25% of its matmul rate of 4000 GFLOP/s' in out


def test_compilations_are_kept_where_the_environment_says(monkeypatch):
  told = []
  monkeypatch.setattr(jax.config, 'update', lambda *args: told.append(args))
  monkeypatch.setenv('JAX_COMPILATION_CACHE_DIR', '')
  mesh.cache_compilations()
  assert not told
  monkeypatch.delenv('JAX_COMPILATION_CACHE_DIR')
  monkeypatch.setenv('XDG_CACHE_HOME', '/cache')
  mesh.cache_compilations()
  where = pathlib.PurePath('/cache/posexp/jax')
  assert told == [('jax_compilation_cache_dir', str(where))]


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
    (['run'], '`posexp run` needs FILE: see `posexp run --help`'),
    (['--workdir=x', 'run'], "flags follow a command, got '--workdir=x' first"),
    (['new', 'question'], 'got question: name it question.py'),
    (['new', '/no/such/dir/q.py'], 'cannot write /no/such/dir/q.py (No such'),
    (
      ['compare', 'w', '--only=RoPE'],
      '`posexp compare` takes no --only: `posexp run` and `posexp evaluate` do',
    ),
    (['measure', '--dry_run'], '`posexp measure` takes no --dry_run: `posexp'),
    (['show', 'w', '--follow'], '`posexp show` takes no --follow: `posexp st'),
    (['run', '{file}', '--workers=two'], '--workers must be a whole number'),
    (['run', '{file}', '--retries=-1'], '--retries must be at least 0, got -1'),
    (['run', '{file}', '--seeds'], '--seeds expected one argument'),
    (['run', 'no/such.py'], "no experiment file 'no/such.py'"),
    (['run', '{file}', '--seeds=a'], "whole numbers such as 0,1,2, got 'a'"),
    (['run', '{file}', '--set=train.step=3'], 'did you mean steps'),
    (['run', '{file}', '--only=zzz'], 'matches no run'),
    (['run', '{file}', '--wrokdir=x'], 'takes no --wrokdir (did you mean --w'),
    (['run', '{file}', '--workdir=/dev/null/x'], 'cannot write to the work'),
    (
      ['run', '{file}', '--workdir=gs://bucket/x'],
      "--workdir 'gs://bucket/x' is no path: mount it as a directory",
    ),
    (['show', 's3://bucket/x'], "WORKDIR 's3://bucket/x' is no path: mount"),
    (['data', 'build', '--data_dir=gs://b'], "--data_dir 'gs://b' is no path"),
    (['show', '/no/such/dir'], '/no/such/dir'),
    (['schemes', 'RoPE', 'T5'], '`posexp schemes` does not take T5'),
    (['schemes', 'yarnn'], "no scheme or law is called 'yarnn' (did you mean "),
    (['tasks', 'Copy', 'Sort'], '`posexp tasks` does not take Sort'),
    (['tasks', 'Revers'], "no task is called 'Revers' (did you mean Reverse"),
  ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
  file, capsys, words, sentence
):
  assert (
    call(*[word.format(file=file) for word in words]) == exit_codes.BAD_INPUT
  )
  captured = capsys.readouterr()
  assert sentence in captured.err
  assert captured.err.count('\n') == 1 and captured.out == ''


def test_the_home_directory_is_that_of_the_user(tmp_path, monkeypatch, capsys):
  monkeypatch.setenv('HOME', str(tmp_path))
  assert call('new', str(tmp_path / 'q.py')) == 0
  assert call('run', str(tmp_path / 'q.py'), '--workdir=~/q', '--dry_run') == 0
  recorded.write(tmp_path / 'w')
  assert call('show', '~/w') == 0
  assert 'RoPE()' in capsys.readouterr().out


@pytest.mark.parametrize(
  ('error', 'code', 'sentence'),
  [
    (
      OSError(errno.ENOSPC, 'No space left on device', '/w/x'),
      exit_codes.FULL,
      'no space left (',
    ),
    (
      RuntimeError('write() failed: No space left on device; writing /d'),
      exit_codes.FULL,
      'no space left (write() failed',
    ),
    (
      PermissionError(errno.EACCES, 'Permission denied', '/w/x'),
      exit_codes.BAD_INPUT,
      'no access to /w/x (Permission denied): make it readable',
    ),
    (
      RuntimeError("Unable to initialize backend 'tpu': INTERNAL: none here"),
      exit_codes.BAD_INPUT,
      'JAX has no such device (JAX_PLATFORMS=',
    ),
  ],
)
def test_what_the_system_refuses_is_one_sentence(
  monkeypatch, capsys, error, code, sentence
):
  refused = concurrent.futures.Future()
  refused.set_exception(error)  # So that no code of a user raises it.
  command = flags.Command(refused.result)
  monkeypatch.setitem(main.COMMANDS, 'show', command)
  assert call('show') == code
  told = capsys.readouterr().err
  assert told.startswith(f'posexp: {sentence}') and told.count('\n') == 1


def test_a_data_directory_without_room_is_one_sentence(
  file, tmp_path, monkeypatch, capsys
):
  def write(*_):
    raise RuntimeError('write() failed: No space left on device')

  monkeypatch.setattr(frozen, 'write', write)
  data_dir = tmp_path / 'd'
  code = call('data', 'build', file, f'--data_dir={data_dir}')
  assert code == exit_codes.FULL
  told = capsys.readouterr().err
  assert told == (
    f'posexp: no space left for {data_dir}: what is finished is kept; make '
    'room, and the same command goes on from there\n'
  )


@pytest.mark.parametrize(
  ('text', 'sentence'),
  [
    ('def grid(:\n', 'broken.py:1: '),
    (
      'from tests import small\nfrom posexp.runs import config\n'
      'def grid():\n  yield small.run(model=config.Model(width=9))',
      'broken.py:4: width must be divisible by heads',
    ),
  ],
)
def test_a_mistake_in_a_file_names_its_line(tmp_path, capsys, text, sentence):
  path = tmp_path / 'broken.py'
  path.write_text(text)
  assert call('run', str(path)) == exit_codes.BAD_INPUT
  assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
  ('text', 'error'),
  [
    ('x = 1\nimport no_such_thing\n', 'ModuleNotFoundError: No module named'),
    ('def grid():\n  yield [][0]\n', 'IndexError: list index out of range'),
  ],
)
def test_a_bug_in_a_file_shows_its_traceback_from_there_on(
  tmp_path, capsys, text, error
):
  path = tmp_path / 'broken.py'
  path.write_text(text)
  assert call('run', str(path)) == exit_codes.FAILED
  told = capsys.readouterr().err
  assert error in told and f'File "{path}", line 2' in told
  assert 'posexp/launch' not in told


def test_an_unwritable_work_directory_is_found_before_compute(file, tmp_path):
  if os.getuid() == 0:
    pytest.skip('root may write everywhere')
  tmp_path.chmod(0o500)
  assert call('run', file, f'--workdir={tmp_path}/w') == exit_codes.BAD_INPUT


class Closed(io.StringIO):
  """A pipe that nobody reads."""

  def write(self, text):
    raise BrokenPipeError


def test_a_closed_pipe_leaves_figures_and_the_exit_code(tmp_path, monkeypatch):
  recorded.write(tmp_path)
  drawn = []
  module = types.SimpleNamespace(figure=lambda *_: drawn.append('drawn'))
  digests = [types.SimpleNamespace(digest=recorded.A)]
  monkeypatch.setattr(sys, 'stdout', Closed())
  silenced = []
  monkeypatch.setattr(flags, 'silence', lambda: silenced.append(True))
  run._present(module, digests, tmp_path)
  assert drawn == ['drawn'] and silenced


def test_a_figure_that_fails_leaves_the_table_and_where_records_are(
  tmp_path, capsys
):
  workdir = tmp_path / 'two words'
  recorded.write(workdir)

  def figure(results, directory):
    raise OSError(errno.ENOSPC, 'No space left on device')

  module = types.SimpleNamespace(figure=figure)
  digests = [types.SimpleNamespace(digest=recorded.A)]
  with pytest.raises(OSError, match='No space left'):
    run._present(module, digests, workdir)
  out = capsys.readouterr().out
  assert 'RoPE()' in out and f"(posexp show '{workdir}')" in out


def test_schemes_and_tasks_are_listed(capsys):
  assert call('schemes') == 0
  out = capsys.readouterr().out
  for name in ('NoPE()', 'RoPE(NTK(4))', 'T5()', 'Learned', 'Interpolate'):
    assert name in out
  assert call('tasks') == 0
  out = capsys.readouterr().out
  for name in ('Copy', 'Reverse', 'Ordering', 'Presence', 'Text'):
    assert name in out
  assert max(map(len, out.splitlines())) <= 100
  assert call('tasks', 'ordering') == 0
  out = capsys.readouterr().out
  assert (
    'chance            50.0% at 64 tokens' in out and 'Foils (C = 1)' in out
  )
