"""Retrofits before and after, paired by seed."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import axes, lines

from posexp import component
from posexp.claims import intervals
from posexp.plots import experiment, layout, paper

# In inches: names of runs at the left, and a row.
NAMES, ROW = 1.7, 0.34
# Lengths that are shown at most, among them the first and the last.
LENGTHS = 3


class Pair(NamedTuple):
  """A retrofit at a length: a value a common seed, and the mean difference."""

  digest: str
  label: str
  length: int
  before_N: np.ndarray
  after_N: np.ndarray
  gain: intervals.Interval


def retrofits(results: pd.DataFrame) -> paper.Plate:
  """Accuracy of each retrofit beside that of its parent, seed by seed.

  Args:
    results: of one task and trained length, see `paper.questions`.

  Raises:
    UserError: a sentence, if no retrofit has its parent among them.
  """
  results = paper.one_question(results)
  pairs = _pairs(results)
  if not pairs:
    raise component.UserError(
      'no run is a retrofit of another that is admitted'
    )
  every = sorted({pair.length for pair in pairs})
  index = np.linspace(0, len(every) - 1, min(LENGTHS, len(every)))
  lengths = [every[i] for i in index.round().astype(int)]
  last = [pair for pair in pairs if pair.length == every[-1]]
  last += [p for p in pairs if p.digest not in {pair.digest for pair in last}]
  by = sorted(last, key=lambda p: -float(p.after_N.mean()))
  digests = list(dict.fromkeys(pair.digest for pair in by))
  task, trained = results[['task', 'trained_length']].iloc[0]
  n = sorted({pair.gain.n for pair in pairs})
  many = ' to '.join(map(str, dict.fromkeys((n[0], n[-1]))))
  return paper.Plate(
    'retrofits',
    _draw(results, pairs, digests, lengths),
    _table(pairs, digests, every),
    f'Accuracy (%) before and after a retrofit. {task}, trained at {trained} '
    f'tokens; a line a seed, {many} of them; the mean gain in points with its '
    '95 % t interval over seeds, not corrected for the number of retrofits.',
    paper.source(results),
  )


def _pairs(results: pd.DataFrame) -> list[Pair]:
  admitted = results[results['admitted'].astype(bool)]
  runs = dict(list(admitted.groupby('digest', sort=False)))
  names = intervals.labels(results)
  found = []
  for key, run in runs.items():
    parent = run['parent_digest'].iloc[0]
    if parent not in runs:
      continue
    columns = ['seed', 'length', 'token']
    both = runs[parent][columns].merge(run[columns], on=columns[:2])
    for length, cell in both.groupby('length'):
      before, after = (cell[f'token_{end}'].to_numpy() for end in 'xy')
      gain = intervals.interval(after - before)
      # A retrofit's name begins with its parent's.
      label = names[str(key)].split(' -> ', 1)[-1]
      pair = Pair(str(key), label, int(str(length)), before, after, gain)
      found.append(pair)
  return found


def points(gain: intervals.Interval) -> str:
  """A gain in points with its interval.

  >>> points(intervals.Interval(0.1, -0.05, 0.25, 3))
  '+10.0 [-5.0, +25.0]'
  """
  text = f'{100 * gain.mean:+.1f}'
  if np.isfinite(gain.low):
    text += f' [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]'
  return text


def _table(
  pairs: Sequence[Pair], digests: Sequence[str], lengths: Sequence[int]
) -> pd.DataFrame:
  at = {(pair.digest, pair.length): pair for pair in pairs}
  names = {pair.digest: pair.label for pair in pairs}
  rows = {
    names[digest]: [
      points(at[digest, n].gain) if (digest, n) in at else '–' for n in lengths
    ]
    for digest in digests
  }
  columns = [f'gain at {n}' for n in lengths]
  return pd.DataFrame.from_dict(rows, orient='index', columns=columns)


def _draw(
  results: pd.DataFrame,
  pairs: Sequence[Pair],
  digests: Sequence[str],
  lengths: Sequence[int],
) -> Any:
  trained = results['trained_length'].iloc[0]
  looks = paper.looks(results)
  names = {pair.digest: pair.label for pair in pairs}
  grey: dict[str, Any] = {
    'color': experiment.GREY,
    'marker': 'o',
    'linestyle': 'none',
  }
  keys = [
    lines.Line2D([], [], **grey, mfc='white', label='before, a seed'),
    lines.Line2D([], [], **grey, label='after, a seed'),
  ]
  titles = [f'{n:,} tokens ({n / trained:.3g}×)' for n in lengths]
  with matplotlib.rc_context(experiment.STYLE):
    drawn, spots = layout.frame(
      titles,
      keys,
      across=len(lengths),
      panel=max(0.7, ROW * len(digests)),
      left=NAMES,
      gap=0.3,
    )
    for place, (spot, n) in enumerate(zip(spots, lengths)):
      at = {pair.digest: pair for pair in pairs if pair.length == n}
      for row, digest in enumerate(digests):
        if digest in at:
          _row(spot, row, at[digest], looks[digest])
      _axes(spot, [names[d] for d in digests], named=not place)
  return drawn


def _row(
  spot: axes.Axes, row: int, pair: Pair, look: Mapping[str, Any]
) -> None:
  """The seeds of a retrofit, one below the other, and its gain in words."""
  n = len(pair.after_N)
  y_N = row + 0.12 + 0.36 * (np.arange(n) + 0.5 - n / 2) / max(n, 1)
  color = look['color']
  spot.hlines(y_N, pair.before_N, pair.after_N, color, lw=0.8)
  dots: dict[str, Any] = {'linestyle': 'none', 'marker': 'o', 'markersize': 2.6}
  spot.plot(pair.before_N, y_N, **dots, color=color, mfc='white', mew=0.7)
  spot.plot(pair.after_N, y_N, **dots, color=color, gid=f'after:{pair.digest}')
  spot.text(
    0.5,
    row - 0.28,
    points(pair.gain),
    ha='center',
    va='center',
    size=6,
    transform=spot.get_yaxis_transform(),
  )


def _axes(spot: axes.Axes, names: Sequence[str], named: bool) -> None:
  spot.set_xlim(-0.04, 1.04)
  paper.percent(spot.xaxis)
  spot.set_xlabel('accuracy (% of targets)')
  spot.grid(axis='x')
  spot.set_ylim(len(names) - 0.5, -0.5)
  shown = [experiment.wrap(name, NAMES - 0.1, 2) for name in names]
  spot.set_yticks(range(len(names)), shown if named else [''] * len(names))
  spot.tick_params(axis='y', length=0)
