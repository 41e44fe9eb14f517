"""A body in which symbols come a chosen number of times, and questions."""

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
  """All that the counting tasks have in common: a body with chosen counts."""

  capability: ClassVar[str] = 'K'
  width: ClassVar[int] = 2

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

  def _reach(self, length: int) -> int:
    """Return one more than the largest count that all may have at once."""
    reach = self.body(length) // self.symbols_asked + 1
    return reach - reach % self._period

  def check(self, length: int) -> None:
    times = max(2, self._period) - 1
    component.at_least(
      'length',
      length,
      1 + self.width * self.queries + times * self.symbols_asked,
      f'{self.queries} queries take {self.width} tokens each, and there must '
      f'be room for every symbol asked about to come {times} times; use longer '
      'sequences or fewer queries',
    )

  def guesses(self, rng, tokens_BxL, asked_BxL):
    del asked_BxL
    body = self.body(tokens_BxL.shape[1])
    guesses = {'random': self._blind(rng, tokens_BxL)}
    for name, start in (('bag', 0), ('recent', body // 2)):
      count_BxV = answerers.counts(tokens_BxL[:, start:body], self.vocabulary)
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
