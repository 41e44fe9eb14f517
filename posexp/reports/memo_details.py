"""The numbers behind an answer, in sentences."""

import numpy as np

from posexp.reports import memo_text
from posexp.reports.words import either, negative, points
from posexp.studies import compare, criteria, plan, rules
from posexp.studies import evidence as evidence_lib
from posexp.studies.verdict import Case


def details(found: evidence_lib.Evidence, case: Case) -> list[str]:
  """The numbers behind the verdict of a case, a sentence or two a line."""
  if found.study.kind == 'choice':
    return [*_choice(found, case), *_failures(case), *_collapses(found, case)]
  return [
    *_inert(found, case),
    *_regression(found.study, case),
    *_attribution(found.study, case),
    *_fix(found.study, case),
    *_short(found.study, case),
    *_collapses(found, case),
  ]


def _inert(found: evidence_lib.Evidence, case: Case) -> list[str]:
  """That a bias does nothing, where the models with and without are equal."""
  pair = [
    found.cells[found.cells['digest'] == case.digests.get(option)]
    for option in (plan.DEPLOYED, plan.SCALED)
  ]
  both, scaled = (rows['token'].to_numpy() for rows in pair)
  if not len(both) or not np.array_equal(both, scaled):
    return []
  return [
    'Here the bias does nothing: with it and without it every answer is the '
    'same. A bias that is learned starts at 0 when it is added to a trained '
    'model, and only an adaptation changes that; the runs without it stand for '
    'those with it.'
  ]


def _regression(study: plan.Study, case: Case) -> list[str]:
  said = case.regression
  assert said is not None
  if said.change is None or not said.errors:
    return [
      f'Whether there is a regression is {memo_text.regression_is(case)}.'
    ]
  told = 'A regression can be claimed'
  if said.branch == rules.NO_REGRESSION:
    told = 'No regression can be claimed'
  lines = [
    f'{told}: from the root at {study.trained_length:,} tokens to the deployed '
    f'model at {study.target:,}, accuracy changes by {points(said.change)}.'
  ]
  for errors in said.errors:
    lines.append(
      f'Change of errors, {errors.task}: order {points(errors.order)}, '
      f'retrieval {points(errors.retrieval)}, order less retrieval '
      f'{points(errors.excess)}. Kind: {errors.branch}.'
    )
  return lines


def _attribution(study: plan.Study, case: Case) -> list[str]:
  said = case.attribution
  assert said is not None
  if said.bias is None or said.base is None:
    return [f'What did it is {memo_text.cause_is(case)}.']
  assert said.order_bias is not None and said.order_base is not None
  where = f'at {study.target:,} tokens'
  lines = [
    f'What did it: {memo_text.cause_is(case)}.',
    f'Adding the bias to base scaling changes accuracy {where} by '
    f'{points(said.bias)}, order errors by {points(said.order_bias)}.',
    f'Scaling the base under the bias changes accuracy {where} by '
    f'{points(said.base)}, order errors by {points(said.order_base)}.',
  ]
  if said.interaction is None:
    return [
      *lines,
      'Their interaction is not measured: it takes the root under the same '
      'schedule.',
    ]
  return [*lines, f'Their interaction is {points(said.interaction)}.']


def _fix(study: plan.Study, case: Case) -> list[str]:
  lead = case.lead
  if not lead.option:
    return [f'The first fix is {memo_text.first_fix(case)}.']
  lines = [
    f'The largest mean gain at {study.target:,} tokens is that of '
    f'{study.shown(lead.option)}: {points(lead.gains[lead.option])} over the '
    f'deployed model, order errors {_errors(case)}.'
  ]
  others = _over(study, lead.over)
  match case.branch:
    case compare.FIRST:
      lines.append(f'It leads every other option: {others}.')
    case compare.TIE:
      if others:
        lines.append(f'It does not lead every other option: {others}.')
      able = either([study.shown(option) for option in case.preferred])
      lines.append(f'The criteria prefer {able}. This is not a finding.')
    case compare.NOTHING | compare.LOSS:
      lines.append('No gain can be claimed, of this option or of another.')
  return lines


def _errors(case: Case) -> str:
  """What the leader does to order errors."""
  return points(negative(case.order[case.lead.option]))


def _short(study: plan.Study, case: Case) -> list[str]:
  """Who fails short range, the deployed model before all."""
  lines = []
  for option, judged in case.judged.items():
    if judged.short.branch == criteria.FAIL:
      lost = compare.Difference(**judged.short.numbers)  # type: ignore[arg-type]
      itself = 'The deployed model itself' if option == plan.DEPLOYED else ''
      lines.append(
        f'{itself or study.shown(option)} fails short range: {points(lost)} '
        f'against the root at {study.trained_length:,} tokens.'
      )
  return lines


def _choice(found: evidence_lib.Evidence, case: Case) -> list[str]:
  lead, study = case.lead, found.study
  if not lead.option:
    return [f'The choice is {memo_text.recommended(case)}.']
  who = 'Of the candidates that pass all criteria'
  if case.branch == rules.NO_CANDIDATE:
    who = 'No candidate passes all criteria. Of all'
  lines = [
    f'{who}, the largest mean accuracy at {study.target:,} tokens is that of '
    f'{memo_text.scheduled(case, lead.option)}: '
    f'{points(lead.gains[lead.option])} over the root as it is, order errors '
    f'{_errors(case)}.'
  ]
  if lead.over and case.branch != rules.NO_CANDIDATE:
    lines.append(f'Against the others that pass: {_over(study, lead.over)}.')
  for option, gap in case.alternatives.items():
    judged = case.judged[option]
    fails = [
      criteria.NAMES[field]
      for field, branch in zip(judged._fields, judged.branches)
      if branch == criteria.FAIL
    ]
    why = (
      f'It fails: {", ".join(fails)}.' if fails else 'It fails no criterion.'
    )
    named = case.branch == rules.NO_CANDIDATE and bool(case.preferred)
    who = f'{case.preferred[0]} against' if named else 'Against'
    lines.append(
      f'{who} the alternative {memo_text.scheduled(case, option)}: '
      f'{points(gap)}. {why}'
    )
  return lines


def _failures(case: Case) -> list[str]:
  """Of each criterion, who fails it and of whom it is not decided."""
  lines = []
  for n, criterion in enumerate(criteria.NAMES.values()):
    said = {o: judged.branches[n] for o, judged in case.judged.items()}
    parts = []
    for branch in (criteria.FAIL, criteria.UNDECIDED, criteria.NOT_MEASURED):
      who = [option for option, own in said.items() if own == branch]
      if who:
        parts.append(f'{branch} for {", ".join(who)}')
    if parts:
      lines.append(f'Criterion "{criterion}": {"; ".join(parts)}.')
  return lines


def _collapses(found: evidence_lib.Evidence, case: Case) -> list[str]:
  """Whose attention collapsed, where and how, in admitted seeds."""
  study, lines = found.study, []
  for option, judged in case.judged.items():
    if not judged.stable.numbers.get('collapsed'):
      continue
    rows = criteria.collapses(found, case.digests[option])
    for _, row in rows[rows['collapsed']].iterrows():
      lines.append(
        f'{study.shown(option)} collapsed in seed {row["seed"]} at '
        f'{row["length"]:,} tokens: {row["why"]}.'
      )
  return lines


def _over(study: plan.Study, gaps: dict[str, compare.Difference]) -> str:
  return '; '.join(
    f'{study.shown(option)} by {points(gap)}' for option, gap in gaps.items()
  )
