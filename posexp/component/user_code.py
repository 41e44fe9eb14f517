"""What a class of an experiment rests on, as one digest.

A run is identified by its configuration, and for a user's own class also by the
code behind it: its methods and those of its bases, and every function, class,
constant and module of the experiment that these use. posexp itself, installed
libraries and Python's own are left out.

The code of a function is its syntax tree, so that comments, docstrings,
formatting and line numbers do not count, and neither does the version of
Python. Where there is no source, or the source is no longer what was imported,
it is the function's instructions, which only the same version of Python has.
"""

import ast
import contextlib
import copyreg
import dataclasses
import dis
import enum
import functools
import hashlib
import importlib.util
import inspect
import linecache
import pathlib
import site
import sys
import sysconfig
import types
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

_FUNCTIONS = ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda
_DOCUMENTED = (*_FUNCTIONS[:2], ast.ClassDef)
# Written by Python into every class, or by `dataclass` from the fields.
_WRITTEN = frozenset(
  {'__module__', '__qualname__', '__doc__', '__dict__', '__weakref__'}
  | {'__annotations__', '__annotate__', '__annotate_func__', '__slots__'}
  | {'__annotations_cache__', '__static_attributes__', '__firstlineno__'}
  | {'__dataclass_fields__', '__dataclass_params__', '__match_args__'}
  | {'__parameters__', '__orig_bases__', '__abstractmethods__', '_abc_impl'}
)
_BY_DATACLASS = frozenset(
  {'__init__', '__repr__', '__eq__', '__hash__', '__setattr__', '__delattr__'}
  | {'__lt__', '__le__', '__gt__', '__ge__', '__replace__'}
  | {'__getstate__', '__setstate__'}
)
_LOADS = frozenset({'LOAD_GLOBAL', 'LOAD_NAME', 'LOAD_FROM_DICT_OR_GLOBALS'})
_PLAIN = frozenset({bool, int, float, complex, str, bytes})
# Methods that change a container.
_CHANGES = frozenset(
  {'add', 'append', 'clear', 'discard', 'extend', 'insert', 'pop', 'popitem'}
  | {'remove', 'setdefault', 'update'}
)
# Says nothing of what a function does.
_SKIPPED = frozenset({'CACHE', 'RESUME', 'NOP', 'EXTENDED_ARG'})


def is_ours(kind: Any) -> bool:
  """Return whether a class is part of this package and not of a user's."""
  return kind.__module__.split('.')[0] == 'posexp'


def digest(kind: type) -> str:
  """Return what tells two versions of a user's class apart, 16 digits."""
  return _Walk(kind).digest()


class _Walk:
  """Everything that is reached from a class, each once."""

  def __init__(self, kind: type):
    # By identity; the objects are kept, so that no identity is used again.
    self._reached: dict[int, Any] = {}
    self._waiting: list[Any] = []
    self._texts: list[str] = []
    # The containers that are being described: one may hold itself.
    self._within: set[int] = set()
    self._reach(kind)
    while self._waiting:
      thing = self._waiting.pop()
      describe = self._class if isinstance(thing, type) else self._function
      self._texts.append(repr((_label(thing), describe(thing))))

  def digest(self) -> str:
    joined = '\n'.join(sorted(self._texts))
    return hashlib.sha256(joined.encode()).hexdigest()[:16]

  def _reach(self, thing: Any) -> str:
    """Return the name of a class or function; a user's is looked into later."""
    if id(thing) not in self._reached and _is_users(thing):
      self._reached[id(thing)] = thing
      self._waiting.append(thing)
    return _label(thing)

  def _class(self, kind: type) -> Any:
    """Return the bases and all that the body of a class defines."""
    members = {}
    changed = _changed(inspect.getmembers_static(kind, inspect.isfunction))
    for name, member in vars(kind).items():
      if name in _WRITTEN or _by_dataclass(name, member):
        continue
      if name in changed:
        member = type(member)
      # The descriptor of a slot says nothing but its name.
      if not inspect.ismemberdescriptor(member):
        members[name] = self._value(member)
    for name, field in vars(kind).get('__dataclass_fields__', {}).items():
      if field.default_factory is not dataclasses.MISSING:
        members[name] = self._value(field.default_factory)
    bases = [self._reach(base) for base in (type(kind), *kind.__bases__)]
    return bases, sorted(members.items())

  def _function(self, function: types.FunctionType) -> Any:
    """Return the code of a function, and what its names stand for."""
    code = function.__code__
    uses, changed = {}, _changed([('', function)])
    for name, attributes in _global_names(code).items():
      if name in function.__globals__:
        value = function.__globals__[name]
        # What a function keeps for its next call is no part of what it does.
        value = type(value) if name in changed else value
        uses[name] = self._value(value, attributes)
    for name, cell in zip(code.co_freevars, function.__closure__ or ()):
      with contextlib.suppress(ValueError):  # It is empty.
        uses[name] = self._value(cell.cell_contents)
    imported = [
      self._value(module, attributes)
      for module, attributes in _imports(function)
    ]
    return (
      _tree(code) or _instructions(code),
      sorted(uses.items()),
      sorted(imported),
      self._value(function.__defaults__),
      self._value(function.__kwdefaults__),
      self._value(vars(function)),
    )

  def _value(self, value: Any, attributes: frozenset = frozenset()) -> str:
    """Return a text for any value, the same in every process.

    Args:
      value: what a name, a field or an item of a container is.
      attributes: the names that may be looked up in a module.
    """
    if value is None or type(value) in _PLAIN:
      return f'{type(value).__name__} {value!r}'
    function = isinstance(value, types.FunctionType) and _is_users(value)
    if function or isinstance(value, type):
      return self._reach(value)
    if id(value) in self._within:
      return f'the same {type(value).__name__}'
    self._within.add(id(value))
    try:
      if isinstance(value, types.ModuleType):
        return self._module(value, attributes)
      return self._object(value)
    finally:
      self._within.remove(id(value))

  def _module(self, module: types.ModuleType, attributes: frozenset) -> str:
    """Return what is used of a module; all of it where no name is known."""
    if not _is_users(module):
      return module.__name__
    known = {n: v for n, v in vars(module).items() if n[:2] != '__'}
    names = attributes & known.keys() or known.keys()
    members = [(n, self._value(known[n], attributes)) for n in names]
    return f'{module.__name__} {sorted(members)}'

  def _object(self, value: Any) -> str:
    """Return a text for an object: of its parts, or as it would be copied."""
    kind = type(value)
    if isinstance(value, types.FunctionType):
      return f'{_label(value)} {self._closure(value)}'
    name = self._reach(kind)
    if (parts := _wrapped(value)) is not None:
      return f'{name} {self._all(parts)}'
    if hasattr(value, '__wrapped__') and not _is_users(kind):
      # As of `jit`, `lru_cache` or `custom_vjp`.
      rules = [v for _, v in sorted(vars(value).items()) if _is_function(v)]
      return f'{self._value(value.__wrapped__)} {self._all(rules)}'
    if isinstance(value, enum.Enum):
      return f'{name}.{value.name}'
    if kind in (dict, types.MappingProxyType):
      return f'{name} {self._all(value)} {self._all(value.values())}'
    if kind in (list, tuple):
      return f'{name} {self._all(value)}'
    if kind in (set, frozenset):
      return f'{name} {_listed(sorted(map(self._value, value)))}'
    if _is_array(value):
      return f'{name} {self._array(np.asarray(value))}'
    if dataclasses.is_dataclass(value):
      names = [field.name for field in dataclasses.fields(value)]
      return f'{name} {self._all(getattr(value, n, None) for n in names)}'
    if hasattr(value, '__qualname__'):
      owner = getattr(value, '__self__', None)
      known = None if isinstance(owner, types.ModuleType) else owner
      return f'{name} {_label(value)} {self._value(known)}'
    return f'{name} {self._copied(value)}'

  def _array(self, array: np.ndarray) -> str:
    if array.dtype.hasobject:
      return f'{array.shape} {self._all(array.ravel().tolist())}'
    content = np.ascontiguousarray(array).tobytes()
    digest = hashlib.sha256(content).hexdigest()
    return f'{array.dtype} {array.shape} {digest}'

  def _copied(self, value: Any) -> str:
    """Return a text for what a copy of an object is made of."""
    try:
      reduce = copyreg.dispatch_table.get(type(value))
      made = reduce(value) if reduce else value.__reduce_ex__(2)
    except Exception:  # Whatever its class raises: it cannot be copied.
      text = repr(value)
      # An address is of this process only.
      return '' if ' at 0x' in text else text
    if isinstance(made, str):
      return made
    made = [list(x) if isinstance(x, Iterator) else x for x in made]
    return self._all(made)

  def _closure(self, function: types.FunctionType) -> str:
    """Return what a function of a library was made with, as by `vmap`."""
    cells = function.__closure__ or ()
    values = []
    for cell in cells:
      with contextlib.suppress(ValueError):  # It is empty.
        values.append(cell.cell_contents)
    return _listed(map(self._known, values))

  def _known(self, value: Any) -> str:
    """Return a text for a function or plain values, else of the type alone.

    What else a library keeps may be of this process.
    """
    if isinstance(value, list | tuple):
      return f'{type(value).__name__} {_listed(map(self._known, value))}'
    if isinstance(value, dict):
      pairs = (map(self._known, pair) for pair in value.items())
      return _listed(sorted(map(': '.join, pairs)))
    plain = value is None or type(value) in _PLAIN
    if plain or (callable(value) and not isinstance(value, type)):
      return self._value(value)
    return _label(value if isinstance(value, type) else type(value))

  def _all(self, values: Iterable[Any]) -> str:
    return _listed(map(self._value, values))


def _listed(texts: Iterable[str]) -> str:
  return f'[{", ".join(texts)}]'


def _is_function(value: Any) -> bool:
  return isinstance(value, types.FunctionType)


def _is_array(value: Any) -> bool:
  """Return whether a value is an array or a number of NumPy or JAX."""
  root = type(value).__module__.split('.')[0]
  return (
    type(value) is np.ndarray
    or isinstance(value, np.generic)
    or (root in ('jax', 'jaxlib') and hasattr(value, 'dtype'))
  )


def _wrapped(value: Any) -> list[Any] | None:
  """Return the parts of what wraps functions, None for anything else."""
  match value:
    case staticmethod() | classmethod():
      return [value.__func__]
    case types.MethodType():
      return [value.__func__, value.__self__]
    case property():
      return [value.fget, value.fset, value.fdel]
    case functools.cached_property():
      return [value.func]
    case functools.partial() | functools.partialmethod():
      return [value.func, value.args, value.keywords]
    case functools.singledispatchmethod():
      return [value.func, dict(value.dispatcher.registry)]
  return None


def _label(thing: Any) -> str:
  module = getattr(thing, '__module__', None)
  name = getattr(thing, '__qualname__', type(thing).__qualname__)
  return f'{module}.{name}'


def _is_users(thing: Any) -> bool:
  """Return whether a class, function or module is of the experiment's code."""
  if isinstance(thing, types.FunctionType):
    # A wrapper of a library bears the name of what it wraps.
    return is_users_file(thing.__code__.co_filename)
  if isinstance(thing, types.ModuleType):
    module: types.ModuleType | None = thing
    name = thing.__name__
  else:
    named = getattr(thing, '__module__', None)
    name = named if isinstance(named, str) else 'builtins'
    module = sys.modules.get(name)
  if name.split('.')[0] == 'posexp':
    return False
  if name == '__main__' or module is None:
    return True
  file = getattr(module, '__file__', None)
  if file is None:  # Built in, unless it was made by hand.
    root = name.split('.')[0]
    return root not in sys.stdlib_module_names
  return is_users_file(file)


def is_users_file(file: str) -> bool:
  """Return whether a file is neither posexp's, nor Python's, nor installed."""
  return _outside(file, _installed())


@functools.cache
def _outside(file: str, folders: tuple[pathlib.Path, ...]) -> bool:
  path = pathlib.Path(file).resolve()
  inside = any(path.is_relative_to(folder) for folder in folders)
  return not inside and not file.startswith('<frozen')


@functools.cache
def _installed() -> tuple[pathlib.Path, ...]:
  """Return the folders of posexp, of Python's own and of installed modules."""
  names = 'stdlib', 'platstdlib', 'purelib', 'platlib'
  paths = [sysconfig.get_path(name) for name in names]
  paths += [*site.getsitepackages(), site.getusersitepackages()]
  folders = {pathlib.Path(path).resolve() for path in paths}
  return pathlib.Path(__file__).parents[1], *folders


def _by_dataclass(name: str, member: Any) -> bool:
  """Return whether `dataclass` wrote a method of a class."""
  if name not in _BY_DATACLASS:
    return False
  code = getattr(inspect.unwrap(member), '__code__', None) if member else None
  return code is None or code.co_filename in ('<string>', dataclasses.__file__)


def _nested(code: types.CodeType) -> Iterator[types.CodeType]:
  """Yield a code object and all that are defined in it."""
  yield code
  for constant in code.co_consts:
    if isinstance(constant, types.CodeType):
      yield from _nested(constant)


def _global_names(code: types.CodeType) -> dict[str, frozenset]:
  """Return the global names that code reads, and all names of attributes."""
  loaded: dict[str, None] = {}
  attributes: set[str] = set()
  for part in _nested(code):
    attributes.update(part.co_names)
    for instruction in dis.get_instructions(part):
      if instruction.opname in _LOADS:
        loaded[instruction.argval] = None
  return dict.fromkeys(loaded, frozenset(attributes))


def _imports(
  function: types.FunctionType,
) -> Iterator[tuple[types.ModuleType, frozenset]]:
  """Yield the modules that the body of a function imports."""
  package = function.__globals__.get('__package__') or ''
  for part in _nested(function.__code__):
    steps = [(i.opname, i.argval) for i in dis.get_instructions(part)]
    for n, (opname, name) in enumerate(steps):
      if opname == 'IMPORT_NAME':
        level = steps[n - 2][1]  # Before the names that are imported from it.
        if isinstance(level, int) and level:
          name = _resolved('.' * level + name, package)
        module = sys.modules.get(name) or _imported(name)
        if module is None:
          continue
        yield module, frozenset(part.co_names)
        for inner in (steps[n - 1][1] or ()) if _is_users(module) else ():
          if neighbour := _imported(f'{name}.{inner}'):
            yield neighbour, frozenset(part.co_names)


def _resolved(name: str, package: str) -> str:
  """Return the absolute name of a module, as it is where there is none."""
  try:
    return importlib.util.resolve_name(name, package)
  except ImportError:
    return name


def _changed(functions: Iterable[tuple[str, Any]]) -> frozenset[str]:
  """Return names of containers that functions put something into."""
  names: set[str] = set()
  for _, function in functions:
    for node in _nodes(function.__code__, function.__code__.co_filename):
      for inner in ast.walk(node):
        match inner:
          case ast.Subscript(value=held, ctx=ast.Store() | ast.Del()):
            pass
          case ast.Call(func=ast.Attribute(value=held, attr=name)):
            if name not in _CHANGES:
              continue
          case _:
            continue
        match held:
          case ast.Name(id=name) | ast.Attribute(attr=name):
            names.add(name)
  return frozenset(names)


def _imported(name: str) -> types.ModuleType | None:
  try:
    return importlib.import_module(name)
  except Exception:  # It fails where it is used, if it is.
    return None


def _tree(code: types.CodeType) -> Any:
  """Return the syntax of a function, None unless its source is at hand."""
  return [_plain(node) for node in _nodes(code, code.co_filename)] or None


@functools.cache
def _nodes(code: types.CodeType, filename: str) -> tuple[ast.AST, ...]:
  """Return the syntax trees of a function, none unless its source is at hand.

  Looked up once, as the file may be edited while the process goes on with what
  it has imported.
  """
  linecache.checkcache(filename)
  text = ''.join(linecache.getlines(filename))
  known, nodes = _parsed(text, filename)
  place = code.co_name, code.co_firstlineno
  return tuple(nodes.get(place, ())) if code in known else ()


@functools.lru_cache(maxsize=32)
def _parsed(text: str, filename: str) -> tuple[frozenset, dict]:
  """Return all code of a source, and its functions by name and first line."""
  nodes: dict[tuple[str, int], list[ast.AST]] = {}
  try:
    tree = ast.parse(text)
    whole = compile(text, filename, 'exec', dont_inherit=True)
  except (SyntaxError, ValueError):
    return frozenset(), nodes
  for node in ast.walk(tree):
    if isinstance(node, _FUNCTIONS):
      decorators = getattr(node, 'decorator_list', [])
      line = min([node.lineno, *(each.lineno for each in decorators)])
      name = getattr(node, 'name', '<lambda>')
      nodes.setdefault((name, line), []).append(node)
  return frozenset(_nested(whole)), nodes


def _plain(node: Any) -> Any:
  """Return a syntax tree as nested lists, without places and docstrings.

  Fields that are empty are left out, as a later Python may have more of them.
  """
  if isinstance(node, list):
    return [_plain(item) for item in node]
  if not isinstance(node, ast.AST):
    return repr(node)
  fields = []
  for name, value in ast.iter_fields(node):
    if name == 'body' and isinstance(node, _DOCUMENTED):
      value = value[ast.get_docstring(node, clean=False) is not None :]
    typing_only = name in (
      'annotation',
      'returns',
      'ctx',
      'kind',
      'type_params',
    )
    if not typing_only and value not in (None, []):
      fields.append((name, _plain(value)))
  return [type(node).__name__, fields]


def _instructions(code: types.CodeType) -> Any:
  """Return what code does, without places and docstrings."""
  steps = []
  for instruction in dis.get_instructions(code):
    if instruction.opname in _SKIPPED:
      continue
    value = instruction.argval
    if isinstance(value, types.CodeType):
      value = _instructions(value)
    elif isinstance(value, frozenset):
      value = sorted(map(repr, value))
    steps.append((instruction.opname, repr(value)))
  arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
  return code.co_name, arguments, code.co_flags, steps
