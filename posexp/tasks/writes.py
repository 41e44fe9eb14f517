"""FirstWins and LastWins: twins that ask which of two writes counts."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.tasks import base, draw, layout, pairs, recall


@dataclasses.dataclass(frozen=True)
class _Twin(recall.Store):
  """All that the twins have in common: all but which write counts.

  Answerers: 'bag' says one of the values in the body, those already said
  taken out; 'recent' the value written last for the key, which is never right
  on FirstWins, and always right on LastWins: no design defends against it.
  Foils (C = 1): the value that the other write gave the key.
  Strata: `gap` in tokens between the writes.
  """

  capability: ClassVar[str] = 'CO'
  # 'recent' is the rule of one twin and the error of the other.
  defended: ClassVar[frozenset[str]] = frozenset()

  # Which of the two writes counts: 0 the first, 1 the last.
  _right: ClassVar[int]

  keys: int = component.field(
    32,
    at_least='queries',
    remedy='no key is asked about twice; raise keys or have fewer queries',
  )

  @property
  def names(self) -> int:
    return self.keys

  @property
  def room(self) -> int:
    return self.width * pairs.ROOM * self.queries

  def _recent(self, tokens_BxL, value_BxP):
    """Return the value of the last write of the key that is asked about."""
    length = tokens_BxL.shape[1]
    body = self.body(length)
    key_BxQ = tokens_BxL[:, np.array(self.asked(length)) - 1]
    backwards_BxN = tokens_BxL[:, body - 1 :: -1]
    written_BxQxN = backwards_BxN[:, None] == key_BxQ[..., None]
    place_BxQ = body - 1 - np.argmax(written_BxQxN, axis=2)
    return np.take_along_axis(tokens_BxL, place_BxQ + 1, axis=1)

  def _one(self, key: jax.Array, length: int) -> base.Batch:
    body, queries = self.body(length), self.queries
    pair_W, filler_N, key_K, value_Q, other_Q = draw.words(
      key, queries * pairs.WORDS, body, self.keys, queries, queries
    )
    slot_2xQ = pairs.draw_pairs(
      pair_W.reshape(queries, pairs.WORDS), slots=body // 2
    )
    place_2xQ = body % 2 + 2 * jnp.stack(slot_2xQ)
    key_Q = self.special + draw.shuffled(key_K)[:queries]
    # The other is 1, ..., values - 1 further on, around the end.
    first_Q = draw.integers(value_Q, 0, self.values)
    last_Q = (first_Q + draw.integers(other_Q, 1, self.values)) % self.values
    value_2xQ = self.first_value + jnp.stack((first_Q, last_Q))
    body_N = self.hay(filler_N)
    for place_Q, value_Q in zip(place_2xQ, value_2xQ):
      body_N = layout.written(body_N, place_Q, (key_Q, value_Q))
    right = self._right
    strata_Q = {
      'gap': place_2xQ[1] - place_2xQ[0],
      'distance': self.distance(length, place_2xQ[right] + 1),
    }
    columns = key_Q, value_2xQ[right]
    return self.ask(body_N, columns, [value_2xQ[1 - right]], strata_Q)


@dataclasses.dataclass(frozen=True)
class FirstWins(_Twin):
  """Which value did this key have first? (The later write does not count.)

    body of N = length - 1 - 2 * queries tokens, SEP, (key value) * queries

  Each key that is asked about is written twice in the body, `key value` each
  time, with two different values, and the answer is the first of them. Ids
  are 0 SEP, then `keys` keys, then `values` values, then `filler` filler
  tokens, which stand wherever nothing is written. LastWins has the same
  sequences, for the same fields, key and length, except for the answers: the
  difference between the two is what recency does for or against a model.

  >>> task = FirstWins(keys=2, values=4, filler=3, queries=1)
  >>> print(task.example(length=13))
  2 5 9 7 2 3 7 7 8 8 0 2 5
  12: 5, foils [3], distance 11, gap 4, query 0
  """

  _right: ClassVar[int] = 0


@dataclasses.dataclass(frozen=True)
class LastWins(_Twin):
  """Which value does this key have now? (The twin of FirstWins.)

    body of N = length - 1 - 2 * queries tokens, SEP, (key value) * queries

  The twin of FirstWins: sequences and fields are the same, and the answer is
  the last of the two values. Never show this task without its twin: a model
  that prefers what is near needs no order to be right here.

  >>> task = LastWins(keys=2, values=4, filler=3, queries=1)
  >>> print(task.example(length=13))
  2 5 9 7 2 3 7 7 8 8 0 2 3
  12: 3, foils [5], distance 7, gap 4, query 0
  """

  _right: ClassVar[int] = 1
