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
  judge = _regression if evidence.study.kind == 'regression' else _choice
  return [judge(evidence, group) for group in evidence.study.groups()]


def _regression(evidence: evidence_lib.Evidence, group: Group) -> Case:
  """Judge a regression: whether, of what kind, from what, and what to do."""
  study, cells = evidence.study, members(evidence, group)
  rows = {name: criteria.rows(evidence, cell) for name, cell in cells.items()}
  token = _at_target(rows, study)
  fixes = [name for name in plan.FIXES if name in cells]
  # Without the root no seed is known to count.
  base = token.get(plan.DEPLOYED) if plan.ROOT in token else None
  lead = compare.lead({name: token[name] for name in fixes}, base)
  judged = _judged(evidence, cells)
  return Case(
    group=group,
    branch=lead.branch,
    lead=lead,
    judged=judged,
    preferred=rules.prefer(lead, judged, study.kind),
    order=_order(rows, plan.DEPLOYED, fixes, study),
    schedules={name: cell.schedule for name, cell in cells.items()},
    digests={name: cell.digest for name, cell in cells.items()},
    gains=lead.gains,
    alternatives={name: lead.over[name] for name in _best(lead.over, token, 2)},
    regression=rules.regression(
      rows.get(plan.ROOT), rows.get(plan.DEPLOYED), study
    ),
    attribution=rules.attribution(square(evidence, group), study.target),
  )


def _choice(evidence: evidence_lib.Evidence, group: Group) -> Case:
  """Judge a choice: the leader of those that pass, two best alternatives."""
  study, cells = evidence.study, members(evidence, group)
  rows = {name: criteria.rows(evidence, cell) for name, cell in cells.items()}
  token, judged = _at_target(rows, study), _judged(evidence, cells)
  base = token.get(plan.ROOT)
  names = [name for name in cells if name != plan.ROOT]
  every = compare.lead({name: token[name] for name in names}, base)
  passing = [name for name, verdict in judged.items() if verdict.passes]
  lead = compare.lead({name: token[name] for name in passing}, base, len(names))
  branch = lead.branch
  if every.branch in (compare.MISSING, compare.NOT_ADMITTED):
    lead, branch = every, every.branch
  elif not passing:
    # What leads is shown, and not recommended.
    lead, branch = every, rules.NO_CANDIDATE
  preferred: tuple[str, ...] = ()
  if branch == compare.TIE:
    preferred = rules.prefer(lead, judged, study.kind)
  elif branch == rules.NO_CANDIDATE:
    preferred = rules.nearest(token, judged)
  chosen = lead.option
  if branch == rules.NO_CANDIDATE and preferred:
    chosen = preferred[0]
  others = {
    name: contrasts.difference(token[chosen], token[name], len(names) - 1)
    for name in names
    if chosen and name != chosen
  }
  return Case(
    group=group,
    branch=branch,
    lead=lead,
    judged=judged,
    preferred=_best(preferred, token, 1),
    order=_order(rows, plan.ROOT, names, study),
    schedules={name: cell.schedule for name, cell in cells.items()},
    digests={name: cell.digest for name, cell in cells.items()},
    gains=every.gains,
    alternatives={name: others[name] for name in _best(others, token, 2)},
  )


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
    for cell in evidence.study.cells:
      place = cell.regime, cell.option, cell.schedule
      if (
        place == (regime, plan.ROOT, schedule) and cell not in evidence.missing
      ):
        cells[plan.ROOT] = cell
  names = (plan.ROOT, plan.SCALED, plan.BIASED, plan.DEPLOYED)
  return {n: criteria.rows(evidence, cells[n]) for n in names if n in cells}


def _at_target(
  rows: dict[str, pd.DataFrame], study: plan.Study
) -> dict[str, pd.Series]:
  return {
    name: compare.by_seed(table, 'token', study.target)
    for name, table in rows.items()
  }


def _judged(
  evidence: evidence_lib.Evidence, cells: dict[str, plan.Cell]
) -> dict[str, criteria.Criteria]:
  """Return the criteria of every option, if there is a root to compare with."""
  root = cells.get(plan.ROOT)
  if root is None:
    return {}
  options = [name for name in cells if name != plan.ROOT]
  return {name: criteria.judge(evidence, cells[name], root) for name in options}


def _order(
  rows: dict[str, pd.DataFrame],
  base: str,
  options: list[str],
  study: plan.Study,
) -> dict[str, contrasts.Difference]:
  """Return by how much each option lowers order errors at the target."""
  if base not in rows:
    return {}
  errors = {
    name: compare.by_seed(rows[name], 'order', study.target)
    for name in (base, *options)
  }
  return {
    name: contrasts.difference(errors[base], errors[name], len(options))
    for name in options
  }


def _best(
  names: Iterable[str], token: dict[str, pd.Series], most: int
) -> tuple[str, ...]:
  """Return the options with the largest means."""
  return tuple(sorted(names, key=lambda name: -token[name].mean())[:most])
