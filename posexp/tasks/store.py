"""What the tasks have in common that store facts and ask for their values."""

import abc
import dataclasses
from typing import ClassVar

import numpy as np

from posexp import component
from posexp.tasks import answerers, layout


@dataclasses.dataclass(frozen=True)
class Store(layout.Questions):
  """Facts among filler, SEP, then questions: fields, lengths and answerers.

  Ids are 0 SEP, the marks of the subclass, its names, then `values` values
  that facts are about, then `filler` filler tokens.
  """

  defended: ClassVar[frozenset[str]] = frozenset({'recent'})

  # Tokens of a fact too.
  width: ClassVar[int] = 2
  # Ids before the names.
  special: ClassVar[int] = 1
  # What to have fewer of when a sequence is too short.
  fact: ClassVar[str] = ''

  queries: int = component.field(4, at_least=1)
  values: int = component.field(
    32, at_least=2, remedy='with one value every answer is right'
  )
  filler: int = component.field(
    16,
    at_least=1,
    remedy='what stands between the facts must be drawn',
  )

  @property
  @abc.abstractmethod
  def names(self) -> int:
    """The number of ids that name what a fact is about."""

  @property
  @abc.abstractmethod
  def room(self) -> int:
    """The tokens of the shortest body."""

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

  def check(self, length: int) -> None:
    component.at_least(
      'length',
      length,
      length - self.body(length) + self.room,
      f'a body of {self.room} tokens, SEP and {self.queries} questions of '
      f'{self.width} tokens must fit; use longer sequences or fewer '
      f'{self.fact}',
    )

  def chance(self, length: int) -> float:
    """Return the chance of one of the values, all equally likely."""
    return 1 / self.values

  def guesses(self, rng, tokens_BxL, asked_BxL):
    answer_BxQ = tokens_BxL[asked_BxL].reshape(-1, self.queries)
    body_BxN = tokens_BxL[:, : self.body(tokens_BxL.shape[1])]
    value_BxN = body_BxN >= self.first_value
    value_BxN &= body_BxN < self.first_filler
    value_BxP = body_BxN[value_BxN].reshape(len(body_BxN), -1)
    left_BxU = answerers.unasked(value_BxP, answer_BxQ)
    bag_BxP = np.concatenate((answer_BxQ, left_BxU), axis=1)
    guesses = {
      'random': rng.integers(
        self.first_value, self.first_filler, answer_BxQ.shape
      ),
      'bag': answerers.remaining(rng, bag_BxP, self.queries),
      'recent': self._recent(tokens_BxL, value_BxP),
    }
    return answerers.placed(asked_BxL, guesses)

  def _recent(
    self, tokens_BxL: np.ndarray, value_BxP: np.ndarray
  ) -> np.ndarray:
    """Return what 'recent' says, B x Q, given all and the body's values."""
    del tokens_BxL
    return np.repeat(value_BxP[:, -1:], self.queries, axis=1)
