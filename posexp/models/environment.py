"""What a number is computed with: settings, versions and devices."""

import contextlib
import importlib.metadata
import os
import platform
import re
from collections.abc import Iterator
from typing import Any

import jax
import jax.experimental

from posexp import component, version
from posexp.attention import precision

# It was in `experimental` before JAX 0.8.
_at = jax if hasattr(jax, 'enable_x64') else jax.experimental
_enable_x64: Any = _at.enable_x64

# Of XLA_FLAGS: what lets XLA compute other numbers, faster.
_FAST = re.compile(
  r'--xla_\w*enable_fast_math(=true|=1)?(?=\s|$)', re.IGNORECASE
)


@contextlib.contextmanager
def fixed() -> Iterator[None]:
  """Fix the settings of JAX that change random numbers or arithmetic.

  To JAX's own defaults, whatever the environment or the user's code says, in
  this thread, but for products of float32 numbers, which are float32 on every
  device; a model of another `compute` sets its own precision. Every program
  whose results are kept runs within it.

  Raises:
    UserError: for a setting that JAX lets nobody fix for a part of a program.

  >>> with jax.default_prng_impl('rbg'), fixed():
  ...   jax.random.key_impl(jax.random.key(0))
  'threefry2x32'
  """
  if offset := getattr(jax.config, 'jax_random_seed_offset', 0):
    raise component.UserError(
      f'JAX_RANDOM_SEED_OFFSET is {offset}, with which a seed is another one: '
      'leave it out, and choose seeds with --seeds'
    )
  if fast := _FAST.search(os.environ.get('XLA_FLAGS', '')):
    raise component.UserError(
      f'XLA_FLAGS has {fast[0]}, with which the same run has other numbers: '
      'leave it out'
    )
  with (
    jax.default_prng_impl('threefry2x32'),
    jax.threefry_partitionable(True),
    jax.default_matmul_precision(precision.of('float32')),
    _enable_x64(False),
  ):
    yield


def versions() -> dict[str, str]:
  """Return the versions that a number was computed with."""
  packages = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy')
  return {
    'posexp': version.VERSION,
    'python': platform.python_version(),
    **{name: importlib.metadata.version(name) for name in packages},
  }


def device(on: jax.sharding.Mesh) -> dict[str, Any]:
  """Return the devices that a number was computed on."""
  first = on.devices.flat[0]
  return {
    'platform': first.platform,
    'kind': first.device_kind,
    'mesh': dict(on.shape),
    'processes': jax.process_count(),
    'machine': platform.machine(),
  }
