"""Which slots of a body hold the two events of each question."""

import jax
import jax.numpy as jnp

from posexp.tasks import draw

# Slots of the body per question, so that there is room to draw freely. From
# here on gap and later slot correlate by -.05 at most, and ever less as the
# length grows; with half of this room, by +.4.
ROOM = 4

# Candidates per question. At ROOM slots per question about one question in a
# hundred runs out of them, at twice the room one in 100,000.
_CANDIDATES = 16

# Random words per question: a gap and a later slot for each candidate, where
# to look for free slots, and the place in the shuffled order.
WORDS = 2 * _CANDIDATES + 2


def reach(slots: int) -> int:
  """Return the largest gap: later slots have room for every gap up to it."""
  return slots // 2


def draw_pairs(
  word_QxW: jax.Array, *, slots: int
) -> tuple[jax.Array, jax.Array]:
  """Draw the earlier and the later slot of each pair, all of them distinct.

  The gap is uniform in 1, ..., reach and the later slot, independently of
  it, uniform in reach, ..., slots - 1. Pairs are placed one by one, each at
  the first of its candidates whose two slots are free, and then shuffled, so
  that the number of a question says nothing about when it was placed.

  Args:
    word_QxW: WORDS random words for each pair.
    slots: how many slots there are, two per pair or more.
  """
  gap_QxC, later_QxC, rest_Qx2 = jnp.split(
    word_QxW, (_CANDIDATES, 2 * _CANDIDATES), axis=1
  )
  gap_QxC = draw.integers(gap_QxC, 1, reach(slots) + 1)
  later_QxC = draw.integers(later_QxC, reach(slots), slots)
  start_Q = draw.integers(rest_Qx2[:, 0], 0, slots)
  earlier_Q, later_Q = _place(later_QxC - gap_QxC, later_QxC, start_Q, slots)
  order_Q = draw.shuffled(rest_Qx2[:, 1])
  return earlier_Q[order_Q], later_Q[order_Q]


def _place(
  earlier_QxC: jax.Array, later_QxC: jax.Array, start_Q: jax.Array, slots: int
) -> tuple[jax.Array, jax.Array]:
  """Take the first free candidate of each pair, or two slots that are free."""
  span = 2 * start_Q.shape[0]

  def step(
    free_N: jax.Array, candidates: tuple[jax.Array, jax.Array, jax.Array]
  ) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    earlier_C, later_C, start = candidates
    fits_C = free_N[earlier_C] & free_N[later_C]
    pick = jnp.argmax(fits_C)
    low, high = _two_free(free_N, start, span)
    earlier = jnp.where(fits_C[pick], earlier_C[pick], low)
    later = jnp.where(fits_C[pick], later_C[pick], high)
    free_N = free_N.at[earlier].set(False).at[later].set(False)
    return free_N, (earlier, later)

  draws = (earlier_QxC, later_QxC, start_Q)
  _, (earlier_Q, later_Q) = jax.lax.scan(step, jnp.ones(slots, bool), draws)
  return earlier_Q, later_Q


def _two_free(
  free_N: jax.Array, start: jax.Array, span: int
) -> tuple[jax.Array, jax.Array]:
  """Return the first two free slots from `start` on, around the end if need be.

  With at most span - 2 slots taken, `span` slots in a row have two.
  """
  slot_W = (start + jnp.arange(span, dtype=jnp.int32)) % free_N.shape[0]
  rank_W = jnp.cumsum(free_N[slot_W], dtype=jnp.int32)
  first = slot_W[jnp.argmax(rank_W == 1)]
  second = slot_W[jnp.argmax(rank_W == 2)]
  return jnp.minimum(first, second), jnp.maximum(first, second)
