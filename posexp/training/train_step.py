"""Training: one jitted program for all seeds of a run, or of several runs."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import PartitionSpec

from posexp import component, tasks
from posexp.models import (
  blocks,
  compile_counter,
  environment,
  initial,
  mesh,
  transformer,
)
from posexp.runs import config, stacking
from posexp.tasks import draw
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


@environment.fixed()
def initial_params(run: config.Run, seed: Array) -> Params:
  """Draw the initial parameters of one seed."""
  return blocks.unstacked(_drawn(transformer.of(run), seed))


def _drawn(net: transformer.Transformer, seed: Array) -> Params:
  """Draw initial parameters, those of a deep model with its blocks stacked."""
  key = jax.random.fold_in(draw.root(seed), INITIAL)
  return initial.params(net, key)


def loss(
  net: transformer.Transformer,
  params: Params,
  batch: tasks.Batch,
  asked: Sequence[int] | None = None,
  key: Array | None = None,
) -> tuple[Array, Array]:
  """Compute the summed cross-entropy of the targets, and their number.

  Args:
    net: the model.
    params: its parameters.
    batch: sequences and which of their tokens are targets.
    asked: the places that can be targets, all but the first by default; what is
      never asked about need not be predicted.
    key: of positions that are drawn.

  Returns:
    The sum in nats, and the number of targets.
  """
  length = batch.tokens_BxL.shape[1]
  places = tuple(range(1, length) if asked is None else asked)
  logits_BxTxV = transformer.predict(net, params, batch.tokens_BxL, places, key)
  place_T = np.asarray(places)
  targets_BxT = batch.targets_BxL[:, place_T]
  nats_BxT = optax.softmax_cross_entropy_with_integer_labels(
    logits_BxTxV, batch.tokens_BxL[:, place_T]
  )
  total = jnp.sum(jnp.where(targets_BxT, nats_BxT, 0.0))
  return total, jnp.sum(targets_BxT).astype(jnp.float32)


def gradient(
  net: transformer.Transformer,
  params: Params,
  batch: tasks.Batch,
  asked: Sequence[int] | None,
  micro: int,
  key: Array | None = None,
  complete: Callable[[Params], Params] = lambda params: params,
) -> tuple[Array, Array, Params]:
  """Compute the gradient of the summed loss, in parts of a batch.

  Args:
    net: the model.
    params: those that are trained.
    batch: as in `loss`.
    asked: as in `loss`.
    micro: sequences that are done at a time, a divisor of the batch.
    key: as in `loss`.
    complete: from the parameters that are trained to those of the model.

  Returns:
    The summed loss, the number of targets and the summed gradient.
  """

  def part_loss(params, part):
    return loss(net, complete(params), part, asked, key)

  part_gradient = jax.value_and_grad(part_loss, has_aux=True)
  parts = batch.tokens_BxL.shape[0] // micro
  if parts == 1:
    (total, count), grads = part_gradient(params, batch)
    return total, count, grads

  def add(carry, part):
    (total, count), grads = part_gradient(params, part)
    return jax.tree.map(jnp.add, carry, (total, count, grads)), None

  zeros = jnp.float32(0), jnp.float32(0), jax.tree.map(jnp.zeros_like, params)
  split = jax.tree.map(lambda x: x.reshape(parts, micro, *x.shape[1:]), batch)
  return jax.lax.scan(add, zeros, split)[0]


def micro_batch(
  batch: int,
  length: int,
  devices: jax.sharding.Mesh,
  most: int | None = None,
) -> int:
  """Return how many sequences a device does at a time, a divisor of its batch.

  As many as possible up to `most`, by default all of them on an accelerator. On
  a CPU few enough that the activations of a small model stay in a core's cache:
  MICRO_TOKENS.
  """
  if most is None:
    on_cpu = mesh.on_cpu(devices.devices.flat[0])
    most = max(1, MICRO_TOKENS // length) if on_cpu else batch
  return max(n for n in range(1, most + 1) if batch % n == 0)


def gradient_at(
  stem: stacking.Stem,
  devices: jax.sharding.Mesh,
  length: int,
  params: Params,
  member: optimizer.Member,
  number: Array,
) -> tuple[Array, Array, Params]:
  """Compute `gradient` of this device's part of the batch of a step."""
  scheme, train, complete = stem.scheme(member.numbers, length), stem.train, {}
  if stem.added:
    scheme = bias_warmup.Faded(scheme, stem.added)
    strength = bias_warmup.strength(member.warm_in, number)
    complete['complete'] = functools.partial(
      bias_warmup.params_of, stem.model, strength=strength
    )
  net = transformer.Transformer(stem.model, scheme, stem.task.vocabulary)
  seed = member.seed
  key = jax.random.fold_in(draw.root(seed), DATA)
  if stem.steps_before:
    # An adaptation goes on where its parent stopped.
    number = number + stem.steps_before
  # Every device samples the whole batch and keeps its part, so that the data
  # are the same on any number of devices.
  batch = stem.task.sample(
    jax.random.fold_in(key, number), length=length, batch=train.batch
  )
  part = train.batch // devices.shape[mesh.DATA]
  first = jax.lax.axis_index(mesh.DATA) * part
  batch = jax.tree.map(
    lambda x: jax.lax.dynamic_slice_in_dim(x, first, part), batch
  )
  asked = stem.task.asked(length)
  drawn = None
  if net.scheme.draws:
    drawn = jax.random.fold_in(draw.root(seed), POSITIONS)
    drawn = jax.random.fold_in(drawn, number)
  micro = micro_batch(part, length, devices, train.micro_batch)
  return gradient(net, params, batch, asked, micro, drawn, **complete)


def step(
  stem: stacking.Stem,
  devices: jax.sharding.Mesh,
  state: State,
  member: optimizer.Member,
  number: Array,
) -> tuple[State, Array]:
  """Take one optimiser step of one member, at the length that the step has.

  Args:
    stem: of the run.
    devices: the mesh, whose devices have a part of the batch each.
    state: the member's.
    member: its seed, and what else runs of one stem differ in.
    number: of the step, from 0.

  Returns:
    The state after the step and its mean loss in nats.
  """
  train, inputs = stem.train, (state.params, member, number)
  rungs = [
    functools.partial(gradient_at, stem, devices, n) for n in train.rungs
  ]
  if train.lengths is None or len(rungs) == 1:
    total, count, grads = rungs[0](*inputs)
  else:
    # All members are at the same rung, so that only one of them is computed.
    total, count, grads = jax.lax.switch(
      train.lengths.rung(number), rungs, *inputs
    )
  if devices.shape[mesh.DATA] > 1:
    flat, unflatten = jax.flatten_util.ravel_pytree((total, count, grads))
    total, count, grads = unflatten(jax.lax.psum(flat, mesh.DATA))
  mean = total / count
  grads = jax.tree.map(lambda g: g / count, grads)
  params, optimiser_state = optimizer.update(
    train, state.params, state.optimiser, grads, member
  )
  first_bad = (state.diverged_S < 0) & ~jnp.isfinite(mean)
  diverged = jnp.where(first_bad, number, state.diverged_S)
  return State(params, optimiser_state, diverged), mean


def programs(
  run: config.Run,
  devices: jax.sharding.Mesh,
  chunk: int | None = None,
  number: int | None = None,
) -> tuple[Callable[..., State], Callable[..., tuple[State, Array]]]:
  """Return the two jitted programs of a run: start, and advance by a chunk.

  `start(members)` gives the initial state. `advance(state, members, first)`
  donates it and does the steps first .. first + chunk - 1 that the run still
  has, returning the state and the losses M x chunk, NaN past the end. Idle
  members (see `mesh.rounds`) are included; `busy` leaves them out. The blocks
  of a deep model are stacked, see `models.blocks`.

  All runs of one stem have the same programs, compiled once.

  Args:
    run: the run, or one of several that are trained at once.
    devices: the mesh.
    chunk: steps of a call, `CHUNK` by default.
    number: how many members are not idle; the run's seeds by default.
  """
  number = len(run.seeds) if number is None else number
  chunk = CHUNK if chunk is None else chunk
  return _programs(stacking.split(run)[0], devices, chunk, number)


@component.cached(maxsize=64)
def _programs(
  stem: stacking.Stem, devices: jax.sharding.Mesh, chunk: int, number: int
) -> tuple[Callable[..., State], Callable[..., tuple[State, Array]]]:
  seeded = PartitionSpec(mesh.SEED)
  shard_map = functools.partial(jax.shard_map, mesh=devices, check_vma=False)

  def start_one(member):
    scheme = stem.scheme(member.numbers)
    net = transformer.Transformer(stem.model, scheme, stem.task.vocabulary)
    return _before_steps(stem.train, _drawn(net, member.seed))

  def start_all(members):
    return mesh.each_seed(start_one, devices, number, members)

  def advance_one(state, member, first):
    def body(state, number):
      return jax.lax.cond(
        number < stem.train.steps,
        lambda s: step(stem, devices, s, member, number),
        lambda s: (s, jnp.float32(jnp.nan)),
        state,
      )

    return jax.lax.scan(body, state, first + jnp.arange(chunk))

  def advance(state, members, first):
    compile_counter.counted[compile_counter.TRAINING] += 1
    each = functools.partial(advance_one, first=first)
    return mesh.each_seed(each, devices, number, state, members)

  seed_sharding = mesh.over_seeds(devices)
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
    in_shardings=(seed_sharding, seed_sharding, mesh.replicated(devices)),
    out_shardings=(seed_sharding, seed_sharding),
    donate_argnums=0,
  )
  return start, advance_jit


def from_weights(run: config.Run, params: Params) -> State:
  """Return the state that an adaptation starts from, for all seeds."""
  return jax.jit(jax.vmap(functools.partial(_before_steps, run.train)))(params)


def _before_steps(train: config.Train, params: Params) -> State:
  return State(params, optimizer.optimiser(train).init(params), jnp.int32(-1))


def members(
  runs: Sequence[config.Run],
  devices: jax.sharding.Mesh,
  number: int | None = None,
  rates: Sequence[float] | None = None,
) -> optimizer.Member:
  """Return the members of runs that are trained at once, idle ones included.

  Args:
    runs: of one stem.
    devices: the mesh.
    number: how many the program is for, as many as there are by default.
    rates: the peak learning rate of each run, by default that of its
      configuration.
  """
  if rates is None:
    rates = [run.train.learning_rate for run in runs]
  trains = [
    dataclasses.replace(run.train, learning_rate=rate)
    for run, rate in zip(runs, rates, strict=True)
  ]
  rows = [
    optimizer.Member(
      seed=np.uint32(seed),  # type: ignore[arg-type]
      numbers=stacking.split(run)[1],
      **{name: np.float32(getattr(train, name)) for name in stacking.NUMBERS},  # type: ignore[arg-type]
    )
    for run, train in zip(runs, trains)
    for seed in run.seeds
  ]
  inputs = jax.tree.map(lambda *x: np.stack(x), *rows)
  return mesh.pad_seeds(inputs, devices, number or len(rows))


def busy(run: config.Run, tree: Any) -> Any:
  """Return what belongs to the seeds of a run, on the host, no idle ones."""
  return jax.tree.map(lambda x: x[: len(run.seeds)], mesh.fetch(tree))
