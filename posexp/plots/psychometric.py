"""Errors by a stratum of the targets, such as the gap between two events."""

from collections.abc import Iterator, Mapping, Sequence

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
  summary = intervals.summarize(paper.one_question(results))
  lengths = some(table['length'])
  table = table[table['length'].isin(lengths)]
  keys = ['digest', 'length', 'bin']
  means = elements.means(table, keys, KINDS, intervals.SHARE)
  runs = set(table['digest'])
  looks = style.ranked(results, summary)
  looks = {digest: looks[digest] for digest in looks if digest in runs}
  names = intervals.labels(results)
  trained = results['trained_length'].iloc[0]
  unit = f'{stratum} (tokens)' if stratum in TOKENS else stratum
  bins = means['bin']
  note = ''
  if bins.nunique() < bins.max() - bins.min():
    note = ' Each point is a doubling, from where it stands.'
  if stratum in TOKENS and trained <= bins.max():
    note += ' Grey: the trained length.'
  return paper.Plate(
    f'psychometric-{paper.slug(stratum)}',
    _draw(means, table, looks, names, lengths, unit, trained),
    paper.table(_numbers(means, looks, names, stratum)),
    f'Errors by {unit}. {paper.question(results)}; {paper.seeds(summary)}.'
    f'{note}',
    paper.source(results),
  )


def some(lengths: pd.Series) -> list[int]:
  """Return a few lengths that lie evenly, the first and last among them."""
  every = np.unique(lengths)
  index = np.linspace(0, len(every) - 1, min(LENGTHS, len(every)))
  return every[index.round().astype(int)].tolist()


@style.styled
def _draw(
  means: pd.DataFrame,
  seeds: pd.DataFrame,
  looks: style.Looks,
  names: Mapping[str, str],
  lengths: Sequence[int],
  unit: str,
  trained: int,
) -> figure.Figure:
  cells = [(kind, n) for kind in KINDS for n in lengths]
  drawn, spots = layout.panels(
    [f'{kind} errors, {n:,} tokens ({n / trained:.3g}×)' for kind, n in cells],
    style.keys(looks, names),
    across=len(lengths),
    height=1.65,
    sharex=True,
    sharey=True,
  )
  for spot, (kind, n) in zip(spots, cells):
    _axis(spot, means['bin'], unit)
    here, each = (t[t['length'] == n] for t in (means, seeds))
    elements.curves(spot, here, kind, looks, x='bin', seeds=each)
    if unit.endswith('(tokens)') and trained <= means['bin'].max():
      spot.axvline(trained, color=style.GREY, lw=0.8, gid='trained')
  elements.share_axes(spots, '% of targets')
  return drawn


def _axis(spot: axes.Axes, bins: pd.Series, unit: str) -> None:
  if bins.min() > 0 and bins.max() / bins.min() > 8:
    elements.token_axis(spot, unit)
  else:
    spot.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
    spot.set_xlabel(unit)


def _numbers(
  means: pd.DataFrame,
  looks: style.Looks,
  names: Mapping[str, str],
  stratum: str,
) -> Iterator[tuple[str, str, str]]:
  """Yield every run, length and kind of error by bin."""
  for digest in looks:
    for row in means[means['digest'] == digest].to_dict('records'):
      for kind in KINDS:
        line = f'{names[digest]}, {row["length"]}, {kind}'
        text = format_lib.percent(row[kind])
        yield line, f'{stratum} {row["bin"]}', text
