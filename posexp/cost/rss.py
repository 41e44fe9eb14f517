"""The memory that this process takes."""

import contextlib
import ctypes
import pathlib
import resource
import sys
from typing import NamedTuple


class Memory(NamedTuple):
  """The bytes that this process has in memory, and the most it ever had."""

  now: int
  peak: int


def now() -> Memory:
  """Return what this process holds now, and held at most."""
  with contextlib.suppress(AttributeError, OSError):
    # What was freed counts until it is given back to the system.
    ctypes.CDLL(None).malloc_trim(0)
  status = numbers('/proc/self/status')
  if {'VmRSS', 'VmHWM'} <= status.keys():
    return Memory(1024 * status['VmRSS'], 1024 * status['VmHWM'])
  most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  most = most if sys.platform == 'darwin' else 1024 * most
  return Memory(most, most)


def forget_peak() -> bool:
  """Start the peak of this process anew; return whether that was possible."""
  try:
    pathlib.Path('/proc/self/clear_refs').write_text('5')
  except OSError:
    return False
  return True


def numbers(path: str) -> dict[str, int]:
  """Return the numbers of a file of /proc by name; {} without it."""
  try:
    lines = pathlib.Path(path).read_text().splitlines()
  except OSError:
    return {}
  fields = (line.split() for line in lines)
  return {f[0][:-1]: int(f[1]) for f in fields if len(f) > 1 and f[1].isdigit()}
