"""Frozen dataclasses that are their own config: to a dictionary and back."""

import dataclasses
import functools
import math
import numbers
import operator
import typing
from collections.abc import Callable
from typing import Any, ClassVar, Self

from posexp.component import kinds, user_code
from posexp.component.errors import UserError, nearest, one_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
  """What the value of a field must be; every condition that is given counts.

  A rule that will be a number, which is itself a `Component`, passes all
  conditions on numbers.

  Attributes:
    kind: the type, where it is narrower than the annotation: exactly a number
      and no rule, or an instance of a class.
    each: whether the field is a tuple, and the rest is asked of every item.
    one_of: the names to choose from.
    finite: whether infinity is refused; NaN always is.
    even: whether odd numbers are refused.
    at_least: the smallest number, or the name of the field or property that
      holds it; so for the other bounds.
    at_most: the largest number.
    above: a number that must be exceeded.
    below: a number that must not be reached.
    remedy: what the user can do, as the end of the sentence.
  """

  kind: type | None = None
  each: bool = False
  one_of: tuple[str, ...] = ()
  finite: bool = True
  even: bool = False
  at_least: float | str | None = None
  at_most: float | str | None = None
  above: float | str | None = None
  below: float | str | None = None
  remedy: str = ''

  @property
  def depends(self) -> bool:
    """Whether a bound is the name of another field."""
    bounds = self.at_least, self.at_most, self.above, self.below
    return any(isinstance(bound, str) for bound in bounds)

  @property
  def of_kind(self) -> str:
    """The remedy of a value of another kind: that of a bound is not of it."""
    bounds = self.at_least, self.at_most, self.above, self.below
    bounded = self.even or any(bound is not None for bound in bounds)
    return '' if bounded and not self.each else self.remedy

  def verify(self, owner: Any, name: str) -> None:
    """Raise a `UserError` unless a field of `owner` passes.

    With `each` the value of the field is replaced by a tuple of its items.
    """
    value = getattr(owner, name)
    label = f'{name} of {type(owner).__name__}'
    if not self.each:
      self._verify_one(owner, label, value)
      return
    items = kinds.items(label, value, self.of_kind)
    object.__setattr__(owner, name, items)
    for item in items:
      self._verify_one(owner, label, item)

  def _verify_one(self, owner: Any, label: str, value: Any) -> None:
    if self.kind is not None:
      self._verify_kind(label, value, self.kind)
    if self.one_of:
      one_of(label, value, self.one_of)
    if not isinstance(value, Component):
      self._verify_number(owner, label, value)

  def _verify_kind(self, label: str, value: Any, kind: type) -> None:
    if kind in (bool, int, float):
      kinds.as_one(label, value, kind, self.of_kind)
    elif not isinstance(value, kind):
      raise self._error(label, f'of type {kind.__name__}', repr(value))

  def _verify_number(self, owner: Any, label: str, value: Any) -> None:
    demands = self._demands(owner)
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if demands and not number:
      raise self._error(label, 'a number', repr(value))
    if number and self.finite and not math.isfinite(value):
      demands.insert(0, ('finite', lambda *_: False, None))
    if not all(compare(value, bound) for _, compare, bound in demands):
      wanted = ' and '.join(words for words, _, _ in demands)
      raise self._error(label, wanted, written(value))

  def _demands(self, owner: Any) -> list[tuple[str, Any, Any]]:
    """Return the conditions on a number: in words, a predicate, its bound."""
    demands: list[tuple[str, Any, Any]] = []
    if self.even:
      demands.append(('even', lambda value, _: value % 2 == 0, None))
    for words, compare, bound in (
      ('at least', operator.ge, self.at_least),
      ('at most', operator.le, self.at_most),
      ('above', operator.gt, self.above),
      ('below', operator.lt, self.below),
    ):
      shown = bound
      if isinstance(bound, str):
        bound = getattr(owner, bound)
        shown = f'{shown}={written(bound)}'
      # What is no number is a rule, or refused where it is declared.
      if isinstance(bound, numbers.Real):
        demands.append((f'{words} {shown}', compare, bound))
    return demands

  def _error(self, label: str, wanted: str, value: str) -> UserError:
    remedy = self.remedy and f': {self.remedy}'
    return UserError(f'{label} must be {wanted}, got {value}{remedy}')


def field(
  default: Any = dataclasses.MISSING, *, later: bool = False, **conditions: Any
) -> Any:
  """Declare a field of a component, with conditions on its value.

  A field whose default is None may be None. A subclass that declares the
  field again, for another default, keeps the conditions. What kind of value a
  field holds is said by its annotation, which needs no condition.

  >>> @dataclasses.dataclass(frozen=True)
  ... class Uniform(Component):
  ...   low: int = field(8, kind=int, at_least=2)
  ...   high: int = field(64, kind=int, at_least='low', remedy='raise it')
  >>> Uniform(high=4)
  Traceback (most recent call last):
  ...
  posexp.UserError: high of Uniform must be at least low=8, got 4: raise it

  Args:
    default: the value where none is given; without it the field is required.
    later: whether the field came when there were already sets of examples,
      whose keys depend on the fields of a task: at its default it changes none.
    **conditions: the attributes of a `Check`.
  """
  metadata = {'check': Check(**conditions), 'later': later}
  return dataclasses.field(default=default, metadata=metadata)


def require(owner: Any, name: str, **conditions: Any) -> None:
  """Raise a `UserError` unless a field of `owner` meets further conditions.

  For what depends on other fields, in `__post_init__`.

  Args:
    owner: the component.
    name: of the field.
    **conditions: the attributes of a `Check`.
  """
  Check(**conditions).verify(owner, name)


class Component:
  """A frozen dataclass whose fields are its whole configuration.

  `to_dict` names the class; `from_dict` finds it again among the subclasses
  of the class it is called on, so a user's own class needs no registration.

  >>> from posexp import schemes
  >>> schemes.ALiBi().to_dict()
  {'type': 'ALiBi'}
  >>> schemes.Scheme.from_dict({'type': 'ALiBi'}) == schemes.ALiBi()
  True
  """

  # Whether it is a rule that becomes a number, and whether the fields for
  # numbers may hold such rules.
  is_rule: ClassVar[bool] = False
  takes_rules: ClassVar[bool] = False

  def __post_init__(self) -> None:
    """Make every field of its annotated kind, and verify its conditions.

    A class with further conditions calls this before it asks for them.

    Raises:
      UserError: for a value that is not of the kind, or fails a condition.
    """
    checks: list[tuple[str, Check]] = []
    for declared in dataclasses.fields(self):  # type: ignore[arg-type]
      value = self._settled(declared)
      object.__setattr__(self, declared.name, value)
      check = _check_of(type(self), declared.name)
      if check and not (declared.default is None and value is None):
        checks.append((declared.name, check))
    # A bound is computed from fields that have been verified.
    for name, check in sorted(checks, key=lambda item: item[1].depends):
      check.verify(self, name)

  def to_dict(self) -> dict[str, Any]:
    """Return the component as JSON values, its class under 'type'."""
    return self._values('to_dict', _in_record)

  def identity(self) -> dict[str, Any]:
    """Return what tells it apart: `to_dict` without fields at their default.

    A field that is added later, with a default, leaves it as it is.
    """
    return self._values('identity', _in_identity)

  def origin(self) -> str:
    """Return what it rests on besides its fields, '' if that is posexp alone.

    For a class of a user the digest of its code.
    """
    own = not user_code.is_ours(type(self))
    return user_code.digest(type(self)) if own else ''

  def _values(self, method: str, kept: Callable[..., bool]) -> dict[str, Any]:
    values: dict[str, Any] = {'type': type_name(type(self))}
    for declared in dataclasses.fields(self):  # type: ignore[arg-type]
      value = self._settled(declared)
      label = f'{declared.name} of {type(self).__name__}'
      plain = _plain(label, value, method)
      # A default may be other data on another machine.
      if kept(declared, value) or _has_origin(plain):
        values[declared.name] = plain
    if origin := self.origin():
      values['source'] = origin
    return values

  def _settled(self, declared: dataclasses.Field) -> Any:
    """Return the value of a field as its annotation says."""
    value, kind = getattr(self, declared.name), type(self)
    if value is None and declared.default is None:
      return None
    check = _check_of(kind, declared.name)
    label = f'{declared.name} of {kind.__name__}'
    hint = _hints(kind).get(declared.name, Any)  # type: ignore[arg-type]
    rule = isinstance(value, Component) and value.is_rule
    if rule and self.takes_rules and {int, float} & {*kinds.options(hint)}:
      return value
    if check and check.kind and not check.each:
      hint = check.kind
    remedy = check.of_kind if check else ''
    if check and isinstance(value, float) and math.isnan(value):
      remedy = check.remedy  # It is a number, and out of all bounds.
    return kinds.as_kind(label, value, hint, remedy)

  def __str__(self) -> str:
    """Return the component as one would write it, defaults left out."""
    shown: list[str] = []
    for place, field in enumerate(dataclasses.fields(self)):  # type: ignore[arg-type]
      value = getattr(self, field.name)
      if value != field.default:
        # By place only where nothing before it was left out or named.
        bare = isinstance(value, Component) and place == len(shown)
        bare = bare and not any('=' in text for text in shown[-1:])
        text = written(value)
        shown.append(text if bare else f'{field.name}={text}')
    return f'{type(self).__name__}({", ".join(shown)})'

  @classmethod
  def from_dict(cls, values: dict[str, Any]) -> Self:
    """Return the component that `to_dict` wrote.

    Raises:
      UserError: if no subclass of this class has the name under 'type', or a
        field is unknown; the sentence names the nearest.
    """
    values = dict(values)
    name = values.pop('type')
    values.pop('source', None)
    classes = {type_name(kind): kind for kind in _subclasses(cls)}
    if name not in classes:
      raise UserError(
        f'no {cls.__name__} is called {name!r}{nearest(name, classes)}: import '
        'the file that defines it first'
      )
    kind = classes[name]
    hints = typing.get_type_hints(kind)
    known = [f.name for f in dataclasses.fields(kind)]
    for key in values:
      if key not in known:
        raise UserError(f'{name} has no field {key!r}{nearest(key, known)}')
    return kind(**{k: restore(hints[k], v) for k, v in values.items()})


def written(value: Any) -> str:
  """Return the value of a field as one would write it in Python.

  >>> written(5e5), written(0.1 + 0.2), written('power'), written((4.0, None))
  ('500000', '0.30000000000000004', "'power'", '(4, None)')
  """
  if isinstance(value, Component):
    return str(value)
  if isinstance(value, float):
    short = f'{value:g}'
    return short if float(short) == value else repr(value)
  if isinstance(value, tuple):
    inner = ', '.join(map(written, value))
    return f'({inner},)' if len(value) == 1 else f'({inner})'
  return repr(value)


def type_name(kind: type) -> str:
  """Return the name that stands for a class: short for those of posexp."""
  if user_code.is_ours(kind):
    return kind.__qualname__
  return f'{kind.__module__}.{kind.__qualname__}'


def at_least(
  name: str, value: 'float | Component | None', least: float, remedy: str = ''
) -> None:
  """Raise a `UserError` unless a number is large enough, None or a rule."""
  if value is None or isinstance(value, Component):
    return
  if not value >= least:
    remedy = remedy and f': {remedy}'
    raise UserError(f'{name} must be at least {least}, got {value}{remedy}')


def restore(hint: Any, value: Any) -> Any:
  """Return a JSON value as the type that a field's annotation asks for."""
  if isinstance(value, dict) and 'type' in value:
    return _component_class(hint).from_dict(value)
  if isinstance(value, list):
    args = [a for a in typing.get_args(hint) if a is not Ellipsis]
    return tuple(restore(args[0] if args else Any, v) for v in value)
  return value


@functools.lru_cache(maxsize=512)
def _hints(kind: type) -> dict[str, Any]:
  """Return the annotations of a class, none where a name in one is unknown."""
  try:
    return typing.get_type_hints(kind)
  except (NameError, AttributeError, TypeError, SyntaxError):
    return {}


def _check_of(kind: type, name: str) -> Check | None:
  """Return the check of a field from the nearest class that gives one."""
  for parent in kind.__mro__:
    declared = parent.__dict__.get('__dataclass_fields__', {}).get(name)
    if declared is not None and 'check' in declared.metadata:
      return declared.metadata['check']
  return None


def _component_class(hint: Any) -> type[Component]:
  for option in (hint, *typing.get_args(hint)):
    if isinstance(option, type) and issubclass(option, Component):
      return option
  return Component


def _in_record(declared: dataclasses.Field, value: Any) -> bool:
  later = declared.metadata.get('later', False)
  return not later or _in_identity(declared, value)


def _in_identity(declared: dataclasses.Field, value: Any) -> bool:
  if declared.default_factory is not dataclasses.MISSING:
    return value != declared.default_factory()
  return declared.default is dataclasses.MISSING or value != declared.default


def _plain(label: str, value: Any, method: str) -> Any:
  """Return a value as JSON has it, a component by one of its methods."""
  if isinstance(value, Component):
    return getattr(value, method)()
  if isinstance(value, list | tuple):
    return [_plain(label, item, method) for item in value]
  if isinstance(value, dict):
    return {str(k): _plain(label, item, method) for k, item in value.items()}
  if value is not None and not isinstance(value, bool | int | float | str):
    raise UserError(
      f'{label} cannot be saved, got {value!r} ({type(value).__name__}): use '
      'numbers, text, tuples of them and components, so that a run has a digest'
    )
  return value


def _has_origin(plain: Any) -> bool:
  """Return whether a component in JSON values rests on more than fields."""
  if isinstance(plain, dict):
    return 'source' in plain or any(map(_has_origin, plain.values()))
  return isinstance(plain, list) and any(map(_has_origin, plain))


def _subclasses(kind: type) -> list[type]:
  kinds: list[type] = [kind]
  children: list[type] = kind.__subclasses__()
  for child in children:
    kinds += _subclasses(child)
  return kinds
