"""What an evaluation needs in memory, and how many sequences fit at once."""

import os

import jax

from posexp import choice, model, sharding

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


def sequence(net: model.Transformer, length: int, asked: int) -> int:
  """The bytes that the forward pass of one sequence needs, roughly.

    4 (L (5 D + c F / 2) + A + 2 T V),

  for L tokens, the residual stream, queries, keys and values of width D, an
  MLP of c matrices and width F, and logits of V tokens at T places and their
  softmax. Attention is A = 3 H Q K, the logits, the weights and what a scheme
  makes of them, for the queries Q of the widest layer and K = L keys; in
  blocks, Q = K = S, the tokens of one. The compiler needs 0.5 to 1.2 times as
  much.

  Args:
    net: the model.
    length: L, tokens that the model sees at once.
    asked: T, places that are predicted.
  """
  shape = net.shape
  queries = asked if shape.layers == 1 else length
  size = choice.block_size(
    net.scheme, shape.block, queries, length, shape.implementation
  )
  pairs = queries * length if size is None else size**2
  hidden = shape.feedforward or 4 * shape.width
  matrices = 3 if shape.activation == 'swiglu' else 2
  token = 5 * shape.width + matrices * hidden // 2
  logits = 2 * asked * net.vocabulary
  return 4 * (length * token + 3 * shape.heads * pairs + logits)


def at_once(
  net: model.Transformer, length: int, asked: int, on: jax.sharding.Mesh
) -> int:
  """How many sequences a device does at once: as many as fit into BUDGET.

  At least one, and on a CPU no more than CACHED tokens of long ones.
  """
  fitting = BUDGET // sequence(net, length, asked)
  if length > SHORT and sharding.on_cpu(on.devices.flat[0]):
    fitting = min(fitting, CACHED // length)
  return max(1, fitting)


def check(
  net: model.Transformer,
  length: int,
  asked: int,
  on: jax.sharding.Mesh,
  seeds: int,
) -> None:
  """Raises if the memory of the machine cannot hold a sequence a device.

  Args:
    net: the model.
    length: tokens that the model sees at once.
    asked: places that are predicted.
    on: the mesh.
    seeds: how many are evaluated, on so many devices or fewer.
  """
  busy = min(seeds, on.shape[sharding.SEED]) * on.shape[sharding.DATA]
  have, need = available(on), sequence(net, length, asked)
  if have is None or busy * need <= have:
    return
  remedy = 'evaluate at a shorter length, or in windows'
  if net.scheme.blockwise and net.shape.block is None:
    remedy = f"use Model(block='auto'), or {remedy}"
  raise ValueError(
    f'a sequence of {length} tokens needs about {need / GIB:.1f} GiB under '
    f'{net.scheme}, on {busy} devices at once, and this machine has '
    f'{have / GIB:.1f} GiB: {remedy}'
  )


def mesh(
  net: model.Transformer, length: int, asked: int, on: jax.sharding.Mesh
) -> jax.sharding.Mesh:
  """The mesh for long sequences: as many devices as there is memory for."""
  have, most = available(on), on.devices.size
  if have is not None:
    most = max(1, min(most, have // sequence(net, length, asked)))
  return sharding.by_example(on, most)


def available(on: jax.sharding.Mesh) -> int | None:
  """The bytes that the devices of a mesh have, None if they do not say."""
  first = on.devices.flat[0]
  if sharding.on_cpu(first):
    return os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
  limit = (first.memory_stats() or {}).get('bytes_limit')
  return limit and limit * on.devices.size
