"""What `posexp measure` is asked, checked, and about how long it takes."""

import dataclasses
from typing import Any

from posexp import component, schemes
from posexp.cost import flop_count, programs
from posexp.results.cost_records import QUANTITIES
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
# The fewest rounds whose median has a 95 % interval.
FEWEST = 6
# Guesses before anything was timed: seconds to compile a program and to start
# a process, and FLOP/s.
COMPILE, CHILD, RATE = 3.0, 8.0, 2e10
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
    """The run whose programs are timed."""
    return programs.run_of(scheme, self.shape, length)

  def cells(self) -> list[Cell]:
    """Quantities and lengths, what is likely to be quickest first."""
    quantities = [q for q in programs.PROGRAMS if q in self.quantities]
    cells = [(q, n) for q in quantities for n in self.lengths]
    return sorted(cells, key=self.guess)

  def guess(self, cell: Cell) -> float:
    """Seconds of one call, from the arithmetic of matrices and attention."""
    quantity, length = cell
    run = self.run(self.baseline, length)
    forward = flop_count.forward_flops(run, length)
    flops = {'decode': forward / length, 'prefill': forward}
    return max(programs.LEAST, flops.get(quantity, 3 * forward) / RATE)

  def to_dict(self) -> dict[str, Any]:
    """Plain values, schemes as they are written."""
    names = [str(scheme) for scheme in self.compared]
    return vars(self) | {'compared': names, 'baseline': str(self.baseline)}


def plan(question: Question) -> dict[Cell, float]:
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


def child(question: Question, cell: Cell) -> float:
  """The same, of a process that measures memory."""
  return CHILD + 2 * question.guess(cell)


def words(cell: Cell) -> str:
  return f'{cell[0]} at {cell[1]:,} tokens'
