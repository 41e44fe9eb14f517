"""Sort: order by value, in which position plays no part."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.tasks import answerers, base, copying, draw


@dataclasses.dataclass(frozen=True)
class Sort(copying.OfSource):
  """Repeat n distinct values in ascending order.

  ```
  [PAD] x_1 ... x_n SEP sorted(x) [EOS]
  ```

  Ids are 0 PAD, 1 SEP, 2 EOS, then `symbols` values in ascending order; n is
  that of Copy. A control: where the values stand does not matter, only which
  there are, so that what is lost beyond the trained length is lost to something
  other than position.

  Answerers: 'bag' is always right, as nothing here asks for position; 'random'
  says the successor of the last answer; 'recent' always the last value of
  the source.

  Foils (C = 2): the values before and after the right one in sorted order.

  Strata: `index`, the place in the answer from 0, EOS included; `distance`
  from the answer back to its source.

  Args:
    symbols: the number of values to choose from.
    eos: whether an EOS closes the answer; it is scored apart.

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

  symbols: int = component.field(
    512, at_least=2, remedy='with one value every order is right'
  )
  eos: bool = True

  def check(self, length: int) -> None:
    count = self.answers(length)
    if count >= self.symbols:
      raise component.UserError(
        f'symbols must be at least {count + 1} at length {length}, got '
        f'{self.symbols}: the values of a source are distinct, and with all '
        f'of them nothing is left to read; use symbols={count + 1} or more'
      )

  def chance(self, length: int) -> float:
    """Return n / symbols, by saying the successor of the last answer.

    All n + 1 gaps between the sorted values and to both ends have the same
    distribution, and n / symbols is how often one is the shortest there is.
    """
    self.check(length)
    return self.answers(length) / self.symbols

  def guesses(self, rng, tokens_BxL, asked_BxL):
    del rng
    count = self.answers(tokens_BxL.shape[1])
    sep = int(np.argmax(asked_BxL[0])) - 1
    source_BxN = tokens_BxL[:, sep - count : sep]
    answer_BxN = np.sort(source_BxN, axis=1)
    first_Bx1 = np.full_like(answer_BxN[:, :1], copying.SPECIAL)
    guesses = {
      'random': np.append(first_Bx1, answer_BxN[:, :-1] + 1, axis=1),
      'bag': answer_BxN,
      'recent': np.repeat(source_BxN[:, -1:], count, axis=1),
    }
    return answerers.placed(asked_BxL, guesses)

  def _one(self, key: jax.Array, length: int) -> base.Batch:
    count = self.answers(length)
    (word_S,) = draw.words(key, self.symbols)
    source_N = copying.SPECIAL + draw.shuffled(word_S)[:count]
    index_N = jnp.arange(count, dtype=jnp.int32)
    answer_N, from_N = jax.lax.sort((source_N, index_N), num_keys=1)
    strata = {'distance': count + 1 + index_N - from_N}
    return self.repeat(self.lead(length, source_N), answer_N, strata)
