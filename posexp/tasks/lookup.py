"""Look-ups by place: at an absolute index, and beside an anchor."""

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
  """All that the look-ups have in common: a body of items drawn freely.

  Strata: `distance` from the answer back to what was asked for.

  Args:
    symbols: the number of items to choose from.
  """

  symbols: int = component.field(
    32, at_least=2, remedy='with one symbol every answer is right'
  )
  queries: int = component.field(4, at_least=1)

  @property
  @abc.abstractmethod
  def _items(self) -> int:
    """The first id of an item."""

  @property
  def vocabulary(self) -> int:
    return self._items + self.symbols

  def chance(self, length: int) -> float:
    """Return 1 / symbols: items are independent, none is asked about twice."""
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

    body of N = length - 1 - 2 * queries slots, SEP, (k answer) * queries

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
  Strata: `index`, which is k.

  Args:
    low: the smallest index asked for.
    high: one more than the largest.
    most: how many indices there are tokens for.

  >>> task = IndexLookup(symbols=4, queries=2, high=6, most=6)
  >>> print(task.example(length=12))
  7 9 9 7 10 8 10 0 4 7 2 9
  9: 7, foils [9, 10], distance 6, index 3, query 0
  11: 9, foils [7], distance 10, index 1, query 1
  """

  capability: ClassVar[str] = 'A'
  less: ClassVar[str] = (
    'fewer queries or a smaller high: the body holds every index below it'
  )

  queries: int = 8
  low: int = component.field(0, at_least=0, remedy='the first index is 0')
  high: int = 32
  most: int = component.field(
    64, at_least='high', remedy='each index below high needs a token'
  )

  def __post_init__(self) -> None:
    super().__post_init__()
    component.require(
      self,
      'high',
      at_least=self.low + self.queries,
      remedy=f'{self.queries} queries ask for distinct indices from {self.low} '
      'on; raise high, or lower queries or low',
    )

  @property
  def _items(self) -> int:
    return 1 + self.most

  @property
  def room(self) -> int:
    return self.high

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


@dataclasses.dataclass(frozen=True)
class _Beside(ByPlace):
  """All that the twins have in common: all but the side.

  Answerers: 'bag' says the commonest item of the body; 'recent' the token
  beside the anchor, which is right where k = 1.
  Foils (C = 3): the tokens k - 1 and k + 1 places to the same side (the anchor
  itself for k = 1), and the one k places to the other.
  Strata: `offset`, which is k.

  Args:
    symbols: the number of items, and of anchors, to choose from.
    offsets: what k is drawn from.
    most: the largest k that there is a token for.
  """

  capability: ClassVar[str] = 'CR'
  width: ClassVar[int] = 3
  less: ClassVar[str] = (
    'fewer queries or smaller offsets: no anchor is that near to another or '
    'to an end of the body'
  )

  # 1 to the right of the anchor, -1 to the left.
  _side: ClassVar[int]

  offsets: tuple[int, ...] = component.field(
    (1, 2, 3, 4),
    each=True,
    at_least=1,
    remedy='the anchor itself is at 0; write (1, 2, 3), or (2,) for one',
  )
  most: int = component.field(
    16, at_least=1, remedy='it is the largest offset that is'
  )

  def __post_init__(self) -> None:
    super().__post_init__()
    component.require(
      self,
      'symbols',
      at_least=self.queries,
      remedy=f'{self.queries} queries have an anchor each out of as many as '
      'there are symbols; raise symbols or lower queries',
    )
    component.require(
      self,
      'offsets',
      each=True,
      at_most='most',
      remedy='raise most, for which there are tokens, before training',
    )
    if len(set(self.offsets)) < max(1, len(self.offsets)):
      raise component.UserError(
        f'offsets of {type(self).__name__} must be one or more different '
        f'numbers, got {self.offsets}: write (1, 2, 3), or (2,) for one'
      )

  @property
  def _items(self) -> int:
    return 1 + self.most + self.symbols

  @property
  def room(self) -> int:
    reach = max(self.offsets)
    return self.queries * (reach + 1) + reach

  def _recent(self, tokens_BxL, body_BxN):
    beside_BxN = np.roll(body_BxN, -self._side, axis=1)
    anchor_BxL, _ = answerers.named(tokens_BxL)
    return answerers.beside(body_BxN, beside_BxN, anchor_BxL)

  def _one(self, key: jax.Array, length: int) -> base.Batch:
    slots, queries = self.body(length), self.queries
    reach = max(self.offsets)
    # An anchor keeps `reach` slots free to its left, and the body as many to
    # its right: each arrangement that does is equally likely.
    free = slots - reach * (1 + queries)
    place_W, order_Q, offset_Q, anchor_S, item_N = draw.words(
      key, free, queries, queries, self.symbols, slots
    )
    slot_Q = reach + layout.scattered(place_W, queries, reach + 1)
    slot_Q = slot_Q[draw.shuffled(order_Q)]
    offset_Q = jnp.asarray(self.offsets, jnp.int32)[
      draw.integers(offset_Q, 0, len(self.offsets))
    ]
    anchor_Q = 1 + self.most + draw.shuffled(anchor_S)[:queries]
    body_N = draw.integers(item_N, self._items, self.vocabulary)
    body_N = body_N.at[slot_Q].set(anchor_Q)
    side, right_Q = self._side, slot_Q + self._side * offset_Q
    answer_Q, *foils = at(
      body_N, right_Q, right_Q - side, right_Q + side, 2 * slot_Q - right_Q
    )
    strata = {'offset': offset_Q, 'distance': self.distance(length, right_Q)}
    return self.ask(body_N, (anchor_Q, offset_Q, answer_Q), foils, strata)


@dataclasses.dataclass(frozen=True)
class LookupLeft(_Beside):
  """Which token stands k places to the left of this anchor?

    body of N = length - 1 - 3 * queries slots, SEP, (anchor k answer) * queries

  The left one of a twin pair: for the same fields, key and length LookupRight
  has the same body, anchors and k, and another answer. Both are a relative
  offset given an anchor that content finds, as in the indirect indexing of
  Gopalakrishnan et al., arXiv 2509.10534.

  Ids are 0 SEP, then 1, ..., `most` for k itself, then `symbols` anchors, then
  `symbols` items. An anchor comes once in a body; items are drawn
  independently, and fill it at any length, so that a longer sequence asks for
  the same k at a new distance.

  `most` leaves tokens for an arm with other offsets,
  `run.on(LookupLeft(offsets=(8,)))`; expect chance for a k that was never
  trained.

  >>> task = LookupLeft(symbols=8, queries=1, offsets=(1, 2), most=2)
  >>> print(task.example(length=12, seed=3))
  16 11 7 16 13 17 16 15 0 7 2 16
  11: 16, foils [11, 13], distance 11, offset 2, query 0
  """

  _side: ClassVar[int] = -1


@dataclasses.dataclass(frozen=True)
class LookupRight(_Beside):
  """Which token stands k places to the right of this anchor?

    body of N = length - 1 - 3 * queries slots, SEP, (anchor k answer) * queries

  The right one of a twin pair: body, ids, fields and errors are those of
  LookupLeft, token for token. To the right, what is asked for comes after its
  anchor, so that a model can note the anchor while it reads.

  >>> task = LookupRight(symbols=8, queries=1, offsets=(1, 2), most=2)
  >>> print(task.example(length=12, seed=3))
  16 11 7 16 13 17 16 15 0 7 2 13
  11: 13, foils [16, 17, 16], distance 7, offset 2, query 0
  """

  _side: ClassVar[int] = 1


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
