"""Whether a model's attention collapsed, by written rules.

A head is compared with itself: the same seed, layer and head of the root run,
at its trained length. Each kind of collapse considers the heads that matter for
it, and a model collapsed in that way if more than half of those heads did.
Heads are measured at the queries that predict an answer, which are the same at
any length, or at all queries if a task does not say which these are:

* diffuse: of the heads that were focused (normalised entropy at most 0.5),
  those that closed half of their distance to uniform attention or more.
* sink: of the heads that gave the first token less than half of their
  attention, those that give it at least half, and 0.3 more than before.
* lost: of the heads that ranked the right key high (rank over n - 1 at most
  0.1), those that now rank it at 0.3 or worse, if the best of them is among
  those.
* not finite: a weight of any head, for any query, is not a number.

A head that becomes more focused, as under a recency bias at a longer length,
has not collapsed, and a head that never found the right key cannot lose it.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from posexp import component

# More than this of the heads that matter: some may turn to something else while
# the others carry the model.
SHARE = 0.5

# Attention over m of n keys alike has ln m / ln n: at 64 tokens, 0.5 is 8 keys.
FOCUSED = 0.5

# Content at the same logits gets more diffuse with length by itself: a key of
# weight 0.9 among 64 has 0.69 among 256, 0.30 of the way to uniform. Half of
# the way is beyond what a few times the length does to a head that works.
CLOSED = 0.5

# Heads that rest on the first token are common and healthy, so a head must get
# there from below a half, and by more than a longer rest explains.
RESTING, MORE = 0.5, 0.3

# A rank of 0 to 6 among 64 is near the top, and a half is chance: 0.3 is nearer
# to chance than to the top.
TOP, MIDDLE = 0.1, 0.3

# What each kind looks at; the second is for tasks that do not say from where
# they are answered.
_MEASURES = {
  'not finite': ('finite',),
  'diffuse': ('asked_entropy', 'entropy'),
  'sink': ('asked_first', 'first'),
  'lost': ('rank_share',),
}
# Of the kinds that compare a head with itself.
_WORDS = {
  'diffuse': 'normalised entropy',
  'sink': 'mass on the first token',
  'lost': 'rank of the right key over n - 1',
}


@dataclasses.dataclass(frozen=True)
class Count:
  """What became of the heads that matter for one kind of collapse.

  Attributes:
    kind: 'not finite', 'diffuse', 'sink' or 'lost'.
    collapsed: whether the model collapsed in this way.
    hit: how many heads did.
    heads: how many matter; 0 if the kind does not apply.
    before: the mean of their measure in training, NaN if there are none.
    after: the mean of their measure now; for 'not finite' it is the share of
      queries whose weights are finite.
  """

  kind: str
  collapsed: bool
  hit: int
  heads: int
  before: float
  after: float

  @property
  def compared(self) -> bool:
    """Whether the kind compares heads with themselves, and there are some."""
    return self.heads > 0 and self.kind in _WORDS

  def __str__(self) -> str:
    share = f'{self.kind}: {self.hit} of {self.heads} heads'
    if self.kind not in _WORDS:
      return share
    change = f'{self.before:.2f} -> {self.after:.2f}'
    return f'{share}, {_WORDS[self.kind]} {change}'


@dataclasses.dataclass(frozen=True)
class Verdict:
  """Whether and how one seed of a run collapsed at one length."""

  digest: str
  length: int
  seed: int
  counts: tuple[Count, ...]

  @property
  def kinds(self) -> tuple[str, ...]:
    return tuple(c.kind for c in self.counts if c.collapsed)

  @property
  def collapsed(self) -> bool:
    return bool(self.kinds)

  @property
  def why(self) -> str:
    """What collapsed, or how far from it the model is, with numbers."""
    if self.collapsed:
      return '; '.join(str(c) for c in self.counts if c.collapsed)
    compared = '; '.join(str(c) for c in self.counts if c.compared)
    return f'not collapsed: {compared or "no head to compare"}'


def verdict(table: pd.DataFrame) -> list[Verdict]:
  """Judge whether each seed of one run collapsed at one length.

  Args:
    table: the rows of `attention_records.load` of one digest and one length.

  Returns:
    One verdict a seed, by seed, with one count a kind.

  Raises:
    UserError: if the table has no rows, those of several runs or lengths, or
      no baselines.
  """
  digest, length = (_only(table, column) for column in ('digest', 'length'))
  whole = table[table['distance'].isna()]
  if whole['baseline'].isna().all():
    raise component.UserError(
      f'{digest} has no baselines: the record of the run it was made from, '
      'at its trained length, is missing or has no diagnostics; run that again '
      'in the same work directory'
    )
  return [
    Verdict(digest, length, seed, _counts(whole[whole['seed'] == seed]))
    for seed in sorted(set(whole['seed'].tolist()))
  ]


def text(verdicts: Sequence[Verdict]) -> str:
  """Return one sentence on the seeds that collapsed, or else on all.

  >>> lost = Count('lost', True, 2, 2, 0.02, 0.45)
  >>> text([Verdict('a' * 16, 256, 3, (lost,)), Verdict('a' * 16, 256, 5, ())])
  '1 of 2 seeds collapsed at length 256: seed 3 (lost: 2 of 2 heads, ...).'
  """
  if not verdicts:
    raise component.UserError(
      'no verdicts to tell: give those of one run at one length'
    )
  collapsed = [verdict for verdict in verdicts if verdict.collapsed]
  each = ', '.join(f'seed {v.seed} ({v.why})' for v in collapsed or verdicts)
  return (
    f'{len(collapsed)} of {len(verdicts)} seeds collapsed at length '
    f'{verdicts[0].length}: {each}.'
  )


def _only(table: pd.DataFrame, column: str) -> Any:
  values = table[column].unique().tolist()
  if len(values) != 1:
    raise component.UserError(
      f'a verdict is on one {column}, got {len(values)}'
      f'{": " + ", ".join(map(str, values)) if values else ""}: give the rows '
      'of one run at one length, of a version that records diagnostics'
    )
  return values[0]


def _counts(table: pd.DataFrame) -> tuple[Count, ...]:
  """Return a count a kind, of the heads of one seed."""
  wide = table.pivot(
    index=['layer', 'head'], columns='measure', values=['value', 'baseline']
  )

  def heads(at: str, measures: Sequence[str]) -> np.ndarray:
    """Return the first of some measures that there is, by head."""
    for measure in measures:
      if (at, measure) in wide:
        return wide[at, measure].to_numpy(np.float64)
    return np.full(len(wide), np.nan)

  return tuple(
    _count(kind, heads('baseline', measures), heads('value', measures))
    for kind, measures in _MEASURES.items()
  )


def _count(kind: str, before: np.ndarray, after: np.ndarray) -> Count:
  # Comparisons with NaN, where nothing was measured, are false.
  if kind == 'not finite':
    matter, hit = np.full(len(before), True), after < 1
  elif kind == 'diffuse':
    matter = before <= FOCUSED
    hit = after - before >= CLOSED * (1 - before)
  elif kind == 'sink':
    matter = before < RESTING
    hit = (after >= RESTING) & (after - before >= MORE)
  else:
    matter = before <= TOP
    hit = after >= MIDDLE
  heads, number = int(matter.sum()), int((hit & matter).sum())
  if not heads:
    return Count(kind, False, 0, 0, float('nan'), float('nan'))
  # One is enough of what is not finite, as what it touches is not either.
  collapsed = number > (0 if kind == 'not finite' else SHARE * heads)
  if kind == 'lost':
    collapsed &= bool(hit[np.nanargmin(before)])
  means = float(before[matter].mean()), float(after[matter].mean())
  return Count(kind, bool(collapsed), number, heads, *means)
