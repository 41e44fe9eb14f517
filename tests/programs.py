"""JAX as it runs in the process of the tests: strictly, on two devices."""

import jax
import pytest

from posexp import component
from posexp.evaluation import diagnostics, evaluate
from posexp.training import capacity, train_step

# Before any backend starts: two devices, so that sharding is really exercised.
jax.config.update('jax_num_cpu_devices', 2)
# No silent broadcasting of ranks and no silent promotion of dtypes.
jax.config.update('jax_numpy_rank_promotion', 'raise')
jax.config.update('jax_numpy_dtype_promotion', 'strict')


# What keeps programs by what they compute.
KEPT = (
  (train_step, '_programs'),
  (diagnostics, '_program'),
  (evaluate, 'predictor'),
  (capacity, 'fitting'),
)


@pytest.fixture
def own_programs():
  """Give a test that patches what is in programs, or counts them, its own.

  All others share theirs, before and after: to trace a small run again takes
  longer than to do it.
  """
  with pytest.MonkeyPatch.context() as patch:
    for module, name in KEPT:
      kept = getattr(module, name)
      patch.setattr(module, name, component.cached(64)(kept.__wrapped__))
    yield


@pytest.fixture(autouse=True)
def patched(request: pytest.FixtureRequest):
  """Give whoever patches programs of his own, unasked."""
  if 'monkeypatch' in request.fixturenames:
    request.getfixturevalue('own_programs')
