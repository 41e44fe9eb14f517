"""What became of a grid so far, read from its work directory, without JAX."""

import json
import math
import os
import pathlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from posexp.launch import failures, locks
from posexp.results import launches, progress, records

DONE, RUNNING, FAILED = 'done', 'running', 'failed'
STOPPED, WAITING = 'stopped', 'waiting'
KINDS = DONE, RUNNING, FAILED, STOPPED, WAITING
# Kinds of runs that are still to be computed.
LEFT = {RUNNING, STOPPED, WAITING}
FORMAT = 1
# Where the plans of launches lie in a work directory.
GRIDS = 'grids'
# So many finished runs, of all sizes, say how long runs take.
SAMPLE = 50
# Lines of a kind that are printed.
MOST = 20


class State(NamedTuple):
  """What became of a run.

  `kind` is done, running, failed, stopped (its process is gone, and its last
  checkpoint is there) or waiting; `said` is what its claim or its failure says;
  `effort` is its arithmetic, 0 where no plan says.
  """

  digest: str
  name: str
  kind: str
  said: dict[str, Any]
  effort: float


def plan(
  workdir: pathlib.Path, runs: Iterable[tuple[str, str, float]]
) -> pathlib.Path:
  """Write down what a grid consists of, and that it is the newest.

  Args:
    workdir: where its records go.
    runs: of each its digest, name and effort.
  """
  text = json.dumps({'format': FORMAT, 'runs': list(runs)})
  return launches.write(workdir / GRIDS, text)


def check(workdir: pathlib.Path) -> None:
  """Check that every plan can be read.

  Raises:
    UserError: if a newer version has written one, or one is damaged.
  """
  _plans(workdir)


def states(workdir: str | os.PathLike) -> list[State]:
  """Return what became of the runs of the newest grid of a work directory.

  And of any other that is finished or running there.

  Raises:
    UserError: if there is no such directory.
  """
  path = pathlib.Path(workdir)
  # Of a version that wrote no plans, of earlier grids, and of the newest.
  known = {digest: (digest, 0.0) for digest in records.list_runs(path)}
  wanted: set[str] = set()
  for grid in _plans(path):
    wanted = {digest for digest, _, _ in grid}
    known |= {digest: (name, effort) for digest, name, effort in grid}
  every = [_state(path, digest, *rest) for digest, rest in known.items()]
  return [s for s in every if s.digest in wanted or s.kind in (DONE, RUNNING)]


def _plans(workdir: pathlib.Path) -> list[list[tuple[str, str, float]]]:
  """Return the runs of each grid that was launched, the newest last."""
  return [
    launches.read(path, FORMAT, lambda body: [tuple(r) for r in body['runs']])
    for path in launches.paths(workdir / GRIDS)
  ]


def _state(
  workdir: pathlib.Path, digest: str, name: str, effort: float
) -> State:
  directory = records.run_directory(workdir, digest)
  if (directory / 'record.json').exists():
    return State(digest, name, DONE, {}, effort)
  said, alive = locks.state(directory) or ({}, False)
  if alive:
    return State(digest, name, RUNNING, said, effort)
  failure = failures.read(directory)
  if failure:
    return State(digest, name, FAILED, failure, effort)
  begun = said or list(directory.glob('checkpoints/step_*'))
  return State(digest, name, STOPPED if begun else WAITING, said, effort)


def remaining(
  workdir: str | os.PathLike, found: list[State]
) -> tuple[float, int] | None:
  """Estimate the seconds that are left, and by how many processes.

  Each as long as the finished run that is nearest in effort, in proportion:
  small runs compile for most of their time and large ones do not. None where
  nothing has finished.
  """
  done = sorted(
    (s for s in found if s.kind == DONE and s.effort), key=lambda s: s.effort
  )
  sample = done[:: -(-len(done) // SAMPLE)] if done else []
  known = {
    state.effort: seconds
    for state in sample
    if (seconds := _seconds(workdir, state.digest))
  }
  if not known:
    return None
  left = 0.0
  for state in found:
    if state.kind in LEFT and state.effort:
      nearest = min(known, key=lambda e: abs(math.log(e / state.effort)))
      share = 1 - state.said.get('share', 0.0)
      left += share * known[nearest] * state.effort / nearest
  processes = max(1, sum(state.kind == RUNNING for state in found))
  return left / processes, processes


def _seconds(workdir: str | os.PathLike, digest: str) -> float:
  try:
    record = records.read(workdir, digest)
  except records.DamagedRecord:
    return 0.0
  return float(record['seconds']['total']) if record else 0.0


def text(workdir: str | os.PathLike, found: list[State] | None = None) -> str:
  """Return what `posexp status` prints: counts, who computes what, failures."""
  found = states(workdir) if found is None else found
  if not found:
    return f'no grid was launched in {workdir} yet'
  counts = Counter(state.kind for state in found)
  told = ', '.join(f'{counts[k]:,} {k}' for k in KINDS if counts[k])
  lines = [f'{told} of {len(found):,} runs']
  for kind in (RUNNING, FAILED, STOPPED):
    some = [state for state in found if state.kind == kind]
    lines += [_line(state) for state in some[:MOST]]
    if len(some) > MOST:
      lines.append(f'         and {len(some) - MOST} more')
  if counts.keys() & LEFT:
    lines.append(_estimate(workdir, found))
  return '\n'.join(lines)


def _line(state: State) -> str:
  """Return what is told of one run."""
  said = state.said
  if state.kind == STOPPED:
    return f'stopped  {state.name}: resumes with the next launch'
  if state.kind == FAILED:
    return (
      f'failed   {state.name} [{state.digest}]\n         {said["sentence"]}'
    )
  return (
    f'running  {said.get("share", 0.0):4.0%} after '
    f'{progress.duration(said.get("seconds", 0.0)):>9} '
    f'by {said.get("host", "?")}:{said.get("pid", "?")}  {state.name}'
  )


def followed(workdir: str | os.PathLike, every: float = 2.0) -> Iterator[str]:
  """Yield `text` again whenever it changed, until nothing is left to do."""
  last = ''
  while True:
    found = states(workdir)
    new = text(workdir, found)
    if new != last:
      yield new
    last = new
    if not {state.kind for state in found} & LEFT:
      return
    time.sleep(every)


def _estimate(workdir: str | os.PathLike, found: list[State]) -> str:
  left = remaining(workdir, found)
  if left is None:
    return 'time left: not known before a run has finished'
  seconds, number = left
  return (
    f'about {progress.duration(seconds)} left by {number} '
    f'process{"es" if number > 1 else ""}, as long as what is finished took'
  )
