"""What each launch writes down of itself, named by its content.

  WORKDIR/<kind>/<sum>.json    of every launch; the same again is the same file
  WORKDIR/<kind>/newest        the name of the last one

The newest is named, as times of files may be of hosts whose clocks differ.
"""

import hashlib
import json
import pathlib
from collections.abc import Callable
from typing import Any, TypeVar

from posexp import component
from posexp.results import files

Parsed = TypeVar('Parsed')

NEWEST = 'newest'


def write(directory: pathlib.Path, text: str) -> pathlib.Path:
  """Write down what a launch is, and that it is the newest."""
  content = text.encode()
  path = directory / f'{hashlib.sha256(content).hexdigest()[:16]}.json'
  files.make_directory(directory)
  if not path.exists():
    files.put(path, content, over=True)
  files.put(directory / NEWEST, path.stem.encode(), over=True)
  return path


def paths(directory: pathlib.Path) -> list[pathlib.Path]:
  """Return what launches wrote down, the newest last."""
  try:
    newest = (directory / NEWEST).read_text('utf-8')
  except (FileNotFoundError, NotADirectoryError):
    newest = ''
  return sorted(directory.glob('*.json'), key=lambda p: (p.stem == newest, p))


def read(
  path: pathlib.Path, known: int, parse: Callable[[dict[str, Any]], Parsed]
) -> Parsed:
  """Return what a launch wrote down.

  Args:
    path: of the file.
    known: the newest format that this version reads.
    parse: what is made of the body.

  Raises:
    UserError: if a newer version has written it, or it is damaged.
  """
  try:
    body = json.loads(path.read_text('utf-8'))
    version = int(body['format'])
    parsed = parse(body) if version <= known else None
  except (ValueError, LookupError, TypeError) as error:
    raise component.UserError(
      f'the plan {path} cannot be read ({type(error).__name__}): move it away; '
      'the next launch writes it again'
    ) from None
  if parsed is None:
    raise component.UserError(
      f'{path} has format {version}, of a newer version of posexp, and this '
      f'one reads up to {known}: update posexp, or give another --workdir'
    )
  return parsed
