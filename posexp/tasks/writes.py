"""FirstWins and LastWins: twins that ask which of two writes counts."""

import abc
import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.tasks import base, draw, layout, pairs, store


@dataclasses.dataclass(frozen=True)
class _Twin(store.Store):
  """All that the twins have in common: all but which write counts."""

  # 'recent' is the rule of one twin and the error of the other.
  defended: ClassVar[frozenset[str]] = frozenset()
  fact: ClassVar[str] = 'queries'

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

  def _recent(
    self, tokens_BxL: np.ndarray, value_BxP: np.ndarray
  ) -> np.ndarray:
    """Return the value of the last write of the key that is asked about."""
    del value_BxP
    length = tokens_BxL.shape[1]
    body = self.body(length)
    key_BxQ = tokens_BxL[:, np.array(self.asked(length)) - 1]
    backwards_BxN = tokens_BxL[:, body - 1 :: -1]
    written_BxQxN = backwards_BxN[:, None] == key_BxQ[..., None]
    place_BxQ = body - 1 - np.argmax(written_BxQxN, axis=2)
    return np.take_along_axis(tokens_BxL, place_BxQ + 1, axis=1)

  def _one(self, key: jax.Array, length: int) -> base.Batch:
    writes = _write(self, key, self.body(length))
    place_Q, right_Q, wrong_Q = self._judge(writes)
    strata_Q = {
      'gap': writes.later_Q - writes.earlier_Q,
      'distance': self.distance(length, place_Q + 1),
    }
    columns = writes.key_Q, right_Q
    return self.ask(writes.body_N, columns, [wrong_Q], strata_Q)

  @abc.abstractmethod
  def _judge(self, writes: '_Writes') -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return where the write is that counts, its value, and the other's."""


@dataclasses.dataclass(frozen=True)
class FirstWins(_Twin):
  """Which value did this key have first? (The later write does not count.)

  ```
  body of N = length - 1 - 2 * queries tokens, SEP, (key value) * queries
  ```

  Each key that is asked about is written twice in the body, `key value` each
  time, with two different values, and the answer is the first of them. Ids
  are 0 SEP, then `keys` keys, then `values` values, then `filler` filler
  tokens, which stand wherever nothing is written. LastWins has the same
  sequences, for the same fields, key and length, except for the answers: the
  difference between the two is what recency does for or against a model.

  What is balanced: the body is n = N // 2 slots of two tokens, after one filler
  token if N is odd. The gap between the two writes is uniform in 1, ..., n // 2
  slots, and the slot of the later one uniform in n // 2, ..., n - 1,
  independently. The two values are any two, in either order, and independent
  of the key; no key is asked about twice.

  Answerers: 'bag' says one of the values in the body, those already said
  taken out; 'recent' the value written last for the key, which is never right
  here, and always right on LastWins: no design defends against it.

  Foils (C = 1): the value that the other write gave the key.

  Strata: `gap` in tokens between the writes; `distance` in tokens from the
  answer back to the value that is right; `query`, the number of the question.

  Args:
    queries: questions per sequence.
    values: the number of value tokens.
    filler: the number of filler tokens.
    keys: the number of key tokens.

  >>> import jax
  >>> task = FirstWins(keys=2, values=4, filler=3, queries=1)
  >>> batch = task.sample(jax.random.key(0), length=13, batch=1)
  >>> batch.tokens_BxL[0].tolist()
  [2, 5, 9, 7, 2, 3, 7, 7, 8, 8, 0, 2, 5]
  >>> {name: int(value_BxL[0, -1]) for name, value_BxL in batch.strata.items()}
  {'distance': 11, 'gap': 4, 'query': 0}
  >>> batch.foils_BxLxC[0, -1].tolist()
  [3]
  """

  capability: ClassVar[str] = 'CO'

  def _judge(self, writes):
    return writes.earlier_Q, *writes.value_2xQ


@dataclasses.dataclass(frozen=True)
class LastWins(_Twin):
  """Which value does this key have now? (The twin of FirstWins.)

  ```
  body of N = length - 1 - 2 * queries tokens, SEP, (key value) * queries
  ```

  The twin of FirstWins: sequences, fields, foils and strata are the same, and
  the answer is the last of the two values. Never show this task without its
  twin: a model that prefers what is near needs no order to be right here.

  Answerers: 'bag' says one of the values in the body, those already said
  taken out; 'recent' the value written last for the key, always right here.

  Args:
    queries: questions per sequence.
    values: the number of value tokens.
    filler: the number of filler tokens.
    keys: the number of key tokens.

  >>> import jax
  >>> task = LastWins(keys=2, values=4, filler=3, queries=1)
  >>> batch = task.sample(jax.random.key(0), length=13, batch=1)
  >>> batch.tokens_BxL[0].tolist()
  [2, 5, 9, 7, 2, 3, 7, 7, 8, 8, 0, 2, 3]
  >>> {name: int(value_BxL[0, -1]) for name, value_BxL in batch.strata.items()}
  {'distance': 7, 'gap': 4, 'query': 0}
  >>> batch.foils_BxLxC[0, -1].tolist()
  [5]
  """

  capability: ClassVar[str] = 'CO'

  def _judge(self, writes):
    return writes.later_Q, *writes.value_2xQ[::-1]


class _Writes(NamedTuple):
  body_N: jax.Array
  key_Q: jax.Array
  value_2xQ: jax.Array  # the first and the last
  earlier_Q: jax.Array  # positions of the keys
  later_Q: jax.Array


def _write(task: _Twin, key: jax.Array, body: int) -> _Writes:
  """Draw the body, which the twins have in common."""
  queries = task.queries
  pair_W, filler_N, key_K, value_Q, other_Q = draw.words(
    key, queries * pairs.WORDS, body, task.keys, queries, queries
  )
  slot_2xQ = pairs.draw_pairs(
    pair_W.reshape(queries, pairs.WORDS), slots=body // 2
  )
  earlier_Q, later_Q = (body % 2 + 2 * slot_Q for slot_Q in slot_2xQ)
  key_Q = task.special + draw.shuffled(key_K)[:queries]
  # The other is 1, ..., values - 1 further on, around the end.
  first_Q = draw.integers(value_Q, 0, task.values)
  last_Q = (first_Q + draw.integers(other_Q, 1, task.values)) % task.values
  value_2xQ = task.first_value + jnp.stack((first_Q, last_Q))
  body_N = draw.integers(filler_N, task.first_filler, task.vocabulary)
  body_N = layout.written(body_N, earlier_Q, (key_Q, value_2xQ[0]))
  body_N = layout.written(body_N, later_Q, (key_Q, value_2xQ[1]))
  return _Writes(body_N, key_Q, value_2xQ, earlier_Q, later_Q)
