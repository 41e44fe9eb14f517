"""FlipFlop: a register of one bit, written, ignored and read."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.tasks import base, draw, layout

WRITE, IGNORE, READ = range(2, 5)  # 0 and 1 are the bits


@dataclasses.dataclass(frozen=True)
class FlipFlop(draw.PerExample):
  """Recall the bit that was written last. (Flip-flop language modelling.)

    WRITE b  (WRITE b | IGNORE b | READ b) * (length / 2 - 2)  READ b

  A sequence is length / 2 instructions, each followed by a bit. After WRITE
  and IGNORE the bit is a fair coin; after READ it is the bit of the last
  WRITE, and that is the answer. The first instruction is a WRITE and the last
  a READ; each of the others is IGNORE with probability `ignore`, and
  otherwise WRITE or READ, equally likely. This is FFL(ignore) of Liu et al.
  (arXiv:2306.00946). Ids are 0 and 1 the bits, 2 WRITE, 3 IGNORE, 4 READ.

  Answerers: 'bag' says the bit that is more frequent before the question, a
  coin where there are as many of each; 'recent' the last bit before the
  question. No design defends against these, so read accuracy by `ignored`.
  Foils (C = 1): the other bit, if any WRITE wrote it before (a stale write);
  otherwise it came from an IGNORE.
  Strata: `distance` in tokens from the answer back to the bit that was
  written last; `ignored`, how many IGNOREs stand between.

  Args:
    ignore: the probability of IGNORE.
    every: whether each READ is scored, or only the last.

  >>> print(FlipFlop(ignore=0.4).example(length=16, seed=5))
  2 0 4 0 3 1 4 0 2 0 2 1 3 0 4 1
  3: 0, foils [], distance 2, ignored 0
  7: 0, foils [], distance 6, ignored 1
  15: 1, foils [0], distance 4, ignored 1
  """

  capability: ClassVar[str] = 'S'

  ignore: float = component.field(
    0.8,
    at_least=0,
    at_most=1,
    remedy='it is a probability; 0.8 is the usual one',
  )
  every: bool = True

  @property
  def vocabulary(self) -> int:
    return READ + 1

  def check(self, length: int) -> None:
    if length < 4 or length % 2:
      raise component.UserError(
        f'length must be even and at least 4, got {length}: each instruction '
        'has its bit, and there are a WRITE and a READ at least; use '
        f'{max(4, length + length % 2)}'
      )

  def asked(self, length: int) -> Sequence[int]:
    return range(3, length, 2) if self.every else (length - 1,)

  def chance(self, length: int) -> float:
    """Return one half: one of two bits."""
    return 0.5

  def guesses(self, rng, tokens_BxL, asked_BxL):
    coin_BxL = rng.integers(0, 2, tokens_BxL.shape)
    sign_BxL = (tokens_BxL == 1).astype(int) - (tokens_BxL == 0)
    lead_BxL = np.cumsum(sign_BxL, axis=1) - sign_BxL
    bag_BxL = np.where(lead_BxL == 0, coin_BxL, lead_BxL > 0)
    recent_BxL = np.roll(tokens_BxL, 2, axis=1)
    return {'random': coin_BxL, 'bag': bag_BxL, 'recent': recent_BxL}

  def _one(self, key: jax.Array, length: int) -> base.Batch:
    count = length // 2  # instructions, I, each with its bit
    ignore_I, kind_I, bit_I = draw.words(key, count, count, count)
    kind_I = jnp.where(draw.coins(kind_I) == 0, WRITE, READ)
    limit = min(round(self.ignore * 2**32), 2**32 - 1)
    kind_I = jnp.where(ignore_I < jnp.uint32(limit), IGNORE, kind_I)
    kind_I = kind_I.at[0].set(WRITE).at[-1].set(READ).astype(jnp.int32)
    bit_I = draw.coins(bit_I)
    index_I = jnp.arange(count, dtype=jnp.int32)
    last_I = jax.lax.cummax(jnp.where(kind_I == WRITE, index_I, 0))
    bit_I = jnp.where(kind_I == READ, bit_I[last_I], bit_I)
    other_I = jnp.where(_written(kind_I, bit_I), 1 - bit_I, -1)
    ignored_I = jnp.cumsum(kind_I == IGNORE, dtype=jnp.int32)
    asked_I = kind_I == READ
    if not self.every:
      asked_I &= index_I == count - 1
    tokens_L = jnp.stack((kind_I, bit_I), axis=1).reshape(-1)
    asked_L = jnp.stack((jnp.zeros_like(asked_I), asked_I), axis=1).reshape(-1)
    distance_I, ignored_I = (
      2 * (index_I - last_I),
      ignored_I - ignored_I[last_I],
    )
    other_L, distance_L, ignored_L = (
      jnp.repeat(value_I, 2) for value_I in (other_I, distance_I, ignored_I)
    )
    strata = {'distance': distance_L, 'ignored': ignored_L}
    return layout.marked(tokens_L, asked_L, [other_L], strata)


def _written(kind_I: jax.Array, bit_I: jax.Array) -> jax.Array:
  """Return whether the other bit has been written so far."""
  zero_I, one_I = (
    jnp.cumsum((kind_I == WRITE) & (bit_I == bit), dtype=jnp.int32)
    for bit in (0, 1)
  )
  return jnp.where(bit_I == 1, zero_I, one_I) > 0
