"""Files that are there whole or not at all."""

import os
import pathlib
import secrets


def put(path: pathlib.Path, content: bytes, *, over: bool) -> None:
  """Write a file under another name, flush it, and move it into place."""
  partial = path.with_name(f'.{path.name}.{secrets.token_hex(4)}.partial')
  try:
    with partial.open('xb') as file:
      file.write(content)
      file.flush()
      os.fsync(file.fileno())
    if over:
      partial.replace(path)
    else:
      _move_once(partial, path)
  finally:
    partial.unlink(missing_ok=True)


def _move_once(partial: pathlib.Path, path: pathlib.Path) -> None:
  """Move, and never replace: of two at once, one fails."""
  try:
    os.link(partial, path)
  except FileExistsError:
    raise there_already(path) from None
  except OSError:
    # A mounted bucket has no links; what is left is to look first.
    if path.exists():
      raise there_already(path) from None
    partial.replace(path)


def there_already(path: pathlib.Path) -> FileExistsError:
  """Return the error of a second record where there is one."""
  return FileExistsError(
    f'{path} is there already: a record is immutable; move it away to run '
    'this configuration again'
  )
