"""What is shown of an error that is not bad input."""

import sys


def print_from_user_code(error: BaseException) -> bool:
  """Print the traceback of an error from the user's own file on.

  What posexp did before it called that file says nothing about its mistake.

  Returns:
    Whether any code of the user's own was under way. If not, it is a bug of
    posexp, and nothing is printed.
  """
  from posexp.launch import failures

  if failures.user_code(error.__traceback__) is None:
    return False
  print(failures.shown(error), file=sys.stderr)
  return True
