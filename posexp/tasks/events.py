"""Ordering and its retrieval twin Presence: two questions about one body."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.tasks import answerers, base, draw, fields, layout, pairs

SEP, ASK, YES, NO = range(4)
_SPECIAL = 4


@dataclasses.dataclass(frozen=True)
class _Twin(draw.PerExample):
  """What the two have in common: fields, lengths and where answers stand."""

  symbols: int = 64
  queries: int = 8
  filler: int = 0

  def __post_init__(self) -> None:
    fields.some_queries(self.queries)
    fields.at_least(
      'symbols',
      self.symbols,
      2 * self.queries,
      f'{self.queries} queries ask about two distinct events each; raise '
      'symbols or lower queries',
    )
    fields.at_least('filler', self.filler, 0, 'use 0 for a dense body')

  @property
  def _absent(self) -> int:
    """How many events that are not in the body a sequence needs."""
    return 0

  @property
  def vocabulary(self) -> int:
    return _SPECIAL + self.symbols + self.filler

  def check(self, length: int) -> None:
    _check_length(self, length)

  def asked(self, length: int) -> Sequence[int]:
    return range(_slots(self, length) + 3, length, 3)

  def chance(self, length: int) -> float:
    """One half: one of two answers, without having seen the body."""
    return 0.5


@dataclasses.dataclass(frozen=True)
class Ordering(_Twin):
  """Which of two events came first?

  ```
  body of N = length - 1 - 3 * queries slots, SEP, (a b answer) * queries
  ```

  The answer is whichever of a and b stands first in the body. Ids are 0 SEP,
  1 ASK, 2 YES, 3 NO (the last three are Presence's), then `symbols` events,
  then `filler` filler tokens. Without filler the body is dense: every slot
  holds an event of its own, asked about or not. With filler the body holds
  the 2 * queries events that are asked about and nothing else but filler, so
  that the number of events stays while the length grows.

  What is balanced, and why:

  * The gap between the two events is uniform in 1, ..., N // 2, and the slot
    of the later one is uniform in N // 2, ..., N - 1, independently: a curve
    by gap is not a curve by distance. As no slot is used twice, the two
    correlate by -.04 at the default fields and length 64, and by less than
    -.02 from 128 on; where a sequence is so full that no draw fits (one
    question in a hundred at the shortest length), two free slots are taken
    at any gap.
  * Every event is asked about at most once. Otherwise an event that was an
    earlier answer would be the likelier answer, without looking.
  * Which of a and b is the answer is a fair coin, independent of the other
    questions: if coins were balanced within a sequence, the last could be
    worked out from the others.

  A model that knows only in which half of the body an event lies is right
  about three times in four, mostly at large gaps: read the curve at small
  gaps for precision and at large gaps for any sense of order at all.

  Answerers: 'bag' knows that both events are there and throws a coin, as
  'random' does; 'recent' says b, which was named last.

  Foils (C = 1): the other event of the pair; a wrong answer that is not the
  foil was not found at all.

  Strata: `gap` in slots; `distance` from the answer back to the later event;
  `mention`, 0 if the answer is a and 1 if it is b; `query`, the number of the
  question.

  Args:
    symbols: the number of event tokens.
    queries: questions per sequence.
    filler: the number of filler tokens; 0 makes the body dense.

  Raises:
    UserError: for a field out of range, and from `check` and `sample` for a
      length too short for the questions or too long for the symbols.

  >>> import jax
  >>> task = Ordering(symbols=8, queries=1)
  >>> batch = task.sample(jax.random.key(4), length=11, batch=1)
  >>> batch.tokens_BxL[0].tolist()
  [4, 11, 6, 8, 9, 10, 7, 0, 7, 8, 8]
  >>> {name: int(value_BxL[0, -1]) for name, value_BxL in batch.strata.items()}
  {'distance': 4, 'gap': 3, 'mention': 1, 'query': 0}
  >>> batch.foils_BxLxC[0, -1].tolist()
  [7]
  """

  capability: ClassVar[str] = 'O'
  defended: ClassVar[frozenset[str]] = frozenset({'bag', 'recent'})

  def guesses(
    self,
    rng: np.random.Generator,
    tokens_BxL: np.ndarray,
    asked_BxL: np.ndarray,
  ) -> dict[str, np.ndarray]:
    del asked_BxL
    a_BxL, b_BxL = (np.roll(tokens_BxL, n, axis=1) for n in (2, 1))
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
    slots = _slots(self, length)
    story = _tell(self, key, slots)
    first_Q = story.body_N[story.earlier_Q]
    second_Q = story.body_N[story.later_Q]
    mention_Q, _ = story.coin_2xQ
    a_Q = jnp.where(mention_Q == 0, first_Q, second_Q)
    b_Q = jnp.where(mention_Q == 0, second_Q, first_Q)
    strata_Q = {
      'gap': story.later_Q - story.earlier_Q,
      'distance': _answer_at(self, slots) - story.later_Q,
      'mention': mention_Q,
    }
    return _compose(story.body_N, (a_Q, b_Q, first_Q), second_Q, strata_Q)


@dataclasses.dataclass(frozen=True)
class Presence(_Twin):
  """Was this event there? The retrieval twin of Ordering.

  ```
  body of N = length - 1 - 3 * queries slots, SEP, (ASK x YES|NO) * queries
  ```

  For the same fields, key and length the body is Ordering's, token for token,
  and x is one of the two events that Ordering asks about in the same
  question, either with the same probability, or, just as often, an event
  that is not in the body. So what a model loses on Ordering and not here, it
  lost to order.

  No event is asked about twice, and whether x is there is a fair coin,
  independent of the other questions, for the reasons given at Ordering.

  Answerers: 'bag' is always right, as nothing here asks for position; 'recent'
  says YES if one of the last half of the body's slots holds the event.

  Foils (C = 1): none, always -1; any wrong answer is an error of retrieval.

  Strata: `distance` from the answer back to the event, -1 if it is absent;
  `present`, 0 or 1; `query`, the number of the question.

  Args:
    symbols: the number of event tokens.
    queries: questions per sequence.
    filler: the number of filler tokens; 0 makes the body dense.

  Raises:
    UserError: for a field out of range, and from `check` and `sample` for a
      length too short for the questions or too long for the symbols.

  >>> import jax
  >>> task = Presence(symbols=8, queries=1)
  >>> batch = task.sample(jax.random.key(4), length=11, batch=1)
  >>> batch.tokens_BxL[0].tolist()
  [4, 11, 6, 8, 9, 10, 7, 0, 1, 8, 2]
  >>> {name: int(value_BxL[0, -1]) for name, value_BxL in batch.strata.items()}
  {'distance': 7, 'present': 1, 'query': 0}
  """

  capability: ClassVar[str] = 'C'

  def guesses(
    self,
    rng: np.random.Generator,
    tokens_BxL: np.ndarray,
    asked_BxL: np.ndarray,
  ) -> dict[str, np.ndarray]:
    del asked_BxL
    slots = _slots(self, tokens_BxL.shape[1])
    x_BxL = np.roll(tokens_BxL, 1, axis=1)
    said = {'random': rng.integers(0, 2, tokens_BxL.shape) == 0}
    for name, start in (('bag', 0), ('recent', slots // 2)):
      body_BxN = tokens_BxL[:, start:slots]
      count_BxV = answerers.counts(body_BxN, self.vocabulary)
      said[name] = np.take_along_axis(count_BxV, x_BxL, axis=1) > 0
    return {k: np.where(yes_BxL, YES, NO) for k, yes_BxL in said.items()}

  @property
  def _absent(self) -> int:
    return self.queries

  def _one(self, key: jax.Array, length: int) -> base.Batch:
    slots = _slots(self, length)
    story = _tell(self, key, slots)
    present_Q, side_Q = story.coin_2xQ
    slot_Q = jnp.where(side_Q == 0, story.earlier_Q, story.later_Q)
    there_Q = present_Q == 1
    x_Q = jnp.where(there_Q, story.body_N[slot_Q], story.absent_Q)
    distance_Q = jnp.where(there_Q, _answer_at(self, slots) - slot_Q, -1)
    ask_Q, foil_Q = jnp.full_like(x_Q, ASK), jnp.full_like(x_Q, -1)
    answer_Q = jnp.where(there_Q, YES, NO).astype(jnp.int32)
    strata_Q = {'distance': distance_Q, 'present': present_Q}
    return _compose(story.body_N, (ask_Q, x_Q, answer_Q), foil_Q, strata_Q)


class _Story(NamedTuple):
  body_N: jax.Array
  earlier_Q: jax.Array  # slots
  later_Q: jax.Array
  absent_Q: jax.Array  # event tokens that are not in the body
  coin_2xQ: jax.Array  # each twin's own


def _tell(task: _Twin, key: jax.Array, slots: int) -> _Story:
  """The body and its pairs, which the twins have in common."""
  queries, used = task.queries, _events(task, slots)
  pair_W, event_S, filler_N, own_2Q = draw.words(
    key,
    queries * pairs.WORDS,
    task.symbols,
    slots if task.filler else 0,
    2 * queries,
  )
  earlier_Q, later_Q = pairs.draw_pairs(
    pair_W.reshape(queries, pairs.WORDS), slots=slots
  )
  event_S = _SPECIAL + draw.shuffled(event_S)
  if task.filler:
    low = _SPECIAL + task.symbols
    body_N = draw.integers(filler_N, low, low + task.filler)
    body_N = body_N.at[earlier_Q].set(event_S[:queries])
    body_N = body_N.at[later_Q].set(event_S[queries:used])
  else:
    body_N = event_S[:used]
  absent_Q = event_S[used : used + queries]
  coin_2xQ = draw.coins(own_2Q.reshape(2, queries))
  return _Story(body_N, earlier_Q, later_Q, absent_Q, coin_2xQ)


def _compose(
  body_N: jax.Array,
  question_3xQ: tuple[jax.Array, jax.Array, jax.Array],
  foil_Q: jax.Array,
  strata_Q: dict[str, jax.Array],
) -> base.Batch:
  """One sequence with its targets, foils and strata (no batch axis yet)."""
  lead_N = jnp.append(body_N, SEP)
  return layout.questions(lead_N, question_3xQ, [foil_Q], strata_Q)


def _slots(task: _Twin, length: int) -> int:
  return length - 1 - 3 * task.queries


def _events(task: _Twin, slots: int) -> int:
  """How many event tokens the body holds."""
  return 2 * task.queries if task.filler else slots


def _answer_at(task: _Twin, slots: int) -> np.ndarray:
  """The position of each answer in the sequence."""
  return layout.answers_at(slots + 1, 3, task.queries)


def _check_length(task: _Twin, length: int) -> None:
  shortest = 1 + (3 + pairs.ROOM) * task.queries
  if length < shortest:
    raise component.UserError(
      f'length must be at least {shortest} for {task.queries} queries, got '
      f'{length}: each takes 3 tokens and {pairs.ROOM} slots of the body; use '
      'longer sequences or fewer queries'
    )
  absent = task._absent
  needed = _events(task, _slots(task, length)) + absent
  if needed > task.symbols:
    also = f' and the {absent} absent ones' if absent else ''
    instead = '' if task.filler else ', or filler between fewer events'
    raise component.UserError(
      f'symbols must be at least {needed} at length {length}, got '
      f'{task.symbols}: the events{also} of a sequence are distinct; use '
      f'symbols={needed} or more{instead}'
    )
