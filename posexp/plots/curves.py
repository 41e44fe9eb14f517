"""Figures by sequence length: accuracy, success, kinds of errors."""

from collections.abc import Sequence

import pandas as pd

from posexp.claims import format as format_lib
from posexp.claims import intervals
from posexp.plots import elements, layout, paper, style


@style.styled
def accuracy(results: pd.DataFrame) -> paper.Plate:
  """Draw accuracy by length: means with intervals, every seed, chance.

  Args:
    results: of one task and trained length, see `paper.questions`.
  """
  question = paper.ask(results)
  cells = question.summary
  drawn, (panel,) = layout.panels([''], question.keys, width=style.COLUMN)
  elements.accuracy(panel, cells, results, question.looks)
  what = 'Accuracy by sequence length'
  return question.plate('accuracy', drawn, _table(cells, ['token']), what)


@style.styled
def success(results: pd.DataFrame) -> paper.Plate:
  """Draw the share of seeds that reach the gate, with Wilson's interval.

  Args:
    results: of one task and trained length, see `paper.questions`.
  """
  question = paper.ask(results, intervals.cells, 'success')
  cells, columns = question.summary, ['success']
  drawn, panels = layout.panels([''], question.keys, width=style.COLUMN)
  label = 'seeds at the gate (%)'
  elements.by_length(panels, columns, label, cells, results, question.looks)
  gate = format_lib.gate(results['gate'].iloc[0])
  return question.plate(
    'success',
    drawn,
    _table(cells, columns),
    'Share of the admitted seeds that succeed, by sequence length',
    f'at least {gate} of targets right, 95 % intervals of Wilson',
  )


@style.styled
def errors(results: pd.DataFrame) -> paper.Plate:
  """Draw order errors and retrieval errors by length, a panel each.

  Args:
    results: of one task and trained length, see `paper.questions`.
  """
  question = paper.ask(results, column='order')
  cells, columns = question.summary, ['order', 'retrieval']
  titles = [f'{column} errors' for column in columns]
  drawn, panels = layout.panels(titles, question.keys, sharey=True)
  label = 'errors (% of targets)'
  elements.by_length(panels, columns, label, cells, results, question.looks)
  what = 'Order errors, which an ordering mistake would make, and other errors'
  return question.plate('errors', drawn, _table(cells, columns), what)


def _table(cells: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
  """Return every run at every length, in percent."""
  texts = []
  for column in columns:
    part = f'{column}, ' if len(columns) > 1 else ''
    for row in cells.sort_values('length', kind='stable').to_dict('records'):
      ends = row[f'{column}_low'], row[f'{column}_high']
      text = format_lib.bracketed(row[column], *ends)
      text = text if row['n_admitted'] else 'n.a.'
      texts.append((row['label'], f'{part}{row["length"]}', text))
  return paper.table(texts)
