"""A scheme's numbers apart from its form, so that a program is given them.

Schemes that differ in numbers alone (frequencies, a base, a strength) compute
the same operations. `take` separates the numbers from the form, and `fill` puts
numbers back, those of a program too: what is compiled for a form serves every
scheme of that form.
"""

import dataclasses
import functools
import inspect
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.component import user_code
from posexp.schemes import base

Numbers = tuple[Any, ...]

# Where a user's class is compared with itself given its numbers: at places that
# are near, and at some so far that rounding shows.
PLACES = (0, 1, 2, 3, 100, 2047, 32767)
# How far apart the results may be, as a share of the largest.
ROUNDING = 1e-6

_FLAGS = (
  *('relative', 'blockwise', 'normalised', 'draws', 'widens', 'factor_only'),
  'decodes',
)


@dataclasses.dataclass(frozen=True)
class Hole:
  """What a form has in the place of a number, or of an array of them."""

  shape: tuple[int, ...]


def take(
  scheme: base.Scheme, dims: base.Dims, dtype: str = 'float32'
) -> tuple[base.Scheme, Numbers]:
  """Return the form of a scheme and its numbers, in float32.

  Two schemes have the same form if only numbers tell them apart: fields that
  hold a float, but for those in `Scheme.structural`, and fields from which a
  method in `Scheme.computed` makes numbers on the host. A user's class whose
  hooks cannot be given numbers, or give other results then, keeps them.

  Args:
    scheme: resolved, for a trained length and the length of a sequence.
    dims: of the model.
    dtype: that the model computes in.

  >>> from posexp import schemes
  >>> dims = schemes.Dims(width=8, heads=2, head_width=4)
  >>> plain, (theta_K, _) = take(schemes.RoPE(), dims)
  >>> scaled, (slower_K, _) = take(schemes.RoPE(schemes.Linear(4)), dims)
  >>> plain == scaled, (theta_K / slower_K).tolist()
  (True, [4.0, 4.0])
  """
  numbers: list[Any] = []
  return _taken(scheme, dims, dtype, numbers), tuple(numbers)


def fill(form: base.Scheme, numbers: Numbers) -> base.Scheme:
  """Return the scheme that a form is with numbers, which may be traced.

  It is for its hooks alone: it cannot be compared, written or checked.
  """
  rest = iter(numbers)
  scheme = _filled(form, rest)
  assert next(rest, None) is None, 'a form has a hole for each number'
  return scheme


def unfill(scheme: base.Scheme) -> tuple[base.Scheme, Numbers]:
  """Return form and numbers of what `fill` gave, and () of any other scheme.

  For a function with a static argument, which may hold nothing that is traced.
  """
  numbers: list[Any] = []
  return _emptied(scheme, numbers), tuple(numbers)


def is_filled(scheme: base.Scheme) -> bool:
  """Return whether a scheme comes from `fill`, with at least one number."""
  return bool(unfill(scheme)[1])


def _taken(
  part: base.Scheme, dims: base.Dims, dtype: str, numbers: list[Any]
) -> base.Scheme:
  """Return the form of a scheme, and append its numbers."""
  kind = type(part)
  if not user_code.is_ours(kind) and not _serves(part, dims, dtype):
    return part
  return _opened(part, dims, dtype, numbers)


def _opened(
  part: base.Scheme, dims: base.Dims, dtype: str, numbers: list[Any]
) -> base.Scheme:
  new: dict[str, Any] = {}
  for name, fields in part.computed.items():
    method = getattr(part, name)
    sizes = {n: getattr(dims, n) for n in inspect.signature(method).parameters}
    number = np.asarray(method(**sizes), np.float32)
    numbers.append(number)
    new |= dict.fromkeys(fields, Hole(number.shape))

  def of_field(value):
    if isinstance(value, base.Scheme):
      return _taken(value, dims, dtype, numbers)
    items = value if isinstance(value, tuple) else (value,)
    if items and all(isinstance(item, float) for item in items):
      numbers.append(np.asarray(value, np.float32))
      return Hole(numbers[-1].shape)
    return tuple(map(of_field, value)) if isinstance(value, tuple) else value

  for name in _plain_fields(part):
    if name not in part.structural:
      new[name] = of_field(getattr(part, name))
  return _copy(part, new)


def _filled(part: Any, rest: Iterator[Any]) -> Any:
  if isinstance(part, Hole):
    return next(rest)
  if isinstance(part, tuple):
    return tuple(_filled(item, rest) for item in part)
  if not isinstance(part, base.Scheme):
    return part
  # In the order of `_opened`.
  numbers = {
    name: _constant(next(rest))
    for name, fields in part.computed.items()
    if isinstance(getattr(part, fields[0]), Hole)
  }
  fields = {n: _filled(getattr(part, n), rest) for n in _plain_fields(part)}
  return _copy(part, fields | numbers)


def _emptied(part: Any, numbers: list[Any]) -> Any:
  if isinstance(part, jax.Array | np.ndarray):
    numbers.append(part)
    return Hole(part.shape)
  if isinstance(part, tuple):
    return tuple(_emptied(item, numbers) for item in part)
  if not isinstance(part, base.Scheme):
    return part
  numbers += [
    vars(part)[name]() for name in part.computed if name in vars(part)
  ]
  return _copy(
    part, {n: _emptied(getattr(part, n), numbers) for n in _plain_fields(part)}
  )


def _plain_fields(part: base.Scheme) -> list[str]:
  """Return the names of the fields from which no number is computed."""
  used = {name for fields in part.computed.values() for name in fields}
  names = [field.name for field in dataclasses.fields(part)]
  return [name for name in names if name not in used]


def _copy(part: base.Scheme, new: dict[str, Any]) -> base.Scheme:
  """Return a component with other attributes, of which none is verified."""
  copy = object.__new__(type(part))
  values = {
    field.name: getattr(part, field.name) for field in dataclasses.fields(part)
  }
  for name, value in (values | new).items():
    object.__setattr__(copy, name, value)
  return copy


def _constant(number: Any) -> Any:
  """Return what stands for a method whose result is given."""
  return lambda *sizes, **named: number


@component.cached(maxsize=256)
def _serves(scheme: base.Scheme, dims: base.Dims, dtype: str) -> bool:
  """Return whether the hooks of a user's scheme do the same given numbers."""
  numbers: list[Any] = []
  try:
    form = _opened(scheme, dims, dtype, numbers)
    own = jax.jit(functools.partial(_results, scheme, dims, dtype))()
    given = jax.jit(lambda numbers: _results(fill(form, numbers), dims, dtype))(
      tuple(numbers)
    )
    flags = [
      [getattr(s, name) for name in _FLAGS] + [s.hooks()]
      for s in (scheme, fill(form, tuple(numbers)))
    ]
  # Whatever it is that a user's code cannot do with what is traced.
  except Exception:
    return False
  trees = jax.tree.structure(own), jax.tree.structure(given)
  if flags[0] != flags[1] or len(set(trees)) > 1:
    return False
  return all(map(_close, jax.tree.leaves(own), jax.tree.leaves(given)))


def _close(own: Any, given: Any) -> bool:
  if (own.dtype, own.shape) != (given.dtype, given.shape):
    return False
  own, given = (np.asarray(x).astype(np.float64) for x in (own, given))
  finite = own[np.isfinite(own)]
  near = ROUNDING * np.abs(finite).max(initial=0.0)
  return np.allclose(own, given, rtol=0.0, atol=near, equal_nan=True)


def _results(scheme: base.Scheme, dims: base.Dims, dtype: str) -> Any:
  """Return what each hook does with a few tokens at `PLACES`."""
  key = jax.random.key(0)
  index_1xL = jnp.asarray(PLACES, jnp.int32)[None]
  tokens, heads = len(PLACES), dims.heads
  x_1xLxD = jax.random.normal(key, (1, tokens, dims.width)).astype(dtype)
  x_1xLxHxE = x_1xLxD.reshape(1, tokens, heads, -1)
  of_input, params = scheme.init_input(key, dims), scheme.init_layer(key, dims)
  remapped = scheme.remap(index_1xL, key)
  embedded = scheme.embed(of_input, x_1xLxD, remapped)
  at = scheme.locate(params, x_1xLxD, remapped, None)
  q, k = (scheme.rotate(params, x_1xLxHxE, at, side) for side in ('q', 'k'))

  def column(x):
    return x[:, None, :, None] if x.ndim == 2 else x.swapaxes(1, 2)[..., None]

  q_at = jax.tree.map(column, at)
  k_at = jax.tree.map(lambda x: x.swapaxes(2, 3), q_at)
  head = base.Head(jnp.arange(heads).reshape(1, heads, 1, 1), heads)
  bias = jnp.asarray(scheme.bias(params, head, q_at, k_at))
  logits = jax.random.normal(key, (1, heads, tokens, tokens))
  rescored = scheme.rescore(params, logits, x_1xLxHxE, at, at)
  return of_input, params, remapped, embedded, at, q, k, bias, rescored
