"""Dyck: close the brackets that a text has left open."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.tasks import answerers, base, draw, fields, layout

PAD, SEP = range(2)
_SPECIAL = 2


@dataclasses.dataclass(frozen=True)
class Dyck(draw.PerExample):
  """Close the brackets that a text of nested brackets has left open.

  ```
  [PAD] body of N slots, SEP, closing bracket * unclosed
  ```

  The body is B_0 ( B_1 ( ... ( B_u, where each B_i is a balanced text, often
  an empty one, and the u = `unclosed` brackets between them are never closed
  in the body. The answers close them, the innermost first. Ids are 0 PAD, 1
  SEP, then `kinds` opening and `kinds` closing brackets. A PAD leads where N
  would otherwise be odd by one bracket.

  Every closing bracket of the body could be asked for too, but half of them
  close the token just before, at any length. The brackets left open lie
  anywhere, so that the distances grow with the length while the depth does
  not: no more than `depth` brackets are ever open at once.

  What is balanced, and why:

  * Where the u brackets stand is uniform over all ways to split the pairs of
    the body into u + 1 balanced texts.
  * The kind of each pair, and of each bracket left open, is uniform and
    independent of all others, so that no answer tells of another.
  * A balanced text is a random walk that comes back to its start, folded
    between 0 and the depth that is left; it is not uniform over all texts.

  Foils (C = 2): the bracket that was due one answer ago, which stands above
  the right one on the stack, and the one due next, which stands below, -1
  where there is none or where it is of the same kind.

  Strata: `index`, the place in the answer from 0; `depth`, how many brackets
  are open before it; `distance` from the answer back to its opening bracket,
  the longer the lower the depth.

  Answerers: 'bag' counts which kinds are still open and says any of those;
  'recent' says the kind of the opening bracket that stands last in the body,
  closed or not, then that of the one before it, and so on.

  Args:
    kinds: the kinds of brackets.
    depth: how many brackets may be open at once.
    unclosed: how many brackets the body leaves open, less than `depth`.

  Raises:
    UserError: for a field out of range, and from `check` and `sample` for a
      length too short.

  >>> import jax
  >>> task = Dyck(kinds=2, unclosed=2)
  >>> sample = jax.jit(task.sample, static_argnames=('length', 'batch'))
  >>> batch = sample(jax.random.key(2), length=17, batch=1)
  >>> ''.join('_:([)]'[t] for t in batch.tokens_BxL[0].tolist())
  '[()]([][][[()]:])'
  >>> batch.foils_BxLxC[0, -2:].tolist()
  [[-1, 4], [5, -1]]
  >>> {k: v[0, -2:].tolist() for k, v in batch.strata.items()}
  {'depth': [2, 1], 'distance': [6, 12], 'index': [0, 1]}
  """

  capability: ClassVar[str] = 'CS'
  defended: ClassVar[frozenset[str]] = frozenset({'recent'})

  kinds: int = 4
  depth: int = 8
  unclosed: int = 4

  def __post_init__(self) -> None:
    fields.at_least(
      'kinds', self.kinds, 2, 'with one kind every answer is the same'
    )
    fields.at_least('unclosed', self.unclosed, 1, 'leave a bracket to close')
    fields.at_least(
      'depth',
      self.depth,
      self.unclosed + 1,
      f'{self.unclosed} brackets stay open and others must fit into the '
      'innermost; raise depth or lower unclosed',
    )

  @property
  def vocabulary(self) -> int:
    return _SPECIAL + 2 * self.kinds

  def check(self, length: int) -> None:
    shortest = 2 * self.unclosed + 3
    if length < shortest:
      raise component.UserError(
        f'length must be at least {shortest} for {self.unclosed} unclosed '
        f'brackets, got {length}: those, SEP, their answers and one pair of '
        'brackets must fit'
      )

  def asked(self, length: int) -> Sequence[int]:
    return range(length - self.unclosed, length)

  def chance(self, length: int) -> float:
    """A guess among the kinds, which are independent."""
    del length
    return 1 / self.kinds

  def _one(self, key: jax.Array, length: int) -> base.Batch:
    pairs = (length - 1 - 2 * self.unclosed) // 2
    return _compose(self, length, _write(self, key, pairs))

  def guesses(
    self,
    rng: np.random.Generator,
    tokens_BxL: np.ndarray,
    asked_BxL: np.ndarray,
  ) -> dict[str, np.ndarray]:
    answer_BxU = tokens_BxL[asked_BxL].reshape(-1, self.unclosed)
    body_BxN = tokens_BxL[:, : tokens_BxL.shape[1] - self.unclosed - 1]
    opens_BxN = (body_BxN >= _SPECIAL) & (body_BxN < _SPECIAL + self.kinds)
    # The places of the opening brackets, the last of them first.
    last_BxN = np.argsort(~opens_BxN[:, ::-1], axis=1, kind='stable')
    last_BxU = body_BxN.shape[1] - 1 - last_BxN[:, : self.unclosed]
    said = {
      'random': rng.integers(
        self.vocabulary - self.kinds, self.vocabulary, answer_BxU.shape
      ),
      'bag': answerers.remaining(rng, answer_BxU, self.unclosed),
      'recent': np.take_along_axis(body_BxN, last_BxU, axis=1) + self.kinds,
    }
    return answerers.placed(asked_BxL, said)


class _Text(NamedTuple):
  body_N: jax.Array
  slot_U: jax.Array  # where the brackets left open stand, outermost first
  kind_U: jax.Array


def _write(task: Dyck, key: jax.Array, pairs: int) -> _Text:
  """The body. P pairs are 2P slots, E of them, apart from the U left open."""
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
  """Which slots open a bracket, and at which level, 0 the outermost.

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


def _compose(task: Dyck, length: int, text: _Text) -> base.Batch:
  """One sequence with its targets, foils and strata (no batch axis yet)."""
  unclosed, slots = task.unclosed, text.body_N.shape[0]
  pad = length - unclosed - 1 - slots
  lead = (
    *(jnp.full(pad, PAD, jnp.int32), text.body_N),
    jnp.full(1, SEP, jnp.int32),
  )
  index_U = jnp.arange(unclosed, dtype=jnp.int32)
  return layout.repetition(
    jnp.concatenate(lead),
    _SPECIAL + task.kinds + text.kind_U[::-1],
    None,
    {
      'depth': unclosed - index_U,
      'distance': slots + 1 + index_U - text.slot_U[::-1],
    },
  )
