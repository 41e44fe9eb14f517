"""Paired tests against SciPy's, and by simulated grids of known truth."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from posexp.claims import contrasts
from posexp.reports import contrasts_text
from posexp.results import plans
from tests.unit.statistics_test import run, table

GRIDS = 200
QUESTION = 'Ordering()', 64


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


def planned(results, alpha=contrasts.ALPHA):
  """Every run against the first at every length, as a plan of them."""
  first, *others = dict.fromkeys(results['digest'])
  asked = [
    plans.Contrast(*QUESTION, other, first, length, 'token', other, first)
    for length in sorted(set(results['length']) - {64})
    for other in others
  ]
  return contrasts.planned(results, asked, alpha)


def slow_holm(p, alpha=0.05):
  """As Holm wrote it: from the smallest on, until one fails."""
  claimed = [False] * len(p)
  for k, place in enumerate(sorted(range(len(p)), key=lambda n: p[n])):
    if not p[place] <= alpha / (len(p) - k):
      break
    claimed[place] = True
  return claimed


def slow_adjusted(p):
  """The smallest level at which each would be claimed."""
  adjusted, largest = [math.nan] * len(p), 0.0
  for k, place in enumerate(sorted(range(len(p)), key=lambda n: p[n])):
    largest = max(largest, min(1.0, (len(p) - k) * p[place]))
    adjusted[place] = largest
  return adjusted


def test_planned_contrasts_are_scipys_paired_tests():
  values = np.random.default_rng(1).random((4, 5, 2))
  table = planned(grid(values))
  tests = [
    stats.ttest_rel(values[run, :, place], values[0, :, place])
    for place in range(2)
    for run in range(1, 4)
  ]
  p = [max(test.pvalue, 2 / 4**5) for test in tests]
  np.testing.assert_allclose(table['p'], slow_adjusted(p))
  assert table['claimed'].tolist() == slow_holm(p)
  assert table['m'].eq(6).all()
  for row, test in zip(table.to_dict('records'), tests):
    ends = test.confidence_interval(1 - 0.05 / 6)
    if test.pvalue >= 2 / 4**5:
      np.testing.assert_allclose(row['low'], max(-1, ends.low))
      np.testing.assert_allclose(row['high'], min(1, ends.high))
    assert row['effect'] == pytest.approx(row['all_effect'])


def test_pairs_are_corrected_over_all_lengths():
  values = np.random.default_rng(2).random((3, 5, 2))
  compared = beyond(grid(values))
  keys = [
    (length, a, b)
    for length in range(2)
    for a, b in itertools.combinations(range(3), 2)
  ]
  p = [
    max(2 / 4**5, stats.ttest_rel(values[a, :, n], values[b, :, n]).pvalue)
    for n, a, b in keys
  ]
  names = [
    (64 * 2 ** (n + 1), f'Scheme{a}() Ordering()', f'Scheme{b}() Ordering()')
    for n, a, b in keys
  ]
  np.testing.assert_allclose(compared.loc[names, 'p'], slow_adjusted(p))
  assert compared.loc[names, 'differs'].tolist() == slow_holm(p)


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
  assert not row['differs'] and math.isnan(row['p'])
  one, other = dict.fromkeys(results['digest'])
  asked = plans.Contrast(*QUESTION, one, other, 128, measure, one, other)
  (row,) = contrasts.planned(results, [asked]).to_dict('records')
  assert not row['claimed'] and row['why'] == f'a seed has no {measure} there'
  # That it is less often right can be claimed.
  compared = contrasts.pairs(results, 'token')
  (row,) = compared[compared['length'] == 128].to_dict('records')
  assert row['n'] == 5


def test_both_estimates_are_over_their_own_seeds():
  one = run('A()', ((1.0, 0.9), (1.0, 0.8), (0.5, 0.1), (1.0, 0.7)))
  two = run('B()', ((1.0, 0.5), (0.5, 0.1), (1.0, 0.1), (1.0, 0.4)))
  results = table(two, one)
  compared = contrasts.pairs(results)
  (row,) = compared[compared['length'] == 128].to_dict('records')
  assert row['n'] == 2
  np.testing.assert_allclose(row['effect'], -np.mean([0.4, 0.3]))
  (row,) = planned(results).to_dict('records')
  assert (row['n'], row['all_n']) == (2, 4)
  np.testing.assert_allclose(row['effect'], np.mean([0.4, 0.3]))
  np.testing.assert_allclose(row['all_effect'], np.mean([0.4, 0.7, 0.0, 0.3]))


@pytest.mark.parametrize(
  ('rare', 'often', 'disagree'),
  [
    (0.9, 0.1, True),  # Better where it learned, and it seldom learns.
    (0.9, 0.9, False),
  ],
)
def test_estimates_that_disagree_are_said_first(rare, often, disagree):
  steady = run('A()', ((1.0, 0.5), (1.0, 0.52), (1.0, 0.51), (1.0, 0.5)) * 3)
  learned = ((1.0, rare), (1.0, rare + 0.02), (1.0, rare - 0.01), (1.0, rare))
  fickle = run('B()', learned * 2 + ((0.6 + (often > 0.5), often),) * 4)
  planned_table = planned(table(steady, fickle))
  (row,) = planned_table.to_dict('records')
  assert row['claimed'] and row['disagree'] == disagree
  text = contrasts_text.text(planned_table)
  first = text.splitlines()[1]
  assert ('Which seeds learned' in first) == disagree
  assert ('Claimed' in first) != disagree


def test_holm_is_a_loop():
  rng = np.random.default_rng(2)
  for m in (1, 2, 5, 9):
    for _ in range(50):
      p = rng.random(m) ** 4
      corrected = contrasts.holm(p.tolist())
      assert corrected.claimed.tolist() == slow_holm(p)
      assert ((corrected.adjusted <= 0.05) == corrected.claimed).all()
      np.testing.assert_allclose(corrected.adjusted, slow_adjusted(p))
      # Its own level says the same of each.
      assert ((p <= corrected.level) == corrected.claimed).all()
  none = contrasts.holm([math.nan, 0.001])
  assert none.claimed.tolist() == [False, True]
  assert none.adjusted[1] == 0.002 and math.isnan(none.adjusted[0])


def test_an_interval_that_excludes_zero_is_claimed():
  """Not the other way round: it is wider than Holm's later steps."""
  rng = np.random.default_rng(3)
  for shift in (0.0, 0.1, 0.3):
    values = rng.normal(0.5, 0.05, (4, 5, 2))
    values[1] += shift
    compared = planned(grid(values))
    excludes = (compared['low'] > 0) | (compared['high'] < 0)
    assert compared.loc[excludes, 'claimed'].all()
  assert excludes.any() and not compared['claimed'].all()


@pytest.mark.parametrize('bimodal', [False, True])
def test_the_same_scheme_under_several_names_is_not_ranked(bimodal):
  rng, false, explored = np.random.default_rng(4), 0, 0
  for _ in range(GRIDS):
    shape = (3, 5, 2)
    values = rng.normal(0.5, 0.05, shape)
    if bimodal:  # Some seeds extrapolate and some do not.
      values += 0.4 * (rng.random(shape) < 0.5)
    results = grid(values)
    false += bool(planned(results)['claimed'].any())
    explored += bool(beyond(results)['differs'].any())
  # At most 5 % of grids, and what 200 of them leave open.
  most = 0.05 + 2.4 * math.sqrt(0.05 * 0.95 / GRIDS)
  assert max(false, explored) / GRIDS <= most


@pytest.mark.parametrize('n', range(2, 9))
def test_seeds_that_succeed_by_chance_are_seldom_claimed_to_differ(n):
  """Exactly: over all outcomes of two runs whose seeds are fair coins.

  Wherever a seed ends it is right always or never, so that n seeds may have no
  spread at all.
  """
  for m in (1, 2, 4, 8, 16):
    chance = 0.0
    for ups, downs in itertools.product(range(n + 1), repeat=2):
      if ups + downs > n:
        continue
      d = [1.0] * ups + [-1.0] * downs + [0.0] * (n - ups - downs)
      ways = math.comb(n, ups) * math.comb(n - ups, downs)
      weight = ways * 0.25 ** (ups + downs) * 0.5 ** (n - ups - downs)
      pair = contrasts.paired(d, [0.0] * n, 1e-3)
      chance += weight * contrasts.family({'': pair}, m=m)[''].claimed
    # A t test of outcomes that are lattice points is only about right.
    assert chance <= (0.05 if n <= 5 else 0.0835) / m


def test_a_single_comparison_errs_as_often_as_it_says():
  values = np.random.default_rng(5).normal(0.5, 0.05, (2, 4, 1000))
  false = [
    contrasts.family({'': contrasts.paired(one, two)})[''].claimed
    for one, two in zip(*(run.T for run in values))
  ]
  assert abs(np.mean(false) - 0.05) <= 0.018


@pytest.mark.parametrize('seeds', [4, 5, 8])
def test_a_planted_difference_is_found_as_often_as_it_says(seeds):
  rng, sd, draws = np.random.default_rng(6), 0.02, 4000
  effect = contrasts.detectable(seeds, 4) * sd
  # What differs over seeds alike in both is nothing to a paired test.
  values = rng.normal(0, sd / math.sqrt(2), (draws, 3, seeds, 2))
  values += rng.normal(0, 0.2, (draws, 1, seeds, 1))
  values[:, 1, :, 0] += effect
  d = values[:, 1, :, 0] - values[:, 0, :, 0]
  first = stats.ttest_1samp(d, 0, axis=1).pvalue <= 0.05 / 4
  assert abs(first.mean() - 0.8) <= 2.6 * math.sqrt(0.16 / draws)
  # Holm finds at least what its first step does.
  claimed = [planned(grid(each))['claimed'][0] for each in values[:GRIDS]]
  assert (np.array(claimed) >= first[:GRIDS]).all()


def test_the_smallest_difference_is_that_of_the_noncentral_t():
  for n, m in ((3, 1), (5, 18), (6, 4)):
    effect = contrasts.detectable(n, m)
    edge = stats.t.ppf(1 - 0.05 / (2 * m), n - 1)
    power = stats.nct.sf(edge, n - 1, effect * math.sqrt(n))
    np.testing.assert_allclose(power, 0.8, rtol=1e-6)
  # So few seeds claim nothing, whatever they find.
  for n, m in ((1, 1), (2, 1), (3, 2), (5, 26)):
    assert contrasts.detectable(n, m) == math.inf


def test_seeds_that_coincide_are_no_proof():
  # All three differ by one target of a hundred: no measurement is finer.
  near = grid(np.array([[[0.5]] * 3, [[0.49]] * 3]), targets=100)
  assert not planned(near)['claimed'].any()
  far = planned(grid(np.array([[[0.9]] * 3, [[0.1]] * 3]), targets=100))
  assert far['claimed'].all()
  # As far as three seeds can: the interval nearly reaches zero.
  (row,) = far.to_dict('records')
  assert row['p'] == pytest.approx(2 / 4**3) and -0.2 < row['high'] < 0
  assert not planned(grid(np.array([[[1.0]] * 2, [[0.0]] * 2]))).claimed.any()
  same = planned(grid(np.array([[[0.5]] * 3] * 2)))
  assert same['p'].tolist() == [1.0]


def test_ranks_are_ties_unless_runs_differ():
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


def test_text_says_what_is_claimed_what_is_not_and_what_could_not_be():
  values = np.array([[[0.1]] * 5, [[0.9]] * 5, [[0.1]] * 5])
  results = grid(values, 100)
  lost = run('Lost()', ((0.5, 0.1),) * 5)
  text = ' '.join(
    contrasts_text.text(
      planned(table(*[results.to_dict('records'), lost]))
    ).split()
  )
  assert '3 planned comparisons' in text
  assert (
    'Claimed: - Scheme1() is right more often than Scheme0() at 128 tokens '
    '(2x): +80.0 points [+' in text
  )
  assert (
    'Not claimed: - Scheme2() against Scheme0() at 128 tokens (2x): +0.0 '
    'points [' in text
  )
  assert (
    'Not compared: - Lost() against Scheme0() at 128 tokens (2x): both learned '
    'the task in 0 of 5 seeds' in text
  )
  assert contrasts_text.text(planned(table(run()))) == contrasts_text.NOTHING
  summary = contrasts_text.summary(planned(results), 'runs/x')
  assert summary.startswith(
    'Claimed of 2 planned comparisons (posexp compare runs/x):\n  - Scheme1()'
  )


@pytest.mark.parametrize('measure', plans.MEASURES)
def test_a_claim_is_told_from_the_better_side(measure):
  accuracy = [(1.0, 0.9 + n / 100) for n in range(5)]
  worse = [(1.0, 0.2 + n / 100) for n in range(5)]
  results = table(run('Good()', accuracy), run('Bad()', worse))
  results['nats'] = -np.log(results['token'])
  one, other = dict.fromkeys(results['digest'])
  for pair in ((one, other), (other, one)):
    asked = plans.Contrast(*QUESTION, *pair, 128, measure, *pair)
    (row,) = contrasts.planned(results, [asked]).to_dict('records')
    (sentence,) = contrasts_text.claims([row])
    assert sentence.startswith('Good() ') and ' than Bad() at 128' in sentence
    assert ': +' in sentence
    assert (' nats' in sentence) == (measure == 'nats')


def test_one_seed_compares_nothing():
  compared = planned(grid(np.array([[[0.9]], [[0.1]]])))
  assert compared['n'].tolist() == [1] and not compared['claimed'].any()
  assert compared[['p', 'low', 'high']].isna().all(axis=None)
  text = contrasts_text.text(compared)
  assert 'None of them could be made' in text and 'one common seed' in text


def test_a_run_that_no_seed_learned_stays_in_the_family():
  rng = np.random.default_rng(8)
  values = 0.5 + rng.normal(0, 0.05, (2, 5, 1))
  alone = planned(grid(values))
  lost = [run(f'Lost{n}()', ((0.5, 0.1),) * 5) for n in range(3)]
  beside = planned(table(grid(values).to_dict('records'), *lost))
  assert beside['m'].eq(4).all() and alone['m'].eq(1).all()
  assert beside['p'][0] == pytest.approx(min(1, 4 * alone['p'][0]))
  width = beside['high'] - beside['low']
  assert width[0] > (alone['high'] - alone['low'])[0]


@pytest.mark.parametrize(
  ('comparisons', 'seeds', 'words'),
  [
    (4, 1, 'one seed shows no difference'),
    (1, 2, 'so few seeds can claim no difference at all; take 3 seeds'),
    (4, 3, 'so few seeds can claim no difference at all; take 5 seeds'),
    (4, 5, 'a difference of 25 points is likely to be found'),
    (10**12, 5, 'so few seeds can claim no difference at all; take 24 seeds'),
  ],
)
def test_an_outlook_speaks_of_seeds_and_points(comparisons, seeds, words):
  assert words in contrasts_text.prospect(comparisons, seeds)
  assert (comparisons == 1) == (
    'comparison,' in contrasts_text.prospect(comparisons, seeds)
  )


def test_all_pairs_are_labelled_as_exploratory():
  values = np.random.default_rng(9).random((3, 5, 2))
  compared = contrasts.pairs(grid(values))
  text = contrasts_text.explored(compared, 'scheme1', 128)
  assert text.startswith('Exploratory:') and 'nothing here is a claim' in text
  assert text.count(' against ') == 2 and 'at 256 tokens' not in text
  with pytest.raises(
    ValueError, match=r"--against='RoPE' matches no run .*Scheme0"
  ):
    contrasts_text.explored(compared, 'RoPE')
  with pytest.raises(ValueError, match=r'--length=99: .*64, 128, 256'):
    contrasts_text.explored(compared, None, 99)


@pytest.mark.parametrize(
  ('tuned', 'fate'),
  [
    (0.9, 'the difference is claimed, too (+40.0 points ['),
    (0.1, 'the difference is reversed (-40.0 points ['),
    (0.5, 'the difference is not claimed (+0.0 points ['),
    (None, ''),
  ],
)
def test_a_claim_says_whether_it_survives_at_the_best_rates(tuned, fate):
  def seeds(share):
    return tuple((1.0, share) for _ in range(8))

  runs = [run('A()', seeds(0.5)), run('B()', seeds(0.9))]
  if tuned is not None:
    runs.append(run('A() [tuned]', seeds(0.5), tuned=True))
    runs.append(run('B() [tuned]', seeds(tuned), tuned=True))
  results = table(*runs)
  asked = plans.default(plans._candidates(results))
  judged = contrasts.planned(results, list(asked))
  assert len(judged) == (1 if tuned is None else 2)
  said = contrasts_text.survivals(judged.to_dict('records'))
  assert len(said) == (tuned is not None)
  assert not said or f'B() against A() at 128 tokens (2x): {fate}' in said[0]
  title = 'At the best learning rate of each scheme'
  assert (title in contrasts_text.text(judged)) == bool(said)
