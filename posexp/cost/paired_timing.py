"""Paired timings: everything is timed once a round, in an order that changes.

What else the machine does then hits all alike, and what counts is the ratio of
two timings of the same round.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from posexp import component
from posexp.claims import intervals

# Of the orders: the same on every machine and in every measurement.
SEED = 20240229


def order(round_: int, number: int) -> list[int]:
  """In which order a round times `number` things.

  >>> [order(n, 3) for n in range(4)]
  [[1, 0, 2], [0, 1, 2], [2, 0, 1], [2, 1, 0]]
  """
  return np.random.default_rng([SEED, round_]).permutation(number).tolist()


def in_turns(
  calls: Sequence[Callable[[], float]], rounds: int
) -> Iterator[list[float]]:
  """What each call returned in each round, round by round, as they end.

  Args:
    calls: each returns its own timing, or any other number.
    rounds: how many times each is called.
  """
  for round_ in range(rounds):
    found = [0.0] * len(calls)
    for n in order(round_, len(calls)):
      found[n] = calls[n]()
    yield found


def ratio(mine_R: Sequence[float], base_R: Sequence[float]) -> intervals.Median:
  """The median over rounds of one timing over another of the same round.

  >>> ratio([2.0, 6.0, 9.0], [1.0, 2.0, 3.0]).median
  3.0
  """
  mine, base = np.asarray(mine_R, float), np.asarray(base_R, float)
  if mine.shape != base.shape:
    raise component.UserError(
      f'ratios are taken round by round, got {mine.size} rounds and '
      f'{base.size}: time both in the same rounds'
    )
  return intervals.median(mine / base)
