"""Absolute position: something is added to each token's input."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from posexp.schemes import base


@dataclasses.dataclass(frozen=True)
class Sinusoidal(base.Scheme):
  """Fixed sinusoids: x_i + p_i, p_i[2k] = sin(i w_k), p_i[2k+1] = cos(i w_k).

  w_k = 10000^(-2k/D), D the model width, here laid out as all sines before
  all cosines, a permutation of the paper's. Source: Vaswani et al. 2017,
  arXiv 1706.03762, section 3.5.

  >>> at = jnp.zeros((1, 1), jnp.int32)
  >>> Sinusoidal().embed({}, jnp.zeros((1, 1, 4)), at)[0, 0].tolist()
  [0.0, 0.0, 1.0, 1.0]
  """

  relative = False

  def check(self, dims, length):
    del length
    if dims.width % 2:
      raise ValueError(
        f'model width must be even for Sinusoidal, got {dims.width}: choose '
        'an even width'
      )

  def embed(self, params, x_BxLxD, at):
    del params
    width = x_BxLxD.shape[-1]
    omega = 10000.0 ** (-np.arange(0, width, 2, dtype=np.float64) / width)
    angle_BxLxK = at[:, :, None].astype(jnp.float32) * jnp.asarray(
      omega, jnp.float32
    ).reshape(1, 1, -1)
    wave = jnp.concatenate([jnp.sin(angle_BxLxK), jnp.cos(angle_BxLxK)], -1)
    return x_BxLxD + wave.astype(x_BxLxD.dtype)


@dataclasses.dataclass(frozen=True)
class Learned(base.Scheme):
  """A learned table of absolute positions: x_i + P[i].

  A position between two rows (under `Interpolate`) is interpolated linearly.
  A length beyond the table is refused before any compute; there is nothing
  sensible to look up. Source: Gehring et al. 2017, arXiv 1705.03122.

  Attributes:
    rows: the size of the table, in tokens.

  >>> dims = base.Dims(width=8, heads=2, head_width=4)
  >>> Learned(rows=64).check(dims, 65)
  Traceback (most recent call last):
  ...
  ValueError: Learned has 64 rows but a length of 65 was asked: ...
  """

  relative = False
  rows: int = 512

  def __post_init__(self):
    if self.rows < 1:
      raise ValueError(
        f'rows of Learned must be at least 1, got {self.rows}: give the '
        'longest length you will ask for'
      )

  def check(self, dims, length):
    del dims
    if length > self.rows:
      raise ValueError(
        f'Learned has {self.rows} rows but a length of {length} was asked: '
        f'use Learned(rows={length}) or shorter lengths'
      )

  def init_input(self, key, dims):
    table = 0.02 * jax.random.normal(key, (self.rows, dims.width))
    return {'table_RxD': table}

  def embed(self, params, x_BxLxD, at):
    table = params['table_RxD'].astype(x_BxLxD.dtype)
    below = jnp.floor(at.astype(jnp.float32)).astype(jnp.int32)
    share = (at.astype(jnp.float32) - below.astype(jnp.float32))[..., None]
    share = share.astype(x_BxLxD.dtype)
    above = jnp.minimum(below + 1, self.rows - 1)
    # Rows that `check` did not stop are NaN, never another position's.
    look_up = lambda row: table.at[row].get(mode='fill', fill_value=jnp.nan)
    return x_BxLxD + (1 - share) * look_up(below) + share * look_up(above)
