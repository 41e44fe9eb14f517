"""How a number with its interval is written."""

import functools
import math

import pytest

from posexp.claims import format, intervals


def test_a_symmetric_interval_is_its_half_width():
  found = intervals.interval([0.5, 0.6, 0.7], within=intervals.SHARE)
  assert format.estimate(*found[:3]) == '60.0 ±24.8'
  assert format.bracketed(*found[:3]) == '60.0 [35.2, 84.8]'


@pytest.mark.parametrize(
  'values, shown',
  [
    # 0.025 ** (1 / 3) is 0.2924, and its complement 0.7076.
    ((1.0, 1.0, 1.0), '100.0 [29, 100]'),
    ((0.0, 0.0, 0.0), '0.0 [0, 71]'),
  ],
)
def test_an_interval_that_is_not_symmetric_is_both_its_ends(values, shown):
  found = intervals.interval(values, within=intervals.SHARE)
  assert format.estimate(*found[:3]) == shown


def test_whole_ends_are_rounded_outwards():
  assert format.estimate(0.9, 0.29, 0.991) == '90.0 [29, 100]'
  assert format.estimate(0.9, 0.2999, 0.99) == '90.0 [29, 99]'
  # What differs by rounding alone is symmetric.
  assert format.estimate(0.3, 0.3 - 0.1, 0.4) == '30.0 ±10.0'


def test_without_an_interval_the_number_stands_alone():
  one = intervals.interval([0.9])
  assert format.estimate(*one[:3]) == '90.0'
  assert format.bracketed(*one[:3]) == '90.0'
  assert format.ends(one.low, one.high) == ''


@pytest.mark.parametrize('write', [format.estimate, format.bracketed])
def test_without_a_number_there_is_a_dash(write):
  assert write(math.nan, math.nan, math.nan) == format.MISSING


def test_other_quantities_and_digits():
  whole = functools.partial(format.percent, digits=0)
  assert format.estimate(0.97, 0.94, 1.0, whole) == '97 ±3'
  show = format.number
  assert format.estimate(4.5, 4.0, 5.0, show, width=6) == '  4.50 ±0.50'
  assert format.estimate(4.5, 4, 5.5, show, format.ends) == (
    '4.50 [400.0, 550.0]'
  )
  assert format.bracketed(-0.02, -0.05, -0.0001, format.points) == (
    '-2.0 [-5.0, +0.0]'
  )
