"""Dyck: close the brackets that a text has left open."""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.tasks import answerers, base, draw, layout

PAD, SEP = range(2)
_SPECIAL = 2


@dataclasses.dataclass(frozen=True)
class Dyck(layout.Repetition):
  """Close the brackets that a text of nested brackets has left open.

    [PAD] body of N slots, SEP, closing bracket * unclosed

  The body is B_0 ( B_1 ( ... ( B_u, where each B_i is a balanced text, often
  an empty one, and the u = `unclosed` brackets between them are never closed
  in the body. The answers close them, the innermost first. Ids are 0 PAD, 1
  SEP, then `kinds` opening and `kinds` closing brackets. A PAD leads where N
  would otherwise be odd by one bracket.

  Distances grow with the length while the depth does not: no more than `depth`
  brackets are ever open at once.

  Answerers: 'bag' counts which kinds are still open and says any of those;
  'recent' says the kind of the opening bracket that stands last in the body,
  closed or not, then that of the one before it, and so on.
  Foils (C = 2): the brackets due one answer ago and next, which stand above
  and below the right one on the stack.
  Strata: `depth`, how many brackets are open before it; `distance` from the
  answer back to its opening bracket, the longer the lower the depth.

  Args:
    kinds: the kinds of brackets.
    depth: how many brackets may be open at once.
    unclosed: how many brackets the body leaves open, less than `depth`.

  >>> print(Dyck(kinds=2, unclosed=2).example(length=17, seed=2))
  3 2 4 5 2 3 5 3 5 3 3 2 4 5 1 5 4
  15: 5, foils [4], depth 2, distance 6, index 0
  16: 4, foils [5], depth 1, distance 12, index 1
  """

  capability: ClassVar[str] = 'CS'
  defended: ClassVar[frozenset[str]] = frozenset({'recent'})

  kinds: int = component.field(
    4, at_least=2, remedy='with one kind every answer is the same'
  )
  depth: int = component.field(
    8,
    above='unclosed',
    remedy='other brackets must fit into the innermost that stays open; raise '
    'depth or lower unclosed',
  )
  unclosed: int = component.field(
    4, at_least=1, remedy='leave a bracket to close'
  )

  @property
  def vocabulary(self) -> int:
    return _SPECIAL + 2 * self.kinds

  def check(self, length: int) -> None:
    component.at_least(
      'length',
      length,
      2 * self.unclosed + 3,
      f'{self.unclosed} unclosed brackets, SEP, their answers and one pair of '
      'brackets must fit',
    )

  def answers(self, length: int) -> int:
    return self.unclosed

  def chance(self, length: int) -> float:
    """Return the accuracy of a guess among the kinds."""
    return 1 / self.kinds

  def _one(self, key: jax.Array, length: int) -> base.Batch:
    unclosed = self.unclosed
    text = _write(self, key, pairs=(length - 1 - 2 * unclosed) // 2)
    slots = text.body_N.shape[0]
    pad = layout.filled(PAD, length - unclosed - 1 - slots)
    index_U = jnp.arange(unclosed, dtype=jnp.int32)
    strata = {
      'depth': unclosed - index_U,
      'distance': slots + 1 + index_U - text.slot_U[::-1],
    }
    answer_U = _SPECIAL + self.kinds + text.kind_U[::-1]
    return self.repeat((pad, text.body_N, layout.filled(SEP)), answer_U, strata)

  def _guesses(self, rng, tokens_BxL, answer_BxN):
    body_BxN = tokens_BxL[:, : tokens_BxL.shape[1] - self.unclosed - 1]
    opens_BxN = (body_BxN >= _SPECIAL) & (body_BxN < _SPECIAL + self.kinds)
    # The places of the opening brackets, the last of them first.
    last_BxN = np.argsort(~opens_BxN[:, ::-1], axis=1, kind='stable')
    last_BxU = body_BxN.shape[1] - 1 - last_BxN[:, : self.unclosed]
    return {
      'random': rng.integers(
        self.vocabulary - self.kinds, self.vocabulary, answer_BxN.shape
      ),
      'bag': answerers.remaining(rng, answer_BxN),
      'recent': np.take_along_axis(body_BxN, last_BxU, axis=1) + self.kinds,
    }


class _Text(NamedTuple):
  body_N: jax.Array
  slot_U: jax.Array  # where the brackets left open stand, outermost first
  kind_U: jax.Array


def _write(task: Dyck, key: jax.Array, pairs: int) -> _Text:
  """Write the body: P pairs are 2P slots, E of them, beside U left open."""
  unclosed = task.unclosed
  split_W, walk_E, pair_P, open_U = draw.words(
    key, pairs + unclosed, 2 * pairs, pairs, unclosed
  )
  # Pairs and open brackets in a row: which places are those of the latter?
  place_U = jnp.sort(draw.shuffled(split_W)[:unclosed])
  index_U = jnp.arange(unclosed, dtype=jnp.int32)
  slot_U, before_U = 2 * place_U - index_U, place_U - index_U
  # How many open brackets stand before each pair: the text that it is in.
  mark_P = jnp.zeros(pairs + 1, jnp.int32).at[before_U].add(1)[:-1]
  text_E = jnp.repeat(jnp.cumsum(mark_P), 2, total_repeat_length=2 * pairs)
  opens_E, level_E = _walk(walk_E, text_E, task.depth)
  # At one level of a text, brackets open and close in turns, so that in order
  # of text, level and place each pair is two neighbours.
  rank_E = jnp.arange(2 * pairs, dtype=jnp.int32)
  group_E = text_E * task.depth + level_E
  _, order_E = jax.lax.sort((group_E, rank_E), num_keys=1, is_stable=True)
  kind_P = draw.integers(pair_P, 0, task.kinds)
  kind_E = jnp.zeros_like(rank_E).at[order_E].set(kind_P[rank_E // 2])
  token_E = _SPECIAL + kind_E + jnp.where(opens_E, 0, task.kinds)
  kind_U = draw.integers(open_U, 0, task.kinds)
  body_N = jnp.zeros(2 * pairs + unclosed, jnp.int32)
  body_N = body_N.at[rank_E + text_E].set(token_E)
  body_N = body_N.at[slot_U].set(_SPECIAL + kind_U)
  return _Text(body_N, slot_U, kind_U)


def _walk(
  word_E: jax.Array, text_E: jax.Array, depth: int
) -> tuple[jax.Array, jax.Array]:
  """Return which slots open a bracket, and at which level, 0 the outermost.

  Each text is a walk of as many steps up as down, in random order, folded at
  0 and at the depth that its open brackets leave it. All of them are one
  walk, which is at 0 wherever a text ends.
  """
  rank_E = jnp.arange(word_E.shape[0], dtype=jnp.int32)
  # Texts have even lengths: in random order within each, up and down in turns.
  _, _, order_E = jax.lax.sort((text_E, word_E, rank_E), num_keys=2)
  step_E = jnp.zeros_like(rank_E).at[order_E].set(1 - 2 * (rank_E % 2))
  room_E = depth - text_E
  far_E = jnp.abs(jnp.cumsum(step_E)) % (2 * room_E)
  height_E = room_E - jnp.abs(far_E - room_E)
  before_E = jnp.pad(height_E[:-1], (1, 0))
  return height_E > before_E, jnp.minimum(height_E, before_E)
