"""Verdicts on made-up tables whose truth is planted: every branch."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from posexp.claims import contrasts, intervals
from posexp.studies import compare, criteria, evidence, plan, rules, verdict
from tests import study_made as made
from tests.study_made import one

# Order errors come with the bias and with nothing else.
BIASED = {
  name: (0.30, 0.10)
  for name in (plan.DEPLOYED, *plan.FIXES)
  if name != plan.SCALED
}


def test_a_planted_order_regression_from_the_bias_is_found():
  case = one(made.regression(), BIASED)
  assert case.regression.branch == rules.REGRESSION
  kinds = {e.task: e.branch for e in case.regression.errors}
  # Retrieval errors rise too, from nothing to a tenth, but less.
  assert kinds == dict.fromkeys((rules.MEAN, *made.TASKS), rules.ORDER)
  assert case.attribution.branch == rules.BIAS
  assert case.branch == compare.FIRST and case.lead.option == plan.SCALED
  gain = case.lead.gains[plan.SCALED]
  assert gain.low < 0.2 < gain.high and gain.m == 5 and gain.n == 5
  assert case.order[plan.SCALED].above
  assert {gap.m for gap in case.lead.over.values()} == {4}
  errors = case.regression.errors
  assert case.regression.change.m == errors[0].excess.m == 4
  assert {each.order.m for each in errors[1:]} == {6}
  assert case.attribution.bias.m == 3
  # Six options are judged: the deployed model too.
  assert case.judged['YaRN'].short.numbers['m'] == 1
  assert list(case.alternatives) == sorted(
    case.alternatives, key=lambda n: case.alternatives[n].mean
  )
  assert len(case.alternatives) == 2 and case.preferred == ()


def test_fixes_that_lose_are_none_and_no_draw():
  errors = dict.fromkeys(plan.FIXES, (0.5, 0.1)) | {'deployed': (0.1, 0.1)}
  case = one(made.regression(), errors, noise=0.002)
  assert all(gain.below for gain in case.lead.gains.values())
  assert case.branch == compare.LOSS and case.preferred == ()


def test_no_difference_is_said_to_be_none():
  calm = dict.fromkeys(plan.OPTIONS, (0.0005, 0.0005))
  case = one(made.regression(), calm, noise=0.0002)
  assert case.regression.branch == rules.NO_REGRESSION
  assert case.regression.errors[0].branch == rules.NEITHER
  assert case.attribution.branch == rules.UNCLEAR
  assert case.branch == compare.NOTHING and case.preferred == ()


@pytest.mark.parametrize(
  'errors, kind',
  [
    ((0.3, 0.0005), rules.ORDER),
    ((0.0005, 0.3), rules.RETRIEVAL),
    ((0.2, 0.2), rules.BOTH_KINDS),
    ((0.0005, 0.0005), rules.NEITHER),
  ],
)
def test_kinds_of_a_regression(errors, kind):
  case = one(made.regression(), {plan.DEPLOYED: errors}, noise=0.001)
  assert case.regression.errors[0].branch == kind


@pytest.mark.parametrize(
  'scaled, biased, both, branch',
  [
    (0.1, 0.3, 0.3, rules.BIAS),
    (0.3, 0.1, 0.3, rules.BASE),
    (0.1, 0.1, 0.3, rules.BOTH),
    (0.2, 0.2, 0.2, rules.UNCLEAR),
    (0.3, 0.3, 0.1, rules.UNCLEAR),
  ],
)
def test_attribution(scaled, biased, both, branch):
  errors = {plan.SCALED: scaled, plan.BIASED: biased, plan.DEPLOYED: both}
  errors = {name: (order, 0.1) for name, order in errors.items()}
  case = one(made.regression(), errors, noise=0.001)
  effects = case.attribution
  assert effects.branch == branch
  truth = -(both - scaled), -(both - biased), -(both + 0.1 - scaled - biased)
  for effect, true in zip(
    (effects.bias, effects.base, effects.interaction), truth
  ):
    np.testing.assert_allclose(effect.mean, true, rtol=0, atol=0.003)
  np.testing.assert_allclose(effects.order_bias.mean, both - scaled, atol=0.003)
  np.testing.assert_allclose(effects.order_base.mean, both - biased, atol=0.003)


def test_the_interaction_of_adapted_models_needs_an_adapted_root():
  case = one(made.regression(schedules=('adapted',)), BIASED)
  assert case.attribution.branch == rules.BIAS
  assert case.attribution.interaction is None


def test_a_tie_is_broken_in_the_stated_order():
  deployed = {plan.DEPLOYED: (0.3, 0.1)}
  study = made.regression()
  case = one(study, deployed, noise=0.02)
  assert case.branch == compare.TIE and set(case.lead.tied) == set(plan.FIXES)
  # All is kept in all: the fewest parts, and two have one.
  assert set(case.preferred) == {plan.SCALED, plan.BIASED}
  case = one(study, deployed, noise=0.02, collapsed=[(plan.BIASED, 3)])
  assert case.preferred == (plan.SCALED,)
  branch, numbers = case.judged[plan.BIASED].stable
  assert branch == criteria.FAIL
  assert (numbers['collapsed'], numbers['seeds']) == (1, 5)
  # Short range comes before stability, and latency after it.
  lost = {plan.SCALED: 0.05}
  slow = {name: (1.2, 1.1, 1.3) for name in plan.FIXES if name != 'YaRN'}
  case = one(
    study,
    deployed,
    noise=0.02,
    short=lost,
    collapsed=[(plan.BIASED, 3)],
    latency=slow,
  )
  assert case.preferred == ('YaRN',)
  assert case.judged[plan.SCALED].short.branch == criteria.FAIL


def test_a_leader_whose_own_gain_is_unclear_is_not_preferred():
  seeds = pd.Index(range(5))
  base = pd.Series(0.5, seeds)
  sure = pd.Series(0.6, seeds) + pd.Series([0, 1e-3, 0, 1e-3, 0], seeds)
  wild = pd.Series([0.2, 1.0, 0.9, 0.3, 0.95], seeds)
  lead = compare.lead({'bias': wild, 'YaRN': sure}, base)
  assert lead.option == 'bias' and lead.branch == compare.TIE
  assert lead.tied == ('bias', 'YaRN') and lead.improving == ('YaRN',)
  judged = one(made.regression(), BIASED).judged
  assert rules.prefer(lead, judged, 'regression') == ('YaRN',)


@pytest.mark.parametrize('seeds', [(), (3,)])
def test_fewer_than_two_admitted_seeds_claim_nothing(seeds):
  out = [seed for seed in made.SEEDS if seed not in seeds]
  case = one(made.regression(), BIASED, unlearned=out)
  assert case.branch == compare.NOT_ADMITTED
  assert case.regression.branch == compare.NOT_ADMITTED
  assert case.attribution.branch == compare.NOT_ADMITTED
  assert all(not gain.above for gain in case.lead.gains.values())


def test_a_seed_is_admitted_by_its_root_in_every_task():
  tables = made.evidence(made.regression(), BIASED, unlearned=(1, 4))
  table = tables.cells
  assert set(table.loc[table['admitted'], 'seed']) == {0, 2, 3}
  (case,) = verdict.verdicts(tables)
  assert case.lead.gains[plan.SCALED].n == 3
  rows = (table['option'] == 'root') & (table['seed'] == 0)
  rows &= (table['task'] == made.TASKS[1]) & (table['length'] == made.TRAINED)
  table.loc[rows, 'token'] = 0.9899
  assert set(table.loc[evidence.admitted(tables.study, table), 'seed']) == {
    *(2, 3)
  }


def test_what_has_not_finished_is_no_evidence():
  case = one(made.regression(), BIASED, missing=[plan.DEPLOYED])
  assert case.branch == compare.MISSING
  assert case.regression.branch == compare.MISSING
  assert case.attribution.branch == compare.MISSING
  case = one(made.regression(), BIASED, missing=[plan.SCALED])
  assert plan.SCALED not in case.lead.gains and case.branch == compare.NOTHING
  case = one(made.regression(), BIASED, missing=[plan.ROOT])
  assert case.branch == compare.MISSING and case.judged == {}


@pytest.mark.parametrize(
  'low, high, branch',
  [
    (-0.019, 0.01, criteria.PASS),
    (-0.021, 0.01, criteria.UNDECIDED),
    (-0.05, -0.0201, criteria.FAIL),
    (np.nan, np.nan, criteria.UNDECIDED),
  ],
)
def test_short_range_is_kept_to_a_margin(low, high, branch):
  lost = contrasts.Difference(0, low, high, 5, 1)
  assert criteria.short(lost) == branch


@pytest.mark.parametrize(
  'low, high, branch',
  [
    (0.99, 1.05, criteria.PASS),
    (1.01, 1.06, criteria.UNDECIDED),
    (1.051, 1.2, criteria.FAIL),
    (np.nan, np.nan, criteria.UNDECIDED),
  ],
)
def test_latency_is_unchanged_to_a_margin(low, high, branch):
  assert criteria.latency(low, high) == branch


def test_latency_is_as_bad_as_its_worst_quantity():
  tables = made.evidence(made.regression(), BIASED)

  def branch(low, high, quantities=('decode', 'prefill'), same=()):
    table = tables.latency[tables.latency['quantity'].isin(quantities)].copy()
    table.loc[table['quantity'] == 'prefill', ['low', 'high']] = (low, high)
    table['same_program'] = table['quantity'].isin(same)
    (case,) = verdict.verdicts(tables._replace(latency=table))
    return case.judged['YaRN'].latency.branch

  assert branch(0.99, 1.01) == criteria.PASS
  assert branch(0.99, 1.20) == criteria.UNDECIDED
  assert branch(1.10, 1.20) == criteria.FAIL
  assert branch(0.99, 1.01, ('decode',)) == criteria.NOT_MEASURED
  assert branch(1.10, 1.20, ('prefill',)) == criteria.FAIL
  # Of the same instructions timings say nothing; of others they decide.
  assert branch(0.99, 1.20, same=('prefill',)) == criteria.PASS
  assert branch(0.99, 1.20, same=('decode',)) == criteria.UNDECIDED
  assert branch(1.10, 1.20, ('prefill',), ('prefill',)) == criteria.NOT_MEASURED


def test_a_collapse_counts_in_admitted_seeds_up_to_the_target():
  study = made.regression()
  tables = made.evidence(study, BIASED, unlearned=(4,), collapsed=[('YaRN', 4)])

  def judged(tables):
    (case,) = verdict.verdicts(tables)
    return case.judged['YaRN'].stable

  branch, numbers = judged(tables)
  assert branch == criteria.PASS
  assert numbers == {
    'collapsed': 0,
    'seeds': 4,
    'left': pytest.approx(0.6 / 0.999, abs=0.01),
  }
  table = tables.collapse.copy()
  later = table.assign(length=2 * made.TARGET, collapsed=True)
  both = pd.concat([table, later], ignore_index=True)
  assert judged(tables._replace(collapse=both)).branch == criteria.PASS
  rest = table[table['seed'] != 2]
  assert judged(tables._replace(collapse=rest)).branch == criteria.NOT_MEASURED


@pytest.mark.parametrize(
  'wrong, branch',
  [
    (0.48, criteria.PASS),
    (0.50, criteria.UNDECIDED),
    (0.53, criteria.FAIL),
  ],
)
def test_half_of_the_accuracy_must_be_left_at_the_target(wrong, branch):
  """Of its own at the trained length, which is 0.999 here."""
  case = one(made.choice(), {'YaRN': (wrong / 2, wrong / 2)}, noise=0.01)
  stable = case.judged['YaRN'].stable
  assert stable.branch == branch and stable.numbers['collapsed'] == 0
  assert stable.numbers['left'] == pytest.approx((1 - wrong) / 0.999, abs=0.01)


def test_what_is_looked_up_may_differ_by_variant():
  study = dataclasses.replace(
    made.regression(variants=('A', 'B')),
    lookups={'YaRN A': (0, 0), 'YaRN B': (64, 256)},
  )
  cases = verdict.verdicts(made.evidence(study, BIASED))
  lookups = [case.judged['YaRN'].lookups for case in cases]
  assert lookups == [
    (criteria.PASS, {'trained': 0, 'target': 0}),
    (criteria.FAIL, {'trained': 64, 'target': 256}),
  ]


def test_what_is_not_measured_is_said():
  study = dataclasses.replace(
    made.regression(), lookups={plan.SCALED: (0, 0), 'bias A': (64, 256)}
  )
  tables = made.evidence(study, BIASED)
  tables.cells[['short', 'near']] = np.nan, 0
  blank = {'collapse': tables.collapse[:0], 'latency': tables.latency[:0]}
  (case,) = verdict.verdicts(tables._replace(**blank))
  branches = [case.judged[name].branches for name in ('YaRN', *plan.FIXES[:2])]
  nothing = [criteria.NOT_MEASURED] * 3
  assert branches == [
    (*nothing, criteria.NOT_MEASURED),
    (*nothing, criteria.PASS),
    (*nothing, criteria.FAIL),
  ]


def test_where_nothing_differs_a_first_fix_is_rarely_claimed():
  draw = np.random.default_rng(5)
  claimed = improved = 0
  for _ in range(200):
    runs = pd.DataFrame(draw.normal(0.8, 0.03, (5, 6)))
    lead = compare.lead({n: runs[n] for n in range(5)}, runs[5])
    claimed += lead.branch == compare.FIRST
    improved += lead.branch != compare.NOTHING
  # Five in a hundred, and three standard deviations of 200 draws.
  most = 200 * 0.05 + 3 * np.sqrt(200 * 0.05 * 0.95)
  assert claimed <= improved <= most


def test_differences_are_paired_and_simultaneous():
  token = pd.Series([0.9, 0.7, 0.8, 0.1], [0, 1, 2, 7])
  base = pd.Series([0.5, 0.6, 0.6, 0.3], [2, 1, 0, 9])
  gain = contrasts.difference(token, base, 4)
  interval = intervals.interval([0.9 - 0.6, 0.7 - 0.6, 0.8 - 0.5], 1 - 0.05 / 4)
  assert gain[:5] == pytest.approx((*interval, 4))
  assert not contrasts.difference(token[:1], base).above


def test_the_rules_say_the_numbers_that_are_used():
  text = ' '.join(rules.__doc__.split())
  assert f'more than {criteria.MARGIN}' in text or (
    f'at most {criteria.MARGIN} below' in text
  )
  assert f'at most {criteria.SLOWER} times' in text
  assert f'1 - {contrasts.ALPHA:.2f}/m' in text
  assert evidence.SHORT == 1 / 8 and 'at most an eighth' in text
