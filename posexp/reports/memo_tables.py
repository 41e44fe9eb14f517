"""The tables of a memo: a cell or an option a row, with its run."""

import pandas as pd

from posexp.claims import intervals
from posexp.reports import document, words
from posexp.studies import compare, criteria, plan
from posexp.studies import evidence as evidence_lib
from posexp.studies.verdict import Case

# A number that is not there.
NONE = '–'
# Of a ratio and the ends of its interval, behind the name of a quantity.
ENDS = ('', ' low', ' high')


def cells(found: evidence_lib.Evidence, regime: str) -> document.Table:
  """Every cell of a regime: means over admitted seeds, percent, 95 % interval.

  Columns: option, variant, schedule; token accuracy at the trained length,
  short range there, accuracy of each task at the target, order and retrieval
  errors there (means over tasks); collapsed and admitted seeds; decoding and
  prefill over the root's; the run.
  """
  study = found.study
  head = (
    *('option', 'variant', 'schedule'),
    f'accuracy at {study.trained_length:,}, %',
    'short range, %',
    *(f'{task} at {study.target:,}, %' for task in study.tasks),
    f'order errors at {study.target:,}, %',
    f'retrieval errors at {study.target:,}, %',
    *('collapsed seeds', 'decode ×', 'prefill ×', 'admitted', 'run'),
  )
  rows = [_cell(found, c) for c in study.cells if c.regime == regime]
  if study.kind == 'choice':
    head = (head[0], *head[2:])
    rows = [(row[0], *row[2:]) for row in rows]
  return document.Table(head, tuple(rows))


def _cell(found: evidence_lib.Evidence, cell: plan.Cell) -> tuple[str, ...]:
  study = found.study
  named = (study.shown(cell.option), cell.variant or NONE, cell.schedule)
  numbers = 4 + len(study.tasks)
  if cell in found.missing:
    blank = (NONE,) * (numbers + 2)
    return (*named, 'not finished', *blank, NONE, cell.digest)
  mine = criteria.rows(found, cell)
  good = mine.loc[mine['admitted'], 'seed'].nunique()
  seeds = f'{good} of {mine["seed"].nunique()}'
  ends = (*_latency(found, cell), seeds, cell.digest)
  if not good:
    return (*named, 'not admitted', *(NONE,) * numbers, *ends)
  near, far = study.trained_length, study.target
  shown = [
    _mean(mine, 'token', near),
    _mean(mine, 'short', near),
    *(_mean(mine, 'token', far, task) for task in study.tasks),
    _mean(mine, 'order', far),
    _mean(mine, 'retrieval', far),
  ]
  return (*named, *shown, _collapsed(found, cell, mine), *ends)


def _mean(
  rows: pd.DataFrame, column: str, length: int, task: str | None = None
) -> str:
  values = compare.by_seed(rows, column, length, task)
  return words.share(intervals.interval(values, within=intervals.SHARE))


def _collapsed(
  found: evidence_lib.Evidence, cell: plan.Cell, rows: pd.DataFrame
) -> str:
  judged = criteria.collapse(found, cell)
  if not judged.numbers:
    return judged.branch
  return f'{judged.numbers["collapsed"]:g} of {judged.numbers["seeds"]:g}'


def _latency(found: evidence_lib.Evidence, cell: plan.Cell) -> tuple[str, ...]:
  """Time over the root's, by quantity, and at which length."""
  numbers = criteria.latency_of(found, cell).numbers
  return tuple(
    f'{_times(*(numbers[f"{name}{end}"] for end in ENDS))} at '
    f'{numbers[f"{name} length"]:,}'
    if name in numbers
    else NONE
    for name in evidence_lib.QUANTITIES
  )


def _times(ratio: float, low: float, high: float) -> str:
  """A ratio with its interval."""
  if not compare.finite(low, high):
    return f'{ratio:.2f}'
  return f'{ratio:.2f} [{low:.2f}, {high:.2f}]'


def options(found: evidence_lib.Evidence, case: Case) -> document.Table:
  """The criteria of every option of a case, with what led to each."""
  base = 'deployed' if found.study.kind == 'regression' else 'root'
  head = (
    *('option', 'schedule', f'gain over {base} at {found.study.target:,}'),
    *criteria.NAMES.values(),
    'run',
  )
  rows = []
  for option, judged in case.judged.items():
    gain = case.gains.get(option)
    rows.append(
      (
        found.study.shown(option),
        case.schedules[option],
        words.points(gain) if gain else NONE,
        _short(judged.short),
        _stable(judged.stable),
        _ratios(judged.latency),
        _lookups(judged.lookups),
        case.digests[option],
      )
    )
  return document.Table(head, tuple(rows))


def _short(judged: criteria.Judged) -> str:
  if not judged.numbers:
    return judged.branch
  lost = compare.Difference(**judged.numbers)  # type: ignore[arg-type]
  return f'{judged.branch}: {words.points(lost)}'


def _stable(judged: criteria.Judged) -> str:
  numbers, parts = judged.numbers, []
  if 'collapsed' in numbers:
    parts.append(f'collapsed {numbers["collapsed"]} of {numbers["seeds"]}')
  if 'left' in numbers:
    parts.append(f'{numbers["left"]:.0%} left')
  return ': '.join(filter(None, (judged.branch, ', '.join(parts))))


def _ratios(judged: criteria.Judged) -> str:
  numbers = judged.numbers
  shown = [
    f'{name} {_times(*(numbers[f"{name}{end}"] for end in ENDS))}'
    + ', the same program' * bool(numbers[f'{name} same program'])
    for name in evidence_lib.QUANTITIES
    if name in numbers
  ]
  return ': '.join(filter(None, (judged.branch, '; '.join(shown))))


def _lookups(judged: criteria.Judged) -> str:
  if not judged.numbers:
    return judged.branch
  trained, target = judged.numbers['trained'], judged.numbers['target']
  return f'{judged.branch}: {trained:g} to {target:g}'
