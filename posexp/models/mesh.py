"""The device mesh: seeds side by side, and a batch split over what is left."""

import contextlib
import functools
import math
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from posexp.results import files

SEED, DATA = 'seed', 'data'


def use_all_cores() -> None:
  """Make every core of the CPU a device, if JAX has not started yet.

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
  """Make a mesh ('seed', 'data') of the devices that the work can use.

  On the CPU of one process every device takes whole seeds, as many rounds as
  it needs, and the mesh is the same for any number of seeds: a seed then gives
  the same bits whatever other seeds are in the run. On accelerators, and over
  several processes, the seeds are spread as far as they divide, and the devices
  left over split the batch.
  """
  devices = jax.devices()
  if looped(devices[0]):
    along_seed, along_data = len(devices), 1
  else:
    along_seed = math.gcd(seeds, len(devices))
    along_data = math.gcd(batch, len(devices) // along_seed)
  used = devices[: along_seed * along_data]
  return Mesh(np.asarray(used).reshape(along_seed, along_data), (SEED, DATA))


def by_example(on: Mesh, most: int) -> Mesh:
  """So many devices of a mesh, all along 'data', for long sequences on a CPU.

  A few long sequences divide more evenly than seeds do.
  """
  if not looped(on.devices.flat[0]):
    return on
  return Mesh(on.devices.reshape(1, -1)[:, :most], (SEED, DATA))


def by_head(heads: int) -> NamedSharding:
  """Queries, keys or values, B x L x H x E, their heads spread over devices.

  No head needs another's: what each device computes of attention to one
  sequence needs nothing of the others.

  >>> tuple(by_head(4).spec)
  (None, None, 'head')
  """
  number = math.gcd(heads, jax.local_device_count())
  mesh = Mesh(np.asarray(jax.local_devices()[:number]), ('head',))
  return NamedSharding(mesh, PartitionSpec(None, None, 'head'))


def on_cpu(device: jax.Device) -> bool:
  """Return whether a device is a CPU, where programs are shaped differently."""
  return device.platform == 'cpu'


# Whether this process has joined others; JAX is asked only then, as to be asked
# makes it take the devices.
joined = False


def several() -> bool:
  """Return whether several processes compute one run."""
  return joined and jax.process_count() > 1


def looped(device: jax.Device) -> bool:
  """Return whether a device does its seeds one by one: in a mesh, too.

  Processes that wait for each other within a step may not be in different
  rounds, so that several do them all at once, as accelerators do.
  """
  return on_cpu(device) and not several()


def rounds(on: Mesh, seeds: int) -> int:
  """Return the seeds rounded up to what the mesh divides; the rest are idle."""
  along = on.shape[SEED]
  # A loop over one seed would be inlined and fused otherwise, and the bits of
  # a seed would differ from those it has among others.
  least = 2 if looped(on.devices.flat[0]) else 1
  return max(least, -(-seeds // along)) * along


def pad_seeds(tree: Any, on: Mesh, seeds: int) -> Any:
  """Return the tree on the mesh for so many seeds, with copies of the first.

  In the places of those that are idle, and of those that the tree lacks.
  """
  size = rounds(on, seeds)

  def pad(x):
    return np.concatenate([x, np.repeat(x[:1], size - len(x), axis=0)])

  padded = jax.tree.map(lambda x: pad(np.asarray(x)), tree)
  return put(padded, over_seeds(on))


def put(tree: Any, where: NamedSharding) -> Any:
  """Arrays of the host on the devices of a mesh, of any process.

  All processes have the same arrays, and each gives the parts of its devices.
  """
  if not several():
    return jax.device_put(tree, where)
  return jax.tree.map(
    lambda x: jax.make_array_from_callback(x.shape, where, x.__getitem__),
    tree,
  )


def fetch(tree: Any) -> Any:
  """Arrays of a mesh on the host, whole, in every process."""

  def here(x):
    return getattr(x, 'is_fully_addressable', True)

  for array in jax.tree.leaves(tree):
    if not here(array):
      tree = _gathered(replicated(array.sharding.mesh))(tree)
      break
  return jax.tree.map(np.asarray, tree)


@functools.lru_cache(maxsize=32)
def _gathered(where: NamedSharding) -> Callable[[Any], Any]:
  return jax.jit(lambda tree: tree, out_shardings=where)


def each_seed(
  one: Callable[..., Any], on: Mesh, seeds: int, *trees: Any
) -> Any:
  """`one` for each of a device's seeds; call it inside a `shard_map`.

  On a CPU they run one after another, which keeps each in cache and lets the
  idle ones cost nothing; an accelerator wants them all at once, see `looped`.

  Args:
    one: a function of one seed's entries of the trees.
    on: the mesh.
    seeds: how many seeds are not idle.
    *trees: with the device's seeds as first axis.
  """
  if not looped(on.devices.flat[0]):
    return jax.vmap(one)(*trees)
  here = jax.tree.leaves(trees)[0].shape[0]
  number_S = jax.lax.axis_index(SEED) * here + jnp.arange(here)

  def busy_or_idle(entry):
    number, of_seed = entry

    def idle(*_):
      shapes = jax.eval_shape(one, *of_seed)
      return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

    return jax.lax.cond(number < seeds, one, idle, *of_seed)

  return jax.lax.map(busy_or_idle, (number_S, trees))


def over_seeds(on: Mesh) -> NamedSharding:
  """Return the sharding of an array whose first axis is the seed."""
  return NamedSharding(on, PartitionSpec(SEED))


def replicated(on: Mesh) -> NamedSharding:
  """Return the sharding of an array that every device holds whole."""
  return NamedSharding(on, PartitionSpec())


def cache_compilations() -> None:
  """Keep compiled programs on disk, so that a second run starts at once.

  Under the user's cache directory, unless JAX_COMPILATION_CACHE_DIR says
  where, or it is set to nothing to have none. A user without a home has none.
  """
  if 'JAX_COMPILATION_CACHE_DIR' in os.environ:
    return
  if (cache := files.cache()) is not None:
    jax.config.update('jax_compilation_cache_dir', str(cache / 'jax'))
