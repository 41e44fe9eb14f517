"""The sentences, figures and rules of a memo, on made-up tables."""

import dataclasses
import types

import numpy as np
import pytest

from posexp.claims import intervals
from posexp.plots import study_figures
from posexp.reports import document, memo, memo_facts
from posexp.studies import compare, criteria, plan, rules, verdict
from tests import study_made as made


@pytest.mark.parametrize(
  'text',
  [
    '# no heading',
    '- no list',
    '+ 1',
    '12. no list',
    '[a]: b',
    '> c',
    '-5 [4]',
  ],
)
def test_the_start_of_a_line_is_text(text):
  page = document.as_html(document.as_markdown(document.Text(text)), {})
  parsed = made.Parser(page)
  inside = [tag for tag, _ in parsed.tags]
  assert inside[inside.index('body') + 1 :] == ['p']
  assert parsed.text.rstrip().endswith(text)


def test_a_mechanism_has_its_place():
  evidence = made.evidence(made.choice())
  table = document.Table(('a',), (('1',),))
  text = text_of(evidence, [document.Text('They encode.'), table])
  section = text.split('## Mechanism\n\n')[1].split('\n\n## ')[0]
  assert section == 'They encode.\n\n| a |\n| --- |\n| 1 |'
  assert '## Mechanism' not in text_of(evidence)


def text_of(evidence, mechanisms=()):
  """Return the memo's Markdown without figures, which take the time."""
  return memo.markdown(evidence, verdict.verdicts(evidence), mechanisms)


def answer_of(evidence):
  """The memo's answer in one paragraph."""
  text = text_of(evidence)
  (paragraph,) = (p for p in text.split('\n\n') if p.startswith('**Answer.**'))
  return paragraph


def answered(evidence):
  """What the answer of a regression says of the fix, the kind and the cause."""
  answer = answer_of(evidence)
  fix, rest = answer.split('First fix: ')[1].split(' Regression: ')
  return fix, *rest.split(' Cause: ')


def lines_with(text, *words):
  return [line for line in text.splitlines() if all(w in line for w in words)]


BAD = {name: (0.3, 0.1) for name in plan.OPTIONS if name != plan.SCALED}


@pytest.mark.parametrize(
  'errors, changes, fix, kind, cause',
  [
    (BAD, {}, 'remove the bias', 'order errors', 'the bias'),
    (
      dict.fromkeys(plan.OPTIONS, (0.0005, 0.0005)),
      {'noise': 1e-4},
      *('no difference', 'none', 'neither change'),
    ),
    (
      {plan.DEPLOYED: (0.3, 0.0005)},
      {'noise': 0.0},
      *('a preference', 'order errors', 'both the bias and the base scaling'),
    ),
    (
      {plan.DEPLOYED: (0.1, 0.4)},
      {'noise': 0.02},
      *('a preference', 'retrieval errors', 'both the bias and the base'),
    ),
  ],
)
def test_an_answer_to_a_regression_follows_the_branch(
  errors, changes, fix, kind, cause
):
  study = made.regression()
  evidence = made.evidence(study, errors, **changes)
  for part, word in zip(answered(evidence), (fix, kind, cause), strict=True):
    assert word in part
  # No other branch is said, and the number of the leader's gain is.
  kinds = {'order errors', 'retrieval errors'} - {kind}
  assert not any(other in answered(evidence)[1] for other in kinds)
  claimed = 'remove the bias and keep base scaling. '
  assert answered(evidence)[0].startswith(claimed) == (errors is BAD)
  (case,) = verdict.verdicts(evidence)
  if case.branch in (compare.FIRST, compare.TIE):
    for option in case.preferred or (case.lead.option,):
      gain = memo_facts.points(case.lead.gains[option])
      assert f'{study.shown(option)} {gain}' in answered(evidence)[0]
  if case.branch == compare.TIE:
    assert 'not a finding' in answered(evidence)[0]


def test_a_regression_of_one_kind_names_the_tasks_that_show_it():
  evidence = made.evidence(made.regression(), {plan.DEPLOYED: (0.3, 0.0005)})
  by_task = answered(evidence)[1].split('By task: ')[1]
  assert f'order in {" and ".join(made.TASKS)}' in by_task


def test_a_deployed_model_that_fails_at_short_range_is_named():
  bad = made.evidence(made.regression(), BAD, short={plan.DEPLOYED: 0.1})
  (case,) = verdict.verdicts(bad)
  lost = memo_facts.lost(case.judged[plan.DEPLOYED].short)
  assert lines_with(text_of(bad), 'deployed model', 'fails short range', lost)
  good = text_of(made.evidence(made.regression(), BAD))
  assert not lines_with(good, 'fails short range')


@pytest.mark.parametrize(
  'changes, why, elsewhere',
  [
    ({'unlearned': made.SEEDS}, 'fewer than two seeds', 'not admitted |'),
    ({'missing': [plan.DEPLOYED]}, 'have not finished', '### Not finished'),
  ],
)
def test_a_regression_that_cannot_be_judged_is_open(changes, why, elsewhere):
  evidence = made.evidence(made.regression(), BAD, **changes)
  assert 'open' in answer_of(evidence).lower() and why in answer_of(evidence)
  assert elsewhere in text_of(evidence)


@pytest.mark.parametrize(
  'branch, words',
  [
    (rules.BIAS, 'the bias'),
    (rules.BASE, 'the base scaling'),
    (
      rules.BOTH,
      'both the bias and the base scaling, but neither is claimed to do',
    ),
    (
      rules.SOME_BIAS,
      'the bias does harm, but is not claimed to do more than the base',
    ),
    (
      rules.SOME_BASE,
      'the base scaling does harm, but is not claimed to do more than the',
    ),
    (rules.UNCLEAR, 'a loss can be claimed for neither change'),
  ],
)
def test_a_cause_is_said_in_plain_words(branch, words):
  evidence = made.evidence(made.regression(), BAD)
  (case,) = verdict.verdicts(evidence)
  cause = dataclasses.replace(case.attribution, branch=branch)
  case = dataclasses.replace(case, attribution=cause)
  answer = memo.answer(evidence, [case]).split(' Cause: ')[1]
  assert answer.startswith(words)
  # The bias is the only change whose effect is claimed.
  assert ('does harm, too' in answer) == (branch == rules.BASE)


@pytest.mark.parametrize(
  'branch, words',
  [
    (rules.ORDER, 'to rise more than retrieval errors'),
    (rules.RETRIEVAL, 'to rise more than order errors'),
    (
      rules.BOTH_KINDS,
      'are both claimed to rise, but neither to rise more',
    ),
    (
      rules.SOME_ORDER,
      'order errors are claimed to rise, but not to rise more',
    ),
    (rules.SOME_RETRIEVAL, 'retrieval errors are claimed to rise, but not to'),
    (rules.NEITHER, 'a rise can be claimed of neither kind of errors'),
  ],
)
def test_a_kind_is_said_in_plain_words(branch, words):
  evidence = made.evidence(made.regression(), BAD)
  (case,) = verdict.verdicts(evidence)
  errors = [
    dataclasses.replace(e, branch=branch) for e in case.regression.errors
  ]
  loss = dataclasses.replace(case.regression, errors=tuple(errors))
  case = dataclasses.replace(case, regression=loss)
  text = memo.markdown(evidence, [case])
  lines = lines_with(text, '- Change of errors, ', words)
  assert len(lines) == 1 + len(made.TASKS)
  assert 'not told apart' not in text and 'Kind: ' not in text


def test_what_depends_on_the_seeds_that_count_is_said_first():
  tables = made.evidence(made.regression(), BAD, unlearned=(0, 1))
  assert answer_of(tables).startswith('**Answer.** First fix: remove the bias')
  table = text_of(tables)
  assert lines_with(table, '| option |', 'the same over all seeds')
  cells = tables.cells
  rows = cells['seed'].isin((0, 1)) & (cells['option'] == plan.DEPLOYED)
  rows &= cells['length'] == made.TARGET
  cells.loc[rows, ['token', 'order']] = (0.9, 0.0)
  (case,) = verdict.verdicts(tables)
  answer = answer_of(tables)
  assert answer.startswith(
    '**Answer.** Which seeds learned the tasks is a part'
  )
  learned, every = case.gains[plan.SCALED], case.every[plan.SCALED]
  assert (
    f'base scaling alone gains {memo_facts.points(learned)} (claimed, 6 seeds) '
    f'and {memo_facts.points(every)} (not claimed, 8 seeds)'
  ) in answer
  assert (
    'over all seeds'
    not in text_of(made.evidence(made.regression())).split('## Rules')[0]
  )


def test_too_few_seeds_are_said_before_the_verdict():
  tables = made.evidence(made.regression(), BAD, unlearned=made.SEEDS[4:])
  (line,) = lines_with(text_of(tables), '**Too few seeds.**')
  for words in (
    '4 admitted seeds',
    'a cause (from 5 on)',
    'a gain (from 5 on)',
  ):
    assert words in line
  # Errors are a family of four at 5 %, of which 4 seeds can claim something.
  assert 'regression' not in line
  assert not lines_with(text_of(made.evidence(made.regression())), 'Too few')


def test_the_families_are_printed_with_their_sizes():
  text = text_of(made.evidence(made.regression(variants=('A', 'B')), BAD))
  rows = text.split('### The families of this study')[1].split('### ')[0]
  for row in (
    '| errors of a regression | 8 | 5.0% | 5 |',
    '| errors by task | 12 | 5.0% | 5 |',
    '| causes | 8 | 2.5% | 5 |',
    '| gains, and which option leads | 10 | 2.5% | 5 |',
    '| criteria | 44 | 2.5% | 6 |',
  ):
    assert row in rows


def test_what_a_first_fix_costs_is_said_with_it():
  lost = {plan.SCALED: 0.1}
  evidence = made.evidence(made.regression(), BAD, short=lost)
  (case,) = verdict.verdicts(evidence)
  assert case.branch == compare.FIRST and case.lead.option == plan.SCALED
  failed = f'It fails a criterion: {criteria.NAMES["short"]}.'
  assert failed in answered(evidence)[0]
  assert failed not in answer_of(made.evidence(made.regression(), BAD))


POOR, GOOD = (0.25, 0.2), (0.02, 0.02)
OTHERS = [
  cell.option
  for cell in made.choice().cells
  if cell.option not in ('root', 'YaRN')
]


@pytest.mark.parametrize(
  'good, changes, words',
  [
    (
      ['YaRN'],
      {},
      [
        'YaRN (zero-shot), claimed to be better than every other candidate',
        'not shown to fail a criterion (NTK, ALiBi and NTK + ALiBi)',
        'it passes all criteria',
      ],
    ),
    (
      ['YaRN'],
      {'short': dict.fromkeys(OTHERS, 0.1)},
      ['YaRN (zero-shot)', 'the only candidate that is not shown to fail'],
    ),
    (
      ['YaRN', 'NTK'],
      {'noise': 0.02},
      [
        'none can be claimed; preferred is',
        'a preference and not a finding',
        'cannot be told apart from',
        'among these it was chosen by the largest mean',
      ],
    ),
    ([], {}, ['none', 'no difference']),
    (['YaRN'], {'unlearned': made.SEEDS}, ['open', 'fewer than two seeds']),
    (['YaRN'], {'missing': ['root']}, ['open', 'have not finished']),
  ],
)
def test_a_recommendation_follows_the_branch(good, changes, words):
  study = made.choice()
  errors = {cell.option: POOR for cell in study.cells}
  errors |= dict.fromkeys(good, GOOD)
  evidence = made.evidence(study, errors, **changes)
  answer = answer_of(evidence)
  for word in ('Recommendation: ', *words):
    assert word in answer
  (case,) = verdict.verdicts(evidence)
  if case.branch == compare.FIRST:
    assert memo_facts.points(case.gains['YaRN']) in answer


def test_a_choice_that_is_not_measured_says_what_is_left():
  evidence = made.evidence(made.choice(), {'YaRN': GOOD}, short={'NTK': 0.1})
  evidence = evidence._replace(collapse=evidence.collapse[:0])
  answer = answer_of(evidence)
  missing = f'{criteria.NAMES["stable"]}: {criteria.NOT_MEASURED}'
  passed = 'it is not shown to pass all criteria'
  for word in ('YaRN (zero-shot)', passed, missing):
    assert word in answer
  (case,) = verdict.verdicts(evidence)
  assert case.branch == compare.FIRST and case.lead.option == 'YaRN'


def test_where_all_fail_the_one_to_go_on_with_is_not_recommended():
  study = made.choice()
  lost = {cell.option: 0.1 for cell in study.cells if cell.option != 'root'}
  errors = {'root': POOR, 'NTK': POOR, 'YaRN': GOOD, 'ALiBi': POOR}
  errors['NTK + ALiBi'] = POOR
  failed = f'{criteria.NAMES["short"]}: {criteria.FAIL}'

  def answer(study):
    text = answer_of(made.evidence(study, errors, short=lost))
    assert 'Recommendation: none, as every candidate fails' in text
    return text

  for word in ('best to pursue is YaRN (zero-shot)', failed):
    assert word in answer(study)
  errors['YaRN'] = POOR
  assert 'none is claimed to gain over the root' in answer(study)
  study = made.choice(options=('no change', 'NTK', 'YaRN'))
  errors = {'root': POOR, 'no change': GOOD, 'NTK': POOR, 'YaRN': POOR}
  lost['no change'] = 0.1
  assert 'none is claimed to gain more than adaptation' in answer(study)


def test_figures_are_drawn_of_one_seed_and_of_none_not():
  one = made.evidence(made.regression(), BAD, unlearned=made.SEEDS[1:])
  drawn = study_figures.draw(one, made.REGIME)
  assert list(drawn) == ['accuracy', 'errors', 'square']
  assert all(png.startswith(b'\x89PNG') for png in drawn.values())
  none = made.evidence(made.regression(), BAD, unlearned=made.SEEDS)
  assert study_figures.draw(none, made.REGIME) == {}
  missing = one._replace(missing=one.study.cells)
  assert study_figures.draw(missing, made.REGIME) == {}


def test_a_figure_shows_the_numbers_of_the_tables():
  evidence = made.evidence(made.choice(), {'YaRN': GOOD})
  ((_, rows),) = study_figures.panels(evidence, made.REGIME)
  drawn = study_figures.accuracy(evidence.study, [('', rows)])
  (panel,) = drawn.axes
  (line,) = (one for one in panel.lines if one.get_gid() == 'mean:YaRN')
  shown = rows['YaRN'].groupby('length')['token'].mean()
  np.testing.assert_allclose(line.get_ydata(), shown, rtol=0, atol=1e-12)
  drawn = study_figures.errors(evidence.study, [('', rows)])
  (panel,) = drawn.axes
  at = list(rows).index('YaRN')
  bars = [each for each in panel.containers if len(each) == len(rows)]
  wide = [each[at].get_width() for each in bars]
  target = rows['YaRN'][rows['YaRN']['length'] == made.TARGET]
  expected = target[['order', 'retrieval']].mean()
  np.testing.assert_allclose(wide, expected, rtol=0, atol=1e-12)
  # The ends of an interval have caps; the second kind begins behind the first.
  lines = [each.lines for each in panel.containers if each not in bars]
  start = 0.0
  for (_, caps, (stems,)), kind in zip(lines, expected.index, strict=True):
    by_seed = target.groupby('seed')[kind].mean()
    mean, *ends = intervals.interval(by_seed, within=intervals.SHARE)[:3]
    segment = stems.get_segments()[at][:, 0]
    np.testing.assert_allclose(segment, start + np.array(ends), atol=1e-12)
    assert [cap.get_xdata()[at] for cap in caps] == pytest.approx(segment)
    start += mean


def test_regimes_are_compared():
  regimes = ('base 10,000', 'base 27')
  study = made.regression(regimes=regimes)
  evidence = made.evidence(study, BAD)
  assert lines_with(text_of(evidence), '**Regimes.**', *regimes, 'same verdict')
  table = evidence.cells
  other = (table['regime'] == regimes[1]) & (table['option'] == plan.SCALED)
  other &= table['length'] == made.TARGET
  evidence.cells.loc[other, ['token', 'order']] = (0.6, 0.3)
  text = text_of(evidence)
  assert lines_with(text, '**Regimes.**', *regimes, 'differ', 'variant A')
  (line,) = lines_with(text, 'First fix: remove the bias')
  assert line.startswith(f'- {regimes[0]}, variant A, zero-shot.')
  # What is said in how many cases comes first.
  answer = answer_of(evidence)
  for word in ('2 cases', '2 are judged', 'in 1 (base scaling alone in 1)'):
    assert word in answer
  assert 'lead over every other option in 1' in answer


def test_a_seed_that_diverged_is_named():
  study = made.regression(schedules=('adapted',))
  evidence = made.evidence(study, BAD)
  assert 'diverged' not in text_of(evidence)
  digest = study.cells[2].digest
  evidence.runs[digest]['diverged'] = ('1', '4')
  assert lines_with(text_of(evidence), 'diverged', f'run {digest}, seed 1, 4')


def test_the_rules_are_printed_whole():
  text = text_of(made.evidence(made.regression()))
  for part in rules.__doc__.split('\n\n')[1:]:
    listed = part.startswith('* ')
    for rule in f'\n{part}'.split('\n* ')[1:] if listed else [part]:
      assert f'{"- " * listed}{document.escape(rule)}\n' in text


def test_the_steps_that_broke_a_tie_are_a_list():
  say = memo._sentences(made.evidence(made.choice())).steps
  steps = 'latency unchanged', 'the fewest parts', 'the largest mean'
  assert say(types.SimpleNamespace(steps=steps[:1])) == (
    'the criterion "latency unchanged"'
  )
  assert say(types.SimpleNamespace(steps=steps)) == (
    'the criterion "latency unchanged", the fewest parts and then the largest '
    'mean'
  )
