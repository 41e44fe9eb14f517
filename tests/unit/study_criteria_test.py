"""What an option must keep, on made-up tables whose truth is planted."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

from posexp.studies import criteria, plan, verdict
from tests import study_made as made
from tests.study_made import BIASED, one


@pytest.mark.parametrize(
  'lost, branch',
  [
    (0.0, criteria.PASS),
    (0.019, criteria.UNDECIDED),
    (0.1, criteria.FAIL),
  ],
)
def test_short_range_is_kept_to_a_margin(lost, branch):
  tables = made.evidence(made.regression(), BIASED)
  cells = tables.cells
  rows = (cells['option'] == 'YaRN') & (cells['length'] == made.TRAINED)
  cells.loc[rows, 'token'] -= lost + 0.002 * (-1.0) ** cells.loc[rows, 'seed']
  (case,) = verdict.verdicts(tables)
  short = case.judged['YaRN'].short
  assert short.branch == branch
  # The worse of all answers and of near ones, of which none is lost.
  expected = min(-lost, 0.0)
  assert short.numbers['mean'] == pytest.approx(expected, abs=1e-9)
  low, high = short.numbers['low'], short.numbers['high']
  assert low < expected < high and short.numbers['n'] == 8
  assert (low > -criteria.MARGIN) == (branch == criteria.PASS)
  assert (high < -criteria.MARGIN) == (branch == criteria.FAIL)


def test_short_range_of_few_near_answers_is_as_fine_as_these():
  tables = made.evidence(made.regression(), BIASED, short={'YaRN': 0.05})
  assert judged(tables, 'YaRN').short.branch == criteria.FAIL
  few = tables.cells.assign(near=tables.cells['near'] // 20)
  assert judged(tables._replace(cells=few), 'YaRN').short.branch == (
    criteria.UNDECIDED
  )


def judged(tables, option):
  """The criteria of an option of the only case."""
  (case,) = verdict.verdicts(tables)
  return case.judged[option]


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
  collapsed = [('YaRN', 4)]
  tables = made.evidence(study, BIASED, unlearned=(4,), collapsed=collapsed)
  branch, numbers = judged(tables, 'YaRN').stable
  assert branch == criteria.PASS
  assert numbers == {
    'collapsed': 0,
    'seeds': 7,
    'left': pytest.approx(0.6 / 0.999, abs=0.01),
  }
  table = tables.collapse.copy()
  later = table.assign(length=2 * made.TARGET, collapsed=True)
  both = pd.concat([table, later], ignore_index=True)
  later = tables._replace(collapse=both)
  assert judged(later, 'YaRN').stable.branch == criteria.PASS
  rest = tables._replace(collapse=table[table['seed'] != 2])
  assert judged(rest, 'YaRN').stable.branch == criteria.NOT_MEASURED


@pytest.mark.parametrize(
  'seeds, branch',
  [
    (1, criteria.PASS),
    (2, criteria.UNDECIDED),
    (4, criteria.UNDECIDED),
    (5, criteria.FAIL),
  ],
)
def test_how_many_seeds_may_collapse(seeds, branch):
  """Of 8, with six options judged by 24 comparisons."""
  which = [('YaRN', seed) for seed in made.SEEDS[:seeds]]
  tables = made.evidence(made.regression(), BIASED, collapsed=which)
  stable = judged(tables, 'YaRN').stable
  assert stable.branch == branch and stable.numbers['collapsed'] == seeds
  # By the sum of the binomial's terms.
  terms = [math.comb(8, k) * 0.1**k * 0.9 ** (8 - k) for k in range(9)]
  assert (sum(terms[seeds:]) <= 0.025 / 24) == (branch == criteria.FAIL)


@pytest.mark.parametrize('rate, branch', [(0.05, 'pass'), (0.3, 'fail')])
def test_more_seeds_with_the_same_rate_of_collapse_do_not_fail(rate, branch):
  level = 0.025 / 36
  counts = [
    criteria.Collapsed(n, n, round(rate * n)) for n in (20, 40, 80, 160, 320)
  ]
  branches = [count.branch(level) for count in counts]
  assert branches[-1] == branch
  other = {'pass': 'fail', 'fail': 'pass'}[branch]
  # In between it may be undecided, and what was decided stays so.
  assert other not in branches
  decided = [each == branch for each in branches]
  assert decided == sorted(decided)


def test_what_collapses_rarely_is_rarely_failed_however_many_seeds():
  """The chance of a false failure at a rate of a tenth, summed exactly."""
  level = 0.05
  for n in (4, 8, 16, 64, 256):
    wrong = sum(
      math.comb(n, k) * 0.1**k * 0.9 ** (n - k)
      for k in range(n + 1)
      if criteria.Collapsed(n, n, k).branch(level) == criteria.FAIL
    )
    assert wrong <= level


@pytest.mark.parametrize(
  'wrong, branch',
  [
    (0.47, criteria.PASS),
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
