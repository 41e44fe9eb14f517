"""Costs as text for a terminal."""

import math
import textwrap
from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd

from posexp.reports import tables
from posexp.results import cost_records

# Columns of a label, before it gets a line of its own, and of a cell.
LABEL, WIDE, NARROW = 30, 23, 7

HELD = {
  'cpu': 'memory that a process of its own held in two calls, MiB',
  '': "the device's peak memory in a process of its own, MiB",
}


def text(body: dict[str, Any]) -> str:
  """A measurement as tables of at most 100 columns.

  Args:
    body: as `cost_records.read` gives it.
  """
  table = cost_records.table(body)
  blocks = [_head(body)]
  for quantity in cost_records.QUANTITIES:
    rows = table[table['quantity'] == quantity]
    if not rows.empty:
      blocks.append(_block(_title(rows), rows, _timing, WIDE))
  if not table.empty:
    blocks.append(_notes(body))
    blocks += _memory(body, table)
    blocks.append(_operations(table))
    blocks.append(_parameters(table))
  blocks.append(_growth(body))
  blocks.append('\n'.join(_wrap(s) for s in body['left_out']))
  return '\n\n'.join(filter(None, blocks))


def _head(body: dict[str, Any]) -> str:
  question, device = body['question'], body.get('device', {})
  layers = question['layers']
  return _wrap(
    f'{layers} layer{"s" * (layers > 1)}, {question["heads"]} heads of width '
    f'{question["head_width"]}, batch 1, float32, on {device.get("kind", "?")} '
    f'({device.get("machine", "?")}), jax {body["versions"]["jax"]}'
  )


def _title(rows: pd.DataFrame) -> str:
  quantity = rows['quantity'].iloc[0]
  return f'{cost_records.QUANTITIES[quantity]} (ms, ratio, 95% interval)'


def _notes(body: dict[str, Any]) -> str:
  counts = sorted(
    {len(s) for g in body['groups'] for s in g['seconds'].values()}
  )
  rounds = ' to '.join(str(n) for n in dict.fromkeys((counts[0], counts[-1])))
  return _wrap(
    f'Medians of {rounds} rounds, each of all schemes in turns, compilation '
    f'and warm-up left out; ratio to {body["question"]["baseline"]} in the '
    'same round, with the 95% interval of its median from order statistics.'
  )


def _memory(body: dict[str, Any], table: pd.DataFrame) -> Iterable[str]:
  title = 'memory that XLA plans for: arguments, outputs, temporaries, MiB'
  yield _every(title, table, _mebibytes('memory'))
  if table['resident'].notna().any():
    platform = body.get('device', {}).get('platform', '')
    held = HELD.get(platform, HELD[''])
    yield _every(held, table, _mebibytes('resident'))


def _operations(table: pd.DataFrame) -> str:
  title = "XLA's count of operations in a call, in millions"
  shown = _every(title, table, _millions)
  if not table['loops'].any():
    return shown
  loops = 'loop: XLA counts its body once, so that the count says nothing'
  return f'{shown}\n{loops}'


def _parameters(table: pd.DataFrame) -> str:
  rows = table[table['length'] == table['length'].max()]
  rows = rows.drop_duplicates('scheme')
  lines = [f'{"parameters":{LABEL}}{"all":>10}{"of position":>13}']
  for _, row in rows.iterrows():
    counts = f'{row["total"]:>10,}{row["positional"]:>13,}'
    lines += _labelled(row['scheme'], counts)
  return '\n'.join(lines)


def _growth(body: dict[str, Any]) -> str:
  """A sentence a scheme, the name in front."""
  lines = ['does anything grow with the context?']
  for found in body['growth']:
    sentence = f'{found["scheme"]}: {found["sentence"]}'
    lines.append(_wrap(sentence, indent='  '))
  return '\n'.join(lines) if body['growth'] else ''


def _every(
  title: str, table: pd.DataFrame, show: Callable[[pd.Series], str]
) -> str:
  """A narrow block of all quantities and lengths."""
  order = table['quantity'].map(list(cost_records.QUANTITIES).index)
  table = table.assign(order=order).sort_values(['order', 'length'])
  return _block(title, table, show, NARROW, ('quantity', 'length'))


def _block(
  title: str,
  rows: pd.DataFrame,
  show: Callable[[pd.Series], str],
  cell: int,
  keys: tuple[str, ...] = ('length',),
) -> str:
  """Schemes down, what the keys say across; as many as fit."""
  column = list(zip(*(rows[key] for key in keys)))
  found = {
    (scheme, c): show(row)
    for scheme, c, (_, row) in zip(rows['scheme'], column, rows.iterrows())
  }
  columns, fit = list(dict.fromkeys(column)), (tables.WIDTH - LABEL) // cell
  lines = [title]
  for start in range(0, len(columns), fit):
    shown = columns[start : start + fit]
    # A space more before each quantity but the first.
    wide = [
      cell + (n > 0 and c[:-1] != shown[n - 1][:-1])
      for n, c in enumerate(shown)
    ]
    row = lambda cells, wide=wide: ''.join(map(str.rjust, cells, wide))
    lines += [(' ' * LABEL + row(h)).rstrip() for h in _heads(shown)]
    for name in dict.fromkeys(rows['scheme']):
      cells = (found.get((name, c), '-') for c in shown)
      lines += _labelled(name, row(cells))
  return '\n'.join(lines)


def _heads(columns: list[tuple]) -> Iterable[list[str]]:
  """Quantities, each over its first column, above the lengths."""
  if len(columns[0]) == 1:
    yield [f'{length:,} tokens' for (length,) in columns]
    return
  names = [quantity for quantity, _ in columns]
  yield ['' if n and q == names[n - 1] else q for n, q in enumerate(names)]
  yield [_short(length) for _, length in columns]


def _labelled(label: str, cells: str) -> list[str]:
  if len(label) < LABEL:
    return [f'{label:{LABEL}}{cells}'.rstrip()]
  return [label, f'{"":{LABEL}}{cells}'.rstrip()]


def _timing(row: pd.Series) -> str:
  """Milliseconds, the ratio and its interval."""
  ends = f'{_ratio(row["low"])}-{_ratio(row["high"])}'
  if row['scheme'] == row['baseline'] or math.isnan(row['low']):
    ends = ''
  shown = f'{_digits(1000 * row["seconds"])}{_ratio(row["ratio"]):>6}'
  return f'{shown} {ends:9}'


def _ratio(value: float) -> str:
  if math.isnan(value):
    return '-'
  return f'{value:.2f}' if value < 9.995 else f'{value:.1f}'


def _mebibytes(column: str) -> Callable[[pd.Series], str]:
  return lambda row: _digits(row[column] / 2**20)


def _millions(row: pd.Series) -> str:
  return 'loop' if row['loops'] else _digits(row['flops'] / 1e6)


def _digits(value: float) -> str:
  """Three digits or more, none of them after the point from 100 on.

  >>> _digits(0.0123), _digits(1.234), _digits(56.78), _digits(12345.6)
  ('0.0123', '1.23', '56.8', '12,346')
  """
  if math.isnan(value):
    return '-'
  if value >= 100 or value == 0:
    return f'{value:,.0f}'
  return f'{value:.{max(0, 2 - math.floor(math.log10(value)))}f}'


def _short(length: int) -> str:
  """A length in few letters.

  >>> _short(512), _short(2048), _short(1500)
  ('512', '2k', '1500')
  """
  return f'{length // 1024}k' if length % 1024 == 0 else str(length)


def _wrap(sentence: str, indent: str = '') -> str:
  return '\n'.join(
    textwrap.wrap(
      sentence,
      tables.WIDTH,
      initial_indent=indent,
      subsequent_indent=2 * indent,
    )
  )
