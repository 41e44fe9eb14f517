"""Whole commands: processes, browsers, notebooks and pages.

A test of these is skipped where what it needs is not installed. Where the
variable POSEXP_REQUIRE names it, as POSEXP_REQUIRE=browser,notebooks,docs does,
the test fails instead.
"""

import os

import pytest

from tests import crash
from tests.programs import own_programs, patched  # noqa: F401

REQUIRED = set(filter(None, os.environ.get('POSEXP_REQUIRE', '').split(',')))
NEEDS = {
  'browser': lambda item: 'browser' in item.fixturenames,
  'notebooks': lambda item: item.path.stem == 'notebooks_test',
  'docs': lambda item: item.path.stem == 'docs_site_test',
}


def pytest_configure() -> None:
  if unknown := REQUIRED - NEEDS.keys():
    raise pytest.UsageError(
      f'POSEXP_REQUIRE has {sorted(unknown)}; there is {", ".join(NEEDS)}'
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
  report = yield
  needs = {name for name in REQUIRED if NEEDS[name](item)}
  if needs and report.skipped and not hasattr(report, 'wasxfail'):
    report.outcome = 'failed'
    report.longrepr = f'{", ".join(needs)} required, but: {report.longrepr}'
  return report


@pytest.fixture(scope='session')
def grid_file(tmp_path_factory):
  """A grid to be interrupted; its folder is the session's, by all processes."""
  folder = tmp_path_factory.getbasetemp()
  if 'PYTEST_XDIST_WORKER' in os.environ:
    folder = folder.parent
  folder = folder / 'grid'
  folder.mkdir(exist_ok=True)
  return crash.grid(folder, 300)


@pytest.fixture(scope='session')
def grid_whole(grid_file):
  """Its runs of RoPE by a process that is left alone.

  By two, perhaps, that share the directory: one waits for the other.
  """
  workdir = grid_file.parent / 'whole'
  crash.finish(crash.command(grid_file, workdir, crash.ONLY))
  return workdir
