"""Costs as text for a terminal."""

import math
from collections.abc import Callable
from typing import Any

import pandas as pd

from posexp.claims import format as format_lib
from posexp.claims import timings
from posexp.reports import templates, text_table
from posexp.results import cost_records

# Columns of a label, before it gets a line of its own.
LABEL = 30


def text(body: dict[str, Any]) -> str:
  """Return a measurement as tables of at most 100 columns.

  Args:
    body: as `cost_records.read` gives it.
  """
  rows = timings.table(body)
  order = rows['quantity'].map([*cost_records.QUANTITIES].index)
  rows = rows.assign(order=order).sort_values(['order', 'length'])
  counts = [len(s) for g in body['groups'] for s in g['seconds'].values()]
  ends = dict.fromkeys((min(counts, default=0), max(counts, default=0)))
  return templates.text(
    'cost.txt.jinja',
    body=body,
    rows=rows,
    quantities=cost_records.QUANTITIES,
    timings={
      quantity: _timings(of) for quantity, of in rows.groupby('quantity')
    },
    rounds=' to '.join(map(str, ends)),
    grid=_grid,
    parameters=_parameters(rows),
  )


def _timings(rows: pd.DataFrame) -> str:
  """Return a table of a quantity: milliseconds, the ratio and its interval."""
  heads = [f'{length:,} tokens' for length in dict.fromkeys(rows['length'])]
  return _table([('', *heads)], rows, _timing)


def _timing(row: pd.Series) -> str:
  ends = row['low'], row['high']
  if row['scheme'] == row['baseline']:
    ends = math.nan, math.nan
  ratio = format_lib.bracketed(row['ratio'], *ends, format_lib.number)
  milliseconds = format_lib.significant(1000 * row['seconds'])
  return f'{milliseconds}  {ratio:20}'


def _grid(rows: pd.DataFrame, column: str, unit: float) -> str:
  """Return a table of all quantities and lengths, a short cell each."""

  def show(row: pd.Series) -> str:
    if column == 'flops' and row['loops']:
      return 'loop'
    return format_lib.significant(row[column] / unit)

  heads: list[list[str]] = [[''], ['']]
  for quantity, of_quantity in rows.groupby('quantity', sort=False):
    lengths = dict.fromkeys(of_quantity['length'])
    heads[0] += [str(quantity), *[''] * (len(lengths) - 1)]
    heads[1] += map(_short, lengths)
  return _table(heads, rows, show)


def _table(
  heads: text_table.Rows,
  rows: pd.DataFrame,
  show: Callable[[pd.Series], str],
) -> str:
  """Return heads and a row for each scheme; a dash if nothing was measured."""
  place = [rows['quantity'], rows['length']]
  columns = dict.fromkeys(zip(*place))
  cells = pd.Series(
    rows.apply(show, axis=1).to_numpy(), [rows['scheme'], *place]
  )
  schemes = dict.fromkeys(rows['scheme'])
  body = [
    (s, *(cells.get((s, *at), format_lib.MISSING) for at in columns))
    for s in schemes
  ]
  return text_table.table([*heads, *body], label=LABEL)


def _parameters(rows: pd.DataFrame) -> str:
  longest = rows[rows['length'] == rows['length'].max()]
  lines = [('parameters', 'all', 'of position')]
  for row in longest.drop_duplicates('scheme').to_dict('records'):
    total, positional = f'{row["total"]:,}', f'{row["positional"]:,}'
    lines.append((row['scheme'], total, positional))
  return text_table.table(lines, label=LABEL)


def _short(length: int) -> str:
  """Return a length in few letters.

  >>> _short(512), _short(2048), _short(1500)
  ('512', '2k', '1500')
  """
  return f'{length // 1024}k' if length % 1024 == 0 else str(length)
