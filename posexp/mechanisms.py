"""Why the options of a study behave as they do: formulas, and what was seen.

Rotations, how they are scaled, and biases are read off the schemes of the runs;
what a position is worth to a logit is as measured in the runs themselves.
"""

import math
import os
from collections.abc import Iterable

import numpy as np
import pandas as pd

from posexp import attention_records, schemes
from posexp.study import cells, memo, plan

Section = memo.Section

UNSCALED = 'unscaled'


def sections(
  found: cells.Evidence, workdir: str | os.PathLike
) -> list[Section]:
  """What rotations encode, what scaling does to them, what a bias does.

  Then what the heads were seen to do with it.

  Args:
    found: the tables of a study.
    workdir: where its records are.
  """
  regimes = found.study.regimes
  seen = attention_records.load(workdir, found.runs)
  return [
    *(section for regime in regimes for section in _rotations(found, regime)),
    *_biases(found),
    *_resolution(found, seen),
    *_heads(found, seen),
  ]


def ropes(found: cells.Evidence, regime: str) -> dict[str, schemes.RoPE]:
  """The rotations of a regime by how they are scaled, the root's first."""
  ways: dict[str, schemes.RoPE] = {}
  for cell in found.study.cells:
    if cell.regime == regime and cell.digest in found.runs:
      for part in _parts(found, cell):
        if isinstance(part, schemes.RoPE):
          ways.setdefault(_way(part), part)
  return ways


def _way(rope: schemes.RoPE) -> str:
  """What a scaling is called in a table."""
  plain = rope.frequencies == schemes.Law()
  return UNSCALED if plain else type(rope.frequencies).__name__


def _parts(
  found: cells.Evidence, cell: plan.Cell
) -> tuple[schemes.Scheme, ...]:
  try:
    scheme = schemes.parse(found.runs[cell.digest]['scheme'])
  except ValueError:  # A class of the user's own has no text that is read.
    return ()
  resolved = scheme.trained_at(found.study.trained_length)
  return resolved.for_length(found.study.target).parts


def _head(found: cells.Evidence) -> tuple[int, int]:
  """Heads and their width, the same in all runs."""
  run = next(iter(found.runs.values()))
  return run['heads'], run['head_width']


def _rotations(found: cells.Evidence, regime: str) -> Iterable[Section]:
  study, ways = found.study, ropes(found, regime)
  if UNSCALED not in ways:
    return
  trained, target = study.trained_length, study.target
  width = _head(found)[1]
  plain_K = ways.pop(UNSCALED).inverse_frequencies(width)
  turns_K = trained * plain_K / (2 * math.pi)
  slow = int((turns_K < 1).sum())
  yield (
    f'What rotations encode: {regime}',
    [
      f'A head has {plain_K.size} pairs of dimensions. Pair k turns by theta_k '
      'from one token to the next, so that a fast pair tells neighbours apart '
      'and a slow one tells near from far. '
      f'{plain_K.size - slow} of them complete a turn within the trained '
      f'{trained:,} tokens: of those the model has seen every angle. The other '
      f'{slow} were seen over part of a circle, and at {target:,} tokens they '
      'reach angles that are new unless they are slowed down.'
    ],
    (
      ('pair', 'period, tokens', f'turns in {trained:,}', f'in {target:,}'),
      [
        (str(k), *map(_three, (2 * math.pi / t, n, n * target / trained)))
        for k, (t, n) in enumerate(zip(plain_K, turns_K))
      ],
    ),
  )
  if ways:
    scaled = {n: r.inverse_frequencies(width) for n, r in ways.items()}
    yield _scaling(regime, plain_K, scaled, (trained, target))


def _scaling(
  regime: str,
  plain_K: np.ndarray,
  scaled: dict[str, np.ndarray],
  lengths: tuple[int, int],
) -> Section:
  trained, target = lengths
  slow_K = trained * plain_K < 2 * math.pi
  sentences = []
  for name, theta_K in scaled.items():
    # A pair that is a thousandth beyond is not worth a word.
    new_K = slow_K & (theta_K * target > 1.001 * plain_K * trained)
    sentences.append(
      f'{name}: {int(new_K.sum())} of the {int(slow_K.sum())} slow pairs reach '
      f'angles at {target:,} tokens that training did not; neighbours are told '
      f'apart {_apart(theta_K) / _apart(plain_K):.2f} times as well as before.'
    )
  return (
    f'What scaling does to each pair: {regime}',
    [
      'By how much each period is stretched. To keep a slow pair within what '
      f'it has seen takes {target / trained:g}; whatever the fast pairs are '
      'stretched by is lost in telling neighbours apart.',
      *sentences,
      'How well neighbours are told apart is what q.k loses over one token if '
      'all pairs have the same content: the mean of 1 - cos theta_k.',
    ],
    (
      ('pair', 'period, tokens', *scaled),
      [
        (
          str(k),
          _three(2 * math.pi / theta),
          *(f'{theta / theta_K[k]:.2f}' for theta_K in scaled.values()),
        )
        for k, theta in enumerate(plain_K)
      ],
    ),
  )


def _three(value: float) -> str:
  return f'{value:.3g}' if value < 1000 else f'{value:,.0f}'


def _apart(theta_K: np.ndarray) -> float:
  return float(np.mean(1 - np.cos(theta_K)))


def _biases(found: cells.Evidence) -> Iterable[Section]:
  """What each fixed or tabled bias does to neighbouring distances."""
  parts = [
    part
    for cell in found.study.cells
    if cell.digest in found.runs
    for part in _parts(found, cell)
  ]
  paragraphs = []
  for part in dict.fromkeys(parts):
    if isinstance(part, schemes.ALiBi):
      paragraphs.append(_alibi(part, found))
    if isinstance(part, schemes.T5):
      paragraphs.append(_table(part, found))
  if paragraphs:
    yield 'What each bias does to neighbouring distances', paragraphs, None


def _alibi(bias: schemes.ALiBi, found: cells.Evidence) -> str:
  trained, target = found.study.trained_length, found.study.target
  slopes_H = bias.slopes(_head(found)[0])
  steep, flat = slopes_H.max(), slopes_H.min()
  return (
    'ALiBi takes the same off a logit for every token of distance: '
    f'{", ".join(map(_three, slopes_H))} nats, head by head. Neighbours differ '
    'by that at any distance, and all that lies between adds up: '
    f'{_three(steep * trained)} nats in the steepest head and '
    f'{_three(flat * trained)} in the flattest at {trained:,} tokens, '
    f'{_three(steep * target)} and {_three(flat * target)} at {target:,}. A '
    'key that far back must win by so much in content to be found, and of two '
    'keys of equal content the nearer one is preferred, whatever was asked.'
  )


def _table(bias: schemes.T5, found: cells.Evidence) -> str:
  trained, target = found.study.trained_length, found.study.target
  near, far = (_sharing(bias, n) for n in (trained, target - 1))
  return (
    f'T5 has a number of its own for each distance below {bias.side // 2}. '
    f'Beyond, distances share one: {near:,} of them around {trained:,} tokens, '
    f'{far:,} around {target - 1:,}. Within a bucket its resolution is 0, '
    'whatever was learned: far back it says how far, and not which came first. '
    'Buckets that begin beyond the trained length stay at 0, and change '
    'nothing, until an adaptation reaches them.'
  )


def _sharing(bias: schemes.T5, distance: int) -> int:
  """How many distances up to twice a distance share its bucket."""
  bucket_N = np.asarray(bias.bucket(np.arange(2 * distance + 1)))
  return int((bucket_N == bucket_N[distance]).sum())


def _resolution(found: cells.Evidence, seen: pd.DataFrame) -> Iterable[Section]:
  """What a token of distance is worth to a logit, as measured."""
  target = found.study.target
  mine = _at(seen, target, 'resolution')
  if mine.empty:
    return
  wide = mine.groupby(['digest', 'distance'])['value'].mean().unstack()
  bins = [f'{int(n):,}' for n in wide.columns]
  yield (
    'What a token of distance is worth to a logit, as measured',
    [
      'By how much a logit changes from one distance to the next with the '
      'content held fixed, in nats, by distance in tokens: means over layers, '
      f'heads, seeds and the distances of a bin, at {target:,} tokens. The '
      'larger, the more position has to say there; what it says may be what '
      'order needs, or a preference for what is near.'
    ],
    (
      ('cell', *bins),
      [
        (name, *map(_three, wide.loc[digest]))
        for name, digest in _named(found)
        if digest in wide.index
      ],
    ),
  )


# Measures of a head as one reads them.
_MEASURES = {
  'entropy': 'entropy / ln n',
  'first': 'on the first token',
  'beyond': 'beyond the trained length',
  'reach': 'mean distance, tokens',
  'rank_share': 'rank of the right key / (n - 1)',
}


def _heads(found: cells.Evidence, seen: pd.DataFrame) -> Iterable[Section]:
  """What the heads did at the target, beside what they did in training."""
  target = found.study.target
  rows = []
  for name, digest in _named(found):
    mine = seen[(seen['digest'] == digest) & (seen['length'] == target)]
    shown = []
    for measure in _MEASURES:
      one = mine[mine['measure'] == measure]
      shown.append(f'{one["baseline"].mean():.3g} -> {one["value"].mean():.3g}')
    if not mine.empty:
      rows.append((name, *shown))
  if rows:
    yield (
      'What the heads do',
      [
        'Means over layers, heads and seeds, of the trained model at the '
        f'trained length -> of the cell at {target:,} tokens. Even attention '
        'has entropy / ln n of 1; a right key that is found stands at rank 0, '
        'and at a half if nothing is known of it.'
      ],
      (('cell', *_MEASURES.values()), rows),
    )


def _at(seen: pd.DataFrame, length: int, measure: str) -> pd.DataFrame:
  return seen[(seen['length'] == length) & (seen['measure'] == measure)]


def _named(found: cells.Evidence) -> list[tuple[str, str]]:
  """What each cell is called, and its run."""
  several = len(found.study.regimes) > 1
  names = []
  for cell in found.study.cells:
    where = f', {cell.regime}' if several else ''
    names.append((f'{cell.label} ({cell.schedule}{where})', cell.digest))
  return [(name, digest) for name, digest in names if digest in found.runs]
