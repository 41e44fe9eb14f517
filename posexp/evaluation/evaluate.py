"""Evaluation: the teacher-forced predictions of a run, at every length."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import NamedSharding, PartitionSpec

from posexp import component, data, schemes, tasks
from posexp.data import store
from posexp.evaluation import scoring, strided
from posexp.models import (
  compile_counter,
  environment,
  memory,
  mesh,
  transformer,
)
from posexp.runs import config
from posexp.tasks import draw

Array = jax.Array

FOLD, GATE_FOLD = data.FOLD, data.GATE_FOLD
# Examples that are predicted with one call of a program, and their tokens on
# each device: progress is told after every call.
ROWS, TOKENS = 64, 2**15

# Called with the share of the work that was done.
Advance = Callable[[float], None]


@component.cached(maxsize=12)  # Of 512 long sequences, a set has 0.4 GiB.
def examples(
  task: tasks.Task, length: int, number: int, fold: int = FOLD
) -> tasks.Batch:
  """Return the evaluation examples of a task at a length, for every run alike.

  A pure function of its arguments: no scheme, seed or machine enters, and the
  first n examples are the same however many are asked for. They are read from
  the frozen set where `posexp data build` made one, and drawn otherwise. What
  is chosen by its score must be chosen on examples of another `fold`. Of those,
  `GATE_FOLD` chooses seeds, and draws from the data that are held out, as
  evaluation does; any other never does.

  Raises:
    UserError: one sentence with both digests, if the frozen set is damaged,
      or what was drawn is not what was published.
  """
  if fold == FOLD:
    return store.load(task, length, number)
  return data.draw(data.Set(task, length), number, fold)


def baselines(task: tasks.Task, length: int, number: int) -> dict[str, float]:
  """Return the token accuracy of a task's answerers on the same examples."""
  batch = examples(task, length, number)
  tokens_BxL = np.asarray(batch.tokens_BxL)
  target_BxL = np.asarray(batch.targets_BxL & ~batch.ends_BxL)
  guesses = task.guesses(np.random.default_rng(FOLD), tokens_BxL, target_BxL)
  return {
    name: float((guess_BxL == tokens_BxL)[target_BxL].mean())
    for name, guess_BxL in guesses.items()
  }


def asked(run: config.Run, length: int) -> np.ndarray | None:
  """Return the places to predict, or None for all of them."""
  places = run.task.asked(length)
  # All are predicted in windows, and where choosing would save little.
  whole = length <= memory.SHORT or run.context(length) < length
  if places is None or whole or 2 * len(places) > length:
    return None
  return np.asarray(places, np.int32)


class Predictions(NamedTuple):
  """What a model predicts at each place, S x B x L; 0 for the first token.

  Attributes:
    token_SxBxL: int32, the most likely token.
    nats_SxBxL: float32, minus the log-probability of the token that is there.
  """

  token_SxBxL: np.ndarray
  nats_SxBxL: np.ndarray


class Evaluator:
  """Teacher-forced predictions of all seeds, with few compilations.

  A length is padded up to 128 tokens and, beyond, to the next of 4, 5, 6 or 7
  times a power of two, but not above the longest, so that a long list of
  lengths needs few programs; padding comes last and a causal model does not see
  it. A program is compiled once for all seeds, and for all runs that differ in
  numbers alone, see `schemes.take`. Of a long sequence, only the places that a
  task asks for are predicted.
  """

  def __init__(self, run: config.Run, on: jax.sharding.Mesh):
    self.run, self.on = run, on
    self._programs: set[Callable[..., tuple[Array, Array]]] = set()

  @property
  def compilations(self) -> int:
    return sum(p._cache_size() for p in self._programs)  # type: ignore[attr-defined]

  def check(self, workers: int = 1) -> None:
    """Raise a `UserError` if a length needs more memory than there is.

    Args:
      workers: how many processes are at work on runs like this one.
    """
    for length in self.run.lengths:
      tokens, place_T = self.run.context(length), asked(self.run, length)
      places = tokens if place_T is None else len(place_T)
      net, seeds = self._net(length), len(self.run.seeds)
      need = self._padded(tokens), places
      memory.check(net, *need, self.on, seeds, workers)

  @environment.fixed()
  def outcomes(
    self,
    params: Any,
    length: int,
    advance: Advance = lambda share: None,
    fold: int = FOLD,
  ) -> scoring.Outcomes:
    """Score every target at a length, for every seed.

    Args:
      params: with the seeds as first axis, idle ones included.
      length: tokens in a sequence.
      advance: called every few sequences, with their share of the work.
      fold: of the examples; their number is the same in every fold.
    """
    number = self.run.evaluate.number(length)
    batch = examples(self.run.task, length, number, fold)
    tokens_BxL, place_T = np.asarray(batch.tokens_BxL), asked(self.run, length)
    if place_T is None:
      predicted = self.predictions(params, tokens_BxL, advance)
    else:
      predicted = self._whole(params, tokens_BxL, advance, place_T)
      batch = jax.tree.map(lambda x: np.asarray(x)[:, place_T], batch)
    batch = tasks.with_evidence(self.run.task, batch)
    return scoring.score(
      predicted.token_SxBxL, batch, length, predicted.nats_SxBxL
    )

  @environment.fixed()
  def predictions(
    self,
    params: Any,
    tokens_BxL: np.ndarray,
    advance: Advance = lambda share: None,
  ) -> Predictions:
    """Predict each place, from a window before it where there is one."""
    length = tokens_BxL.shape[1]
    context = self.run.context(length)
    if context == length:
      return self._whole(params, tokens_BxL, advance)
    windows = strided.slide(tokens_BxL, context)
    predicted = self._whole(params, windows, advance)
    return Predictions(*(strided.join(x, length) for x in predicted))

  def _whole(
    self,
    params: Any,
    tokens_BxL: np.ndarray,
    advance: Advance,
    place_T: np.ndarray | None = None,
  ) -> Predictions:
    """Predict some places, or each, from all that come before."""
    number, length = tokens_BxL.shape
    padded = self._padded(length)
    places = padded if place_T is None else ladder(len(place_T))
    count = length - 1 if place_T is None else len(place_T)
    if place_T is not None:  # A program a rung, and not one a number.
      place_T = np.pad(place_T, (0, places - count), mode='edge')
    net, on = self._net(length), self.on
    if padded > memory.SHORT:
      on = memory.mesh(net, padded, places, on)
    shards = on.shape[mesh.DATA]
    rows = max(1, min(-(-ROWS // shards), TOKENS // padded)) * shards
    seeds = len(self.run.seeds)
    at_once = memory.at_once(net, padded, places, on, seeds)
    form, numbers = transformer.take(net)
    program = predictor(form, on, padded, seeds, at_once)
    self._programs.add(program)
    params = jax.device_put(params, mesh.over_seeds(on))
    numbers = each(numbers, params, on)
    by_data = NamedSharding(on, PartitionSpec(mesh.DATA))
    parts = []
    for start in range(0, number, rows):
      part = tokens_BxL[start : start + rows]
      grow = ((0, rows - part.shape[0]), (0, padded - length))
      number_B = np.arange(start, start + rows, dtype=np.uint32)
      given = mesh.put((np.pad(part, grow), number_B), by_data)
      parts.append(mesh.fetch(program(params, numbers, *given, place_T)))
      advance(part.shape[0] / number)
    first = ((0, 0), (0, 0), (int(place_T is None), 0))
    cut = (slice(len(self.run.seeds)), slice(number), slice(count))
    joined = jax.tree.map(lambda *x: np.concatenate(x, axis=1)[cut], *parts)
    return Predictions(*(np.pad(x, first) for x in joined))

  def _padded(self, length: int) -> int:
    padded = max(ladder(length), memory.SHORT)
    return min(padded, max(map(self.run.context, self.run.lengths)))

  def _net(self, length: int) -> transformer.Transformer:
    scheme = self.run.evaluated_scheme(length)
    return transformer.Transformer(
      self.run.model, scheme, self.run.task.vocabulary
    )


def each(
  numbers: schemes.Numbers, params: Any, on: jax.sharding.Mesh
) -> schemes.Numbers:
  """Return the numbers of a scheme for each seed of parameters, on a mesh."""
  rows = jax.tree.leaves(params)[0].shape[0]
  spread = jax.tree.map(lambda x: np.repeat(x[None], rows, axis=0), numbers)
  return mesh.put(spread, mesh.over_seeds(on))


@component.cached(maxsize=64)
def predictor(
  form: transformer.Transformer,
  on: jax.sharding.Mesh,
  length: int,
  seeds: int,
  at_once: int,
) -> Callable[..., tuple[Array, Array]]:
  """Return the jitted program from parameters and tokens to predictions.

  It takes the parameters of S seeds and the numbers of a scheme for each (see
  `transformer.take`), tokens B x L, the numbers of the examples B and, if only
  some are wanted, T places; it gives two arrays S x B x L-1 (or T): the most
  likely tokens, and minus the log-probabilities of those that are there.
  Positions that are drawn depend on the number of the example alone.

  Args:
    form: the model.
    on: the mesh.
    length: L.
    seeds: S without those that are idle.
    at_once: how many sequences a device does at a time.
  """

  def predict(net, params, place_T, tokens_L, number):
    key = position_key(net.scheme, number)
    logits_1xTxV = transformer.predict(
      net, params, tokens_L[None], place_T, key
    )
    token_T = jnp.argmax(logits_1xTxV[0], axis=-1).astype(jnp.int32)
    nats_T = optax.softmax_cross_entropy_with_integer_labels(
      logits_1xTxV[0], tokens_L[1:] if place_T is None else tokens_L[place_T]
    )
    return token_T, nats_T

  def all_seeds(params, numbers, tokens_BxL, number_B, place_T=None):
    def one_seed(params, numbers):
      net = transformer.fill(form, numbers)
      return jax.lax.map(
        lambda example: predict(net, params, place_T, *example),
        (tokens_BxL, number_B),
        batch_size=at_once,
      )

    return mesh.each_seed(one_seed, on, seeds, params, numbers)

  by_seed, by_data = PartitionSpec(mesh.SEED), PartitionSpec(mesh.DATA)
  whole = PartitionSpec()

  def program(params, numbers, tokens_BxL, number_B, place_T=None):
    compile_counter.counted[compile_counter.EVALUATION] += 1
    return jax.shard_map(
      all_seeds,
      mesh=on,
      in_specs=(by_seed, by_seed, by_data, by_data, whole),
      out_specs=PartitionSpec(mesh.SEED, mesh.DATA),
      check_vma=False,
    )(params, numbers, tokens_BxL, number_B, place_T)

  return jax.jit(program)


def position_key(scheme: schemes.Scheme, number: Array) -> Array | None:
  """Return the key of an example's positions, None if a scheme draws none."""
  if not scheme.draws:
    return None
  return jax.random.fold_in(draw.root(FOLD), number)


def ladder(length: int) -> int:
  """Return the next length that is 4, 5, 6 or 7 times a power of two."""
  power = max(0, (length - 1).bit_length() - 3)
  return -(-length // 2**power) * 2**power
