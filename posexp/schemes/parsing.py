"""Read a scheme from its text, as `str` writes it; nothing is evaluated."""

import ast
import inspect
import typing
from typing import Any

from posexp import component
from posexp.schemes import base, trained_length

EXAMPLE = 'write a scheme such as RoPE(NTK(4)) + ALiBi()'
# Deeper than any scheme of use, and shallower than Python's own stack.
DEEPEST = 50


def parse(text: str) -> base.Scheme:
  """Return the scheme that an expression of `posexp.schemes` names describes.

  Calls with numbers, strings, tuples, None, booleans and other calls as
  arguments, and sums; a name alone is a call without arguments. Only the
  frequency laws, schemes and rules such as `matched(4096)` have names.

  Raises:
    UserError: in one sentence, if the text is no such expression, a name or a
      field is unknown, or a scheme refuses what it is given.

  >>> print(parse('RoPE(NTK(4), base=5e5) + ALiBi'))
  RoPE(NTK(4), base=500000) + ALiBi()
  >>> parse('RoPE(NKT(4))')
  Traceback (most recent call last):
  ...
  posexp.UserError: no scheme is called 'NKT' (did you mean NTK?) in ...
  """
  try:
    tree = ast.parse(text.strip(), mode='eval').body
  except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
    why = error.msg if isinstance(error, SyntaxError) else str(error)
    raise component.UserError(
      f'cannot read {_cut(text)!r} ({why}): {EXAMPLE}'
    ) from None
  scheme = _Reader(_cut(text)).value(tree, 0)
  if not isinstance(scheme, base.Scheme):
    raise component.UserError(
      f'{_cut(text)!r} is not a scheme but may be part of one: {EXAMPLE}'
    )
  return scheme


def names() -> dict[str, type[component.Component]]:
  """Return what an expression may call, by name."""
  from posexp import schemes  # Here, since that package imports this module.

  abstract = (schemes.Scheme, schemes.Relative, schemes.Sum)
  return {
    name: value
    for name, value in vars(schemes).items()
    if isinstance(value, type)
    and issubclass(value, component.Component)
    and value not in abstract
  }


class _Reader:
  """Values of the nodes of an expression."""

  def __init__(self, text: str):
    self.text = text
    self.names = names()

  def value(self, node: ast.expr, depth: int) -> Any:
    """Return what a node stands for."""
    if depth > DEEPEST:
      raise component.UserError(
        f'{self.text!r} is nested too deeply: {EXAMPLE}'
      )
    match node:
      case ast.Constant(value=bool() | int() | float() | str() | None):
        return node.value
      case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=number)) if (
        isinstance(number, int | float)
      ):
        return -number
      case ast.Tuple() | ast.List():
        return tuple(self.value(item, depth + 1) for item in node.elts)
      case ast.BinOp(op=ast.Add()):
        return self.sum(node, depth)
      case ast.Call(func=func):
        args = [self.value(a, depth + 1) for a in node.args]
        named = {}
        for word in node.keywords:
          # Without a name it is **, which no constructor has.
          field = word.arg or '**'
          if field in named:
            raise component.UserError(
              f'{field} is given twice in {self.text!r}'
            )
          named[field] = self.value(word.value, depth + 1)
        return self.make(func, args, named)
      case ast.Name() | ast.Attribute():
        return self.make(node, [], {})
    raise component.UserError(
      f'{_cut(ast.unparse(node))!r} has no place in a scheme: {EXAMPLE}'
    )

  def sum(self, node: ast.BinOp, depth: int) -> base.Scheme:
    """Return the sum of two schemes."""
    terms = [self.value(n, depth + 1) for n in (node.left, node.right)]
    for term in terms:
      if not isinstance(term, base.Scheme):
        raise component.UserError(
          f'only schemes can be added, got {component.written(term)} in '
          f'{self.text!r}: {EXAMPLE}'
        )
    return terms[0] + terms[1]

  def make(self, func: ast.expr, args: list, named: dict[str, Any]) -> Any:
    """Return the component that a call makes."""
    name = ast.unparse(func).removeprefix('schemes.')
    if name not in self.names:
      near = component.nearest(name, self.names)
      raise component.UserError(
        f'no scheme is called {name!r}{near} in {self.text!r}'
      )
    kind = self.names[name]
    signature = inspect.signature(kind)
    for word in named:
      if word not in signature.parameters:
        near = component.nearest(word, signature.parameters)
        raise component.UserError(f'{name} has no field {word!r}{near}')
    try:
      given = signature.bind(*args, **named).arguments
    except TypeError as error:
      raise component.UserError(
        f'{name} cannot be made ({error}): it takes {name}'
        f'({", ".join(signature.parameters)})'
      ) from None
    _fits(kind, name, given)
    try:
      return kind(*args, **named)
    except TypeError as error:
      raise component.UserError(
        f'{name} cannot be made of {_shown(given)}: {error}'
      ) from None


def _fits(kind: type, name: str, given: dict[str, Any]) -> None:
  """Raise where a field is given another type than it asks for."""
  hints = typing.get_type_hints(kind)
  for field, value in given.items():
    options = typing.get_args(hints[field]) or (hints[field],)
    if typing.get_origin(hints[field]) is tuple or not all(
      isinstance(option, type) for option in options
    ):
      continue
    # A rule stands for any number, and an integer for a float.
    also = (trained_length.Relative, *((int,) if float in options else ()))
    if not isinstance(value, (*options, *also)):
      kinds = ' or '.join(option.__name__ for option in options)
      raise component.UserError(
        f'{field} of {name} must be of type {kinds}, got '
        f'{component.written(value)}: {EXAMPLE}'
      )


def _shown(given: dict[str, Any]) -> str:
  return ', '.join(f'{k}={component.written(v)}' for k, v in given.items())


def _cut(text: str) -> str:
  return text if len(text) <= 60 else f'{text[:57]}...'
