"""Copy and Reverse: repeat a source, at a fixed offset or a changing one."""

import abc
import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.tasks import answerers, base, draw, fields, layout

PAD, SEP, EOS = range(3)
_SPECIAL = 3


@dataclasses.dataclass(frozen=True)
class _Repeat(draw.PerExample):
  """What the two have in common: all but the order of the answer."""

  defended: ClassVar[frozenset[str]] = frozenset({'recent'})

  symbols: int = 64
  distinct: bool = True
  eos: bool = True

  def __post_init__(self) -> None:
    fields.at_least(
      'symbols', self.symbols, 2, 'with one symbol every answer is right'
    )
    fields.is_bool('distinct', self.distinct)
    fields.is_bool('eos', self.eos)

  @property
  def vocabulary(self) -> int:
    return _SPECIAL + self.symbols

  def check(self, length: int) -> None:
    _check_length(self, length)

  def asked(self, length: int) -> Sequence[int]:
    return range(length - source_length(length, self.eos) - self.eos, length)

  def chance(self, length: int) -> float:
    """A guess among the tokens that may still come; EOS is not counted.

    Independent tokens: 1 / symbols. Distinct tokens: those already said are
    out, so the mean of 1 / (symbols - i) over the places i.
    """
    self.check(length)
    if not self.distinct:
      return 1 / self.symbols
    left_N = self.symbols - np.arange(source_length(length, self.eos))
    return float(np.mean(1 / left_N))

  def guesses(
    self,
    rng: np.random.Generator,
    tokens_BxL: np.ndarray,
    asked_BxL: np.ndarray,
  ) -> dict[str, np.ndarray]:
    count = int(asked_BxL[0].sum())
    answer_BxN = tokens_BxL[asked_BxL].reshape(-1, count)
    if self.distinct:
      unsaid_BxU = answerers.unsaid(answer_BxN, _SPECIAL, self.vocabulary)
      every_BxS = np.concatenate((answer_BxN, unsaid_BxU), axis=1)
      random_BxN = answerers.remaining(rng, every_BxS, count)
    else:
      random_BxN = rng.integers(_SPECIAL, self.vocabulary, answer_BxN.shape)
    sep = int(np.argmax(asked_BxL[0])) - 1
    said = {
      'random': random_BxN,
      'bag': answerers.remaining(rng, answer_BxN, count),
      'recent': np.repeat(tokens_BxL[:, [sep - 1]], count, axis=1),
    }
    return answerers.placed(asked_BxL, said)

  def _one(self, key: jax.Array, length: int) -> base.Batch:
    source_N = _source(self, key, source_length(length, self.eos))
    return _compose(self, length, source_N, *self._answer(source_N))

  @abc.abstractmethod
  def _answer(self, source_N: jax.Array) -> tuple[jax.Array, np.ndarray]:
    """The answer to a source, and how far back each token's source is."""


@dataclasses.dataclass(frozen=True)
class Copy(_Repeat):
  """Say a source of n tokens again.

  ```
  [PAD] x_1 ... x_n SEP x_1 ... x_n [EOS]
  ```

  Ids are 0 PAD, 1 SEP, 2 EOS, then `symbols` source tokens. A PAD leads where
  the length would otherwise not come out, so n = (length - 1 - eos) // 2.

  Each answer is the same offset away, n + 1 back, which makes this a test of
  the precision of relative position. With distinct tokens it can be solved
  without any offset, by finding the last answer in the source and taking
  what follows (induction). With repeats that rule is ambiguous, and
  `ambiguity` says where.

  Foils (C = 2): the source token one place behind the right one and the one
  ahead of it, -1 where there is none or where it is the same token. The EOS
  has none.

  Strata: `index`, the place in the answer from 0, EOS included; `distance`
  from the answer back to its source; `ambiguity`, how many other source
  places have the same token before them, so that induction would do as well
  with any of them; 0 for the first place, which has SEP before its answer
  and is not found by induction. The EOS has neither distance nor ambiguity.

  Answerers: 'bag' says any source token that is still due, 'recent' always the
  last one of the source.

  Args:
    symbols: the number of source tokens to choose from.
    distinct: whether the tokens of a source differ; otherwise each is drawn
      independently of the others.
    eos: whether the answer closes with an EOS, which is scored apart, because
      where to stop is a question of counting.

  Raises:
    UserError: for a field out of range, and from `check` and `sample` for a
      length too short, or too long for distinct tokens.

  >>> import jax
  >>> task = Copy(symbols=3, distinct=False)
  >>> batch = task.sample(jax.random.key(1), length=12, batch=1)
  >>> batch.tokens_BxL[0].tolist()
  [4, 5, 4, 3, 3, 1, 4, 5, 4, 3, 3, 2]
  >>> batch.foils_BxLxC[0, -6:].tolist()
  [[-1, 5], [4, 4], [5, 3], [4, -1], [-1, -1], [-1, -1]]
  >>> batch.strata['distance'][0, -6:].tolist()
  [6, 6, 6, 6, 6, -1]
  >>> batch.strata['ambiguity'][0, -6:].tolist()
  [0, 1, 0, 1, 0, -1]
  """

  capability: ClassVar[str] = 'CR'

  def _answer(self, source_N):
    distance_N = np.full(source_N.shape, source_N.shape[0] + 1, np.int32)
    return source_N, distance_N


@dataclasses.dataclass(frozen=True)
class Reverse(_Repeat):
  """Say a source of n tokens backwards.

  ```
  [PAD] x_1 ... x_n SEP x_n ... x_1 [EOS]
  ```

  Ids, n, fields and errors are those of Copy. The offset back to the source
  grows with every answer, 2, 4, ..., 2n, so that no single relative offset
  solves it, and at twice the length half of the offsets are new: read
  accuracy by `distance`.

  Foils (C = 2): the source token that was due one answer ago and the one due
  next, -1 where there is none or where it is the same token. The EOS has
  none.

  Strata: `index`, the place in the answer from 0, EOS included; `distance`
  from the answer back to its source; `ambiguity`, how many other source
  places have the same token after them: the last answer's token is found in
  the source and what *precedes* it is wanted, so the successor is the cue
  here that the predecessor is in Copy; 0 for the first place. The EOS has
  neither distance nor ambiguity.

  Answerers: 'bag' says any source token that is still due, 'recent' always the
  last one of the source.

  Args:
    symbols: the number of source tokens to choose from.
    distinct: whether the tokens of a source differ; otherwise each is drawn
      independently of the others.
    eos: whether the answer closes with an EOS, which is scored apart.

  Raises:
    UserError: for a field out of range, and from `check` and `sample` for a
      length too short, or too long for distinct tokens.

  >>> import jax
  >>> task = Reverse(symbols=3, distinct=False)
  >>> batch = task.sample(jax.random.key(1), length=12, batch=1)
  >>> batch.tokens_BxL[0].tolist()
  [4, 5, 4, 3, 3, 1, 3, 3, 4, 5, 4, 2]
  >>> batch.foils_BxLxC[0, -6:].tolist()
  [[-1, -1], [-1, 4], [3, 5], [4, 4], [5, -1], [-1, -1]]
  >>> batch.strata['distance'][0, -6:].tolist()
  [2, 4, 6, 8, 10, -1]
  >>> batch.strata['ambiguity'][0, -6:].tolist()
  [0, 1, 1, 0, 0, -1]
  """

  capability: ClassVar[str] = 'AR'

  def _answer(self, source_N):
    distance_N = 2 * np.arange(1, source_N.shape[0] + 1, dtype=np.int32)
    return source_N[::-1], distance_N


def _source(task: _Repeat, key: jax.Array, count: int) -> jax.Array:
  if task.distinct:
    (word_S,) = draw.words(key, task.symbols)
    return _SPECIAL + draw.shuffled(word_S)[:count]
  (word_N,) = draw.words(key, count)
  return draw.integers(word_N, _SPECIAL, task.vocabulary)


def _compose(
  task: _Repeat,
  length: int,
  source_N: jax.Array,
  answer_N: jax.Array,
  distance_N: np.ndarray,
) -> base.Batch:
  """One sequence with its targets, foils and strata (no batch axis yet).

  Neighbours in the source are neighbours in the answer, so foils and
  ambiguity are read off the answer, in either direction.
  """
  count = answer_N.shape[0]
  pad = jnp.full(length - task.eos - 1 - 2 * count, PAD, jnp.int32)
  return layout.repetition(
    jnp.concatenate((pad, source_N, jnp.full(1, SEP, jnp.int32))),
    answer_N,
    EOS if task.eos else None,
    {'distance': distance_N, 'ambiguity': _ambiguity(task, answer_N)},
  )


def _ambiguity(task: _Repeat, answer_N: jax.Array) -> jax.Array:
  """How often else the token answered last was a cue, by counting tokens."""
  if task.distinct:
    return jnp.zeros_like(answer_N)
  cue_N = answer_N[:-1]  # of the places from the second on
  count_V = jnp.zeros(task.vocabulary, jnp.int32).at[cue_N].add(1)
  return jnp.pad(count_V[cue_N] - 1, (1, 0))


def source_length(length: int, eos: bool) -> int:
  """How many tokens are said again: PAD is one at most, SEP one.

  >>> source_length(64, eos=True), source_length(64, eos=False)
  (31, 31)
  """
  shortest = 3 + eos
  if length < shortest:
    raise component.UserError(
      f'length must be at least {shortest}, got {length}: a source token, '
      f'SEP, its answer{" and EOS" if eos else ""} must fit'
    )
  return (length - 1 - eos) // 2


def _check_length(task: _Repeat, length: int) -> None:
  needed = source_length(length, task.eos)
  if task.distinct and needed > task.symbols:
    raise component.UserError(
      f'symbols must be at least {needed} at length {length}, got '
      f'{task.symbols}: the tokens of a source are distinct; use '
      f'symbols={needed} or more, or distinct=False'
    )
