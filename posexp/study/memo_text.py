"""The sentences of a memo: each is chosen by a branch of the verdict."""

from collections.abc import Callable, Sequence

from posexp import statistics
from posexp.study import cells as evidence_lib
from posexp.study import compare, criteria, plan, rules, words
from posexp.study.memo_figures import label
from posexp.study.verdict import Case

ACTIONS = {
  plan.SCALED: 'remove the bias and keep base scaling',
  plan.BIASED: 'revert the base and keep the bias',
  'interpolation': 'keep the bias and scale RoPE by interpolation',
  'by parts': 'keep the bias and scale RoPE by parts',
  'YaRN': 'keep the bias and scale RoPE by YaRN',
}
KINDS = {
  rules.ORDER: 'one of order',
  rules.RETRIEVAL: 'one of retrieval',
  rules.BOTH_KINDS: 'of order and retrieval, which cannot be told apart',
  rules.NEITHER: 'of no kind that can be claimed',
}
CAUSES = {
  rules.BIAS: 'the bias did it',
  rules.BASE: 'the base scaling did it',
  rules.BOTH: 'the bias and the base scaling both did it',
  rules.UNCLEAR: 'no loss can be claimed for either change alone',
  compare.NOT_ADMITTED: 'the cause is open, as too few seeds are admitted',
  compare.MISSING: 'the cause is open, as runs are missing',
}


def name(case: Case) -> str:
  """What a case is called: its regime, variant and schedule."""
  return ', '.join(filter(None, (case.group[0], label(case.group))))


def across(cases: Sequence[Case], said: Callable[[Case], str]) -> str:
  """What is said of each case, once for all of which the same is said."""
  groups: dict[str, list[str]] = {}
  for case in cases:
    groups.setdefault(said(case), []).append(name(case))
  if len(groups) == 1:
    (only,) = groups
    many = f' in all {len(cases)} cases' if len(cases) > 1 else ''
    return f'{only}{many}'
  return '; '.join(
    f'{what} ({" / ".join(who)})' for what, who in groups.items()
  )


def answer(found: evidence_lib.Evidence, cases: Sequence[Case]) -> str:
  """The answer in one paragraph."""
  if not cases:
    return 'None: the study has no case to judge.'
  if found.study.kind == 'choice':
    chosen = across(cases, lambda case: recommended(case))
    return f'Recommendation: {chosen}.'
  fix = across(cases, first_fix)
  kind = across(cases, regression_is)
  cause = across(cases, cause_is)
  return f'First fix: {fix}. The regression: {kind}. Its cause: {cause}.'


def first_fix(case: Case) -> str:
  lead = case.lead
  match case.branch:
    case compare.FIRST:
      return ACTIONS[lead.option]
    case compare.TIE:
      several = words.either([ACTIONS[option] for option in lead.tied])
      tied = f'no single one can be claimed between: {several}'
      if len(lead.tied) == 1:
        tied = f'no gain can be claimed for the leader, {several}'
      several = words.either([ACTIONS[option] for option in case.preferred])
      return f'{tied}; the criteria prefer: {several}'
    case compare.NOTHING:
      return compare.NOTHING
  return open_because(case)


def open_because(case: Case) -> str:
  if case.branch == compare.NOT_ADMITTED:
    return 'open, as fewer than two seeds are admitted'
  return 'open, as the runs that it needs have not finished'


def regression_is(case: Case) -> str:
  found = case.regression
  assert found is not None
  match found.branch:
    case rules.REGRESSION:
      return f'it is {KINDS[found.errors[0].branch]}'
    case rules.NO_REGRESSION:
      return 'none can be claimed'
    case compare.NOT_ADMITTED:
      return 'open, as fewer than two seeds are admitted'
  return 'open, as the runs that it needs have not finished'


def cause_is(case: Case) -> str:
  assert case.attribution is not None
  return CAUSES[case.attribution.branch]


def recommended(case: Case) -> str:
  lead = case.lead
  match case.branch:
    case compare.FIRST:
      return scheduled(case, lead.option)
    case compare.TIE:
      (one,) = case.preferred
      others = [option for option in lead.tied if option != one]
      alone = f'no other is tied with {scheduled(case, one)}, whose gain over '
      alone += 'the root cannot be claimed'
      tied = f'{scheduled(case, one)}, as a preference and not a finding, for '
      tied += f'it cannot be told apart from {words.either(others)}'
      return tied if others else alone
    case compare.NOTHING:
      return 'none, as no candidate that passes gains on the root as it is'
    case rules.NO_CANDIDATE:
      return 'none, as no candidate passes all criteria'
  return open_because(case)


def scheduled(case: Case, option: str) -> str:
  return f'{option} ({case.schedules[option]})'


def details(found: evidence_lib.Evidence, case: Case) -> list[str]:
  """The numbers behind the answer, in sentences."""
  if found.study.kind == 'choice':
    return [*_choice(found, case), *_failures(case)]
  return [
    *_regression(found, case),
    *_attribution(case),
    *_fix(found, case),
    *_kept(case),
  ]


def _regression(found: evidence_lib.Evidence, case: Case) -> list[str]:
  said, study = case.regression, found.study
  assert said is not None
  if said.change is None or not said.errors:
    return [f'Whether there is a regression is {regression_is(case)}.']
  told = 'A regression' if said.branch == rules.REGRESSION else 'No regression'
  lines = [
    f'{told} can be claimed: from the root at {study.trained_length:,} tokens '
    f'to the deployed model at {study.target:,}, token accuracy changes by '
    f'{words.points(said.change)}.'
  ]
  for errors in said.errors:
    lines.append(
      f'Errors, {errors.task}: order {words.points(errors.order)}, retrieval '
      f'{words.points(errors.retrieval)}; order rises by {words.points(errors.excess)} '
      f'more than retrieval. Kind: {errors.branch}.'
    )
  return lines


def _attribution(case: Case) -> list[str]:
  said = case.attribution
  assert said is not None
  if said.bias is None or said.base is None:
    return [f'On the cause: {cause_is(case)}.']
  assert said.order_bias is not None and said.order_base is not None
  lines = [
    f'On the cause: {cause_is(case)}. Adding the bias to base scaling changes '
    f'accuracy at the target by {words.points(said.bias)} and order errors by '
    f'{words.points(said.order_bias)}; scaling the base under the bias, by '
    f'{words.points(said.base)} and {words.points(said.order_base)}.'
  ]
  if said.interaction is None:
    lines.append(
      'Their interaction is not measured: it takes the root under the same '
      'schedule.'
    )
  else:
    lines.append(f'Their interaction is {words.points(said.interaction)}.')
  return lines


def _fix(found: evidence_lib.Evidence, case: Case) -> list[str]:
  lead = case.lead
  if not lead.option:
    return [f'The first fix is {open_because(case)}.']
  gain = words.points(lead.gains[lead.option])
  lines = [
    f'The largest mean gain at {found.study.target:,} tokens is that of '
    f'{lead.option}: {gain} over the deployed model; order errors change by '
    f'{words.points(words.negative(case.order[lead.option]))}.'
  ]
  match case.branch:
    case compare.FIRST:
      lines.append(f'It beats each other option: {_over(lead.over)}.')
    case compare.TIE:
      if lead.over:
        lines.append(f'It cannot be told apart from all: {_over(lead.over)}.')
      preferred = words.either(case.preferred)
      lines.append(f'The criteria prefer {preferred}: no finding.')
    case compare.NOTHING:
      lines.append('No gain can be claimed, of this option or another.')
  return lines


def _kept(case: Case) -> list[str]:
  """What the deployed model and the options lose."""
  lines = []
  for option, judged in case.judged.items():
    if judged.short.branch == criteria.FAIL:
      lost = compare.Difference(**judged.short.numbers)  # type: ignore[arg-type]
      who = 'The deployed model itself' if option == plan.DEPLOYED else option
      lines.append(f'{who} fails at short range: {words.points(lost)}.')
  return lines


def _choice(found: evidence_lib.Evidence, case: Case) -> list[str]:
  lead = case.lead
  if not lead.option:
    return [f'The choice is {open_because(case)}.']
  who = 'Of the candidates that pass, the'
  if case.branch == rules.NO_CANDIDATE:
    who = 'No candidate passes; of all, the'
  lines = [
    f'{who} largest mean accuracy at {found.study.target:,} tokens is that of '
    f'{scheduled(case, lead.option)}: {words.points(lead.gains[lead.option])} over '
    'the root as it is; order errors change by '
    f'{words.points(words.negative(case.order[lead.option]))}.'
  ]
  if len(lead.over):
    lines.append(f'Its lead over others that are compared: {_over(lead.over)}.')
  for option, gap in case.alternatives.items():
    judged = case.judged[option]
    fails = [
      criteria.NAMES[n] for n, b in zip(judged._fields, judged.branches)
      if b == criteria.FAIL
    ]  # fmt: skip
    why = f'it fails: {", ".join(fails)}' if fails else 'it fails no criterion'
    lines.append(
      f'Alternative {scheduled(case, option)}: {lead.option} answers '
      f'{words.points(gap)} more than it at the target; {why}.'
    )
  return lines


def _failures(case: Case) -> list[str]:
  """Of each criterion, who fails it and of whom it is not decided."""
  lines = []
  for n, criterion in enumerate(criteria.NAMES.values()):
    said = {o: judged[n].branch for o, judged in case.judged.items()}
    parts = []
    for branch in (criteria.FAIL, criteria.UNDECIDED, criteria.NOT_MEASURED):
      who = [option for option, b in said.items() if b == branch]
      if who:
        parts.append(f'{branch}: {", ".join(who)}')
    if parts:
      lines.append(f'Criterion "{criterion}": {"; ".join(parts)}.')
  return lines


def regimes(cases: Sequence[Case]) -> str:
  """How the regimes compare, in a sentence."""
  names = list(dict.fromkeys(case.group[0] for case in cases))
  if len(names) < 2:
    return f'One regime was run: {names[0] if names else "none"}.'
  said: dict[tuple[str, ...], dict[str, str]] = {}
  for case in cases:
    verdict = recommended(case)
    if case.regression:
      parts = first_fix(case), regression_is(case), cause_is(case)
      verdict = '; '.join(parts)
    said.setdefault(case.group[1:], {})[case.group[0]] = verdict
  differ = [
    ', '.join(filter(None, group)) or 'the choice'
    for group, by_regime in said.items()
    if len(set(by_regime.values())) > 1 or len(by_regime) < len(names)
  ]
  several = ' and '.join(names)
  if not differ:
    return f'The regimes, {several}, give the same verdict throughout.'
  return f'The regimes, {several}, differ in: {"; ".join(differ)}.'


def standing(found: evidence_lib.Evidence) -> str:
  """How much of the study has finished, and which seeds count."""
  study, table = found.study, found.cells
  done, all_ = len(study.cells) - len(found.missing), len(study.cells)
  lines = [f'{done} of {all_} cells have finished.']
  if found.missing:
    lines[0] += ' The memo is provisional.'
  gate = statistics.percent(study.gate)
  for regime in study.regimes:
    rows = table[table['regime'] == regime]
    good = rows.loc[rows['admitted'], 'seed'].nunique()
    lines.append(
      f'{regime}: {good} of {words.seeds(rows["seed"].nunique())} admitted '
      f'(the root at {gate} or more in every task at {study.trained_length:,} tokens).'
    )
  return ' '.join(lines)


def _over(gaps: dict[str, compare.Difference]) -> str:
  return '; '.join(
    f'{option} by {words.points(gap)}' for option, gap in gaps.items()
  )
