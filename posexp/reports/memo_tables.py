"""The tables of a memo: a cell or an option a row, with its run."""

from collections.abc import Callable, Mapping

from posexp.claims import format as format_lib
from posexp.claims import intervals
from posexp.reports import document, memo_facts
from posexp.studies import compare, criteria, plan
from posexp.studies import families as families_lib
from posexp.studies.evidence import QUANTITIES, Evidence
from posexp.studies.verdict import Case

NONE = format_lib.MISSING

# A column of `evidence.cells`, a length, and a task or None for their mean.
Column = tuple[str, int, str | None]


def cells(evidence: Evidence, regime: str) -> document.Table:
  """Return every cell of a regime: means over admitted seeds, percent, 95 %.

  Columns: option, variant, schedule; token accuracy at the trained length,
  short range there, accuracy of each task at the target, order and retrieval
  errors there (means over tasks); collapsed seeds; decoding and prefill over
  the root's; admitted seeds; the run.
  """
  study = evidence.study
  near, far = study.trained_length, study.target
  columns: dict[str, Column] = {
    f'accuracy at {near:,}, %': ('token', near, None),
    'short range, %': ('short', near, None),
    **{f'{t} at {far:,}, %': ('token', far, t) for t in study.tasks},
    f'order errors at {far:,}, %': ('order', far, None),
    f'retrieval errors at {far:,}, %': ('retrieval', far, None),
  }
  ends = ('collapsed seeds', 'decode ×', 'prefill ×', 'admitted', 'run')
  head = ('option', 'variant', 'schedule', *columns, *ends)
  rows = [
    (
      *(study.shown(cell.option), cell.variant or NONE, cell.schedule),
      *_numbers(evidence, cell, list(columns.values())),
    )
    for cell in study.cells
    if cell.regime == regime
  ]
  if study.kind == 'choice':  # It has no variants.
    head, *rows = [(row[0], *row[2:]) for row in (head, *rows)]
  return document.Table(head, tuple(rows))


def _numbers(
  evidence: Evidence, cell: plan.Cell, columns: list[Column]
) -> tuple[str, ...]:
  """Return what follows the name of a cell in its row."""
  blank = (NONE,) * len(columns)
  if cell in evidence.missing:
    return ('not finished', *blank, NONE, NONE, NONE, cell.digest)
  rows = criteria.rows(evidence, cell)
  admitted = rows.loc[rows['admitted'], 'seed'].nunique()
  latency = criteria.latency_of(evidence, cell).numbers
  ratios = [
    f'{_ratio(latency, name)} at {latency[f"{name} length"]:,}'
    if name in latency
    else NONE
    for name in QUANTITIES
  ]
  ends = (*ratios, f'{admitted} of {rows["seed"].nunique()}', cell.digest)
  if not admitted:
    return ('not admitted', *blank, *ends)
  gated = (cell.option, cell.schedule) == (plan.ROOT, 'trained')
  means = []
  for column in columns:
    values, within = compare.by_seed(rows, *column), intervals.SHARE
    if gated and column[:2] == ('token', evidence.study.trained_length):
      within = intervals.passed(values, evidence.study.gate)
    means.append(intervals.interval(values, within=within))
  count, collapsed = criteria.collapsed(evidence, cell), criteria.NOT_MEASURED
  if count.known:
    collapsed = f'{count.collapsed} of {count.seeds}'
  return (
    *(format_lib.bracketed(*mean[:3]) for mean in means),
    *(collapsed, *ends),
  )


def options(evidence: Evidence, case: Case) -> document.Table:
  """Return the criteria of every option of a case, with what led to each."""
  base = 'deployed' if evidence.study.kind == 'regression' else 'root'
  # Where all seeds are admitted, all say the same.
  selected = any(case.every[o].n > gain.n for o, gain in case.gains.items())
  head = (
    *('option', 'schedule', f'gain over {base} at {evidence.study.target:,}'),
    *('the same over all seeds',) * selected,
    *(*criteria.NAMES.values(), 'run'),
  )
  rows = []
  for option, judged in case.judged.items():
    gain = case.gains.get(option)
    rows.append(
      (
        evidence.study.shown(option),
        case.schedules[option],
        memo_facts.points(gain) if gain else NONE,
        *[memo_facts.points(case.every[option]) if gain else NONE] * selected,
        *map(_judged, judged, (memo_facts.lost, _stable, _latency, _lookups)),
        case.digests[option],
      )
    )
  return document.Table(head, tuple(rows))


FAMILIES = {
  'errors': 'errors of a regression',
  'by_task': 'errors by task',
  'causes': 'causes',
  'gains': 'gains, and which option leads',
  'criteria': 'criteria',
}


def families(study: plan.Study) -> document.Table:
  """Return how many comparisons each family of a study has."""
  head = ('family', 'comparisons', 'level', 'fewest seeds that can claim')
  rows = [
    (FAMILIES[name], f'{family.m}', f'{family.alpha:.1%}', f'{family.seeds}')
    for name, family in families_lib.of(study)._asdict().items()
    if family.m
  ]
  return document.Table(head, tuple(rows))


def missing(evidence: Evidence) -> document.Table:
  """Return the cells whose runs have not finished."""
  head = ('option', 'variant', 'regime', 'schedule', 'run')
  rows = [
    (cell.option, cell.variant, cell.regime, cell.schedule, cell.digest)
    for cell in evidence.missing
  ]
  return document.Table(head, tuple(rows))


def _judged(
  judged: criteria.Judged, show: Callable[[criteria.Judged], str]
) -> str:
  """Return the branch of a criterion and the numbers that led to it."""
  numbers = show(judged) if judged.numbers else ''
  return f'{judged.branch}: {numbers}' if numbers else judged.branch


def _stable(judged: criteria.Judged) -> str:
  parts, numbers = [], judged.numbers
  if 'collapsed' in numbers:
    parts.append('collapsed {collapsed} of {seeds}'.format(**numbers))
  if 'left' in numbers:
    parts.append(f'{numbers["left"]:.0%} left')
  return ', '.join(parts)


def _latency(judged: criteria.Judged) -> str:
  numbers = judged.numbers
  return '; '.join(
    f'{name} {_ratio(numbers, name)}'
    + ', the same program' * bool(numbers[f'{name} same program'])
    for name in QUANTITIES
    if name in numbers
  )


def _lookups(judged: criteria.Judged) -> str:
  return '{trained:g} to {target:g}'.format(**judged.numbers)


def _ratio(numbers: Mapping[str, float], name: str) -> str:
  """Return a time over the root's, with its interval."""
  low, high = numbers[f'{name} low'], numbers[f'{name} high']
  return format_lib.bracketed(numbers[name], low, high, format_lib.number)
