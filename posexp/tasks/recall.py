"""Facts among filler: Recall, Needle, and FirstWins with its twin LastWins."""

import abc
import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.tasks import answerers, base, draw, layout, pairs

MARK = 1

# Places drawn for each pair under the power law. If all of them are taken,
# which happens in a body that is almost full, the last free one is.
_CANDIDATES = 16


@dataclasses.dataclass(frozen=True)
class Store(answerers.Listed, layout.Questions):
  """Facts among filler, then questions for their values.

  Ids are 0 SEP, the marks of the subclass, its names, then `values` values
  that facts are about, then `filler` filler tokens. Facts are as wide as
  questions.

  Answerers: 'bag' says one of the values in the body, those already said
  taken out; 'recent' the last value in the body.
  Strata: `distance` in tokens from the answer back to the value.

  Args:
    values: the number of value tokens.
    filler: the number of filler tokens.
    keys: the number of key tokens.
  """

  defended: ClassVar[frozenset[str]] = frozenset({'recent'})

  # Ids before the names.
  special: ClassVar[int] = 1

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

  def chance(self, length: int) -> float:
    """Return the chance of one of the values, all equally likely."""
    return 1 / self.values

  def hay(self, word_N: jax.Array) -> jax.Array:
    """Turn each word into a filler token."""
    return draw.integers(word_N, self.first_filler, self.vocabulary)

  def _guesses(self, rng, tokens_BxL, answer_BxN):
    body_BxN = tokens_BxL[:, : self.body(tokens_BxL.shape[1])]
    is_value_BxN = body_BxN >= self.first_value
    is_value_BxN &= body_BxN < self.first_filler
    value_BxP = body_BxN[is_value_BxN].reshape(len(body_BxN), -1)
    left_BxU = answerers.unasked(value_BxP, answer_BxN)
    return {
      'random': rng.integers(
        self.first_value, self.first_filler, answer_BxN.shape
      ),
      'bag': answerers.remaining(rng, answer_BxN, left_BxU),
      'recent': self._recent(tokens_BxL, value_BxP),
    }

  def _recent(
    self, tokens_BxL: np.ndarray, value_BxP: np.ndarray
  ) -> np.ndarray:
    """Return what 'recent' says, B x Q, given all and the body's values."""
    return np.repeat(value_BxP[:, -1:], self.queries, axis=1)


class _Facts(Store):
  """Facts of a key and a value, some of which are asked about.

  Keys differ, and each is asked about at most once; values are independent of
  keys and of each other, and may repeat.
  """

  capability: ClassVar[str] = 'C'

  keys: int

  @property
  def names(self) -> int:
    return self.keys

  @property
  @abc.abstractmethod
  def facts(self) -> int:
    """The number of facts in a body."""

  def _places(self, length: int) -> int:
    """Return how many places there are for facts, if they take one each."""
    return self.body(length) - self.facts * (self.width - 1)

  def _words(self, length: int) -> int:
    """Return how many random words place the facts."""
    return self._places(length)

  def _starts(self, word_W: jax.Array, length: int) -> jax.Array:
    """Return where the facts start, in order: all arrangements are alike."""
    return layout.scattered(word_W, self.facts, self.width)

  def _form(self, key_X: jax.Array, value_X: jax.Array) -> list[jax.Array]:
    """Return the tokens of a fact, or of a question: a mark if there is one."""
    marks = [jnp.full_like(key_X, MARK)] * (self.width - 2)
    return [*marks, key_X, value_X]

  @abc.abstractmethod
  def _strata(
    self, fact_Q: jax.Array, start_Q: jax.Array, body: int
  ) -> dict[str, jax.Array]:
    """Return strata of its own, from number and start of what is asked."""

  def _one(self, key: jax.Array, length: int) -> base.Batch:
    body, count = self.body(length), self.facts
    place_W, filler_N, key_K, value_P, asked_P = draw.words(
      key, self._words(length), body, self.keys, count, count
    )
    start_P = self._starts(place_W, length)
    key_P = self.special + draw.shuffled(key_K)[:count]
    value_P = draw.integers(value_P, self.first_value, self.first_filler)
    body_N = layout.written(
      self.hay(filler_N), start_P, self._form(key_P, value_P)
    )
    asked_Q = draw.shuffled(asked_P)[: self.queries]
    start_Q = start_P[asked_Q]
    return self.ask(
      body_N,
      self._form(key_P[asked_Q], value_P[asked_Q]),
      [foil_P[asked_Q] for foil_P in layout.neighbours(value_P)],
      {
        'distance': self.distance(length, start_Q + self.width - 1),
        **self._strata(asked_Q, start_Q, body),
      },
    )


@dataclasses.dataclass(frozen=True)
class Recall(_Facts):
  """Which value went with this key? (Multi-query associative recall.)

    body of N = length - 1 - 2 * queries tokens, SEP, (key value) * queries

  The body holds `pairs` pairs `key value` and, between them, filler. The
  answer is the value that followed the key in the body. Ids are 0 SEP, then
  `keys` keys, then `values` values, then `filler` filler tokens. A length of
  1 + 2 * pairs + 2 * queries has no filler: it is dense.

  With gaps='uniform' every arrangement of pairs and filler is equally likely.
  With gaps='power' pairs are drawn one by one with P(d) ~ d ** (alpha - 1),
  where d = 1, 2, ... is the place counted backwards from SEP, a pair or a
  filler token counting one, until each has a place of its own: the law of
  Zoology (arXiv:2312.04927), which keeps most answers close.

  Foils (C = 2): the values of the pairs before and after the right one.
  Strata: `pair`, the number of the pair in the body, from 0.

  Args:
    pairs: how many pairs the body holds, whatever the length.
    gaps: 'uniform' or 'power', where in the body the pairs stand.
    alpha: of the power law; 1 is uniform, 0.01 Zoology's.

  >>> task = Recall(keys=4, values=4, filler=3, pairs=3, queries=1)
  >>> print(task.example(length=12))
  11 3 6 9 1 5 2 7 11 0 3 6
  11: 6, foils [5], distance 9, pair 0, query 0
  """

  less: ClassVar[str] = 'fewer pairs or queries'

  keys: int = component.field(
    32,
    at_least='pairs',
    remedy='the keys of a sequence are distinct; raise keys or have fewer '
    'pairs',
  )
  pairs: int = component.field(
    8, at_least='queries', remedy='no pair is asked about twice'
  )
  gaps: str = component.field('uniform', one_of=('uniform', 'power'))
  alpha: float = component.field(
    0.01, at_least=0, at_most=1, remedy="0.01 is Zoology's, and 1 is uniform"
  )

  @property
  def facts(self) -> int:
    return self.pairs

  @property
  def room(self) -> int:
    return self.width * self.pairs

  def _words(self, length):
    if self.gaps == 'power':
      return self.pairs * _CANDIDATES
    return super()._words(length)

  def _starts(self, word_W, length):
    if self.gaps != 'power':
      return super()._starts(word_W, length)
    places = self._places(length)
    word_PxC = word_W.reshape(self.pairs, _CANDIDATES)
    back_PxC = _backwards(word_PxC, places, self.alpha)
    _, back_P = jax.lax.scan(_first_free, jnp.ones(places, bool), back_PxC)
    return layout.spread(places - 1 - back_P, self.width)

  def _strata(self, fact_Q, start_Q, body):
    return {'pair': fact_Q}


@dataclasses.dataclass(frozen=True)
class Needle(_Facts):
  """Which value was in this needle? A few needles in much hay.

    body of N = length - 1 - 3 * queries tokens, SEP, (MARK key value) * queries

  The body holds `needles` needles `MARK key value`, some asked about and the
  others distractors of the same form, and is otherwise filler, at least half
  of it, each token drawn independently. Ids are 0 SEP, 1 MARK, then `keys`
  keys, then `values` values, then `filler` filler tokens.

  Foils (C = 2): the values of the needles before and after the right one.
  Strata: `depth`, the tenth of the body in which the needle starts, 0 to 9.

  Args:
    needles: how many needles the body holds, whatever the length.

  >>> task = Needle(keys=4, values=4, filler=3, needles=2, queries=1)
  >>> print(task.example(length=18))
  11 11 10 1 3 8 10 10 11 12 10 1 4 7 0 1 4 7
  17: 7, foils [8], depth 7, distance 4, query 0
  """

  width: ClassVar[int] = 3
  special: ClassVar[int] = 2
  less: ClassVar[str] = 'fewer needles or queries'

  queries: int = 2
  keys: int = component.field(
    32,
    at_least='needles',
    remedy='the keys of a sequence are distinct; raise keys or have fewer '
    'needles',
  )
  needles: int = component.field(
    6, at_least='queries', remedy='no needle is asked about twice'
  )

  @property
  def facts(self) -> int:
    return self.needles

  @property
  def room(self) -> int:
    return 2 * self.width * self.needles

  def _strata(self, fact_Q, start_Q, body):
    return {'depth': 10 * start_Q // body}


@dataclasses.dataclass(frozen=True)
class _Twin(Store):
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


def _backwards(word_X: jax.Array, places: int, alpha: float) -> jax.Array:
  """Draw 0, ..., places - 1 with P(i) ~ (i + 1) ** (alpha - 1), by a table."""
  share_M = np.cumsum(np.arange(1, places + 1) ** (alpha - 1.0))
  edge_M = np.floor(2.0**32 * (share_M / share_M[-1]))[:-1].astype(np.uint32)
  return jnp.searchsorted(jnp.asarray(edge_M), word_X, side='right')


def _first_free(
  free_M: jax.Array, wish_C: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Take the first wish that is free, or the free place nearest to the end."""
  wish = wish_C[jnp.argmax(free_M[wish_C])]
  back = jnp.where(free_M[wish], wish, jnp.argmax(free_M))
  return free_M.at[back].set(False), back
