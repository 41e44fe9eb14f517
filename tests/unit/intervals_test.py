"""Intervals against SciPy and by simulation of what they should cover."""

import math

import numpy as np
import pytest
from scipy import stats

from posexp.claims import intervals
from tests.unit.statistics_test import run, table

SAMPLES = 1200


@pytest.mark.parametrize('k, n', [(0, 3), (3, 3), (2, 5), (17, 40)])
def test_wilson_is_its_formula(k, n):
  z = stats.norm.ppf(0.975)
  center = (k + z**2 / 2) / (n + z**2)
  half = z / (n + z**2) * math.sqrt(k * (n - k) / n + z**2 / 4)
  share = intervals.wilson(k, n)
  assert share.share == k / n
  ends = [center - half, center + half]
  np.testing.assert_allclose(share[1:3], ends, atol=1e-15)


def test_wilson_covers_within_two_points_of_nominal_over_probabilities():
  rng = np.random.default_rng(1)
  for n in (3, 5, 10, 30):
    ends = [intervals.wilson(k, n) for k in range(n + 1)]
    low, high = (np.array([e[i] for e in ends]) for i in (1, 2))
    p = rng.uniform(size=40_000)
    k = rng.binomial(n, p)
    covered = ((low[k] <= p) & (p <= high[k])).mean()
    assert 0.93 <= covered <= 0.97, n


def normal(rng, shape):
  return rng.normal(size=shape)


def skewed(rng, shape):
  return rng.beta(8, 2, size=shape)


def two_modes(rng, shape):
  """Half of the seeds extrapolate, and half do not."""
  up = rng.normal(0.95, 0.03, shape)
  return np.where(rng.random(shape) < 0.5, up, rng.normal(0.3, 0.1, shape))


@pytest.mark.parametrize('draw', [normal, skewed, two_modes])
@pytest.mark.parametrize('n', [5, 6, 10, 24])
def test_intervals_of_the_middle_cover_what_they_say(draw, n, monkeypatch):
  monkeypatch.setattr(intervals, 'RESAMPLES', 799)
  rng = np.random.default_rng(2)
  # The middle of so large a sample is that of its distribution.
  true = stats.trim_mean(draw(rng, 400_001), 0.25)
  middles = [intervals.middle(v) for v in draw(rng, (SAMPLES, n))]
  covered = np.mean([f.low <= true <= f.high for f in middles])
  # Two points, and what 1,200 samples leave open; with five values an interval
  # cannot reach beyond the least and the greatest of them.
  assert 0.95 - (0.04 if n == 5 else 0.03) <= covered <= 0.985


def test_the_middle_is_scipys_trimmed_mean_and_the_same_every_time():
  values = np.random.default_rng(3).random(9)
  one, two = intervals.middle(values), intervals.middle(values)
  assert one == two and one.mean == stats.trim_mean(values, 0.25)
  assert one.low < one.mean < one.high
  assert math.isnan(intervals.middle([0.1, math.nan] * 3).mean)
  cut = intervals.middle([0.2, 0.9, 1.0, 1.0, 1.0, 1.0], within=(0.5, 0.9))
  assert (cut.low, cut.high) == (0.5, 0.9)


@pytest.mark.parametrize('k, n', [(0, 3), (3, 3), (2, 5), (7, 8), (17, 40)])
@pytest.mark.parametrize('confidence', [0.8, 0.95, 0.999])
def test_of_values_at_the_ends_it_is_clopper_and_pearsons(k, n, confidence):
  values = [0.0] * (n - k) + [1.0] * k
  found = intervals.interval(values, confidence, within=intervals.SHARE)
  exact = stats.binomtest(k, n).proportion_ci(confidence, method='exact')
  np.testing.assert_allclose(found[1:3], exact, atol=1e-9)


@pytest.mark.parametrize(
  'values',
  [
    (0.2, 0.99),
    (0.9, 0.9, 0.9),
    (0.0, 0.3, 0.30000001, 0.9, 1.0),
    (0.5, 0.99, 0.99, 0.995, 1.0, 1.0, 1.0, 1.0),
  ],
)
def test_a_bounded_interval_is_that_of_random_weights(values):
  """Gaffke's definition, by drawing: weights are spaces of uniform draws."""
  least, most, draws = 0.0, 1.0, 200_000
  found = intervals.interval(values, within=(least, most))
  uniform = np.random.default_rng(0).uniform(size=(draws, len(values)))
  cuts = np.sort(uniform, 1)
  weights = np.diff(cuts, prepend=0.0, append=1.0)
  for end, bound, tail in ((1, least, 0.025), (2, most, 0.975)):
    mean = weights @ np.array([*values, bound])
    # Of a share of draws: four standard errors.
    error = 4 * math.sqrt(tail * (1 - tail) / draws)
    assert abs((mean <= found[end]).mean() - tail) < error


def bimodal(rng, shape, chance, jitter):
  """Seeds at 0 or 1 or, with jitter, up to 3 points inside of there."""
  values = (rng.random(shape) < chance).astype(np.float64)
  return np.abs(values - jitter * rng.random(shape))


@pytest.mark.parametrize('n', [3, 5, 8])
@pytest.mark.parametrize('jitter', [0.0, 0.03])
def test_bimodal_seeds_are_covered(n, jitter):
  """Where Student's interval covers one in two; docs have the whole table."""
  rng = np.random.default_rng(n)
  samples = 500
  for chance in (0.1, 0.5, 0.9):
    drawn = bimodal(rng, (samples, n), chance, jitter)
    within = np.tile(intervals.SHARE, (samples, 1))
    _, low, high = intervals.by_row(drawn, 0.95, within)
    true = chance + 0.5 * jitter * (1 - 2 * chance)
    covered = np.mean((low <= true) & (true <= high))
    # Three standard errors.
    assert covered >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / samples), chance


def test_cells_count_only_what_is_admitted():
  rows = run(token=((1.0, 0.995), (1.0, 0.4), (0.995, 1.0), (0.5, 1.0)))
  cells = intervals.cells(table(rows)).set_index('length')
  assert cells['n_seeds'].tolist() == [4, 4]
  assert cells['n_admitted'].tolist() == [3, 3]
  assert cells['successes'].tolist() == [3, 2]
  far = cells.loc[128]
  np.testing.assert_allclose(far['mean'], np.mean([0.995, 0.4, 1.0]))
  np.testing.assert_allclose(far['iqm'], far['mean'])  # Nothing to cut off.
  # Of all seeds, as one that did not learn the task is no success.
  assert far['success'] == 2 / 4
  assert (
    tuple(far[['success_low', 'success_high']]) == (intervals.wilson(2, 4)[1:3])
  )
  assert math.isnan(far['iqm_low']) and far['success_low'] > 0
  errors = intervals.cells(table(rows), 'order').set_index('length')
  np.testing.assert_allclose(errors.loc[128, 'mean'], 0.25 * 0.605 / 3)


def test_nothing_admitted_is_no_number():
  cells = intervals.cells(table(run(token=((0.5, 0.4),))))
  assert cells['n_admitted'].tolist() == [0, 0]
  assert cells[['mean', 'iqm']].isna().all(axis=None)
  assert cells['success'].tolist() == [0, 0]


def test_bad_input_is_a_sentence():
  with pytest.raises(ValueError, match='got 4 of 3'):
    intervals.wilson(4, 3)
  with pytest.raises(ValueError, match="got 'tokens'"):
    intervals.cells(table(run()), 'tokens')
  with pytest.raises(ValueError, match='got 95'):
    intervals.middle([1.0] * 6, 95)
