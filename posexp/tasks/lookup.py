"""Look-ups by place, and the one at an absolute index."""

import abc
import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.tasks import answerers, base, draw, fields, layout

SEP = 0


@dataclasses.dataclass(frozen=True)
class ByPlace(draw.PerExample):
  """What the three have in common: items drawn freely, and `most` numbers."""

  # Tokens of a question, its answer included.
  _width: ClassVar[int]

  symbols: int = 32
  queries: int = 4

  def __post_init__(self) -> None:
    fields.some_queries(self.queries)
    fields.at_least(
      'symbols', self.symbols, 2, 'with one symbol every answer is right'
    )

  @property
  @abc.abstractmethod
  def _items(self) -> int:
    """The first id of an item."""

  @property
  def vocabulary(self) -> int:
    return self._items + self.symbols

  def _slots(self, length: int) -> int:
    return length - 1 - self._width * self.queries

  def asked(self, length: int) -> Sequence[int]:
    lead = self._slots(length) + 1
    return range(lead + self._width - 1, length, self._width)

  def chance(self, length: int) -> float:
    """1 / symbols: items are independent, and no slot is asked about twice."""
    del length
    return 1 / self.symbols

  def guesses(
    self,
    rng: np.random.Generator,
    tokens_BxL: np.ndarray,
    asked_BxL: np.ndarray,
  ) -> dict[str, np.ndarray]:
    body_BxN = tokens_BxL[:, : self._slots(tokens_BxL.shape[1])]
    low, shape = self._items, tokens_BxL.shape
    count_BxV = answerers.counts(body_BxN, self.vocabulary)
    common_B = low + count_BxV[:, low:].argmax(axis=1)
    return {
      'random': rng.integers(low, self.vocabulary, shape),
      'bag': np.broadcast_to(common_B[:, None], shape),
      'recent': self._recent(tokens_BxL, body_BxN),
    }

  @abc.abstractmethod
  def _recent(self, tokens_BxL: np.ndarray, body_BxN: np.ndarray) -> np.ndarray:
    """What the answerer of that name says at each place."""


@dataclasses.dataclass(frozen=True)
class IndexLookup(ByPlace):
  """Which token stands at index k of the body?

  ```
  body of N = length - 1 - 2 * queries slots, SEP, (k answer) * queries
  ```

  An absolute index, counted from 0, the first token. Ids are 0 SEP, then
  1, ..., `most` for the indices 0, ..., most - 1, then `symbols` items, each
  slot's drawn independently.

  The indices of a sequence are distinct, and each is uniform in low, ...,
  high - 1, whatever the length. So a longer sequence asks for the same
  indices in a body that goes on after them (dilution): nothing is asked that
  was not trained. For an index beyond the trained range, `run.on(
  IndexLookup(low=32, high=64))`, the token was never trained; what such a
  model answers is not defined by its training, so that arm is its own table.

  Answerers: 'bag' says the commonest item of the body; 'recent' its last one,
  which is right where that is asked for and not among the defended.

  Foils (C = 2): the tokens at k - 1 and k + 1, -1 for one that is the right
  token or outside of the body.

  Strata: `index`, which is k; `distance` from the answer back to what was
  asked for; `query`, the number of the question. The distance is large for a
  small index: hold one fixed to read the other.

  Args:
    symbols: the number of items to choose from.
    queries: questions per sequence.
    low: the smallest index asked for.
    high: one more than the largest.
    most: how many indices there are tokens for.

  Raises:
    UserError: for a field out of range, and from `check` and `sample` for a
      length at which index high - 1 is not in the body.

  >>> import jax
  >>> task = IndexLookup(symbols=4, queries=2, high=6, most=6)
  >>> batch = task.sample(jax.random.key(0), length=12, batch=1)
  >>> batch.tokens_BxL[0].tolist()
  [7, 9, 9, 7, 10, 8, 10, 0, 4, 7, 2, 9]
  >>> batch.foils_BxLxC[0, -1].tolist()
  [7, -1]
  >>> {k: int(value_BxL[0, -1]) for k, value_BxL in batch.strata.items()}
  {'distance': 10, 'index': 1, 'query': 1}
  """

  capability: ClassVar[str] = 'A'
  _width: ClassVar[int] = 2

  queries: int = 8
  low: int = 0
  high: int = 32
  most: int = 64

  def __post_init__(self) -> None:
    super().__post_init__()
    fields.at_least('low', self.low, 0, 'the first index is 0')
    fields.at_least(
      'high',
      self.high,
      self.low + self.queries,
      f'{self.queries} queries ask for distinct indices from {self.low} on; '
      'raise high, or lower queries or low',
    )
    fields.at_least(
      'most',
      self.most,
      self.high,
      f'each index below high={self.high} needs a token',
    )

  @property
  def _items(self) -> int:
    return 1 + self.most

  def check(self, length: int) -> None:
    shortest = 1 + 2 * self.queries + self.high
    if length < shortest:
      raise component.UserError(
        f'length must be at least {shortest} for {self.queries} queries and '
        f'high={self.high}, got {length}: index {self.high - 1} must be in '
        'the body; use longer sequences or a smaller high'
      )

  def _recent(self, tokens_BxL: np.ndarray, body_BxN: np.ndarray) -> np.ndarray:
    return np.broadcast_to(body_BxN[:, -1:], tokens_BxL.shape)

  def _one(self, key: jax.Array, length: int) -> base.Batch:
    slots = self._slots(length)
    index_H, item_N = draw.words(key, self.high - self.low, slots)
    index_Q = self.low + draw.shuffled(index_H)[: self.queries]
    body_N = draw.integers(item_N, self._items, self.vocabulary)
    answer_Q, *foils = at(body_N, index_Q, index_Q - 1, index_Q + 1)
    strata_Q: dict[str, jax.Array] = {
      'index': index_Q,
      'distance': jnp.asarray(layout.answers_at(slots + 1, 2, self.queries))
      - index_Q,
    }
    columns = 1 + index_Q, answer_Q
    return layout.questions(jnp.append(body_N, SEP), columns, foils, strata_Q)


def at(
  body_N: jax.Array, right_Q: jax.Array, *wrong: jax.Array
) -> list[jax.Array]:
  """The right tokens, and the foils: what stands at the wrong slots.

  A wrong slot may be one outside of the body; it has no foil then, nor where
  its token is the right one.
  """
  answer_Q = body_N[right_Q]
  edged_N = jnp.pad(body_N, 1, constant_values=-1)
  found = [edged_N[wrong_Q + 1] for wrong_Q in wrong]
  foils = [jnp.where(foil_Q == answer_Q, -1, foil_Q) for foil_Q in found]
  return [answer_Q, *foils]
