"""Frozen dataclasses that are their own config: to a dictionary and back."""

import dataclasses
import difflib
import hashlib
import importlib
import inspect
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

  def to_dict(self) -> dict[str, Any]:
    """This component as plain JSON values, its class under 'type'."""
    out: dict[str, Any] = {'type': type_name(type(self))}
    for field in dataclasses.fields(self):  # type: ignore[arg-type]
      out[field.name] = _plain(getattr(self, field.name))
    if not is_ours(type(self)):
      out['source'] = _source_digest(type(self))
    return out

  def __str__(self) -> str:
    """The component as one would write it, with only what is not a default."""
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
    """The component that `to_dict` wrote.

    Raises:
      UserError: if no subclass of this class has the name under 'type', or a
        field is unknown; the sentence names the nearest.
    """
    values = dict(values)
    name = values.pop('type')
    values.pop('source', None)
    found = {type_name(c): c for c in _subclasses(cls)}
    if name not in found:
      raise UserError(
        f'no {cls.__name__} is called {name!r}{nearest(name, found)}: import '
        'the file that defines it first'
      )
    kind = found[name]
    hints = typing.get_type_hints(kind)
    known = [f.name for f in dataclasses.fields(kind)]
    for key in values:
      if key not in known:
        raise UserError(f'{name} has no field {key!r}{nearest(key, known)}')
    return kind(**{k: restore(hints[k], v) for k, v in values.items()})


def written(value: Any) -> str:
  """A value of a field as one would write it in Python.

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
  """The name under which a class is written: short for posexp's own."""
  if is_ours(kind):
    return kind.__qualname__
  return f'{kind.__module__}.{kind.__qualname__}'


def is_ours(kind: type) -> bool:
  """Whether a class is part of this package and not a user's own."""
  return kind.__module__.split('.')[0] == 'posexp'


def nearest(name: str, known: typing.Iterable[str]) -> str:
  """' (did you mean ...?)' with the close matches, or the list of all."""
  known = sorted(known)
  close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
  if close:
    return f' (did you mean {" or ".join(close)}?)'
  return f' (known: {", ".join(known)})' if known else ''


def at_least(
  name: str, value: 'float | Component | None', least: float, remedy: str = ''
) -> None:
  """Raises unless a number is at least so large; None and rules pass."""
  if isinstance(value, Component):  # A rule that will be a number.
    return
  if value is not None and not value >= least:
    remedy = remedy and f': {remedy}'
    raise UserError(f'{name} must be at least {least}, got {value}{remedy}')


def one_of(name: str, value: str, known: tuple[str, ...]) -> None:
  """Raises unless a name is known; the sentence offers the nearest."""
  if value not in known:
    raise UserError(f'{name} cannot be {value!r}{nearest(value, known)}')


def extra(module: str, what: str, name: str) -> types.ModuleType:
  """A library that only some need.

  >>> extra('json', 'this', 'text').__name__
  'json'

  Args:
    module: what is imported.
    what: needs it, as a user wrote it.
    name: of the extra that installs it.

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
  """A JSON value as the type that a field's annotation asks for."""
  if isinstance(value, dict) and 'type' in value:
    return _component_class(hint).from_dict(value)
  if isinstance(value, list):
    args = [a for a in typing.get_args(hint) if a is not Ellipsis]
    return tuple(restore(args[0] if args else Any, v) for v in value)
  return value


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
  below: list[type] = kind.__subclasses__()
  return [kind] + [s for c in below for s in _subclasses(c)]


def _source_digest(kind: type) -> str:
  """What tells two versions of a user's class apart in a digest."""
  module = sys.modules.get(kind.__module__, types.ModuleType('none'))
  try:
    text = inspect.getsource(kind)
  except (OSError, TypeError):
    text = repr(module)
  return hashlib.sha256(text.encode()).hexdigest()[:16]
