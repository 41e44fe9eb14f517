"""What is kept of a run that failed, until it succeeds."""

import json
import pathlib
import time
from typing import Any

from posexp.results import files

NAME = 'failure.json'


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
  body = {**values, 'when': time.time()}
  files.put(path, json.dumps(body, indent=1).encode(), over=True)
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
