"""What the sentences of a memo are made of: names, counts, numbers as text."""

import collections
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd

from posexp.claims import contrasts
from posexp.claims import format as format_lib
from posexp.plots import study_figures
from posexp.studies import compare, criteria, families, plan, rules
from posexp.studies.evidence import Evidence
from posexp.studies.verdict import Case

NOT_PASSED = (criteria.FAIL, criteria.UNDECIDED, criteria.NOT_MEASURED)


def plain(text: Any) -> str:
  """Return text in which any white space is one space."""
  return ' '.join(str(text).split())


def spoken(macro: Callable[..., Any]) -> Callable[..., str]:
  """Return a macro as a function to plain text, whoever calls it."""
  return lambda *arguments: plain(macro(*arguments))


def each(items: Iterable[Any], text: Callable[[Any], str]) -> list[str]:
  """Return what is said of each item."""
  return [plain(text(item)) for item in items]


def grouped(
  cases: Iterable[Case], text: Callable[[Case], str]
) -> dict[str, list[Case]]:
  """Return the cases by what is said of them."""
  groups: dict[str, list[Case]] = {}
  for case in cases:
    groups.setdefault(plain(text(case)), []).append(case)
  return groups


def times(texts: Iterable[str]) -> str:
  """Return each text and how often it is there.

  >>> times(['both', 'the bias', 'both'])
  'both in 2; the bias in 1'
  """
  counts = collections.Counter(texts)
  return '; '.join(f'{text} in {n}' for text, n in counts.most_common())


def failing(cases: Iterable[Case]) -> list[str]:
  """Return the criteria that what is put first fails.

  With the number of cases in which it does, if there are several.
  """
  cases = list(cases)
  counts = collections.Counter(
    name
    for case in cases
    if case.branch in (compare.FIRST, compare.TIE)
    for option in (case.preferred or (case.lead.option,))[:1]
    for name in named(case.judged[option], criteria.FAIL)
  )
  return [
    f'{name} (in {n} of {len(cases)} cases)' if len(cases) > 1 else name
    for name, n in counts.items()
  ]


def gaining(cases: Iterable[Case]) -> list[Case]:
  """Return the cases whose best option is claimed to gain."""
  return [case for case in cases if case.lead.option in case.lead.improving]


def leading(cases: Iterable[Case]) -> list[float]:
  """Return the mean gain of the best option of each case."""
  return [case.lead.gains[case.lead.option].mean for case in cases]


def tasks(cases: Iterable[Case]) -> list[str]:
  """Return the tasks in which a kind of errors is claimed to be more.

  With the number of cases in which it is, if there are several.
  """
  cases = list(cases)
  parts = []
  for branch in (rules.ORDER, rules.RETRIEVAL):
    counts = collections.Counter(
      errors.task
      for case in cases
      if case.regression
      for errors in case.regression.errors[1:]
      if errors.branch == branch
    )
    names = [
      f'{task} ({n})' if len(cases) > 1 else task
      for task, n in counts.most_common()
    ]
    if names:
      parts.append(f'{branch} in {format_lib.listed(names, "and")}')
  return parts


def differing(cases: Iterable[Case], text: Callable[[Case], str]) -> list[str]:
  """Return the groups of which not the same is said in all regimes."""
  cases = list(cases)
  regimes = {case.group[0] for case in cases}
  said: dict[tuple[str, ...], list[str]] = {}
  for case in cases:
    said.setdefault(case.group[1:], []).append(plain(text(case)))
  return [
    study_figures.label(('', *group)) or 'the choice'  # type: ignore[arg-type]
    for group, texts in said.items()
    if len(set(texts)) > 1 or len(texts) < len(regimes)
  ]


def lacks(judged: criteria.Criteria) -> list[str]:
  """Return the criteria that an option is not shown to pass."""
  return [
    f'{", ".join(named(judged, branch))}: {branch}'
    for branch in NOT_PASSED
    if named(judged, branch)
  ]


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


def of_status(case: Case, status: str) -> str:
  """Return the candidates that pass, fail or are undecided."""
  options = [
    option
    for option, judged in case.judged.items()
    if option in case.gains and judged.status == status
  ]
  return ', '.join(options) or 'none'


def over_all(case: Case, option: str) -> str:
  """Return what an option gains over all seeds, if not all are admitted."""
  gain, every = case.gains[option], case.every[option]
  if every.n == gain.n:
    return ''
  return f'({points(every)} over all {every.n} seeds)'


def too_few(evidence: Evidence) -> list[str]:
  """Return what a regime has too few seeds to claim, whatever they show."""
  regimes: dict[str, list[str]] = {}
  for regime in evidence.study.regimes:
    rows = evidence.cells[evidence.cells['regime'] == regime]
    n = rows.loc[rows['admitted'], 'seed'].nunique()
    lacking = families.beyond(evidence.study, n)
    if lacking and len(rows):
      seeds = '1 admitted seed' if n == 1 else f'{n} admitted seeds'
      sentence = (
        f'{seeds} cannot claim {format_lib.listed(lacking, "or")}, whatever '
        'they show'
      )
      regimes.setdefault(sentence, []).append(regime)
  return [
    f'{sentence} ({", ".join(names)}).' for sentence, names in regimes.items()
  ]


def is_gate_apart(evidence: Evidence) -> bool:
  """Return whether the roots were admitted on examples of their own."""
  return all(
    evidence.runs[cell.digest].get('learned')
    for cell in evidence.study.cells
    if cell.schedule == 'trained' and cell.digest in evidence.runs
  )


def selecting(cases: Iterable[Case]) -> list[Case]:
  """Return the cases in which it matters which seeds are admitted."""

  def lost(case: Case) -> bool:
    loss = case.regression
    if loss is None or loss.change is None or loss.every is None:
      return False
    return contrasts.disagree(loss.change, loss.every)

  return [case for case in cases if case.disagreeing or lost(case)]


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
  return points(case.order[case.lead.option].reversed)
