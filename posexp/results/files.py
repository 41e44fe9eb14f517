"""Files that are there whole or not at all, also after a loss of power."""

import contextlib
import errno
import os
import pathlib
import pwd
import re
import secrets

from posexp import component

# What the disk is short of: bytes, of all or of one's own share, or of those
# that one file may have.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def local(text: str) -> str:
  """Return a path with `~` expanded.

  Raises:
    UserError: if it is the address of a bucket, which is no path, or begins
      with `~` and nothing says where that is.

  >>> local('runs/quickstart')
  'runs/quickstart'
  """
  if re.match(r'\w[\w.+-]*://', text):
    raise component.UserError(
      f'{text!r} is no path: mount it as a directory (gcsfuse, s3fs), or give '
      'a directory of a disk'
    )
  if text.split('/')[0] == '~':
    if (home := _home()) is None:
      raise component.UserError(
        f'{text!r} needs a home directory, and this user has none: set HOME, '
        'or give a path without ~'
      )
    return os.path.join(home, text[2:])
  return os.path.expanduser(text)


def cache() -> pathlib.Path | None:
  """Return where posexp keeps what it can make again; None without a home."""
  if place := os.environ.get('XDG_CACHE_HOME'):
    return pathlib.Path(place) / 'posexp'
  home = _home()
  return None if home is None else pathlib.Path(home) / '.cache' / 'posexp'


def _home() -> str | None:
  """Return the user's home, None for one that neither HOME nor passwd knows."""
  try:
    # An empty HOME would be the root.
    return os.environ.get('HOME') or pwd.getpwuid(os.getuid()).pw_dir
  except KeyError:
    return None


class AlreadyThere(FileExistsError):
  """A second file where there may be one only."""


def put(path: pathlib.Path, content: bytes, *, over: bool) -> None:
  """Write a file under another name, flush it, and move it into place.

  Raises:
    AlreadyThere: if it is there and may not be written `over`.
  """
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
    sync(path.parent)
  finally:
    partial.unlink(missing_ok=True)


def make_directory(directory: pathlib.Path) -> None:
  """Make a directory and those above it, where they are missing, for good."""
  missing = [d for d in (directory, *directory.parents) if not d.exists()]
  directory.mkdir(parents=True, exist_ok=True)
  for made in missing:
    sync(made.parent)


def sync(directory: pathlib.Path) -> None:
  """Flush the names in a directory, which fsync of a file leaves out."""
  descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
  try:
    # Some file systems cannot, and then nothing can.
    with contextlib.suppress(OSError):
      os.fsync(descriptor)
  finally:
    os.close(descriptor)


def _move_once(partial: pathlib.Path, path: pathlib.Path) -> None:
  """Move, and never replace: of two at once, one fails."""
  try:
    os.link(partial, path)
  except FileExistsError:
    raise AlreadyThere(f'{path} is there already') from None
  except OSError:
    # A mounted bucket has no links; what is left is to look first.
    if path.exists():
      raise AlreadyThere(f'{path} is there already') from None
    partial.replace(path)


def is_full(error: BaseException | None) -> bool:
  """Return whether an error, or what caused it, is a full disk.

  Libraries that write files tell it by their own types, in words.
  """
  while error is not None:
    if isinstance(error, OSError) and error.errno in _FULL:
      return True
    if any(os.strerror(number) in str(error) for number in _FULL):
      return True
    error = error.__cause__ or error.__context__
  return False
