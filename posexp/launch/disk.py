"""A full disk: the one failure of a run that ends the whole launch."""

import contextlib
import pathlib
from collections.abc import Iterator

from posexp.launch import exit_codes
from posexp.results import files


class Full(Exception):
  """Nothing can be finished until there is room again.

  Attributes:
    code: what the process ends with.
  """

  code = exit_codes.FULL


def full(where: str) -> Full:
  """Return what is raised where there is no room, with what to do."""
  return Full(
    f'no space left {where}: what is finished is kept; make room, and the same '
    'command goes on from there'
  )


@contextlib.contextmanager
def room(directory: pathlib.Path) -> Iterator[None]:
  """Raise `Full` for whatever error a full disk gives inside."""
  try:
    yield
  except Exception as error:
    if files.is_full(error):
      raise full(f'for {directory}') from error
    raise
