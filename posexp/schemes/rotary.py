"""Multiplicative position: queries and keys are rotated."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.schemes import base as base_lib
from posexp.schemes import frequencies as laws

UNSCALED = laws.Law()


@dataclasses.dataclass(frozen=True)
class RoPE(base_lib.Scheme):
  """Rotary position embedding.

  Pair k of a query at i is rotated by i * theta_k and of a key at j by
  j * theta_k, so that their product depends on i - j only. The pairs are the
  two halves of the head (dimension k with k + E/2). Scaling is a frequency
  law, e.g. `RoPE(NTK(4))`; its temperature tau multiplies the content logits.

  (a, b) -> (a cos - b sin, b cos + a sin) at the angle i * theta_k radians,
  on arrays B x L x H x E. Angles are float32, off by at most 1.2e-7 of
  themselves: 0.004 radians at position 32,768. An odd head width is refused.

  Source: Su et al. 2021, arXiv 2104.09864, equation 34 (there with
  interleaved pairs, a permutation of these).

  Attributes:
    frequencies: the law that gives theta_k; unscaled by default.
    base: b in theta_k = b^(-2k/E).

  >>> RoPE().inverse_frequencies(8)
  array([1.   , 0.1  , 0.01 , 0.001])
  >>> RoPE(laws.NTK(4)).inverse_frequencies(8)[-1]  # A quarter of 0.001.
  np.float64(0.00025)
  """

  frequencies: laws.Law = UNSCALED
  base: float = 10000.0

  def __post_init__(self):
    base_lib.positive('base of RoPE', self.base)
    if not isinstance(self.frequencies, laws.Law):
      raise ValueError(
        'frequencies of RoPE must be a frequency law such as NTK(factor=4), '
        f'got {self.frequencies!r}'
      )

  def inverse_frequencies(self, head_width: int) -> np.ndarray:
    """theta_k in radians per position: float64, head_width / 2 values."""
    if head_width % 2:
      raise ValueError(
        f'head width must be even for RoPE, got {head_width}: choose width '
        'and heads so that width / heads is even'
      )
    self.frequencies.check(head_width)
    return self.frequencies.inverse_frequencies(
      base=self.base, width=head_width
    )

  @property
  def temperature(self) -> float:
    """The factor on the content logits, 1.0 if the law has none."""
    return self.frequencies.temperature

  def check(self, dims, length):
    del length
    self.inverse_frequencies(dims.head_width)

  def rotate(self, params, x_BxLxHxE, at, side):
    del params
    theta_K = self.inverse_frequencies(x_BxLxHxE.shape[-1])
    angle_BxLx1xK = at[:, :, None, None].astype(jnp.float32) * jnp.asarray(
      theta_K, jnp.float32
    ).reshape(1, 1, 1, -1)
    # The whole temperature goes on the queries, so that keys can be cached.
    tau = self.temperature if side == 'q' else 1.0
    cos = (tau * jnp.cos(angle_BxLx1xK)).astype(x_BxLxHxE.dtype)
    sin = (tau * jnp.sin(angle_BxLx1xK)).astype(x_BxLxHxE.dtype)
    a, b = jnp.split(x_BxLxHxE, 2, axis=-1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)

  def __str__(self) -> str:
    shown = [] if self.frequencies == UNSCALED else [str(self.frequencies)]
    if self.base != 10000.0:
      shown.append(f'base={component.written(self.base)}')
    return f'{type(self).__name__}({", ".join(shown)})'
