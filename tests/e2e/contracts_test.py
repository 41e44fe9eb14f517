"""The contracts of setup.cfg catch imports that the plan of posexp forbids."""

import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
LINT = 'from importlinter import cli; cli.lint_imports_command()'


@pytest.fixture(scope='module')
def tree(tmp_path_factory):
  """A copy of the sources, to break."""
  folder = tmp_path_factory.mktemp('tree')
  for name in ('posexp', 'experiments', 'tests'):
    shutil.copytree(
      ROOT / name, folder / name, ignore=shutil.ignore_patterns('__pycache__')
    )
  shutil.copy(ROOT / 'setup.cfg', folder)
  return folder


def broken(tree: pathlib.Path) -> tuple[int, str]:
  """Return what lint-imports says of a tree, and its exit code."""
  ran = subprocess.run(
    [sys.executable, '-c', LINT, 'setup.cfg', '--no-cache', '--no-logo'],
    cwd=tree,
    env={'PYTHONPATH': str(tree)},
    capture_output=True,
    text=True,
  )
  return ran.returncode, ran.stdout + ran.stderr


def test_the_plan_is_kept(tree):
  code, said = broken(tree)
  assert code == 0, said


@pytest.mark.parametrize(
  ('path', 'line', 'contract'),
  [
    ('attention/dense', 'from posexp.models import memory', 'is below it'),
    ('schemes/base', 'import posexp.tasks.base', 'is below it'),
    ('training/loop', 'from posexp.evaluation import evaluate', 'is below it'),
    ('novelty', '', 'is below it'),
    ('results/records', 'import jax.numpy', 'without JAX'),
    ('plots/layout', 'from posexp.schemes import rotary', 'without JAX'),
    ('training/loop', 'from flax import linen', 'imports flax'),
    ('cli/results', 'from matplotlib import pyplot', 'imports matplotlib'),
    ('cli/results', 'from posexp import Run', 'not the facade'),
    ('cli/results', 'from tests import small', 'imports tests'),
    ('cli/results', 'from experiments import text', 'imports an experiment'),
  ],
)
def test_a_wrong_import_is_caught(path, line, contract, tree):
  file = tree / 'posexp' / f'{path}.py'
  before = file.read_text() if file.exists() else None
  file.write_text((before or '') + f'\n{line}\n')
  try:
    code, said = broken(tree)
  finally:
    if before is None:
      file.unlink()
    else:
      file.write_text(before)
  assert code == 1
  assert contract in said.partition('Broken contracts')[2], said
