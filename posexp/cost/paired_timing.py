"""Paired timings: everything is timed once a round, in an order that changes.

What else the machine does then hits all alike, and what counts is the ratio of
two timings of the same round.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

# Of the orders: the same on every machine and in every measurement.
SEED = 20240229


def order(round_: int, number: int) -> list[int]:
  """Return the order in which a round times `number` things.

  >>> [order(n, 3) for n in range(4)]
  [[1, 0, 2], [0, 1, 2], [2, 0, 1], [2, 1, 0]]
  """
  return np.random.default_rng([SEED, round_]).permutation(number).tolist()


def in_turns(
  calls: Sequence[Callable[[], float]], rounds: int
) -> Iterator[list[float]]:
  """Yield what each call returned, round by round, as the rounds end.

  Args:
    calls: each returns its own timing, or any other number.
    rounds: how many times each is called.
  """
  for round_ in range(rounds):
    results = [0.0] * len(calls)
    for n in order(round_, len(calls)):
      results[n] = calls[n]()
    yield results
