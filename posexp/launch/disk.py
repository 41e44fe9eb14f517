"""A full disk: the one failure of a run that ends the whole launch."""

import contextlib
import errno
import os
import pathlib
from collections.abc import Iterator

from posexp.launch import exit_codes

# What the disk is short of: bytes, of all or of one's own share, or of those
# that one file may have.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Full(Exception):
  """Nothing can be finished until there is room again.

  Attributes:
    code: what the process ends with.
  """

  code = exit_codes.FULL


def full(workdir: pathlib.Path) -> Full:
  """Return what is raised where there is no room, with what to do."""
  return Full(
    f'no space left for {workdir}: what is finished is kept; make room, and '
    'the same command goes on from the last checkpoint'
  )


@contextlib.contextmanager
def room(workdir: pathlib.Path) -> Iterator[None]:
  """Raise `Full` for whatever error a full disk gives inside."""
  try:
    yield
  except Exception as error:
    if _is_full(error):
      raise full(workdir) from error
    raise


def _is_full(error: BaseException | None) -> bool:
  """Return whether an error, or what caused it, is a full disk.

  Libraries that write checkpoints tell it by their own types, in words.
  """
  while error is not None:
    if isinstance(error, OSError) and error.errno in _FULL:
      return True
    if any(os.strerror(number) in str(error) for number in _FULL):
      return True
    error = error.__cause__ or error.__context__
  return False
