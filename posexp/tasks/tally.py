"""A body in which symbols come a chosen number of times, and questions."""

import abc
import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.tasks import answerers, draw, fields

SEP = 0


@dataclasses.dataclass(frozen=True)
class Tally(draw.PerExample):
  """What the three have in common: a body with chosen counts, and questions."""

  capability: ClassVar[str] = 'K'

  # Symbols that a question names.
  _named: ClassVar[int] = 1

  symbols: int = 16
  queries: int = 4

  def __post_init__(self) -> None:
    fields.some_queries(self.queries)
    fields.at_least(
      'symbols',
      self.symbols,
      self._asked_about + 1,
      f'{self.queries} queries ask about {self._asked_about} distinct symbols, '
      'and the rest of the body needs another; raise symbols or lower queries',
    )

  @property
  def _asked_about(self) -> int:
    return self._named * self.queries

  @property
  def _numbers(self) -> int:
    """How many tokens are answers and no symbols."""
    return 0

  @property
  def _period(self) -> int:
    """The number of different counts is a multiple of this."""
    return 1

  @property
  def vocabulary(self) -> int:
    return 1 + self._numbers + self.symbols

  def _slots(self, length: int) -> int:
    return length - 1 - (self._named + 1) * self.queries

  def _reach(self, length: int) -> int:
    """One more than the largest count: all asked about may have it."""
    reach = self._slots(length) // self._asked_about + 1
    return reach - reach % self._period

  def check(self, length: int) -> None:
    width, least = self._named + 1, max(2, self._period) - 1
    shortest = 1 + width * self.queries + least * self._asked_about
    if length < shortest:
      raise component.UserError(
        f'length must be at least {shortest} for {self.queries} queries, got '
        f'{length}: each takes {width} tokens, and there must be room for '
        f'every symbol asked about to come {least} times; use longer '
        'sequences or fewer queries'
      )

  def asked(self, length: int) -> Sequence[int]:
    width = self._named + 1
    return range(self._slots(length) + width, length, width)

  def guesses(
    self,
    rng: np.random.Generator,
    tokens_BxL: np.ndarray,
    asked_BxL: np.ndarray,
  ) -> dict[str, np.ndarray]:
    del asked_BxL
    slots = self._slots(tokens_BxL.shape[1])
    said = {'random': self._blind(rng, tokens_BxL)}
    for name, start in (('bag', 0), ('recent', slots // 2)):
      body_BxN = tokens_BxL[:, start:slots]
      count_BxV = answerers.counts(body_BxN, self.vocabulary)
      said[name] = self._say(count_BxV, tokens_BxL)
    return said

  @abc.abstractmethod
  def _blind(
    self, rng: np.random.Generator, tokens_BxL: np.ndarray
  ) -> np.ndarray:
    """What one says who has not seen the body."""

  @abc.abstractmethod
  def _say(self, count_BxV: np.ndarray, tokens_BxL: np.ndarray) -> np.ndarray:
    """What these counts would answer at each place."""


def words(
  task: Tally, key: jax.Array, length: int, counts: int
) -> list[jax.Array]:
  """For `body`: of so many counts, and of all else."""
  slots = task._slots(length)
  return draw.words(key, counts, task.symbols, slots, slots)


def body(
  task: Tally,
  count_K: jax.Array,
  symbol_S: jax.Array,
  order_N: jax.Array,
  rest_N: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """Symbols to ask about, and a body that holds each so often.

  Args:
    task: whose symbols to take.
    count_K: how often each comes.
    symbol_S, order_N, rest_N: random words.
  """
  asked_about = count_K.shape[0]
  symbol_S = 1 + task._numbers + draw.shuffled(symbol_S)
  other_N = symbol_S[draw.integers(rest_N, asked_about, task.symbols)]
  which_N = jnp.searchsorted(
    jnp.cumsum(count_K), draw.shuffled(order_N), side='right'
  )
  body_N = jnp.where(which_N < asked_about, symbol_S[which_N], other_N)
  return symbol_S[:asked_about], body_N
