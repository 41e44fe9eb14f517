"""What position costs: schemes timed side by side, `posexp measure`."""

import concurrent.futures
import functools
import math
import multiprocessing
import pathlib
import time
from typing import Any

from posexp import schemes
from posexp.cost import flop_count, growth, paired_timing, programs
from posexp.cost.question import COMPILE, FEWEST, Cell, child, plan, words
from posexp.cost.question import SCHEMES as SCHEMES
from posexp.cost.question import Question as Question
from posexp.models import environment, mesh
from posexp.results import progress

# The share of the free memory that a program may plan for.
FITS = 0.9


def answer(question: Question, log: pathlib.Path) -> dict[str, Any]:
  """Measures everything.

  An interruption ends it early, and what was finished is kept.

  Args:
    question: what is measured.
    log: the file that progress is appended to.

  Returns:
    What is recorded, for `cost_records.write`.
  """
  number, cells = len(question.compared), plan(question)
  total = number * COMPILE + sum(cells.values())
  if question.resident:
    total += number * sum(child(question, cell) for cell in cells)
  with progress.Progress(total, log) as tell:
    measurement = _Measurement(question, tell)
    try:
      measurement.measure()
    except KeyboardInterrupt:
      measurement.leave_out('interrupted: what was finished is kept')
      measurement.body['interrupted'] = True
  return measurement.body


class _Measurement:
  """One question on its way.

  Attributes:
    body: what is recorded, as far as it has come.
  """

  def __init__(self, question: Question, tell: progress.Progress):
    self._question, self._tell = question, tell
    self._began = time.monotonic()
    # The last length that was timed, and the seconds of a call.
    self._timed: dict[tuple[str, schemes.Scheme], tuple[int, float]] = {}
    self._resident: dict[tuple[Cell, schemes.Scheme], int | None] = {}
    self.body: dict[str, Any] = {
      'question': question.to_dict(),
      'versions': environment.versions(),
      'growth': [],
      'groups': [],
      'left_out': [],
      'interrupted': False,
    }

  def measure(self) -> None:
    if self._question.resident:
      # First, since some accelerators serve one process at a time.
      self._hold()
    self._began = time.monotonic()
    self.body['device'] = environment.device(mesh.mesh(1, 1))
    longest = self._question.lengths[-1]
    for scheme in self._question.compared:
      found = growth.growth(scheme, self._question.shape, longest)
      self.body['growth'].append(found.to_dict())
      self._tell.advance(COMPILE, f'what grows: {scheme}')
    for cell, seconds in plan(self._question).items():
      done = self._tell.done
      group = self._group(cell)
      if group is not None:
        self.body['groups'].append(group)
      self._tell.skip(seconds - (self._tell.done - done))

  def leave_out(self, sentence: str) -> None:
    self._tell.note(sentence)
    self.body['left_out'].append(sentence)

  def _hold(self) -> None:
    """The memory that each program really takes, in a process of its own."""
    # Not forked: a child must start JAX itself.
    spawn = multiprocessing.get_context('spawn')
    for cell in self._question.cells():
      seconds = self._question.guess(cell) * len(self._question.compared)
      if 2 * seconds > self._left():
        self.leave_out(
          f'memory of {words(cell)} left out, as it would take too long: give '
          'more minutes'
        )
        continue
      for scheme in self._question.compared:
        with concurrent.futures.ProcessPoolExecutor(1, spawn) as pool:
          run = self._question.run(scheme, cell[1])
          ask = pool.submit(programs.resident, cell[0], run)
          try:
            held = ask.result()
          except concurrent.futures.process.BrokenProcessPool:
            self.leave_out(
              f'memory of {words(cell)} under {scheme} left out, as its '
              'process was killed, most likely for want of memory'
            )
            held = None
        self._resident[cell, scheme] = held
        work = child(self._question, cell)
        self._tell.advance(work, f'memory: {scheme}, {words(cell)}')

  def _left(self) -> float:
    """The seconds that are left."""
    return 60 * self._question.minutes - (time.monotonic() - self._began)

  def _fitting(
    self, cell: Cell, seconds: dict[schemes.Scheme, float], once: float = 0.0
  ) -> list[schemes.Scheme]:
    """The schemes whose calls, of so many seconds, fit into what is left.

    Before its calls each takes `once`. The slowest is left out first. The
    baseline must be among them, and another scheme if there is one: else none
    is.
    """
    calls, left = 2 + min(FEWEST, self._question.rounds), self._left()
    each = {scheme: once + calls * one for scheme, one in seconds.items()}
    need, kept = sum(each.values()), sorted(each, key=lambda s: each[s])
    while kept and sum(each[s] for s in kept) > left:
      kept.pop()
    alone = len(kept) == 1 < len(seconds)
    if self._question.baseline not in kept or alone:
      kept = []
    if len(kept) < len(seconds):
      dropped = ', '.join(str(s) for s in seconds if s not in kept)
      what = f': {dropped} left out' if kept else ' left out'
      minutes = math.ceil(self._question.minutes + (need - left) / 60)
      why = (
        f'the fewest rounds of all would take {progress.duration(need)} and '
        f'{progress.duration(max(left, 0))} are left: give {minutes} minutes'
      )
      if not all(seconds.values()):
        why = f'the {self._question.minutes:g} minutes are over: give more'
      self.leave_out(f'{words(cell)}{what}, as {why}')
    return [scheme for scheme in seconds if scheme in kept]

  def _expected(self, cell: Cell) -> dict[schemes.Scheme, float]:
    """Seconds of a call, from what a shorter length took; 0 if none was."""
    (quantity, length), found = cell, {}
    power = 1 if quantity == 'decode' else 2
    for scheme in self._question.compared:
      before, seconds = self._timed.get((quantity, scheme), (length, 0.0))
      found[scheme] = seconds * (length / before) ** power
    return found

  def _group(self, cell: Cell) -> dict[str, Any] | None:
    """A quantity at a length, of all schemes; None if it is left out."""
    timed, like = self._programs(cell)
    if not timed:
      return None
    calls, single = programs.repetitions(list(timed.values()))
    found = self._rounds(cell, list(timed.values()), calls, sum(single))
    once, seconds = dict(zip(timed, single)), dict(zip(timed, zip(*found)))
    for scheme, (first, _) in like.items():
      self._timed[cell[0], scheme] = cell[1], once[first]
    return {
      'quantity': cell[0],
      'length': cell[1],
      'calls': calls,
      'seconds': {str(s): list(seconds[one]) for s, (one, _) in like.items()},
      'facts': {
        str(s): self._facts(cell, s, one) for s, (_, one) in like.items()
      },
    }

  def _programs(
    self, cell: Cell
  ) -> tuple[
    dict[schemes.Scheme, programs.Timed],
    dict[schemes.Scheme, tuple[schemes.Scheme, programs.Timed]],
  ]:
    """The programs to be timed, started, and whose time each scheme takes.

    Schemes that compile to the same program are timed once, as the first of
    them; each keeps its own program for what is known of it.
    """
    every, warm = {}, {}
    first: dict[str, schemes.Scheme] = {}
    for scheme in self._fitting(cell, self._expected(cell), COMPILE):
      one = self._compiled(cell, scheme)
      if one is None:
        continue
      like = first.setdefault(one.analysis['program'], scheme)
      every[scheme] = like, one
      if like == scheme:
        one.start()
        warm[scheme] = one()
    kept = {scheme: every[scheme][1] for scheme in self._fitting(cell, warm)}
    return kept, {s: pair for s, pair in every.items() if pair[0] in kept}

  def _rounds(
    self,
    cell: Cell,
    timed: list[programs.Timed],
    calls: int,
    seconds: float,
  ) -> list[list[float]]:
    """The timings, as many rounds as are asked for or fit into what is left."""
    fitting = max(FEWEST, int(self._left() / (calls * seconds)))
    rounds = min(self._question.rounds, fitting)
    turns = [functools.partial(one, calls) for one in timed]
    found = []
    compiling = COMPILE * len(self._question.compared)
    work = max(0.0, plan(self._question)[cell] - compiling) / rounds
    for row in paired_timing.in_turns(turns, rounds):
      found.append(row)
      self._tell.advance(work, f'timing: {words(cell)}')
    return found

  def _compiled(
    self, cell: Cell, scheme: schemes.Scheme
  ) -> programs.Timed | None:
    """A program, not yet started; None if it would not fit."""
    one = programs.Timed(cell[0], self._question.run(scheme, cell[1]))
    self._tell.advance(COMPILE, f'compiling: {scheme}, {words(cell)}')
    need, free = one.analysis['memory'], programs.free_bytes()
    if need > FITS * free:
      self.leave_out(
        f'{scheme}, {words(cell)}: XLA plans for {need / 2**30:.3g} GiB and '
        f'{free / 2**30:.3g} GiB are free: left out'
      )
      return None
    return one

  def _facts(
    self, cell: Cell, scheme: schemes.Scheme, one: programs.Timed
  ) -> dict[str, Any]:
    """What is known of a program besides its timings."""
    run = self._question.run(scheme, cell[1])
    return {
      **one.analysis,
      **flop_count.parameters(run),
      'resident': self._resident.get((cell, scheme)),
    }
