"""What `make check` runs of a change."""

import grimp
import pytest

from tests import changed


@pytest.fixture(scope='module')
def graph():
  return grimp.build_graph('posexp', 'tests', cache_dir=None)


@pytest.mark.parametrize('module', ['rotary', 'bias'])
def test_a_module_and_the_test_named_like_it_are_first(module, graph):
  path = f'posexp/schemes/{module}.py'
  chosen = changed.selected([path], graph)
  assert chosen[0] == path
  assert chosen[1].startswith(f'tests/jax/{module}')
  assert all((changed.ROOT / path).exists() for path in chosen)


def test_what_no_test_imports_is_tested_through_what_does(graph):
  (internal, *others) = changed.selected(['posexp/cli/errors.py'], graph)
  assert internal == 'posexp/cli/errors.py'
  assert 'tests/e2e/cli_test.py' in others


def test_who_uses_a_helper_of_tests_is_tested(graph):
  chosen = changed.selected(['tests/crash.py'], graph)
  assert {'tests/e2e/pool_test.py', 'tests/e2e/hosts_test.py'} <= set(chosen)
  assert 'tests/crash.py' not in chosen


def test_a_page_is_tested_by_whoever_names_it(graph):
  assert 'tests/e2e/commands_test.py' in changed.selected(['README.md'], graph)
  assert changed.selected(['LICENSE'], graph) == []
