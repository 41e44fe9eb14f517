"""What README and the notebook show works as shown."""

import dataclasses
import os
import pathlib
import re
import runpy
import subprocess
import sys

import pytest

import posexp
from posexp import config, datasets, schemes, tasks
from posexp.datasets import store
from posexp.launch import grid
from tests import small

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text()


def blocks(language):
  return re.findall(rf'```{language}\n(.*?)```', README, flags=re.S)


def test_the_experiment_of_the_readme_runs_as_it_stands(tmp_path):
  path = tmp_path / 'my_question.py'
  path.write_text(blocks('python')[0])
  runs = grid.load(str(path)).runs
  assert [str(run.scheme) for run in runs] == [
    'SquareRoot()',
    'NoPE()',
    'SquareRoot(strength=0.1) + RoPE()',
    'NoPE()',
  ]
  few = ['train.steps=3', 'train.batch=4', 'evaluate.examples=4', 'seeds=0']
  runs = grid.change(runs, [*few, 'evaluate.lengths=32'])
  assert small.execute(tmp_path / 'w', *runs) == {}


def test_the_schemes_of_the_readme_are_what_it_says(capsys):
  (block,) = (b for b in blocks('python') if 'from_hf' in b)
  exec(block, {})
  lines = capsys.readouterr().out.splitlines()
  assert lines[-1] == ('RoPE(YaRN(4, 2048)) + ALiBi()')


def test_the_prompts_of_the_readme_are_continued(capsys):
  (block,) = (b for b in blocks('python') if 'generate.generate' in b)
  exec(block, {})
  assert capsys.readouterr().out == '(2, 5)\n'


def test_the_factors_of_the_readme_are_runs(capsys):
  (block,) = (b for b in blocks('python') if 'tasks.Mixture' in b)
  exec(block, {})
  assert 'weights=(1, 0)' in capsys.readouterr().out


def test_the_retrofits_of_the_readme_are_runs():
  (block,) = (b for b in blocks('python') if 'warm_in' in b)
  lines = ''.join(f'  {line}\n' for line in block.splitlines())
  space = {'posexp': posexp, 'schemes': schemes, 'dataclasses': dataclasses}
  exec(f'def retrofits(run):\n{lines}', space)
  found = [
    run.changes
    for run in space['retrofits'](
      config.Run(
        task=tasks.Ordering(symbols=16, queries=4, filler=4),
        scheme=schemes.RoPE(),
      )
    )
  ]
  assert [len(changes) for changes in found] == [2, 2, 3, 3, 2]
  assert found[3][1:] == (
    'adds ALiBi()',
    'adapted: 100 steps at 128, bias warmed in over 50',
  )


def test_the_reader_of_the_readme_needs_tfds_alone(tmp_path):
  (block,) = (b for b in blocks('python') if 'data_source' in b)
  one = datasets.Set(tasks.Ordering(), 64)
  store.build([one], tmp_path / '.cache' / 'posexp' / 'data')
  # In a process that has never heard of posexp.
  block += "import sys\nassert not {'posexp', 'tensorflow'} & {*sys.modules}\n"
  block += 'print(targets, gaps.min() > 0)'
  ran = subprocess.run(
    [sys.executable, '-c', block],
    cwd=tmp_path,
    env={**os.environ, 'HOME': str(tmp_path)},
    capture_output=True,
    text=True,
    check=True,
  )
  assert 'order errors' in ran.stdout
  assert ran.stdout.splitlines()[-1] == f'{512 * 8} True'


def test_every_command_of_the_readme_is_one():
  from posexp import cli

  for command in re.findall(r'bin/posexp (\S+)', README):
    assert command in cli.COMMANDS or command == '--help', command
  makefile = (ROOT / 'Makefile').read_text()
  for target in re.findall(r'^make (\S+)', README, flags=re.M):
    assert re.search(rf'^{target}:', makefile, flags=re.M), target


def test_files_that_the_readme_names_exist():
  for path in re.findall(r'\]\(([^)#:]+)\)', README):
    assert (ROOT / path).exists(), path


def test_every_experiment_file_can_be_planned():
  for path in sorted((ROOT / 'experiments').glob('*.py')):
    # A benchmark may write one to a file of its own.
    if 'def grid()' in path.read_text() and not path.match('bench_*'):
      for run in grid.load(str(path)).runs:
        assert config.Run.from_dict(run.to_dict()) == run


def test_the_time_of_reading_is_measured_as_the_readme_says(
  monkeypatch, capsys
):
  bench = runpy.run_path(str(ROOT / 'experiments' / 'bench_data.py'))
  experiment = grid.load(str(ROOT / 'experiments' / 'quickstart.py'))
  planned = experiment._replace(runs=(small.run(),))
  monkeypatch.setattr(grid, 'load', lambda file: planned)
  monkeypatch.setitem(bench['main'].__globals__, 'ROUNDS', 1)
  bench['main']()
  lines = capsys.readouterr().out.splitlines()
  assert [line.split()[0] for line in lines[2:]] == ['12', '24', 'all']


def test_the_notebook_runs_from_end_to_end(tmp_path, monkeypatch):
  nbclient = pytest.importorskip('nbclient', reason='needs the extra [dev]')
  nbformat = pytest.importorskip('nbformat')
  monkeypatch.setenv('POSEXP_STEPS', '2')
  # Compiling is what takes the time of so few steps.
  monkeypatch.setenv('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')
  monkeypatch.setenv('POSEXP_EXAMPLES', '4')
  monkeypatch.setenv('POSEXP_WORKDIR', str(tmp_path / 'w'))
  folder = ROOT / 'colab'
  notebook = nbformat.read(folder / 'quickstart.ipynb', as_version=4)
  # Fewer runs of the same kinds: one scheme and its retrofits, two lengths.
  text = (ROOT / 'experiments/quickstart.py').read_text()
  for cut in ('schemes.NoPE(),', 'schemes.ALiBi(),', ', 64, 128'):
    assert cut in text
    text = text.replace(cut, '')
  text = re.sub(r'schemes\.T5\([^)]*\),', '', text)
  (tmp_path / 'few.py').write_text(text)
  for cell in notebook.cells:
    cell.source = cell.source.replace(
      '../experiments/quickstart.py', str(tmp_path / 'few.py')
    )
  nbclient.NotebookClient(
    notebook, timeout=300, resources={'metadata': {'path': str(folder)}}
  ).execute()
  shown = [
    output.get('data', {})
    for cell in notebook.cells
    for output in cell.get('outputs', [])
  ]
  assert any('image/png' in data for data in shown)
  assert os.path.exists(tmp_path / 'w' / 'quickstart.pdf')
