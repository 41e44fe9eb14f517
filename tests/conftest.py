"""Settings of every test, made before a test or its process imports JAX.

Compiling is what tests take their time for, and almost all ask what goes where,
which no optimisation changes. So programs are compiled quickly, by flags in the
environment that processes of tests inherit. A module about bits that users get
is marked `optimised`: it is skipped, and runs where POSEXP_OPTIMISED is set,
with the flags that users have. `make test` does both.

POSEXP_SECONDS bounds a run: what has not started by then is skipped and said.
"""

import gc
import os
import pathlib
import subprocess
import sys
import time
from importlib import metadata

import pytest

CACHE = pathlib.Path(__file__).parents[1] / '.pytest_cache'
QUICK = 'POSEXP_OPTIMISED' not in os.environ
START = time.monotonic()
SECONDS = float(os.environ.get('POSEXP_SECONDS', 'inf'))
# What makes compiling faster and programs slower, so that no user has it.
FLAGS = (
  # Of compiling a small program more than half is MLIR; the older emitters have
  # none.
  '--xla_cpu_use_fusion_emitters=false',
  # A small program is not worth cutting into parts that threads compile.
  '--xla_cpu_parallel_codegen_split_count=1',
)

# Warnings are errors, but for those that no change of ours can silence.
THIRD_PARTY = (
  # A library's own use of something that it or its dependency retires.
  'ignore::DeprecationWarning:(flax|optax|orbax|tensorflow|etils)',
  'ignore::PendingDeprecationWarning',
  # Threads of a checkpoint writer and of XLA outlive a fork in subprocesses.
  'ignore:os.fork:RuntimeWarning',
)


def set_environment() -> None:
  """Set what JAX and posexp read from the environment."""
  # No frozen sets of the user's own.
  os.environ['POSEXP_DATA'] = str(CACHE / 'no_data')
  # All processes compile each small operation once between them.
  os.environ['JAX_COMPILATION_CACHE_DIR'] = str(CACHE / 'jax')
  os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'
  if QUICK:
    os.environ['JAX_DISABLE_MOST_OPTIMIZATIONS'] = '1'
    given = os.environ.get('XLA_FLAGS', '')
    known = [f for f in FLAGS if f not in given and xla_knows(f)]
    os.environ['XLA_FLAGS'] = ' '.join([given, *known]).strip()


def xla_knows(flag: str) -> bool:
  """Return whether XLA knows a flag; one that it does not ends a process."""
  answer = CACHE / f'{flag.strip("-")}-{metadata.version("jaxlib")}'
  if not answer.exists():
    probe = subprocess.run(
      [sys.executable, '-c', 'import jax; jax.devices()'],
      env=os.environ | {'XLA_FLAGS': flag, 'JAX_PLATFORMS': 'cpu'},
      capture_output=True,
      text=True,
    )
    known = 'Unknown flag' not in probe.stderr
    assert probe.returncode == 0 or not known, probe.stderr
    CACHE.mkdir(exist_ok=True)
    answer.write_text(str(known))
  return answer.read_text() == 'True'


set_environment()


def pytest_configure(config: pytest.Config) -> None:
  # Traces make so many objects that looking for garbage is a tenth of the time.
  gc.freeze()
  gc.set_threshold(100_000)
  config.addinivalue_line('filterwarnings', 'error')
  for line in THIRD_PARTY:
    config.addinivalue_line('filterwarnings', line)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
  if QUICK:
    reason = 'about bits that users get: make test, or POSEXP_OPTIMISED=1'
    for item in items:
      if item.get_closest_marker('optimised'):
        item.add_marker(pytest.mark.skip(reason=reason))


def pytest_runtest_setup() -> None:
  if time.monotonic() - START > SECONDS:
    pytest.skip('no time left: make test runs it')
