"""What the tasks have in common that store facts and ask for their values."""

import abc
import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.tasks import answerers, draw, fields, layout

SEP = 0


@dataclasses.dataclass(frozen=True)
class Store(draw.PerExample):
  """Facts among filler, SEP, then questions: fields, lengths and answerers.

  Ids are 0 SEP, the marks of the subclass, its names, then `values` values
  that facts are about, then `filler` filler tokens.
  """

  defended: ClassVar[frozenset[str]] = frozenset({'recent'})

  # Tokens of a fact, and of a question with its answer.
  width: ClassVar[int] = 2
  # Ids before the names.
  special: ClassVar[int] = 1
  # What to have fewer of when a sequence is too short.
  fact: ClassVar[str] = ''

  queries: int = 4
  values: int = 32
  filler: int = 16

  def __post_init__(self) -> None:
    fields.some_queries(self.queries)
    fields.at_least(
      'values', self.values, 2, 'with one value every answer is right'
    )
    fields.at_least(
      'filler', self.filler, 1, 'what stands between the facts must be drawn'
    )

  @property
  @abc.abstractmethod
  def names(self) -> int:
    """How many ids name what a fact is about."""

  @property
  @abc.abstractmethod
  def room(self) -> int:
    """The tokens that the shortest body has."""

  @property
  def vocabulary(self) -> int:
    return self.first_filler + self.filler

  @property
  def first_value(self) -> int:
    """The id of the first value."""
    return self.special + self.names

  @property
  def first_filler(self) -> int:
    """The id of the first filler token."""
    return self.first_value + self.values

  def body(self, length: int) -> int:
    """How many tokens stand before SEP."""
    return length - 1 - self.width * self.queries

  def answers_at(self, length: int) -> np.ndarray:
    """The position of each answer in the sequence."""
    return layout.answers_at(self.body(length) + 1, self.width, self.queries)

  def distance(self, length: int, at_Q: jax.Array) -> jax.Array:
    """The tokens from each answer back to a position."""
    return jnp.asarray(self.answers_at(length)) - at_Q

  def asked(self, length: int) -> Sequence[int]:
    return self.answers_at(length).tolist()

  def check(self, length: int) -> None:
    shortest = length - self.body(length) + self.room
    if length < shortest:
      raise component.UserError(
        f'length must be at least {shortest}, got {length}: a body of '
        f'{self.room} tokens, SEP and {self.queries} questions of '
        f'{self.width} tokens must fit; use longer sequences or fewer '
        f'{self.fact}'
      )

  def chance(self, length: int) -> float:
    """One of the values, all of them equally likely."""
    return 1 / self.values

  def guesses(
    self,
    rng: np.random.Generator,
    tokens_BxL: np.ndarray,
    asked_BxL: np.ndarray,
  ) -> dict[str, np.ndarray]:
    answer_BxQ = tokens_BxL[asked_BxL].reshape(-1, self.queries)
    body_BxN = tokens_BxL[:, : self.body(tokens_BxL.shape[1])]
    value_BxN = body_BxN >= self.first_value
    value_BxN &= body_BxN < self.first_filler
    value_BxP = body_BxN[value_BxN].reshape(len(body_BxN), -1)
    left_BxU = answerers.unasked(value_BxP, answer_BxQ)
    bag_BxP = np.concatenate((answer_BxQ, left_BxU), axis=1)
    said = {
      'random': rng.integers(
        self.first_value, self.first_filler, answer_BxQ.shape
      ),
      'bag': answerers.remaining(rng, bag_BxP, self.queries),
      'recent': self._recent(tokens_BxL, value_BxP),
    }
    return answerers.placed(asked_BxL, said)

  def _recent(
    self, tokens_BxL: np.ndarray, value_BxP: np.ndarray
  ) -> np.ndarray:
    """What 'recent' says, B x Q, given all and the values in the body."""
    del tokens_BxL
    return np.repeat(value_BxP[:, -1:], self.queries, axis=1)

  def _enough_names(self, field: str, needed: int, what: str) -> None:
    """Raises a `UserError` unless there are names for all that is named."""
    fields.at_least(
      field,
      getattr(self, field),
      needed,
      f'the {needed} {what} of a sequence are distinct; raise {field} or have '
      f'fewer {self.fact}',
    )
