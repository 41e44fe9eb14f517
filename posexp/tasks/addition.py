"""Addition: the same column of two numbers, and what comes from the right."""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.tasks import base, draw, layout

PAD, PLUS, EQUALS, EOS = range(4)
_DIGIT = 4  # the token of the digit 0
_BASE = 10


@dataclasses.dataclass(frozen=True)
class Addition(layout.Repetition):
  """Output the sum of two n-digit numbers, digit by digit.

    [PAD] [PAD] a_1 ... a_n PLUS b_1 ... b_n EQUALS c_0 c_1 ... c_n [EOS]

  Ids are 0 PAD, 1 PLUS, 2 EQUALS, 3 EOS, then the digits 0 to 9. Numbers keep
  their leading zeros and c has one digit more than a and b, so that the
  format is always the same; n = (length - 3 - eos) // 3, and PADs lead where
  the length would otherwise not come out. With `reverse` all three numbers
  are written from the least significant digit on, so that a carry comes from
  a column that has been answered already.

  Every answer is the same offset away from the two digits of its column, a
  test of aligned relative position; the carry is a state that is handed on. All
  digits of a and b are uniform and independent.

  Answerers: 'random' is the best that has not seen a and b; 'bag' adds two
  digits taken blindly and casts out nines for the last digit of all; 'recent'
  says the last digit of b.
  Foils (C = 2): the digits of the columns answered before and next.
  Strata: `place`, the significance of the digit, 0 for the ones; `carry`, how
  many columns away the carry that reaches it was made, 0 if none does;
  `distance` from the answer back to the digit of a in its column, -1 for the
  digit of c that has none.

  Args:
    reverse: whether numbers are written from the least significant digit on.

  >>> print(Addition().example(length=13, seed=1))  # 062 + 519 = 0581
  4 10 6 1 9 5 13 2 4 9 12 5 3
  8: 4, foils [9], carry 0, index 0, place 3
  9: 9, foils [4, 12], carry 0, distance 9, index 1, place 2
  10: 12, foils [9, 5], carry 1, distance 9, index 2, place 1
  11: 5, foils [12], carry 0, distance 9, index 3, place 0
  """

  capability: ClassVar[str] = 'RS'
  defended: ClassVar[frozenset[str]] = frozenset({'recent'})

  EOS: ClassVar[int] = EOS

  reverse: bool = False
  eos: bool = True

  @property
  def vocabulary(self) -> int:
    return _DIGIT + _BASE

  def check(self, length: int) -> None:
    closing = ' and EOS' if self.eos else ''
    component.at_least(
      'length',
      length,
      6 + self.eos,
      f'two digits, PLUS, EQUALS, the two digits of their sum{closing} must '
      'fit',
    )

  def answers(self, length: int) -> int:
    return self._digits(length) + 1

  def _digits(self, length: int) -> int:
    return (length - 3 - self.eos) // 3

  def chance(self, length: int) -> float:
    """Return the accuracy of the best guess from the digits of c so far.

    Most significant first: c_0 is 0 with probability (1 + 10^-n) / 2, and of
    the digits after it the k-th is guessed with .1 + .9 / 10^k, because sums
    near the middle of the range are the likeliest. Least significant first: n
    digits are uniform, and the last is guessed from the one before it with
    exactly 3/4.
    """
    self.check(length)
    digits = self._digits(length)
    if self.reverse:
      return (digits / _BASE + 0.75) / (digits + 1)
    small = float(_BASE) ** -digits
    return (0.6 + 0.4 * small + digits / _BASE) / (digits + 1)

  def _one(self, key: jax.Array, length: int) -> base.Batch:
    digits = self._digits(length)
    total = _work_out(key, digits)
    pad = length - self.answers(length) - self.eos - 2 - 2 * digits
    place_C = jnp.arange(digits + 1, dtype=jnp.int32)
    distance = jnp.int32(2 * digits + (2 if self.reverse else 3))
    strata = {
      'place': place_C,
      'carry': total.carry_C,
      'distance': jnp.where(place_C < digits, distance, -1),
    }

    def written(value_X: jax.Array) -> jax.Array:
      return value_X if self.reverse else value_X[::-1]

    lead = (
      layout.filled(PAD, pad),
      _DIGIT + written(total.a_N),
      layout.filled(PLUS),
      _DIGIT + written(total.b_N),
      layout.filled(EQUALS),
    )
    return self.repeat(
      lead,
      _DIGIT + written(total.c_C),
      {name: written(value_C) for name, value_C in strata.items()},
    )

  def _guesses(self, rng, tokens_BxL, answer_BxN):
    start = self.asked(tokens_BxL.shape[1])[0]
    digits = tokens_BxL[0, :start] >= _DIGIT
    body_Bx2N = tokens_BxL[:, :start][:, digits] - _DIGIT
    answer_BxC = answer_BxN - _DIGIT
    guesses = {
      'random': _blind(rng, answer_BxC, self.reverse),
      'bag': _unplaced(rng, body_Bx2N, answer_BxC, self.reverse),
      'recent': np.broadcast_to(body_Bx2N[:, -1:], answer_BxC.shape),
    }
    return {name: _DIGIT + said_BxC for name, said_BxC in guesses.items()}


class _Sum(NamedTuple):
  """Digits and carries, least significant first; C = N + 1 digits of c."""

  a_N: jax.Array
  b_N: jax.Array
  c_C: jax.Array
  carry_C: jax.Array  # how many columns away it was made, 0 if there is none


def _work_out(key: jax.Array, digits: int) -> _Sum:
  a_N, b_N = (
    draw.integers(word_N, 0, _BASE)
    for word_N in draw.words(key, digits, digits)
  )
  sum_N, index_N = a_N + b_N, jnp.arange(digits, dtype=jnp.int32)
  # A column of nine hands on what it gets: look back to one that is not.
  maker_N = jax.lax.cummax(jnp.where(sum_N != _BASE - 1, index_N, -1))
  made_N = (maker_N >= 0) & (sum_N[maker_N] >= _BASE)
  carry_C = jnp.pad(jnp.where(made_N, index_N - maker_N + 1, 0), (1, 0))
  c_C = (jnp.pad(sum_N, (0, 1)) + jnp.minimum(carry_C, 1)) % _BASE
  return _Sum(a_N, b_N, c_C, carry_C)


def _blind(
  rng: np.random.Generator, answer_BxC: np.ndarray, reverse: bool
) -> np.ndarray:
  """Return the likeliest digits, given the answers before them alone."""
  if reverse:
    said_BxC = rng.integers(0, _BASE, answer_BxC.shape)
    said_BxC[:, -1] = answer_BxC[:, -2] < _BASE // 2
    return said_BxC
  # Sums are the likelier the nearer to 10^n, from both sides.
  said_BxC = np.where(answer_BxC[:, :1] == 0, _BASE - 1, 0)
  said_BxC = np.repeat(said_BxC, answer_BxC.shape[1], axis=1)
  said_BxC[:, 0] = 0
  return said_BxC


def _unplaced(
  rng: np.random.Generator,
  body_Bx2N: np.ndarray,
  answer_BxC: np.ndarray,
  reverse: bool,
) -> np.ndarray:
  """Return the best digits from those of a and b without their columns."""
  pair_Bx2xN = rng.permuted(body_Bx2N, axis=1).reshape(len(body_Bx2N), 2, -1)
  sum_BxN = pair_Bx2xN.sum(axis=1)
  first_Bx1 = (sum_BxN[:, :1] >= _BASE) * 1
  low_BxN = sum_BxN % _BASE
  parts = (low_BxN, first_Bx1) if reverse else (first_Bx1, low_BxN)
  said_BxC = np.concatenate(parts, axis=1)
  # A number and the sum of its digits leave the same rest when divided by 9.
  rest_B = (body_Bx2N.sum(axis=1) - answer_BxC[:, :-1].sum(axis=1)) % 9
  nine_B = (rest_B == 0) & (rng.integers(0, 2, len(rest_B)) == 0)
  said_BxC[:, -1] = np.where(nine_B & (not reverse), 9, rest_B)
  return said_BxC
