"""What is shown of an error that is not bad input, and its exit code."""

import errno
import os
import pathlib
import re
import sys
import traceback

from posexp.launch import disk, exit_codes
from posexp.results import files

# How JAX says that a backend that was asked for is not there.
_NO_BACKEND = re.compile(r'Unable to initialize backend|Unknown backend')
_NO_ACCESS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG}
# Where it asserts that there is one, and says nothing.
_ASSERTS_BACKEND = pathlib.PurePath('jax', '_src', 'xla_bridge.py')


def told(error: Exception) -> int | None:
  """Print what a person needs to know of an error, and return the exit code.

  A full disk, a device that JAX has not, and a file that may not be touched are
  a sentence each. An error of the user's own file is its traceback from that
  file on: what posexp did before it called that file says nothing about its
  mistake.

  Returns:
    None if it is a bug of posexp, of which nothing is printed.
  """
  from posexp.launch import failures

  line = failures.first_line(error)
  if isinstance(error, disk.Full) or files.is_full(error):
    full = error if isinstance(error, disk.Full) else disk.full(f'({line})')
    print(f'posexp: {full}', file=sys.stderr)
    return disk.Full.code
  if _lacks_backend(error):
    asked = os.environ.get('JAX_PLATFORMS', '')
    print(
      f'posexp: JAX has no such device (JAX_PLATFORMS={asked}: {line}): '
      'install JAX for it, or unset JAX_PLATFORMS to use what is there',
      file=sys.stderr,
    )
    return exit_codes.BAD_INPUT
  if failures.user_code(error.__traceback__) is not None:
    print(failures.shown(error), file=sys.stderr)
    return exit_codes.FAILED
  if isinstance(error, OSError) and error.errno in _NO_ACCESS:
    print(
      f'posexp: no access to {error.filename} ({error.strerror}): make it '
      'readable and writable, or give another directory',
      file=sys.stderr,
    )
    return exit_codes.BAD_INPUT
  return None


def _lacks_backend(error: Exception) -> bool:
  """Return whether JAX has no backend such as was asked for."""
  if isinstance(error, AssertionError) and error.__traceback__ is not None:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return pathlib.PurePath(last.filename).match(str(_ASSERTS_BACKEND))
  return isinstance(error, RuntimeError) and bool(_NO_BACKEND.match(str(error)))
