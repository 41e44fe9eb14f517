"""Which candidate is recommended, on made-up tables whose truth is planted."""

import numpy as np

from posexp.studies import compare, criteria, rules, verdict
from tests import study_made as made
from tests.study_made import one

GOOD, FAIR, POOR = (0.02, 0.02), (0.06, 0.06), (0.25, 0.2)


def test_a_candidate_is_recommended_against_the_two_best():
  study = made.choice(adapted=('YaRN',))
  errors = {'root': POOR, 'NTK': FAIR, 'ALiBi': POOR, 'NTK + ALiBi': POOR}
  errors |= {('YaRN', 'zero-shot'): POOR, ('YaRN', 'adapted'): GOOD}
  case = one(study, errors)
  assert case.branch == compare.FIRST and case.lead.option == 'YaRN'
  assert case.schedules['YaRN'] == 'adapted'
  assert case.schedules['NTK'] == 'zero-shot'
  assert len(case.alternatives) == 2 and next(iter(case.alternatives)) == 'NTK'
  assert case.alternatives['NTK'].above and case.alternatives['NTK'].m == 4


def test_the_best_is_not_recommended_if_it_fails_a_criterion():
  study = made.choice()
  errors = {'root': POOR, 'NTK': FAIR, 'YaRN': GOOD, 'ALiBi': POOR}
  errors |= {'NTK + ALiBi': POOR}
  case = one(study, errors, short={'YaRN': 0.1})
  assert case.lead.option == 'NTK' and case.branch == compare.FIRST
  # It is the best alternative all the same.
  assert next(iter(case.alternatives)) == 'YaRN'
  assert case.alternatives['YaRN'].below
  # The family is of all candidates, as the admissible were picked of them.
  assert {gain.m for gain in case.lead.gains.values()} == {4}
  assert {gap.m for gap in case.lead.over.values()} == {4}
  assert set(case.lead.over) == {'ALiBi', 'NTK + ALiBi'}
  assert case.judged['YaRN'].status == criteria.FAIL
  assert 'YaRN' not in case.lead.gains and 'YaRN' in case.gains


def test_the_other_branches_of_a_choice():
  study = made.choice()
  errors = {'root': POOR, 'NTK': GOOD, 'YaRN': GOOD, 'NTK + ALiBi': GOOD}
  tables = made.evidence(study, errors | {'ALiBi': POOR}, noise=0.02)
  (case,) = verdict.verdicts(tables)
  assert case.branch == compare.TIE
  assert set(case.lead.tied) == {'NTK', 'YaRN', 'NTK + ALiBi'}
  # Of one part each; the sum has two.
  token = {
    name: compare.by_seed(criteria.rows(tables, cell), 'token', made.TARGET)
    for name, cell in verdict.members(tables, ('base 10,000', '', '')).items()
  }
  best = max(('NTK', 'YaRN'), key=lambda name: token[name].mean())
  assert case.preferred == (best,)
  assert case.steps == (rules.FEWEST_PARTS, rules.LARGEST_MEAN)
  everywhere = {
    cell.option: 0.1 for cell in study.cells if cell.option != 'root'
  }
  case = one(study, errors, short=everywhere)
  assert case.branch == rules.NO_CANDIDATE and len(case.preferred) == 1
  assert set(case.preferred) < {'NTK', 'YaRN', 'NTK + ALiBi'}
  case = one(study, dict.fromkeys(errors, POOR) | {'ALiBi': POOR})
  assert case.branch == compare.NOTHING
  worse = dict.fromkeys(errors, (0.27, 0.21)) | {'root': POOR}
  case = one(study, worse | {'ALiBi': (0.27, 0.21)})
  assert case.branch == compare.LOSS and case.preferred == ()
  case = one(study, errors, unlearned=made.SEEDS)
  assert case.branch == compare.NOT_ADMITTED
  case = one(study, errors, missing=['root'])
  assert case.branch == compare.MISSING
  names = [cell.option for cell in study.cells if cell.option != 'root']
  assert one(study, errors, missing=names).branch == compare.MISSING


def test_where_all_fail_one_is_named_to_go_on_with():
  study = made.choice(options=('no change', 'NTK', 'YaRN', 'ALiBi'))
  errors = {'root': POOR, 'no change': POOR, 'ALiBi': POOR}
  errors |= {'NTK': FAIR, 'YaRN': GOOD}
  lost = dict.fromkeys(('no change', 'NTK', 'YaRN', 'ALiBi'), 0.1)

  def named(**changes):
    case = one(study, errors, noise=0.005, short=lost, **changes)
    assert case.branch == rules.NO_CANDIDATE
    # What is named is compared with two others.
    assert len(case.alternatives) == 2
    assert not set(case.preferred) & set(case.alternatives)
    return case.preferred

  # Both fail one: the larger mean. ALiBi fails no more, and gains nothing.
  assert named() == ('YaRN',)
  unclear, slow = (1.0, 0.9, 1.1), (1.2, 1.1, 1.3)
  assert named(latency={'YaRN': unclear}) == ('NTK',)
  assert named(latency={'YaRN': unclear, 'NTK': slow}) == ('YaRN',)
  # Of those that fail as many, what loses least at short range.
  lost['NTK'] = 0.05
  assert named() == ('NTK',)
  errors |= {'NTK': POOR, 'YaRN': POOR}
  assert named() == ()
  # What adaptation does by itself is not to a scheme's credit.
  errors |= {'no change': GOOD, 'NTK': FAIR}
  assert named() == ()


def test_what_is_undecided_is_a_rival_and_no_failure():
  """Only one is shown to pass, and another that is as good is not told apart.

  That it is undecided is for want of seeds, and so it excludes nothing.
  """
  study = made.choice()
  errors = {'root': POOR, 'NTK': GOOD, 'YaRN': GOOD, 'ALiBi': POOR}
  errors |= {'NTK + ALiBi': POOR}
  unclear = {'YaRN': (1.0, 0.9, 1.1)}
  case = one(study, errors, noise=0.02, latency=unclear)
  statuses = {name: judged.status for name, judged in case.judged.items()}
  assert statuses['NTK'] == criteria.PASS
  assert statuses['YaRN'] == criteria.UNDECIDED
  assert case.branch == compare.TIE and set(case.lead.tied) == {'NTK', 'YaRN'}
  # A preference, by what is shown to pass.
  assert case.preferred == ('NTK',)
  assert case.steps == (criteria.NAMES['latency'],)


def test_a_leader_that_is_undecided_is_recommended_over_one_that_passes():
  study = made.choice()
  errors = {'root': POOR, 'NTK': FAIR, 'YaRN': GOOD, 'ALiBi': POOR}
  errors |= {'NTK + ALiBi': POOR}
  unclear = {'YaRN': (1.0, 0.9, 1.1)}
  case = one(study, errors, noise=0.005, latency=unclear)
  assert case.branch == compare.FIRST and case.lead.option == 'YaRN'
  assert case.judged['YaRN'].status == criteria.UNDECIDED
  assert case.judged['NTK'].status == criteria.PASS
  # What is not measured excludes nothing, either.
  tables = made.evidence(study, errors, noise=0.005)
  (case,) = verdict.verdicts(tables._replace(latency=tables.latency[:0]))
  assert case.branch == compare.FIRST and case.lead.option == 'YaRN'


def test_where_nothing_differs_a_candidate_is_rarely_recommended():
  """All gain the same and keep everything; any recommendation is false."""
  study = made.choice()
  errors = dict.fromkeys(('NTK', 'YaRN', 'ALiBi', 'NTK + ALiBi'), GOOD)
  tables = made.evidence(study, errors | {'root': POOR}, noise=0.0)
  cells, draw = tables.cells, np.random.default_rng(7)
  at_target = cells['length'] == made.TARGET
  recommended, times = 0, 40
  for _ in range(times):
    token = cells['token'] + at_target * draw.normal(0, 0.02, len(cells))
    (case,) = verdict.verdicts(tables._replace(cells=cells.assign(token=token)))
    assert len(case.lead.improving) == 4
    recommended += case.branch == compare.FIRST
  # One in forty, and three standard deviations.
  assert recommended <= times / 40 + 3 * np.sqrt(times / 40)
