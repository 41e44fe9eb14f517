"""SelectiveCopy: repeat what stands among blanks."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.tasks import answerers, base, draw, layout

BLANK, SEP, EOS = range(3)
_SPECIAL = 3


@dataclasses.dataclass(frozen=True)
class SelectiveCopy(layout.Repetition):
  """Repeat the data tokens among blanks, in order.

  ```
  body of N = length - 1 - count - eos tokens, SEP, x_1 ... x_count [EOS]
  ```

  The body holds `count` data tokens and is otherwise blank. Ids are 0 BLANK,
  1 SEP, 2 EOS, then `symbols` data tokens. The number of data tokens does not
  change with the length, so that a longer sequence is a sparser one.

  No offset leads from an answer to its source: every arrangement of data and
  blanks is equally likely, blanks after the last data token included; each
  data token is drawn independently.

  Answerers: 'bag' says any data token that is still due; 'recent' always the
  last one.

  Foils (C = 2): the data tokens before and after the right one.

  Strata: `index`, the place in the answer from 0, EOS included; `distance`
  from the answer back to its source.

  Args:
    symbols: the number of data tokens to choose from.
    count: how many of them the body holds, whatever the length.
    eos: whether an EOS closes the answer; it is scored apart.

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

  symbols: int = component.field(
    16, at_least=2, remedy='with one symbol every answer is right'
  )
  count: int = component.field(
    8, at_least=1, remedy='there must be a token to copy'
  )
  eos: bool = True

  @property
  def vocabulary(self) -> int:
    return _SPECIAL + self.symbols

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
    del length
    return self.count

  def chance(self, length: int) -> float:
    """Return the chance of one of the symbols, all equally likely."""
    return 1 / self.symbols

  def _one(self, key: jax.Array, length: int) -> base.Batch:
    body = length - 1 - self.count - self.eos
    place_N, data_C = draw.words(key, body, self.count)
    at_C = layout.scattered(place_N, self.count, 1)
    data_C = draw.integers(data_C, _SPECIAL, self.vocabulary)
    body_N = layout.written(layout.filled(BLANK, body), at_C, [data_C])
    answer_C = body + 1 + jnp.arange(self.count, dtype=jnp.int32)
    lead = body_N, layout.filled(SEP)
    return self.repeat(lead, data_C, {'distance': answer_C - at_C})

  def guesses(self, rng, tokens_BxL, asked_BxL):
    answer_BxC = tokens_BxL[asked_BxL].reshape(-1, self.count)
    guesses = {
      'random': rng.integers(_SPECIAL, self.vocabulary, answer_BxC.shape),
      'bag': answerers.remaining(rng, answer_BxC, self.count),
      'recent': np.repeat(answer_BxC[:, -1:], self.count, axis=1),
    }
    return answerers.placed(asked_BxL, guesses)
