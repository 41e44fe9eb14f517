"""Why the options of a study behave as they do: formulas, and what was seen.

Rotations, how they are scaled, and biases are read off the schemes of the runs;
what a position is worth to a logit is as measured in the runs themselves.
"""

import math
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from posexp import schemes
from posexp.plots import study_figures
from posexp.reports import document
from posexp.studies import evidence as evidence_lib
from posexp.studies import plan

UNSCALED = 'unscaled'


def blocks(evidence: evidence_lib.Evidence) -> Iterator[document.Block]:
  """Yield what rotations encode, what scaling and biases do, what heads did."""
  yield from _rotations(evidence)
  yield from _biases(evidence)
  seen = evidence.heads[evidence.heads['length'] == evidence.study.target]
  good = evidence.cells.loc[evidence.cells['admitted'], ['digest', 'seed']]
  seen = seen.merge(good.drop_duplicates(), on=['digest', 'seed'])
  yield from _worth(evidence, seen)
  yield from _heads(evidence, seen)


def periods(
  evidence: evidence_lib.Evidence, regime: str
) -> dict[str, np.ndarray]:
  """Return the period of each pair in tokens, by scaling, the unscaled first.

  Nothing where no run has rotations that are not scaled.
  """
  width = _head(evidence)[1]
  ways: dict[str, np.ndarray] = {}
  for cell in evidence.study.cells:
    if cell.regime == regime and cell.digest in evidence.runs:
      for part in _parts(evidence, cell):
        if isinstance(part, schemes.RoPE):
          theta_K = part.inverse_frequencies(width)
          ways.setdefault(_way(part), 2 * math.pi / theta_K)
  if UNSCALED not in ways:
    return {}
  return {UNSCALED: ways.pop(UNSCALED), **ways}


def _way(rope: schemes.RoPE) -> str:
  """Return what a scaling is called in a table."""
  plain = rope.frequencies == schemes.Law()
  return UNSCALED if plain else type(rope.frequencies).__name__


def _parts(
  evidence: evidence_lib.Evidence, cell: plan.Cell
) -> tuple[schemes.Scheme, ...]:
  try:
    scheme = schemes.parse(evidence.runs[cell.digest]['scheme'])
  except ValueError:  # A class of the user's own has no text that is read.
    return ()
  resolved = scheme.trained_at(evidence.study.trained_length)
  return resolved.for_length(evidence.study.target).parts


def _head(evidence: evidence_lib.Evidence) -> tuple[int, int]:
  """Return the number of heads and their width, the same in all runs."""
  run = next(iter(evidence.runs.values()))
  return run['heads'], run['head_width']


def _rotations(evidence: evidence_lib.Evidence) -> Iterator[document.Block]:
  study = evidence.study
  regimes = study.regimes if evidence.runs else ()
  by_regime = {regime: periods(evidence, regime) for regime in regimes}
  by_regime = {regime: ways for regime, ways in by_regime.items() if ways}
  if not by_regime:
    return
  yield document.Heading(
    'What rotations encode, and what scaling does to them', 3
  )
  for regime, ways in by_regime.items():
    yield document.Text(_encoded(study, ways[UNSCALED]), f'{regime}.')
    yield document.Bullets(tuple(_scaled(study, ways)))
    yield _pairs(study, ways)
  yield document.Text(
    'How well neighbours can be distinguished is measured by how much q.k '
    'falls over one token if all pairs have the same content: the mean of '
    '1 - cos theta_k.'
  )
  yield document.Picture(
    'memo_periods.png',
    'The period of each pair of a head, before and after scaling. A pair whose '
    'period exceeds the trained length has seen only part of the circle.',
    study_figures.periods(study, by_regime),
  )


def _encoded(study: plan.Study, period_K: np.ndarray) -> str:
  slow = int((period_K > study.trained_length).sum())
  return (
    f'A head has {period_K.size} pairs of dimensions. Pair k turns by theta_k '
    'from one token to the next: a fast pair distinguishes neighbours, a slow '
    f'one near from far. {period_K.size - slow} pairs complete a turn within '
    f'the trained {study.trained_length:,} tokens, so every angle was trained. '
    f'{slow} slow pairs have seen only part of the circle, and at '
    f'{study.target:,} tokens they reach new angles unless slowed down.'
  )


def _scaled(study: plan.Study, ways: Mapping[str, np.ndarray]) -> Iterator[str]:
  """Yield what each scaling gains and loses."""
  plain_K = ways[UNSCALED]
  slow_K = plain_K > study.trained_length
  for name, period_K in ways.items():
    if name == UNSCALED:
      continue
    # A pair that is a thousandth beyond is not worth a word.
    seen_K = study.target / period_K <= 1.001 * study.trained_length / plain_K
    yield (
      f'{name}: {int((slow_K & ~seen_K).sum())} of the {int(slow_K.sum())} '
      f'slow pairs reach new angles at {study.target:,} tokens; neighbours are '
      f'distinguished {_apart(period_K) / _apart(plain_K):.2f} times as well '
      'as before.'
    )


def _apart(period_K: np.ndarray) -> float:
  return float(np.mean(1 - np.cos(2 * math.pi / period_K)))


def _pairs(study: plan.Study, ways: Mapping[str, np.ndarray]) -> document.Table:
  """Return a row for each pair: its period, turns and stretch factors."""
  plain_K = ways[UNSCALED]
  scaled = [name for name in ways if name != UNSCALED]
  lengths = study.trained_length, study.target
  head = (
    *('pair', 'period, tokens'),
    *(f'turns in {n:,}' for n in lengths),
    *(f'stretched by {name}' for name in scaled),
  )
  rows = [
    (
      str(k),
      _three(period),
      *(_three(n / period) for n in lengths),
      *(f'{ways[name][k] / period:.2f}' for name in scaled),
    )
    for k, period in enumerate(plain_K)
  ]
  return document.Table(head, tuple(rows))


def _three(value: float) -> str:
  return f'{value:.3g}' if value < 1000 else f'{value:,.0f}'


def _biases(evidence: evidence_lib.Evidence) -> Iterator[document.Block]:
  """Yield what each fixed or tabled bias does to neighbouring distances."""
  parts = [
    part
    for cell in evidence.study.cells
    if cell.digest in evidence.runs
    for part in _parts(evidence, cell)
  ]
  lines = []
  for part in dict.fromkeys(parts):
    if isinstance(part, schemes.ALiBi):
      lines.append(_alibi(part, evidence))
    if isinstance(part, schemes.T5):
      lines.append(_table(part, evidence))
  if lines:
    yield document.Heading('What each bias does to neighbouring distances', 3)
    yield document.Bullets(tuple(lines))


def _alibi(bias: schemes.ALiBi, evidence: evidence_lib.Evidence) -> str:
  trained, target = evidence.study.trained_length, evidence.study.target
  slopes_H = bias.slopes(_head(evidence)[0])
  steep, flat = slopes_H.max(), slopes_H.min()
  return (
    'ALiBi subtracts the same amount from a logit for every token of distance: '
    f'{", ".join(map(_three, slopes_H))} nats, head by head. Neighbours differ '
    'by this amount at any distance, and it adds up over the distance: '
    f'{_three(steep * trained)} nats in the steepest head and '
    f'{_three(flat * trained)} in the flattest at {trained:,} tokens, '
    f'{_three(steep * target)} and {_three(flat * target)} at {target:,}. A '
    'distant key is found only if its content outweighs this penalty, and of '
    'two keys with equal content the nearer one is preferred, whatever the '
    'question.'
  )


def _table(bias: schemes.T5, evidence: evidence_lib.Evidence) -> str:
  trained, target = evidence.study.trained_length, evidence.study.target
  near, far = (_sharing(bias, n) for n in (trained, target - 1))
  return (
    f'T5 has a separate bias for each distance below {bias.side // 2}. Beyond, '
    f'distances share a bucket: {near:,} of them around {trained:,} tokens, '
    f'{far:,} around {target - 1:,}. Within a bucket the resolution is 0, '
    'whatever was learned: the bias tells how far away a distant token is, but '
    'not which of two came first. When it is added to a trained model, all '
    'biases are 0, so zero-shot it has no effect; adaptation trains the '
    'buckets that it reaches.'
  )


def _sharing(bias: schemes.T5, distance: int) -> int:
  """Return how many distances up to twice a distance share its bucket."""
  bucket_N = np.asarray(bias.bucket(np.arange(2 * distance + 1)))
  return int((bucket_N == bucket_N[distance]).sum())


def _worth(
  evidence: evidence_lib.Evidence, seen: pd.DataFrame
) -> Iterator[document.Block]:
  """Yield what a token of distance is worth to a logit, as measured."""
  resolution = seen[seen['measure'] == 'resolution']
  if resolution.empty:
    return
  yield document.Heading('How much a logit changes per token of distance', 3)
  yield document.Text(
    'How much a logit changes from one distance to the next with fixed '
    'content: means over layers, heads, admitted seeds and the distances of a '
    f'bin, measured at {evidence.study.target:,} tokens. The larger the '
    'change, the stronger the effect of position at that distance; this may '
    'be the order that a task needs, or a preference for near tokens.'
  )
  for number, regime in enumerate(evidence.study.regimes):
    png = study_figures.worth(evidence, regime, resolution)
    if png is not None:
      caption = f'The change of a logit per token of distance; {regime}.'
      yield document.Picture(f'memo_worth_{number}.png', caption, png)


# Measures of a head as one reads them.
_MEASURES = {
  'asked_entropy': 'entropy / ln n',
  'asked_first': 'on the first token',
  'beyond': 'beyond the trained length',
  'reach': 'mean distance, tokens',
  'rank_share': 'rank of the right key / (n - 1)',
}


def _heads(
  evidence: evidence_lib.Evidence, seen: pd.DataFrame
) -> Iterator[document.Block]:
  """Yield what the heads did at the target, and in training beside it."""
  known = seen['digest'].unique()
  rows = []
  for cell in evidence.study.cells:
    heads = seen[seen['digest'] == cell.digest]
    means = heads.groupby('measure')[['baseline', 'value']].mean()
    if cell.digest in known:
      named = (cell.regime, cell.label, cell.schedule)
      rows.append((*named, *(_moved(means, name) for name in _MEASURES)))
  if rows:
    yield document.Heading('What the heads do', 3)
    yield document.Text(
      'Means over layers, heads and admitted seeds: of the trained model at '
      f'the trained length → of the cell at {evidence.study.target:,} tokens. '
      'Entropy, first token and rank are measured at queries that predict an '
      'answer, the rest at queries all over the sequence. Uniform attention '
      'has an entropy / ln n of 1. The relative rank of the right key is 0 if '
      'it is found, and 0.5 on average if the head ignores it.'
    )
    head = ('regime', 'option', 'schedule', *_MEASURES.values())
    yield document.Table(head, tuple(rows))


def _moved(means: pd.DataFrame, measure: str) -> str:
  if measure not in means.index:
    return '–'
  before, after = means.loc[measure]
  return f'{before:.3g} → {after:.3g}'
