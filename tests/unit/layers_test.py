"""Imports may only point down; read from the source, nothing is imported."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[2]

# Bottom first. A module may import what is on a lower line and, within its
# own package, its siblings.
ORDER = (
  ('component', 'version', 'files', 'windows', 'columns', 'options'),
  ('compilations', 'process', 'explain_records'),
  ('blocks',),
  ('schemes', 'tasks'),
  ('datasets',),
  ('coverage', 'catalogue', 'explain_rotations', 'lengths'),
  ('blockwise', 'choice', 'library'),
  ('fused',),
  ('listing', 'explain'),
  ('explain_tables',),
  ('attention',),
  ('settings', 'changes'),
  ('config',),
  ('packs',),
  ('model',),
  ('sharding', 'checkpoint', 'generate', 'warmin'),
  ('memory', 'optimise', 'outcomes'),
  ('train', 'evaluate'),
  ('shown',),
  ('attention_statistics',),
  ('diagnose',),
  ('retrofit', 'measure'),
  ('record_files',),
  ('records',),
  ('attention_records', 'trackers'),
  ('collapse', 'export'),
  ('statistics',),
  ('tables', 'paired', 'inference', 'comparisons'),
  ('figures',),
  ('frames',),
  ('perplexity', 'cost_records'),
  ('cost_tables', 'cost_figures'),
  ('explain_figures',),
  ('study',),
  ('report', 'paper'),
  ('launch',),
  ('factors',),
  ('search',),
  ('bench', 'cost_programs'),
  ('cost_growth', 'cost_question'),
  ('costs',),
  ('study_sizes', 'mechanisms'),
  ('studies',),
  ('inform', 'reading'),
  ('cli',),
  ('__main__',),
)
LEVEL = {name: n for n, names in enumerate(ORDER) for name in names}

# Read by machines without an accelerator, or without JAX at all.
NO_JAX = {
  'version',
  'component',
  'files',
  'columns',
  'record_files',
  'records',
  'statistics',
  'inference',
  'comparisons',
  'report',
  'tables',
  'figures',
  'frames',
  'explain_records',
  'explain_figures',
  'explain_tables',
  'paper',
  'perplexity',
  'paired',
  'attention_records',
  'trackers',
  'export',
  'collapse',
  'cost_records',
  'cost_tables',
  'cost_figures',
  'study',
}
FORBIDDEN = {'evaluate': {'train'}, 'train': {'evaluate'}}
ONLY_IN = {'flax': {'model'}}


def imported(source: str) -> set[str]:
  """Every dotted name that a file imports, wherever in the file."""
  names: set[str] = set()
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, 'write imports in full, not relative'
      names |= {f'{node.module}.{alias.name}' for alias in node.names}
  return names


def wrong_arrows(module: str, source: str) -> list[str]:
  """What a top-level module of posexp, or a file in it, must not import."""
  if module not in LEVEL:
    return [f'posexp/{module} is on no layer: add it to ORDER in {__name__}']
  wrong = []
  for name in sorted(imported(source)):
    package, *path = name.split('.')
    if package in ('experiments', 'tests'):
      wrong.append(f'{module} imports {package}, which nothing may import')
    if package == 'jax' and module in NO_JAX:
      wrong.append(f'{module} imports jax, which must not be needed there')
    if module not in ONLY_IN.get(package, {module}):
      wrong.append(f'{module} imports {package}: only {ONLY_IN[package]} may')
    if package == 'posexp':
      wrong += _wrong_target(module, path)
  return wrong


def _wrong_target(module: str, path: list[str]) -> list[str]:
  target = path[0] if path else ''
  if target not in LEVEL:
    return [
      f'{module} imports posexp.{target or "*"}: import the module that '
      'defines it, not the package, or add it to ORDER'
    ]
  if module in NO_JAX and target not in NO_JAX:
    return [f'{module} imports {target}, which needs jax']
  upward = LEVEL[target] >= LEVEL[module] and target != module
  if upward or target in FORBIDDEN.get(module, ()):
    return [f'{module} imports {target}, which lies above or beside it']
  return []


def files() -> list[tuple[str, pathlib.Path]]:
  """Every file with its top-level module; the facade may import anything."""
  package = ROOT / 'posexp'
  return [
    (path.relative_to(package).parts[0].removesuffix('.py'), path)
    for path in sorted(package.rglob('*.py'))
    if path != package / '__init__.py'
  ]


@pytest.mark.parametrize(
  'module, path', files(), ids=lambda x: '' if isinstance(x, str) else x.stem
)
def test_imports_point_down(module, path):
  assert wrong_arrows(module, path.read_text()) == []


@pytest.mark.parametrize('path', sorted(ROOT.glob('experiments/**/*.py')))
def test_experiments_stand_alone(path):
  names = {name.split('.')[0] for name in imported(path.read_text())}
  assert not names & {'experiments', 'tests'}


@pytest.mark.parametrize(
  'module, source, sentence',
  [
    ('attention', 'from posexp import model', 'attention imports model'),
    ('schemes', 'import posexp.tasks.base', 'schemes imports tasks'),
    ('evaluate', 'def f():\n  from posexp import train', 'imports train'),
    ('records', 'import jax.numpy as jnp', 'records imports jax'),
    ('figures', 'from posexp import train', 'train, which needs jax'),
    ('train', 'from flax import linen', 'train imports flax: only'),
    ('cli', 'import experiments.quickstart', 'which nothing may import'),
    ('cli', 'from posexp import Run', 'import the module that defines it'),
    ('novelty', '', 'posexp/novelty is on no layer: add it to ORDER'),
  ],
)
def test_a_wrong_arrow_is_caught(module, source, sentence):
  (found,) = wrong_arrows(module, source)
  assert sentence in found


def test_a_right_arrow_is_not():
  source = 'import jax\nfrom posexp import schemes, tasks\nimport flax'
  assert wrong_arrows('model', source) == []
