"""Start: the problem of another task, begun later in the sequence."""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.tasks import base, draw


@dataclasses.dataclass(frozen=True)
class Start(base.Task):
  """Another task, starting later in the sequence.

    PAD * s, the sequence of `task` with length - high tokens, PAD * (high - s)

  s is uniform in low, ..., high for each example. PAD is a token of its own,
  the last of the vocabulary, and there is one for any low and high: a model
  trained on `Start(task, 0, 16)` can be evaluated on `Start(task, 64, 64)`, a
  test of later positions at the same length of the problem. The problem is that
  of `task` for the same key and length - high, token for token.

  Strata: those of the task, and `start`, which is s. All else, moved, is that
  of the task.

  Args:
    task: the task to shift; its sequences are length - high tokens long.
    low: the least start.
    high: the greatest start, and how much of the length is PAD.

  >>> from posexp import tasks
  >>> task = Start(tasks.Ordering(symbols=4, queries=1), low=2, high=4)
  >>> print(task.example(length=12))
  8 8 8 6 7 5 4 0 4 7 7 8
  10: 7, foils [4], distance 4, gap 2, mention 1, query 0, start 3
  """

  task: base.Task = component.field(
    kind=base.Task, remedy='write Start(Copy(), low=0, high=16)'
  )
  low: int = component.field(
    0, at_least=0, remedy='a sequence starts at token 0'
  )
  high: int = component.field(
    0, at_least='low', remedy='use low=high for a start that is fixed'
  )

  def __post_init__(self) -> None:
    super().__post_init__()
    if isinstance(self.task, Start):
      raise component.UserError(
        f'task of Start is a Start, got {self.task}: shift '
        f'{self.task.task} once, with the sum of the starts'
      )

  @property
  def capability(self) -> str:  # type: ignore[override]
    return self.task.capability

  @property
  def defended(self) -> frozenset[str]:  # type: ignore[override]
    return self.task.defended

  @property
  def gate(self) -> float | None:
    return self.task.gate

  def evaluated(self) -> 'Start':
    return dataclasses.replace(self, task=self.task.evaluated())

  @property
  def vocabulary(self) -> int:
    return self.task.vocabulary + 1

  def check(self, length: int) -> None:
    try:
      self.task.check(length - self.high)
    except component.UserError as error:
      raise component.UserError(
        f'of a length of {length}, Start keeps {self.high} for where to start '
        f'and leaves {length - self.high}: {error}'
      ) from error

  def asked(self, length: int) -> Sequence[int] | None:
    inner = self.task.asked(length - self.high)
    if inner is None:
      return None
    starts = range(self.low, self.high + 1)
    return sorted({start + t for start in starts for t in inner})

  def chance(self, length: int) -> float:
    return self.task.chance(length - self.high)

  def evidence(self, strata: Mapping[str, np.ndarray]) -> np.ndarray | None:
    return self.task.evidence(strata)

  def sample(self, key, *, length, batch):
    self.check(length)
    inner = self.task.sample(key, length=length - self.high, batch=batch)

    def one(key: jax.Array, inner: base.Batch) -> base.Batch:
      # Not the words that the task itself draws from this key.
      (word_1,) = draw.words(jax.random.fold_in(key, 1), 1)
      start = draw.integers(word_1, self.low, self.high + 1)[0]
      return self._shifted(inner, start, length)

    return draw.per_example(one, key, batch, inner)

  def guesses(self, rng, tokens_BxL, asked_BxL):
    pad = self.vocabulary - 1
    start_Bx1 = np.argmax(tokens_BxL != pad, axis=1)[:, None]
    at_BxM = start_Bx1 + np.arange(tokens_BxL.shape[1] - self.high)
    tokens_BxM, asked_BxM = (
      np.take_along_axis(value_BxL, at_BxM, axis=1)
      for value_BxL in (tokens_BxL, asked_BxL)
    )
    guesses = {}
    for name, said_BxM in self.task.guesses(rng, tokens_BxM, asked_BxM).items():
      guesses[name] = np.full(tokens_BxL.shape, -1, np.int32)
      np.put_along_axis(guesses[name], at_BxM, said_BxM, axis=1)
    return guesses

  def _shifted(
    self, inner: base.Batch, start: jax.Array, length: int
  ) -> base.Batch:
    """Move one sequence of M tokens right by `start` (no batch axis yet)."""

    def moved(value_Mx: jax.Array, fill: int | bool) -> jax.Array:
      full_Lx = jnp.full((length, *value_Mx.shape[1:]), fill, value_Mx.dtype)
      return jax.lax.dynamic_update_slice_in_dim(full_Lx, value_Mx, start, 0)

    targets_L = moved(inner.targets_BxL, False)
    return base.Batch(
      tokens_BxL=moved(inner.tokens_BxL, self.vocabulary - 1),
      targets_BxL=targets_L,
      ends_BxL=moved(inner.ends_BxL, False),
      foils_BxLxC=moved(inner.foils_BxLxC, -1),
      strata={
        **{name: moved(x_M, -1) for name, x_M in inner.strata.items()},
        'start': jnp.where(targets_L, start, -1),
      },
    )
