"""Numbers that are set by the length a model was trained at.

A rotation whose base is 10,000 is another object at 64 tokens than at 4,096:
three quarters of its pairs never complete a period, against a third. A field
of a scheme may therefore hold a rule instead of a number; `Scheme.trained_at`
turns every rule into its number.
"""

import dataclasses
import math
import typing
from typing import Any, TypeVar

from posexp import component

C = TypeVar('C', bound=component.Component)


@dataclasses.dataclass(frozen=True)
class Relative(component.Component):
  """A rule for a number that depends on the trained length."""

  is_rule = True

  def at(self, train_length: int) -> float:
    """Return the number at a trained length, in tokens."""
    raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Matched(Relative):
  """A base or a beta in the regime that `value` has at another length.

  x(L) = value^f with f = ln(L / 2 pi) / ln(length / 2 pi), so that the share
  of rotary pairs that complete a period within L tokens, about ln(L / 2 pi) /
  ln(base), is what it is at `length`. The numbers of periods within L of all
  pairs are then those at `length` to the power f, so a beta, which is such a
  number, is matched in the same way. A derivation, not a published result:
  measure both. A length of 6 tokens or fewer is refused.

  Attributes:
    length: the trained length to mimic, in tokens.
    value: the base (or beta) there.

  >>> round(Matched(4096).at(64)), round(Matched(4096).at(4096))
  (27, 10000)
  >>> print(Matched(2048, value=5e5))
  matched(2048, value=500000)
  """

  length: int = component.field(at_least=7)
  value: float = component.field(10000.0, at_least=1)

  def at(self, train_length):
    component.at_least('a trained length for matched', train_length, 7)
    turns = 2 * math.pi
    power = math.log(train_length / turns) / math.log(self.length / turns)
    return self.value**power

  def __str__(self) -> str:
    if self.value == 10000.0:
      return f'matched({self.length})'
    return f'matched({self.length}, value={component.written(self.value)})'


@dataclasses.dataclass(frozen=True)
class Share(Relative):
  """So many trained lengths: x(L) = of * L tokens.

  Attributes:
    of: the factor, above 0.

  >>> Share(0.5).at(64)
  32.0
  >>> print(Share(0.5))
  share(0.5)
  """

  of: float = component.field(
    1.0, above=0, remedy='1.0 is the trained length itself'
  )

  def at(self, train_length):
    return self.of * train_length

  def __str__(self) -> str:
    return f'share({component.written(self.of)})'


# As they are written in an experiment: RoPE(base=matched(4096)).
matched = Matched
share = Share


# What a field that may be a rule is annotated with.
Number = float | Relative
Whole = int | Relative


def positive(default: Any = dataclasses.MISSING) -> Any:
  """Declare a field of a component for a finite number above 0, or a rule."""
  return component.field(default, above=0, remedy='raise it')


def number(owner: component.Component, name: str) -> float:
  """Return a field that is a number; a rule that is not resolved is refused.

  >>> from posexp import schemes
  >>> number(schemes.RoPE(base=Matched(4096)), 'base')
  Traceback (most recent call last):
  ...
  posexp.UserError: base of RoPE is matched(4096), which depends on the ...
  """
  value = getattr(owner, name)
  if isinstance(value, Relative):
    raise component.UserError(
      f'{name} of {type(owner).__name__} is {value}, which depends on the '
      'trained length: call trained_at(length) of the scheme first'
    )
  return value


def resolve(part: C, train_length: int) -> C:
  """Return the same component with every rule in it as its number."""
  changed = {}
  for field in dataclasses.fields(part):  # type: ignore[arg-type]
    old = getattr(part, field.name)
    new = _resolved(old, train_length)
    if new is not old:
      if isinstance(old, Relative) and _whole(type(part), field.name):
        new = round(new)
      changed[field.name] = new
  return dataclasses.replace(part, **changed) if changed else part  # type: ignore[type-var]


def _whole(kind: type, field: str) -> bool:
  """Return whether a field is of whole numbers."""
  hint = typing.get_type_hints(kind)[field]
  return int in (hint, *typing.get_args(hint))


def _resolved(value: Any, length: int) -> Any:
  if isinstance(value, Relative):
    return value.at(length)
  if isinstance(value, component.Component):
    return resolve(value, length)
  if isinstance(value, tuple):
    new = tuple(_resolved(v, length) for v in value)
    same = all(a is b for a, b in zip(new, value))
    return value if same else new
  return value
