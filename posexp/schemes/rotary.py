"""Multiplicative position: queries and keys are rotated."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.schemes import base as base_lib
from posexp.schemes import frequencies as laws
from posexp.schemes import trained_length

# How far xPos lets an exponent go, in nats: e^64 = 6e27 leaves float32 (and
# bfloat16) ten orders of magnitude on either side for the content.
REACH = 64.0


@dataclasses.dataclass(frozen=True)
class RoPE(base_lib.Scheme):
  """Rotate each pair of a query or a key by its position times a frequency.

    (a, b) -> (a cos - b sin, b cos + a sin) at the angle i theta_k

  Rotary position embedding: pair k of a query at i is rotated by `i theta_k`
  and of a key at j by `j theta_k`, so that their product depends on `i - j`
  only. The pairs are the two halves of the rotated dimensions (`k` with
  `k + r/2`) or, interleaved, `2k` with `2k + 1`. Scaling is a frequency law,
  e.g. `RoPE(NTK(4))`.

  Angles are float32 radians, off by at most 1.2e-7 of themselves: 0.004 at
  position 32,768. An odd width is refused. A law's temperature tau multiplies
  the logits of the rotated dimensions, as in the code of YaRN's authors and of
  Hugging Face, which scale cos and sin: with `rotated` below the head width,
  the rest of the logit is untouched.

  Source: Su et al. 2021, arXiv 2104.09864, equation 34 (its pairs are
  'interleaved'); rotated: GPT-J and GPT-NeoX.
  Use: the default of the field, with a law for lengths beyond the trained.
  Fails: unscaled, beyond the trained length.
  Golden: huggingface/transformers.

  Attributes:
    frequencies: the law that gives `theta_k`; unscaled by default.
    base: b in `theta_k = b^(-2k/r)`, above 1; a number, or `matched(4096)` for
      the base that at the trained length is what 10,000 is at 4,096.
    rotated: r, how many dimensions rotate, the first ones, with the full
      spectrum; None for the whole head.
    pairing: 'half' or 'interleaved'; weights are trained for one of them.

  >>> RoPE().inverse_frequencies(8)
  array([1.   , 0.1  , 0.01 , 0.001])
  >>> RoPE(laws.NTK(4)).inverse_frequencies(8)[-1]  # A quarter of 0.001.
  np.float64(0.00025)
  >>> RoPE(rotated=4).inverse_frequencies(8)
  array([1.  , 0.01])
  """

  computed = {
    'inverse_frequencies': ('frequencies', 'base'),
    '_temperature': ('frequencies',),
  }
  frequencies: laws.Law = component.field(
    laws.Law(), kind=laws.Law, remedy='give a law such as NTK(factor=4)'
  )
  base: trained_length.Number = component.field(
    10000.0, above=1, remedy='at 1 all pairs turn alike'
  )
  rotated: int | None = component.field(
    None,
    kind=int,
    even=True,
    at_least=2,
    remedy='or give None for the whole head',
  )
  pairing: str = component.field('half', one_of=('half', 'interleaved'))

  def inverse_frequencies(self, head_width: int) -> np.ndarray:
    """Return theta_k, radians per position: float64, rotated width / 2."""
    width = head_width if self.rotated is None else self.rotated
    if width % 2:
      raise component.UserError(
        f'head width must be even for RoPE, got {head_width}: choose width '
        'and heads so that width / heads is even'
      )
    if width > head_width:
      raise component.UserError(
        f'rotated of RoPE is {width} but the head width is {head_width}: '
        'rotate at most the whole head'
      )
    self.frequencies.check(width)
    base = trained_length.number(self, 'base')
    return self.frequencies.inverse_frequencies(base=base, width=width)

  @property
  def temperature(self) -> float:
    """The factor tau on the logits of the rotated part, 1.0 if none."""
    return self._temperature()

  def _temperature(self) -> float:
    return self.frequencies.temperature

  def check(self, dims, length):
    super().check(dims, length)
    self.inverse_frequencies(dims.head_width)

  def features(self, dims, place_N):
    theta_K = self.inverse_frequencies(dims.head_width)
    return {'phases': np.outer(place_N, theta_K) % (2 * np.pi)}

  def for_length(self, length):
    law = self.frequencies.for_length(length)
    return dataclasses.replace(self, frequencies=law)

  def rotate(self, params, x_BxLxHxE, at, side):
    del params
    return self.turn(x_BxLxHxE, at, side, 1.0)

  def turn(self, x_BxLxHxE, at, side, amplitude):
    """Rotate, and multiply by a number or, for each pair, B x L x 1 x K."""
    theta_K = self.inverse_frequencies(x_BxLxHxE.shape[-1])
    angle_BxLx1xK = at[:, :, None, None].astype(jnp.float32) * jnp.asarray(
      theta_K, jnp.float32
    ).reshape(1, 1, 1, -1)
    # The whole temperature goes on the queries, so that keys can be cached.
    tau = (self._temperature() if side == 'q' else 1.0) * amplitude
    cos = (tau * jnp.cos(angle_BxLx1xK)).astype(x_BxLxHxE.dtype)
    sin = (tau * jnp.sin(angle_BxLx1xK)).astype(x_BxLxHxE.dtype)
    width = 2 * theta_K.size
    turned, rest = x_BxLxHxE[..., :width], x_BxLxHxE[..., width:]
    if self.pairing == 'half':
      a, b = jnp.split(turned, 2, axis=-1)
      out = [a * cos - b * sin, b * cos + a * sin, rest]
    else:
      # As slices and not as look-ups, which they are in older JAX.
      every_second = functools.partial(
        jax.lax.slice_in_dim, turned, limit_index=width, stride=2, axis=-1
      )
      a, b = every_second(0), every_second(1)
      pairs = jnp.stack([a * cos - b * sin, b * cos + a * sin], axis=-1)
      out = [pairs.reshape(turned.shape), rest]
    return jnp.concatenate(out, axis=-1)


@dataclasses.dataclass(frozen=True)
class xPos(base_lib.Scheme):
  """Rotate pairs, and let each decay with the distance: xPos.

    q_i -> rotate(q_i) z_k^((i - c) / B),  k_j -> rotate(k_j) z_k^(-(j - c) / B)
    z_k = (2k/d + 0.4) / 1.4,  k = 0..d/2-1

  Pair k of their product has the factor `z_k^((i - j) / B)`, at most 1 for
  `j <= i`. c is a constant and has no effect but on rounding: the authors' half
  of the current length would move with every generated token.

  An exponent may reach 64 nats in float32, so positions must be within 51.09 B
  of c: 26,157 tokens at the defaults, 52,313 with the centre in their middle.
  A longer length is refused; rotations beyond are finite but do not fade.
  Each factor is off by at most 1e-5 of itself. Not for float16.

  Source: Sun et al. 2022, arXiv 2212.10554, with the constants of the
  authors' code (torchscale, `xpos_relative_position.py`).
  Use: where far tokens should count less and angles still matter.
  Fails: far tokens fade whatever they say: at `B = 512` and a distance of 4,096
  the factors are from 4e-5 up; causal only, as keys after the query would grow.
  Golden: microsoft/torchscale (authors).

  Attributes:
    rope: the rotation; the authors' pairs are 'interleaved'.
    scale_base: B, in tokens.
    centre: c, a position; at best half of the longest length.

  >>> xPos().decays(8).round(4)
  array([0.2857, 0.4643, 0.6429, 0.8214])
  >>> xPos().check(base_lib.Dims(width=8, heads=1, head_width=8), 26_158)
  Traceback (most recent call last):
  ...
  posexp.UserError: xPos() holds 26157 positions in float32 but a length of ...
  """

  computed = {'_rates': ('scale_base',)}
  rope: RoPE = component.field(RoPE(), kind=RoPE, remedy='give RoPE()')
  scale_base: float = trained_length.positive(512.0)
  centre: float = component.field(0.0, at_least=0)

  def decays(self, head_width: int) -> np.ndarray:
    """Return z_k: float64, rotated width / 2 values from 0.2857 up."""
    pairs = self.rope.inverse_frequencies(head_width).size
    return (np.arange(pairs) / pairs + 0.4) / 1.4

  def _rates(self, head_width: int) -> np.ndarray:
    """Return ln z_k / B, nats a token."""
    return np.log(self.decays(head_width)) / self.scale_base

  def check(self, dims, length):
    self.rope.check(dims, length)
    reach = REACH * self.scale_base / -math.log(0.4 / 1.4)
    last = math.floor(self.centre + reach)
    if length - 1 > last or self.centre > reach:
      raise component.UserError(
        f'{self} holds {last + 1 if self.centre <= reach else 0} positions in '
        f'float32 but a length of {length} was asked: set centre to half of '
        'the longest length, or raise scale_base'
      )

  def features(self, dims, place_N):
    return {
      **super().features(dims, place_N),
      **self.rope.features(dims, place_N),
    }

  def for_length(self, length):
    return dataclasses.replace(self, rope=self.rope.for_length(length))

  def rotate(self, params, x_BxLxHxE, at, side):
    del params
    rate_K = self._rates(x_BxLxHxE.shape[-1])
    sign = 1.0 if side == 'q' else -1.0
    away_BxLx1x1 = at[:, :, None, None].astype(jnp.float32) - self.centre
    power_BxLx1xK = away_BxLx1x1 * jnp.asarray(
      sign * rate_K, jnp.float32
    ).reshape(1, 1, 1, -1)
    # Only positions that `check` refuses are clipped: they stay finite.
    amplitude = jnp.exp(jnp.clip(power_BxLx1xK, -REACH, REACH))
    return self.rope.turn(x_BxLxHxE, at, side, amplitude)
