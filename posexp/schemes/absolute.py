"""Absolute position: something is added to each token's input."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.schemes import base


@dataclasses.dataclass(frozen=True)
class Sinusoidal(base.Scheme):
  """Add fixed sinusoids of the position to the input.

    x_i + p_i,  p_i[2k] = sin(i w_k),  p_i[2k+1] = cos(i w_k)
    w_k = 10000^(-2k/D) radians a token,  k = 0..D/2-1

  D is the model width; an odd one is refused. The layout is all sines before
  all cosines, a permutation of the paper's. Angles are float32, off by at most
  1.2e-7 of themselves.

  Source: Vaswani et al. 2017, arXiv 1706.03762, section 3.5.
  Use: as the absolute baseline that learns nothing.
  Fails: beyond the trained length, whose waves in that combination were never
  seen (measured by Press et al. 2021, arXiv 2108.12409).

  >>> at = jnp.zeros((1, 1), jnp.int32)
  >>> Sinusoidal().embed({}, jnp.zeros((1, 1, 4)), at)[0, 0].tolist()
  [0.0, 0.0, 1.0, 1.0]
  """

  relative = False

  def check(self, dims, length):
    super().check(dims, length)
    if dims.width % 2:
      raise component.UserError(
        f'model width must be even for Sinusoidal, got {dims.width}: choose '
        'an even width'
      )

  def features(self, dims, place_N):
    return {'angles': np.outer(place_N, _omega(dims.width)) % (2 * np.pi)}

  def embed(self, params, x_BxLxD, at):
    del params
    width = x_BxLxD.shape[-1]
    angle_BxLxK = at[:, :, None].astype(jnp.float32) * jnp.asarray(
      _omega(width), jnp.float32
    ).reshape(1, 1, -1)
    wave = jnp.concatenate([jnp.sin(angle_BxLxK), jnp.cos(angle_BxLxK)], -1)
    return x_BxLxD + wave.astype(x_BxLxD.dtype)


@dataclasses.dataclass(frozen=True)
class Learned(base.Scheme):
  """Add a row of a learned table to the input.

    x_i + P[i]

  A position between two rows (under `Interpolate`) is interpolated linearly,
  `P[p] = (1 - u) P[floor p] + u P[floor p + 1]` with `u = p - floor p`. The
  table, rows x D, starts normal with a standard deviation of 0.02.

  A length beyond the table is refused before any compute; there is nothing
  sensible to look up. Where positions come from elsewhere, one outside of the
  table gives NaN.

  Source: Gehring et al. 2017, arXiv 1705.03122, section 3.1.
  Use: as the plainest absolute baseline; with `Shift` to train all its rows.
  Fails: rows past the trained length are never trained and stay random.

  Attributes:
    rows: the size of the table, in tokens.

  >>> params = {'table_RxD': jnp.array([[0.0], [10.0], [30.0]])}
  >>> at = jnp.array([[0.0, 0.5, 1.75, 2.0, 2.5]])
  >>> Learned(rows=3).embed(params, jnp.zeros((1, 5, 1)), at)[0, :, 0].tolist()
  [0.0, 5.0, 25.0, 30.0, nan]
  >>> dims = base.Dims(width=8, heads=2, head_width=4)
  >>> Learned(rows=64).check(dims, 65)
  Traceback (most recent call last):
  ...
  posexp.UserError: Learned has 64 rows but a length of 65 was asked: ...
  """

  relative = False
  rows: int = component.field(
    512, at_least=1, remedy='give the longest length you will ask for'
  )

  def check(self, dims, length):
    super().check(dims, length)
    if length > self.rows:
      raise component.UserError(
        f'Learned has {self.rows} rows but a length of {length} was asked: '
        f'use Learned(rows={length}) or shorter lengths'
      )

  def init_input(self, key, dims):
    shape = self.rows, dims.width
    return {'table_RxD': 0.02 * jax.random.normal(self.own_key(key), shape)}

  def features(self, dims, place_N):
    del dims
    return {'rows': np.floor(place_N)[:, None]}

  def embed(self, params, x_BxLxD, at):
    table = params['table_RxD'].astype(x_BxLxD.dtype)
    at_BxL = at.astype(jnp.float32)
    below_BxL = jnp.floor(at_BxL)
    share_BxL = at_BxL - below_BxL
    # On a row the upper neighbour has no share and need not exist.
    above_BxL = below_BxL + (share_BxL > 0).astype(jnp.float32)

    def look_up(row_BxL):
      # Rows that `check` did not stop are NaN, never another position's; a
      # negative index would count from the end.
      row = jnp.where(row_BxL < 0, self.rows, row_BxL).astype(jnp.int32)
      return table.at[row].get(mode='fill', fill_value=jnp.nan)

    share = share_BxL[..., None].astype(x_BxLxD.dtype)
    mixed = (1 - share) * look_up(below_BxL) + share * look_up(above_BxL)
    return x_BxLxD + mixed


def _omega(width: int) -> np.ndarray:
  """Return w_k, float64, width / 2 values."""
  return 10000.0 ** (-np.arange(0, width, 2, dtype=np.float64) / width)
