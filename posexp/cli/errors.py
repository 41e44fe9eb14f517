"""What is shown of an error that is not bad input."""

import pathlib
import sys
import sysconfig
import traceback
import types

import posexp

_OWN = (
  pathlib.Path(posexp.__file__).parent,
  *(pathlib.Path(sysconfig.get_path(name)) for name in ('stdlib', 'purelib')),
)


def print_from_user_code(error: BaseException) -> bool:
  """Print the traceback of an error from the user's own file on.

  What posexp did before it called that file says nothing about its mistake.

  Returns:
    Whether any code of the user's own was under way. If not, it is a bug of
    posexp, and nothing is printed.
  """
  start = _first_of_user(error.__traceback__)
  if start is None:
    return False
  traceback.print_exception(
    error.with_traceback(start), file=sys.stderr, chain=False
  )
  return True


def _first_of_user(
  trace: types.TracebackType | None,
) -> types.TracebackType | None:
  while trace is not None:
    file = pathlib.Path(trace.tb_frame.f_code.co_filename)
    inside = any(file.is_relative_to(directory) for directory in _OWN)
    if not inside and file.is_file():
      return trace
    trace = trace.tb_next
  return None
