"""What is kept of a run that failed, until it succeeds."""

import json
import pathlib
import time
from typing import Any

from posexp.results import files

NAME = 'failure.json'


def write(directory: pathlib.Path, **said: Any) -> pathlib.Path:
  """Records that a run failed: plain values by name, `sentence` among them."""
  path = directory / NAME
  body = {**said, 'when': time.time()}
  files.put(path, json.dumps(body, indent=1).encode(), over=True)
  return path


def read(directory: pathlib.Path) -> dict[str, Any]:
  """What is recorded; nothing, if the run did not fail."""
  try:
    found = json.loads((directory / NAME).read_text('utf-8'))
  except (OSError, ValueError):
    return {}
  return found if isinstance(found, dict) and 'sentence' in found else {}


def clear(directory: pathlib.Path) -> None:
  """Forgets a failure: the run has succeeded since."""
  (directory / NAME).unlink(missing_ok=True)
