"""Attachment: which of two heads does a modifier belong to?"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.tasks import answerers, base, draw, layout

SEP, OUTER, INNER = range(3)
_SPECIAL = 3

# Two heads, a marker and a modifier, of which the last two stand together.
_TOKENS = 4
_UNITS = 3


@dataclasses.dataclass(frozen=True)
class Attachment(answerers.Listed, layout.Questions):
  """Which head is this modifier of: the nearest, or the one before it?

    body of N = length - 1 - 2 * queries slots, SEP, (modifier head) * queries

  The body holds queries + distractors clauses, one after another. A clause
  within a clause has two heads, the outer and the inner, and then a marker
  with a modifier: 'outer ... inner ... OUTER|INNER modifier', where ... is
  filler, as is all between the clauses. INNER says that the modifier belongs
  to the inner head, which is the nearest, and OUTER to the head before that.

  Ids are 0 SEP, 1 OUTER, 2 INNER, then `symbols` heads, `symbols` modifiers
  and `filler` filler tokens. No head or modifier comes twice in a body; clauses
  that are not asked about have the same form.

  Answerers: 'bag' says any head of the body that is still due; 'recent' the
  head nearest before the modifier, right half of the time.
  Foils (C = 1): the other head of the clause.
  Strata: `gap` from the right head to its modifier; `distance` from the answer
  back to the right head; `near`, 1 if that is the nearest. Read a curve by
  `gap` apart for each value of `near`, as the outer head is further away.

  Args:
    symbols: the number of heads, and of modifiers, to choose from.
    distractors: clauses that are not asked about.
    filler: the number of filler tokens to choose from.

  >>> task = Attachment(symbols=4, queries=1, distractors=1, filler=2)
  >>> print(task.example(length=15))
  12 3 5 1 10 4 11 12 6 12 1 8 0 8 4
  14: 4, foils [6], distance 9, gap 6, near 0, query 0
  """

  capability: ClassVar[str] = 'RO'
  less: ClassVar[str] = (
    'fewer queries or distractors: each is a clause of 4 tokens'
  )

  symbols: int = component.field(
    64,
    at_least='heads',
    remedy='each clause has two heads, all distinct; raise symbols or lower '
    'queries or distractors',
  )
  queries: int = component.field(4, at_least=1)
  distractors: int = component.field(
    4, at_least=0, remedy='use 0 to ask about every clause'
  )
  filler: int = component.field(
    8,
    at_least=1,
    remedy='filler is what longer bodies are made of',
  )

  @property
  def _clauses(self) -> int:
    return self.queries + self.distractors

  @property
  def heads(self) -> int:
    """The number of heads in a body."""
    return 2 * self._clauses

  @property
  def vocabulary(self) -> int:
    return _SPECIAL + 2 * self.symbols + self.filler

  @property
  def room(self) -> int:
    return _TOKENS * self._clauses

  def chance(self, length: int) -> float:
    """Return the accuracy of a guess among the heads not said yet.

    It is the mean of 1 / (symbols - i) over the questions i.
    """
    return float(np.mean(1 / (self.symbols - np.arange(self.queries))))

  def _guesses(self, rng, tokens_BxL, answer_BxN):
    low, high = _SPECIAL, _SPECIAL + self.symbols
    length = tokens_BxL.shape[1]
    body_BxN = tokens_BxL[:, : self.body(length)]
    is_head_BxN = (body_BxN >= low) & (body_BxN < high)
    head_BxH = body_BxN[is_head_BxN].reshape(-1, self.heads)
    index_N = np.arange(body_BxN.shape[1])
    before_BxN = np.maximum.accumulate(np.where(is_head_BxN, index_N, 0), 1)
    nearest_BxN = np.take_along_axis(body_BxN, before_BxN, axis=1)
    modifier_BxQ = tokens_BxL[:, np.array(self.asked(length)) - 1]
    unsaid_BxU = answerers.unsaid(answer_BxN, low, high)
    other_BxO = answerers.unasked(head_BxH, answer_BxN)
    return {
      'random': answerers.remaining(rng, answer_BxN, unsaid_BxU),
      'bag': answerers.remaining(rng, answer_BxN, other_BxO),
      'recent': answerers.beside(body_BxN, nearest_BxN, modifier_BxQ),
    }

  def _one(self, key: jax.Array, length: int) -> base.Batch:
    slots = self.body(length)
    count, queries, symbols = self._clauses, self.queries, self.symbols
    place_W, head_S, modifier_S, order_C, coin_C, filler_N = draw.words(
      key, slots - count, symbols, symbols, count, count, slots
    )
    # Marker and modifier are placed as one, so each moves later clauses by one.
    unit_U = jnp.sort(draw.shuffled(place_W)[: _UNITS * count])
    unit_U += jnp.arange(_UNITS * count, dtype=jnp.int32) // _UNITS
    slot_Cx3 = unit_U.reshape(count, _UNITS)
    head_Cx2 = _SPECIAL + draw.shuffled(head_S)[: 2 * count].reshape(count, 2)
    modifier_C = _SPECIAL + symbols + draw.shuffled(modifier_S)[:count]
    near_C = draw.coins(coin_C)
    low = _SPECIAL + 2 * symbols
    body_N = draw.integers(filler_N, low, low + self.filler)
    body_N = body_N.at[slot_Cx3[:, :2]].set(head_Cx2)
    marker_C = slot_Cx3[:, 2]
    body_N = layout.written(body_N, marker_C, (OUTER + near_C, modifier_C))

    asked_Q = draw.shuffled(order_C)[:queries]
    near_Q = near_C[asked_Q]
    slot_Q = slot_Cx3[asked_Q, near_Q]
    strata_Q: dict[str, jax.Array] = {
      'gap': marker_C[asked_Q] + 1 - slot_Q,
      'distance': self.distance(length, slot_Q),
      'near': near_Q,
    }
    columns = modifier_C[asked_Q], head_Cx2[asked_Q, near_Q]
    foil_Q = head_Cx2[asked_Q, 1 - near_Q]
    return self.ask(body_N, columns, [foil_Q], strata_Q)
