"""What an evaluation needs in memory, and how many sequences fit at once."""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

from posexp import component, schemes
from posexp.attention import dispatch, placed
from posexp.models import mesh as mesh_lib
from posexp.models import transformer

# What the sequences that a device works on at once may need, in bytes. It is
# the same on every machine, so that the same numbers come out.
BUDGET = 2**28

# Up to so many tokens a sequence is short: many are done at once, and all of
# their places are predicted.
SHORT = 128
# Tokens of long sequences that a CPU device does at once, unless one has more:
# what stays in its cache is half as quick again.
CACHED = 512

GIB = 2**30

# Where a container says how much memory it may use: cgroups, both versions.
CONTAINER = (
  '/sys/fs/cgroup/memory.max',
  '/sys/fs/cgroup/memory/memory.limit_in_bytes',
)


def sequence(net: transformer.Transformer, length: int, asked: int) -> int:
  """Estimate the bytes that the forward pass of one sequence needs.

    4 (L (5 D + c F / 2) + A + 2 T V),

  for L tokens, the residual stream, queries, keys and values of width D, an
  MLP of c matrices and width F, and logits of V tokens at T places and their
  softmax. Attention is A = (2 H + m) Q K, the logits, the weights and m >= H
  numbers that a scheme makes of each pair, for the queries Q of the widest
  layer and K = L keys; in blocks, Q = K = S, the tokens of one. The compiler
  needs 0.5 to 1.2 times as much.

  Args:
    net: the model.
    length: L, tokens that the model sees at once.
    asked: T, places that are predicted.
  """
  shape = net.shape
  queries = asked if shape.layers == 1 else length
  size = dispatch.block_size(
    net.scheme, shape.block, queries, length, shape.implementation
  )
  pairs = queries * length if size is None else size**2
  hidden = shape.feedforward or 4 * shape.width
  matrices = 3 if shape.activation == 'swiglu' else 2
  token = 5 * shape.width + matrices * hidden // 2
  logits = 2 * asked * net.vocabulary
  pair = 2 * shape.heads + max(shape.heads, _hidden(net.scheme, shape.dims))
  return 4 * (length * token + pair * pairs + logits)


@component.cached(maxsize=256)
def _hidden(scheme: schemes.Scheme, dims: schemes.Dims) -> int:
  """Return the most numbers that a bias holds at once for a pair of tokens.

  Those of a network are more than the logits that it gives.
  """
  size = 16

  def positions(params):
    at = scheme.remap(jnp.arange(size)[None], jax.random.key(0))
    x_BxLxD = jnp.zeros((1, size, dims.width))
    return scheme.locate(params, x_BxLxD, at, None)

  params = jax.eval_shape(lambda: scheme.init_layer(jax.random.key(0), dims))
  at = jax.eval_shape(positions, params)

  def bias(params, at):
    return placed.bias(scheme, params, dims.heads, at, at)

  return _widest(jax.make_jaxpr(bias)(params, at).jaxpr) // size**2


def _widest(jaxpr: Any) -> int:
  """Return how many numbers the largest matrix of a product in a program has.

  What is elementwise is fused into what follows, but for what goes into it.
  """
  widest = 0
  for eqn in jaxpr.eqns:
    if eqn.primitive.name == 'dot_general':
      sizes = [v.aval.size for v in (*eqn.invars, *eqn.outvars)]
      widest = max(widest, *sizes)
    widest = max([widest, *map(_widest, programs(eqn))])
  return widest


def programs(eqn: core.JaxprEqn) -> Iterator[core.Jaxpr]:
  """Return the programs within an operation: the body of a loop, say."""
  kinds = core.Jaxpr, core.ClosedJaxpr

  def is_program(x):
    return isinstance(x, kinds)

  for x in jax.tree.leaves(list(eqn.params.values()), is_leaf=is_program):
    if is_program(x):
      yield x.jaxpr if isinstance(x, core.ClosedJaxpr) else x


def at_once(
  net: transformer.Transformer,
  length: int,
  asked: int,
  on: jax.sharding.Mesh,
  seeds: int,
) -> int:
  """Return how many sequences of a seed fit into BUDGET at once on a device.

  The other seeds of the device count too. At least one, and on a CPU no more
  than CACHED tokens of long sequences.
  """
  fitting = BUDGET // (sequence(net, length, asked) * _beside(on, seeds))
  if length > SHORT and mesh_lib.on_cpu(on.devices.flat[0]):
    fitting = min(fitting, CACHED // length)
  return max(1, fitting)


def _beside(on: jax.sharding.Mesh, seeds: int) -> int:
  """Return how many seeds a device does at once: one by one, or all."""
  if mesh_lib.looped(on.devices.flat[0]):
    return 1
  return mesh_lib.rounds(on, seeds) // on.shape[mesh_lib.SEED]


def check(
  net: transformer.Transformer,
  length: int,
  asked: int,
  on: jax.sharding.Mesh,
  seeds: int,
  workers: int = 1,
) -> None:
  """Raise if the memory of the machine cannot hold a sequence a device.

  Args:
    net: the model.
    length: tokens that the model sees at once.
    asked: places that are predicted.
    on: the mesh.
    seeds: how many are evaluated, on so many devices or fewer.
    workers: processes that do so at once, each on as many.
  """
  busy = min(seeds, on.shape[mesh_lib.SEED]) * on.shape[mesh_lib.DATA]
  if mesh_lib.on_cpu(on.devices.flat[0]):  # Of this machine alone.
    busy = min(busy, len(on.local_devices))
  memory = available(on)
  needed = sequence(net, length, asked) * _beside(on, seeds)
  if memory is None or workers * busy * needed <= memory:
    return
  remedy = 'evaluate at a shorter length, or in windows'
  if net.scheme.blockwise and net.shape.block is None:
    remedy = f"use Model(block='auto'), or {remedy}"
  each = f' on each of {busy} devices' if busy > 1 else ''
  if workers > 1:
    each += f' of each of {workers} workers'
    remedy += ', or with fewer --workers'
  raise component.UserError(
    f'evaluating {length} tokens under {net.scheme} needs about '
    f'{needed / GIB:.1f} GiB{each}, and this machine has '
    f'{memory / GIB:.1f} GiB: '
    f'{remedy}'
  )


def mesh(
  net: transformer.Transformer, length: int, asked: int, on: jax.sharding.Mesh
) -> jax.sharding.Mesh:
  """Return the mesh for long sequences: as many devices as memory allows."""
  memory, most = available(on), on.devices.size
  if memory is not None:
    most = max(1, min(most, memory // sequence(net, length, asked)))
  return mesh_lib.by_example(on, most)


def of_machine() -> int:
  """Return the bytes of this machine, or of the container around it."""
  memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
  for path in CONTAINER:
    # 'max' where there is no limit.
    with contextlib.suppress(OSError, ValueError):
      memory = min(memory, int(pathlib.Path(path).read_text()))
  return memory


def available(on: jax.sharding.Mesh) -> int | None:
  """Return the bytes of the devices of a mesh, None if they do not say."""
  first = on.local_devices[0]
  if mesh_lib.on_cpu(first):
    return of_machine()
  limit = (first.memory_stats() or {}).get('bytes_limit')
  return limit and limit * on.devices.size
