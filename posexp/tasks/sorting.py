"""Sort: order by value, in which position plays no part."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.tasks import answerers, base, copying, draw, fields, layout

PAD, SEP, EOS = copying.PAD, copying.SEP, copying.EOS
_SPECIAL = 3


@dataclasses.dataclass(frozen=True)
class Sort(draw.PerExample):
  """Say n distinct values again, from the least to the greatest.

  ```
  [PAD] x_1 ... x_n SEP sorted(x) [EOS]
  ```

  Ids are 0 PAD, 1 SEP, 2 EOS, then `symbols` values in ascending order. A PAD
  leads where the length would otherwise not come out, so n = (length - 1 -
  eos) // 2.

  A control: where the values stand does not matter, only which there are. What
  a scheme loses here beyond the trained length, it lost to something else
  than position: to attention over more values, or to values that lie closer
  together. As n grows, saying the successor of the last answer is right ever
  more often, n / symbols of the time, without reading: see `chance`, and
  compare lengths at which it is small, or raise `symbols`. Values that may
  repeat would not help: with n = symbols of them, saying the last answer
  again or its successor is right 44 times in 100.

  Answerers: 'bag' is always right, as nothing here asks for position; 'random'
  says the successor of the last answer; 'recent' always the last value of
  the source.

  Foils (C = 2): the value one place before the right one in sorted order and
  the one after it, -1 where there is none. The EOS has none.

  Strata: `index`, the place in the answer from 0, EOS included; `distance`
  from the answer back to its source. The EOS has no distance.

  Args:
    symbols: the number of values to choose from.
    eos: whether the answer closes with an EOS, which is scored apart, because
      where to stop is a question of counting.

  Raises:
    UserError: for a field out of range, and from `check` and `sample` for a
      length too short, or too long for so many values.

  >>> import jax
  >>> task = Sort(symbols=7)
  >>> batch = task.sample(jax.random.key(1), length=12, batch=1)
  >>> batch.tokens_BxL[0].tolist()
  [7, 6, 4, 9, 3, 1, 3, 4, 6, 7, 9, 2]
  >>> batch.foils_BxLxC[0, -6:].tolist()
  [[-1, 4], [3, 6], [4, 7], [6, 9], [7, -1], [-1, -1]]
  >>> batch.strata['distance'][0, -6:].tolist()
  [2, 5, 7, 9, 7, -1]
  """

  capability: ClassVar[str] = 'CO'

  symbols: int = 512
  eos: bool = True

  def __post_init__(self) -> None:
    fields.at_least(
      'symbols', self.symbols, 2, 'with one value every order is right'
    )
    fields.is_bool('eos', self.eos)

  @property
  def vocabulary(self) -> int:
    return _SPECIAL + self.symbols

  def check(self, length: int) -> None:
    needed = copying.source_length(length, self.eos)
    if needed >= self.symbols:
      raise component.UserError(
        f'symbols must be at least {needed + 1} at length {length}, got '
        f'{self.symbols}: the values of a source are distinct, and with all '
        f'of them nothing is left to read; use symbols={needed + 1} or more'
      )

  def asked(self, length: int) -> Sequence[int]:
    count = copying.source_length(length, self.eos)
    return range(length - count - self.eos, length)

  def chance(self, length: int) -> float:
    """n / symbols, by saying the successor of the last answer; EOS apart.

    All n + 1 gaps between the sorted values and to both ends have the same
    distribution, and n / symbols is how often one is the shortest there is.
    """
    self.check(length)
    return copying.source_length(length, self.eos) / self.symbols

  def guesses(
    self,
    rng: np.random.Generator,
    tokens_BxL: np.ndarray,
    asked_BxL: np.ndarray,
  ) -> dict[str, np.ndarray]:
    del rng
    count = copying.source_length(tokens_BxL.shape[1], self.eos)
    sep = int(np.argmax(asked_BxL[0])) - 1
    source_BxN = tokens_BxL[:, sep - count : sep]
    answer_BxN = np.sort(source_BxN, axis=1)
    first_Bx1 = np.full_like(answer_BxN[:, :1], _SPECIAL)
    said = {
      'random': np.append(first_Bx1, answer_BxN[:, :-1] + 1, axis=1),
      'bag': answer_BxN,
      'recent': np.repeat(source_BxN[:, -1:], count, axis=1),
    }
    return answerers.placed(asked_BxL, said)

  def _one(self, key: jax.Array, length: int) -> base.Batch:
    count = copying.source_length(length, self.eos)
    (word_S,) = draw.words(key, self.symbols)
    source_N = _SPECIAL + draw.shuffled(word_S)[:count]
    index_N = jnp.arange(count, dtype=jnp.int32)
    answer_N, from_N = jax.lax.sort((source_N, index_N), num_keys=1)
    pad = jnp.full(length - self.eos - 1 - 2 * count, PAD, jnp.int32)
    return layout.repetition(
      jnp.concatenate((pad, source_N, jnp.full(1, SEP, jnp.int32))),
      answer_N,
      EOS if self.eos else None,
      {'distance': count + 1 + index_N - from_N},
    )
