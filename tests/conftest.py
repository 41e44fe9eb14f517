"""Tests run strictly: what is merely tolerated elsewhere is an error here."""

import functools
import gc
import os
import pathlib

import jax
import pytest
from jax._src import compiler

from posexp.evaluation import diagnostics
from posexp.launch import job
from posexp.training import capacity, train_step
from tests import crash

# Before any backend starts: two devices, so that sharding is really exercised.
jax.config.update('jax_num_cpu_devices', 2)
# The two processes of a test run, and those that they start, compile each
# small operation once between them.
_CACHE = pathlib.Path(__file__).parent.parent / '.pytest_cache' / 'jax'
for _name, _value in (
  ('jax_compilation_cache_dir', str(_CACHE)),
  ('jax_persistent_cache_min_compile_time_secs', 0.0),
):
  jax.config.update(_name, _value)
  os.environ[_name.upper()] = str(_value)
# Compiling is what tests take their time for, and almost all ask what goes
# where, which no optimisation changes. Where it is what a compiler makes of two
# programs that ought to agree, a module is marked `optimised`; all are with the
# variable.
QUICKLY = 'POSEXP_OPTIMISED' not in os.environ
# Of compiling a small program more than half is MLIR, which this option leaves
# to the older emitters. Programs run slower by it, so no user has it.
EMITTERS = 'xla_cpu_use_fusion_emitters'
_FLAGS = os.environ.get('XLA_FLAGS', '').replace(f'--{EMITTERS}=false', '')
_options = compiler.get_compile_options
# No frozen sets of the user's own.
os.environ['POSEXP_DATA'] = str(_CACHE.parent / 'no_data')
# No silent broadcasting of ranks and no silent promotion of dtypes.
jax.config.update('jax_numpy_rank_promotion', 'raise')
jax.config.update('jax_numpy_dtype_promotion', 'strict')

# Warnings are errors, but for those that no change of ours can silence.
THIRD_PARTY = (
  # A library's own use of something that it or its dependency retires.
  'ignore::DeprecationWarning:(flax|optax|orbax|tensorflow|etils)',
  'ignore::PendingDeprecationWarning',
  # Threads of a checkpoint writer and of XLA outlive a fork in subprocesses.
  'ignore:os.fork:RuntimeWarning',
)


def pytest_configure(config: pytest.Config) -> None:
  # Traces make so many objects that looking for garbage is a tenth of the time.
  gc.freeze()
  gc.set_threshold(100_000)
  _compile(QUICKLY, fused=not QUICKLY)
  config.addinivalue_line('filterwarnings', 'error')
  for line in THIRD_PARTY:
    config.addinivalue_line('filterwarnings', line)


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


@pytest.fixture
def own_programs():
  """For a test that patches what is in programs, or counts them.

  Those that it finds are its own, and so are those that it makes. All others
  share theirs: to trace a small run again takes longer than to do it.
  """
  _forget()
  yield
  _forget()


@pytest.fixture(autouse=True)
def patched(request: pytest.FixtureRequest):
  """Whoever patches has programs of his own, unasked."""
  if 'monkeypatch' in request.fixturenames:
    request.getfixturevalue('own_programs')


def _forget() -> None:
  """Forgets the programs of runs that this process made."""
  for kept in (
    train_step._programs,
    diagnostics._program,
    job._evaluators,
    capacity.fitting,
  ):
    kept.cache_clear()


def _compile(quickly: bool, fused: bool = False) -> None:
  """Has what is compiled from here on compiled so; nothing older is kept."""
  _forget()
  jax.clear_caches()
  jax.config.update('jax_disable_most_optimizations', quickly)
  os.environ['JAX_DISABLE_MOST_OPTIMIZATIONS'] = str(int(quickly))
  if _has_emitters():
    # Here by the one function that all options come from, as flags of XLA are
    # read but once; by a flag in the processes that tests start.
    compiler.get_compile_options = functools.partial(_emitting, fused)
    flag = '' if fused else f' --{EMITTERS}=false'
    os.environ['XLA_FLAGS'] = _FLAGS + flag


@functools.cache
def _has_emitters() -> bool:
  """Whether XLA knows the option; one that it does not would end a process."""
  try:
    jax.jit(lambda x: x, compiler_options={EMITTERS: True})(0)
  except jax.errors.JaxRuntimeError:
    return False
  return True


def _emitting(emitters: bool, *args, **kwargs):
  options = _options(*args, **kwargs)
  options.env_option_overrides = [
    *options.env_option_overrides,
    (EMITTERS, emitters),
  ]
  return options


@pytest.fixture(autouse=True, scope='module')
def optimised(request: pytest.FixtureRequest):
  """In a module marked so, programs as users have them, or fused alike."""
  marked = request.node.get_closest_marker
  change = QUICKLY and (marked('optimised') or marked('fused'))
  if change:
    _compile(quickly=not marked('optimised'), fused=True)
  yield
  if change:
    _compile(QUICKLY)
