"""What position costs: schemes timed side by side, `posexp measure`."""

import concurrent.futures
import dataclasses
import functools
import math
import multiprocessing
import pathlib
import time
from typing import Any

from posexp import (
  component,
  config,
  cost_growth,
  cost_programs,
  measure,
  paired,
  schemes,
  sharding,
)
from posexp.cost_records import QUANTITIES
from posexp.cost_records import load as load
from posexp.cost_records import rounds as rounds
from posexp.launch import environment, progress

# What is measured where no scheme is named.
SCHEMES: tuple[schemes.Scheme, ...] = (
  schemes.RoPE(),
  schemes.NoPE(),
  schemes.ALiBi(),
  schemes.T5(),
  schemes.RoPE(schemes.YaRN(4, 2048)) + schemes.ALiBi(),
  schemes.Forgetting(),
)
# The fewest rounds whose median has a 95 % interval.
FEWEST = 6
# Guesses before anything was timed: seconds to compile a program and to start
# a process, and FLOP/s.
COMPILE, CHILD, RATE = 3.0, 8.0, 2e10
# The share of the free memory that a program may plan for.
FITS = 0.9

Cell = tuple[str, int]  # a quantity and a length


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
  """What is measured; everything is checked here, before any compute.

  Attributes:
    compared: the schemes.
    baseline: what they are compared with; measured among them.
    lengths: tokens of a training step, of a prompt, and in the cache.
    quantities: of 'train', 'prefill' and 'decode'.
    layers, heads, head_width: the model's shape.
    rounds: how often each is timed.
    minutes: how long all may take. What takes long has fewer rounds, and of
      what would have fewer than 6 the slowest schemes are left out.
    resident: whether to measure what memory is really held, see
      `cost_programs.resident`; not counted in the minutes.
  """

  compared: tuple[schemes.Scheme, ...] = SCHEMES
  baseline: schemes.Scheme = SCHEMES[0]
  lengths: tuple[int, ...] = (2048, 8192, 32768)
  quantities: tuple[str, ...] = tuple(QUANTITIES)
  layers: int = 2
  heads: int = 4
  head_width: int = 16
  rounds: int = 15
  minutes: float = 6.0
  resident: bool = False

  def __post_init__(self):
    listed = dict.fromkeys((self.baseline, *self.compared))
    object.__setattr__(self, 'compared', tuple(listed))
    object.__setattr__(self, 'lengths', tuple(sorted(set(self.lengths))))
    for quantity in self.quantities:
      component.one_of('what to measure', quantity, tuple(QUANTITIES))
    for length in self.lengths:
      component.at_least('lengths to measure', length, 4)
    for name in ('heads', 'head_width', 'rounds'):
      component.at_least(name, getattr(self, name), 1)
    if not self.minutes > 0:
      raise ValueError(f'minutes must be above 0, got {self.minutes}')
    if not (self.lengths and self.quantities):
      raise ValueError(
        'nothing to measure: give at least one length and one quantity'
      )
    for scheme in self.compared:
      for length in self.lengths:
        self.run(scheme, length)

  @property
  def shape(self) -> config.Model:
    return config.Model(
      layers=self.layers, heads=self.heads, width=self.heads * self.head_width
    )

  def run(self, scheme: schemes.Scheme, length: int) -> config.Run:
    """The run whose programs are timed."""
    return cost_programs.run_of(scheme, self.shape, length)

  def cells(self) -> list[Cell]:
    """Quantities and lengths, what is likely to be quickest first."""
    quantities = [q for q in cost_programs.PROGRAMS if q in self.quantities]
    cells = [(q, n) for q in quantities for n in self.lengths]
    return sorted(cells, key=self.guess)

  def guess(self, cell: Cell) -> float:
    """Seconds of one call, from the arithmetic of matrices and attention."""
    quantity, length = cell
    run = self.run(self.baseline, length)
    forward = measure.forward_flops(run, length)
    flops = {'decode': forward / length, 'prefill': forward}
    return max(cost_programs.LEAST, flops.get(quantity, 3 * forward) / RATE)

  def to_dict(self) -> dict[str, Any]:
    """Plain values, schemes as they are written."""
    names = [str(scheme) for scheme in self.compared]
    return vars(self) | {'compared': names, 'baseline': str(self.baseline)}


def answer(question: Question, log: pathlib.Path) -> dict[str, Any]:
  """Measures everything.

  An interruption ends it early, and what was finished is kept.

  Args:
    question: what is measured.
    log: the file that progress is appended to.

  Returns:
    What is recorded, for `cost_records.write`.
  """
  number, plan = len(question.compared), _plan(question)
  total = number * COMPILE + sum(plan.values())
  if question.resident:
    total += number * sum(_child(question, cell) for cell in plan)
  with progress.Progress(total, log) as tell:
    measurement = _Measurement(question, tell)
    try:
      measurement.measure()
    except KeyboardInterrupt:
      measurement.leave_out('interrupted: what was finished is kept')
      measurement.body['interrupted'] = True
  return measurement.body


def _plan(question: Question) -> dict[Cell, float]:
  """About how many seconds each cell takes, in turn; for the progress.

  What is likely to be left out takes as long as its compilation.
  """
  number, found = len(question.compared), {}
  left = 60 * question.minutes
  for cell in question.cells():
    compiling = number * COMPILE
    one = number * question.guess(cell)
    if compiling + (2 + FEWEST) * one <= left:
      found[cell] = min(compiling + (2 + question.rounds) * one, left)
    else:
      found[cell] = compiling
    left = max(0.0, left - found[cell])
  return found


def _child(question: Question, cell: Cell) -> float:
  """The same, of a process that measures memory."""
  return CHILD + 2 * question.guess(cell)


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
    self.body['device'] = environment.device(sharding.mesh(1, 1))
    longest = self._question.lengths[-1]
    for scheme in self._question.compared:
      found = cost_growth.growth(scheme, self._question.shape, longest)
      self.body['growth'].append(found.to_dict())
      self._tell.advance(COMPILE, f'what grows: {scheme}')
    for cell, seconds in _plan(self._question).items():
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
          f'memory of {_words(cell)} left out, as it would take too long: give '
          'more minutes'
        )
        continue
      for scheme in self._question.compared:
        with concurrent.futures.ProcessPoolExecutor(1, spawn) as pool:
          run = self._question.run(scheme, cell[1])
          ask = pool.submit(cost_programs.resident, cell[0], run)
          try:
            held = ask.result()
          except concurrent.futures.process.BrokenProcessPool:
            self.leave_out(
              f'memory of {_words(cell)} under {scheme} left out, as its '
              'process was killed, most likely for want of memory'
            )
            held = None
        self._resident[cell, scheme] = held
        work = _child(self._question, cell)
        self._tell.advance(work, f'memory: {scheme}, {_words(cell)}')

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
    alone = len(kept) == 1 < len(self._question.compared)
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
      self.leave_out(f'{_words(cell)}{what}, as {why}')
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
    timed, warm = {}, {}
    for scheme in self._fitting(cell, self._expected(cell), COMPILE):
      one = self._compiled(cell, scheme)
      if one is not None:
        timed[scheme], warm[scheme] = one, one()
    timed = {scheme: timed[scheme] for scheme in self._fitting(cell, warm)}
    if not timed:
      return None
    calls, single = cost_programs.repetitions(list(timed.values()))
    for scheme, seconds in zip(timed, single):
      self._timed[cell[0], scheme] = cell[1], seconds
    found = self._rounds(cell, list(timed.values()), calls, sum(single))
    return {
      'quantity': cell[0],
      'length': cell[1],
      'calls': calls,
      'seconds': {str(s): list(each) for s, each in zip(timed, zip(*found))},
      'facts': {str(s): self._facts(cell, s, one) for s, one in timed.items()},
    }

  def _rounds(
    self,
    cell: Cell,
    timed: list[cost_programs.Timed],
    calls: int,
    seconds: float,
  ) -> list[list[float]]:
    """The timings, as many rounds as are asked for or fit into what is left."""
    fitting = max(FEWEST, int(self._left() / (calls * seconds)))
    rounds = min(self._question.rounds, fitting)
    turns = [functools.partial(one, calls) for one in timed]
    found = []
    compiling = COMPILE * len(self._question.compared)
    work = max(0.0, _plan(self._question)[cell] - compiling) / rounds
    for row in paired.in_turns(turns, rounds):
      found.append(row)
      self._tell.advance(work, f'timing: {_words(cell)}')
    return found

  def _compiled(
    self, cell: Cell, scheme: schemes.Scheme
  ) -> cost_programs.Timed | None:
    """A program with its arguments; None if it would not fit."""
    one = cost_programs.Timed(cell[0], self._question.run(scheme, cell[1]))
    self._tell.advance(COMPILE, f'compiling: {scheme}, {_words(cell)}')
    need, free = one.analysis['memory'], cost_programs.free_bytes()
    if need > FITS * free:
      self.leave_out(
        f'{scheme}, {_words(cell)}: XLA plans for {need / 2**30:.3g} GiB and '
        f'{free / 2**30:.3g} GiB are free: left out'
      )
      return None
    one.start()
    return one

  def _facts(
    self, cell: Cell, scheme: schemes.Scheme, one: cost_programs.Timed
  ) -> dict[str, Any]:
    """What is known of a program besides its timings."""
    run = self._question.run(scheme, cell[1])
    return {
      **one.analysis,
      **measure.parameters(run),
      'resident': self._resident.get((cell, scheme)),
    }


def _words(cell: Cell) -> str:
  return f'{cell[0]} at {cell[1]:,} tokens'
