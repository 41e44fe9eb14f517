"""Which comparisons of a study are judged together, and what that takes.

A family spans all cases of a study, so that a study with many cases does not
name something false more often than one with a single case. Its size follows
from the plan, and not from what has finished or was learned.
"""

import itertools
from collections.abc import Hashable, Mapping
from typing import NamedTuple, TypeVar

from posexp.claims import contrasts
from posexp.studies import plan

Key = TypeVar('Key', bound=Hashable)

# A regression names causes and fixes, and a choice excludes candidates and
# recommends one: the 5 % of a study are divided between the two.
ALPHA = contrasts.ALPHA / 2

# Comparisons of each case: accuracy, order and retrieval errors and their
# excess; the two effects, their difference and their interaction.
ERRORS, BY_TASK, CAUSES = 4, 3, 4
# Of each option: all and near answers at the trained length, what is left at
# the target, and how many seeds collapsed.
CRITERIA = 4


class Family(NamedTuple):
  """How many comparisons are judged together, and at which level.

  Attributes:
    m: comparisons.
    alpha: the most that the chance of any false claim among them may be.
  """

  m: int
  alpha: float

  @property
  def level(self) -> float:
    """Return the level of a single comparison."""
    return self.alpha / max(1, self.m)

  @property
  def seeds(self) -> int:
    """Return the fewest seeds with which it can claim anything."""
    return next(
      n for n in itertools.count(2) if contrasts.smallest_p(n) <= self.level
    )

  def judge(
    self, pairs: Mapping[Key, contrasts.Paired]
  ) -> dict[Key, contrasts.Difference]:
    """Judge what there is of the family, by Holm's method."""
    return contrasts.family(pairs, m=self.m, alpha=self.alpha)

  def judge_alone(self, pair: contrasts.Paired) -> contrasts.Difference:
    """Judge one difference at the level of the family's hardest step."""
    return contrasts.family({'': pair}, m=self.m, alpha=self.alpha)['']

  def judge_cases(
    self, cases: Mapping[plan.Group, Mapping[Key, contrasts.Paired]]
  ) -> dict[plan.Group, dict[Key, contrasts.Difference]]:
    """Judge the comparisons of several cases together."""
    pairs = {
      (group, key): pair
      for group, of_case in cases.items()
      for key, pair in of_case.items()
    }
    judged = self.judge(pairs)
    return {
      group: {key: judged[group, key] for key in of_case}
      for group, of_case in cases.items()
    }


class Families(NamedTuple):
  """The families of a study.

  Attributes:
    errors: whether there is a regression, and of which errors.
    by_task: the same by task.
    causes: which of two changes does harm, and which does more.
    gains: which options gain; and, of as many, which one leads.
    criteria: which options fail or pass a criterion.
  """

  errors: Family
  by_task: Family
  causes: Family
  gains: Family
  criteria: Family


# What nothing can be claimed of with too few seeds.
CLAIMS = {
  'errors': 'a regression or its kind',
  'by_task': 'its kind by task',
  'causes': 'a cause',
  'gains': 'a gain',
  'criteria': 'how much accuracy an option keeps',
}


def beyond(study: plan.Study, seeds: int) -> list[str]:
  """Return what so many seeds cannot claim, whatever they show.

  With the number from which on they can.
  """
  families = of(study)._asdict()
  return [
    f'{CLAIMS[name]} (from {family.seeds} on)'
    for name, family in families.items()
    if family.m and seeds < family.seeds
  ]


def of(study: plan.Study) -> Families:
  """Return the families of a study as it was planned."""
  groups = study.groups()
  regressions = len(groups) if study.kind == 'regression' else 0
  options = sum(len(study.options(group)) for group in groups)
  judged = {
    cell.place
    for group in groups
    for option, cell in study.members(group).items()
    if option != plan.ROOT
  }
  return Families(
    errors=Family(ERRORS * regressions, contrasts.ALPHA),
    by_task=Family(BY_TASK * len(study.tasks) * regressions, contrasts.ALPHA),
    causes=Family(CAUSES * regressions, ALPHA),
    gains=Family(options, ALPHA),
    criteria=Family(CRITERIA * len(judged), ALPHA),
  )
