"""Mixture: each sequence is of one of several tasks."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.tasks import base, draw


@dataclasses.dataclass(frozen=True)
class Mixture(base.Task):
  """Several tasks, one of which is drawn for each sequence.

  Token ids are made disjoint: those of the second task follow those of the
  first, and so on. The vocabulary is their sum, whatever the weights, so that a
  run on a mixture can be evaluated on one of its tasks:
  `run.on(mixture.only(0))`.

  Which task a sequence is of is drawn for each example, independently. Every
  task of a weight above 0 samples the whole batch, so that sampling costs as
  much as all of them together, and an example of task k is the one that
  `only(k)` has in its place.

  Strata: all those of all tasks, -1 where a task lacks one, and `task`, the
  index of the task. Answerers are those that all tasks have. The gate is the
  least of those tasks that have one of their own.

  Args:
    tasks: one task or more.
    weights: how often each is drawn, relative to each other; equally often
      if None. A task of weight 0 is never drawn.

  >>> from posexp import tasks
  >>> copy = tasks.Copy(symbols=3, distinct=False)
  >>> task = Mixture((copy, tasks.Ordering(symbols=8, queries=1)), (1, 2))
  >>> print(task.example(length=11))  # Ordering's ids are from 6 on.
  0 3 5 3 4 1 3 5 3 4 2
  6: 3, foils [5], ambiguity 0, distance 5, index 0, task 0
  7: 5, foils [3, 3], ambiguity 1, distance 5, index 1, task 0
  8: 3, foils [5, 4], ambiguity 0, distance 5, index 2, task 0
  9: 4, foils [3], ambiguity 1, distance 5, index 3, task 0
  """

  tasks: tuple[base.Task, ...] = component.field(
    each=True, kind=base.Task, remedy='write Mixture((Copy(), Dyck()))'
  )
  weights: tuple[float, ...] | None = component.field(
    None,
    each=True,
    at_least=0,
    remedy='use 0 for a task that is never drawn',
  )

  def __post_init__(self) -> None:
    super().__post_init__()
    if not self.tasks:
      raise component.UserError(
        'tasks of Mixture is empty: give one task or more'
      )
    if self.weights is None:
      return
    if len(self.weights) != len(self.tasks):
      raise component.UserError(
        f'weights of Mixture must be a number for each of its '
        f'{len(self.tasks)} tasks, got '
        f'{component.written(self.weights)}: use 0 for a task that '
        'is never drawn'
      )
    if not any(self.weights):
      raise component.UserError(
        f'weights of Mixture are all 0, got '
        f'{component.written(self.weights)}: give a task that '
        'is drawn a weight above 0'
      )

  def only(self, index: int) -> 'Mixture':
    """Return the mixture with all the weight on one task."""
    if not 0 <= index < len(self.tasks):
      raise component.UserError(
        f'index must be 0 to {len(self.tasks) - 1}, got {index}: the mixture '
        f'has {len(self.tasks)} tasks'
      )
    weights = tuple(int(n == index) for n in range(len(self.tasks)))
    return dataclasses.replace(self, weights=weights)

  @property
  def capability(self) -> str:  # type: ignore[override]
    return ''.join(
      sorted({c for t in self._drawn().values() for c in t.capability})
    )

  @property
  def defended(self) -> frozenset[str]:  # type: ignore[override]
    return frozenset.intersection(*(t.defended for t in self._drawn().values()))

  @property
  def gate(self) -> float | None:
    gates = [t.gate for t in self._drawn().values() if t.gate is not None]
    return min(gates, default=None)

  def evaluated(self) -> 'Mixture':
    held_out = tuple(task.evaluated() for task in self.tasks)
    return dataclasses.replace(self, tasks=held_out)

  @property
  def vocabulary(self) -> int:
    return sum(task.vocabulary for task in self.tasks)

  def check(self, length: int) -> None:
    for task in self._drawn().values():
      try:
        task.check(length)
      except component.UserError as error:
        raise component.UserError(f'{task} of Mixture: {error}') from error

  def asked(self, length: int) -> Sequence[int] | None:
    places: set[int] = set()
    for task in self._drawn().values():
      asked = task.asked(length)
      if asked is None:
        return None
      places |= set(asked)
    return sorted(places)

  def chance(self, length: int) -> float:
    """Return the mean over the tasks, weighted by their share of targets.

    Where the sequences of a task differ in how many they have, it is a mean
    over 2**18 tokens of them.
    """
    self.check(length)
    drawn, weights = self._drawn(), self._weights()
    targets = [weights[k] * _targets(task, length) for k, task in drawn.items()]
    chances = [task.chance(length) for task in drawn.values()]
    return float(np.average(chances, weights=targets))

  def evidence(self, strata: Mapping[str, np.ndarray]) -> np.ndarray:
    distance = np.full_like(strata['task'], -1)
    for k, task in self._drawn().items():
      of_task = task.evidence(strata)
      if of_task is not None:
        distance = np.where(strata['task'] == k, of_task, distance)
    return distance

  def sample(self, key, *, length, batch):
    self.check(length)
    drawn = self._drawn()
    parts = []
    for k, task in drawn.items():
      task_key = jax.random.fold_in(key, k)
      part = task.sample(task_key, length=length, batch=batch)
      parts.append(_moved(part, self._offset(k)))

    def one(key: jax.Array, chosen: base.Batch, *others: base.Batch):
      (word_1,) = draw.words(key, 1)
      pick = draw.choice(word_1, self._weights())[0]
      for k, part in zip(list(drawn)[1:], others):
        take = functools.partial(jnp.where, pick == k)
        chosen = jax.tree.map(take, part, chosen)
      task_L = jnp.where(chosen.targets_BxL, pick, -1)
      return chosen._replace(strata={**chosen.strata, 'task': task_L})

    # A key that is none of the tasks'.
    pick_key = jax.random.fold_in(key, len(self.tasks))
    return draw.per_example(one, pick_key, batch, *_alike(parts))

  def guesses(self, rng, tokens_BxL, asked_BxL):
    ends = np.cumsum([task.vocabulary for task in self.tasks])
    task_B = np.searchsorted(ends, tokens_BxL[:, 0], side='right')
    parts: dict[int, dict[str, np.ndarray]] = {}
    for k in np.unique(task_B).tolist():
      rows, low = task_B == k, self._offset(k)
      parts[k] = {}
      guesses = self.tasks[k].guesses(
        rng, tokens_BxL[rows] - low, asked_BxL[rows]
      )
      for name, guess_BxL in guesses.items():
        parts[k][name] = np.where(guess_BxL >= 0, guess_BxL + low, -1)
    mixed = {}
    for name in sorted(set.intersection(*map(set, parts.values()))):
      mixed[name] = np.full(tokens_BxL.shape, -1, np.int32)
      for k, part in parts.items():
        mixed[name][task_B == k] = part[name]
    return mixed

  def _weights(self) -> tuple[float, ...]:
    return self.weights or (1,) * len(self.tasks)

  def _drawn(self) -> dict[int, base.Task]:
    """Return the tasks of a weight above 0, by index."""
    return {k: self.tasks[k] for k, w in enumerate(self._weights()) if w > 0}

  def _offset(self, index: int) -> int:
    """Return where the token ids of a task begin."""
    return sum(task.vocabulary for task in self.tasks[:index])


# Tokens of the sequences in which targets are counted.
_COUNTED = 2**18


@component.cached(maxsize=64)
def _targets(task: base.Task, length: int) -> float:
  """Return the mean number of targets of a sequence, the EOS not counted."""
  batch = max(1, _COUNTED // length)

  def count(key: jax.Array) -> jax.Array:
    some = task.sample(key, length=length, batch=batch)
    return jnp.sum(some.targets_BxL & ~some.ends_BxL)

  # Under jit, all that is not counted is left out.
  return int(jax.jit(count)(draw.root(0))) / batch


def _moved(part: base.Batch, offset: int) -> base.Batch:
  foils_BxLxC = part.foils_BxLxC
  return part._replace(
    tokens_BxL=part.tokens_BxL + offset,
    foils_BxLxC=jnp.where(foils_BxLxC >= 0, foils_BxLxC + offset, -1),
  )


def _alike(parts: list[base.Batch]) -> list[base.Batch]:
  """Return the batches with the strata of all, and equally many foils."""
  names = sorted({name for part in parts for name in part.strata})
  widest = max(part.foils_BxLxC.shape[2] for part in parts)

  def filled(part: base.Batch) -> base.Batch:
    more = widest - part.foils_BxLxC.shape[2]
    none_BxL = jnp.full_like(part.tokens_BxL, -1)
    return part._replace(
      foils_BxLxC=jnp.pad(
        part.foils_BxLxC, ((0, 0), (0, 0), (0, more)), constant_values=-1
      ),
      strata={name: part.strata.get(name, none_BxL) for name in names},
    )

  return [filled(part) for part in parts]
