"""Counting: how often a symbol comes, evenly often, or more often."""

import abc
import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.tasks import answerers, base, draw, layout


@dataclasses.dataclass(frozen=True)
class Tally(layout.Questions):
  """A body in which the symbols asked about come a chosen number of times.

  The rest of the body is other symbols, and all is in random order; no symbol
  is asked about twice.

  Args:
    symbols: the number of symbols to choose from.
  """

  capability: ClassVar[str] = 'K'
  less: ClassVar[str] = 'fewer queries: there must be more than one count'

  symbols: int = component.field(
    16,
    above='symbols_asked',
    remedy='the symbols that queries ask about are distinct, and the rest of '
    'the body needs another; raise symbols or lower queries',
  )
  queries: int = component.field(4, at_least=1)

  @property
  def symbols_asked(self) -> int:
    """The number of symbols that the questions name."""
    return (self.width - 1) * self.queries

  @property
  def _numbers(self) -> int:
    """The number of tokens that are answers and no symbols."""
    return 0

  @property
  def _period(self) -> int:
    """What the number of different counts is a multiple of."""
    return 1

  @property
  def vocabulary(self) -> int:
    return 1 + self._numbers + self.symbols

  @property
  def room(self) -> int:
    # At least two different counts of every symbol.
    return (max(2, self._period) - 1) * self.symbols_asked

  def _reach(self, length: int) -> int:
    """Return one more than the largest count that all may have at once."""
    reach = self.body(length) // self.symbols_asked + 1
    return reach - reach % self._period

  def guesses(self, rng, tokens_BxL, asked_BxL):
    guesses = {'random': self._blind(rng, tokens_BxL)}
    for name, count_BxV in self.counted(tokens_BxL):
      guesses[name] = self._say(count_BxV, tokens_BxL)
    return guesses

  @abc.abstractmethod
  def _blind(
    self, rng: np.random.Generator, tokens_BxL: np.ndarray
  ) -> np.ndarray:
    """Return what is said at each place without having seen the body."""

  @abc.abstractmethod
  def _say(self, count_BxV: np.ndarray, tokens_BxL: np.ndarray) -> np.ndarray:
    """Return what these counts would answer at each place."""

  def _one(self, key: jax.Array, length: int) -> base.Batch:
    body = self.body(length)
    count_K, symbol_S, order_N, rest_N = draw.words(
      key, self.symbols_asked, self.symbols, body, body
    )
    count_K = self._draw_counts(count_K, self._reach(length))
    symbol_S = 1 + self._numbers + draw.shuffled(symbol_S)
    other_N = draw.integers(rest_N, self.symbols_asked, self.symbols)
    which_N = jnp.searchsorted(
      jnp.cumsum(count_K), draw.shuffled(order_N), side='right'
    )
    body_N = jnp.where(
      which_N < self.symbols_asked, symbol_S[which_N], symbol_S[other_N]
    )
    symbol_K = symbol_S[: self.symbols_asked]
    return self.ask(body_N, *self._questions(symbol_K, count_K))

  @abc.abstractmethod
  def _draw_counts(self, word_K: jax.Array, reach: int) -> jax.Array:
    """Return how often each symbol asked about comes, below `reach`."""

  @abc.abstractmethod
  def _questions(
    self, symbol_K: jax.Array, count_K: jax.Array
  ) -> tuple[tuple[jax.Array, ...], list[jax.Array], dict[str, jax.Array]]:
    """Return the columns, foils and strata of the questions."""


@dataclasses.dataclass(frozen=True)
class _Modulo(Tally):
  """How often a symbol comes, modulo `_period`.

  Answerers: 'bag' is always right, as nothing here asks for position; 'recent'
  counts in the last half of the body.
  Strata: `count`, how often the symbol comes.
  """

  @property
  def _numbers(self) -> int:
    return self._period

  def chance(self, length: int) -> float:
    """Return the chance of one of the answers, which are equally likely."""
    self.check(length)
    return 1 / self._period

  def _blind(self, rng, tokens_BxL):
    return 1 + rng.integers(0, self._period, tokens_BxL.shape)

  def _say(self, count_BxV, tokens_BxL):
    asked_BxL = np.roll(tokens_BxL, 1, axis=1)
    return 1 + np.take_along_axis(count_BxV, asked_BxL, axis=1) % self._period

  @abc.abstractmethod
  def _foils(self, count_Q: jax.Array) -> list[jax.Array]:
    """Return the wrong answers that are near."""

  def _draw_counts(self, word_K, reach):
    return draw.integers(word_K, 0, reach)

  def _questions(self, symbol_K, count_K):
    columns = symbol_K, 1 + count_K % self._period
    return columns, self._foils(count_K), {'count': count_K}


@dataclasses.dataclass(frozen=True)
class Count(_Modulo):
  """How often does this symbol occur, modulo `modulus`?

    body of N = length - 1 - 2 * queries slots, SEP, (symbol answer) * queries

  Ids are 0 SEP, 1, ..., `modulus` for the answers 0, ..., modulus - 1, then
  `symbols` symbols. Counts grow with the length (up to 11 at 64 and 27 at 128,
  with the default fields): read accuracy by `count`, since counts above those
  of the trained length are new.

  Foils (C = 2): the answers for one less and for one more.

  Args:
    modulus: the number of answers. It should be well below the largest count at
      the trained length, or the counts are never seen to wrap around.

  >>> print(Count(symbols=4, queries=1, modulus=3).example(length=12, seed=1))
  5 7 7 7 4 7 7 7 7 0 7 2
  11: 2, foils [1, 3], count 7, query 0
  """

  modulus: int = component.field(
    4, at_least=2, remedy='with one answer nothing is asked'
  )

  @property
  def _period(self) -> int:
    return self.modulus

  def _foils(self, count_Q):
    return [1 + (count_Q + step) % self.modulus for step in (-1, 1)]


@dataclasses.dataclass(frozen=True)
class Parity(_Modulo):
  """Does this symbol occur an even or an odd number of times?

    body of N = length - 1 - 2 * queries slots, SEP, (symbol answer) * queries

  Ids are 0 SEP, 1 even, 2 odd, then `symbols` symbols. The body is drawn as
  Count's is, with a modulus of 2.

  A negative control: expect it to fail beyond the trained length under every
  scheme, and doubt one that seems to solve it there (Hahn 2020, arXiv
  1906.06755).

  Foils (C = 1): none; there is but one wrong answer.

  >>> print(Parity(symbols=4, queries=1).example(length=12, seed=1))
  4 5 5 5 3 6 5 4 6 0 6 1
  11: 1, foils [], count 2, query 0
  """

  capability: ClassVar[str] = 'KS'
  _period: ClassVar[int] = 2

  def _foils(self, count_Q):
    return [jnp.full_like(count_Q, -1)]


@dataclasses.dataclass(frozen=True)
class Majority(Tally):
  """Which of two symbols occurs more often?

    body of N = length - 1 - 3 * queries slots, SEP, (a b answer) * queries

  The answer is a or b. Ids are 0 SEP, then `symbols` symbols.

  Answerers: 'bag' is always right, as nothing here asks for position; 'recent'
  counts in the last half of the body and says b where it finds a tie.
  Foils (C = 1): none; a wrong answer is no error of order.
  Strata: `margin`, how much more often the answer comes.

  >>> print(Majority(symbols=4, queries=1).example(length=12))
  3 3 4 2 4 4 2 3 0 2 3 3
  11: 3, foils [], margin 1, query 0
  """

  width: ClassVar[int] = 3

  def chance(self, length: int) -> float:
    """Return one half: one of two answers."""
    self.check(length)
    return 0.5

  def _blind(self, rng, tokens_BxL):
    return answerers.coin(rng, *answerers.named(tokens_BxL))

  def _say(self, count_BxV, tokens_BxL):
    a_BxL, b_BxL = answerers.named(tokens_BxL)
    of_a_BxL = np.take_along_axis(count_BxV, a_BxL, axis=1)
    of_b_BxL = np.take_along_axis(count_BxV, b_BxL, axis=1)
    return np.where(of_a_BxL > of_b_BxL, a_BxL, b_BxL)

  def _draw_counts(self, word_K, reach):
    word_2xQ = word_K.reshape(2, self.queries)
    of_a_Q = draw.integers(word_2xQ[0], 0, reach)
    # Another number, all of them equally likely.
    of_b_Q = (of_a_Q + draw.integers(word_2xQ[1], 1, reach)) % reach
    return jnp.append(of_a_Q, of_b_Q)

  def _questions(self, symbol_K, count_K):
    a_Q, b_Q = symbol_K.reshape(2, self.queries)
    of_a_Q, of_b_Q = count_K.reshape(2, self.queries)
    columns = a_Q, b_Q, jnp.where(of_a_Q > of_b_Q, a_Q, b_Q)
    strata = {'margin': jnp.abs(of_a_Q - of_b_Q)}
    return columns, [jnp.full_like(a_Q, -1)], strata
