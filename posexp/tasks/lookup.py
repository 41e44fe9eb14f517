"""Look-ups by place: so far left or right of an anchor, or at an index."""

import abc
import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from posexp.tasks import answerers, base, draw, fields, layout

SEP = 0


@dataclasses.dataclass(frozen=True)
class _Lookup(base.Task):
  """What the three have in common: items drawn freely, and `most` numbers."""

  # Tokens of a question, its answer included.
  _width: ClassVar[int]

  symbols: int = 32
  queries: int = 4

  def __post_init__(self) -> None:
    fields.at_least(
      'queries', self.queries, 1, 'ask one question or more per sequence'
    )
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

  def asked(self, length: int) -> Sequence[int]:
    lead = _slots(self, length) + 1
    return range(lead + self._width - 1, length, self._width)

  def chance(self, length: int) -> float:
    """1 / symbols: items are independent, and no slot is asked about twice."""
    del length
    return 1 / self.symbols

  def sample(self, key: jax.Array, *, length: int, batch: int) -> base.Batch:
    self.check(length)
    return draw.per_example(
      lambda key: self._one(key, _slots(self, length)), key, batch
    )

  def guesses(
    self,
    rng: np.random.Generator,
    tokens_BxL: np.ndarray,
    asked_BxL: np.ndarray,
  ) -> dict[str, np.ndarray]:
    body_BxN = tokens_BxL[:, : _slots(self, tokens_BxL.shape[1])]
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

  @abc.abstractmethod
  def _one(self, key: jax.Array, slots: int) -> base.Batch:
    """One sequence."""


@dataclasses.dataclass(frozen=True)
class _Beside(_Lookup):
  """What the twins have in common: all but the side."""

  # 1 to the right of the anchor, -1 to the left.
  _side: ClassVar[int]
  _width: ClassVar[int] = 3

  offsets: tuple[int, ...] = (1, 2, 3, 4)
  most: int = 16

  def __post_init__(self) -> None:
    super().__post_init__()
    fields.at_least(
      'symbols',
      self.symbols,
      self.queries,
      f'{self.queries} queries have an anchor each out of as many as there '
      'are symbols; raise symbols or lower queries',
    )
    fields.at_least('most', self.most, 1, 'it is the largest offset that is')
    _check_offsets(self.offsets, self.most)

  @property
  def _items(self) -> int:
    return 1 + self.most + self.symbols

  def check(self, length: int) -> None:
    reach = max(self.offsets)
    shortest = 1 + self.queries * (self._width + reach + 1) + reach
    if length < shortest:
      raise ValueError(
        f'length must be at least {shortest} for {self.queries} queries and '
        f'offsets up to {reach}, got {length}: no anchor is that near to '
        'another or to an end of the body; use longer sequences, fewer '
        'queries or smaller offsets'
      )

  def _recent(self, tokens_BxL: np.ndarray, body_BxN: np.ndarray) -> np.ndarray:
    beside_BxN = np.roll(body_BxN, -self._side, axis=1)
    beside_BxV = np.zeros((len(body_BxN), self.vocabulary), np.int32)
    np.put_along_axis(beside_BxV, body_BxN, beside_BxN, axis=1)
    anchor_BxL = np.roll(tokens_BxL, 2, axis=1)
    return np.take_along_axis(beside_BxV, anchor_BxL, axis=1)

  def _one(self, key: jax.Array, slots: int) -> base.Batch:
    queries, reach = self.queries, max(self.offsets)
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
    answer_Q, *foils = _at(
      body_N, right_Q, right_Q - side, right_Q + side, 2 * slot_Q - right_Q
    )
    strata_Q: dict[str, jax.Array] = {
      'offset': offset_Q,
      'distance': jnp.asarray(layout.answers_at(slots + 1, 3, queries))
      - right_Q,
    }
    columns = anchor_Q, offset_Q, answer_Q
    return layout.questions(jnp.append(body_N, SEP), columns, foils, strata_Q)


@dataclasses.dataclass(frozen=True)
class LookupLeft(_Beside):
  """Which token stands k places to the left of this anchor?

  ```
  body of N = length - 1 - 3 * queries slots, SEP, (anchor k answer) * queries
  ```

  The left one of a twin pair: for the same fields, key and length LookupRight
  has the same body, anchors and k, and another answer. Both are a relative
  offset given an anchor that content finds, as in the indirect indexing of
  Gopalakrishnan et al., arXiv 2509.10534. To the left, what is asked for
  comes before the anchor, and was read without knowing of it.

  Ids are 0 SEP, then 1, ..., `most` for k itself, then `symbols` anchors, then
  `symbols` items. An anchor comes once in a body; items are drawn
  independently of each other, and fill it at any length. So a longer sequence
  asks for the same k at a new distance.

  What is balanced, and why:

  * k is uniform in `offsets`, independent of the place of the anchor.
  * Anchors are more than max(offsets) from each other and from both ends, and
    all such places are equally likely. So what is asked for is always an item,
    on either side, and no item is asked for twice.
  * Each anchor of the body is asked about once, in random order.

  The vocabulary has tokens up to `most` for an arm with other offsets:
  `run.on(LookupLeft(offsets=(8,)))`. A model that never saw the token of a k
  has nothing to know it by, so expect chance there, unless the k were
  trained in another way.

  Answerers: 'bag' says the commonest item of the body; 'recent' the token
  beside the anchor, which is right where k = 1 and is therefore not among the
  defended.

  Foils (C = 3): the tokens k - 1 and k + 1 places to the left (the anchor
  itself for k = 1), and the one k places to the right; -1 for one that is the
  right token or outside of the body.

  Strata: `offset`, which is k; `distance` from the answer back to what was
  asked for; `query`, the number of the question.

  Args:
    symbols: the number of items, and of anchors, to choose from.
    queries: questions per sequence.
    offsets: what k is drawn from.
    most: the largest k that there is a token for.

  Raises:
    ValueError: for a field out of range, and from `check` and `sample` for a
      length too short for the anchors.

  >>> import jax
  >>> task = LookupLeft(symbols=8, queries=1, offsets=(1, 2), most=2)
  >>> batch = task.sample(jax.random.key(3), length=12, batch=1)
  >>> batch.tokens_BxL[0].tolist()
  [16, 11, 7, 16, 13, 17, 16, 15, 0, 7, 2, 16]
  >>> batch.foils_BxLxC[0, -1].tolist()
  [11, -1, 13]
  >>> {k: int(value_BxL[0, -1]) for k, value_BxL in batch.strata.items()}
  {'distance': 11, 'offset': 2, 'query': 0}
  """

  capability: ClassVar[str] = 'CR'
  _side: ClassVar[int] = -1


@dataclasses.dataclass(frozen=True)
class LookupRight(_Beside):
  """Which token stands k places to the right of this anchor?

  ```
  body of N = length - 1 - 3 * queries slots, SEP, (anchor k answer) * queries
  ```

  The right one of a twin pair: body, ids, fields, errors, answerers and strata
  are those of LookupLeft, token for token. To the right, what is asked for
  comes after its anchor, so that a model can note the anchor while it reads.

  Foils (C = 3): the tokens k - 1 and k + 1 places to the right (the anchor
  itself for k = 1), and the one k places to the left; -1 for one that is the
  right token or outside of the body.

  Args:
    symbols: the number of items, and of anchors, to choose from.
    queries: questions per sequence.
    offsets: what k is drawn from.
    most: the largest k that there is a token for.

  >>> import jax
  >>> task = LookupRight(symbols=8, queries=1, offsets=(1, 2), most=2)
  >>> batch = task.sample(jax.random.key(3), length=12, batch=1)
  >>> batch.tokens_BxL[0].tolist()
  [16, 11, 7, 16, 13, 17, 16, 15, 0, 7, 2, 13]
  >>> batch.foils_BxLxC[0, -1].tolist()
  [16, 17, 16]
  >>> {k: int(value_BxL[0, -1]) for k, value_BxL in batch.strata.items()}
  {'distance': 7, 'offset': 2, 'query': 0}
  """

  capability: ClassVar[str] = 'CR'
  _side: ClassVar[int] = 1


@dataclasses.dataclass(frozen=True)
class IndexLookup(_Lookup):
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
    ValueError: for a field out of range, and from `check` and `sample` for a
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
      raise ValueError(
        f'length must be at least {shortest} for {self.queries} queries and '
        f'high={self.high}, got {length}: index {self.high - 1} must be in '
        'the body; use longer sequences or a smaller high'
      )

  def _recent(self, tokens_BxL: np.ndarray, body_BxN: np.ndarray) -> np.ndarray:
    return np.broadcast_to(body_BxN[:, -1:], tokens_BxL.shape)

  def _one(self, key: jax.Array, slots: int) -> base.Batch:
    index_H, item_N = draw.words(key, self.high - self.low, slots)
    index_Q = self.low + draw.shuffled(index_H)[: self.queries]
    body_N = draw.integers(item_N, self._items, self.vocabulary)
    answer_Q, *foils = _at(body_N, index_Q, index_Q - 1, index_Q + 1)
    strata_Q: dict[str, jax.Array] = {
      'index': index_Q,
      'distance': jnp.asarray(layout.answers_at(slots + 1, 2, self.queries))
      - index_Q,
    }
    columns = 1 + index_Q, answer_Q
    return layout.questions(jnp.append(body_N, SEP), columns, foils, strata_Q)


def _at(
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


def _slots(task: _Lookup, length: int) -> int:
  return length - 1 - task._width * task.queries


def _check_offsets(offsets: tuple[int, ...], most: int) -> None:
  whole = type(offsets) is tuple and all(type(k) is int for k in offsets)
  if not whole or not offsets or len(set(offsets)) < len(offsets):
    raise ValueError(
      f'offsets must be a tuple of distinct whole numbers, got {offsets!r}: '
      'write (1, 2, 3), or (2,) for one'
    )
  for k in offsets:
    fields.at_least('offsets', k, 1, 'the anchor itself is at 0')
  if max(offsets) > most:
    raise ValueError(
      f'offsets must be at most most={most}, got {max(offsets)}: raise most, '
      'for which there are tokens, before training'
    )
