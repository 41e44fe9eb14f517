"""What is shown of an error that is not bad input, and its exit code."""

import sys

from posexp.launch import exit_codes
from posexp.results import files


def told(error: Exception) -> int | None:
  """Print what a person needs to know of an error, and return the exit code.

  A full disk and a file that may not be touched are a sentence each. An error
  of the user's own file is its traceback from that file on: what posexp did
  before it called that file says nothing about its mistake.

  Returns:
    None if it is a bug of posexp, of which nothing is printed.
  """
  from posexp.launch import failures

  line = failures.first_line(error)
  if files.is_full(error):
    print(
      f'posexp: no space left ({line}): what is finished is kept; make room, '
      'and give the same command again',
      file=sys.stderr,
    )
    return exit_codes.FULL
  if failures.user_code(error.__traceback__) is not None:
    print(failures.shown(error), file=sys.stderr)
    return exit_codes.FAILED
  if isinstance(error, PermissionError) and error.filename:
    print(
      f'posexp: no access to {error.filename} ({error.strerror}): make it '
      'readable and writable, or give another directory',
      file=sys.stderr,
    )
    return exit_codes.BAD_INPUT
  return None
