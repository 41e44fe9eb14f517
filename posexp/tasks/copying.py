"""Copy, Reverse, SelectiveCopy and Sort: say the tokens of a source again."""

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
BLANK = PAD  # As SelectiveCopy calls it.


class _OfSource(layout.Repetition):
  """A task that says the tokens of a source again, in some order.

  A subclass has the fields `symbols` and `eos`.

  Strata: `distance` from the answer back to its source.

  Args:
    symbols: the number of tokens to choose from.
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

  def source(self, tokens_BxL: np.ndarray) -> np.ndarray:
    """Return the tokens before SEP, B x n."""
    length = tokens_BxL.shape[1]
    count = self.answers(length)
    sep = length - self.eos - count - 1
    return tokens_BxL[:, sep - count : sep]


@dataclasses.dataclass(frozen=True)
class _Repeat(_OfSource):
  """All that Copy and Reverse have in common: all but the order.

  Answerers: 'bag' says any source token that is still due, 'recent' always the
  last one of the source.

  Args:
    distinct: whether the tokens of a source differ; otherwise each is drawn
      independently of the others.
  """

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

  def _guesses(self, rng, tokens_BxL, answer_BxN):
    if self.distinct:
      unsaid_BxU = answerers.unsaid(answer_BxN, SPECIAL, self.vocabulary)
      random_BxN = answerers.remaining(rng, answer_BxN, unsaid_BxU)
    else:
      random_BxN = rng.integers(SPECIAL, self.vocabulary, answer_BxN.shape)
    source_BxN = self.source(tokens_BxL)
    return {
      'random': random_BxN,
      'bag': answerers.remaining(rng, answer_BxN),
      'recent': np.broadcast_to(source_BxN[:, -1:], answer_BxN.shape),
    }

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

    [PAD] x_1 ... x_n SEP x_1 ... x_n [EOS]

  Ids are 0 PAD, 1 SEP, 2 EOS, then `symbols` source tokens. A PAD leads where
  the length would otherwise not come out, so n = (length - 1 - eos) // 2. Each
  answer is the same offset away, n + 1 back: a test of the precision of
  relative position.

  Foils (C = 2): the source tokens before and after the right one.
  Strata: `ambiguity`, how many other source places have the same token before
  them, so that induction (find the last answer in the source, say what
  follows) would do as well with any of them.

  >>> print(Copy(symbols=3, distinct=False).example(length=10, seed=1))
  4 5 4 3 1 4 5 4 3 2
  5: 4, foils [5], ambiguity 0, distance 5, index 0
  6: 5, foils [4, 4], ambiguity 1, distance 5, index 1
  7: 4, foils [5, 3], ambiguity 0, distance 5, index 2
  8: 3, foils [4], ambiguity 1, distance 5, index 3
  """

  capability: ClassVar[str] = 'CR'

  def _answer(self, source_N):
    distance_N = np.full(source_N.shape, source_N.shape[0] + 1, np.int32)
    return source_N, distance_N


@dataclasses.dataclass(frozen=True)
class Reverse(_Repeat):
  """Repeat a source of n tokens in reverse order.

    [PAD] x_1 ... x_n SEP x_n ... x_1 [EOS]

  Ids and n are those of Copy. The offset back to the source grows with every
  answer, 2, 4, ..., 2n, so that no single relative offset solves it.

  Foils (C = 2): the source token that was due one answer ago, and the one due
  next.
  Strata: `ambiguity`, how many other source places have the same token after
  them, which is the cue here.

  >>> print(Reverse(symbols=3, distinct=False).example(length=10, seed=1))
  4 5 4 3 1 3 4 5 4 2
  5: 3, foils [4], ambiguity 0, distance 2, index 0
  6: 4, foils [3, 5], ambiguity 0, distance 4, index 1
  7: 5, foils [4, 4], ambiguity 0, distance 6, index 2
  8: 4, foils [5], ambiguity 0, distance 8, index 3
  """

  capability: ClassVar[str] = 'AR'

  def _answer(self, source_N):
    distance_N = 2 * np.arange(1, source_N.shape[0] + 1, dtype=np.int32)
    return source_N[::-1], distance_N


@dataclasses.dataclass(frozen=True)
class SelectiveCopy(_OfSource):
  """Repeat the data tokens among blanks, in order.

    body of N = length - 1 - count - eos tokens, SEP, x_1 ... x_count [EOS]

  The body holds `count` data tokens and is otherwise blank. Ids are 0 BLANK,
  1 SEP, 2 EOS, then `symbols` data tokens. The number of data tokens does not
  change with the length, so that a longer sequence is a sparser one.

  Answerers: 'bag' says any data token that is still due; 'recent' always the
  last one.
  Foils (C = 2): the data tokens before and after the right one.

  Args:
    count: how many data tokens the body holds, whatever the length.

  >>> print(SelectiveCopy(symbols=4, count=3).example(length=13))
  0 5 0 3 0 0 0 6 1 5 3 6 2
  9: 5, foils [3], distance 8, index 0
  10: 3, foils [5, 6], distance 7, index 1
  11: 6, foils [3], distance 4, index 2
  """

  capability: ClassVar[str] = 'CK'
  defended: ClassVar[frozenset[str]] = frozenset({'recent'})

  symbols: int = component.field(
    16, at_least=2, remedy='with one symbol every answer is right'
  )
  count: int = component.field(
    8, at_least=1, remedy='there must be a token to copy'
  )
  eos: bool = True

  def check(self, length: int) -> None:
    closing = ' and EOS' if self.eos else ''
    component.at_least(
      'length',
      length,
      1 + 2 * self.count + self.eos,
      f'{self.count} data tokens, SEP, their answer{closing} must fit; use '
      'longer sequences or a smaller count',
    )

  def answers(self, length: int) -> int:
    return self.count

  def chance(self, length: int) -> float:
    """Return the chance of one of the symbols, all equally likely."""
    return 1 / self.symbols

  def _one(self, key: jax.Array, length: int) -> base.Batch:
    body = length - 1 - self.count - self.eos
    place_N, data_C = draw.words(key, body, self.count)
    at_C = layout.scattered(place_N, self.count, 1)
    data_C = draw.integers(data_C, SPECIAL, self.vocabulary)
    body_N = layout.written(layout.filled(BLANK, body), at_C, [data_C])
    answer_C = body + 1 + jnp.arange(self.count, dtype=jnp.int32)
    lead = body_N, layout.filled(SEP)
    return self.repeat(lead, data_C, {'distance': answer_C - at_C})

  def _guesses(self, rng, tokens_BxL, answer_BxN):
    return {
      'random': rng.integers(SPECIAL, self.vocabulary, answer_BxN.shape),
      'bag': answerers.remaining(rng, answer_BxN),
      'recent': np.broadcast_to(answer_BxN[:, -1:], answer_BxN.shape),
    }


@dataclasses.dataclass(frozen=True)
class Sort(_OfSource):
  """Repeat n distinct values in ascending order.

    [PAD] x_1 ... x_n SEP sorted(x) [EOS]

  Ids are 0 PAD, 1 SEP, 2 EOS, then `symbols` values in ascending order; n is
  that of Copy. A control: where the values stand does not matter, only which
  there are, so that what is lost beyond the trained length is lost to something
  other than position.

  Answerers: 'bag' is always right, as nothing here asks for position; 'random'
  says the successor of the last answer; 'recent' always the last value of
  the source.
  Foils (C = 2): the values before and after the right one in sorted order.

  >>> print(Sort(symbols=7).example(length=8, seed=1))
  7 6 4 1 4 6 7 2
  4: 4, foils [6], distance 2, index 0
  5: 6, foils [4, 7], distance 4, index 1
  6: 7, foils [6], distance 6, index 2
  """

  capability: ClassVar[str] = 'CO'

  symbols: int = component.field(
    512, at_least=2, remedy='with one value every order is right'
  )
  eos: bool = True

  def check(self, length: int) -> None:
    count = self.answers(length)
    if count >= self.symbols:
      raise component.UserError(
        f'symbols must be at least {count + 1} at length {length}, got '
        f'{self.symbols}: the values of a source are distinct, and with all '
        f'of them nothing is left to read; use symbols={count + 1} or more'
      )

  def chance(self, length: int) -> float:
    """Return n / symbols, by saying the successor of the last answer.

    All n + 1 gaps between the sorted values and to both ends have the same
    distribution, and n / symbols is how often one is the shortest there is.
    """
    self.check(length)
    return self.answers(length) / self.symbols

  def _guesses(self, rng, tokens_BxL, answer_BxN):
    first_Bx1 = np.full_like(answer_BxN[:, :1], SPECIAL)
    source_BxN = self.source(tokens_BxL)
    return {
      'random': np.append(first_Bx1, answer_BxN[:, :-1] + 1, axis=1),
      'bag': np.sort(source_BxN, axis=1),
      'recent': np.broadcast_to(source_BxN[:, -1:], answer_BxN.shape),
    }

  def _one(self, key: jax.Array, length: int) -> base.Batch:
    count = self.answers(length)
    (word_S,) = draw.words(key, self.symbols)
    source_N = SPECIAL + draw.shuffled(word_S)[:count]
    index_N = jnp.arange(count, dtype=jnp.int32)
    answer_N, from_N = jax.lax.sort((source_N, index_N), num_keys=1)
    strata = {'distance': count + 1 + index_N - from_N}
    return self.repeat(self.lead(length, source_N), answer_N, strata)
