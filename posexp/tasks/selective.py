"""SelectiveCopy: repeat what stands among blanks."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.tasks import answerers, base, draw, fields, layout

BLANK, SEP, EOS = range(3)
_SPECIAL = 3


@dataclasses.dataclass(frozen=True)
class SelectiveCopy(draw.PerExample):
  """Say the tokens again that stand among blanks, in order.

  ```
  body of N = length - 1 - count - eos tokens, SEP, x_1 ... x_count [EOS]
  ```

  The body holds `count` data tokens and is otherwise blank. Ids are 0 BLANK,
  1 SEP, 2 EOS, then `symbols` data tokens. The number of data tokens does not
  change with the length, so that a longer sequence is a sparser one; a dense
  arm and a sparse one differ in `count`, or in length.

  No offset leads from an answer to its source, since the blanks between are
  drawn anew: a model must find data and count them, or find the last answer
  and go to the next data token. Every arrangement of data and blanks is
  equally likely, blanks after the last data token included, which published
  generators leave out; each data token is drawn independently.

  Answerers: 'bag' says any data token that is still due; 'recent' always the
  last one.

  Foils (C = 2): the data tokens before and after the right one, -1 where
  there is none or where it is the same token. The EOS has none.

  Strata: `index`, the place in the answer from 0, EOS included; `distance`
  from the answer back to its source, -1 for the EOS.

  Args:
    symbols: the number of data tokens to choose from.
    count: how many of them the body holds, whatever the length.
    eos: whether the answer closes with an EOS, which is scored apart, because
      where to stop is a question of counting.

  Raises:
    UserError: for a field out of range, and from `check` and `sample` for a
      length too short for the data and their answer.

  >>> import jax
  >>> task = SelectiveCopy(symbols=4, count=3)
  >>> batch = task.sample(jax.random.key(0), length=13, batch=1)
  >>> batch.tokens_BxL[0].tolist()
  [0, 5, 0, 3, 0, 0, 0, 6, 1, 5, 3, 6, 2]
  >>> batch.foils_BxLxC[0, -4:].tolist()
  [[-1, 3], [5, 6], [3, -1], [-1, -1]]
  >>> batch.strata['distance'][0, -4:].tolist()
  [8, 7, 4, -1]
  """

  capability: ClassVar[str] = 'CK'
  defended: ClassVar[frozenset[str]] = frozenset({'recent'})

  symbols: int = 16
  count: int = 8
  eos: bool = True

  def __post_init__(self) -> None:
    fields.at_least(
      'symbols', self.symbols, 2, 'with one symbol every answer is right'
    )
    fields.at_least('count', self.count, 1, 'there must be a token to copy')
    fields.is_bool('eos', self.eos)

  @property
  def vocabulary(self) -> int:
    return _SPECIAL + self.symbols

  def check(self, length: int) -> None:
    shortest = 1 + 2 * self.count + self.eos
    if length < shortest:
      raise component.UserError(
        f'length must be at least {shortest}, got {length}: {self.count} data '
        f'tokens, SEP, their answer{" and EOS" if self.eos else ""} must fit; '
        'use longer sequences or a smaller count'
      )

  def asked(self, length: int) -> Sequence[int]:
    return range(length - self.count - self.eos, length)

  def chance(self, length: int) -> float:
    """One of the symbols, all of them equally likely; EOS is not counted."""
    return 1 / self.symbols

  def _one(self, key: jax.Array, length: int) -> base.Batch:
    body = length - 1 - self.count - self.eos
    place_N, data_C = draw.words(key, body, self.count)
    at_C = layout.scattered(place_N, self.count, 1)
    data_C = draw.integers(data_C, _SPECIAL, self.vocabulary)
    lead_N = jnp.full(body + 1, BLANK, jnp.int32).at[-1].set(SEP)
    lead_N = layout.written(lead_N, at_C, [data_C])
    answer_C = np.arange(body + 1, body + 1 + self.count, dtype=np.int32)
    end = EOS if self.eos else None
    return layout.repetition(lead_N, data_C, end, {'distance': answer_C - at_C})

  def guesses(
    self,
    rng: np.random.Generator,
    tokens_BxL: np.ndarray,
    asked_BxL: np.ndarray,
  ) -> dict[str, np.ndarray]:
    answer_BxC = tokens_BxL[asked_BxL].reshape(-1, self.count)
    said = {
      'random': rng.integers(_SPECIAL, self.vocabulary, answer_BxC.shape),
      'bag': answerers.remaining(rng, answer_BxC, self.count),
      'recent': np.repeat(answer_BxC[:, -1:], self.count, axis=1),
    }
    return answerers.placed(asked_BxL, said)
