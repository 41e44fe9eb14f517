"""The verdicts of a study: `posexp.studies.rules`, applied to its tables."""

import dataclasses
from collections.abc import Iterable, Mapping

import pandas as pd

from posexp.claims import contrasts
from posexp.studies import compare, criteria, families, plan, rules
from posexp.studies import evidence as evidence_lib

Group = plan.Group


@dataclasses.dataclass(frozen=True)
class Case:
  """The verdict of one regime, variant and schedule.

  Attributes:
    group: regime, variant and schedule; the last two '' in a choice.
    lead: of the fixes, or of the admissible candidates (of all, if every one
      fails).
    judged: the criteria of each option.
    preferred: what a tie is broken to, several if it cannot be; where every
      candidate fails, the one to go on with, if there is one.
    steps: of the rule that broke the tie, those that decided.
    branch: of the fix or of the choice.
    order: by how much each option lowers order errors at the target.
    schedules: as what each option counts.
    digests: the run of each option.
    gains: in token accuracy at the target, of every option, over the deployed
      model or, in a choice, over the root.
    every: the gains over all seeds.
    alternatives: the advantage over the two best others, whether or not they
      fail, of the leader, or of what is preferred in a choice.
  """

  group: Group
  branch: str
  lead: compare.Lead
  judged: dict[str, criteria.Criteria]
  preferred: tuple[str, ...]
  steps: tuple[str, ...]
  order: dict[str, contrasts.Difference]
  schedules: dict[str, str]
  digests: dict[str, str]
  gains: dict[str, contrasts.Difference]
  every: dict[str, contrasts.Difference]
  alternatives: dict[str, contrasts.Difference]
  regression: rules.Regression | None = None
  attribution: rules.Attribution | None = None

  @property
  def named(self) -> tuple[str, ...]:
    """Return what is put first, or preferred to what is tied with it."""
    return self.preferred or tuple(filter(None, (self.lead.option,)))

  @property
  def disagreeing(self) -> tuple[str, ...]:
    """Return options whose gain over all seeds says something else.

    Of what is not named, only where one is claimed and the other is not: signs
    of small differences say nothing.
    """
    return tuple(
      name
      for name, gain in self.gains.items()
      if contrasts.disagree(gain, self.every[name])
      and (name in self.named or gain.claimed or self.every[name].claimed)
    )


@dataclasses.dataclass(frozen=True)
class _Tables:
  """What a case has: its cells, rows and shares at the target."""

  cells: dict[str, plan.Cell]
  rows: dict[str, pd.DataFrame]
  square: dict[str, pd.DataFrame]
  options: tuple[str, ...]
  base: str
  length: int

  @classmethod
  def of(
    cls,
    evidence: evidence_lib.Evidence,
    group: Group,
    places: Mapping[tuple[str, ...], pd.DataFrame],
  ) -> '_Tables':
    """Return what a case has, given the rows of all places."""
    study = evidence.study
    cells = members(evidence, group)
    none = evidence.cells[:0]
    rows, square = (
      {name: places.get(cell.place, none) for name, cell in named.items()}
      for named in (cells, square_cells(evidence, group))
    )
    options = study.options(group, evidence.missing)
    return cls(cells, rows, square, options, study.base, study.target)

  def shares(
    self, column: str, every: bool = False
  ) -> dict[str, compare.Share]:
    """Return a share of each option at the target."""
    return {
      name: compare.share(rows, column, self.length, every=every)
      for name, rows in self.rows.items()
    }

  def gains(
    self, column: str = 'token', every: bool = False
  ) -> dict[str, contrasts.Paired]:
    """Return the gain of each option; none without the root or the base."""
    # Without the root no seed is known to count.
    if not {plan.ROOT, self.base} <= set(self.cells):
      return {}
    shares = self.shares(column, every)
    return {name: shares[name].over(shares[self.base]) for name in self.options}


def verdicts(evidence: evidence_lib.Evidence) -> list[Case]:
  """Return one case a group of the study, in the order of `Study.groups`."""
  study = evidence.study
  family = families.of(study)
  places = criteria.by_place(evidence)
  tables = {
    group: _Tables.of(evidence, group, places) for group in study.groups()
  }
  gains, every, errors = (
    family.gains.judge_cases({g: t.gains(*of) for g, t in tables.items()})
    for of in (('token',), ('token', True), ('order',))
  )
  judged = _judged(evidence, tables, family.criteria)
  cases = []
  for group, table in tables.items():
    token = table.shares('token')
    options = compare.lead(
      {name: token[name] for name in table.options}, gains[group], family.gains
    )
    case = Case(
      group=group,
      branch=options.branch,
      lead=options,
      judged=judged[group],
      preferred=(),
      steps=(),
      order={name: rise.reversed for name, rise in errors[group].items()},
      schedules={n: cell.schedule for n, cell in table.cells.items()},
      digests={n: cell.digest for n, cell in table.cells.items()},
      gains=gains[group],
      every=every[group],
      alternatives={},
    )
    cases.append(_decide(case, table.options, token, study.kind, family))
  if study.kind == 'regression':
    return _with_causes(study, cases, tables, family)
  return cases


def _judged(
  evidence: evidence_lib.Evidence,
  tables: Mapping[Group, _Tables],
  family: families.Family,
) -> dict[Group, dict[str, criteria.Criteria]]:
  """Return the criteria of every option, if there is a root to compare with.

  A cell that stands in several cases, as base scaling alone does, is judged
  once.
  """
  cells: dict[tuple[str, ...], tuple[plan.Cell, pd.DataFrame]] = {}
  pairs: dict[tuple[tuple[str, ...], str], contrasts.Paired] = {}
  for table in tables.values():
    if plan.ROOT not in table.cells:
      continue
    for name, cell in table.cells.items():
      if name == plan.ROOT or cell.place in cells:
        continue
      cells[cell.place] = cell, table.rows[name]
      compared = criteria.comparisons(
        evidence.study, table.rows[name], table.rows[plan.ROOT]
      )
      pairs |= {(cell.place, key): pair for key, pair in compared.items()}
  differences = family.judge(pairs)
  judged = {
    place: criteria.judge(
      evidence,
      *of_cell,
      {key: differences[place, key] for key in criteria.COMPARED},
      family,
    )
    for place, of_cell in cells.items()
  }
  return {
    group: {
      name: judged[cell.place]
      for name, cell in table.cells.items()
      if cell.place in judged
    }
    for group, table in tables.items()
  }


def _decide(
  case: Case,
  options: tuple[str, ...],
  token: Mapping[str, compare.Share],
  kind: str,
  family: families.Families,
) -> Case:
  """Break a tie; in a choice, choose among the admissible candidates."""
  lead, branch, is_choice = case.lead, case.branch, kind == 'choice'
  preference = rules.Preference()
  if is_choice and branch not in (compare.MISSING, compare.NOT_ADMITTED):
    admissible = [
      name for name in options if case.judged[name].status != criteria.FAIL
    ]
    if admissible:
      shares = {name: token[name] for name in options}
      lead = compare.lead(shares, case.gains, family.gains, admissible)
      branch = lead.branch
    else:
      nearest = rules.nearest(token, case.judged, family.gains)
      branch, preference = rules.NO_CANDIDATE, rules.Preference(nearest)
  if branch == compare.TIE:
    preference = rules.prefer(lead, case.judged, kind)
  chosen = lead.option
  if is_choice and preference.options:
    (chosen,) = preference.options[:1]
  others = [name for name in options if chosen and name != chosen]
  return dataclasses.replace(
    case,
    lead=lead,
    branch=branch,
    preferred=preference.options,
    steps=preference.steps,
    alternatives={
      name: family.gains.judge_alone(token[chosen].over(token[name]))
      for name in _best(others, token)[:2]
    },
  )


def _with_causes(
  study: plan.Study,
  cases: list[Case],
  tables: Mapping[Group, _Tables],
  family: families.Families,
) -> list[Case]:
  """Return the cases of a regression with what was lost, and why."""
  ends = {
    group: (table.rows.get(plan.ROOT), table.rows.get(plan.DEPLOYED))
    for group, table in tables.items()
  }
  errors, every = (
    family.errors.judge_cases(
      {g: rules.changes(*pair, study, every=of) for g, pair in ends.items()}
    )
    for of in (False, True)
  )
  by_task = family.by_task.judge_cases(
    {g: rules.changes(*pair, study, study.tasks) for g, pair in ends.items()}
  )
  token, order = (
    family.causes.judge_cases(
      {
        group: rules.effects(table.square, column, study.target)
        for group, table in tables.items()
      }
    )
    for column in ('token', 'order')
  )
  return [
    dataclasses.replace(
      case,
      regression=rules.regression(
        errors[case.group] | by_task[case.group], every[case.group]
      ),
      attribution=rules.attribution(token[case.group], order[case.group]),
    )
    for case in cases
  ]


def _best(
  names: Iterable[str], token: Mapping[str, compare.Share]
) -> tuple[str, ...]:
  """Return options with the largest means first."""
  return tuple(sorted(names, key=lambda name: -token[name].by_seed.mean()))


def members(
  evidence: evidence_lib.Evidence, group: Group
) -> dict[str, plan.Cell]:
  """Return the finished cells of a group by option; 'root' is the trained."""
  return evidence.study.members(group, evidence.missing)


def square(
  evidence: evidence_lib.Evidence, group: Group
) -> dict[str, pd.DataFrame]:
  """Return the rows of the 2 x 2, see `square_cells`."""
  cells = square_cells(evidence, group)
  return {name: criteria.rows(evidence, cell) for name, cell in cells.items()}


def square_cells(
  evidence: evidence_lib.Evidence, group: Group
) -> dict[str, plan.Cell]:
  """Return the 2 x 2 of a regression; if adapted, its root is adapted, too."""
  regime, _, schedule = group
  cells = members(evidence, group)
  if schedule == 'adapted':
    cells.pop(plan.ROOT, None)
    place = regime, '', plan.ROOT, schedule
    for cell in evidence.study.cells:
      if cell.place == place and cell not in evidence.missing:
        cells[plan.ROOT] = cell
  names = (plan.ROOT, plan.SCALED, plan.BIASED, plan.DEPLOYED)
  return {name: cells[name] for name in names if name in cells}
