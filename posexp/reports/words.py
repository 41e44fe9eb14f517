"""Numbers and lists as a memo writes them."""

import math
from collections.abc import Sequence

from posexp.claims import intervals
from posexp.studies import compare


def points(found: compare.Difference) -> str:
  """A difference of shares in points of a percent.

  >>> points(compare.Difference(0.1234, 0.1, 0.15, 5, 1))
  '+12.3 points [+10.0, +15.0]'
  >>> points(compare.Difference(-0.02, float('nan'), float('nan'), 1, 1))
  '-2.0 points (1 seed, no interval)'
  """
  mean = f'{signed(found.mean)} points'
  if not found.n:
    return 'no number (0 seeds)'
  if not compare.finite(found.low, found.high):
    return f'{mean} ({seeds(found.n)}, no interval)'
  return f'{mean} [{signed(found.low)}, {signed(found.high)}]'


def share(found: intervals.Interval) -> str:
  """A share in percent, with its interval.

  >>> share(intervals.interval([0.9, 0.95, 1.0], within=intervals.SHARE))
  '95.0 [82.6, 100.0]'
  """
  if math.isnan(found.mean):
    return '–'
  mean = f'{100 * found.mean:.1f}'
  if not compare.finite(found.low, found.high):
    return mean
  return f'{mean} [{100 * found.low:.1f}, {100 * found.high:.1f}]'


def negative(found: compare.Difference) -> compare.Difference:
  """The difference the other way round."""
  return compare.Difference(
    -found.mean, -found.high, -found.low, found.n, found.m
  )


def signed(value: float) -> str:
  """A share in points of a percent, with its sign."""
  # Not -0.0, which is nothing.
  return f'{100 * value:+.1f}'.replace('-0.0', '+0.0')


def seeds(number: int) -> str:
  """How many."""
  return '1 seed' if number == 1 else f'{number} seeds'


def both(words: Sequence[str]) -> str:
  """A list of what holds together.

  >>> both(['a', 'b', 'c'])
  'a, b and c'
  """
  return _joined(words, ' and ')


def either(words: Sequence[str]) -> str:
  """A list as one says it.

  >>> either(['a', 'b', 'c'])
  'a, b or c'
  """
  return _joined(words, ' or ') if words else 'none'


def _joined(words: Sequence[str], last: str) -> str:
  return last.join(', '.join(words).rsplit(', ', 1))
