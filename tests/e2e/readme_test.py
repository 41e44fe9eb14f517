"""What README and docs show works as shown."""

import os
import re
import runpy
import subprocess
import sys

import pytest

from posexp import data, tasks
from posexp.cli import main
from posexp.data import store
from posexp.launch import grid
from posexp.runs import config
from tests import recorded, small, written

ROOT = written.ROOT
BLOCKS = dict(
  reversed(
    [
      (block, page)
      for page, block in written.blocks('python')
      if not page.startswith(written.FROM_DOCSTRINGS)
    ]
  )
)
# Blocks that have a test of their own, found by what stands in them.
APART = ('class SquareRoot', 'warm_in', 'data_source')
# What others print, among other things.
PRINTED = {
  'from_hf': 'RoPE(YaRN(4, 2048)) + ALiBi()',
  'generation.generate': '(2, 5)',
  'tasks.Mixture': 'weights=(1, 0)',
  'class Steps': "Steps() + RoPE() ('rotate', 'bias')",
  'class First': '[ True  True]',
  'posexp.attend': '(1, 300, 2, 16)',
  'intervals.wilson': '3 of 4: 0.75 [0.30, 0.95]',
  'contrasts.detectable': ' 5 seeds:  1.68 alone,     3.16 among 10',
}


def block_with(text):
  """The one block of Python, of README or docs, that has a text in it."""
  (found,) = {block for block in BLOCKS if text in block}
  return found


@pytest.mark.parametrize(
  'block',
  [b for b in BLOCKS if not any(text in b for text in APART)],
  ids=lambda b: f'{BLOCKS[b]}: {b.splitlines()[0]}',
)
def test_a_block_runs_as_it_stands(block, tmp_path, monkeypatch, capsys):
  workdir = tmp_path / 'runs' / 'quickstart'
  recorded.write(workdir)
  monkeypatch.chdir(tmp_path)
  if 'results.csv' in block:
    words = ['export', str(workdir), '--to=csv']
    assert main.main(['posexp', *words]) == 0
  capsys.readouterr()
  exec(block, {})
  out = capsys.readouterr().out
  for text, shown in PRINTED.items():
    assert text not in block or shown in out


def test_the_experiment_of_the_readme_runs_as_it_stands(tmp_path):
  path = tmp_path / 'my_question.py'
  path.write_text(block_with('class SquareRoot'))
  runs = grid.load(str(path)).runs
  assert [str(run.scheme) for run in runs] == [
    'SquareRoot()',
    'NoPE()',
    'SquareRoot(strength=0.1) + RoPE()',
    'NoPE()',
  ]
  runs = grid.change(runs, [*small.FEW, 'evaluate.lengths=32'])
  assert small.execute(tmp_path / 'w', *runs) == {}


def test_the_retrofits_of_the_docs_are_runs(capsys):
  space = {}
  exec(block_with('warm_in'), space)
  found = [run.changes for run in space['retrofits'](space['run'])]
  assert [len(changes) for changes in found] == [1, 2, 2, 3, 3, 2]
  assert found[4][1:] == (
    'adds ALiBi()',
    'adapted: 100 steps at 128, bias warmed in over 50',
  )


@pytest.mark.parametrize('text', (*APART, *PRINTED))
def test_what_has_a_test_of_its_own_is_shown(text):
  assert block_with(text)


def test_the_reader_of_the_readme_needs_tfds_alone(tmp_path):
  block = block_with('data_source')
  one = data.Set(tasks.Ordering(), 64)
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


def test_files_that_a_page_names_exist():
  for page in written.PAGES:
    text = re.sub(r'```.*?```', '', page.read_text(), flags=re.S)
    for path in re.findall(r'\]\(([^)#:]+)[^):]*\)', text):
      assert (page.parent / path).exists(), f'{page.name}: {path}'


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
