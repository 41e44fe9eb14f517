"""What position costs: schemes timed side by side, `posexp measure`."""

import concurrent.futures
import dataclasses
import functools
import math
import multiprocessing
import pathlib
import time
from typing import Any

from posexp import component, schemes
from posexp.cost import flop_count, growth, paired_timing, programs
from posexp.models import environment, mesh
from posexp.results import cost_records, progress
from posexp.runs import config

# What is measured where no scheme is named.
SCHEMES: tuple[schemes.Scheme, ...] = (
  schemes.RoPE(),
  schemes.NoPE(),
  schemes.ALiBi(),
  schemes.T5(),
  schemes.RoPE(schemes.YaRN(4, 2048)) + schemes.ALiBi(),
  schemes.Forgetting(),
)
# The share of the free memory that a program may plan for.
FITS = 0.9
# The fewest rounds whose median has a 95 % interval.
FEWEST = 6
# Guesses before anything was timed: seconds to compile a program and to start
# a process, and FLOP/s.
COMPILE, CHILD, RATE = 3.0, 8.0, 2e10
Setting = tuple[str, int]  # A quantity and a length.


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
      `programs.resident`; not counted in the minutes.
  """

  compared: tuple[schemes.Scheme, ...] = SCHEMES
  baseline: schemes.Scheme = SCHEMES[0]
  lengths: tuple[int, ...] = (2048, 8192, 32768)
  quantities: tuple[str, ...] = tuple(cost_records.QUANTITIES)
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
      component.one_of(
        'what to measure', quantity, tuple(cost_records.QUANTITIES)
      )
    for length in self.lengths:
      component.at_least('lengths to measure', length, 4)
    for name in ('heads', 'head_width', 'rounds'):
      component.at_least(name, getattr(self, name), 1)
    if not self.minutes > 0:
      raise component.UserError(f'minutes must be above 0, got {self.minutes}')
    if not (self.lengths and self.quantities):
      raise component.UserError(
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
    """Return the run whose programs are timed."""
    return programs.run_of(scheme, self.shape, length)

  def settings(self) -> list[Setting]:
    """Return quantities and lengths, what is likely to be quickest first."""
    quantities = [q for q in programs.PROGRAMS if q in self.quantities]
    each = [(q, length) for q in quantities for length in self.lengths]
    return sorted(each, key=self.guess)

  def guess(self, setting: Setting) -> float:
    """Return seconds of a call, from the arithmetic of a forward pass."""
    quantity, length = setting
    forward = flop_count.forward_flops(self.run(self.baseline, length), length)
    flops = {'decode': forward / length, 'prefill': forward}
    return max(programs.LEAST, flops.get(quantity, 3 * forward) / RATE)

  def plan(self) -> dict[Setting, float]:
    """Return about how many seconds each setting takes, in turn.

    What is likely to be left out takes as long as its compilation.
    """
    number, seconds = len(self.compared), {}
    left = 60 * self.minutes
    for setting in self.settings():
      seconds[setting] = number * COMPILE
      call = number * self.guess(setting)
      if seconds[setting] + (2 + FEWEST) * call <= left:
        seconds[setting] += (2 + self.rounds) * call
        seconds[setting] = min(seconds[setting], left)
      left = max(0.0, left - seconds[setting])
    return seconds

  def to_dict(self) -> dict[str, Any]:
    """Return plain values, schemes as they are written."""
    names = [str(scheme) for scheme in self.compared]
    return vars(self) | {'compared': names, 'baseline': str(self.baseline)}


def answer(question: Question, log: pathlib.Path) -> dict[str, Any]:
  """Measure everything.

  An interruption ends it early, and what was finished is kept.

  Args:
    question: what is measured.
    log: the file that progress is appended to.

  Returns:
    What is recorded, for `cost_records.write`.
  """
  number, plan = len(question.compared), question.plan()
  total = number * COMPILE + sum(plan.values())
  if question.resident:
    total += number * sum(_child_seconds(question, each) for each in plan)
  with progress.Progress(total, log) as bar:
    measurement = _Measurement(question, bar)
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

  def __init__(self, question: Question, bar: progress.Progress):
    self._question, self._bar = question, bar
    self._plan = question.plan()
    self._began = time.monotonic()
    # The last length that was timed, and the seconds of a call.
    self._timed: dict[tuple[str, schemes.Scheme], tuple[int, float]] = {}
    self._resident: dict[tuple[Setting, schemes.Scheme], int | None] = {}
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
      self._measure_resident()
    self._began = time.monotonic()
    self.body['device'] = environment.device(mesh.mesh(1, 1))
    longest = self._question.lengths[-1]
    for scheme in self._question.compared:
      grows = growth.growth(scheme, self._question.shape, longest)
      self.body['growth'].append(grows.to_dict())
      self._bar.advance(COMPILE, f'what grows: {scheme}')
    for setting, seconds in self._plan.items():
      done = self._bar.done
      group = self._group(setting)
      if group is not None:
        self.body['groups'].append(group)
      self._bar.skip(seconds - (self._bar.done - done))

  def leave_out(self, sentence: str) -> None:
    self._bar.note(sentence)
    self.body['left_out'].append(sentence)

  def _measure_resident(self) -> None:
    """Measure the memory of each program, in a process of its own."""
    for setting in self._question.settings():
      seconds = self._question.guess(setting) * len(self._question.compared)
      if 2 * seconds > self._left():
        self.leave_out(
          f'memory of {_words(setting)} left out, as it would take too long: '
          'give more minutes'
        )
        continue
      for scheme in self._question.compared:
        held = self._resident_bytes(setting, scheme)
        self._resident[setting, scheme] = held
        work = _child_seconds(self._question, setting)
        self._bar.advance(work, f'memory: {scheme}, {_words(setting)}')

  def _resident_bytes(
    self, setting: Setting, scheme: schemes.Scheme
  ) -> int | None:
    quantity, length = setting
    # Not forked: a child must start JAX itself.
    spawn = multiprocessing.get_context('spawn')
    with concurrent.futures.ProcessPoolExecutor(1, spawn) as pool:
      run = self._question.run(scheme, length)
      try:
        return pool.submit(programs.resident, quantity, run).result()
      except concurrent.futures.process.BrokenProcessPool:
        self.leave_out(
          f'memory of {_words(setting)} under {scheme} left out, as its '
          'process was killed, most likely for want of memory'
        )
        return None

  def _left(self) -> float:
    """Return the seconds that are left."""
    return 60 * self._question.minutes - (time.monotonic() - self._began)

  def _fitting(
    self,
    setting: Setting,
    seconds: dict[schemes.Scheme, float],
    once: float = 0.0,
  ) -> list[schemes.Scheme]:
    """Return the schemes that there is time for; the slowest is dropped first.

    Unless the baseline is among them, and another scheme if there is one, none
    is.

    Args:
      setting: a quantity and a length.
      seconds: of a call, by scheme.
      once: seconds that each takes before its calls.
    """
    calls, left = 2 + min(FEWEST, self._question.rounds), self._left()
    each = {scheme: once + calls * call for scheme, call in seconds.items()}
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
      self.leave_out(f'{_words(setting)}{what}, as {why}')
    return [scheme for scheme in seconds if scheme in kept]

  def _expected(self, setting: Setting) -> dict[schemes.Scheme, float]:
    """Return seconds of a call by those of a shorter length; 0 without any."""
    quantity, length = setting
    power = 1 if quantity == 'decode' else 2
    expected = {}
    for scheme in self._question.compared:
      before, seconds = self._timed.get((quantity, scheme), (length, 0.0))
      expected[scheme] = seconds * (length / before) ** power
    return expected

  def _group(self, setting: Setting) -> dict[str, Any] | None:
    """Return a setting's timings of all schemes; None if it is left out."""
    quantity, length = setting
    compiled, like = self._programs(setting)
    if not like:
      return None
    kept = list(dict.fromkeys(like.values()))
    timed = [compiled[scheme] for scheme in kept]
    calls, once = programs.repetitions(timed)
    rounds = self._rounds(setting, timed, calls, sum(once))
    seconds: dict[str, list[float]] = {}
    facts: dict[str, dict[str, Any]] = {}
    for scheme, first in like.items():
      place, name = kept.index(first), str(scheme)
      self._timed[quantity, scheme] = length, once[place]
      seconds[name] = [row[place] for row in rounds]
      facts[name] = {
        **compiled[scheme].analysis,
        **flop_count.parameters(self._question.run(scheme, length)),
        'resident': self._resident.get((setting, scheme)),
      }
    return {
      'quantity': quantity,
      'length': length,
      'calls': calls,
      'seconds': seconds,
      'facts': facts,
    }

  def _programs(
    self, setting: Setting
  ) -> tuple[
    dict[schemes.Scheme, programs.Program], dict[schemes.Scheme, schemes.Scheme]
  ]:
    """Return the programs, and the scheme in whose place each is timed.

    Schemes of the same program are compiled and timed once, as the first of
    them. Those that there is no time for have none.
    """
    quantity, length = setting
    compiled, warm = {}, {}
    first: dict[str, schemes.Scheme] = {}
    like: dict[schemes.Scheme, schemes.Scheme] = {}
    for scheme in self._fitting(setting, self._expected(setting), COMPILE):
      run = self._question.run(scheme, length)
      same = first.setdefault(programs.program_of(quantity, run), scheme)
      if same == scheme:
        program = self._compiled(setting, scheme)
        if program is not None:
          program.start()
          warm[scheme], compiled[scheme] = program(), program
      if same in compiled:
        compiled[scheme], like[scheme] = compiled[same], same
    kept = self._fitting(setting, warm)
    return compiled, {s: of for s, of in like.items() if of in kept}

  def _rounds(
    self,
    setting: Setting,
    timed: list[programs.Program],
    calls: int,
    seconds: float,
  ) -> list[list[float]]:
    """Return the timings of as many rounds as are asked for or fit."""
    fitting = max(FEWEST, int(self._left() / (calls * seconds)))
    rounds = min(self._question.rounds, fitting)
    compiling = COMPILE * len(self._question.compared)
    work = max(0.0, self._plan[setting] - compiling) / rounds
    turns = [functools.partial(program, calls) for program in timed]
    timings = []
    for row in paired_timing.in_turns(turns, rounds):
      timings.append(row)
      self._bar.advance(work, f'timing: {_words(setting)}')
    return timings

  def _compiled(
    self, setting: Setting, scheme: schemes.Scheme
  ) -> programs.Program | None:
    """Return a program, not yet started; None if it would not fit."""
    quantity, length = setting
    program = programs.Program(quantity, self._question.run(scheme, length))
    self._bar.advance(COMPILE, f'compiling: {scheme}, {_words(setting)}')
    need, free = program.analysis['memory'], programs.free_bytes()
    if need > FITS * free:
      self.leave_out(
        f'{scheme}, {_words(setting)}: XLA plans for {need / 2**30:.3g} GiB '
        f'and {free / 2**30:.3g} GiB are free: left out'
      )
      return None
    return program


def _child_seconds(question: Question, setting: Setting) -> float:
  """Return about how many seconds a process that measures memory takes."""
  return CHILD + 2 * question.guess(setting)


def _words(setting: Setting) -> str:
  quantity, length = setting
  return f'{quantity} at {length:,} tokens'
