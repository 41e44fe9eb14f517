"""Training: one jitted program for all seeds of a run, or of several runs."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import PartitionSpec

from posexp import tasks
from posexp.models import compile_counter, mesh, transformer
from posexp.runs import config, stacking
from posexp.training import bias_warmup, optimizer

Array = jax.Array
Params = Any

# Steps in one call of the program: how often progress is told, and nothing
# else, since a call does the same arithmetic whatever its length.
CHUNK = 50
INITIAL, DATA, POSITIONS = 0, 1, 2
# Tokens that a CPU device does at a time.
MICRO_TOKENS = 512


class State(NamedTuple):
  """What training carries, with the seeds S as first axis of every leaf.

  Attributes:
    params: the model's parameters.
    optimiser: optax's state.
    diverged_S: the first step whose loss was not finite, -1 if none.
  """

  params: Params
  optimiser: Any
  diverged_S: Array


def initial_params(run: config.Run, seed: Array) -> Params:
  """The initial parameters of one seed."""
  key = jax.random.fold_in(jax.random.key(seed), INITIAL)
  tokens = jnp.zeros((1, 2), jnp.int32)
  return transformer.of(run).init(key, tokens)['params']


def loss(
  net: transformer.Transformer,
  params: Params,
  batch: tasks.Batch,
  asked: Sequence[int] | None = None,
  key: Array | None = None,
) -> tuple[Array, Array]:
  """The summed cross-entropy of the targets, in nats, and their number."""
  length = batch.tokens_BxL.shape[1]
  # What no sequence is asked about need not be predicted.
  asked = range(1, length) if asked is None else asked
  at = np.asarray(asked)
  logits_BxTxV = transformer.predict(
    net, params, batch.tokens_BxL, tuple(asked), key
  )
  targets_BxT = batch.targets_BxL[:, at]
  cross_BxT = optax.softmax_cross_entropy_with_integer_labels(
    logits_BxTxV, batch.tokens_BxL[:, at]
  )
  total = jnp.sum(jnp.where(targets_BxT, cross_BxT, 0.0))
  return total, jnp.sum(targets_BxT).astype(jnp.float32)


def gradient(
  net: transformer.Transformer,
  params: Params,
  batch: tasks.Batch,
  asked: Sequence[int] | None,
  micro: int,
  key: Array | None = None,
  given: Callable[[Params], Params] = lambda params: params,
) -> tuple[Array, Array, Params]:
  """Summed loss, number of targets and summed gradient, in parts of a batch.

  The batch is done `micro` sequences at a time, a divisor of it. The model is
  `given` more than the parameters that are trained, where it needs more.
  """
  one = jax.value_and_grad(
    lambda p, b: loss(net, given(p), b, asked, key), has_aux=True
  )
  parts = batch.tokens_BxL.shape[0] // micro
  if parts == 1:
    (total, count), grads = one(params, batch)
    return total, count, grads

  def add(carry, part):
    (total, count), grads = one(params, part)
    return jax.tree.map(jnp.add, carry, (total, count, grads)), None

  zeros = jnp.float32(0), jnp.float32(0), jax.tree.map(jnp.zeros_like, params)
  split = jax.tree.map(lambda x: x.reshape(parts, micro, *x.shape[1:]), batch)
  return jax.lax.scan(add, zeros, split)[0]


def micro_batch(batch: int, length: int, on: jax.sharding.Mesh) -> int:
  """How many sequences a device does at a time.

  All of them on an accelerator. On a CPU few enough that the activations of a
  small model stay in a core's cache: the largest divisor of the batch within
  MICRO_TOKENS.
  """
  if not mesh.on_cpu(on.devices.flat[0]):
    return batch
  fitting = max(1, MICRO_TOKENS // length)
  return max(n for n in range(1, fitting + 1) if batch % n == 0)


def gradient_at(
  run: config.Run,
  on: jax.sharding.Mesh,
  length: int,
  params: Params,
  seed: Array,
  number: Array,
) -> tuple[Array, Array, Params]:
  """`gradient` on this device's part of the batch of a seed's step."""
  net, train = transformer.of(run, length), run.train
  more = []
  if train.warm_in:
    net = bias_warmup.of(run, length)
    more = [functools.partial(bias_warmup.params_of, run, number=number)]
  key = jax.random.fold_in(jax.random.key(seed), DATA)
  if run.steps_before:
    # An adaptation goes on where its parent stopped.
    number = number + run.steps_before
  # Every device samples the whole batch and keeps its part, so that the data
  # are the same on any number of devices.
  batch = run.task.sample(
    jax.random.fold_in(key, number), length=length, batch=train.batch
  )
  part = train.batch // on.shape[mesh.DATA]
  first = jax.lax.axis_index(mesh.DATA) * part
  batch = jax.tree.map(
    lambda x: jax.lax.dynamic_slice_in_dim(x, first, part), batch
  )
  asked = run.task.asked(length)
  drawn = None
  if net.scheme.draws:
    drawn = jax.random.fold_in(jax.random.key(seed), POSITIONS)
    drawn = jax.random.fold_in(drawn, number)
  micro = micro_batch(part, length, on)
  return gradient(net, params, batch, asked, micro, drawn, *more)


def step(
  run: config.Run,
  on: jax.sharding.Mesh,
  state: State,
  member: optimizer.Member,
  number: Array,
) -> tuple[State, Array]:
  """One optimiser step of one member, at the length that the step has."""
  train, args = run.train, (state.params, member.seed, number)
  rungs = [functools.partial(gradient_at, run, on, n) for n in train.rungs]
  if train.lengths is None or len(rungs) == 1:
    total, count, grads = rungs[0](*args)
  else:
    # All members are at the same rung, so that only one of them is computed.
    total, count, grads = jax.lax.switch(
      train.lengths.rung(number), rungs, *args
    )
  if on.shape[mesh.DATA] > 1:
    flat, unflatten = jax.flatten_util.ravel_pytree((total, count, grads))
    total, count, grads = unflatten(jax.lax.psum(flat, mesh.DATA))
  mean = total / count
  grads = jax.tree.map(lambda g: g / count, grads)
  before = state.params, state.optimiser
  params, optimiser_state = optimizer.update(train, *before, grads, member)
  first_bad = (state.diverged_S < 0) & ~jnp.isfinite(mean)
  diverged = jnp.where(first_bad, number, state.diverged_S)
  return State(params, optimiser_state, diverged), mean


def programs(
  run: config.Run,
  on: jax.sharding.Mesh,
  chunk: int | None = None,
  number: int | None = None,
) -> tuple[Callable[..., State], Callable[..., tuple[State, Array]]]:
  """The two jitted programs of a run: start, and advance by a chunk of steps.

  `start(members)` gives the initial state. `advance(state, members, first)`
  donates it and does the steps first .. first + chunk - 1 that the run still
  has, returning the state and the losses M x chunk, NaN past the end. Idle
  members (see `sharding.rounds`) are included; `busy` leaves them out.

  All runs of one stem have the same programs, compiled once.

  Args:
    run: the run, or one of several that are trained at once.
    on: the mesh.
    chunk: steps of a call, `CHUNK` by default.
    number: how many members are not idle; the run's seeds by default.
  """
  number = len(run.seeds) if number is None else number
  chunk = CHUNK if chunk is None else chunk
  return _programs(stacking.stem(run, 1), on, chunk, number)


@functools.lru_cache(maxsize=64)
def _programs(
  run: config.Run, on: jax.sharding.Mesh, chunk: int, number: int
) -> tuple[Callable[..., State], Callable[..., tuple[State, Array]]]:
  seeded = PartitionSpec(mesh.SEED)
  shard_map = functools.partial(jax.shard_map, mesh=on, check_vma=False)

  def start_one(member):
    return _before_steps(run, initial_params(run, member.seed))

  def start_all(members):
    return mesh.each_seed(start_one, on, number, members)

  def advance_one(state, member, first):
    def body(state, number):
      return jax.lax.cond(
        number < run.train.steps,
        lambda s: step(run, on, s, member, number),
        lambda s: (s, jnp.float32(jnp.nan)),
        state,
      )

    return jax.lax.scan(body, state, first + jnp.arange(chunk))

  def advance(state, members, first):
    compile_counter.counted[compile_counter.TRAINING] += 1
    one = lambda state, member: advance_one(state, member, first)
    return mesh.each_seed(one, on, number, state, members)

  seed_sharding = mesh.over_seeds(on)
  start = jax.jit(
    shard_map(start_all, in_specs=seeded, out_specs=seeded),
    in_shardings=seed_sharding,
    out_shardings=seed_sharding,
  )
  advance_jit = jax.jit(
    shard_map(
      advance,
      in_specs=(seeded, seeded, PartitionSpec()),
      out_specs=(seeded, seeded),
    ),
    in_shardings=(seed_sharding, seed_sharding, mesh.replicated(on)),
    out_shardings=(seed_sharding, seed_sharding),
    donate_argnums=0,
  )
  return start, advance_jit


def from_weights(run: config.Run, params: Params) -> State:
  """The state that an adaptation starts from, weights of all seeds given."""
  return jax.jit(jax.vmap(functools.partial(_before_steps, run)))(params)


def _before_steps(run: config.Run, params: Params) -> State:
  return State(
    params, optimizer.optimiser(run.train).init(params), jnp.int32(-1)
  )


def members(
  runs: Sequence[config.Run], on: jax.sharding.Mesh, number: int | None = None
) -> optimizer.Member:
  """The members of runs that are trained at once, idle ones included.

  For a program of so many that are not idle, as many as there are by default.
  """
  rows = [(seed, run.train) for run in runs for seed in run.seeds]
  numbers = {
    name: np.asarray([getattr(train, name) for _, train in rows], np.float32)
    for name in stacking.NUMBERS
  }
  seed_M = np.asarray([seed for seed, _ in rows], np.uint32)
  given = optimizer.Member(seed=seed_M, **numbers)  # type: ignore[arg-type]
  return mesh.pad_seeds(given, on, number or len(rows))


def busy(run: config.Run, tree: Any) -> Any:
  """What belongs to the seeds of a run, on the host, idle ones left out."""
  return jax.tree.map(lambda x: x[: len(run.seeds)], mesh.fetch(tree))
