"""Verdicts on made-up tables whose truth is planted: every branch."""

import numpy as np
import pandas as pd
import pytest

from posexp.claims import contrasts, intervals
from posexp.studies import (
  compare,
  criteria,
  evidence,
  families,
  plan,
  rules,
  verdict,
)
from tests import study_made as made
from tests.study_made import BIASED, one


def test_a_planted_order_regression_from_the_bias_is_found():
  case = one(made.regression(), BIASED)
  assert case.regression.branch == rules.REGRESSION
  kinds = {e.task: e.branch for e in case.regression.errors}
  # Retrieval errors rise too, from nothing to a tenth, but less.
  assert kinds == dict.fromkeys((rules.MEAN, *made.TASKS), rules.ORDER)
  assert case.attribution.branch == rules.BIAS
  assert case.branch == compare.FIRST and case.lead.option == plan.SCALED
  gain = case.lead.gains[plan.SCALED]
  assert gain.low < 0.2 < gain.high and gain.m == 5 and gain.n == 8
  assert case.order[plan.SCALED].above
  # The baseline is a rival, too.
  assert {gap.m for gap in case.lead.over.values()} == {5}
  errors = case.regression.errors
  assert case.regression.change.m == errors[0].excess.m == 4
  assert {each.order.m for each in errors[1:]} == {6}
  assert case.attribution.bias.m == case.attribution.difference.m == 4
  # Six options are judged by four comparisons: the deployed model too.
  assert case.judged['YaRN'].short.numbers['m'] == 24
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
    ((0.3, 0.1), rules.ORDER),
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
    # Both do harm, and the bias more.
    (0.1, 0.2, 0.3, rules.BIAS),
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
  truth = (
    *(-(both - scaled), -(both - biased), -(biased - scaled)),
    -(both + 0.1 - scaled - biased),
  )
  for effect, true in zip(
    (effects.bias, effects.base, effects.difference, effects.interaction), truth
  ):
    np.testing.assert_allclose(effect.mean, true, rtol=0, atol=0.003)
  np.testing.assert_allclose(effects.order_bias.mean, both - scaled, atol=0.003)
  np.testing.assert_allclose(effects.order_base.mean, both - biased, atol=0.003)
  assert effects.other_too == ((scaled, biased, both) == (0.1, 0.2, 0.3))


DOWN, UP, OPEN = (-1, True), (1, True), (-1, False)


@pytest.mark.parametrize(
  'bias, base, difference, branch',
  [
    (DOWN, OPEN, DOWN, rules.BIAS),
    (OPEN, DOWN, UP, rules.BASE),
    # One is significant and the other is not, which is no difference.
    (DOWN, OPEN, OPEN, rules.SOME_BIAS),
    (OPEN, DOWN, OPEN, rules.SOME_BASE),
    (DOWN, DOWN, OPEN, rules.BOTH),
    (DOWN, UP, DOWN, rules.BIAS),
    # What does more harm than something harmful does harm.
    (DOWN, OPEN, UP, rules.BASE),
    (OPEN, OPEN, DOWN, rules.UNCLEAR),
    (UP, OPEN, UP, rules.UNCLEAR),
    (UP, UP, DOWN, rules.UNCLEAR),
  ],
)
def test_a_culprit_is_named_by_the_difference_of_the_effects(
  bias, base, difference, branch
):
  effects = [
    contrasts.Difference(mean, np.nan, np.nan, 8, 4, claimed=claimed)
    for mean, claimed in (bias, base, difference)
  ]
  assert rules.culprit(*effects) == branch


def test_one_effect_that_is_significant_names_no_culprit():
  """The effects are the same, and that of the base varies over seeds."""
  lost = {plan.DEPLOYED: (0.3, 0.1)}
  tables = made.evidence(made.regression(), lost, noise=0.001)
  cells = tables.cells
  biased = (cells['option'] == plan.BIASED) & (cells['length'] == made.TARGET)
  apart = 0.3 * (-1.0) ** cells.loc[biased, 'seed']
  cells.loc[biased, 'token'] += apart
  cells.loc[biased, 'order'] -= apart
  (case,) = verdict.verdicts(tables)
  effects = case.attribution
  assert effects.bias.below and not effects.base.claimed
  assert effects.bias.mean == pytest.approx(effects.base.mean, abs=0.01)
  assert effects.branch == rules.SOME_BIAS


@pytest.mark.parametrize(
  'order, retrieval, excess, branch',
  [
    (UP, UP, UP, rules.ORDER),
    (UP, UP, DOWN, rules.RETRIEVAL),
    (UP, UP, OPEN, rules.BOTH_KINDS),
    (UP, OPEN, UP, rules.ORDER),
    (UP, OPEN, OPEN, rules.SOME_ORDER),
    (OPEN, UP, OPEN, rules.SOME_RETRIEVAL),
    (OPEN, OPEN, UP, rules.NEITHER),
    (DOWN, OPEN, OPEN, rules.NEITHER),
  ],
)
def test_a_kind_is_named_by_the_difference_of_the_errors(
  order, retrieval, excess, branch
):
  rises = [
    contrasts.Difference(mean, np.nan, np.nan, 8, 4, claimed=claimed)
    for mean, claimed in (order, retrieval, excess)
  ]
  assert rules.kind(*rises) == branch


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
  assert case.steps == (rules.FEWEST_PARTS,)
  often = [(plan.BIASED, seed) for seed in made.SEEDS[:6]]
  case = one(study, deployed, noise=0.02, collapsed=often)
  assert case.preferred == (plan.SCALED,)
  assert case.steps == (criteria.NAMES['stable'], rules.FEWEST_PARTS)
  branch, numbers = case.judged[plan.BIASED].stable
  assert branch == criteria.FAIL
  assert (numbers['collapsed'], numbers['seeds']) == (6, 8)
  # Short range comes before stability, and latency after it.
  lost = {plan.SCALED: 0.05}
  slow = {name: (1.2, 1.1, 1.3) for name in plan.FIXES if name != 'YaRN'}
  case = one(
    study,
    deployed,
    noise=0.02,
    short=lost,
    collapsed=often,
    latency=slow,
  )
  assert case.preferred == ('YaRN',)
  names = [criteria.NAMES[name] for name in ('short', 'stable', 'latency')]
  assert list(case.steps) == names
  assert case.judged[plan.SCALED].short.branch == criteria.FAIL


def leading(options, base):
  """The lead among options of a study of one case."""
  shares = {n: compare.Share(values, 0.0) for n, values in options.items()}
  family = families.Family(len(options), families.ALPHA)
  base = compare.Share(base, 0.0)
  gains = family.judge({n: share.over(base) for n, share in shares.items()})
  return compare.lead(shares, gains, family)


def test_a_leader_whose_own_gain_is_unclear_is_not_preferred():
  seeds = pd.Index(range(5))
  base = pd.Series(0.5, seeds)
  sure = pd.Series(0.6, seeds) + pd.Series([0, 1e-3, 0, 1e-3, 0], seeds)
  wild = pd.Series([0.2, 1.0, 0.9, 0.3, 0.95], seeds)
  lead = leading({'bias': wild, 'YaRN': sure}, base)
  assert lead.option == 'bias' and lead.branch == compare.TIE
  assert lead.tied == ('bias', 'YaRN') and lead.improving == ('YaRN',)
  judged = one(made.regression(), BIASED).judged
  preference = rules.prefer(lead, judged, 'regression')
  # Nothing had to be decided, as only one is claimed to gain.
  assert preference == rules.Preference(('YaRN',), ())


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
  assert set(table.loc[table['admitted'], 'seed']) == {0, 2, 3, 5, 6, 7}
  (case,) = verdict.verdicts(tables)
  assert case.lead.gains[plan.SCALED].n == 6
  assert case.every[plan.SCALED].n == 8
  rows = (table['option'] == 'root') & (table['seed'] == 0)
  rows &= (table['task'] == made.TASKS[1]) & (table['length'] == made.TRAINED)
  table.loc[rows, 'token'] = 0.9899
  assert set(table.loc[evidence.admitted(tables.study, table), 'seed']) == {
    *(2, 3, 5, 6, 7)
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


def test_where_nothing_differs_a_first_fix_is_rarely_claimed():
  draw = np.random.default_rng(5)
  claimed = improved = 0
  for _ in range(200):
    runs = pd.DataFrame(draw.normal(0.8, 0.03, (5, 6)))
    lead = leading({n: runs[n] for n in range(5)}, runs[5])
    claimed += lead.branch == compare.FIRST
    improved += lead.branch != compare.NOTHING
  # Five in a hundred, and three standard deviations of 200 draws.
  most = 200 * 0.05 + 3 * np.sqrt(200 * 0.05 * 0.95)
  assert claimed <= improved <= most


def test_of_two_that_are_best_neither_is_claimed():
  """Both gain surely, and the noise of their difference is all there is."""
  draw = np.random.default_rng(6)
  claimed, base = 0, pd.Series(0.3, range(6))
  for _ in range(300):
    noise = pd.DataFrame(draw.normal(0, 0.03, (6, 3)))
    options = {n: 0.8 - 0.3 * (n == 2) + noise[n] for n in range(3)}
    lead = leading(options, base)
    assert len(lead.improving) == 3
    claimed += lead.branch == compare.FIRST
  most = 300 * families.ALPHA + 3 * np.sqrt(300 * families.ALPHA)
  assert claimed <= most


def test_two_changes_that_do_the_same_harm_are_rarely_told_apart():
  """Each surely does harm; that one does more would be false."""
  draw = np.random.default_rng(8)
  family = families.Family(families.CAUSES, families.ALPHA)
  named = harmful = 0
  for _ in range(200):
    noise = pd.DataFrame(draw.normal(0, 0.05, (8, 3)))
    scaled, biased, deployed = (
      compare.Share(mean + noise[n], 0.0)
      for n, mean in enumerate((0.7, 0.7, 0.3))
    )
    pairs = {
      'bias': deployed.over(scaled),
      'base': deployed.over(biased),
      'difference': biased.over(scaled),
    }
    culprit = rules.culprit(*family.judge(pairs).values())
    named += culprit in (rules.BIAS, rules.BASE)
    harmful += culprit != rules.UNCLEAR
  assert harmful == 200
  assert named <= 200 * families.ALPHA + 3 * np.sqrt(200 * families.ALPHA)


def test_a_study_of_many_cases_names_no_more_than_one_of_few():
  """Families span the cases, so that each is judged at a lower level."""
  few, many = (
    families.of(made.regression(**grid))
    for grid in (
      {},
      {
        'variants': ('A', 'B'),
        'schedules': ('zero-shot', 'adapted'),
        'regimes': ('base 27', 'base 10,000'),
      },
    )
  )
  for name in ('errors', 'by_task', 'causes', 'gains'):
    assert getattr(many, name).m == 8 * getattr(few, name).m
  # Base scaling alone has no variant, so that it is judged once for both.
  assert few.criteria.m == 4 * 6 and many.criteria.m == 4 * 4 * 11
  assert (few.causes.m, few.gains.m, few.errors.m) == (4, 5, 4)
  # The same planted evidence in every case.
  study = made.regression(variants=('A', 'B'))
  cases = verdict.verdicts(made.evidence(study, BIASED))
  assert {case.attribution.bias.m for case in cases} == {8}
  assert {case.gains['YaRN'].m for case in cases} == {10}
  assert few.causes.seeds == 5 and many.causes.seeds == 6


def test_a_family_is_as_planned_whatever_has_finished():
  case = one(made.regression(), BIASED, missing=['YaRN', 'by parts'])
  assert len(case.gains) == 3
  assert {gain.m for gain in case.gains.values()} == {5}
  assert case.judged['bias'].short.numbers['m'] == 24


def test_few_seeds_claim_nothing_however_large_a_difference_is():
  tables = made.evidence(made.regression(), BIASED, noise=0.0)
  few = tables.cells[tables.cells['seed'] < 4]
  (case,) = verdict.verdicts(tables._replace(cells=few))
  assert case.gains[plan.SCALED].mean == pytest.approx(0.2)
  assert case.branch == compare.NOTHING
  assert case.attribution.branch == rules.UNCLEAR


def test_a_seed_that_did_not_learn_counts_in_the_gains_of_all():
  """It is the other way round in the two seeds that are not admitted."""
  tables = made.evidence(made.regression(), BIASED, unlearned=(0, 1))
  cells = tables.cells
  rows = cells['seed'].isin((0, 1)) & (cells['option'] == plan.DEPLOYED)
  rows &= cells['length'] == made.TARGET
  cells.loc[rows, ['token', 'order']] = (0.9, 0.0)
  (case,) = verdict.verdicts(tables)
  learned, every = case.gains[plan.SCALED], case.every[plan.SCALED]
  assert (learned.n, every.n) == (6, 8)
  assert learned.mean == pytest.approx(0.2, abs=0.01)
  assert every.mean == pytest.approx((6 * 0.2 + 2 * -0.1) / 8, abs=0.01)
  assert learned.above and not every.claimed and every.m == learned.m
  assert plan.SCALED in case.disagreeing
  change = case.regression
  assert change.change.below and (change.change.n, change.every.n) == (6, 8)
  # With all seeds admitted, both are the same.
  case = one(made.regression(), BIASED)
  assert case.every == case.gains and case.disagreeing == ()
  assert case.regression.every == case.regression.change


def test_differences_are_paired_and_simultaneous():
  token = pd.Series([0.9, 0.7, 0.8, 0.1], [0, 1, 2, 7])
  base = pd.Series([0.5, 0.6, 0.6, 0.3], [2, 1, 0, 9])
  pair = compare.Share(token, 0.0).over(compare.Share(base, 0.0))
  family = families.Family(4, 0.05)
  gain = family.judge_alone(pair)
  interval = intervals.interval([0.9 - 0.6, 0.7 - 0.6, 0.8 - 0.5], 1 - 0.05 / 4)
  assert gain[:5] == pytest.approx((*interval, 4))
  assert family.judge({'gain': pair})['gain'] == gain


def test_a_share_is_the_mean_over_tasks_in_plain_loops():
  tables = made.evidence(made.regression(), BIASED, unlearned=(3,))
  cells = tables.cells
  cells.loc[cells['task'] == made.TASKS[0], 'targets'] = 300
  cells.loc[cells['task'] == made.TASKS[0], 'near'] *= 3
  cells.loc[cells.index % 3 == 0, 'short'] -= 0.25
  rows = cells[cells['option'] == 'YaRN']
  for every, seeds in ((False, 7), (True, 8)):
    for column, length in (('order', made.TARGET), ('short', made.TRAINED)):
      found = compare.share(rows, column, length, every=every)
      assert len(found.by_seed) == seeds
      for seed, value in found.by_seed.items():
        above = below = 0.0
        for row in rows.to_dict('records'):
          if (row['seed'], row['length']) == (seed, length):
            weight = row['near'] if column == 'short' else 1
            above, below = above + weight * row[column], below + weight
        assert value == pytest.approx(above / below, abs=1e-12)
      # Of two tasks, one with 300 targets; of 400 near ones.
      assert found.finest == pytest.approx(
        1 / 400 if column == 'short' else 1 / 600
      )
  task = compare.share(rows, 'token', made.TARGET, made.TASKS[1])
  assert task.finest == pytest.approx(1 / 100)


def test_the_rules_say_the_numbers_that_are_used():
  text = ' '.join(rules.__doc__.split())
  assert f'at most {criteria.MARGIN} below' in text
  assert f'at most {criteria.SLOWER} times' in text
  assert contrasts.ALPHA == 0.05 and 'in a family at 5 %' in text
  assert families.ALPHA == 0.025 and 'in a family at 2.5 %' in text
  for name, words in (
    (families.ERRORS, '{} comparisons a case, in a family at 5 %'),
    (families.BY_TASK, 'by task, {} comparisons a task and case'),
    (families.CAUSES, 'Causes: {} comparisons a case'),
    (families.CRITERIA, 'Criteria: {} comparisons an option and case'),
  ):
    assert words.format(name) in text
  assert criteria.COLLAPSING == 0.1 and 'more than a tenth of seeds' in text
  assert evidence.SHORT == 1 / 8 and 'at most an eighth' in text
  # What so many seeds can decide in a choice among nine.
  nine = made.choice(options=[f'option {n}' for n in range(9)])
  level = families.of(nine).criteria.level

  def least(seeds, branch):
    counts = [criteria.Collapsed(seeds, seeds, k) for k in range(seeds + 1)]
    return [k for k in range(seeds + 1) if counts[k].branch(level) == branch]

  assert least(4, criteria.PASS) == [] and least(4, criteria.FAIL) == [4]
  assert least(5, criteria.PASS) == [0] and least(5, criteria.FAIL) == [4, 5]
  assert least(6, criteria.PASS) == [0] and least(6, criteria.FAIL)[0] == 5
  assert least(8, criteria.PASS) == [0, 1] and least(8, criteria.FAIL)[0] == 5
