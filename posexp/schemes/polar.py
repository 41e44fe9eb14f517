"""Polar coordinates: magnitudes are content, angles are position."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.schemes import base as base_lib
from posexp.schemes import trained_length


@dataclasses.dataclass(frozen=True)
class PoPE(base_lib.Scheme):
  """Rotate each component of queries and keys, as a magnitude, by position.

    z_ij = sum over c of |q_c| |k_c| cos((i - j) theta_c - delta_c) / sqrt(E)
    |x| = softplus(x),  theta_c = b^(-c/E),  c = 0..E-1

  Polar coordinate position embedding: what and where do not mix, as every
  component has a frequency of its own (RoPE: every two), and its sign says
  nothing of the angle. `rotate` makes queries and keys B x L x H x E twice as
  wide, the values stay; the division is by the root of E, not 2E. delta
  (radians, one a head and component) is learned, kept in `[-2 pi, 0]` by
  clipping and starts at 0; the angle of a key is `j theta_c + delta_c`.

  It needs the queries and keys as they are: a sum with another rotation is
  refused, as is one with a factor before it. Angles are float32 as in RoPE.

  Source: Gopalakrishnan et al. 2025, arXiv 2509.10534, equations 3 to 8.
  Use: in place of RoPE, where content and position must be matched apart.
  Fails: queries and keys cost twice as much; all its products of magnitudes
  are positive, so weights trained with another scheme do not carry over.
  Golden: lucidrains/x-transformers.

  Attributes:
    base: b in `theta_c`, above 1.

  >>> PoPE().inverse_frequencies(4)
  array([1.   , 0.1  , 0.01 , 0.001])
  """

  widens = True
  computed = {'inverse_frequencies': ('base',)}
  base: float = component.field(
    10000.0, above=1, remedy='at 1 all components turn alike'
  )

  def inverse_frequencies(self, head_width: int) -> np.ndarray:
    """Return theta_c, radians per position: float64, head_width values."""
    base = trained_length.number(self, 'base')
    return base ** (-np.arange(head_width) / head_width)

  def check(self, dims, length):
    super().check(dims, length)
    self.inverse_frequencies(dims.head_width)

  def features(self, dims, place_N):
    theta_E = self.inverse_frequencies(dims.head_width)
    return {'phases': np.outer(place_N, theta_E) % (2 * np.pi)}

  def init_layer(self, key, dims):
    del key
    shape = dims.heads, dims.head_width
    return {'delta_HxE': jnp.zeros(shape, jnp.float32)}

  def rotate(self, params, x_BxLxHxE, at, side):
    theta_E = self.inverse_frequencies(x_BxLxHxE.shape[-1])
    angle = at[:, :, None, None].astype(jnp.float32) * jnp.asarray(
      theta_E, jnp.float32
    ).reshape(1, 1, 1, -1)
    if side == 'k':
      delta_HxE = params['delta_HxE'].astype(jnp.float32)
      angle = angle + jnp.clip(delta_HxE, -2 * np.pi, 0.0)[None, None]
    size = jax.nn.softplus(x_BxLxHxE.astype(jnp.float32))
    polar = [size * jnp.cos(angle), size * jnp.sin(angle)]
    return jnp.concatenate(polar, axis=-1).astype(x_BxLxHxE.dtype)
