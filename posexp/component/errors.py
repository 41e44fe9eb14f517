"""Bad input, told in one sentence with the value and the remedy."""

import difflib
import fnmatch
import importlib
import types
import typing


class UserError(ValueError):
  """Bad input: one sentence with the value and the remedy.

  The command line prints it and exits with 2. Any other exception is a bug,
  and is shown with its traceback.
  """

  __module__ = 'posexp'  # Where users find it, and what a traceback shows.


def nearest(name: str, known: typing.Iterable[str]) -> str:
  """Return ' (did you mean ...?)' with close matches, or the list of all."""
  by_lower = {each.lower(): each for each in sorted(known)}
  close = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)
  if close:
    return f' (did you mean {" or ".join(by_lower[c] for c in close)}?)'
  return f' (known: {", ".join(by_lower.values())})' if by_lower else ''


def matches(name: str, pattern: str) -> bool:
  """Return whether a name contains the text, or matches it as a glob.

  >>> [matches('RoPE(NTK(4))', text) for text in ('ntk', 'rope*', 'ALiBi')]
  [True, True, False]
  """
  name, pattern = name.lower(), pattern.lower()
  return pattern in name or fnmatch.fnmatch(name, pattern)


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
