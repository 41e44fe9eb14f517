"""Evaluation: correct, order error or retrieval error, at every length."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import PartitionSpec

from posexp import (
  config,
  datasets,
  generate,
  model,
  schemes,
  sharding,
  tasks,
  windows,
)
from posexp.datasets import store

Array = jax.Array

# What became of a target.
CORRECT, ORDER_ERROR, RETRIEVAL_ERROR = 0, 1, 2

FOLD = datasets.FOLD
# Examples that are predicted with one call of a program.
ROWS = 64
# The largest logits array that a device may hold at once, in bytes.
BUDGET = 2**28


class Outcomes(NamedTuple):
  """What became of every target at one length.

  Attributes:
    length: tokens in a sequence.
    kind_SxT: int8, CORRECT, ORDER_ERROR or RETRIEVAL_ERROR; T counts the
      targets of all examples that are not an end of sequence.
    nats_SxT: float32, minus the logarithm of the right token's probability;
      NaN for answerers that give none.
    example_T: the example that a target belongs to, ascending.
    strata: int32 arrays over T, by name.
    ends_SxN: for each end-of-sequence target, whether it was right.
  """

  length: int
  kind_SxT: np.ndarray
  nats_SxT: np.ndarray
  example_T: np.ndarray
  strata: dict[str, np.ndarray]
  ends_SxN: np.ndarray


@functools.lru_cache(maxsize=32)
def examples(
  task: tasks.Task, length: int, number: int, fold: int = FOLD
) -> tasks.Batch:
  """The evaluation examples of a task at a length, the same for every run.

  A pure function of its arguments: no scheme, seed or machine enters, and the
  first n examples are the same however many are asked for. They are read from
  the frozen set where `posexp data build` made one, and drawn otherwise. What
  is chosen by its score must be chosen on examples of another `fold`, which
  never draws from data that are held out for evaluation.

  Raises:
    ValueError: one sentence with both digests, if the frozen set is damaged,
      or what was drawn is not what was published.
  """
  if fold == FOLD:
    return store.load(task, length, number)
  return datasets.draw(datasets.Set(task, length), number, fold)


def baselines(task: tasks.Task, length: int, number: int) -> dict[str, float]:
  """The token accuracy of a task's answerers on the evaluation examples."""
  batch = examples(task, length, number)
  tokens_BxL = np.asarray(batch.tokens_BxL)
  asked_BxL = np.asarray(batch.targets_BxL & ~batch.ends_BxL)
  found = task.guesses(np.random.default_rng(FOLD), tokens_BxL, asked_BxL)
  return {
    name: float((said_BxL == tokens_BxL)[asked_BxL].mean())
    for name, said_BxL in found.items()
  }


def greedy(
  net: model.Transformer,
  params: Any,
  tokens_BxL: Array,
  targets_BxL: Array,
  key: Array | None = None,
) -> Array:
  """Free-running greedy decoding, token by token from a KV cache.

  Targets are replaced by what the model itself said; all else is given.

  Returns:
    The predictions of tokens[:, 1:], B x L-1.
  """
  batch, length = tokens_BxL.shape
  bos = int(net.shape.bos)
  cache = model.empty_cache(net, batch, length - 1 + bos)
  first_B = model.inputs(net, tokens_BxL)[:, 0]

  def choose(logits_BxV, index):
    said_B = jnp.argmax(logits_BxV, axis=-1).astype(jnp.int32)
    following = index + 1 - bos
    given_B = jnp.take(tokens_BxL, following, axis=1)
    free_B = jnp.take(targets_BxL, following, axis=1)
    return said_B, jnp.where(free_B, said_B, given_B)

  index_T = jnp.arange(length - 1 + bos)
  said_BxT = generate.unroll(
    net, params, (cache, first_B), index_T, choose, key
  )
  return said_BxT[:, bos:]


class Predictions(NamedTuple):
  """What a model makes of each token, S x B x L; the first token's are 0.

  Attributes:
    said_SxBxL: int32, the most likely token.
    nats_SxBxL: float32, minus the log-probability of the token that is there.
  """

  said_SxBxL: np.ndarray
  nats_SxBxL: np.ndarray


class Evaluator:
  """Teacher-forced predictions of all seeds, with few compilations.

  A length is padded up to the next of 4, 5, 6 or 7 times a power of two, so
  that a long list of lengths needs few programs; padding comes last and a
  causal model does not see it. Each program is compiled once for all seeds.
  """

  def __init__(self, run: config.Run, on: jax.sharding.Mesh):
    self.run, self.on = run, on
    self._programs: dict[Any, Callable[..., tuple[Array, Array]]] = {}

  @property
  def compilations(self) -> int:
    return sum(p._cache_size() for p in self._programs.values())  # type: ignore[attr-defined]

  def outcomes(self, params: Any, length: int) -> Outcomes:
    """What became of every target at a length, for every seed."""
    batch = examples(self.run.task, length, self.run.evaluate.examples)
    found = self.predictions(params, np.asarray(batch.tokens_BxL))
    return judge(found.said_SxBxL, batch, length, found.nats_SxBxL)

  def predictions(self, params: Any, tokens_BxL: np.ndarray) -> Predictions:
    """What the model says at each place, seeing a window where it has one."""
    length = tokens_BxL.shape[1]
    context = self.run.context(length)
    if context == length:
      return self._whole(params, tokens_BxL)
    found = self._whole(params, windows.slide(tokens_BxL, context))
    return Predictions(*(windows.join(x, length) for x in found))

  def _whole(self, params: Any, tokens_BxL: np.ndarray) -> Predictions:
    """What the model says at each place, seeing all places before it."""
    number, length = tokens_BxL.shape
    longest = max(map(self.run.context, self.run.lengths))
    padded = min(ladder(length), longest)
    program = self._program(length, padded)
    shards = self.on.shape[sharding.DATA]
    rows = -(-ROWS // shards) * shards
    parts = []
    for start in range(0, number, rows):
      part = tokens_BxL[start : start + rows]
      grow = ((0, rows - part.shape[0]), (0, padded - length))
      number_B = np.arange(start, start + rows, dtype=np.uint32)
      found = program(params, np.pad(part, grow), number_B)
      parts.append(jax.tree.map(np.asarray, found))
    seeds, first = len(self.run.seeds), ((0, 0), (0, 0), (1, 0))
    joined = jax.tree.map(lambda *x: np.concatenate(x, axis=1), *parts)
    return Predictions(
      *(np.pad(x[:seeds, :number, : length - 1], first) for x in joined)
    )

  def _program(
    self, length: int, padded: int
  ) -> Callable[..., tuple[Array, Array]]:
    scheme = self.run.evaluated_scheme(length)
    if (scheme, padded) not in self._programs:
      net = model.Transformer(self.run.model, scheme, self.run.task.vocabulary)
      self._programs[scheme, padded] = predictor(
        net, self.on, padded, len(self.run.seeds)
      )
    return self._programs[scheme, padded]


def predictor(
  net: model.Transformer, on: jax.sharding.Mesh, length: int, seeds: int
) -> Callable[..., tuple[Array, Array]]:
  """The jitted program from parameters and tokens to predictions.

  It takes the parameters of S seeds, tokens B x L and the numbers of the
  examples B, and gives two arrays S x B x L-1: the most likely tokens, and
  minus the log-probabilities of those that are there. Positions that are drawn
  depend on the number of the example alone, so results average over many draws.
  """

  def say(params, tokens_L, number):
    key = position_key(net.scheme, number)
    logits_1xTxV = model.predict(net, params, tokens_L[None], key=key)
    said_T = jnp.argmax(logits_1xTxV[0], axis=-1).astype(jnp.int32)
    nats_T = optax.softmax_cross_entropy_with_integer_labels(
      logits_1xTxV[0], tokens_L[1:]
    )
    return said_T, nats_T

  def all_seeds(params, tokens_BxL, number_B):
    one = lambda p: jax.lax.map(
      lambda example: say(p, *example),
      (tokens_BxL, number_B),
      batch_size=at_once(net.shape, length, net.vocabulary),
    )
    return sharding.each_seed(one, on, seeds, params)

  return jax.jit(
    jax.shard_map(
      all_seeds,
      mesh=on,
      in_specs=(
        PartitionSpec(sharding.SEED),
        PartitionSpec(sharding.DATA),
        PartitionSpec(sharding.DATA),
      ),
      out_specs=PartitionSpec(sharding.SEED, sharding.DATA),
      check_vma=False,
    )
  )


def position_key(scheme: schemes.Scheme, number: Array) -> Array | None:
  """The key of an example's positions, None where a scheme draws none."""
  if not scheme.draws:
    return None
  return jax.random.fold_in(jax.random.key(FOLD), number)


def at_once(shape: config.Model, length: int, vocabulary: int) -> int:
  """How many sequences' logits fit into BUDGET, at least one.

  Logits of attention or of tokens, whichever are more.
  """
  widest = max(shape.heads * length, vocabulary)
  return max(1, BUDGET // (4 * length * widest))


def judge(
  said_SxBxL: np.ndarray,
  batch: tasks.Batch,
  length: int,
  nats_SxBxL: np.ndarray | None = None,
) -> Outcomes:
  """Tells correct answers, order errors and retrieval errors apart."""
  if nats_SxBxL is None:
    nats_SxBxL = np.full(said_SxBxL.shape, np.nan, np.float32)
  tokens, foils = np.asarray(batch.tokens_BxL), np.asarray(batch.foils_BxLxC)
  right = said_SxBxL == tokens
  foiled = (said_SxBxL[..., None] == foils).any(-1)
  kind = np.where(
    right, CORRECT, np.where(foiled, ORDER_ERROR, RETRIEVAL_ERROR)
  ).astype(np.int8)
  ends = np.asarray(batch.targets_BxL & batch.ends_BxL)
  scored = np.asarray(batch.targets_BxL & ~batch.ends_BxL)
  return Outcomes(
    length=length,
    kind_SxT=kind[:, scored],
    nats_SxT=nats_SxBxL[:, scored],
    example_T=np.nonzero(scored)[0].astype(np.int32),
    strata={k: np.asarray(v)[scored] for k, v in batch.strata.items()},
    ends_SxN=right[:, ends],
  )


def ladder(length: int) -> int:
  """The least of 4, 5, 6, 7 times a power of two that is no smaller."""
  power = max(0, (length - 1).bit_length() - 3)
  return -(-length // 2**power) * 2**power


def summary(outcomes: Outcomes, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
  """One row of results a seed.

  Keys: `token`, `order`, `retrieval` are shares of all targets and sum to 1;
  `exact` is the share of sequences with every target right; `first_error` the
  mean place among its targets of a sequence's first error, their number where
  there is none; `nats` the mean of minus the log-probability of the right
  token, None where there are no probabilities; `end` the share of
  end-of-sequence tokens that were right, None where the task has none.
  """
  rows = []
  starts = np.nonzero(np.diff(outcomes.example_T, prepend=-1))[0]
  counts = np.diff(np.append(starts, outcomes.example_T.size))
  place_T = np.arange(outcomes.example_T.size) - np.repeat(starts, counts)
  nats_S = outcomes.nats_SxT.mean(axis=1, dtype=np.float64)
  for seed, kind_T, nats, ends_N in zip(
    seeds, outcomes.kind_SxT, nats_S.tolist(), outcomes.ends_SxN
  ):
    wrong_T = kind_T != CORRECT
    free = np.repeat(counts, counts)
    first = np.minimum.reduceat(np.where(wrong_T, place_T, free), starts)
    rows.append(
      {
        'seed': seed,
        'length': outcomes.length,
        'exact': float(np.mean(first == counts)),
        'token': float(np.mean(kind_T == CORRECT)),
        'order': float(np.mean(kind_T == ORDER_ERROR)),
        'retrieval': float(np.mean(kind_T == RETRIEVAL_ERROR)),
        'nats': None if math.isnan(nats) else nats,
        'first_error': float(np.mean(first)),
        'end': float(np.mean(ends_N)) if ends_N.size else None,
        'targets': int(kind_T.size),
      }
    )
  return rows
