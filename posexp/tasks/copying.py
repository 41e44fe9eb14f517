"""Copy and Reverse: repeat a source, at a fixed offset or a changing one."""

import abc
import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.tasks import answerers, base, draw, layout

PAD, SEP, EOS = range(3)
SPECIAL = 3


class OfSource(layout.Repetition):
  """A task that says the n tokens of a source again, in some order.

  A subclass has the fields `symbols` and `eos`.
  """

  symbols: int

  @property
  def vocabulary(self) -> int:
    return SPECIAL + self.symbols

  def answers(self, length: int) -> int:
    """Return n, where PAD is one at most and SEP one.

    >>> Copy().answers(64), Copy(eos=False).answers(64)
    (31, 31)
    """
    closing = ' and EOS' if self.eos else ''
    component.at_least(
      'length',
      length,
      3 + self.eos,
      f'a source token, SEP, its answer{closing} must fit',
    )
    return (length - 1 - self.eos) // 2

  def lead(self, length: int, source_N: jax.Array) -> tuple[jax.Array, ...]:
    """Return what stands before the answer."""
    pad = length - self.eos - 1 - 2 * source_N.shape[0]
    return layout.filled(PAD, pad), source_N, layout.filled(SEP)


@dataclasses.dataclass(frozen=True)
class _Repeat(OfSource):
  """All that Copy and Reverse have in common: all but the order."""

  defended: ClassVar[frozenset[str]] = frozenset({'recent'})

  symbols: int = component.field(
    64, at_least=2, remedy='with one symbol every answer is right'
  )
  distinct: bool = True
  eos: bool = True

  def check(self, length: int) -> None:
    count = self.answers(length)
    if self.distinct and count > self.symbols:
      raise component.UserError(
        f'symbols must be at least {count} at length {length}, got '
        f'{self.symbols}: the tokens of a source are distinct; use '
        f'symbols={count} or more, or distinct=False'
      )

  def chance(self, length: int) -> float:
    """Return the accuracy of a guess among the tokens that may still come.

    Independent tokens: 1 / symbols. Distinct tokens: those already said are
    out, so the mean of 1 / (symbols - i) over the places i.
    """
    self.check(length)
    if not self.distinct:
      return 1 / self.symbols
    left_N = self.symbols - np.arange(self.answers(length))
    return float(np.mean(1 / left_N))

  def guesses(self, rng, tokens_BxL, asked_BxL):
    count = int(asked_BxL[0].sum())
    answer_BxN = tokens_BxL[asked_BxL].reshape(-1, count)
    if self.distinct:
      unsaid_BxU = answerers.unsaid(answer_BxN, SPECIAL, self.vocabulary)
      every_BxS = np.concatenate((answer_BxN, unsaid_BxU), axis=1)
      random_BxN = answerers.remaining(rng, every_BxS, count)
    else:
      random_BxN = rng.integers(SPECIAL, self.vocabulary, answer_BxN.shape)
    sep = int(np.argmax(asked_BxL[0])) - 1
    guesses = {
      'random': random_BxN,
      'bag': answerers.remaining(rng, answer_BxN, count),
      'recent': np.repeat(tokens_BxL[:, [sep - 1]], count, axis=1),
    }
    return answerers.placed(asked_BxL, guesses)

  def _one(self, key: jax.Array, length: int) -> base.Batch:
    source_N = self._source(key, self.answers(length))
    # Neighbours in the source are neighbours in the answer, so that foils and
    # ambiguity are read off the answer, in either direction.
    answer_N, distance_N = self._answer(source_N)
    strata = {
      'distance': jnp.asarray(distance_N),
      'ambiguity': self._ambiguity(answer_N),
    }
    return self.repeat(self.lead(length, source_N), answer_N, strata)

  def _source(self, key: jax.Array, count: int) -> jax.Array:
    if self.distinct:
      (word_S,) = draw.words(key, self.symbols)
      return SPECIAL + draw.shuffled(word_S)[:count]
    (word_N,) = draw.words(key, count)
    return draw.integers(word_N, SPECIAL, self.vocabulary)

  @abc.abstractmethod
  def _answer(self, source_N: jax.Array) -> tuple[jax.Array, np.ndarray]:
    """Return the answer, and how far back the source of each token is."""

  def _ambiguity(self, answer_N: jax.Array) -> jax.Array:
    """Return how often else the token answered last was a cue."""
    if self.distinct:
      return jnp.zeros_like(answer_N)
    cue_N = answer_N[:-1]  # of the places from the second on
    count_V = jnp.zeros(self.vocabulary, jnp.int32).at[cue_N].add(1)
    return jnp.pad(count_V[cue_N] - 1, (1, 0))


@dataclasses.dataclass(frozen=True)
class Copy(_Repeat):
  """Repeat a source of n tokens.

  ```
  [PAD] x_1 ... x_n SEP x_1 ... x_n [EOS]
  ```

  Ids are 0 PAD, 1 SEP, 2 EOS, then `symbols` source tokens. A PAD leads where
  the length would otherwise not come out, so n = (length - 1 - eos) // 2. Each
  answer is the same offset away, n + 1 back: a test of the precision of
  relative position.

  Answerers: 'bag' says any source token that is still due, 'recent' always the
  last one of the source.

  Foils (C = 2): the source tokens before and after the right one.

  Strata: `index`, the place in the answer from 0, EOS included; `distance`
  from the answer back to its source; `ambiguity`, how many other source
  places have the same token before them, so that induction (find the last
  answer in the source, say what follows) would do as well with any of them.

  Args:
    symbols: the number of source tokens to choose from.
    distinct: whether the tokens of a source differ; otherwise each is drawn
      independently of the others.
    eos: whether an EOS closes the answer; it is scored apart.

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
  """Repeat a source of n tokens in reverse order.

  ```
  [PAD] x_1 ... x_n SEP x_n ... x_1 [EOS]
  ```

  Ids, n and answerers are those of Copy. The offset back to the source grows
  with every answer, 2, 4, ..., 2n, so that no single relative offset solves it.

  Foils (C = 2): the source token that was due one answer ago, and the one due
  next.

  Strata: those of Copy, but `ambiguity` is how many other source places have
  the same token after them, which is the cue here.

  Args:
    symbols: the number of source tokens to choose from.
    distinct: whether the tokens of a source differ.
    eos: whether an EOS closes the answer; it is scored apart.

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
