"""Paired tests against SciPy's, and by simulated grids of known truth."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from posexp.claims import contrasts
from posexp.reports import contrasts_text
from tests.unit.statistics_test import run, table

GRIDS = 200


def grid(values_RxSxL, targets=10**9):
  """A table of runs that learned, with these accuracies beyond."""
  runs = []
  for place, values_SxL in enumerate(values_RxSxL):
    token = [(1.0, *values) for values in values_SxL.tolist()]
    runs.append(run(f'Scheme{place}()', token, targets=targets))
  return table(*runs)


def beyond(results):
  """The pairs, without those at the trained length."""
  compared = contrasts.pairs(results[results['length'] > 64])
  return compared.set_index(['length', 'one', 'other'])


def test_pairs_are_scipys_paired_tests():
  values = np.random.default_rng(1).random((3, 5, 2))
  compared = beyond(grid(values))
  assert len(compared) == 6
  for place in range(2):
    for a, b in itertools.combinations(range(3), 2):
      names = (f'Scheme{n}() Ordering()' for n in (a, b))
      row = compared.loc[(64 * 2 ** (place + 1), *names)]
      test = stats.ttest_rel(values[a, :, place], values[b, :, place])
      np.testing.assert_allclose(row['p'], test.pvalue)
      difference = values[a, :, place] - values[b, :, place]
      np.testing.assert_allclose(row['effect'], difference.mean())


@pytest.mark.parametrize('measure', ['order', 'retrieval', 'nats'])
@pytest.mark.parametrize('seeds', [2, 5])
def test_a_run_that_gives_no_numbers_is_not_claimed_to_err_less(measure, seeds):
  """All or some of its seeds diverged; those that are left are a selection."""
  accuracy = ((1.0, 0.8), (1.0, 0.81), (1.0, 0.79), (1.0, 0.8), (1.0, 0.82))
  results = table(run('A()', accuracy), run('B()', accuracy))
  results['order'] = 1 - results['token']
  results['retrieval'], results['nats'] = 0.0, 1.0 + results['seed'] / 100
  lost = results['digest'].str.startswith('B') & (results['length'] == 128)
  lost &= results['seed'].isin(results['seed'].unique()[:seeds])
  results.loc[lost, 'token'] = 0.0
  results.loc[lost, ['order', 'retrieval', 'nats']] = np.nan
  compared = contrasts.pairs(results, measure)
  (row,) = compared[compared['length'] == 128].to_dict('records')
  assert not row['claimed'] and math.isnan(row['p'])
  # That it is less often right can be claimed.
  compared = contrasts.pairs(results, 'token')
  (row,) = compared[compared['length'] == 128].to_dict('records')
  assert row['n'] == 5


def test_only_seeds_that_are_admitted_in_both_are_compared():
  one = run('A()', ((1.0, 0.9), (1.0, 0.8), (0.5, 0.1), (1.0, 0.7)))
  two = run('B()', ((1.0, 0.5), (0.5, 0.1), (1.0, 0.1), (1.0, 0.4)))
  compared = contrasts.pairs(table(one, two))
  (row,) = compared[compared['length'] == 128].to_dict('records')
  assert row['n'] == 2
  np.testing.assert_allclose(row['effect'], np.mean([0.4, 0.3]))


def slow_holm(p, alpha):
  """As Holm wrote it: from the smallest on, until one fails."""
  claimed = [False] * len(p)
  for k, place in enumerate(sorted(range(len(p)), key=lambda n: p[n])):
    if not p[place] <= alpha / (len(p) - k):
      break
    claimed[place] = True
  return claimed


def test_holm_is_a_loop():
  rng = np.random.default_rng(2)
  for m in (1, 2, 5, 9):
    for _ in range(50):
      p = rng.random(m) ** 4
      corrected = contrasts.holm(p.tolist())
      assert corrected.claimed.tolist() == slow_holm(p, 0.05)
      assert ((corrected.adjusted <= 0.05) == corrected.claimed).all()
      # Its own level says the same of each.
      assert ((p <= corrected.level) == corrected.claimed).all()
  none = contrasts.holm([math.nan, 0.001])
  assert none.claimed.tolist() == [False, True]
  assert none.adjusted[1] == 0.002 and math.isnan(none.adjusted[0])


def test_an_interval_excludes_nought_where_a_difference_is_claimed():
  rng = np.random.default_rng(3)
  for shift in (0.0, 0.1, 0.3):
    values = rng.normal(0.5, 0.05, (4, 5, 2))
    values[0] += shift
    compared = beyond(grid(values))
    excludes = (compared['low'] > 0) | (compared['high'] < 0)
    assert (excludes == compared['claimed']).all()
  assert compared['claimed'].any() and not compared['claimed'].all()


@pytest.mark.parametrize('heaped', [False, True])
def test_the_same_scheme_under_several_names_is_not_ranked(heaped):
  rng, false = np.random.default_rng(4), 0
  for _ in range(GRIDS):
    shape = (3, 5, 2)
    values = rng.normal(0.5, 0.05, shape)
    if heaped:  # Some seeds extrapolate and some do not.
      values += 0.4 * (rng.random(shape) < 0.5)
    false += bool(beyond(grid(values))['claimed'].any())
  # At most 5 % of grids, and what 200 of them leave open.
  assert false / GRIDS <= 0.05 + 2.4 * math.sqrt(0.05 * 0.95 / GRIDS)


def test_a_single_comparison_errs_as_often_as_it_says():
  values = np.random.default_rng(5).normal(0.5, 0.05, (2, 4, 1000))
  # Each length is a question of its own here.
  p = [contrasts._test(d, 0.0)['p'] for d in (values[0] - values[1]).T]
  assert abs(np.mean(np.array(p) <= 0.05) - 0.05) <= 0.018


@pytest.mark.parametrize('seeds', [3, 5, 8])
def test_a_planted_difference_is_found_as_often_as_it_says(seeds):
  rng, sd = np.random.default_rng(6), 0.02
  effect = contrasts.detectable(seeds, 6) * sd
  claimed = first = 0
  for _ in range(GRIDS):
    # What differs over seeds alike in both is nothing to a paired test.
    values = rng.normal(0, sd / math.sqrt(2), (3, seeds, 2))
    values += rng.normal(0, 0.2, (seeds, 1))
    values[0, :, 0] += effect
    row = beyond(grid(values)).loc[(128, 'Scheme0() Ordering()')].iloc[0]
    claimed += bool(row['claimed'])
    first += row['p'] <= 0.05 / 6
  # Holm finds at least what its first step does, which has the stated power.
  assert abs(first / GRIDS - 0.8) <= 2.6 * math.sqrt(0.16 / GRIDS)
  assert claimed >= first


def test_the_smallest_difference_is_that_of_the_noncentral_t():
  for n, m in ((2, 1), (3, 18), (6, 4)):
    effect = contrasts.detectable(n, m)
    edge = stats.t.ppf(1 - 0.05 / (2 * m), n - 1)
    power = stats.nct.sf(edge, n - 1, effect * math.sqrt(n))
    np.testing.assert_allclose(power, 0.8, rtol=1e-6)
  assert contrasts.detectable(1, 1) == math.inf


def test_seeds_that_coincide_are_no_proof():
  # All three differ by one target of a hundred: no measurement is finer.
  near = grid(np.array([[[0.5]] * 3, [[0.49]] * 3]), targets=100)
  assert not beyond(near)['claimed'].any()
  far = grid(np.array([[[0.9]] * 3, [[0.1]] * 3]), targets=100)
  assert beyond(far)['claimed'].all()
  same = grid(np.array([[[0.5]] * 3] * 2))
  assert beyond(same)['p'].tolist() == [1.0]


def test_ranks_are_ties_unless_a_difference_is_claimed():
  rng = np.random.default_rng(7)
  mean_Rx1x1 = np.array([0.9, 0.9, 0.5, 0.2])[:, None, None]
  values = mean_Rx1x1 + rng.normal(0, 0.01, (4, 6, 1))
  results = grid(values)
  ranks = contrasts.ranks(contrasts.pairs(results))
  far = ranks[ranks['length'] == 128].set_index('digest')
  order = [f'Scheme{n}() Ordering()' for n in range(4)]
  assert far.loc[order, 'rank'].tolist() == [1, 1, 3, 4]
  assert far.loc[order, 'tied'].tolist() == [1, 1, 0, 0]
  near = ranks[ranks['length'] == 64]
  assert near['rank'].eq(1).all() and near['tied'].eq(3).all()


def test_text_says_what_is_claimed_and_what_is_tied():
  values = np.array([[[0.9]] * 3, [[0.1]] * 3])
  text = contrasts_text.text(contrasts.pairs(grid(values, 100)))
  assert 'Scheme0() is right more often than Scheme1(), by 80.0 points' in text
  assert '1 of 1 pairs are ties' in text and '0 of 1 pairs are ties' in text
  one = contrasts.pairs(table(run()))
  assert 'nothing to compare' in contrasts_text.text(one)


def test_one_seed_compares_nothing():
  results = grid(np.array([[[0.9]], [[0.1]]]))
  compared = beyond(results)
  assert compared['n'].tolist() == [1] and not compared['claimed'].any()
  assert compared[['p', 'low', 'high', 'detectable']].isna().all(axis=None)
  assert 'One seed cannot show a difference' in contrasts_text.outlook(
    'X()', 2, 1, 1
  )
  assert contrasts_text.outlook('X()', 1, 3, 4).endswith('nothing to compare')
