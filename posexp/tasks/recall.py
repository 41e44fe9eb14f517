"""Recall and Needle: find one of many facts of the same form, anywhere."""

import dataclasses
import functools
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.tasks import base, draw, layout, store

MARK = 1

# Places drawn for each pair under the power law. If all of them are taken,
# which happens in a body that is almost full, the last free one is.
_CANDIDATES = 16


@dataclasses.dataclass(frozen=True)
class Recall(store.Store):
  """Which value went with this key? (Multi-query associative recall.)

  ```
  body of N = length - 1 - 2 * queries tokens, SEP, (key value) * queries
  ```

  The body holds `pairs` pairs `key value` and, between them, filler. The
  answer is the value that followed the key in the body. Ids are 0 SEP, then
  `keys` keys, then `values` values, then `filler` filler tokens. A length of
  1 + 2 * pairs + 2 * queries has no filler: it is dense.

  What is balanced: keys differ, and each is asked about at most once; values
  are independent of keys and of each other, and may repeat; which pairs are
  asked about, and in what order, is independent of where they stand. With
  gaps='uniform' every arrangement of pairs and filler is equally likely. With
  gaps='power' pairs are drawn one by one with P(d) ~ d ** (alpha - 1), where
  d = 1, 2, ... is the place counted backwards from SEP, a pair or a filler
  token counting one, until each has a place of its own: the law of Zoology
  (arXiv:2312.04927), which keeps most answers close.

  Answerers: 'bag' says one of the values in the body, those already said
  taken out; 'recent' the last value in the body.

  Foils (C = 2): the values of the pairs before and after the right one.

  Strata: `distance` in tokens from the answer back to the value; `pair`, the
  number of the pair in the body, from 0; `query`, the number of the question.

  Args:
    queries: questions per sequence.
    values: the number of value tokens.
    filler: the number of filler tokens.
    keys: the number of key tokens.
    pairs: how many pairs the body holds, whatever the length.
    gaps: 'uniform' or 'power', where in the body the pairs stand.
    alpha: of the power law; 1 is uniform, 0.01 Zoology's.

  >>> import jax
  >>> task = Recall(keys=4, values=4, filler=3, pairs=3, queries=1)
  >>> batch = task.sample(jax.random.key(0), length=12, batch=1)
  >>> batch.tokens_BxL[0].tolist()
  [11, 3, 6, 9, 1, 5, 2, 7, 11, 0, 3, 6]
  >>> {name: int(value_BxL[0, -1]) for name, value_BxL in batch.strata.items()}
  {'distance': 9, 'pair': 0, 'query': 0}
  >>> batch.foils_BxLxC[0, -1].tolist()
  [-1, 5]
  """

  capability: ClassVar[str] = 'C'
  fact: ClassVar[str] = 'pairs or queries'

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

  def __post_init__(self) -> None:
    super().__post_init__()
    # Equal laws are one config, whose examples have one key.
    object.__setattr__(self, 'alpha', float(self.alpha))

  @property
  def names(self) -> int:
    return self.keys

  @property
  def room(self) -> int:
    return self.width * self.pairs

  def _one(self, key: jax.Array, length: int) -> base.Batch:
    body = self.body(length)
    if self.gaps == 'power':
      places = _power(body, self.pairs, self.width, self.alpha)
    else:
      places = _uniform(body, self.pairs, self.width)
    facts = _draw_facts(self, key, body, self.pairs, places)
    return _ask(self, facts, length, {'pair': facts.asked_Q})


@dataclasses.dataclass(frozen=True)
class Needle(store.Store):
  """Which value was in this needle? A few needles in much hay.

  ```
  body of N = length - 1 - 3 * queries tokens, SEP, (MARK key value) * queries
  ```

  The body holds `needles` needles `MARK key value`, some asked about and the
  others distractors of the same form, and is otherwise filler, at least half
  of it, each token drawn independently. Ids are 0 SEP, 1 MARK, then `keys`
  keys, then `values` values, then `filler` filler tokens. Every arrangement of
  needles and filler is equally likely; keys and values are as in Recall.

  Answerers: 'bag' says one of the values in the body, those already said
  taken out; 'recent' the last value in the body.

  Foils (C = 2): the values of the needles before and after the right one.

  Strata: `depth`, the tenth of the body in which the needle starts, 0 to 9;
  `distance` in tokens from the answer back to the value; `query`, the number
  of the question.

  Args:
    queries: how many needles are asked about.
    values: the number of value tokens.
    filler: the number of filler tokens.
    keys: the number of key tokens.
    needles: how many needles the body holds, whatever the length.

  >>> import jax
  >>> task = Needle(keys=4, values=4, filler=3, needles=2, queries=1)
  >>> batch = task.sample(jax.random.key(0), length=18, batch=1)
  >>> batch.tokens_BxL[0].tolist()
  [11, 11, 10, 1, 3, 8, 10, 10, 11, 12, 10, 1, 4, 7, 0, 1, 4, 7]
  >>> {name: int(value_BxL[0, -1]) for name, value_BxL in batch.strata.items()}
  {'depth': 7, 'distance': 4, 'query': 0}
  >>> batch.foils_BxLxC[0, -1].tolist()
  [8, -1]
  """

  capability: ClassVar[str] = 'C'
  width: ClassVar[int] = 3
  special: ClassVar[int] = 2
  fact: ClassVar[str] = 'needles or queries'

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
  def names(self) -> int:
    return self.keys

  @property
  def room(self) -> int:
    return 2 * self.width * self.needles

  def _one(self, key: jax.Array, length: int) -> base.Batch:
    body = self.body(length)
    places = _uniform(body, self.needles, self.width)
    facts = _draw_facts(self, key, body, self.needles, places)
    depth_Q = 10 * facts.start_P[facts.asked_Q] // body
    return _ask(self, facts, length, {'depth': depth_Q})


class _Facts(NamedTuple):
  body_N: jax.Array
  start_P: jax.Array  # in order
  key_P: jax.Array
  value_P: jax.Array
  asked_Q: jax.Array  # which of the P


def _draw_facts(
  task: Recall | Needle,
  key: jax.Array,
  body: int,
  count: int,
  places: '_Places',
) -> _Facts:
  """Draw a body with `count` facts, and which of them are asked about."""
  place_W, filler_N, key_K, value_P, asked_P = draw.words(
    key, places.words, body, task.keys, count, count
  )
  start_P = places.starts(place_W)
  key_P = task.special + draw.shuffled(key_K)[:count]
  value_P = draw.integers(value_P, task.first_value, task.first_filler)
  body_N = draw.integers(filler_N, task.first_filler, task.vocabulary)
  body_N = layout.written(body_N, start_P, _form(task, key_P, value_P))
  asked_Q = draw.shuffled(asked_P)[: task.queries]
  return _Facts(body_N, start_P, key_P, value_P, asked_Q)


def _form(
  task: Recall | Needle, key_X: jax.Array, value_X: jax.Array
) -> list[jax.Array]:
  """Return the tokens of a fact, or of a question: a mark if there is one."""
  marks = [jnp.full_like(key_X, MARK)] * (task.width - 2)
  return [*marks, key_X, value_X]


def _ask(
  task: Recall | Needle,
  facts: _Facts,
  length: int,
  strata_Q: dict[str, jax.Array],
) -> base.Batch:
  """Return the sequence that closes with the questions."""
  asked_Q = facts.asked_Q
  place_Q = facts.start_P[asked_Q] + task.width - 1
  foils = [foil_P[asked_Q] for foil_P in layout.neighbours(facts.value_P)]
  return task.ask(
    facts.body_N,
    _form(task, facts.key_P[asked_Q], facts.value_P[asked_Q]),
    foils,
    {'distance': task.distance(length, place_Q), **strata_Q},
  )


class _Places(NamedTuple):
  """How facts are placed: from how many random words, and how from them."""

  words: int
  starts: Callable[[jax.Array], jax.Array]


def _uniform(body: int, count: int, width: int) -> _Places:
  """All arrangements equally likely."""
  starts = functools.partial(layout.scattered, count=count, width=width)
  return _Places(body - count * (width - 1), starts)


def _power(body: int, count: int, width: int, alpha: float) -> _Places:
  """Places by a power law of how far they are from the end of the body."""
  places = body - count * (width - 1)

  def starts(word_W: jax.Array) -> jax.Array:
    back_PxC = _backwards(word_W.reshape(count, -1), places, alpha)
    _, back_P = jax.lax.scan(_first_free, jnp.ones(places, bool), back_PxC)
    return layout.spread(places - 1 - back_P, width)

  return _Places(count * _CANDIDATES, starts)


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
