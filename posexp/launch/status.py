"""What became of a grid so far, read from its work directory, without JAX."""

import hashlib
import json
import math
import os
import pathlib
import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from posexp import component
from posexp.launch import failures, locks
from posexp.results import files, progress, records

DONE, RUNNING, FAILED, STOPPED, WAITING = (
  'done',
  'running',
  'failed',
  'stopped',
  'waiting',
)
FORMAT = 1
# So many finished runs, of all sizes, say how long runs take.
SAMPLE = 50
# Lines of a kind that are printed.
MOST = 20


class State(NamedTuple):
  """What became of a run.

  Attributes:
    digest: of its configuration.
    name: as in tables.
    kind: done, running, failed, stopped (its process is gone, and its last
      checkpoint is there) or waiting.
    said: of a claim or of a failure, by name.
    effort: its arithmetic, 0 where no plan says.
  """

  digest: str
  name: str
  kind: str
  said: dict[str, Any]
  effort: float


def plan(
  workdir: pathlib.Path, runs: Iterable[tuple[str, str, float]]
) -> pathlib.Path:
  """Writes down what a grid consists of, unless it is there already.

  Args:
    workdir: where its records go.
    runs: of each its digest, name and effort.
  """
  text = json.dumps({'format': FORMAT, 'runs': list(runs)}).encode()
  name = hashlib.sha256(text).hexdigest()[:16]
  path = workdir / 'grids' / f'{name}.json'
  if path.exists():
    path.touch()  # The newest plan is the one that counts.
  else:
    path.parent.mkdir(parents=True, exist_ok=True)
    files.put(path, text, over=True)
  return path


def check(workdir: pathlib.Path) -> None:
  """Raises a `UserError` for what a newer version has written."""
  for path in (workdir / 'grids').glob('*.json'):
    _plan(path)


def _plan(path: pathlib.Path) -> dict[str, Any]:
  try:
    found = json.loads(path.read_text('utf-8'))
    form, _ = int(found['format']), found['runs']
  except (ValueError, LookupError, TypeError) as error:
    raise component.UserError(
      f'the plan {path} cannot be read ({type(error).__name__}): move it away; '
      'the next launch writes it again'
    ) from None
  if form > FORMAT:
    raise component.UserError(
      f'{path} has format {form}, of a newer version of posexp, and this one '
      f'reads up to {FORMAT}: update posexp, or give another --workdir'
    )
  return found


def states(workdir: str | os.PathLike) -> list[State]:
  """What became of the runs of the newest grid of a work directory.

  And of any other that is finished or running there.

  Raises:
    UserError: if there is no such directory.
  """
  path = pathlib.Path(workdir)
  if not path.is_dir():
    raise component.UserError(
      f'no work directory {workdir}: give the one that `posexp run` writes to'
    )
  newest, *older = _plans(path) or [[]]
  wanted = {digest for digest, _, _ in newest}
  # Of earlier grids, and of a version that wrote no plans.
  others = [run for plan in older for run in plan]
  others += [(p.name, p.name, 0.0) for p in sorted((path / 'runs').glob('*'))]
  known = {run[0]: run for run in reversed(others)}
  known |= {run[0]: run for run in newest}
  found = [_state(path, *run) for run in known.values()]
  return [s for s in found if s.digest in wanted or s.kind in (DONE, RUNNING)]


def _plans(workdir: pathlib.Path) -> list[list[tuple[str, str, float]]]:
  """The runs of each grid that was launched, the newest first."""
  paths = sorted(
    (workdir / 'grids').glob('*.json'), key=lambda p: -p.stat().st_mtime_ns
  )
  return [[tuple(run) for run in _plan(path)['runs']] for path in paths]


def _state(
  workdir: pathlib.Path, digest: str, name: str, effort: float
) -> State:
  directory = records.run_directory(workdir, digest)
  if (directory / 'record.json').exists():
    return State(digest, name, DONE, {}, effort)
  said, alive = locks.state(directory) or ({}, False)
  if alive:
    return State(digest, name, RUNNING, said, effort)
  failed = failures.read(directory)
  if failed:
    return State(digest, name, FAILED, failed, effort)
  begun = said or list(directory.glob('checkpoints/step_*'))
  return State(digest, name, STOPPED if begun else WAITING, said, effort)


def remaining(
  workdir: str | os.PathLike, found: list[State]
) -> tuple[float, int] | None:
  """Seconds that what is not done may take, and by how many processes.

  Each as long as the finished run that is nearest in effort, in proportion:
  small runs compile for most of their time and large ones do not. None where
  nothing has finished.
  """
  done = sorted(
    (s for s in found if s.kind == DONE and s.effort), key=lambda s: s.effort
  )
  some = done[:: -(-len(done) // SAMPLE)] if done else []
  known = {
    s.effort: seconds for s in some if (seconds := _seconds(workdir, s.digest))
  }
  if not known:
    return None
  left = 0.0
  for state in found:
    if state.kind in (RUNNING, WAITING, STOPPED) and state.effort:
      like = min(known, key=lambda e: abs(math.log(e / state.effort)))
      share = 1 - state.said.get('share', 0.0)
      left += share * known[like] * state.effort / like
  hands = max(1, sum(state.kind == RUNNING for state in found))
  return left / hands, hands


def _seconds(workdir: str | os.PathLike, digest: str) -> float:
  try:
    record = records.read(workdir, digest)
  except records.Damaged:
    return 0.0
  return float(record['seconds']['total']) if record else 0.0


def text(workdir: str | os.PathLike, now: float | None = None) -> str:
  """`posexp status`: counts, who computes what, what failed and why."""
  return _text(workdir, states(workdir), time.time() if now is None else now)


def _text(workdir: str | os.PathLike, found: list[State], now: float) -> str:
  if not found:
    return f'nothing was asked for in {workdir} yet'
  by_kind = {
    kind: [s for s in found if s.kind == kind]
    for kind in (DONE, RUNNING, FAILED, STOPPED, WAITING)
  }
  lines = [
    ', '.join(f'{len(some):,} {kind}' for kind, some in by_kind.items() if some)
    + f' of {len(found):,} runs'
  ]
  lines += _running(by_kind[RUNNING], now)
  for state in by_kind[FAILED][:MOST]:
    lines.append(f'failed   {state.name} [{state.digest}]')
    lines.append(f'         {state.said["sentence"]}')
  lines += _more(by_kind[FAILED])
  for state in by_kind[STOPPED][:MOST]:
    lines.append(f'stopped  {state.name}: goes on with the next launch')
  lines += _more(by_kind[STOPPED])
  if sum(len(by_kind[kind]) for kind in (RUNNING, STOPPED, WAITING)):
    lines.append(_estimate(workdir, found))
  return '\n'.join(lines)


def followed(workdir: str | os.PathLike, every: float = 2.0) -> Iterator[str]:
  """`text`, again whenever it changed, until nothing is left to do."""
  last = ''
  while True:
    found = states(workdir)
    new = _text(workdir, found, time.time())
    if new != last:
      yield new
    last = new
    if not {state.kind for state in found} & {RUNNING, STOPPED, WAITING}:
      return
    time.sleep(every)


def _running(some: list[State], now: float) -> list[str]:
  lines = []
  for state in some[:MOST]:
    said = state.said
    lines.append(
      f'running  {said.get("share", 0.0):4.0%} after '
      f'{progress.duration(now - said.get("since", now)):>9} '
      f'by {said.get("host", "?")}:{said.get("pid", "?")}  {state.name}'
    )
  return lines + _more(some)


def _more(some: list[State]) -> list[str]:
  return [f'         and {len(some) - MOST} more'] if len(some) > MOST else []


def _estimate(workdir: str | os.PathLike, found: list[State]) -> str:
  left = remaining(workdir, found)
  if left is None:
    return 'time left: not known before a run has finished'
  seconds, hands = left
  return (
    f'about {progress.duration(seconds)} left by {hands} '
    f'process{"es" if hands > 1 else ""}, as long as what is finished took'
  )
