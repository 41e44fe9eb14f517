"""LookupLeft and LookupRight: the token so far to one side of an anchor."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.tasks import base, draw, fields, layout, lookup

SEP = lookup.SEP


@dataclasses.dataclass(frozen=True)
class _Beside(lookup.ByPlace):
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
      raise component.UserError(
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

  def _one(self, key: jax.Array, length: int) -> base.Batch:
    slots, queries = self._slots(length), self.queries
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
    answer_Q, *foils = lookup.at(
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
    UserError: for a field out of range, and from `check` and `sample` for a
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


def _check_offsets(offsets: tuple[int, ...], most: int) -> None:
  whole = type(offsets) is tuple and all(type(k) is int for k in offsets)
  if not whole or not offsets or len(set(offsets)) < len(offsets):
    raise component.UserError(
      f'offsets must be a tuple of distinct whole numbers, got {offsets!r}: '
      'write (1, 2, 3), or (2,) for one'
    )
  for k in offsets:
    fields.at_least('offsets', k, 1, 'the anchor itself is at 0')
  if max(offsets) > most:
    raise component.UserError(
      f'offsets must be at most most={most}, got {max(offsets)}: raise most, '
      'for which there are tokens, before training'
    )
