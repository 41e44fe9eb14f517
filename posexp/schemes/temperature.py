"""A temperature that depends on how many tokens are seen."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.schemes import base, trained_length


@dataclasses.dataclass(frozen=True)
class LogLength(base.Scheme):
  """Sharpen attention by the logarithm of the number of visible keys.

    q_i max(1, ln n / ln L),  n = i + 1
    q_i a_h ln n  if `learned`, one a_h a head and layer (SSMax)

  The fixed factor is 1 up to L tokens. It multiplies queries only, so no bias
  is changed, and it composes with any rotation. The average of `a_h ln n` over
  the L trained lengths is 1 at the start, in a retrofit too.

  Source: learned, Nakanishi 2025, arXiv 2501.19399, equation 11 (SSMax without
  a bias term); fixed, the same rule with `a_h = 1 / ln L`, clipped below at 1,
  which is the log-n attention of Qwen (Bai et al. 2023, arXiv 2309.16609).
  Use: beyond L, where attention that must pick one key out of many fades.
  Fails: it makes no position known; heads that ought to average are sharpened
  too.

  Attributes:
    train_length: L in tokens, at least 2; the trained length by default.
    learned: whether `a_h` is learned.

  >>> q = jnp.ones((1, 4, 1, 1))
  >>> at = jnp.array([[0, 3, 7, 63]])
  >>> LogLength(8).rotate({}, q, at, 'q').ravel().tolist()
  [1.0, 1.0, 1.0, 2.0]
  """

  relative = False
  factor_only = True
  computed = {'_logarithm': ('train_length',), '_start': ('train_length',)}
  train_length: int | trained_length.Relative = component.field(
    trained_length.Share(1.0), at_least=2
  )
  learned: bool = False

  def _length(self) -> float:
    return trained_length.number(self, 'train_length')

  def check(self, dims, length):
    super().check(dims, length)
    self._length()

  def init_layer(self, key, dims):
    del key
    if not self.learned:
      return {}
    return {'a_H': jnp.full(dims.heads, self._start(), jnp.float32)}

  def _logarithm(self) -> float:
    """Return ln L."""
    return float(np.log(self._length()))

  def _start(self) -> float:
    """Return the a_h for which the average of a_h ln n is 1."""
    return float(1 / np.log(np.arange(1, int(self._length()) + 1)).mean())

  def neutral(self, params):
    # As initialised: zero would make all content the same.
    return params

  def rotate(self, params, x_BxLxHxE, at, side):
    if side == 'k':
      return x_BxLxHxE
    # An empty slot of a cache is at the largest integer: add in float32.
    seen_BxL = jnp.maximum(at.astype(jnp.float32) + 1, 1.0)
    factor = jnp.log(seen_BxL)[:, :, None, None]
    if self.learned:
      factor = params['a_H'].astype(jnp.float32).reshape(1, 1, -1, 1) * factor
    else:
      factor = jnp.maximum(factor / self._logarithm(), 1.0)
    return x_BxLxHxE * factor.astype(x_BxLxHxE.dtype)
