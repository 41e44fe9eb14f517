"""The answer of a memo in sentences, each chosen by a branch of the verdict."""

import collections
from collections.abc import Callable, Iterable, Iterator, Sequence

from posexp.claims import intervals
from posexp.plots.study_figures import label
from posexp.reports import words
from posexp.studies import compare, criteria, plan, rules
from posexp.studies import evidence as evidence_lib
from posexp.studies.verdict import Case

ACTIONS = {
  plan.SCALED: 'remove the bias and keep base scaling',
  plan.BIASED: 'revert the base and keep the bias',
  'interpolation': 'keep the bias and scale RoPE by interpolation',
  'by parts': 'keep the bias and scale RoPE by parts',
  'YaRN': 'keep the bias and scale RoPE by YaRN',
}
KINDS = {
  rules.ORDER: 'it is one of order',
  rules.RETRIEVAL: 'it is one of retrieval',
  rules.BOTH_KINDS: 'whether it is of order or of retrieval cannot be told',
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


def name(case: Case) -> str:
  """What a case is called: its regime, variant and schedule."""
  return ', '.join(filter(None, (case.group[0], label(case.group))))


def across(cases: Sequence[Case], said: Callable[[Case], str]) -> str:
  """What is said of each case, once for all of which the same is said."""
  groups: dict[str, list[str]] = {}
  for case in cases:
    groups.setdefault(said(case), []).append(name(case))
  if len(groups) > 1:
    parts = (f'{what} ({" / ".join(who)})' for what, who in groups.items())
    return '; '.join(parts)
  (only,) = groups
  return f'{only}, in all {len(cases)} cases' if len(cases) > 1 else only


def answer(found: evidence_lib.Evidence, cases: Sequence[Case]) -> str:
  """The answer in one paragraph."""
  if not cases:
    return 'None: the study has no case to judge.'
  if found.study.kind == 'choice':
    chosen = across(cases, recommended)
    return f'Recommendation: {chosen}.{_numbers(found, cases)}'
  fix, regression, cause = (
    across(cases, said) for said in (first_fix, regression_is, cause_is)
  )
  if fix == regression == cause:
    return f'{fix[0].upper()}{fix[1:]}.'
  if differ(cases):
    return _counted(found, cases)
  return (
    f'First fix: {fix}.{_numbers(found, cases)} The regression: {regression}.'
    f'{by_task(cases)} What did it: {cause}.'
  )


def differ(cases: Sequence[Case]) -> bool:
  """Whether the cases of a regression have several answers."""
  said = {(first_fix(c), regression_is(c), cause_is(c)) for c in cases}
  return len(said) > 1


def by_case(
  found: evidence_lib.Evidence, cases: Sequence[Case]
) -> Iterator[str]:
  """The answer of each case of a regression, where they differ."""
  if found.study.kind == 'choice' or not differ(cases):
    return
  for case in cases:
    if case.branch not in OPEN:
      yield (
        f'{name(case)}. First fix: {first_fix(case)}.'
        f'{_numbers(found, [case])} The regression: {regression_is(case)}.'
        f'{by_task([case])} What did it: {cause_is(case)}.'
      )
  waiting = [name(case) for case in cases if case.branch in OPEN]
  if waiting:
    yield f'Open: {"; ".join(waiting)}.'


def _counted(found: evidence_lib.Evidence, cases: Sequence[Case]) -> str:
  """What is said in how many cases, where they differ."""
  judged = [case for case in cases if case.branch not in OPEN]
  gained = [
    found.study.shown(case.lead.option)
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
    f'judged. First fix: {fix}. The regression: '
    f'{_times(map(regression_is, judged))}.{by_task(judged)} What did it: '
    f'{_times(map(cause_is, judged))}.'
  )


def _times(said: Iterable[str]) -> str:
  """What was said, and how often.

  >>> _times(['both', 'the bias', 'both'])
  'both in 2; the bias in 1'
  """
  counts = collections.Counter(said)
  return '; '.join(f'{what} in {n}' for what, n in counts.most_common())


def _numbers(found: evidence_lib.Evidence, cases: Sequence[Case]) -> str:
  """The gains of what is put first, as a sentence after another."""
  base = 'the root as it is'
  if found.study.kind == 'regression':
    base = 'the deployed model'
  where = f'in accuracy over {base} at {found.study.target:,} tokens'
  claimed = [case for case in cases if case.branch == compare.FIRST]
  if len(claimed) > 1:
    gains = [case.lead.gains[case.lead.option].mean for case in claimed]
    return (
      f' Where that is claimed, the gain {where} is '
      f'{words.signed(min(gains))} to {words.signed(max(gains))} points.'
    )
  if len(cases) > 1:
    return ''
  (case,) = cases
  parts = [
    f'{found.study.shown(option)} {words.points(case.lead.gains[option])}'
    for option in (case.preferred or (case.lead.option,))
    if case.branch in (compare.FIRST, compare.TIE)
  ]
  if claimed:
    parts += [
      f'{words.points(gap)} against {found.study.shown(option)}'
      for option, gap in case.alternatives.items()
    ]
  return f' Gain {where}: {"; ".join(parts)}.' if parts else ''


def first_fix(case: Case) -> str:
  """What to do first."""
  rest = [option for option in case.lead.tied if option != case.lead.option]
  match case.branch:
    case compare.FIRST:
      return ACTIONS[case.lead.option]
    case compare.TIE:
      preferred = ', or '.join(ACTIONS[option] for option in case.preferred)
      why = f'{_leader(case)} cannot be told apart from {words.either(rest)}'
      if not rest:
        why = 'the largest mean gain cannot be claimed'
      return f'{preferred}, a preference and not a finding, as {why}'
    case compare.NOTHING:
      return 'no difference can be claimed between the options'
    case compare.LOSS:
      return 'none, as no option gains and some lose by what can be claimed'
  return OPEN[case.branch]


def _leader(case: Case) -> str:
  """The option with the largest mean, in a tie."""
  return f'{case.lead.option}, which has the largest mean,'


def regression_is(case: Case) -> str:
  """Whether there is a regression, and of what kind."""
  found = case.regression
  assert found is not None
  match found.branch:
    case rules.REGRESSION:
      errors = found.errors[0]
      both = errors.order.above and errors.retrieval.above
      return KINDS[errors.branch].replace(
        'one', 'mainly one' if both else 'one'
      )
    case rules.NO_REGRESSION:
      return 'none can be claimed'
  return OPEN[found.branch]


def by_task(cases: Sequence[Case]) -> str:
  """Of what kind it is task by task, where that can be claimed; a sentence.

  A mean over tasks is of the kind that most of them are: those that ask for
  order are named.
  """
  claimed: dict[str, list[str]] = {rules.ORDER: [], rules.RETRIEVAL: []}
  for case in cases:
    assert case.regression is not None
    for errors in case.regression.errors[1:]:
      if errors.branch in claimed:
        claimed[errors.branch].append(errors.task)
  parts = [
    f'of {kind} in ' + words.both(_told(tasks) if len(cases) > 1 else tasks)
    for kind, tasks in claimed.items()
    if tasks
  ]
  return f' Task by task: {", and ".join(parts)}.' if parts else ''


def _told(tasks: Sequence[str]) -> list[str]:
  counts = collections.Counter(tasks)
  return [f'{task} ({n})' for task, n in counts.most_common()]


def cause_is(case: Case) -> str:
  """Which of the two changes did it."""
  assert case.attribution is not None
  branch = case.attribution.branch
  return CAUSES[branch] if branch in CAUSES else OPEN[branch]


def recommended(case: Case) -> str:
  """What to choose."""
  match case.branch:
    case compare.FIRST:
      which = 'the only candidate that passes all criteria'
      if len(case.lead.gains) > 1:
        which = 'the best of those that pass all criteria'
      return f'{scheduled(case, case.lead.option)}, {which}'
    case compare.TIE:
      (one,) = case.preferred
      rest = [option for option in case.lead.tied if option != case.lead.option]
      why = f'{_leader(case)} cannot be told apart from {words.either(rest)}'
      if not rest:
        why = 'its gain over the root as it is cannot be claimed'
      return f'{scheduled(case, one)}, a preference and not a finding, as {why}'
    case compare.NOTHING:
      return (
        'none, as no difference can be claimed between those that pass '
        'and the root as it is'
      )
    case compare.LOSS:
      return (
        'none, as no candidate that passes gains over the root as it is by '
        'what can be claimed, and some lose'
      )
    case rules.NO_CANDIDATE:
      return _go_on(case)
  return OPEN[case.branch]


def _go_on(case: Case) -> str:
  """Which one to go on with where none passes all, and what it does not."""
  none = 'none, as no candidate passes all criteria'
  if not case.preferred:
    over = 'over the root as it is'
    if plan.UNCHANGED in case.judged:
      over = 'more than adaptation does by itself'
    return f'{none}, and none gains {over}, by what is claimed'
  (one,) = case.preferred
  judged = case.judged[one]
  said = {
    branch: [
      criteria.NAMES[field]
      for field, own in zip(judged._fields, judged.branches)
      if own == branch
    ]
    for branch in (criteria.FAIL, criteria.UNDECIDED, criteria.NOT_MEASURED)
  }
  parts = '; '.join(
    f'{", ".join(what)}: {how}' for how, what in said.items() if what
  )
  if not said[criteria.FAIL]:
    return (
      f'{scheduled(case, one)}, on condition: no candidate is shown to pass '
      f'all criteria, and it passes all but {parts}'
    )
  return (
    f'{none}; the one to go on with is {scheduled(case, one)}, which passes '
    f'all but {parts}'
  )


def scheduled(case: Case, option: str) -> str:
  """An option and the schedule as which it counts."""
  return f'{option} ({case.schedules[option]})'


def regimes(cases: Sequence[Case]) -> str:
  """How the regimes compare, in a sentence."""
  names = list(dict.fromkeys(case.group[0] for case in cases))
  if len(names) < 2:
    return f'One regime was run: {names[0] if names else "none"}.'
  said: dict[tuple[str, ...], dict[str, str]] = {}
  for case in cases:
    verdict = (
      recommended(case)
      if case.regression is None
      else '; '.join((first_fix(case), regression_is(case), cause_is(case)))
    )
    said.setdefault(case.group[1:], {})[case.group[0]] = verdict
  differ = [
    label(('', *group)) or 'the choice'  # type: ignore[arg-type]
    for group, by_regime in said.items()
    if len(set(by_regime.values())) > 1 or len(by_regime) < len(names)
  ]
  several = ' and '.join(names)
  if not differ:
    return f'{several} give the same verdict throughout.'
  return f'{several} differ in their verdict on {"; ".join(differ)}.'


def standing(found: evidence_lib.Evidence) -> str:
  """How much of the study has finished, and which seeds count."""
  study, table = found.study, found.cells
  done, all_ = len(study.cells) - len(found.missing), len(study.cells)
  said = f'All {all_} cells have finished.'
  if found.missing:
    said = f'{done} of {all_} cells have finished: the memo is provisional.'
  counts = []
  for regime in study.regimes:
    rows = table[table['regime'] == regime]
    good = rows.loc[rows['admitted'], 'seed'].nunique()
    counts.append(f'{good} of {rows["seed"].nunique()} ({regime})')
  lost = [
    f'run {cell.digest}, seed {", ".join(found.runs[cell.digest]["diverged"])}'
    for cell in study.cells
    if cell not in found.missing
    and cell.schedule != 'zero-shot'
    and found.runs[cell.digest]['diverged']
  ]
  diverged = f' Training diverged in: {"; ".join(lost)}.' if lost else ''
  return (
    f'{said} Seeds admitted, with which the root reaches '
    f'{intervals.percent(study.gate)} in every task at '
    f'{study.trained_length:,} tokens: {", ".join(counts)}.{diverged}'
  )
