"""Counting: how often a symbol comes, evenly often, or more often."""

import abc
import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.tasks import answerers, draw, tally


@dataclasses.dataclass(frozen=True)
class _Modulo(tally.Tally):
  """How often a symbol comes, modulo `_period`."""

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

  ```
  body of N = length - 1 - 2 * queries slots, SEP, (symbol answer) * queries
  ```

  Ids are 0 SEP, 1, ..., `modulus` for the answers 0, ..., modulus - 1, then
  `symbols` symbols.

  What is balanced: the counts of the symbols asked about are uniform in 0, ...,
  M - 1 and independent, where M is the greatest multiple of the modulus for
  which all of them fit into the body. M grows with the length (12 at 64 and 28
  at 128, with the default fields): read accuracy by `count`, since counts above
  those of the trained length are new. The rest of the body is other symbols,
  and all is in random order; no symbol is asked about twice.

  Answerers: 'bag' is always right, as nothing here asks for position; 'recent'
  counts in the last half of the body.

  Foils (C = 2): the answers for one less and for one more.

  Strata: `count`, how often the symbol comes; `query`, the number of the
  question.

  Args:
    symbols: the number of symbols to choose from.
    queries: questions per sequence.
    modulus: the number of answers. It should be well below M at the trained
      length, or the counts are never seen to wrap around.

  >>> import jax
  >>> task = Count(symbols=4, queries=1, modulus=3)
  >>> batch = task.sample(jax.random.key(1), length=12, batch=1)
  >>> batch.tokens_BxL[0].tolist()
  [5, 7, 7, 7, 4, 7, 7, 7, 7, 0, 7, 2]
  >>> batch.foils_BxLxC[0, -1].tolist()
  [1, 3]
  >>> {k: int(value_BxL[0, -1]) for k, value_BxL in batch.strata.items()}
  {'count': 7, 'query': 0}
  """

  modulus: int = component.field(
    4, at_least=2, remedy='with one answer nothing is asked'
  )

  @property
  def _period(self) -> int:
    return self.modulus

  def _foils(self, count_Q: jax.Array) -> list[jax.Array]:
    return [1 + (count_Q + step) % self.modulus for step in (-1, 1)]


@dataclasses.dataclass(frozen=True)
class Parity(_Modulo):
  """Does this symbol occur an even or an odd number of times?

  ```
  body of N = length - 1 - 2 * queries slots, SEP, (symbol answer) * queries
  ```

  Ids are 0 SEP, 1 even, 2 odd, then `symbols` symbols. The body is drawn as
  Count's is, with a modulus of 2; so are balance, strata and errors.

  A negative control: expect it to fail beyond the trained length under every
  scheme, and doubt one that seems to solve it there (Hahn 2020, arXiv
  1906.06755).

  Answerers: 'bag' is always right, as nothing here asks for position; 'recent'
  counts in the last half of the body.

  Foils (C = 1): none; there is but one wrong answer.

  Strata: `count`, how often the symbol comes; `query`, the number of the
  question.

  Args:
    symbols: the number of symbols to choose from.
    queries: questions per sequence.

  >>> import jax
  >>> task = Parity(symbols=4, queries=1)
  >>> batch = task.sample(jax.random.key(1), length=12, batch=1)
  >>> batch.tokens_BxL[0].tolist()
  [4, 5, 5, 5, 3, 6, 5, 4, 6, 0, 6, 1]
  >>> {k: int(value_BxL[0, -1]) for k, value_BxL in batch.strata.items()}
  {'count': 2, 'query': 0}
  """

  capability: ClassVar[str] = 'KS'

  @property
  def _period(self) -> int:
    return 2

  def _foils(self, count_Q: jax.Array) -> list[jax.Array]:
    return [jnp.full_like(count_Q, -1)]


@dataclasses.dataclass(frozen=True)
class Majority(tally.Tally):
  """Which of two symbols occurs more often?

  ```
  body of N = length - 1 - 3 * queries slots, SEP, (a b answer) * queries
  ```

  The answer is a or b. Ids are 0 SEP, then `symbols` symbols.

  What is balanced: the counts of a and b are uniform among all pairs of
  different numbers in 0, ..., M - 1, where M is the greatest for which all of
  them fit into the body (7 at length 64 and 15 at 128, with the default
  fields). The rest of the body is as in Count.

  Answerers: 'bag' is always right, as nothing here asks for position; 'recent'
  counts in the last half of the body and says b where it finds a tie.

  Foils (C = 1): none; a wrong answer is no error of order.

  Strata: `margin`, how much more often the answer comes; `query`, the number
  of the question.

  Args:
    symbols: the number of symbols to choose from.
    queries: questions per sequence.

  >>> import jax
  >>> task = Majority(symbols=4, queries=1)
  >>> batch = task.sample(jax.random.key(0), length=12, batch=1)
  >>> batch.tokens_BxL[0].tolist()
  [3, 3, 4, 2, 4, 4, 2, 3, 0, 2, 3, 3]
  >>> {k: int(value_BxL[0, -1]) for k, value_BxL in batch.strata.items()}
  {'margin': 1, 'query': 0}
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
