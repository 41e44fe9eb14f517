"""What is shown of an error, and what is kept of a run that failed."""

import json
import pathlib
import traceback
import types
from typing import Any

from posexp.component import user_code as user_code_lib
from posexp.results import files

NAME = 'failure.json'


def user_code(
  trace: types.TracebackType | None,
) -> types.TracebackType | None:
  """Return a traceback from the first code of the user's own on, if any."""
  while trace is not None:
    file = trace.tb_frame.f_code.co_filename
    if user_code_lib.is_users_file(file) and pathlib.Path(file).is_file():
      return trace
    trace = trace.tb_next
  return None


def shown(error: BaseException) -> str:
  """Format an error's traceback, from the user's own code on if there is some.

  What posexp did before it called that code says nothing about its mistake.
  What caused the error is shown before it.
  """
  trace = user_code(error.__traceback__) or error.__traceback__
  lines = traceback.format_exception(type(error), error, trace)
  return ''.join(lines).strip()


def first_line(error: BaseException) -> str:
  """Return the first line of what an error says, its type if it says nothing.

  >>> first_line(ValueError('out of luck')), first_line(KeyError())
  ('out of luck', 'KeyError')
  """
  lines = str(error).strip().splitlines()
  return lines[0][:200] if lines else type(error).__name__


def write(directory: pathlib.Path, **values: Any) -> pathlib.Path:
  """Record that a run failed: plain values by name, `sentence` among them."""
  path = directory / NAME
  files.put(path, json.dumps(values, indent=1).encode(), over=True)
  return path


def read(directory: pathlib.Path) -> dict[str, Any]:
  """Return what is recorded; nothing, if the run did not fail."""
  try:
    body = json.loads((directory / NAME).read_text('utf-8'))
  except (OSError, ValueError):
    return {}
  return body if isinstance(body, dict) and 'sentence' in body else {}


def clear(directory: pathlib.Path) -> None:
  """Forget a failure: the run has succeeded since."""
  (directory / NAME).unlink(missing_ok=True)
