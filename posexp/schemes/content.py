"""Position that depends on the content, or on how many tokens are seen."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.schemes import base, trained_length

# Where a gate changes a trained model least: 0.05 nats in a thousand tokens.
OPEN = 10.0

TRAINED = trained_length.Share(1.0)


@dataclasses.dataclass(frozen=True)
class Forgetting(base.Scheme):
  """The forgetting gate (FoX): a decay that each token decides on.

  z_ij + sum over l = j+1..i of ln f_l, with f_l = sigmoid(w_h . x_l + b_h), so
  the bias is c_i - c_j for a running sum c of ln f: ALiBi whose clock is
  learned. x is what queries and keys are made of, B x L x D; c is B x L x H,
  in nats, float32. The difference of two sums is off by about 1e-7 |c|, 0.002
  nats after 32,768 tokens of half-open gates.

  Source: Lin et al. 2025, arXiv 2503.02130, section 3. As in the
  authors' code w is drawn with standard deviation 0.02 and b starts at 0, so
  that a token keeps half of what came before it. A retrofit starts at w = 0
  and b = 10, nearly open.

  Use: for recency that the content can lift, without other position.
  Fails: what a gate has once forgotten is lost to all later tokens of its
  head; a head whose gates are half open keeps only the near past.

  >>> params = {'w_DxH': jnp.zeros((4, 1)), 'b_H': jnp.zeros(1)}
  >>> clock = Forgetting().locate(params, jnp.ones((1, 3, 4)), None, None)
  >>> [round(float(c), 4) for c in clock[0, :, 0]]
  [-0.6931, -1.3863, -2.0794]
  """

  def init_layer(self, key, dims):
    drawn = jax.random.normal(key, (dims.width, dims.heads), jnp.float32)
    return {'w_DxH': 0.02 * drawn, 'b_H': jnp.zeros(dims.heads, jnp.float32)}

  def neutral(self, params):
    # Gates are never quite open, where they would have no gradient.
    return {
      'w_DxH': jnp.zeros_like(params['w_DxH']),
      'b_H': jnp.full_like(params['b_H'], OPEN),
    }

  def locate(self, params, x_BxLxD, at, before):
    del at
    w_DxH, b_H = (params[n].astype(jnp.float32) for n in ('w_DxH', 'b_H'))
    gate_BxLxH = x_BxLxD.astype(jnp.float32) @ w_DxH + b_H.reshape(1, 1, -1)
    clock_BxLxH = jnp.cumsum(jax.nn.log_sigmoid(gate_BxLxH), axis=1)
    return clock_BxLxH if before is None else before + clock_BxLxH

  def bias(self, params, head, q_at, k_at):
    del params, head
    return q_at - k_at


@dataclasses.dataclass(frozen=True)
class LogLength(base.Scheme):
  """A log-length temperature: the more keys are seen, the sharper.

  A query at index i sees n = i + 1 keys. Its content logits are multiplied by
  max(1, ln n / ln L), which is 1 up to L tokens, or with `learned` by a_h ln n
  at every length (SSMax), one a_h a head and layer. It multiplies queries B x
  L x H x E only, so no bias is changed, and it composes with any rotation. The
  average of a_h ln n over the L trained lengths is 1 at the start, in a
  retrofit too.

  Source: learned, Nakanishi 2025, arXiv 2501.19399, equation 11 (SSMax without
  a bias term); fixed, the same rule with a_h = 1 / ln L, clipped below at 1,
  which is the log-n attention of Qwen (Bai et al. 2023, arXiv 2309.16609).

  Use: beyond L, where attention that must pick one key out of many fades.
  Fails: it makes no position known; heads that ought to average are sharpened
  too.

  Attributes:
    train_length: L in tokens, at least 2; the trained length by default.
    learned: whether a_h is learned.

  >>> q = jnp.ones((1, 4, 1, 1))
  >>> at = jnp.array([[0, 3, 7, 63]])
  >>> LogLength(8).rotate({}, q, at, 'q').ravel().tolist()
  [1.0, 1.0, 1.0, 2.0]
  """

  relative = False
  factor_only = True
  train_length: int | trained_length.Relative = TRAINED
  learned: bool = False

  def __post_init__(self):
    base.positive('train_length of LogLength', self.train_length)
    if not isinstance(self.train_length, trained_length.Relative):
      component.at_least('train_length of LogLength', self.train_length, 2)

  def _length(self) -> float:
    return trained_length.number('train_length of LogLength', self.train_length)

  def check(self, dims, length):
    del dims, length
    self._length()

  def init_layer(self, key, dims):
    del key
    if not self.learned:
      return {}
    mean = np.log(np.arange(1, int(self._length()) + 1)).mean()
    return {'a_H': jnp.full(dims.heads, 1 / mean, jnp.float32)}

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
      factor = jnp.maximum(factor / np.float32(np.log(self._length())), 1.0)
    return x_BxLxHxE * factor.astype(x_BxLxHxE.dtype)
