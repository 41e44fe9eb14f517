"""The verdicts of a study: `posexp.studies.rules`, applied to its tables."""

import dataclasses
from collections.abc import Iterable

import pandas as pd

from posexp.claims import contrasts
from posexp.studies import compare, criteria, plan, rules
from posexp.studies import evidence as evidence_lib

Group = tuple[str, str, str]  # Regime, variant and schedule.


@dataclasses.dataclass(frozen=True)
class Case:
  """The verdict of one regime, variant and schedule.

  Attributes:
    group: regime, variant and schedule; the last two '' in a choice.
    lead: of the fixes, or of the candidates that pass.
    judged: the criteria of each option.
    preferred: what a tie is broken to, several if it cannot be; where no
      candidate passes, the one to go on with, if there is one.
    branch: of the fix or of the choice.
    order: by how much each option lowers order errors at the target.
    schedules: as what each option counts.
    digests: the run of each option.
    gains: in token accuracy at the target, of every option, over the deployed
      model or, in a choice, over the root.
    alternatives: the advantage over the two best others, whether or not they
      pass, of the leader, or of the one to go on with.
  """

  group: Group
  branch: str
  lead: compare.Lead
  judged: dict[str, criteria.Criteria]
  preferred: tuple[str, ...]
  order: dict[str, contrasts.Difference]
  schedules: dict[str, str]
  digests: dict[str, str]
  gains: dict[str, contrasts.Difference]
  alternatives: dict[str, contrasts.Difference]
  regression: rules.Regression | None = None
  attribution: rules.Attribution | None = None


def verdicts(evidence: evidence_lib.Evidence) -> list[Case]:
  """Return one case a group of the study, in the order of `Study.groups`."""
  return [_case(evidence, group) for group in evidence.study.groups()]


def _case(evidence: evidence_lib.Evidence, group: Group) -> Case:
  """Judge the fixes of a regression, or the candidates of a choice."""
  study, cells = evidence.study, members(evidence, group)
  is_choice = study.kind == 'choice'
  rows = {name: criteria.rows(evidence, cell) for name, cell in cells.items()}
  token, order = (
    {
      name: compare.by_seed(table, column, study.target)
      for name, table in rows.items()
    }
    for column in ('token', 'order')
  )
  base = plan.ROOT if is_choice else plan.DEPLOYED
  known = cells if is_choice else plan.FIXES
  options = [name for name in known if name in cells and name != base]
  # Without the root no seed is known to count.
  base_token = token.get(base) if plan.ROOT in cells else None
  every = compare.lead({name: token[name] for name in options}, base_token)
  judged = _judged(evidence, cells)
  lead, branch = every, every.branch
  preferred = rules.prefer(lead, judged, study.kind)
  if is_choice and branch not in (compare.MISSING, compare.NOT_ADMITTED):
    lead, branch, preferred = _choose(every, token, base_token, judged)
  chosen = lead.option
  if branch == rules.NO_CANDIDATE and preferred:
    chosen = preferred[0]
  others = [name for name in options if chosen and name != chosen]
  case = Case(
    group=group,
    branch=branch,
    lead=lead,
    judged=judged,
    preferred=preferred,
    order={
      name: contrasts.difference(order[base], order[name], len(options))
      for name in options
      if base in order
    },
    schedules={name: cell.schedule for name, cell in cells.items()},
    digests={name: cell.digest for name, cell in cells.items()},
    gains=every.gains,
    alternatives={
      name: contrasts.difference(token[chosen], token[name], len(options) - 1)
      for name in _best(others, token)[:2]
    },
  )
  if is_choice:
    return case
  return dataclasses.replace(
    case,
    regression=rules.regression(
      rows.get(plan.ROOT), rows.get(plan.DEPLOYED), study
    ),
    attribution=rules.attribution(square(evidence, group), study.target),
  )


def _choose(
  every: compare.Lead,
  token: dict[str, pd.Series],
  base: pd.Series | None,
  judged: dict[str, criteria.Criteria],
) -> tuple[compare.Lead, str, tuple[str, ...]]:
  """Return who leads of those that pass, the branch and what is preferred.

  Where none passes, what leads of all is shown, and not recommended.
  """
  lead, branch = every, rules.NO_CANDIDATE
  preferred = rules.nearest(token, judged)
  passing = {n: token[n] for n in every.gains if judged[n].passes}
  if passing:
    lead = compare.lead(passing, base, len(every.gains))
    branch, preferred = lead.branch, rules.prefer(lead, judged, 'choice')
  return lead, branch, _best(preferred, token)[:1]


def _judged(
  evidence: evidence_lib.Evidence, cells: dict[str, plan.Cell]
) -> dict[str, criteria.Criteria]:
  """Return the criteria of every option, if there is a root to compare with."""
  root = cells.get(plan.ROOT)
  if root is None:
    return {}
  options = [name for name in cells if name != plan.ROOT]
  return {name: criteria.judge(evidence, cells[name], root) for name in options}


def _best(names: Iterable[str], token: dict[str, pd.Series]) -> tuple[str, ...]:
  """Return options with the largest means first."""
  return tuple(sorted(names, key=lambda name: -token[name].mean()))


def members(
  evidence: evidence_lib.Evidence, group: Group
) -> dict[str, plan.Cell]:
  """Return the finished cells of a group by option; 'root' is the trained."""
  regime, variant, schedule = group
  cells: dict[str, plan.Cell] = {}
  for cell in evidence.study.cells:
    if cell.regime != regime or cell in evidence.missing:
      continue
    if cell.option == plan.ROOT:
      if cell.schedule == 'trained':
        cells[plan.ROOT] = cell
    elif evidence.study.kind == 'regression':
      of_option = '' if cell.option == plan.SCALED else variant
      if (cell.variant, cell.schedule) == (of_option, schedule):
        cells[cell.option] = cell
    elif cell.schedule == 'adapted' or cell.option not in cells:
      cells[cell.option] = cell
  return cells


def square(
  evidence: evidence_lib.Evidence, group: Group
) -> dict[str, pd.DataFrame]:
  """Return the rows of the 2 x 2; if adapted, with a root adapted likewise."""
  regime, _, schedule = group
  cells = members(evidence, group)
  if schedule == 'adapted':
    cells.pop(plan.ROOT, None)
    place = regime, '', plan.ROOT, schedule
    for cell in evidence.study.cells:
      if cell.place == place and cell not in evidence.missing:
        cells[plan.ROOT] = cell
  names = (plan.ROOT, plan.SCALED, plan.BIASED, plan.DEPLOYED)
  return {n: criteria.rows(evidence, cells[n]) for n in names if n in cells}
