"""What needs no JAX is tested without: a test that imports it fails."""

import pathlib
import sys

import pytest

RING = pathlib.Path(__file__).parent


@pytest.fixture(autouse=True)
def without_jax():
  before = 'jax' in sys.modules
  yield
  # Where tests of other rings run in this process, JAX may be there already.
  assert before or 'jax' not in sys.modules, 'imports JAX: belongs in tests/jax'


def pytest_collection_finish(session: pytest.Session) -> None:
  unit_alone = all(RING in item.path.parents for item in session.items)
  if unit_alone and 'jax' in sys.modules:
    raise pytest.UsageError('a module of tests/unit imports JAX')
