"""RepeatToken: after how many of the same token to stop."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.tasks import base, draw, layout

PAD, SEP, STOP = range(3)
_SPECIAL = 3


@dataclasses.dataclass(frozen=True)
class RepeatToken(draw.PerExample):
  """Repeat one token as often as it occurred, then stop.

    PAD ... x^n SEP x^n STOP PAD ...

  A test of *counting*, not of copying: which token to say is plain, and only
  when to stop is asked. Never average it with Copy.

  Ids are 0 PAD, 1 SEP, 2 STOP, then `symbols` tokens for x. n is uniform in
  1, ..., M with M = (length - 2) // 2. SEP stands at the same place in all
  sequences of a length. Two decisions of a sequence are targets: to go on
  before the last x, and to STOP after it.

  Answerers: 'bag' is always right, as it knows how often x is there; 'recent'
  always says what was said last, and so never stops.
  Foils (C = 1): the other decision, STOP for x and x for STOP.
  Strata: `count`, which is n; `stop`, 1 where the answer is STOP.

  Args:
    symbols: the number of tokens to choose x from.

  >>> print(RepeatToken(symbols=4).example(length=12))
  0 0 3 3 3 1 3 3 3 2 0 0
  8: 3, foils [2], count 3, stop 0
  9: 2, foils [3], count 3, stop 1
  """

  capability: ClassVar[str] = 'K'
  defended: ClassVar[frozenset[str]] = frozenset({'recent'})

  symbols: int = component.field(
    16, at_least=1, remedy='one token is enough to count'
  )

  @property
  def vocabulary(self) -> int:
    return _SPECIAL + self.symbols

  def check(self, length: int) -> None:
    component.at_least(
      'length',
      length,
      6,
      'with one or two tokens each, SEP and STOP must fit, or there is nothing '
      'to count',
    )

  def asked(self, length: int) -> Sequence[int]:
    return range(_sep(length) + 1, length)

  def chance(self, length: int) -> float:
    """Return one half at each place of the answer but the first and the last.

    At the first, x is due and has to be guessed from the symbols; at the last
    there is room for STOP alone. Each holds one target in 2 M.
    """
    self.check(length)
    longest = _longest(length)
    return ((longest - 1) + 1 / self.symbols + 1) / (2 * longest)

  def guesses(self, rng, tokens_BxL, asked_BxL):
    batch, length = tokens_BxL.shape
    sep, longest = _sep(length), _longest(length)
    step_L = np.arange(length) - sep
    before_BxL = np.roll(tokens_BxL, 1, axis=1)
    any_Bx1 = rng.integers(_SPECIAL, self.vocabulary, (batch, 1))
    stops_BxL = rng.integers(0, 2, tokens_BxL.shape) == 1
    stops_BxL = (stops_BxL | (step_L > longest)) & (step_L > 1)
    x_Bx1 = tokens_BxL[:, sep - 1 : sep]
    count_Bx1 = (tokens_BxL[:, :sep] == x_Bx1).sum(axis=1, keepdims=True)
    return {
      'random': np.where(
        stops_BxL, STOP, np.where(step_L == 1, any_Bx1, before_BxL)
      ),
      'bag': np.where(step_L > count_Bx1, STOP, x_Bx1),
      'recent': before_BxL,
    }

  def _one(self, key: jax.Array, length: int) -> base.Batch:
    (word_2,) = draw.words(key, 2)
    count = draw.integers(word_2[0], 1, _longest(length) + 1)
    x = draw.integers(word_2[1], _SPECIAL, self.vocabulary)
    step_L = jnp.arange(length, dtype=jnp.int32) - _sep(length)
    stop_L = step_L == count + 1
    targets_L = stop_L | (step_L == count)
    tokens_L = jnp.where(jnp.abs(step_L) <= count, x, PAD)
    tokens_L = jnp.where(step_L == 0, SEP, tokens_L)
    tokens_L = jnp.where(stop_L, STOP, tokens_L)
    strata = {
      'count': jnp.full_like(tokens_L, count),
      'stop': stop_L.astype(jnp.int32),
    }
    foil_L = jnp.where(stop_L, x, STOP)
    return layout.marked(tokens_L, targets_L, [foil_L], strata)


def _longest(length: int) -> int:
  """Return the longest source that has room before SEP and after it."""
  return (length - 2) // 2


def _sep(length: int) -> int:
  return length - 2 - _longest(length)
