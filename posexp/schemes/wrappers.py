"""Wrappers: a scheme at other positions. Their scope is lexical."""

import dataclasses
import math

import jax.numpy as jnp

from posexp.schemes import base


@dataclasses.dataclass(frozen=True)
class Interpolate(base.Scheme):
  """A scheme at positions divided by a factor: remap(i) = inner(i / s).

  `Interpolate(RoPE(), 4) + ALiBi()` scales the rotation only and
  `Interpolate(RoPE() + ALiBi(), 4)` scales both. For a rotation it is the same
  as the frequency law `Linear(4)`. Positions are float32, in units of tokens
  of the trained length. Source: Chen et al. 2023, arXiv 2306.15595, equation 4.

  Attributes:
    scheme: what is interpolated.
    factor: s, target length over trained length; above 0.

  >>> index = jnp.arange(4)[None]
  >>> Interpolate(base.NoPE(), 4).remap(index, None)[0].tolist()
  [0.0, 0.25, 0.5, 0.75]
  """

  scheme: base.Scheme
  factor: float

  def __post_init__(self):
    base.positive('factor of Interpolate', self.factor)

  @property
  def relative(self) -> bool:  # type: ignore[override]
    return self.scheme.relative

  @property
  def blockwise(self) -> bool:  # type: ignore[override]
    return self.scheme.blockwise

  def hooks(self):
    return ('remap', *(h for h in self.scheme.hooks() if h != 'remap'))

  @property
  def atoms(self):
    return self.scheme.atoms

  def flatten(self, params):
    return self.scheme.flatten(params)

  def unflatten(self, params):
    return self.scheme.unflatten(params)

  def remap(self, index_BxL, key):
    scaled = index_BxL.astype(jnp.float32) / jnp.float32(self.factor)
    return self.scheme.remap(scaled, key)

  def check(self, dims, length):
    self.scheme.check(dims, math.ceil((length - 1) / self.factor) + 1)

  def for_length(self, length):
    inner = self.scheme.for_length(math.ceil(length / self.factor))
    return Interpolate(inner, self.factor)

  def init_input(self, key, dims):
    return self.scheme.init_input(key, dims)

  def init_layer(self, key, dims):
    return self.scheme.init_layer(key, dims)

  def neutral(self, params):
    return self.scheme.neutral(params)

  def embed(self, params, x_BxLxD, at):
    return self.scheme.embed(params, x_BxLxD, at)

  def locate(self, params, x_BxLxD, at):
    return self.scheme.locate(params, x_BxLxD, at)

  def rotate(self, params, x_BxLxHxE, at, side):
    return self.scheme.rotate(params, x_BxLxHxE, at, side)

  def bias(self, params, head, q_at, k_at):
    return self.scheme.bias(params, head, q_at, k_at)

  def rescore(self, params, logits_BxHxQxK, q_BxQxHxE, q_at, k_at):
    return self.scheme.rescore(params, logits_BxHxQxK, q_BxQxHxE, q_at, k_at)
