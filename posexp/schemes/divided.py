"""Positions that are token indices over a number, whose distances are exact."""

import dataclasses
import fractions
import functools
import math
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# Products of the parts of a ratio stay below this, in int32.
LARGEST = 2**31


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=('index',),
  meta_fields=('ratio',),
)
@dataclasses.dataclass(frozen=True, eq=False)
class Divided:
  """Positions index / s, as an array that is divided when it is used.

  The difference of two such arrays is that of their indices over s, so that a
  distance is the same number wherever it stands, and whole where it is whole.
  For everything else it is a float32 array. A function over trees of positions
  takes `is_array` as its `is_leaf`.

  Attributes:
    index: token indices.
    ratio: s.

  >>> at = Divided(jnp.array([4, 7]), fractions.Fraction(3))
  >>> (at[1] - at[0]).item(), np.asarray(at).round(2).tolist()
  (1.0, [1.3300000429153442, 2.3299999237060547])
  """

  index: jax.Array
  ratio: fractions.Fraction

  dtype = jnp.dtype(jnp.float32)
  shape = property(lambda self: self.index.shape)
  ndim = property(lambda self: self.index.ndim)

  def astype(self, dtype: Any) -> jax.Array:
    """Return the positions as an array."""
    return quotient(self.index, self.ratio).astype(dtype)

  def __getitem__(self, place: Any) -> 'Divided':
    return Divided(self.index[place], self.ratio)

  def __jax_array__(self) -> jax.Array:
    return self.astype(jnp.float32)

  def __array__(self, dtype: Any = None, copy: bool | None = None):
    return np.array(self.astype(jnp.float32), dtype)

  def __sub__(self, other: Any) -> jax.Array:
    if isinstance(other, Divided) and other.ratio == self.ratio:
      return quotient(self.index - other.index, self.ratio)
    return self.astype(jnp.float32) - other

  def __getattr__(self, name: str) -> Any:
    """Return what an array of the positions has, as a method of it."""
    if name.startswith('__'):
      raise AttributeError(name)
    return getattr(self.astype(jnp.float32), name)

  def __lt__(self, other: Any) -> jax.Array:
    return self - other < 0

  def __le__(self, other: Any) -> jax.Array:
    return self - other <= 0

  def __gt__(self, other: Any) -> jax.Array:
    return self - other > 0

  def __ge__(self, other: Any) -> jax.Array:
    return self - other >= 0

  def __eq__(self, other: Any) -> Any:
    if isinstance(self.index, jax.Array | np.ndarray):
      return self - other == 0
    # As a node of a tree of something else, such as shapes.
    if not isinstance(other, Divided):
      return NotImplemented
    return (self.index, self.ratio) == (other.index, other.ratio)

  def __ne__(self, other: Any) -> Any:
    equal = self == other
    return ~equal if hasattr(equal, 'dtype') else not equal


def _of_array(function: Any, swapped: bool = False) -> Any:
  """Return an operator on a float32 array of the positions."""

  def operate(self: Divided, *other: Any) -> Any:
    array = self.astype(jnp.float32)
    return function(*other, array) if swapped else function(array, *other)

  return operate


# All but the difference and comparisons, which are exact.
for _name in ('neg', 'pos', 'abs'):
  setattr(Divided, f'__{_name}__', _of_array(getattr(operator, _name)))
for _name in ('add', 'sub', 'mul', 'truediv', 'floordiv', 'mod', 'pow'):
  _function = getattr(operator, _name)
  if _name != 'sub':
    setattr(Divided, f'__{_name}__', _of_array(_function))
  setattr(Divided, f'__r{_name}__', _of_array(_function, swapped=True))


def is_array(node: Any) -> bool:
  """Return whether a part of positions is an array, or stands for one.

  As `is_leaf` of a function over trees: the leaf of divided positions is their
  index.
  """
  return hasattr(node, 'astype')


def divide(at: Any, factor: float) -> Divided:
  """Return positions over a factor: of token indices, or of what this gave."""
  if isinstance(at, Divided):
    return Divided(at.index, at.ratio * simplest(factor))
  return Divided(at, simplest(factor))


def simplest(factor: float) -> fractions.Fraction:
  """Return the shortest fraction that is a float: 27/10 for 2.7.

  What has none whose parts have a product below `LARGEST` is returned exactly.
  """
  exact = fractions.Fraction(factor)
  most = max(1, math.isqrt(int(LARGEST / exact)))
  near = exact.limit_denominator(most)
  same = math.isclose(near, factor, rel_tol=1e-12)
  return near if same and _fits(near) else exact


def quotient(index: jax.Array, ratio: fractions.Fraction) -> jax.Array:
  """Return index / ratio in float32: exact where it is whole, under jit too.

  >>> quotient(jnp.array([27, 54]), simplest(2.7)).tolist()
  [10.0, 20.0]
  """
  if not (jnp.issubdtype(index.dtype, jnp.integer) and _fits(ratio)):
    return index.astype(jnp.float32) / np.float32(ratio)
  # XLA divides a float by multiplying with a rounded reciprocal.
  above, below = ratio.numerator, ratio.denominator
  rest = index % above * below
  whole = index // above * below + rest // above
  return whole.astype(jnp.float32) + (rest % above).astype(
    jnp.float32
  ) / np.float32(above)


def _fits(ratio: fractions.Fraction) -> bool:
  return ratio.numerator * ratio.denominator < LARGEST
