"""What attention does: where its weight falls, by distance and by index."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from posexp import (
  attention,
  blockwise,
  config,
  coverage,
  evaluate,
  model,
  sharding,
)

Array = jax.Array

# So many queries of a sequence are looked at, evenly spread over it.
QUERIES = 64

# And at so many sequences, for the record of a run, or fewer that have so many
# tokens in all.
EXAMPLES, TOKENS = 8, 2**15


def attention_mass(
  net: model.Transformer,
  params: Any,
  tokens_BxL: Array,
  key: Array | None = None,
) -> tuple[Array, Array]:
  """How much attention falls on each distance, and on the key at each index.

  Means over the sequences and over 64 queries (all, if there are fewer)
  spread evenly over the places; schemes whose weights do not sum to one keep
  what they leave out.

  Args:
    net: the model.
    params: of one seed.
    tokens_BxL: what the model reads.
    key: for schemes that draw their positions.

  Returns:
    Two arrays, layers x H x L, float32.
  """
  length = tokens_BxL.shape[1]
  spread = np.linspace(0, length - 1, min(length, QUERIES))
  place_Q = np.unique(np.round(spread).astype(np.int32))
  _, state = net.apply(
    {'params': params}, tokens_BxL, key=key, mutable=['intermediates']
  )
  layers = [
    _weights(net, state['intermediates'][f'block_{n}'][model.SEEN][0], place_Q)
    for n in range(net.shape.layers)
  ]
  mean_NxHxQxL = jnp.stack(layers).mean(axis=1)
  by_index = mean_NxHxQxL.mean(axis=2)
  # Distance n of the query at i is the key at i - n.
  distance_QxL = place_Q[:, None] - np.arange(length)
  back_QxL = np.where(distance_QxL >= 0, distance_QxL, 0)
  turned = jnp.take_along_axis(mean_NxHxQxL, back_QxL[None, None], axis=-1)
  turned = jnp.where(distance_QxL[None, None] >= 0, turned, 0.0)
  return turned.mean(axis=2), by_index


def _weights(net: model.Transformer, shown: Any, place_Q: np.ndarray) -> Array:
  """The weights of some queries of a layer, B x H x Q x L."""
  params, q, k, q_at, k_at, content = shown
  some = lambda x: x[:, place_Q]
  scaled = lambda x: some(x) * jnp.asarray(net.shape.head_width**-0.5, x.dtype)
  index_1xL = jnp.arange(k.shape[2], dtype=jnp.int32)[None]
  q_at = jax.tree.map(some, q_at)
  rows = blockwise.tokens(
    blockwise.heads_first(scaled(q)), q_at, some(index_1xL)
  )
  columns = blockwise.tokens(k, k_at, index_1xL)
  return attention.weights(
    net.scheme,
    params,
    rows,
    columns,
    scaled(content),
    q_at,
    k_at,
    net.shape.window,
  )


def sequences(run: config.Run, length: int) -> int:
  """How many of the evaluated sequences `report` looks at.

  >>> from posexp import schemes, tasks
  >>> run = config.Run(task=tasks.Ordering(filler=8), scheme=schemes.RoPE())
  >>> [sequences(run, length) for length in (64, 8192, 32768, 2**18)]
  [8, 4, 1, 1]
  """
  fitting = max(1, TOKENS // run.context(length))
  return min(EXAMPLES, run.evaluate.examples, fitting)


def report(
  run: config.Run, params: Any, length: int, on: jax.sharding.Mesh
) -> list[dict[str, Any]]:
  """What a run's record says of coverage at a length, a row a kind.

  `unseen` is the share of the regimes in use that training never used, and
  `mass`, seed by seed, the share of attention that falls on them: means over
  layers, heads, some sequences and queries.

  In windows, it is the first that is looked at.

  Args:
    run: the run.
    params: with the seeds as first axis, idle ones included.
    length: of the evaluated sequences.
    on: the mesh.
  """
  root = run
  while not root.train.steps and root.parent is not None:
    root = root.parent
  shares, new = coverage.compare(
    run.scheme,
    trained=root.scheme,
    train_length=run.trained_length,
    practised=root.train.length,
    length=run.context(length),
    dims=run.model.dims,
  )
  if not shares:
    return []
  by_distance_SxL, by_index_SxL = (
    np.asarray(m, np.float64)[: len(run.seeds)].mean(axis=(1, 2, 3))
    for m in _masses(run, params, length, on)
  )
  new = {kind: x[: by_index_SxL.shape[1]] for kind, x in new.items()}
  found = [
    coverage.mass(new, *pair) for pair in zip(by_distance_SxL, by_index_SxL)
  ]
  return [
    {
      'length': length,
      'kind': kind,
      'unseen': share,
      'mass': {str(s): m[kind] for s, m in zip(run.seeds, found)},
    }
    for kind, share in shares.items()
  ]


def _masses(
  run: config.Run, params: Any, length: int, on: jax.sharding.Mesh
) -> tuple[Array, Array]:
  """`attention_mass` of every seed and sequence, S x B x layers x H x L."""
  batch = evaluate.examples(run.task, length, run.evaluate.examples)
  scheme = run.evaluated_scheme(length)
  net = model.Transformer(run.model, scheme, run.task.vocabulary)
  some = slice(sequences(run, length)), slice(run.context(length))
  tokens_BxL = model.inputs(net, batch.tokens_BxL[some])
  number_B = np.arange(len(tokens_BxL), dtype=np.uint32)

  def one(params, tokens_L, number):
    key = evaluate.position_key(scheme, number)
    return attention_mass(net, params, tokens_L[None], key)

  # One sequence at a time: a long one has many weights.
  def each(params):
    return jax.lax.map(lambda x: one(params, *x), (tokens_BxL, number_B))

  spread = jax.shard_map(
    lambda params: sharding.each_seed(each, on, len(run.seeds), params),
    mesh=on,
    in_specs=PartitionSpec(sharding.SEED),
    out_specs=PartitionSpec(sharding.SEED),
    check_vma=False,
  )
  return jax.jit(spread)(params)
