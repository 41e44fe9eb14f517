"""Diagnostics of attention: where its weight falls, and what each head does."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from posexp import component, tasks
from posexp.evaluation import attention_statistics, evaluate
from posexp.models import (
  compile_counter,
  environment,
  mesh,
  probe,
  transformer,
)
from posexp.runs import config
from posexp.schemes import coverage

Array = jax.Array

# So many queries of a sequence are looked at, evenly spread over it.
QUERIES = 64

# And at so many sequences, for the record of a run, or fewer that have so many
# tokens in all.
EXAMPLES, TOKENS = 8, 2**15


def places(length: int) -> np.ndarray:
  """Return the places of the queries that are looked at, of so many tokens."""
  spread = np.linspace(0, length - 1, min(length, QUERIES))
  return np.unique(np.round(spread).astype(np.int32))


def mass(weights_NxHxQxL: Array, place_Q: np.ndarray) -> tuple[Array, Array]:
  """Return means over queries by distance and by index, layers x H x L."""
  by_index = weights_NxHxQxL.mean(axis=2)
  # Distance n of the query at i is the key at i - n.
  distance_QxL = place_Q[:, None] - np.arange(weights_NxHxQxL.shape[-1])
  back_QxL = np.where(distance_QxL >= 0, distance_QxL, 0)
  by_distance = jnp.take_along_axis(
    weights_NxHxQxL, back_QxL[None, None], axis=-1
  )
  by_distance = jnp.where(distance_QxL[None, None] >= 0, by_distance, 0.0)
  return by_distance.mean(axis=2), by_index


def sequences(run: config.Run, length: int) -> int:
  """Return how many of the evaluated sequences `report` looks at.

  >>> from posexp import schemes, tasks
  >>> run = config.Run(task=tasks.Ordering(filler=8), scheme=schemes.RoPE())
  >>> [sequences(run, length) for length in (64, 8192, 32768, 2**18)]
  [8, 4, 1, 1]
  """
  # One of each task of a mixture, however long they are.
  least = len(getattr(run.task, 'tasks', ())) or 1
  fitting = max(least, TOKENS // run.context(length))
  return min(max(least, EXAMPLES), run.evaluate.number(length), fitting)


def chosen(batch: tasks.Batch, number: int) -> np.ndarray:
  """Return which sequences are looked at: the first, of each task alike.

  So that what is seen at two lengths is of the same tasks.

  >>> one = np.zeros((5, 1), int)
  >>> strata = {'task': np.array([[0], [0], [1], [0], [1]])}
  >>> chosen(tasks.Batch(one, one, one, one, strata), 4).tolist()
  [0, 1, 2, 4]
  """
  if 'task' not in batch.strata:
    return np.arange(number, dtype=np.uint32)
  task_B = np.asarray(batch.strata['task']).max(axis=1)
  turn_B = np.zeros_like(task_B)
  for task in np.unique(task_B):
    turn_B[task_B == task] = np.arange((task_B == task).sum())
  first_B = np.lexsort((task_B, turn_B))[:number]
  return np.sort(first_B).astype(np.uint32)


@environment.fixed()
def report(
  run: config.Run, params: Any, length: int, on: jax.sharding.Mesh
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
  """Return what a record says of attention at a length: coverage and heads.

  First a row for each kind of coverage: `unseen` is the share of used features
  that training never used, and `mass`, seed by seed, the share of attention
  that falls on them: means over layers, heads, some sequences and queries.

  Then one row of what each head does, see `attention_statistics`: `heads` has
  S x layers x H numbers by name and `binned` S x layers x H x bins, which begin
  at the distances `bins`; in bin n there are `known[n]` queries whose right
  key is known. Five digits; NaN where there is nothing to measure.

  In windows, it is the first that is looked at.

  Args:
    run: the run.
    params: with the seeds as first axis, idle ones included.
    length: of the evaluated sequences.
    on: the mesh.
  """
  masses, heads = _measure(run, params, length, on)
  return _coverage(run, length, masses), {'length': length, **heads}


def _coverage(
  run: config.Run, length: int, masses: tuple[np.ndarray, np.ndarray]
) -> list[dict[str, Any]]:
  """Return a row for each kind of feature; masses as `_measure` has them."""
  adapted, root = [], run
  while root.parent is not None:
    if root.train.steps:
      adapted.append((root.scheme, root.train.length))
    root = root.parent
  shares, new = coverage.compare(
    run.scheme,
    trained=root.scheme,
    train_length=run.trained_length,
    adapted=adapted,
    length=run.context(length),
    dims=run.model.dims,
  )
  by_distance_SxL, by_index_SxL = (
    mass.astype(np.float64).mean(axis=(1, 2, 3)) for mass in masses
  )
  new = {kind: x[: by_index_SxL.shape[1]] for kind, x in new.items()}
  by_seed = {
    str(seed): coverage.mass(new, *pair)
    for seed, *pair in zip(run.seeds, by_distance_SxL, by_index_SxL)
  }
  return [
    {
      'length': length,
      'kind': kind,
      'unseen': share,
      'mass': {seed: mass[kind] for seed, mass in by_seed.items()},
    }
    for kind, share in shares.items()
  ]


def _measure(
  run: config.Run, params: Any, length: int, on: jax.sharding.Mesh
) -> tuple[tuple[np.ndarray, np.ndarray], dict[str, Any]]:
  """Return masses, S x B x layers x H x L, and what each seed's heads do."""
  batch = evaluate.examples(run.task, length, run.evaluate.number(length))
  scheme = run.evaluated_scheme(length)
  net = transformer.Transformer(run.model, scheme, run.task.vocabulary)
  number_B = chosen(batch, sequences(run, length))
  some = number_B, slice(run.context(length))
  batch = jax.tree.map(lambda x: np.asarray(x)[some], batch)
  gold = attention_statistics.gold(
    tasks.with_evidence(run.task, batch), run.model
  )
  form, numbers = transformer.take(net)
  seeds = len(run.seeds)
  bins = attention_statistics.bins(run.context(length))
  looked_at = mesh.put((batch.tokens_BxL, number_B, gold), mesh.replicated(on))
  found = _program(form, on, seeds, bins)(
    params, evaluate.each(numbers, params, on), looked_at
  )
  masses, values = jax.tree.map(lambda x: x[:seeds], mesh.fetch(found))
  heads = attention_statistics.row(
    values, masses, gold, run.trained_length, bins
  )
  return masses, heads


@component.cached(maxsize=64)
def _program(
  form: transformer.Transformer, on: jax.sharding.Mesh, seeds: int, bins: int
) -> Callable[..., Any]:
  """Return the jitted look at all seeds' attention to some sequences.

  It takes the parameters of the seeds, the numbers of a scheme for each, and
  the tokens of the sequences, their numbers, and their right keys or None.
  """

  def one_sequence(net, params, tokens_L, number, gold):
    key = evaluate.position_key(net.scheme, number)
    read_1xL = transformer.inputs(net, tokens_L[None])
    layers = probe.forward(net, params, read_1xL, key)
    place_Q = places(read_1xL.shape[1])

    def one_layer(layer):
      return attention_statistics.look(net, layer, place_Q, gold, bins)

    weights_NxHxQxL, values = jax.lax.map(one_layer, layers)
    return mass(weights_NxHxQxL, place_Q), values

  def program(params, numbers, looked_at):
    # One sequence at a time: a long one has many weights.
    def one_seed(params, numbers):
      net = transformer.fill(form, numbers)
      look = functools.partial(one_sequence, net, params)
      return jax.lax.map(lambda x: look(*x), looked_at)

    compile_counter.counted[compile_counter.DIAGNOSIS] += 1
    return mesh.each_seed(one_seed, on, seeds, params, numbers)

  by_seed = PartitionSpec(mesh.SEED)
  program = jax.shard_map(
    program,
    mesh=on,
    in_specs=(by_seed, by_seed, PartitionSpec()),
    out_specs=by_seed,
    check_vma=False,
  )
  # It runs once: what LLVM takes most time for is left out, and no bit changes.
  quickly = {'xla_llvm_disable_expensive_passes': True}
  on_cpu = mesh.on_cpu(on.devices.flat[0])
  return jax.jit(program, compiler_options=quickly if on_cpu else None)
