"""Ordering and its retrieval twin Presence: two questions about one body."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.tasks import answerers, base, draw, layout, pairs

SEP, ASK, YES, NO = range(4)
_SPECIAL = 4


class _Story(NamedTuple):
  body_N: jax.Array
  earlier_Q: jax.Array  # slots
  later_Q: jax.Array
  absent_Q: jax.Array  # event tokens that are not in the body
  coin_2xQ: jax.Array  # each twin's own


@dataclasses.dataclass(frozen=True)
class _Twin(layout.Questions):
  """All that the twins have in common: fields, lengths and the body.

  Args:
    symbols: the number of event tokens.
    filler: the number of filler tokens; 0 makes the body dense.
  """

  width: ClassVar[int] = 3
  less: ClassVar[str] = 'fewer queries: each needs 4 slots to draw freely'

  symbols: int = component.field(
    64,
    at_least='events_asked',
    remedy='each query asks about two distinct events; raise symbols or lower '
    'queries',
  )
  queries: int = component.field(8, at_least=1)
  filler: int = component.field(0, at_least=0, remedy='use 0 for a dense body')

  @property
  def events_asked(self) -> int:
    """The number of events that the questions name."""
    return 2 * self.queries

  @property
  def room(self) -> int:
    return pairs.ROOM * self.queries

  @property
  def _absent(self) -> int:
    """The number of events that a sequence needs besides those in the body."""
    return 0

  @property
  def vocabulary(self) -> int:
    return _SPECIAL + self.symbols + self.filler

  def _events(self, body: int) -> int:
    """Return how many event tokens the body holds."""
    return self.events_asked if self.filler else body

  def check(self, length: int) -> None:
    super().check(length)
    needed = self._events(self.body(length)) + self._absent
    if needed > self.symbols:
      also = f' and the {self._absent} absent ones' if self._absent else ''
      instead = '' if self.filler else ', or filler between fewer events'
      raise component.UserError(
        f'symbols must be at least {needed} at length {length}, got '
        f'{self.symbols}: the events{also} of a sequence are distinct; use '
        f'symbols={needed} or more{instead}'
      )

  def chance(self, length: int) -> float:
    """Return one half: one of two answers."""
    return 0.5

  def _story(self, key: jax.Array, length: int) -> _Story:
    """Draw the body and its pairs, which the twins have in common."""
    slots, queries = self.body(length), self.queries
    used = self._events(slots)
    pair_W, event_S, filler_N, own_2Q = draw.words(
      key,
      queries * pairs.WORDS,
      self.symbols,
      slots if self.filler else 0,
      2 * queries,
    )
    earlier_Q, later_Q = pairs.draw_pairs(
      pair_W.reshape(queries, pairs.WORDS), slots=slots
    )
    event_S = _SPECIAL + draw.shuffled(event_S)
    if self.filler:
      body_N = draw.integers(filler_N, _SPECIAL + self.symbols, self.vocabulary)
      body_N = body_N.at[earlier_Q].set(event_S[:queries])
      body_N = body_N.at[later_Q].set(event_S[queries:used])
    else:
      body_N = event_S[:used]
    absent_Q = event_S[used : used + queries]
    coin_2xQ = draw.coins(own_2Q.reshape(2, queries))
    return _Story(body_N, earlier_Q, later_Q, absent_Q, coin_2xQ)


@dataclasses.dataclass(frozen=True)
class Ordering(_Twin):
  """Which of two events came first?

    body of N = length - 1 - 3 * queries slots, SEP, (a b answer) * queries

  The answer is whichever of a and b stands first in the body. Ids are 0 SEP,
  1 ASK, 2 YES, 3 NO (the last three are Presence's), then `symbols` events,
  then `filler` filler tokens. Without filler the body is dense: every slot
  holds an event of its own, asked about or not. With filler the body holds
  the 2 * queries events that are asked about and nothing else but filler, so
  that the number of events stays while the length grows.

  Answerers: 'bag' knows that both events are there and throws a coin, as
  'random' does; 'recent' says b, which was named last.
  Foils (C = 1): the other event of the pair.
  Strata: `gap` in slots; `distance` from the answer back to the later event;
  `mention`, 0 if the answer is a and 1 if it is b.

  >>> print(Ordering(symbols=8, queries=1).example(length=11, seed=4))
  4 11 6 8 9 10 7 0 7 8 8
  10: 8, foils [7], distance 4, gap 3, mention 1, query 0
  """

  capability: ClassVar[str] = 'O'
  defended: ClassVar[frozenset[str]] = frozenset({'bag', 'recent'})

  def guesses(self, rng, tokens_BxL, asked_BxL):
    a_BxL, b_BxL = answerers.named(tokens_BxL)
    return {
      'random': answerers.coin(rng, a_BxL, b_BxL),
      'bag': answerers.coin(rng, a_BxL, b_BxL),
      'recent': b_BxL,
    }

  def evidence(self, strata: Mapping[str, np.ndarray]) -> np.ndarray:
    # The answer is the earlier event; `distance` is that of the later one.
    distance = strata['distance']
    return np.where(distance >= 0, distance + strata['gap'], -1)

  def _one(self, key: jax.Array, length: int) -> base.Batch:
    story = self._story(key, length)
    first_Q = story.body_N[story.earlier_Q]
    second_Q = story.body_N[story.later_Q]
    mention_Q, _ = story.coin_2xQ
    a_Q = jnp.where(mention_Q == 0, first_Q, second_Q)
    b_Q = jnp.where(mention_Q == 0, second_Q, first_Q)
    strata_Q = {
      'gap': story.later_Q - story.earlier_Q,
      'distance': self.distance(length, story.later_Q),
      'mention': mention_Q,
    }
    return self.ask(story.body_N, (a_Q, b_Q, first_Q), [second_Q], strata_Q)


@dataclasses.dataclass(frozen=True)
class Presence(_Twin):
  """Was this event there? The retrieval twin of Ordering.

    body of N = length - 1 - 3 * queries slots, SEP, (ASK x YES|NO) * queries

  For the same fields, key and length the body is Ordering's, token for token,
  and x is one of the two events that Ordering asks about in the same
  question, either with the same probability, or, just as often, an event
  that is not in the body. So what a model loses on Ordering and not here, it
  lost to order.

  Answerers: 'bag' is always right, as nothing here asks for position; 'recent'
  says YES if one of the last half of the body's slots holds the event.
  Foils (C = 1): none, so that any wrong answer is a retrieval error.
  Strata: `distance` from the answer back to the event, -1 if it is absent;
  `present`, 0 or 1.

  >>> print(Presence(symbols=8, queries=1).example(length=11, seed=4))
  4 11 6 8 9 10 7 0 1 8 2
  10: 2, foils [], distance 7, present 1, query 0
  """

  capability: ClassVar[str] = 'C'

  def guesses(self, rng, tokens_BxL, asked_BxL):
    x_BxL = np.roll(tokens_BxL, 1, axis=1)
    says_yes = {'random': rng.integers(0, 2, tokens_BxL.shape) == 0}
    for name, count_BxV in self.counted(tokens_BxL):
      says_yes[name] = np.take_along_axis(count_BxV, x_BxL, axis=1) > 0
    return {k: np.where(yes_BxL, YES, NO) for k, yes_BxL in says_yes.items()}

  @property
  def _absent(self) -> int:
    return self.queries

  def _one(self, key: jax.Array, length: int) -> base.Batch:
    story = self._story(key, length)
    present_Q, side_Q = story.coin_2xQ
    slot_Q = jnp.where(side_Q == 0, story.earlier_Q, story.later_Q)
    there_Q = present_Q == 1
    x_Q = jnp.where(there_Q, story.body_N[slot_Q], story.absent_Q)
    distance_Q = jnp.where(there_Q, self.distance(length, slot_Q), -1)
    answer_Q = jnp.where(there_Q, YES, NO).astype(jnp.int32)
    columns = jnp.full_like(x_Q, ASK), x_Q, answer_Q
    strata_Q = {'distance': distance_Q, 'present': present_Q}
    return self.ask(story.body_N, columns, [jnp.full_like(x_Q, -1)], strata_Q)
