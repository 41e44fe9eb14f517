"""A learning rate for each scheme: what is tried, and the rule that chooses.

A scheme may need another rate than its rival, so that a difference at one rate
may be a difference of rates. A tuned run is trained at several rates first, on
seeds of its own, and then on the seeds of the run at the rate that learned the
task best at the trained length. No longer length and no seed that is reported
takes part in the choice.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from posexp import component

if TYPE_CHECKING:
  from posexp.runs import config

# The largest seed of a key.
LARGEST = 2**32 - 1
# Far from those that people write, so that they are of no run.
SEEDS = (1000, 1001, 1002)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tuning(component.Component):
  """The learning rates that are tried, and the seeds that they are tried on.

  Attributes:
    rates: peaks, two or more; in ascending order, whatever order they are
      given in.
    seeds: none of the run's, and best the same for all schemes.

  >>> tuning = Tuning(rates=(3e-3, 1e-3))
  >>> tuning.rates
  (0.001, 0.003)
  >>> tuning.best({0.001: [0.9, 1.0], 0.003: [1.0, 0.9]})
  0.001
  """

  rates: tuple[float, ...] = component.field(
    each=True, above=0, remedy='write learning rates, as (1e-3, 3e-3, 1e-2)'
  )
  seeds: tuple[int, ...] = component.field(
    SEEDS,
    each=True,
    at_least=0,
    at_most=LARGEST,
    remedy='write numbers of 32 bits, as (1000, 1001)',
  )

  def __post_init__(self):
    super().__post_init__()
    if len(set(self.rates)) < max(2, len(self.rates)):
      raise component.UserError(
        'rates of Tuning must be two or more different learning rates, got '
        f'{component.written(self.rates)}: a run at one rate needs no tuning, '
        'set learning_rate of Train'
      )
    check_seeds(self)
    object.__setattr__(self, 'rates', tuple(sorted(self.rates)))

  def best(self, accuracy: Mapping[float, Iterable[float]]) -> float:
    """Return the rate of the highest mean accuracy, of equals the smallest.

    Args:
      accuracy: of each rate, seed by seed.
    """
    # Summed exactly, so that the order of seeds makes no rate the better one.
    return max(self.rates, key=lambda rate: math.fsum(accuracy[rate]))


def check_seeds(owner: 'Tuning | config.Run') -> None:
  """Raise a `UserError` unless the seeds are one or more different numbers."""
  if not owner.seeds or len(set(owner.seeds)) < len(owner.seeds):
    raise component.UserError(
      f'seeds of {type(owner).__name__} must be one or more different numbers, '
      f'got {owner.seeds}'
    )


def tuned(
  run: 'config.Run', *, rates: Iterable[float], seeds: Iterable[int] = SEEDS
) -> 'config.Run':
  """Return a run whose learning rate is chosen among several, for its scheme.

  For each rate the run is trained on `seeds` and evaluated at its trained
  length alone, on the examples of the gate: that is a trial, a run of its own
  which a launch computes before. The rate with the highest mean accuracy is
  taken, where a seed that diverged counts as 0 and of equals the smallest rate
  wins. The run is then trained at it on its own seeds. `learning_rate` of its
  `train` plays no part; a retrofit of it is adapted at the rate of its own
  `train`. The record says what was tried, under `tuned`.

  Trials are shown where work is counted (`--dry_run`, `posexp status`) and
  appear in no table, figure or comparison.

  >>> from posexp import schemes, tasks
  >>> from posexp.runs import config
  >>> run = config.Run(task=tasks.Ordering(filler=8), scheme=schemes.RoPE())
  >>> best = tuned(run, rates=(1e-3, 3e-3))
  >>> print(best.name)
  Ordering: RoPE() [tuned]
  >>> print(*(trial.name for trial in best.trials), sep=chr(10))
  Ordering: RoPE() [trial at 0.001]
  Ordering: RoPE() [trial at 0.003]

  Args:
    run: a run that is trained from scratch.
    rates: two or more learning rates.
    seeds: of the trials; none of the run's.

  Raises:
    UserError: for fewer than two rates, rates that are not positive or not
      different, seeds that the run has, or a run with a parent.
  """
  tuning = Tuning(rates=tuple(rates), seeds=tuple(seeds))
  return dataclasses.replace(run, tuning=tuning)


def trials(run: 'config.Run') -> tuple['config.Run', ...]:
  """Return the runs that choose the rate of a run, by rate; () if not tuned."""
  if run.tuning is None:
    return ()
  evaluation = dataclasses.replace(
    run.evaluate, lengths=(run.train.length,), diagnose='none'
  )
  return tuple(
    dataclasses.replace(
      run,
      train=dataclasses.replace(run.train, learning_rate=rate),
      evaluate=evaluation,
      seeds=run.tuning.seeds,
      tuning=None,
      trial=True,
    )
    for rate in run.tuning.rates
  )


def check(run: 'config.Run') -> None:
  """Check that a run can be tuned, and that a trial stands alone.

  Raises:
    UserError: if not.
  """
  parent, tuning = run.parent, run.tuning
  if run.trial and (tuning or parent):
    raise component.UserError(
      f'a trial only tells which learning rate is taken, and {run.scheme} is '
      'one with a tuning or a parent: leave out trial=True'
    )
  if parent is not None and parent.trial:
    raise component.UserError(
      f'{parent.name} only tells which learning rate is taken: retrofit the '
      'run that posexp.tuned gives'
    )
  if tuning is None:
    return
  if parent is not None:
    raise component.UserError(
      f'tuning is of a run that is trained from scratch, and {run.scheme} '
      f'takes over the weights of {parent.name}: give posexp.tuned that run, '
      'and retrofit what it returns'
    )
  shared = sorted(set(run.seeds) & set(tuning.seeds))
  if shared:
    raise component.UserError(
      f'seeds of Tuning must be none of the run, got {shared[0]} among '
      f'{tuning.seeds} and among {run.seeds}: a seed that is reported has no '
      'part in the choice of its rate, so give one of the two other seeds'
    )
