"""Values as their annotations say, so that equal values are one value."""

import contextlib
import math
import numbers
import operator
import types
import typing
from typing import Any

from posexp.component.errors import UserError


def as_kind(label: str, value: Any, hint: Any, remedy: str = '') -> Any:
  """Return a value as an annotation says, so that equal values are one value.

  Numbers of NumPy and JAX become Python's, an integer in a field of floats a
  float, and a list or an array a tuple.

  >>> as_kind('rate', 2, float), as_kind('seeds', range(2), tuple[int, ...])
  (2.0, (0, 1))
  >>> as_kind('batch', 64.0, int)
  Traceback (most recent call last):
  ...
  posexp.UserError: batch must be an int, got 64.0 (float): write 64

  Args:
    label: what the value is, for the sentence.
    value: what was given.
    hint: the annotation; kinds that are not known here are not asked for.
    remedy: what the user can do, as the end of the sentence.

  Raises:
    UserError: if the value is not of the kind.
  """
  if getattr(value, 'shape', None) == () and hasattr(value, 'item'):
    value = value.item()
  kinds = options(hint)
  refused: list[UserError] = []
  for kind in kinds:
    try:
      return as_one(label, value, kind, remedy)
    except UserError as error:
      refused.append(error)
  raise refused[0]


def options(hint: Any) -> list[Any]:
  """Return the kinds of an annotation; an int is also a float."""
  union = typing.get_origin(hint) in (typing.Union, types.UnionType)
  kinds = [*typing.get_args(hint)] if union else [hint]
  return [kind for kind in kinds if kind is not int or float not in kinds]


def as_one(label: str, value: Any, kind: Any, remedy: str) -> Any:
  """Return a value as one kind, see `as_kind`."""
  ending = remedy and f': {remedy}'
  origin = typing.get_origin(kind)
  if origin in (tuple, list) or kind in (tuple, list):
    return _as_tuple(label, value, kind, remedy)
  if kind is bool and type(value) is not bool:
    raise UserError(
      f'{label} must be True or False, got {value!r}: write one of the two'
    )
  if kind is int:
    return _as_int(label, value, ending)
  if kind is float:
    return _as_float(label, value, ending)
  if kind is str and not isinstance(value, str):
    raise UserError(f'{label} must be text, got {value!r}{ending}')
  if kind is types.NoneType or hasattr(kind, 'to_dict'):
    return _as_component(label, value, kind, ending)
  return _as_tuple(label, value, tuple, '') if type(value) is list else value


def _as_int(label: str, value: Any, ending: str) -> int:
  if not isinstance(value, bool):
    with contextlib.suppress(TypeError):
      return operator.index(value)
  ending = ending or ': write a whole number'
  if isinstance(value, float) and value.is_integer():
    ending = f': write {value:.0f}'
  raise UserError(
    f'{label} must be an int, got {value!r} ({type(value).__name__}){ending}'
  )


def _as_float(label: str, value: Any, ending: str) -> float:
  if not isinstance(value, numbers.Real) or isinstance(value, bool):
    raise UserError(f'{label} must be a number, got {value!r}{ending}')
  try:
    number = float(value) + 0.0  # There is one zero.
  except OverflowError:
    number = math.inf
  if math.isnan(number):
    raise UserError(f'{label} must be finite, got nan{ending}')
  return number


def _as_component(label: str, value: Any, kind: type, ending: str) -> Any:
  if isinstance(value, kind):
    return value
  if isinstance(value, type) and issubclass(value, kind):
    ending = f': write {value.__name__}() with its fields, not the class'
  elif isinstance(value, str):
    ending = f'{ending or ": write it"} without quotation marks'
  shown = 'None' if kind is types.NoneType else f'of type {kind.__name__}'
  raise UserError(f'{label} must be {shown}, got {value!r}{ending}')


def _as_tuple(label: str, value: Any, kind: Any, remedy: str) -> tuple:
  each, kinds = items(label, value, remedy), typing.get_args(kind)
  if kinds[1:] and kinds[1] is not Ellipsis:
    if len(each) != len(kinds):
      raise UserError(
        f'{label} must have {len(kinds)} items, got {value!r}: give each one'
      )
  else:
    kinds = (kinds[0] if kinds else Any,) * len(each)
  return tuple(as_kind(label, x, k, remedy) for x, k in zip(each, kinds))


def items(label: str, value: Any, remedy: str) -> tuple:
  """Return a value as a tuple; a set has no order, and text is one value."""
  if isinstance(value, str | bytes | dict | set | frozenset) or not isinstance(
    value, typing.Iterable
  ):
    remedy = remedy or 'write one in parentheses, with a comma after each item'
    raise UserError(f'{label} must be a tuple, got {value!r}: {remedy}')
  return tuple(value)
