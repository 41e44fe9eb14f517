"""The sentences of a memo that depend on a branch of its verdict."""

import collections
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from posexp.claims import contrasts
from posexp.claims import format as format_lib
from posexp.plots import study_figures
from posexp.studies import compare, criteria, plan, rules
from posexp.studies.evidence import Evidence
from posexp.studies.verdict import Case

ACTIONS = {
  plan.SCALED: 'remove the bias and keep base scaling',
  plan.BIASED: 'revert the base and keep the bias',
  'interpolation': 'keep the bias and scale RoPE by interpolation',
  'by parts': 'keep the bias and scale RoPE by parts',
  'YaRN': 'keep the bias and scale RoPE by YaRN',
}
ERRORS = {
  rules.ORDER: 'order errors',
  rules.RETRIEVAL: 'retrieval errors',
  rules.BOTH_KINDS: 'order and retrieval errors, neither claimed to be more',
  rules.NEITHER: 'its kind cannot be claimed',
}
CAUSES = {
  rules.BIAS: 'the bias',
  rules.BASE: 'the base scaling',
  rules.BOTH: 'both the bias and the base scaling',
  rules.UNCLEAR: 'a loss can be claimed for neither change',
}
OPEN = {
  compare.NOT_ADMITTED: 'open, as fewer than two seeds are admitted',
  compare.MISSING: 'open, as runs that it needs have not finished',
}
# What is said of a fix and of a choice, where no option is put first.
NO_FIX = OPEN | {
  compare.NOTHING: 'no difference can be claimed between the options',
  compare.LOSS: 'none, as no option is claimed to gain and some are claimed to '
  'lose',
}
NO_CHOICE = OPEN | {
  compare.NOTHING: 'none, as no difference can be claimed between those that '
  'pass and the root as it is',
  compare.LOSS: 'none, as no candidate that passes is claimed to gain over the '
  'root as it is, and some are claimed to lose',
}
NOT_PASSED = (criteria.FAIL, criteria.UNDECIDED, criteria.NOT_MEASURED)


def name(case: Case) -> str:
  """Return what a case is called: its regime, variant and schedule."""
  label = study_figures.label(case.group)
  return ', '.join(filter(None, (case.group[0], label)))


def answer(evidence: Evidence, cases: Sequence[Case]) -> str:
  """Return the answer in one paragraph."""
  if not cases:
    return 'None: the study has no case to judge.'
  if evidence.study.kind == 'choice':
    by_text = _grouped(cases, recommended)
    chosen = '; '.join(
      f'{text} ({" / ".join(map(name, group))})'
      for text, group in by_text.items()
    )
    if len(by_text) == 1:
      chosen = f'{recommended(cases[0])}{_everywhere(cases)}'
    return f'Recommendation: {chosen}.{_gain(evidence, cases)}'
  if len(_grouped(cases, _verdict)) > 1:
    return _counted(evidence, cases)
  return _in_common(evidence, cases)


def by_case(evidence: Evidence, cases: Sequence[Case]) -> list[str]:
  """Return the answer of each case of a regression, where they differ."""
  if evidence.study.kind == 'choice' or len(_grouped(cases, _verdict)) < 2:
    return []
  answers = [
    f'{name(case)}. {_in_common(evidence, [case])}'
    for case in cases
    if case.branch not in OPEN
  ]
  waiting = [name(case) for case in cases if case.branch in OPEN]
  return answers + [f'Open: {"; ".join(waiting)}.'] * bool(waiting)


def _grouped(
  cases: Iterable[Case], text: Callable[[Case], str]
) -> dict[str, list[Case]]:
  """Return the cases by what is said of them."""
  groups: dict[str, list[Case]] = {}
  for case in cases:
    groups.setdefault(text(case), []).append(case)
  return groups


def _verdict(case: Case) -> str:
  return '; '.join((first_fix(case), kind(case), cause(case)))


def _in_common(evidence: Evidence, cases: Sequence[Case]) -> str:
  """Return the verdict on a regression that all given cases share."""
  fix, errors, changes = (f(cases[0]) for f in (first_fix, kind, cause))
  everywhere = _everywhere(cases)
  if fix == errors == changes:
    return f'{fix[0].upper()}{fix[1:]}{everywhere}.'
  return (
    f'First fix: {fix}{everywhere}.{_gain(evidence, cases)} Regression: '
    f'{errors}{everywhere}.{_by_task(cases)} Cause: {changes}{everywhere}.'
  )


def _everywhere(cases: Sequence[Case]) -> str:
  return f', in all {len(cases)} cases' if len(cases) > 1 else ''


def _counted(evidence: Evidence, cases: Sequence[Case]) -> str:
  """Return what is said in how many cases, where they differ."""
  judged = [case for case in cases if case.branch not in OPEN]
  gained = [
    evidence.study.shown(case.lead.option)
    for case in judged
    if case.lead.option in case.lead.improving
  ]
  beyond = sum(case.branch == compare.FIRST for case in judged)
  fix = 'a gain over the deployed model is claimed in none'
  if gained:
    fix = (
      f'a gain over the deployed model is claimed for the best option in '
      f'{len(gained)} ({_times(gained)}), and its lead over every other option '
      f'in {beyond}'
    )
  return (
    f'Of {len(cases)} cases of base, variant and schedule {len(judged)} are '
    f'judged. First fix: {fix}. Regression: '
    f'{_times(map(kind, judged))}.{_by_task(judged)} Cause: '
    f'{_times(map(cause, judged))}.'
  )


def _times(texts: Iterable[str]) -> str:
  """Return each text and how often it is there.

  >>> _times(['both', 'the bias', 'both'])
  'both in 2; the bias in 1'
  """
  counts = collections.Counter(texts)
  return '; '.join(f'{text} in {n}' for text, n in counts.most_common())


def _gain(evidence: Evidence, cases: Sequence[Case]) -> str:
  """Return the gain of what is put first as a sentence after another."""
  study = evidence.study
  regression = study.kind == 'regression'
  base = 'the deployed model' if regression else 'the root as it is'
  where = f'in accuracy over {base} at {study.target:,} tokens'
  claimed = [case for case in cases if case.branch == compare.FIRST]
  if len(claimed) > 1:
    gains = [case.lead.gains[case.lead.option].mean for case in claimed]
    low, high = map(format_lib.points, (min(gains), max(gains)))
    return (
      f' Where that is claimed, the gain {where} is {low} to {high} points.'
    )
  case = cases[0]
  if len(cases) > 1 or case.branch not in (compare.FIRST, compare.TIE):
    return ''
  parts = [
    f'{study.shown(option)} {points(case.lead.gains[option])}'
    for option in case.preferred or (case.lead.option,)
  ]
  if claimed:
    parts += [
      f'{points(gap)} against {study.shown(option)}'
      for option, gap in case.alternatives.items()
    ]
  return f' Gain {where}: {"; ".join(parts)}.'


def first_fix(case: Case) -> str:
  """Return what to do first."""
  if case.branch == compare.FIRST:
    return ACTIONS[case.lead.option]
  if case.branch == compare.TIE:
    actions = ', or '.join(ACTIONS[option] for option in case.preferred)
    why = _tied(case) or 'the largest mean gain cannot be claimed'
    return f'{actions}, a preference and not a finding, as {why}'
  return NO_FIX[case.branch]


def _tied(case: Case) -> str:
  """Return what the leader is tied with, '' if nothing."""
  rivals = [o for o in case.lead.tied if o != case.lead.option]
  if not rivals:
    return ''
  return (
    f'{case.lead.option}, which has the largest mean, cannot be told apart '
    f'from {format_lib.listed(rivals, "or")}'
  )


def kind(case: Case) -> str:
  """Return whether there is a regression, and of what kind of errors."""
  regression = case.regression
  assert regression is not None
  if regression.branch == rules.NO_REGRESSION:
    return 'none can be claimed'
  if regression.branch in OPEN:
    return OPEN[regression.branch]
  errors = regression.errors[0]
  text = ERRORS[errors.branch]
  both = errors.order.above and errors.retrieval.above
  if both and errors.branch in (rules.ORDER, rules.RETRIEVAL):
    return f'mainly {text}'
  return text


def _by_task(cases: Sequence[Case]) -> str:
  """Return the kind of the regression in each task where it can be claimed.

  The kind of the mean is that of most tasks, which hides the others.
  """
  parts = []
  for branch in (rules.ORDER, rules.RETRIEVAL):
    counts = collections.Counter(
      errors.task
      for case in cases
      if case.regression
      for errors in case.regression.errors[1:]
      if errors.branch == branch
    )
    tasks = [
      f'{task} ({n})' if len(cases) > 1 else task
      for task, n in counts.most_common()
    ]
    if tasks:
      parts.append(f'{branch} in {format_lib.listed(tasks, "and")}')
  return f' By task: {", and ".join(parts)}.' if parts else ''


def cause(case: Case) -> str:
  """Return which of the two changes caused the regression."""
  assert case.attribution is not None
  return (CAUSES | OPEN)[case.attribution.branch]


def recommended(case: Case) -> str:
  """Return what to choose."""
  if case.branch == compare.FIRST:
    which = 'the only candidate that passes all criteria'
    if len(case.lead.gains) > 1:
      which = 'the best of those that pass all criteria'
    return f'{scheduled(case, case.lead.option)}, {which}'
  if case.branch == compare.TIE:
    option = scheduled(case, case.preferred[0])
    why = _tied(case) or 'its gain over the root as it is cannot be claimed'
    return f'{option}, a preference and not a finding, as {why}'
  if case.branch == rules.NO_CANDIDATE:
    return _go_on(case)
  return NO_CHOICE[case.branch]


def _go_on(case: Case) -> str:
  """Return the best candidate where none passes, and what it lacks."""
  none = 'none, as no candidate passes all criteria'
  if not case.preferred:
    over = 'over the root as it is'
    if plan.UNCHANGED in case.judged:
      over = 'more than adaptation does by itself'
    return f'{none}, and none is claimed to gain {over}'
  option = case.preferred[0]
  judged = case.judged[option]
  lacks = '; '.join(
    f'{", ".join(named(judged, branch))}: {branch}'
    for branch in NOT_PASSED
    if named(judged, branch)
  )
  if named(judged, criteria.FAIL):
    return (
      f'{none}; the best to pursue is {scheduled(case, option)}, which passes '
      f'all but {lacks}'
    )
  return (
    f'{scheduled(case, option)}, on condition: no candidate is shown to pass '
    f'all criteria, and it passes all but {lacks}'
  )


def named(judged: criteria.Criteria, branch: str) -> list[str]:
  """Return the criteria of an option that have a branch."""
  return [
    criterion
    for criterion, own in zip(criteria.NAMES.values(), judged.branches)
    if own == branch
  ]


def not_passed(case: Case) -> dict[str, str]:
  """Return which options fail each criterion, or are not shown to pass it."""
  lines = {}
  for criterion in criteria.NAMES.values():
    parts = []
    for branch in NOT_PASSED:
      options = [
        option
        for option, judged in case.judged.items()
        if criterion in named(judged, branch)
      ]
      if options:
        parts.append(f'{branch} for {", ".join(options)}')
    if parts:
      lines[criterion] = '; '.join(parts)
  return lines


def scheduled(case: Case, option: str) -> str:
  """Return an option and the schedule as which it counts."""
  return f'{option} ({case.schedules[option]})'


def regimes(cases: Sequence[Case]) -> str:
  """Return how the regimes compare, in a sentence."""
  names = list(dict.fromkeys(case.group[0] for case in cases))
  if len(names) < 2:
    return f'One regime was run: {names[0] if names else "none"}.'
  verdicts: dict[tuple[str, ...], list[str]] = {}
  for case in cases:
    text = _verdict(case) if case.regression else recommended(case)
    verdicts.setdefault(case.group[1:], []).append(text)
  differ = [
    study_figures.label(('', *group)) or 'the choice'  # type: ignore[arg-type]
    for group, texts in verdicts.items()
    if len(set(texts)) > 1 or len(texts) < len(names)
  ]
  several = ' and '.join(names)
  if not differ:
    return f'{several} give the same verdict throughout.'
  return f'{several} differ in their verdict on {"; ".join(differ)}.'


def admitted(evidence: Evidence, regime: str) -> str:
  """Return how many seeds of a regime count."""
  rows = evidence.cells[evidence.cells['regime'] == regime]
  count = rows.loc[rows['admitted'], 'seed'].nunique()
  return f'{count} of {rows["seed"].nunique()} ({regime})'


def diverged(evidence: Evidence) -> list[str]:
  """Return the runs whose training diverged, with the seeds."""
  lost = []
  for cell in evidence.study.cells:
    run = evidence.runs.get(cell.digest)
    if run and run['diverged'] and cell.schedule != 'zero-shot':
      lost.append(f'run {cell.digest}, seed {", ".join(run["diverged"])}')
  return lost


def bias_is_inert(evidence: Evidence, case: Case) -> bool:
  """Return whether every answer is the same with the bias and without it."""
  with_bias, without = (
    evidence.cells.loc[
      evidence.cells['digest'] == case.digests.get(option), 'token'
    ]
    for option in (plan.DEPLOYED, plan.SCALED)
  )
  return bool(len(with_bias)) and np.array_equal(with_bias, without)


def collapses(evidence: Evidence, case: Case) -> list[tuple[str, pd.Series]]:
  """Return each option whose attention collapsed, and where in which seed."""
  pairs = []
  for option, judged in case.judged.items():
    if judged.stable.numbers.get('collapsed'):
      rows = criteria.collapses(evidence, case.digests[option])
      pairs += [(option, row) for _, row in rows[rows['collapsed']].iterrows()]
  return pairs


def points(gap: contrasts.Difference) -> str:
  """Return a difference of shares in points of a percent.

  >>> points(contrasts.Difference(0.1234, 0.1, 0.15, 5, 1))
  '+12.3 points [+10.0, +15.0]'
  >>> points(contrasts.Difference(-0.02, float('nan'), float('nan'), 1, 1))
  '-2.0 points (1 seed, no interval)'
  """
  if not gap.n:
    return 'no number (0 seeds)'
  text = format_lib.bracketed(*gap[:3], format_lib.points, ' points')
  if '[' in text:
    return text
  return f'{text} ({gap.n} seed{"s" * (gap.n > 1)}, no interval)'


def lost(judged: criteria.Judged) -> str:
  """Return the change of accuracy at short range."""
  return points(contrasts.Difference(**judged.numbers))  # type: ignore[arg-type]


def order_errors(case: Case) -> str:
  """Return what the leading option does to order errors."""
  fall = case.order[case.lead.option]
  rise = fall._replace(mean=-fall.mean, low=-fall.high, high=-fall.low)
  return points(rise)


def preferred(study: plan.Study, case: Case) -> str:
  """Return what a tie is broken to."""
  return format_lib.listed(
    [study.shown(option) for option in case.preferred], 'or'
  )


def leads(
  study: plan.Study, advantages: Mapping[str, contrasts.Difference]
) -> str:
  """Return the advantages over other options."""
  return '; '.join(
    f'{study.shown(option)} by {points(gap)}'
    for option, gap in advantages.items()
  )
