"""How a number with its interval is written."""

import functools
import math

import pytest

from posexp.claims import format, intervals


def test_a_symmetric_interval_is_its_half_width():
  found = intervals.interval([0.5, 0.6, 0.7], within=intervals.SHARE)
  assert format.plus_minus(*found[:3]) == '60.0 ±24.8'
  assert format.bracketed(*found[:3]) == '60.0 [35.2, 84.8]'


@pytest.mark.parametrize('values', [(0.9, 0.95, 1.0), (0.0, 0.05, 0.1)])
def test_a_cut_interval_has_the_half_width_from_before_the_cut(values):
  cut = intervals.interval(values, within=intervals.SHARE)
  whole = intervals.interval(values)
  assert cut != whole
  shown = format.plus_minus(*cut[:3])
  assert shown == format.plus_minus(*whole[:3])
  assert shown.endswith('±12.4')


def test_an_interval_that_is_cut_at_both_ends_is_covered():
  mean, low, high, _ = intervals.interval([0.0, 0.8], within=intervals.SHARE)
  assert (low, high) == (0, 1)
  half = format.half_width(mean, low, high)
  assert mean - half <= 0 and mean + half >= 1
  assert half == 0.6


def test_without_an_interval_the_number_stands_alone():
  one = intervals.interval([0.9])
  assert format.plus_minus(*one[:3]) == '90.0'
  assert format.bracketed(*one[:3]) == '90.0'
  assert format.ends(one.low, one.high) == ''
  assert math.isnan(format.half_width(*one[:3]))


@pytest.mark.parametrize('write', [format.plus_minus, format.bracketed])
def test_without_a_number_there_is_a_dash(write):
  assert write(math.nan, math.nan, math.nan) == format.MISSING


def test_other_quantities_and_digits():
  whole = functools.partial(format.percent, digits=0)
  assert format.plus_minus(0.97, 0.72, 1.0, whole) == '97 ±25'
  assert format.plus_minus(4.5, 4.0, 5.5, format.number, 6) == '  4.50 ±1.00'
  assert format.bracketed(-0.02, -0.05, -0.0001, format.points) == (
    '-2.0 [-5.0, +0.0]'
  )
