"""Errors by a stratum of the targets, such as the gap between two events."""

import numpy as np
import pandas as pd
from matplotlib import axes, figure, ticker

from posexp.claims import format as format_lib
from posexp.claims import intervals
from posexp.plots import elements, layout, paper, style

# Lengths that are shown at most, among them the first and the last.
LENGTHS = 3
# Strata that are numbers of tokens.
TOKENS = ('gap', 'distance', 'evidence', 'start', 'place')
KINDS = ('order', 'retrieval')


def by_stratum(
  results: pd.DataFrame, table: pd.DataFrame, stratum: str
) -> paper.Plate:
  """Draw order errors above, retrieval errors below, a column a length.

  Args:
    results: of one task and trained length.
    table: of the stratum, as `results.by_stratum.errors` gives it.
    stratum: its name.
  """
  question = paper.ask(results).only(table['digest'])
  seeds = table[table['length'].isin(some(table['length']))]
  keys = ['digest', 'length', 'bin']
  means = elements.means(seeds, keys, KINDS, intervals.SHARE)
  unit = f'{stratum} (tokens)' if stratum in TOKENS else stratum
  bins = table['bin']
  how = paper.seeds(question.summary)
  if bins.nunique() < bins.max() - bins.min():
    how += '. Each point is a doubling, from where it stands'
  if stratum in TOKENS and question.trained <= bins.max():
    how += '. Grey: the trained length'
  return question.plate(
    f'psychometric-{paper.slug(stratum)}',
    _draw(question, means, seeds, unit),
    _table(question, means, stratum),
    f'Errors by {unit}',
    how,
  )


def some(lengths: pd.Series) -> list[int]:
  """Return a few lengths that lie evenly, the first and last among them."""
  every = np.unique(lengths)
  index = np.linspace(0, len(every) - 1, min(LENGTHS, len(every)))
  return every[index.round().astype(int)].tolist()


@style.styled
def _draw(
  question: paper.Question, means: pd.DataFrame, seeds: pd.DataFrame, unit: str
) -> figure.Figure:
  lengths, trained = np.unique(means['length']), question.trained
  cells = [(kind, n) for kind in KINDS for n in lengths]
  drawn, panels = layout.panels(
    [f'{kind} errors, {n:,} tokens ({n / trained:.3g}×)' for kind, n in cells],
    question.keys,
    across=len(lengths),
    height=1.65,
    sharex=True,
    sharey=True,
  )
  for panel, (kind, n) in zip(panels, cells):
    _axis(panel, means['bin'], unit)
    here, each = (t[t['length'] == n] for t in (means, seeds))
    elements.curves(panel, here, kind, question.looks, x='bin', seeds=each)
    if unit.endswith('(tokens)') and trained <= means['bin'].max():
      panel.axvline(trained, color=style.GREY, lw=0.8, gid='trained')
  elements.share_axes(panels, '% of targets')
  return drawn


def _axis(panel: axes.Axes, bins: pd.Series, unit: str) -> None:
  if bins.min() > 0 and bins.max() / bins.min() > 8:
    elements.token_axis(panel, unit)
  else:
    panel.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
    panel.set_xlabel(unit)


def _table(
  question: paper.Question, means: pd.DataFrame, stratum: str
) -> pd.DataFrame:
  """Return every run, length and kind of error by bin."""
  return paper.table(
    (
      f'{question.names[digest]}, {row["length"]}, {kind}',
      f'{stratum} {row["bin"]}',
      format_lib.percent(row[kind]),
    )
    for digest in question.looks
    for row in means[means['digest'] == digest].to_dict('records')
    for kind in KINDS
  )
