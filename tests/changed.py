"""Runs the tests that a change touches, nearest first.

  python -m tests.changed

A change is what differs from where this branch left the main one, committed or
not. It touches the tests among it, the docstrings of its modules, and the tests
that import such a module or name such a file; where no test does, those of the
modules that do. Arguments are handed to pytest.
"""

import pathlib
import subprocess
import sys
from collections.abc import Iterable

import grimp
import pytest

ROOT = pathlib.Path(__file__).parents[1]
RINGS = ('tests.jax.', 'tests.e2e.')  # The unit tests are run in any case.
MAIN = ('origin/main', 'main')


def git(*words: str) -> list[str]:
  """Return the lines that git prints; none where it fails."""
  ran = subprocess.run(
    ['git', *words], cwd=ROOT, capture_output=True, text=True
  )
  return ran.stdout.splitlines() if ran.returncode == 0 else []


def changed_files() -> list[str]:
  """Return the paths of a change that are still there."""
  bases = (git('merge-base', 'HEAD', branch) for branch in MAIN)
  base = next(filter(None, bases), ['HEAD'])[0]
  paths = git('diff', '--name-only', base)
  paths += git('ls-files', '--others', '--exclude-standard')
  return sorted(path for path in set(paths) if (ROOT / path).exists())


def tests_importing(graph: grimp.ImportGraph, module: str) -> set[str]:
  """Return the test modules nearest to a module, up the imports.

  Who imports a package has its modules: `from posexp import schemes`.
  """
  seen, level = {module}, {module}
  while level:
    above = set()
    for name in level:
      above |= graph.find_modules_that_directly_import(name)
    tests = {name for name in above if is_test(name)}
    if tests:
      return tests
    level = {name for name in above if name.startswith('posexp.')} - seen
    seen |= level
  return set()


def is_test(module: str) -> bool:
  return module.startswith(RINGS) and module.endswith('_test')


def is_file(module: str) -> bool:
  return (ROOT / path_of(module)).exists()


def path_of(module: str) -> str:
  return f'{module.replace(".", "/")}.py'


def module_of(path: str) -> str:
  return path.removesuffix('.py').removesuffix('/__init__').replace('/', '.')


def selected(paths: Iterable[str], graph: grimp.ImportGraph) -> list[str]:
  """Return what pytest is to run, the nearest first.

  Nearest are the changed files themselves, then tests named like one of them,
  then those that import least besides.
  """
  paths = list(paths)
  modules = {module_of(path) for path in paths} & graph.modules
  themselves = {m for m in modules if is_test(m) or m.startswith('posexp')}
  others = {path for path in paths if module_of(path) not in graph.modules}
  tests = set().union(*(tests_importing(graph, m) for m in modules))
  for name in filter(is_file, graph.modules):
    text = (ROOT / path_of(name)).read_text()
    if any(f"'{pathlib.PurePath(path).name}'" in text for path in others):
      tests |= {name} if is_test(name) else tests_importing(graph, name)
  stems = {pathlib.PurePath(path).stem for path in paths}

  def distance(name: str) -> tuple[bool, int, str]:
    stem = name.rpartition('.')[2]
    imports = graph.find_modules_directly_imported_by(name)
    return not any(s in stem for s in stems), len(imports), name

  own = [path for path in paths if module_of(path) in themselves]
  rest = sorted(tests - themselves, key=distance)
  return [*own, *(path_of(name) for name in rest)]


def main(arguments: list[str]) -> int:
  paths = changed_files()
  graph = grimp.build_graph('posexp', 'tests', cache_dir=None)
  chosen = selected(paths, graph)
  print(f'{len(paths)} files changed: {len(chosen)} to test besides tests/unit')
  if not chosen:
    return 0
  print('Nearest first:', *chosen, sep='\n', flush=True)
  code = pytest.main([*arguments, *(str(ROOT / path) for path in chosen)])
  # A module without an example has no test.
  return 0 if code == pytest.ExitCode.NO_TESTS_COLLECTED else int(code)


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
