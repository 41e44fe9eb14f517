"""The factors of LongRoPE for a trained run, by an evolutionary search."""

import dataclasses
import math
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from posexp import component, schemes
from posexp.evaluation import evaluate
from posexp.launch import job
from posexp.models import environment, memory, mesh, transformer
from posexp.results import progress
from posexp.runs import config

# As in the paper: the individuals at the start, the best that become parents,
# and the children of a generation, one half mutated and one half crossed.
POPULATION, PARENTS, CHILDREN = 64, 32, 32
# What 40 generations of the paper's cost.
EVALUATIONS = POPULATION + 40 * CHILDREN
# The probability that a factor of a mutated individual changes.
MUTATION = 0.3
# The largest factor, in units of the extension s.
REACH = 1.25
# Decimals of a factor: the paper's grid of 0.01.
DECIMALS = 2
# The standard deviation of a nudge, in nats of a factor.
NUDGE = 0.1
# How often a child that has been seen is made anew.
TRIES = 20
# The root of the keys of the examples that factors are chosen on; those that
# they are judged on come from `evaluate.FOLD`.
FOLD = 0x5EA2C

History = tuple[tuple[int, float], ...]
Tell = Callable[[int, float], None]


class Found(NamedTuple):
  """What a search found.

  Attributes:
    law: the law, with factors of 1 up to the trained length.
    scheme: the run's scheme under that law, for `run.retrofit(found.scheme)`.
    loss: its loss on the search's examples, in nats a target.
    history: pairs of evaluations made and the best loss so far, one for the
      start and one a generation.
    starts: the losses of 'unscaled', 'PI', 'NTK' and 'YaRN'. They are the
      factors of those laws, all under the temperature of `law`: 'unscaled' is
      the trained model only with attention_factor=1.
  """

  law: schemes.LongRoPE
  scheme: schemes.Scheme
  loss: float
  history: History
  starts: dict[str, float]


@environment.fixed()
def longrope(
  run: config.Run,
  params: Any,
  length: int,
  *,
  evaluations: int = EVALUATIONS,
  examples: int = 64,
  seed: int = 0,
  attention_factor: float | None = None,
  tell: Tell | None = None,
) -> Found:
  """Search LongRoPE's factors for a trained run, by evolution.

  Minimises the mean cross-entropy of the targets over lambda_k, k = 1..d/2,
  with 1 <= lambda_1 <= lambda_2 <= ... <= 1.25 s, where s is the length over
  the trained length and theta_k / lambda_k are the angles. It starts from the
  factors of PI, NTK, YaRN and of no scaling, and never ends worse than the
  best of them. The mean is over the seeds of the run and over examples drawn
  for the search alone: none is an example of `posexp.evaluation.evaluate`. The
  same arguments give the same factors. All candidates share one compiled
  program.

  Source: Ding et al. 2024, arXiv 2402.13753, section 3; the sizes are theirs.
  Departures: no first tokens are left unscaled; a mutated factor is redrawn
  from the whole range, or nudged, and the factors are then sorted, where the
  authors redraw it between its neighbours; and the unscaled factors start too.

  Args:
    run: a run whose scheme is an unscaled RoPE, alone or in a sum.
    params: its trained parameters, with the seeds as first axis.
    length: tokens in a sequence, more than the run was trained with.
    evaluations: how many candidates are evaluated, at least 64, the first
      population; the default is that and the paper's 40 generations of 32.
    examples: sequences that a candidate is evaluated on.
    seed: of the evolution; the examples are the same for every seed.
    attention_factor: of the law; None is LongRoPE's own, and 1 leaves the
      model at the trained length exactly as it was trained.
    tell: called with the evaluations made and the best loss so far.

  Raises:
    UserError: if the run, the length or the budget does not serve, or no
      candidate has a finite loss.
  """
  component.at_least(
    'evaluations of a search',
    evaluations,
    POPULATION,
    'that is its first population',
  )
  loss = Objective(
    run, params, length, examples=examples, attention_factor=attention_factor
  )
  factors_K, history, starts = evolve(
    loss,
    loss.starts(),
    most=REACH * loss.factor,
    evaluations=evaluations,
    seed=seed,
    tell=tell,
  )
  law = loss.law(factors_K)
  scheme = with_rope(
    run.scheme, lambda rope: dataclasses.replace(rope, frequencies=law)
  )
  return Found(law, scheme, history[-1][1], history, starts)


def longrope_of(
  workdir: str | os.PathLike,
  run: config.Run,
  length: int,
  *,
  evaluations: int = EVALUATIONS,
  **options: Any,
) -> Found:
  """Call `longrope` for a finished run of a work directory.

  ```
  from posexp.launch import grid, longrope_search

  run = grid.load('experiments/quickstart.py').runs[0]
  found = longrope_search.longrope_of('runs/quickstart', run, 256)
  print(found.law, found.starts, found.loss)
  retrofit = run.retrofit(found.scheme)  # Yield it from grid() to judge it.
  ```

  Args:
    workdir: as given to `posexp run`.
    run: the run, configured as it was when it was trained.
    length: as in `longrope`, as all that follow.
    evaluations: how many candidates are evaluated.
    **options: examples, seed, attention_factor.

  Raises:
    UserError: as `longrope`, or if the run has not finished there.
  """
  check(run, length)
  workdir, done = pathlib.Path(workdir), 0
  with progress.Progress(evaluations, workdir / 'log.txt') as bar:

    def tell(evaluated: int, best: float) -> None:
      nonlocal done
      work, done = evaluated - done, evaluated
      bar.advance(work, f'LongRoPE for {run.name} at {length}: {best:.4f}')

    params = job.weights(run, workdir, bar)
    return longrope(
      run, params, length, evaluations=evaluations, tell=tell, **options
    )


def evolve(
  loss: Callable[[np.ndarray], float],
  starts: Mapping[str, np.ndarray],
  *,
  most: float,
  evaluations: int,
  seed: int,
  tell: Tell | None = None,
) -> tuple[np.ndarray, History, dict[str, float]]:
  """Find the ascending factors from 1 to `most` of least loss, by evolution.

  Args:
    loss: of an array of factors; what is not finite counts as worst.
    starts: two or more arrays of factors, evaluated first.
    most: the largest factor of a child.
    evaluations: how often the loss is asked for.
    seed: of all that is random.
    tell: as in `longrope`.

  Returns:
    The best factors, the history, and the losses of `starts`.
  """
  rng = np.random.default_rng(seed)
  seen: set[bytes] = set()
  candidates: list[tuple[float, np.ndarray]] = []
  history: list[tuple[int, float]] = []

  def evaluate(factors_K: np.ndarray) -> float:
    value = loss(factors_K)
    value = value if math.isfinite(value) else math.inf
    seen.add(factors_K.tobytes())
    candidates.append((value, factors_K))
    candidates.sort(key=lambda candidate: candidate[0])
    return value

  def breed(parents: int, children: int, crossed: int) -> None:
    best = [factors_K for _, factors_K in candidates[:parents]]
    for n in range(min(children, evaluations - len(candidates))):
      for _ in range(TRIES):
        child_K = _child(rng, best, most, crossed=n % 2 < crossed)
        if child_K.tobytes() not in seen:
          break
      evaluate(child_K)
    history.append((len(candidates), candidates[0][0]))
    if tell is not None:
      tell(*history[-1])

  losses = {name: evaluate(factors_K) for name, factors_K in starts.items()}
  breed(len(losses), POPULATION - len(losses), crossed=0)
  if not math.isfinite(candidates[0][0]):
    raise component.UserError(
      f'none of the first {len(candidates)} candidates has a finite loss: the '
      'weights have diverged, so search with the seeds that have not'
    )
  while len(candidates) < evaluations:
    breed(PARENTS, CHILDREN, crossed=1)
  return candidates[0][1], tuple(history), losses


def _child(
  rng: np.random.Generator,
  parents: list[np.ndarray],
  most: float,
  *,
  crossed: bool,
) -> np.ndarray:
  """Return two parents crossed, or one mutated, on the grid and in order."""
  first, second = rng.choice(len(parents), 2, replace=False)
  first_K, second_K = parents[first], parents[second]
  pairs = first_K.size
  if crossed:
    child_K = np.where(rng.random(pairs) < 0.5, first_K, second_K)
  else:
    redrawn_K = np.exp(rng.uniform(0.0, math.log(most), pairs))
    nudged_K = first_K * np.exp(rng.normal(0.0, NUDGE, pairs))
    new_K = np.where(rng.random(pairs) < 0.5, redrawn_K, nudged_K)
    child_K = np.where(rng.random(pairs) < MUTATION, new_K, first_K)
  return np.sort(np.clip(np.round(child_K, DECIMALS), 1.0, most))


class Objective:
  """The loss of a trained run at a length as a function of the factors.

  The mean over the run's seeds of the mean cross-entropy of the targets, in
  nats, on examples that no evaluation uses. All factors share one program. The
  arguments are those of `longrope`.

  Attributes:
    run: the run.
    factor: s, the length over the trained length.
  """

  def __init__(
    self,
    run: config.Run,
    params: Any,
    length: int,
    *,
    examples: int = 64,
    attention_factor: float | None = None,
  ):
    component.at_least('examples of a search', examples, 1)
    check(run, length)
    self.run, self.factor = run, length / run.trained_length
    self._attention_factor = attention_factor
    self._scheme = run.evaluated_scheme(length)
    (self._rope,) = (p for p in self._scheme.parts if type(p) is schemes.RoPE)
    net = self._net(np.ones_like(self._angles(schemes.Law())))
    net.scheme.check(run.model.dims, length - 1 + run.model.bos)
    seeds = len(run.seeds)
    self._on = mesh.mesh(seeds, examples)
    self._params = mesh.pad_seeds(params, self._on, seeds)
    place_T = evaluate.asked(run, length)
    asked = length if place_T is None else len(place_T)
    self._program = evaluate.predictor(
      transformer.take(net)[0],
      self._on,
      length,
      seeds,
      memory.at_once(net, length, asked, self._on, seeds),
    )
    batch = evaluate.examples(run.task, length, examples, FOLD)
    number_B = np.arange(examples, dtype=np.uint32)
    by_data = NamedSharding(self._on, PartitionSpec(mesh.DATA))
    given = mesh.put((np.asarray(batch.tokens_BxL), number_B), by_data)
    self._given = (*given, place_T)
    places = slice(1, None) if place_T is None else place_T
    self._target_BxT = np.asarray(batch.targets_BxL)[:, places]

  @property
  def compilations(self) -> int:
    return self._program._cache_size()

  def law(self, factors_K: np.ndarray) -> schemes.LongRoPE:
    """Return the law of a candidate, unscaled up to the trained length."""
    return schemes.LongRoPE(
      short=(1.0,) * len(factors_K),
      long=tuple(float(f) for f in factors_K),
      train_length=self.run.trained_length,
      factor=self.factor,
      attention_factor=self._attention_factor,
    )

  def starts(self) -> dict[str, np.ndarray]:
    """Return the factors of the laws that a search starts from, by name."""
    laws = {
      'unscaled': schemes.Law(),
      'PI': schemes.Linear(self.factor),
      'NTK': schemes.NTK(self.factor),
      'YaRN': schemes.YaRN(self.factor, self.run.trained_length),
    }
    plain_K = self._angles(schemes.Law())
    return {name: plain_K / self._angles(law) for name, law in laws.items()}

  def __call__(self, factors_K: np.ndarray) -> float:
    _, numbers = transformer.take(self._net(factors_K))
    numbers = evaluate.each(numbers, self._params, self._on)
    _, nats_SxBxT = mesh.fetch(
      self._program(self._params, numbers, *self._given)
    )
    nats_SxT = nats_SxBxT[: len(self.run.seeds), self._target_BxT]
    return float(np.mean(nats_SxT, dtype=np.float64))

  def _angles(self, law: schemes.Law) -> np.ndarray:
    rope = dataclasses.replace(self._rope, frequencies=law)
    return rope.inverse_frequencies(self.run.model.head_width)

  def _net(self, factors_K: np.ndarray) -> transformer.Transformer:
    """Return the model of the run under the law of a candidate."""
    law = self.law(factors_K).for_length(self.run.trained_length + 1)
    scheme = with_rope(
      self._scheme, lambda rope: dataclasses.replace(rope, frequencies=law)
    )
    return transformer.Transformer(
      self.run.model, scheme, self.run.task.vocabulary
    )


def check(run: config.Run, length: int) -> None:
  """Check that a run can be searched, before anything is computed.

  Raises:
    UserError: if the length is no extension, or the scheme does not serve.
  """
  if length <= run.trained_length:
    raise component.UserError(
      f'a search needs a length above the trained {run.trained_length}, got '
      f'{length}: the factors are for an extension'
    )
  plain = [
    part
    for part in run.scheme.parts
    if type(part) is schemes.RoPE and part.frequencies == schemes.Law()
  ]
  rotations = [a for a in run.scheme.atoms if isinstance(a, schemes.RoPE)]
  if len(plain) != 1 or len(rotations) != 1 or run.scheme.evaluated().draws:
    raise component.UserError(
      'a search needs one unscaled RoPE, alone or in a sum with schemes that '
      f'do not draw positions, got {run.scheme}: search a run trained with '
      'RoPE()'
    )
  run.task.check(length)


def with_rope(
  scheme: schemes.Scheme, change: Callable[[schemes.RoPE], schemes.Scheme]
) -> schemes.Scheme:
  """Return the scheme with its one RoPE changed, in its place."""
  terms = tuple(
    change(part) if type(part) is schemes.RoPE else part
    for part in scheme.parts
  )
  # A sum stays one, as its terms' parameters are kept by name.
  return schemes.Sum(terms) if isinstance(scheme, schemes.Sum) else terms[0]
