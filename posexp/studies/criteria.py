"""What an option must keep: pass, fail, undecided or not measured."""

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from posexp.claims import contrasts
from posexp.studies import compare, plan
from posexp.studies import evidence as evidence_lib

PASS, FAIL, UNDECIDED = 'pass', 'fail', 'undecided'
NOT_MEASURED = 'not measured'

# How much token accuracy at short range may be lost.
MARGIN = 0.02
# Time over that of the root's scheme that still counts as unchanged.
SLOWER = 1.05

# The share of an option's accuracy at the trained length that must be left at
# the target.
LEFT = 0.5

# As one reads them, in the order in which they break ties.
NAMES = {
  'short': 'short range kept',
  'stable': 'stable to the target',
  'latency': 'latency unchanged',
  'lookups': 'no learned look-ups that grow',
}


class Judged(NamedTuple):
  """A branch and the numbers that led to it, by name."""

  branch: str
  numbers: Mapping[str, float]


_UNKNOWN = Judged(NOT_MEASURED, {})


class Criteria(NamedTuple):
  """All criteria of one option, by the names of `NAMES`."""

  short: Judged
  stable: Judged
  latency: Judged
  lookups: Judged

  @property
  def branches(self) -> tuple[str, ...]:
    return tuple(judged.branch for judged in self)

  @property
  def passes(self) -> bool:
    return set(self.branches) == {PASS}


def judge(
  evidence: evidence_lib.Evidence, cell: plan.Cell, root: plan.Cell
) -> Criteria:
  """Judge a cell that has finished, beside the root of its regime."""
  return Criteria(
    _short(evidence, cell, root),
    stable(evidence, cell),
    latency_of(evidence, cell),
    _lookups(evidence, cell),
  )


def _branch(passes: bool, fails: bool) -> str:
  if passes:
    return PASS
  return FAIL if fails else UNDECIDED


def short(lost: contrasts.Difference) -> str:
  """Return the branch of a difference at short range, option less root."""
  return _branch(lost.low > -MARGIN, lost.high < -MARGIN)


def _short(
  evidence: evidence_lib.Evidence, cell: plan.Cell, root: plan.Cell
) -> Judged:
  """Return the worse of all answers at the trained length and near ones."""
  kept = []
  for column in ('short', 'token'):
    option, base = (
      compare.by_seed(rows(evidence, c), column, evidence.study.trained_length)
      for c in (cell, root)
    )
    lost = contrasts.difference(option, base)
    kept.append(Judged(short(lost), lost._asdict()) if lost.n else _UNKNOWN)
  return _worse(*kept)


def _worse(one: Judged, other: Judged) -> Judged:
  order = (FAIL, NOT_MEASURED, UNDECIDED, PASS)

  def key(judged: Judged) -> tuple[float, ...]:
    return (order.index(judged.branch), judged.numbers.get('mean', 0.0))

  return min(one, other, key=key)


def stable(evidence: evidence_lib.Evidence, cell: plan.Cell) -> Judged:
  """Return the worse of what attention and accuracy became up to the target."""
  attention, accuracy = collapse(evidence, cell), _left(evidence, cell)
  numbers = {**attention.numbers, **accuracy.numbers}
  return Judged(_worse(attention, accuracy).branch, numbers)


def _left(evidence: evidence_lib.Evidence, cell: plan.Cell) -> Judged:
  """Return how much of the trained length's accuracy is left at the target."""
  lengths = evidence.study.trained_length, evidence.study.target
  near, far = (
    compare.by_seed(rows(evidence, cell), 'token', length) for length in lengths
  )
  more = contrasts.difference(far, LEFT * near)
  if not more.n:
    return _UNKNOWN
  left = far.mean() / near.mean()
  return Judged(_branch(more.above, more.below), {'left': left})


def collapse(evidence: evidence_lib.Evidence, cell: plan.Cell) -> Judged:
  """Return whether attention collapsed, in how many of the admitted seeds."""
  table = collapses(evidence, cell.digest)
  seeds = _admitted(evidence, cell.digest)
  lost = set(table.loc[table['collapsed'], 'seed'])
  numbers = {'collapsed': len(lost), 'seeds': len(seeds)}
  if lost:
    return Judged(FAIL, numbers)
  at_target = table.loc[table['length'] == evidence.study.target, 'seed']
  if not seeds or set(at_target) < seeds:
    return _UNKNOWN
  return Judged(PASS, numbers)


def collapses(evidence: evidence_lib.Evidence, digest: str) -> pd.DataFrame:
  """Return the attention of a run's admitted seeds, up to the target."""
  table = evidence.collapse
  return table[
    (table['digest'] == digest)
    & table['seed'].isin(_admitted(evidence, digest))
    & (table['length'] <= evidence.study.target)
  ]


def _admitted(evidence: evidence_lib.Evidence, digest: str) -> set[int]:
  cells = evidence.cells
  return set(cells.loc[(cells['digest'] == digest) & cells['admitted'], 'seed'])


def latency_of(evidence: evidence_lib.Evidence, cell: plan.Cell) -> Judged:
  """Return the worst of the quantities; all must be there to pass."""
  table = evidence.latency[evidence.latency['digest'] == cell.digest]
  numbers: dict[str, float] = {}
  branches = []
  for row in table.to_dict('records'):
    name, same = row['quantity'], row['same_program']
    numbers |= {name: row['ratio'], f'{name} same program': same}
    numbers |= {f'{name} {c}': row[c] for c in ('length', 'low', 'high')}
    branches.append(PASS if same else latency(row['low'], row['high']))
  if FAIL in branches:
    return Judged(FAIL, numbers)
  if set(table['quantity']) != set(evidence_lib.QUANTITIES):
    return Judged(NOT_MEASURED, numbers)
  return Judged(UNDECIDED if UNDECIDED in branches else PASS, numbers)


def latency(low: float, high: float) -> str:
  """Return the branch of one ratio to the root."""
  return _branch(high <= SLOWER, low > SLOWER)


def _lookups(evidence: evidence_lib.Evidence, cell: plan.Cell) -> Judged:
  pair = evidence.study.lookups.get(cell.label)
  if pair is None:
    return _UNKNOWN
  numbers = dict(zip(('trained', 'target'), pair))
  return Judged(FAIL if pair[1] > pair[0] else PASS, numbers)


def rows(evidence: evidence_lib.Evidence, cell: plan.Cell) -> pd.DataFrame:
  """Return the rows of one cell; a run may stand in several of them."""
  table = evidence.cells
  for name, value in zip(plan.PLACE, cell.place):
    table = table[table[name] == value]
  return table
