"""What an option must keep: pass, fail, undecided or not measured."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd
from scipy import special

from posexp.claims import contrasts
from posexp.studies import compare, families, plan
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

# More than the first share of seeds must not collapse: one would not deploy
# what collapses in one training of ten. To show that fewer do takes 29 seeds
# without any; a few seeds can show that it is less than the second share.
COLLAPSING, MINORITY = 0.1, 0.5
# Of a pass, one-sided: it excludes nothing, so that each stands for itself.
CONFIDENCE = 0.95

# As one reads them, in the order in which they break ties.
NAMES = {
  'short': 'short range kept',
  'stable': 'stable to the target',
  'latency': 'latency unchanged',
  'lookups': 'no learned look-ups that grow',
}
# The comparisons behind the first two.
COMPARED = ('token', 'short', 'left')


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
  def status(self) -> str:
    """Return FAIL if one fails, PASS if all pass, and UNDECIDED otherwise."""
    if FAIL in self.branches:
      return FAIL
    return PASS if set(self.branches) == {PASS} else UNDECIDED


def comparisons(
  study: plan.Study, option: pd.DataFrame, root: pd.DataFrame
) -> dict[str, contrasts.Paired]:
  """Return the differences behind the criteria, each less what it must exceed.

  Args:
    study: for its lengths.
    option: the rows of a cell.
    root: those of the root of its regime.

  Returns:
    token and short: accuracy at the trained length, of all answers and of near
    ones, less the root's less `MARGIN`; left: accuracy at the target less
    `LEFT` of that at the trained length.
  """
  pairs = {}
  for column in ('token', 'short'):
    kept, known = (
      compare.share(table, column, study.trained_length)
      for table in (option, root)
    )
    least = known._replace(by_seed=known.by_seed - MARGIN)
    pairs[column] = kept.over(least)
  near, far = (
    compare.share(option, 'token', length)
    for length in (study.trained_length, study.target)
  )
  pairs['left'] = far.over(near._replace(by_seed=LEFT * near.by_seed))
  return pairs


def judge(
  evidence: evidence_lib.Evidence,
  cell: plan.Cell,
  table: pd.DataFrame,
  judged: Mapping[str, contrasts.Difference],
  family: families.Family,
) -> Criteria:
  """Judge a cell that has finished.

  Args:
    evidence: the tables.
    cell: the cell.
    table: its rows.
    judged: its `comparisons`, judged in the family.
    family: of the criteria.
  """
  return Criteria(
    _worse(*(_short(judged[column]) for column in ('token', 'short'))),
    _stable(evidence, cell, table, judged['left'], family),
    latency_of(evidence, cell),
    _lookups(evidence, cell),
  )


def _branch(passes: bool, fails: bool) -> str:
  if passes:
    return PASS
  return FAIL if fails else UNDECIDED


def _short(kept: contrasts.Difference) -> Judged:
  """Judge a loss at short range, given what it is above the margin."""
  if not kept.n:
    return _UNKNOWN
  ends = {n: getattr(kept, n) - MARGIN for n in ('mean', 'low', 'high')}
  numbers = kept._replace(**ends)._asdict()
  return Judged(_branch(kept.above, kept.below), numbers)


def _worse(one: Judged, other: Judged) -> Judged:
  order = (FAIL, NOT_MEASURED, UNDECIDED, PASS)

  def key(judged: Judged) -> tuple[float, ...]:
    return (order.index(judged.branch), judged.numbers.get('mean', 0.0))

  return min(one, other, key=key)


def _stable(
  evidence: evidence_lib.Evidence,
  cell: plan.Cell,
  table: pd.DataFrame,
  left: contrasts.Difference,
  family: families.Family,
) -> Judged:
  """Return the worse of what attention and accuracy became up to the target."""
  attention, accuracy = _attention(evidence, cell, family), _UNKNOWN
  if left.n:
    study = evidence.study
    near, far = (
      compare.by_seed(table, 'token', length).mean()
      for length in (study.trained_length, study.target)
    )
    accuracy = Judged(_branch(left.above, left.below), {'left': far / near})
  numbers = {**attention.numbers, **accuracy.numbers}
  return Judged(_worse(attention, accuracy).branch, numbers)


@dataclasses.dataclass(frozen=True)
class Collapsed:
  """In how many of the admitted seeds attention collapsed.

  Attributes:
    seeds: how many are admitted.
    known: how many of these collapsed or were looked at up to the target.
    collapsed: how many collapsed.
  """

  seeds: int
  known: int
  collapsed: int

  def branch(self, level: float) -> str:
    """Return whether so many collapse that the option fails.

    The number of seeds that collapse is binomial. By exact one-sided bounds
    (Clopper and Pearson 1934),

      fail  if P(at least so many | 0.1) <= level,
      pass  if P(at most so many | 0.5) <= 0.05 < P(at least so many | 0.1):
            it is shown that fewer than half do, and not that more than a
            tenth do.

    More seeds with the same rate of collapse do not fail an option that
    collapses in fewer than a tenth: they bring the bounds closer to the rate,
    and the more there are, the closer a pass is to that tenth.

    Args:
      level: of the test that it fails; as one of a family, its alpha / m.

    What 3 to 29 seeds can decide of a candidate among nine, where the level is
    0.025 / 36, by how many of them collapse (p: pass, f: fail, u: undecided).
    With 3 seeds nothing is decided, and with 4 no option passes:

    >>> for n in (3, 4, 5, 6, 8, 12, 29):
    ...   counts = [Collapsed(n, n, k) for k in range(n + 1)]
    ...   print(n, ''.join(c.branch(0.025 / 36)[0] for c in counts))
    3 uuuu
    4 uuuuf
    5 puuuff
    6 puuuuff
    8 ppuuuffff
    12 pppuuufffffff
    29 pppppppuuuffffffffffffffffffff
    """
    # A seed that nobody looked at may or may not have collapsed.
    k, n = self.collapsed, self.seeds
    as_many = special.bdtrc(k - 1, n, COLLAPSING) if k else 1.0
    if as_many <= level:
      return FAIL
    if not n or self.known < n:
      return NOT_MEASURED
    as_few = special.bdtr(k, n, MINORITY)
    return PASS if as_few <= 1 - CONFIDENCE < as_many else UNDECIDED


def _attention(
  evidence: evidence_lib.Evidence, cell: plan.Cell, family: families.Family
) -> Judged:
  """Judge whether attention collapses in too many seeds."""
  count = collapsed(evidence, cell)
  branch = count.branch(family.level)
  if branch == NOT_MEASURED and not count.known:
    return _UNKNOWN
  numbers = {'collapsed': count.collapsed, 'seeds': count.seeds}
  return Judged(branch, numbers)


def collapsed(evidence: evidence_lib.Evidence, cell: plan.Cell) -> Collapsed:
  """Count the admitted seeds of a cell in which attention collapsed."""
  table = collapses(evidence, cell.digest)
  seeds = _admitted(evidence, cell.digest)
  lost = set(table.loc[table['collapsed'], 'seed'])
  at_target = table.loc[table['length'] == evidence.study.target, 'seed']
  return Collapsed(len(seeds), len(lost | set(at_target)), len(lost))


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


def by_place(
  evidence: evidence_lib.Evidence,
) -> dict[tuple[str, ...], pd.DataFrame]:
  """Return the rows of every cell by its place, see `rows`."""
  groups = evidence.cells.groupby(list(plan.PLACE), sort=False)
  return {tuple(map(str, place)): rows for place, rows in groups}


def rows(evidence: evidence_lib.Evidence, cell: plan.Cell) -> pd.DataFrame:
  """Return the rows of one cell; a run may stand in several of them."""
  table = evidence.cells
  for name, value in zip(plan.PLACE, cell.place):
    table = table[table[name] == value]
  return table
