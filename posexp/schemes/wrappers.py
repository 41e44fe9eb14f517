"""Wrappers: a scheme at other positions, and only the scheme inside."""

import dataclasses
import math
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.schemes import base, divided, trained_length


def _inner(name: str) -> Any:
  """Return an attribute or method that is the inner scheme's own."""
  return property(operator.attrgetter(f'scheme.{name}'))


@dataclasses.dataclass(frozen=True)
class Wrapper(base.Scheme):
  """A scheme at other positions; all else is delegated to the inner scheme.

  A subclass says in `remap` which positions the inner scheme sees, and in
  `check` up to which one.
  """

  scheme: base.Scheme

  relative = _inner('relative')
  blockwise = _inner('blockwise')
  normalised = _inner('normalised')
  draws = _inner('draws')
  widens = _inner('widens')
  factor_only = _inner('factor_only')
  decodes = _inner('decodes')

  init_input = _inner('init_input')
  init_layer = _inner('init_layer')
  neutral = _inner('neutral')
  remap = _inner('remap')
  embed = _inner('embed')
  locate = _inner('locate')
  rotate = _inner('rotate')
  bias = _inner('bias')
  rescore = _inner('rescore')

  features = _inner('features')
  trained_features = _inner('trained_features')
  check = _inner('check')
  atoms = _inner('atoms')
  flatten = _inner('flatten')
  unflatten = _inner('unflatten')

  def hooks(self):
    used = {'remap', *self.scheme.hooks()}
    return tuple(h for h in base.HOOKS if h in used)

  def for_length(self, length):
    return dataclasses.replace(self, scheme=self.scheme.for_length(length))

  def evaluated(self):
    return dataclasses.replace(self, scheme=self.scheme.evaluated())


@dataclasses.dataclass(frozen=True)
class Interpolate(Wrapper):
  """Divide the positions of a scheme by a factor.

    remap(i) = inner(i / s)

  `Interpolate(RoPE(), 4) + ALiBi()` scales the rotation only and
  `Interpolate(RoPE() + ALiBi(), 4)` scales both. For a rotation it is the same
  as the frequency law `Linear(4)`. The distance of two tokens is divided as a
  whole number, so that it is the same wherever they stand; a position as such
  is float32. A scheme that draws its positions is refused.

  Source: Chen et al. 2023, arXiv 2306.15595, equation 4.
  Use: to reach s times the trained length with some adaptation.
  Fails: without adaptation; neighbours come closer than any seen in training.

  Attributes:
    scheme: what is interpolated.
    factor: s, target length over trained length; above 0.

  >>> index = jnp.arange(4)[None]
  >>> np.asarray(Interpolate(base.NoPE(), 4).remap(index, None)).tolist()
  [[0.0, 0.25, 0.5, 0.75]]
  """

  structural = ('factor',)  # Whole distances stay whole by exact division.
  factor: float = trained_length.positive()

  def __post_init__(self):
    super().__post_init__()
    if self.scheme.draws:
      raise component.UserError(
        f'{self.scheme} draws whole positions, and Interpolate has others: '
        'put Interpolate inside, around the scheme that sees the draw'
      )

  def remap(self, index_BxL, key):
    at: base.At = divided.divide(index_BxL, self.factor)
    return self.scheme.remap(at, key)

  def features(self, dims, place_N):
    return self.scheme.features(dims, place_N / self.factor)

  def trained_features(self, dims, length):
    return self.features(dims, np.arange(length))

  def check(self, dims, length):
    self.scheme.check(dims, math.ceil((length - 1) / self.factor) + 1)
    # Neighbours are up to twice as close to a multiple of their last bit.
    whole = math.frexp(self.factor)[0] == 0.5
    for part in self.scheme.parts:
      base.check_far(part, length if whole else 2 * length, length)

  def for_length(self, length):
    inner = self.scheme.for_length(math.ceil(length / self.factor))
    return dataclasses.replace(self, scheme=inner)


@dataclasses.dataclass(frozen=True)
class Randomize(Wrapper):
  """Draw the positions of a scheme at random, in order.

    remap(i) = inner(r_i),  r_0 < r_1 < ... are L numbers of 0, ..., M - 1

  Any L distinct ones have the same probability, drawn anew in every training
  step (one draw for its whole batch) and for every evaluated sequence. So a
  model that has seen short sequences has seen the distances of long ones. L is
  set by `for_length`; without it L is M, which leaves the positions as they
  are. A length above M is refused. Where no key is given, the draw is fixed.

  Source: Ruoss et al. 2023, arXiv 2305.16843, section 3.
  Use: with M well above every length that will be evaluated.
  Fails: the meaning of one step depends on L / M, so exact offsets (copying)
  are harder to learn.

  Attributes:
    scheme: what sees the random positions.
    positions: M, how many there are to draw from.
    tokens: L, how many are drawn; set by `for_length`.

  >>> index = jnp.arange(3)[None]
  >>> scheme = Randomize(base.NoPE(), positions=100).for_length(3)
  >>> scheme.remap(index, jax.random.key(0))[0].tolist()
  [22, 56, 90]
  >>> Randomize(base.NoPE(), positions=2).check(base.Dims(8, 2, 4), 3)
  Traceback (most recent call last):
  ...
  posexp.UserError: Randomize has 2 positions but a length of 3 was asked...
  """

  draws = True
  positions: int = component.field(2048, at_least=1)
  tokens: int | None = None

  def __post_init__(self):
    super().__post_init__()
    if self.tokens is not None:
      self._check(self.tokens)

  def _check(self, length):
    if length > self.positions:
      raise component.UserError(
        f'Randomize has {self.positions} positions but a length of {length} '
        f'was asked: give positions={length} or more'
      )

  def remap(self, index_BxL, key):
    if self.tokens is None:
      return self.scheme.remap(index_BxL, key)
    # A fixed draw for callers without a key, who want one answer.
    key = jax.random.key(0) if key is None else key
    own, inner = jax.random.split(self.own_key(key))
    drawn_L = jax.random.permutation(own, self.positions)[: self.tokens]
    # Padding after the last token sees the last position; nobody sees it.
    place_BxL = jnp.clip(index_BxL, 0, self.tokens - 1)
    return self.scheme.remap(jnp.sort(drawn_L)[place_BxL], inner)

  def features(self, dims, place_N):
    # A step is so long on average.
    step = self.positions / (self.tokens or self.positions)
    return self.scheme.features(dims, np.round(place_N * step))

  def trained_features(self, dims, length):
    del length  # Any position may be drawn at any length.
    return self.scheme.trained_features(dims, self.positions)

  def check(self, dims, length):
    self._check(length)
    self.scheme.check(dims, self.positions)

  def for_length(self, length):
    inner = self.scheme.for_length(self.positions)
    if self.tokens is None:
      return dataclasses.replace(self, scheme=inner, tokens=length)
    if length > self.tokens:
      raise component.UserError(
        f'Randomize draws {self.tokens} positions but a length of {length} '
        'was asked: leave tokens out, or call for_length with the longest'
      )
    return dataclasses.replace(self, scheme=inner)


@dataclasses.dataclass(frozen=True)
class Shift(Wrapper):
  """Let the positions of a scheme start anywhere.

    remap(i) = inner(i + k),  k uniform in 0, ..., most

  k is drawn anew in every training step, and 0 in evaluation. It makes an
  absolute scheme learn shift invariance; a relative scheme does not notice.

  Source: Kiyono et al. 2021, arXiv 2109.05644 (SHAPE), section 3.2, there one
  k a sequence.
  Use: to train every row of a learned table, or every phase of a sinusoid.
  Fails: it teaches no distance beyond the trained length.

  Attributes:
    scheme: what sees the shifted positions.
    most: the largest shift, in tokens.

  >>> index = jnp.arange(3)[None]
  >>> Shift(base.NoPE(), most=100).remap(index, jax.random.key(0))[0].tolist()
  [70, 71, 72]
  >>> Shift(base.NoPE(), most=100).remap(index, None)[0].tolist()
  [0, 1, 2]
  """

  draws = True
  most: int = component.field(512, at_least=0)

  def remap(self, index_BxL, key):
    if key is None:
      return self.scheme.remap(index_BxL, None)
    own, inner = jax.random.split(self.own_key(key))
    by = jax.random.randint(own, (), 0, self.most + 1, jnp.int32)
    return self.scheme.remap(index_BxL + by, inner)

  def trained_features(self, dims, length):
    # A shift moves no distance, only indices.
    most = 0 if self.scheme.relative else self.most
    return self.scheme.trained_features(dims, length + most)

  def check(self, dims, length):
    self.scheme.check(dims, length + self.most)

  def for_length(self, length):
    inner = self.scheme.for_length(length + self.most)
    return dataclasses.replace(self, scheme=inner)

  def evaluated(self):
    return dataclasses.replace(self, scheme=self.scheme.evaluated(), most=0)
