"""Measurements that go on where they were stopped, each section on its own.

For a machine that is lent for minutes: a section is a process with a limit,
each result is on disk as soon as there is one, and what is there is not
measured again. What does not fit or fails takes nothing with it.
"""

import json
import os
import pathlib
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from posexp import component
from posexp.results import files

# Seconds; with fewer no process is started.
LEAST = 15.0
# The exit code of a process that no other section would do better than.
REFUSED = 2

Case = tuple[str, Callable[[], dict[str, Any]]]


class Results:
  """What was measured, in a file that is whole at any moment.

  Attributes:
    path: `results.json` in the work directory.
    body: whose the results are, and those of each section by case.
  """

  def __init__(self, workdir: str | os.PathLike):
    self.path = pathlib.Path(workdir) / 'results.json'
    self.body: dict[str, Any] = {}
    if self.path.exists():
      self.body = json.loads(self.path.read_text())

  def section(self, name: str) -> dict[str, Any]:
    """Return its cases, and the seconds that all its processes took."""
    sections = self.body.setdefault('sections', {})
    return sections.setdefault(name, {'seconds': 0.0, 'cases': {}})

  def has(self, section: str, case: str) -> bool:
    """Return whether a case was measured; what failed is tried again."""
    found = self.section(section)['cases'].get(case)
    return found is not None and 'failed' not in found

  def belong(self, to: Mapping[str, Any]) -> None:
    """Say on what machine they are measured.

    Raises:
      UserError: if those that are there are of another.
    """
    for name, value in to.items():
      if self.body.setdefault(name, value) != value:
        raise component.UserError(
          f'{self.path} has results of the {name} {self.body[name]}, and this '
          f'is {value}: give another --workdir'
        )
    self.write()

  def write(self) -> None:
    """Replace the file."""
    files.make_directory(self.path.parent)
    content = json.dumps(self.body, indent=1).encode()
    files.put(self.path, content, over=True)


def measure(section: str, cases: Iterable[Case], results: Results) -> int:
  """Measure what is missing of a section; return 1 if a case went wrong.

  A case that runs out of memory is recorded as one that does not fit, with
  which nothing is wrong; a law that does not hold is.
  """
  wrong = False
  for case, work in cases:
    if not results.has(section, case):
      try:
        found = work()
      except Exception as error:  # The next may do better.
        found = problem(error)
      results.section(section)['cases'][case] = found
      results.write()
      _note(section, f'{case}: {told(found)}')
    found = results.section(section)['cases'][case]
    wrong |= 'failed' in found or found.get('holds') is False
  return int(wrong)


def run(
  limits: Mapping[str, float],
  results: Results,
  minutes: float,
  command: Callable[[str], Sequence[str]],
) -> int:
  """Run the sections one after another; return 1 if anything went wrong.

  Args:
    limits: the seconds that each may take, by name.
    results: of earlier calls; those of this one are written by the processes.
    minutes: that all may take; what is left out is said, and is for the next
      call.
    command: of the process of a section, by its name.
  """
  ends, wrong = time.monotonic() + 60 * minutes, False
  for name, limit in limits.items():
    left = ends - time.monotonic()
    if left < LEAST:
      _note(name, f'left out, as the {minutes:g} minutes are used up')
      continue
    begun, code = time.monotonic(), 0
    try:
      code = subprocess.call(command(name), timeout=min(limit, left))
    except subprocess.TimeoutExpired:
      _note(name, 'stopped at its limit: what it has measured is kept')
    except KeyboardInterrupt:
      _note(name, 'interrupted: what it has measured is kept')
      return 1
    if code == REFUSED:
      return REFUSED
    if code < 0:
      _note(name, f'killed by signal {-code}: what it has measured is kept')
    wrong |= code != 0
    results.body = Results(results.path.parent).body
    results.section(name)['seconds'] += time.monotonic() - begun
    results.write()
  return int(wrong)


def _note(section: str, sentence: str) -> None:
  print(f'{section:11}{sentence}', flush=True)


def problem(error: Exception) -> dict[str, Any]:
  """Return what is recorded of a case that ended by an error."""
  line = f'{type(error).__name__}: {error}'.splitlines()[0][:200]
  return {'does not fit' if out_of_memory(error) else 'failed': line}


def out_of_memory(error: Exception) -> bool:
  """Return whether a device, or the machine, has too little memory."""
  return isinstance(error, MemoryError) or 'RESOURCE_EXHAUSTED' in str(error)


def told(found: Any) -> str:
  """Write a result in a line, or one for each part of it.

  >>> told({'seconds': 0.25, 'ratio': 1.5})
  'seconds 0.25, ratio 1.5'
  >>> print(told({'RoPE()': {'seconds': 0.25}, 'ALiBi()': {'seconds': 0.5}}))
  <BLANKLINE>
    RoPE() seconds 0.25
    ALiBi() seconds 0.5
  """
  if not isinstance(found, dict):
    return f'{found:.4g}' if isinstance(found, float) else str(found)
  parts = [f'{name} {told(value)}' for name, value in found.items()]
  if any(isinstance(value, dict) for value in found.values()):
    return ''.join(f'\n  {part}' for part in parts)
  return ', '.join(parts)
