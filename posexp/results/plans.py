"""What an experiment asks, written down before it runs: planned contrasts.

It lies under WORKDIR/plans, a file for each launch, see `results.launches`. A
contrast is of two runs at a length in a measure. Unless an experiment file
says what it asks, every retrofit is compared with its parent, and every trained
run with the baseline, at the longest length and at the target.
"""

import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import pandas as pd

from posexp.results import launches

FORMAT = 1
PLANS = 'plans'
# In the name of a run whose learning rate trials chose, see `posexp.tuned`.
TUNED = ' [tuned]'
# What can be compared: shares of targets or of sequences, and nats a target.
MEASURES = ('token', 'exact', 'order', 'retrieval', 'nats')

# A task as text, and the length that was trained at.
Question = tuple[str, int]


class Contrast(NamedTuple):
  """A comparison of two runs that was planned.

  Attributes:
    task: of both, as text.
    trained_length: of both, in tokens.
    run: the digest of the run that is asked about.
    against: the digest of what it is compared with.
    length: at which, in tokens.
    measure: one of `MEASURES`.
    label: what the run is called where it has no record.
    baseline: what the other one is called.
  """

  task: str
  trained_length: int
  run: str
  against: str
  length: int
  measure: str
  label: str
  baseline: str

  @property
  def question(self) -> Question:
    """Return the task and trained length, whose contrasts are one family."""
    return self.task, self.trained_length

  @property
  def digests(self) -> tuple[str, str]:
    """Return the runs that are compared."""
    return self.run, self.against


class Candidate(NamedTuple):
  """What a run is to the default plan, see `default`."""

  digest: str
  label: str
  task: str
  trained_length: int
  lengths: tuple[int, ...]
  parent: str | None
  again: bool
  tuned: bool = False


def default(
  candidates: Sequence[Candidate],
  baseline: str | None = None,
  target: int | None = None,
) -> Iterator[Contrast]:
  """Yield what is compared where an experiment does not say.

  Each retrofit with its parent, and each other run of a question with the
  baseline of it, at the longest length that both were evaluated at, and at the
  target. Runs at a tuned learning rate are compared among themselves. A run
  that is only its parent evaluated again is compared with none.

  Args:
    candidates: of one grid.
    baseline: the label of what trained runs are compared with; the first run
      of each question by default, and of one in which it is not.
    target: a length that is asked about besides, in tokens.
  """
  groups: dict[tuple[Question, bool], list[Candidate]] = {}
  for candidate in candidates:
    if not candidate.again:
      question = candidate.task, candidate.trained_length
      groups.setdefault((question, candidate.tuned), []).append(candidate)
  for (question, _), group in groups.items():
    there = {c.digest: c for c in group}
    named = [c for c in group if untuned(c.label) == baseline]
    first = (named or group)[0]
    for candidate in group:
      against = there.get(candidate.parent or '', first)
      if against.digest == candidate.digest:
        continue
      common = sorted(set(candidate.lengths) & set(against.lengths))
      asked = dict.fromkeys([n for n in common if n == target] + common[-1:])
      for length in asked:
        yield Contrast(
          *question,
          candidate.digest,
          against.digest,
          length,
          'token',
          candidate.label,
          against.label,
        )


def untuned(label: str) -> str:
  """Return what a run is called without its rate being tuned.

  >>> untuned('RoPE() [tuned] -> NoPE()')
  'RoPE() -> NoPE()'
  """
  return label.replace(TUNED, '')


def write(
  workdir: str | os.PathLike, contrasts: Iterable[Contrast]
) -> pathlib.Path:
  """Write down what a launch asks, and that it is the newest."""
  rows = [contrast._asdict() for contrast in contrasts]
  text = json.dumps({'format': FORMAT, 'contrasts': rows}, indent=1)
  return launches.write(pathlib.Path(workdir) / PLANS, text)


def read(
  workdir: str | os.PathLike, results: pd.DataFrame
) -> tuple[Contrast, ...]:
  """Return the planned contrasts of a work directory.

  Those of the newest launch, and of earlier ones those whose runs have both
  finished. Where no launch has written any, as from a program, the default of
  the finished runs.

  Args:
    workdir: as given to `posexp run`.
    results: a table as `records.load` gives it.

  Raises:
    UserError: if a plan cannot be read.
  """
  paths = launches.paths(pathlib.Path(workdir) / PLANS)
  if not paths:
    return tuple(default(_candidates(results)))
  finished = set(results['digest'])
  *earlier, newest = paths
  asked = _read(newest)
  for path in earlier:
    asked += [c for c in _read(path) if finished.issuperset(c.digests)]
  different: dict[tuple[str, str, int, str], Contrast] = {}
  for contrast in asked:
    key = (*contrast.digests, contrast.length, contrast.measure)
    different.setdefault(key, contrast)
  return tuple(different.values())


def _read(path: pathlib.Path) -> list[Contrast]:
  return launches.read(
    path, FORMAT, lambda body: [Contrast(**row) for row in body['contrasts']]
  )


def _candidates(results: pd.DataFrame) -> list[Candidate]:
  """Return the finished runs as the default plan sees them."""
  candidates = []
  for digest, rows in results.groupby('digest', sort=False):
    first = rows.iloc[0]
    candidates.append(
      Candidate(
        str(digest),
        first['name'].split(': ', 1)[-1],
        first['task'],
        int(first['trained_length']),
        tuple(sorted(map(int, rows['length'].unique()))),
        first['parent_digest'] or None,
        bool(first['reevaluation']),
        first['tuned'] in (True, 1),  # Not NaN, as of a table made by hand.
      )
    )
  return candidates
