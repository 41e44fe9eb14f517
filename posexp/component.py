"""Frozen dataclasses that are their own config: to a dictionary and back."""

import dataclasses
import difflib
import hashlib
import importlib
import inspect
import math
import numbers
import operator
import sys
import types
import typing
from typing import Any, Self


class UserError(ValueError):
  """Bad input: one sentence with the value and the remedy.

  The command line prints it and exits with 2. Any other exception is a bug,
  and is shown with its traceback.
  """

  __module__ = 'posexp'  # Where users find it, and what a traceback shows.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
  """What the value of a field must be; every condition that is given counts.

  A rule that will be a number, which is itself a `Component`, passes all
  conditions on numbers.

  Attributes:
    kind: the type: exactly an int or a bool, or an instance of a class.
    each: whether the field is a tuple, and the rest is asked of every item.
    one_of: the names to choose from.
    finite: whether infinity and NaN are refused.
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
  finite: bool = False
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

  def verify(self, owner: Any, name: str) -> None:
    """Raise a `UserError` unless a field of `owner` passes.

    With `each` the value of the field is replaced by a tuple of its items.
    """
    value = getattr(owner, name)
    label = f'{name} of {type(owner).__name__}'
    if not self.each:
      self._verify_one(owner, label, value)
      return
    if isinstance(value, str) or not isinstance(value, typing.Iterable):
      raise self._error(label, 'a tuple', repr(value))
    items = tuple(value)
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
    if kind is bool and type(value) is not bool:
      raise UserError(
        f'{label} must be True or False, got {value!r}: write one of the two'
      )
    if kind is int and type(value) is not int:
      raise UserError(
        f'{label} must be an int, got {value!r} ({type(value).__name__}): '
        'write a whole number, so that the config can be saved and compared'
      )
    if not isinstance(value, kind):
      raise self._error(label, f'of type {kind.__name__}', repr(value))

  def _verify_number(self, owner: Any, label: str, value: Any) -> None:
    demands = self._demands(owner)
    if not demands:
      return
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
      raise self._error(label, 'a number', repr(value))
    if not all(compare(value, bound) for _, compare, bound in demands):
      wanted = ' and '.join(words for words, _, _ in demands)
      raise self._error(label, wanted, str(value))

  def _demands(self, owner: Any) -> list[tuple[str, Any, Any]]:
    """Return the conditions on a number: in words, a predicate, its bound."""
    demands: list[tuple[str, Any, Any]] = []
    if self.finite:
      demands.append(('finite', lambda value, _: math.isfinite(value), None))
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
        shown = f'{shown}={bound}'
      # What is no number is a rule, or refused where it is declared.
      if isinstance(bound, numbers.Real):
        demands.append((f'{words} {shown}', compare, bound))
    return demands

  def _error(self, label: str, wanted: str, value: str) -> UserError:
    remedy = self.remedy and f': {self.remedy}'
    return UserError(f'{label} must be {wanted}, got {value}{remedy}')


def field(default: Any = dataclasses.MISSING, **conditions: Any) -> Any:
  """Declare a field of a component, with conditions on its value.

  A field whose default is None may be None. A subclass that declares the
  field again, for another default, keeps the conditions.

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
    **conditions: the attributes of a `Check`.
  """
  check = Check(**conditions)
  return dataclasses.field(default=default, metadata={'check': check})


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

  def __post_init__(self) -> None:
    """Verify every field that was declared with `field`.

    A class with further conditions calls this before it asks for them.
    """
    checks: list[tuple[str, Check]] = []
    for declared in dataclasses.fields(self):  # type: ignore[arg-type]
      check = _check_of(type(self), declared.name)
      optional = declared.default is None
      if check and not (optional and getattr(self, declared.name) is None):
        checks.append((declared.name, check))
    # A bound is computed from fields that have been verified.
    for name, check in sorted(checks, key=lambda item: item[1].depends):
      check.verify(self, name)

  def to_dict(self) -> dict[str, Any]:
    """Return the component as JSON values, its class under 'type'."""
    values: dict[str, Any] = {'type': type_name(type(self))}
    for field in dataclasses.fields(self):  # type: ignore[arg-type]
      values[field.name] = _plain(getattr(self, field.name))
    if not is_ours(type(self)):
      values['source'] = _source_digest(type(self))
    return values

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
    kinds = {type_name(kind): kind for kind in _subclasses(cls)}
    if name not in kinds:
      raise UserError(
        f'no {cls.__name__} is called {name!r}{nearest(name, kinds)}: import '
        'the file that defines it first'
      )
    kind = kinds[name]
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
  if is_ours(kind):
    return kind.__qualname__
  return f'{kind.__module__}.{kind.__qualname__}'


def is_ours(kind: type) -> bool:
  """Return whether a class is part of this package and not of a user's."""
  return kind.__module__.split('.')[0] == 'posexp'


def nearest(name: str, known: typing.Iterable[str]) -> str:
  """Return ' (did you mean ...?)' with close matches, or the list of all."""
  by_lower = {each.lower(): each for each in sorted(known)}
  close = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)
  if close:
    return f' (did you mean {" or ".join(by_lower[c] for c in close)}?)'
  return f' (known: {", ".join(by_lower.values())})' if by_lower else ''


def at_least(
  name: str, value: 'float | Component | None', least: float, remedy: str = ''
) -> None:
  """Raise a `UserError` unless a number is large enough, None or a rule."""
  if value is None or isinstance(value, Component):
    return
  if not value >= least:
    remedy = remedy and f': {remedy}'
    raise UserError(f'{name} must be at least {least}, got {value}{remedy}')


def one_of(name: str, value: str, known: tuple[str, ...]) -> None:
  """Raise a `UserError` unless a name is known, with the nearest that is."""
  if value not in known:
    raise UserError(f'{name} cannot be {value!r}{nearest(value, known)}')


def extra(module: str, what: str, name: str) -> types.ModuleType:
  """Import a library that only some need.

  >>> extra('json', 'this', 'text').__name__
  'json'

  Args:
    module: what is imported.
    what: what needs it, as a user wrote it.
    name: the extra that installs it.

  Raises:
    UserError: one sentence that names the extra, if it is not installed.
  """
  try:
    return importlib.import_module(module)
  except ImportError:
    raise UserError(
      f"{what} needs {module}: pip install 'posexp[{name}]'"
    ) from None


def restore(hint: Any, value: Any) -> Any:
  """Return a JSON value as the type that a field's annotation asks for."""
  if isinstance(value, dict) and 'type' in value:
    return _component_class(hint).from_dict(value)
  if isinstance(value, list):
    args = [a for a in typing.get_args(hint) if a is not Ellipsis]
    return tuple(restore(args[0] if args else Any, v) for v in value)
  return value


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


def _plain(value: Any) -> Any:
  if isinstance(value, Component):
    return value.to_dict()
  if isinstance(value, list | tuple):
    return [_plain(v) for v in value]
  return value


def _subclasses(kind: type) -> list[type]:
  kinds: list[type] = [kind]
  children: list[type] = kind.__subclasses__()
  for child in children:
    kinds += _subclasses(child)
  return kinds


def _source_digest(kind: type) -> str:
  """Return what tells two versions of a user's class apart in a digest."""
  module = sys.modules.get(kind.__module__, types.ModuleType('none'))
  try:
    text = inspect.getsource(kind)
  except (OSError, TypeError):
    text = repr(module)
  return hashlib.sha256(text.encode()).hexdigest()[:16]
