"""The device mesh: seeds side by side, and a batch split over what is left."""

import contextlib
import math
import os

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

SEED, DATA = 'seed', 'data'


def use_all_cores() -> None:
  """Makes every core of the CPU a device, if JAX has not started yet.

  A step of a small model does not fill two cores; two devices do. It changes
  nothing on a GPU or TPU, and nothing once JAX has looked for its devices.
  """
  with contextlib.suppress(RuntimeError):
    cores = len(os.sched_getaffinity(0))
    if 'xla_force_host_platform_device_count' not in os.environ.get(
      'XLA_FLAGS', ''
    ):
      jax.config.update('jax_num_cpu_devices', cores)


def mesh(seeds: int, batch: int) -> Mesh:
  """A mesh ('seed', 'data') over as many devices as divide the work evenly.

  Seeds come first, since they need no communication; the devices left over
  split the batch. Three seeds on two devices split each batch of 64 in two.
  """
  devices = jax.devices()
  along_seed = math.gcd(seeds, len(devices))
  along_data = math.gcd(batch, len(devices) // along_seed)
  used = devices[: along_seed * along_data]
  return Mesh(np.asarray(used).reshape(along_seed, along_data), (SEED, DATA))


def over_seeds(on: Mesh) -> NamedSharding:
  """The sharding of an array whose first axis is the seed."""
  return NamedSharding(on, PartitionSpec(SEED))


def replicated(on: Mesh) -> NamedSharding:
  """The sharding of an array that every device holds whole."""
  return NamedSharding(on, PartitionSpec())


def cache_compilations() -> None:
  """Keeps compiled programs on disk, so that a second run starts at once.

  Under the user's cache directory, unless JAX_COMPILATION_CACHE_DIR says
  where, or it is set to nothing to have none.
  """
  if 'JAX_COMPILATION_CACHE_DIR' in os.environ:
    return
  home = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
  jax.config.update(
    'jax_compilation_cache_dir', os.path.join(home, 'posexp', 'jax')
  )
