"""Figures by sequence length: accuracy, success, kinds of errors."""

from collections.abc import Iterator, Mapping

import pandas as pd
from matplotlib import figure

from posexp.claims import format as format_lib
from posexp.claims import intervals, seed_spread
from posexp.plots import elements, layout, paper, style

# Columns of cells, and the titles of their panels.
Measures = Mapping[str, str]


def accuracy(results: pd.DataFrame) -> paper.Plate:
  """Draw accuracy by length: means with intervals, every seed, chance.

  Args:
    results: of one task and trained length, see `paper.questions`.
  """
  summary = intervals.summarize(paper.one_question(results))
  return _plate(
    'accuracy',
    'Accuracy by sequence length',
    paper.seeds(summary),
    results,
    summary,
    {'token': ''},
  )


def success(results: pd.DataFrame) -> paper.Plate:
  """Draw the share of seeds that reach the gate, with Wilson's interval.

  Args:
    results: of one task and trained length, see `paper.questions`.
  """
  cells = seed_spread.cells(paper.one_question(results))
  gate = format_lib.gate(results['gate'].iloc[0])
  return _plate(
    'success',
    'Share of the admitted seeds that succeed, by sequence length',
    f'at least {gate} of targets right, 95 % intervals of Wilson',
    results,
    cells,
    {'success': ''},
  )


def errors(results: pd.DataFrame) -> paper.Plate:
  """Draw order errors and retrieval errors by length, a panel each.

  Args:
    results: of one task and trained length, see `paper.questions`.
  """
  summary = intervals.summarize(paper.one_question(results))
  return _plate(
    'errors',
    'Order errors, which an ordering mistake would make, and other errors',
    paper.seeds(summary),
    results,
    summary,
    {'order': 'order errors', 'retrieval': 'retrieval errors'},
  )


def _plate(
  name: str,
  what: str,
  how: str,
  results: pd.DataFrame,
  cells: pd.DataFrame,
  measures: Measures,
) -> paper.Plate:
  return paper.Plate(
    name,
    _draw(results, cells, measures),
    paper.table(_numbers(cells, list(measures))),
    f'{what}. {paper.question(results)}; {how}.',
    paper.source(results),
  )


@style.styled
def _draw(
  results: pd.DataFrame, cells: pd.DataFrame, measures: Measures
) -> figure.Figure:
  looks = style.ranked(results, cells, next(iter(measures)))
  keys = style.keys(looks, intervals.labels(results))
  width = style.COLUMN if len(measures) == 1 else style.WIDTH
  drawn, spots = layout.panels(
    list(measures.values()), keys, width=width, sharey=True
  )
  if 'token' in measures:
    elements.accuracy(spots[0], cells, results, looks)
    return drawn
  admitted = results[results['admitted'].astype(bool)]
  trained = results['trained_length'].iloc[0]
  for spot, column in zip(spots, measures):
    elements.length_axis(spot, results['length'], trained)
    seeds = admitted if column in admitted else None
    elements.curves(spot, cells, column, looks, seeds=seeds)
  success = 'success' in measures
  label = 'seeds at the gate (%)' if success else 'errors (% of targets)'
  elements.share_axes(spots, label)
  return drawn


def _numbers(
  cells: pd.DataFrame, columns: list[str]
) -> Iterator[tuple[str, str, str]]:
  """Yield every run at every length, in percent."""
  for column in columns:
    part = f'{column}, ' if len(columns) > 1 else ''
    for row in cells.sort_values('length', kind='stable').to_dict('records'):
      ends = row[f'{column}_low'], row[f'{column}_high']
      text = format_lib.bracketed(row[column], *ends)
      text = text if row['n_admitted'] else 'n.a.'
      yield row['label'], f'{part}{row["length"]}', text
