"""A number with its interval, as every text of posexp writes it.

There are two ways:

* `estimate`, for tables with many cells: mean ± half-width where the interval
  is symmetric about its mean, as Student's t is, else the mean and both ends,
  these in whole percent and rounded outwards;
* `bracketed`, number [low, high], for every interval.

An interval that does not exist (NaN, as with one seed) is left out, and a
number that does not exist is a dash.
"""

import math
from collections.abc import Callable, Sequence

MISSING = '–'


def percent(share: float, digits: int = 1) -> str:
  """Write a share in percent, without the sign.

  >>> percent(0.1234), percent(0.1234, digits=0), percent(math.nan)
  ('12.3', '12', '–')
  """
  return MISSING if math.isnan(share) else f'{100 * share:.{digits}f}'


def points(difference: float) -> str:
  """Write a difference of shares in points of a percent, signed.

  >>> points(0.1234), points(-0.02), points(-0.0001)
  ('+12.3', '-2.0', '+0.0')
  """
  if math.isnan(difference):
    return MISSING
  text = f'{100 * difference:+.1f}'
  return '+0.0' if text == '-0.0' else text


def number(value: float, digits: int = 2) -> str:
  """Write what is no share: a ratio, a perplexity.

  >>> number(1.0512), number(math.nan)
  ('1.05', '–')
  """
  return MISSING if math.isnan(value) else f'{value:.{digits}f}'


def significant(value: float, digits: int = 3) -> str:
  """Write a number with so many digits, or all of those before the point.

  >>> [significant(x) for x in (0.0123, 1.234, 56.78, 12345.6, 0.0, math.nan)]
  ['0.0123', '1.23', '56.8', '12,346', '0', '–']
  >>> significant(2.5e8), significant(math.inf)
  ('2.50e+08', 'inf')
  """
  if math.isnan(value):
    return MISSING
  if value == 0 or math.isinf(value):
    return f'{value:.0f}'
  if not 1e-4 <= abs(value) < 1e7:
    return f'{value:.{digits - 1}e}'
  places = digits - 1 - math.floor(math.log10(abs(value)))
  return f'{value:,.{max(0, places)}f}'


def gate(share: float) -> str:
  """Write the accuracy that a run must reach, with the sign of percent.

  >>> gate(0.99), gate(0.41237)
  ('99%', '41.2%')
  """
  return f'{100 * share:.3g}%'


def estimate(
  mean: float,
  low: float,
  high: float,
  show: Callable[[float], str] = percent,
  between: Callable[[float, float], str] | None = None,
  width: int = 0,
) -> str:
  """Write a mean with its interval, in a few letters.

  Args:
    mean: what was estimated.
    low: the lower end of its interval.
    high: the upper end of its interval.
    show: how the mean and its half-width are written.
    between: how both ends are written where they are not symmetric about the
      mean; `outwards` by default.
    width: to which the mean is padded, so that columns are aligned.

  >>> estimate(0.5, 0.25, 0.75), estimate(0.97, 0.7202, 1.0)
  ('50.0 ±25.0', '97.0 [72, 100]')
  >>> estimate(0.5, math.nan, math.nan)
  '50.0'
  """
  shown = f'{show(mean):>{width}}'
  if math.isnan(low) or math.isnan(high):
    return shown
  if math.isclose(mean - low, high - mean, rel_tol=1e-6, abs_tol=1e-9):
    return f'{shown} ±{show(high - mean)}'
  return f'{shown}{(between or outwards)(low, high)}'


def outwards(low: float, high: float) -> str:
  """Write both ends of a share's interval in whole percent, after a space.

  Rounded so that what is written covers the interval.

  >>> outwards(0.2924, 0.9501), outwards(0.29, 1.0)
  (' [29, 96]', ' [29, 100]')
  """
  # Rounded first, as 100 * 0.29 is below 29.
  least, most = round(100 * low, 6), round(100 * high, 6)
  return f' [{math.floor(least)}, {math.ceil(most)}]'


def bracketed(
  value: float,
  low: float,
  high: float,
  show: Callable[[float], str] = percent,
  unit: str = '',
) -> str:
  """Write a number with both ends of its interval.

  Args:
    value: what was estimated: a mean, a median, a difference.
    low: the lower end of its interval.
    high: the upper end of its interval.
    show: how all three are written.
    unit: what stands after the number and not after the ends.

  >>> bracketed(0.5, 0.25, 0.75), bracketed(0.5, math.nan, math.nan)
  ('50.0 [25.0, 75.0]', '50.0')
  >>> bracketed(0.1234, 0.1, 0.15, points, ' points')
  '+12.3 points [+10.0, +15.0]'
  >>> bracketed(1.5, 1.25, 1.75, number), bracketed(*[math.nan] * 3)
  ('1.50 [1.25, 1.75]', '–')
  """
  text = show(value)
  return text if math.isnan(value) else f'{text}{unit}{ends(low, high, show)}'


def ends(
  low: float, high: float, show: Callable[[float], str] = percent
) -> str:
  """Write both ends of an interval, after a space; '' where there is none.

  >>> ends(0.25, 0.75), ends(math.nan, math.nan)
  (' [25.0, 75.0]', '')
  """
  if math.isnan(low) or math.isnan(high):
    return ''
  return f' [{show(low)}, {show(high)}]'


def listed(words: Sequence[str], last: str) -> str:
  """Return words as a list.

  >>> listed(['a', 'b', 'c'], 'or')
  'a, b or c'
  """
  return f' {last} '.join(', '.join(words).rsplit(', ', 1)) or 'none'
