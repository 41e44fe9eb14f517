"""Look-ups by place, and the one at an absolute index."""

import abc
import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.tasks import answerers, base, draw, layout


@dataclasses.dataclass(frozen=True)
class ByPlace(layout.Questions):
  """All that the look-ups have in common: a body of items drawn freely."""

  symbols: int = component.field(
    32, kind=int, at_least=2, remedy='with one symbol every answer is right'
  )
  queries: int = component.field(4, kind=int, at_least=1)

  @property
  @abc.abstractmethod
  def _items(self) -> int:
    """The first id of an item."""

  @property
  def vocabulary(self) -> int:
    return self._items + self.symbols

  def chance(self, length: int) -> float:
    """Return 1 / symbols: items are independent, none is asked about twice."""
    del length
    return 1 / self.symbols

  def guesses(self, rng, tokens_BxL, asked_BxL):
    body_BxN = tokens_BxL[:, : self.body(tokens_BxL.shape[1])]
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
    """Return what the answerer of that name says at each place."""


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
  high - 1, whatever the length: a longer sequence asks for the same indices in
  a body that goes on after them. The token of an index beyond the trained range
  was never trained, so `run.on(IndexLookup(low=32, high=64))` is a table of its
  own.

  Answerers: 'bag' says the commonest item of the body; 'recent' its last one.

  Foils (C = 2): the tokens at k - 1 and k + 1.

  Strata: `index`, which is k; `distance` from the answer back to what was
  asked for; `query`, the number of the question.

  Args:
    symbols: the number of items to choose from.
    queries: questions per sequence.
    low: the smallest index asked for.
    high: one more than the largest.
    most: how many indices there are tokens for.

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
  width: ClassVar[int] = 2

  queries: int = 8
  low: int = component.field(
    0, kind=int, at_least=0, remedy='the first index is 0'
  )
  high: int = component.field(32, kind=int)
  most: int = component.field(
    64, kind=int, at_least='high', remedy='each index below high needs a token'
  )

  def __post_init__(self) -> None:
    super().__post_init__()
    component.require(
      self,
      'high',
      kind=int,
      at_least=self.low + self.queries,
      remedy=f'{self.queries} queries ask for distinct indices from {self.low} '
      'on; raise high, or lower queries or low',
    )

  @property
  def _items(self) -> int:
    return 1 + self.most

  def check(self, length: int) -> None:
    component.at_least(
      'length',
      length,
      1 + self.width * self.queries + self.high,
      f'besides {self.queries} queries, index {self.high - 1} must be in the '
      'body; use longer sequences or a smaller high',
    )

  def _recent(self, tokens_BxL, body_BxN):
    return np.broadcast_to(body_BxN[:, -1:], tokens_BxL.shape)

  def _one(self, key: jax.Array, length: int) -> base.Batch:
    slots = self.body(length)
    index_H, item_N = draw.words(key, self.high - self.low, slots)
    index_Q = self.low + draw.shuffled(index_H)[: self.queries]
    body_N = draw.integers(item_N, self._items, self.vocabulary)
    answer_Q, *foils = at(body_N, index_Q, index_Q - 1, index_Q + 1)
    strata = {'index': index_Q, 'distance': self.distance(length, index_Q)}
    return self.ask(body_N, (1 + index_Q, answer_Q), foils, strata)


def at(
  body_N: jax.Array, right_Q: jax.Array, *wrong: jax.Array
) -> list[jax.Array]:
  """Return the right tokens, and the foils: what stands at the wrong slots.

  There is no foil outside of the body, nor where it is the right token.
  """
  answer_Q = body_N[right_Q]
  edged_N = jnp.pad(body_N, 1, constant_values=-1)
  foils = [edged_N[wrong_Q + 1] for wrong_Q in wrong]
  return [answer_Q, *(jnp.where(f_Q == answer_Q, -1, f_Q) for f_Q in foils)]
