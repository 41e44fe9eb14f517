"""Why the options of a study behave as they do: formulas, and what was seen.

Rotations, how they are scaled, and biases are read off the schemes of the runs;
what a position is worth to a logit is as measured in the runs themselves.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from posexp import schemes
from posexp.claims import format as format_lib
from posexp.plots import study_figures
from posexp.reports import document, templates
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


def _sentence(name: str, *values: Any) -> str:
  """Return what a macro of `mechanisms.jinja` says."""
  template = templates.template(
    'mechanisms.jinja',
    str,
    autoescape=False,
    significant=format_lib.significant,
  )
  given = {'count': '{:,}'.format, 'number': format_lib.number}
  return ' '.join(getattr(template.make_module(given), name)(*values).split())


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
  lengths = study.trained_length, study.target
  for regime, ways in by_regime.items():
    period_K = ways[UNSCALED]
    slow = int((period_K > study.trained_length).sum())
    encoded = _sentence('encoded', period_K.size, slow, *lengths)
    yield document.Text(encoded, f'{regime}.')
    yield document.Bullets(tuple(_scaled(study, ways)))
    yield _pairs(study, ways)
  yield document.Text(_sentence('neighbours'))
  picture = study_figures.periods(study, by_regime)
  yield document.Picture('memo_periods.png', _sentence('periods'), picture)


def _scaled(study: plan.Study, ways: Mapping[str, np.ndarray]) -> Iterator[str]:
  """Yield what each scaling gains and loses."""
  plain_K = ways[UNSCALED]
  slow_K = plain_K > study.trained_length
  for name, period_K in ways.items():
    if name != UNSCALED:
      # A pair that is a thousandth beyond is not worth a word.
      seen_K = study.target / period_K <= 1.001 * study.trained_length / plain_K
      new, slow = int((slow_K & ~seen_K).sum()), int(slow_K.sum())
      apart = _apart(period_K) / _apart(plain_K)
      yield _sentence('scaled', name, new, slow, study.target, apart)


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
      format_lib.significant(period),
      *(format_lib.significant(n / period) for n in lengths),
      *(format_lib.number(ways[name][k] / period) for name in scaled),
    )
    for k, period in enumerate(plain_K)
  ]
  return document.Table(head, tuple(rows))


def _biases(evidence: evidence_lib.Evidence) -> Iterator[document.Block]:
  """Yield what each fixed or tabled bias does to neighbouring distances."""
  trained, target = evidence.study.trained_length, evidence.study.target
  parts = [
    part
    for cell in evidence.study.cells
    if cell.digest in evidence.runs
    for part in _parts(evidence, cell)
  ]
  lines = []
  for part in dict.fromkeys(parts):
    if isinstance(part, schemes.ALiBi):
      slopes = part.slopes(_head(evidence)[0]).tolist()
      lines.append(_sentence('alibi', slopes, trained, target))
    if isinstance(part, schemes.T5):
      near, far = (_sharing(part, n) for n in (trained, target - 1))
      own, last = part.side // 2, target - 1
      lines.append(_sentence('table', own, near, trained, far, last))
  if lines:
    yield document.Heading('What each bias does to neighbouring distances', 3)
    yield document.Bullets(tuple(lines))


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
  yield document.Text(_sentence('worth', evidence.study.target))
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
    yield document.Text(_sentence('heads', evidence.study.target))
    head = ('regime', 'option', 'schedule', *_MEASURES.values())
    yield document.Table(head, tuple(rows))


def _moved(means: pd.DataFrame, measure: str) -> str:
  if measure not in means.index:
    return '–'
  before, after = means.loc[measure]
  return f'{before:.3g} → {after:.3g}'
