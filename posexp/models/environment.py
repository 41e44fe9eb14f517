"""What a number was computed with: versions and devices."""

import importlib.metadata
import platform
from typing import Any

import jax

from posexp import version


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
