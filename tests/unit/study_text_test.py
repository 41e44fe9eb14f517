"""The sentences, figures and rules of a memo, on made-up tables."""

import numpy as np
import pytest

from posexp.plots import study_figures
from posexp.reports import document, memo
from posexp.studies import plan, rules, verdict
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


BAD = {name: (0.3, 0.1) for name in plan.OPTIONS if name != plan.SCALED}


@pytest.mark.parametrize(
  'errors, changes, sentences',
  [
    (
      BAD,
      {},
      [
        'First fix: remove the bias and',
        'Regression: mainly order errors',
        'Cause: the bias',
      ],
    ),
    (
      dict.fromkeys(plan.OPTIONS, (0.0005, 0.0005)),
      {'noise': 1e-4},
      ['First fix: no difference can be claimed', 'Regression: none can be'],
    ),
    (
      {plan.DEPLOYED: (0.3, 0.0005)},
      {'noise': 0.0},
      [
        'a preference and not a finding',
        'Regression: order errors. By task: order in',
      ],
    ),
    (
      {plan.DEPLOYED: (0.1, 0.4)},
      {'noise': 0.02},
      [
        'a preference and not a finding',
        'mainly retrieval errors',
        'Cause: both',
      ],
    ),
    (BAD, {'short': {plan.DEPLOYED: 0.1}}, ['deployed model itself fails']),
    (BAD, {'unlearned': made.SEEDS}, ['open, as fewer', 'not admitted |']),
    (BAD, {'missing': [plan.DEPLOYED]}, ['open, as runs', '### Not finished']),
  ],
)
def test_sentences_of_a_regression_follow_the_branch(
  errors, changes, sentences
):
  text = text_of(made.evidence(made.regression(), errors, **changes))
  for sentence in sentences:
    assert sentence in text, sentence
  if 'remove the bias' not in sentences[0] and 'short' not in changes:
    claimed = 'First fix: remove the bias and keep base scaling. Gain'
    assert claimed not in text


POOR, GOOD = (0.25, 0.2), (0.02, 0.02)
OTHERS = [
  cell.option
  for cell in made.choice().cells
  if cell.option not in ('root', 'YaRN')
]


@pytest.mark.parametrize(
  'good, changes, sentence',
  [
    (
      ['YaRN'],
      {},
      'Recommendation: YaRN (zero-shot), the best of those that pass all '
      'criteria. Gain in accuracy over the root as it',
    ),
    (
      ['YaRN'],
      {'short': dict.fromkeys(OTHERS, 0.1)},
      'Recommendation: YaRN (zero-shot), the only candidate that passes all '
      'criteria. Gain in accuracy over the root as it',
    ),
    (['YaRN', 'NTK'], {'noise': 0.02}, 'a preference and not a finding'),
    ([], {}, 'none, as no difference can be claimed between those that pass'),
    (['YaRN'], {'unlearned': made.SEEDS}, 'Recommendation: open, as fewer'),
    (['YaRN'], {'missing': ['root']}, 'Recommendation: open, as runs that'),
  ],
)
def test_sentences_of_a_choice_follow_the_branch(good, changes, sentence):
  study = made.choice()
  errors = {cell.option: POOR for cell in study.cells}
  errors |= dict.fromkeys(good, GOOD)
  assert sentence in text_of(made.evidence(study, errors, **changes))


def test_a_choice_that_is_not_measured_says_what_is_left():
  found = made.evidence(made.choice(), {'YaRN': GOOD}, short={'NTK': 0.1})
  found = found._replace(collapse=found.collapse[:0])
  text = text_of(found)
  assert (
    'Recommendation: YaRN (zero-shot), on condition: no candidate is shown to '
    'pass all criteria, and it passes all but stable to the target: not '
    'measured.'
  ) in text
  (case,) = verdict.verdicts(found)
  assert case.branch == rules.NO_CANDIDATE and case.lead.option == 'YaRN'


def test_where_all_fail_the_one_to_go_on_with_is_not_recommended():
  study = made.choice()
  lost = {cell.option: 0.1 for cell in study.cells if cell.option != 'root'}
  errors = {'root': POOR, 'NTK': POOR, 'YaRN': GOOD, 'ALiBi': POOR}
  errors['NTK + ALiBi'] = POOR
  assert (
    'Recommendation: none, as no candidate passes all criteria; the best to '
    'pursue is YaRN (zero-shot), which passes all but short range kept: fail.'
  ) in text_of(made.evidence(study, errors, short=lost))
  errors['YaRN'] = POOR
  assert (
    'none, as no candidate passes all criteria, and none is claimed to gain '
    'over the root as it is.'
  ) in text_of(made.evidence(study, errors, short=lost))
  study = made.choice(options=('no change', 'NTK', 'YaRN'))
  errors = {'root': POOR, 'no change': GOOD, 'NTK': POOR, 'YaRN': POOR}
  lost['no change'] = 0.1
  assert (
    'none, as no candidate passes all criteria, and none is claimed to gain '
    'more than adaptation does by itself.'
  ) in text_of(made.evidence(study, errors, short=lost))


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
  found = made.evidence(made.choice(), {'YaRN': GOOD})
  ((_, rows),) = study_figures.panels(found, made.REGIME)
  drawn = study_figures.accuracy(found.study, [('', rows)])
  (panel,) = drawn.axes
  (line,) = (one for one in panel.lines if one.get_gid() == 'mean:YaRN')
  shown = rows['YaRN'].groupby('length')['token'].mean()
  np.testing.assert_allclose(line.get_ydata(), shown, rtol=0, atol=1e-12)
  drawn = study_figures.errors(found.study, [('', rows)])
  (panel,) = drawn.axes
  at = list(rows).index('YaRN')
  wide = [bars[at].get_width() for bars in panel.containers]
  target = rows['YaRN'][rows['YaRN']['length'] == made.TARGET]
  expected = target[['order', 'retrieval']].mean()
  np.testing.assert_allclose(wide, expected, rtol=0, atol=1e-12)


def test_regimes_are_compared():
  regimes = ('base 10,000', 'base 27')
  study = made.regression(regimes=regimes)
  found = made.evidence(study, BAD)
  assert 'base 10,000 and base 27 give the same verdict' in text_of(found)
  table = found.cells
  mine = (table['regime'] == regimes[1]) & (table['option'] == plan.SCALED)
  mine &= table['length'] == made.TARGET
  found.cells.loc[mine, ['token', 'order']] = (0.6, 0.3)
  text = text_of(found)
  assert 'base 10,000 and base 27 differ in their verdict on variant A' in text
  fix = 'First fix: remove the bias and keep base scaling. Gain'
  (line,) = (one for one in text.splitlines() if fix in one)
  assert line.startswith('- base 10,000, variant A, zero-shot. First fix')
  # What is said in how many cases comes first.
  assert 'Of 2 cases of base, variant and schedule 2 are judged.' in text
  assert 'claimed for the best option in 1 (base scaling alone in 1)' in text
  assert 'its lead over every other option in 1.' in text


def test_a_seed_that_diverged_is_named():
  study = made.regression(schedules=('adapted',))
  found = made.evidence(study, BAD)
  assert 'diverged' not in text_of(found)
  found.runs[study.cells[2].digest]['diverged'] = ('1', '4')
  sentence = f'Training diverged in: run {study.cells[2].digest}, seed 1, 4.'
  assert sentence in text_of(found)


def test_the_rules_are_printed_whole():
  text = text_of(made.evidence(made.regression()))
  for part in f'\n{rules.__doc__}'.split('\n* ')[1:]:
    assert f'- {document.escape(part)}' in text
