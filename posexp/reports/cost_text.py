"""Costs as text for a terminal."""

import math
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

from posexp.claims import timings
from posexp.reports import text_table
from posexp.results import cost_records

# Columns of a label, before it gets a line of its own.
LABEL = 30

HELD = {
  'cpu': 'memory that a process of its own held in two calls, MiB',
  '': "the device's peak memory in a process of its own, MiB",
}


def text(body: dict[str, Any]) -> str:
  """Return a measurement as tables of at most 100 columns.

  Args:
    body: as `cost_records.read` gives it.
  """
  table = timings.table(body)
  order = table['quantity'].map([*cost_records.QUANTITIES].index)
  table = table.assign(order=order).sort_values(['order', 'length'])
  blocks = [_head(body)]
  if not table.empty:
    blocks += _timings(table)
    blocks.append(_notes(body))
    blocks += _memory(body, table)
    blocks.append(_operations(table))
    blocks.append(_parameters(table))
  if body['growth']:
    blocks.append(_growth(body))
  if body['left_out']:
    blocks.append('\n'.join(_wrap(line) for line in body['left_out']))
  return '\n\n'.join(blocks)


def _head(body: dict[str, Any]) -> str:
  question, device = body['question'], body.get('device', {})
  layers = question['layers']
  return _wrap(
    f'{layers} layer{"s" * (layers > 1)}, {question["heads"]} heads of width '
    f'{question["head_width"]}, batch 1, float32, on {device.get("kind", "?")} '
    f'({device.get("machine", "?")}), jax {body["versions"]["jax"]}'
  )


def _timings(table: pd.DataFrame) -> Iterator[str]:
  """Yield a table a quantity: schemes down, lengths across."""
  for quantity, rows in table.groupby('quantity', sort=False):
    heads = [f'{length:,} tokens' for length in dict.fromkeys(rows['length'])]
    title = cost_records.QUANTITIES[str(quantity)]
    shown = _table([('', *heads)], rows, _timing)
    yield f'{title} (ms, ratio, 95% interval)\n{shown}'


def _notes(body: dict[str, Any]) -> str:
  counts = [len(s) for g in body['groups'] for s in g['seconds'].values()]
  ends = dict.fromkeys((min(counts), max(counts)))
  return _wrap(
    f'Medians of {" to ".join(map(str, ends))} rounds, each of all schemes in '
    'turns, compilation and warm-up left out; ratio to '
    f'{body["question"]["baseline"]} in the same round, with the 95% interval '
    'of its median from order statistics.'
  )


def _memory(body: dict[str, Any], table: pd.DataFrame) -> Iterator[str]:
  yield _every(
    'memory that XLA plans for: arguments, outputs, temporaries, MiB',
    table,
    lambda row: _digits(row['memory'] / 2**20),
  )
  if table['resident'].notna().any():
    platform = body.get('device', {}).get('platform', '')
    yield _every(
      HELD.get(platform, HELD['']),
      table,
      lambda row: _digits(row['resident'] / 2**20),
    )


def _operations(table: pd.DataFrame) -> str:
  shown = _every(
    "XLA's count of operations in a call, in millions",
    table,
    lambda row: 'loop' if row['loops'] else _digits(row['flops'] / 1e6),
  )
  if not table['loops'].any():
    return shown
  return (
    f'{shown}\nloop: XLA counts its body once, so that the count says nothing'
  )


def _parameters(table: pd.DataFrame) -> str:
  longest = table[table['length'] == table['length'].max()]
  rows = [('parameters', 'all', 'of position')]
  for _, row in longest.drop_duplicates('scheme').iterrows():
    rows.append((row['scheme'], f'{row["total"]:,}', f'{row["positional"]:,}'))
  return text_table.table(rows, label=LABEL)


def _growth(body: dict[str, Any]) -> str:
  """Return a sentence a scheme, the name in front."""
  sentences = (f'{g["scheme"]}: {g["sentence"]}' for g in body['growth'])
  lines = (_wrap(sentence, indent='  ') for sentence in sentences)
  return '\n'.join(['does anything grow with the context?', *lines])


def _every(
  title: str, table: pd.DataFrame, show: Callable[[pd.Series], str]
) -> str:
  """Return a table of all quantities and lengths, a short cell each."""
  columns = dict.fromkeys(zip(table['quantity'], table['length']))
  names = [quantity for quantity, _ in columns]
  heads = [
    ('', *('' if q == last else q for q, last in zip(names, ['', *names]))),
    ('', *(_short(length) for _, length in columns)),
  ]
  return f'{title}\n{_table(heads, table, show)}'


def _table(
  heads: list[tuple[str, ...]],
  rows: pd.DataFrame,
  show: Callable[[pd.Series], str],
) -> str:
  """Return heads and a row for each scheme; '-' if nothing was measured."""
  cells: dict[str, dict[tuple[str, int], str]] = {}
  columns = dict.fromkeys(zip(rows['quantity'], rows['length']))
  for _, row in rows.iterrows():
    place = row['quantity'], row['length']
    cells.setdefault(row['scheme'], {})[place] = show(row)
  body = [
    (scheme, *(by_place.get(place, '-') for place in columns))
    for scheme, by_place in cells.items()
  ]
  return text_table.table([*heads, *body], label=LABEL)


def _timing(row: pd.Series) -> str:
  """Return milliseconds, the ratio and its interval."""
  ends = f'{_ratio(row["low"])}-{_ratio(row["high"])}'
  if row['scheme'] == row['baseline'] or math.isnan(row['low']):
    ends = ''
  return f'{_digits(1000 * row["seconds"])}{_ratio(row["ratio"]):>6} {ends:9}'


def _ratio(value: float) -> str:
  if math.isnan(value):
    return '-'
  return f'{value:.2f}' if value < 9.995 else f'{value:.1f}'


def _digits(value: float) -> str:
  """Return three digits or more, none of them after the point from 100 on.

  >>> _digits(0.0123), _digits(1.234), _digits(56.78), _digits(12345.6)
  ('0.0123', '1.23', '56.8', '12,346')
  """
  if math.isnan(value):
    return '-'
  if value >= 100 or value == 0:
    return f'{value:,.0f}'
  return f'{value:.{max(0, 2 - math.floor(math.log10(value)))}f}'


def _short(length: int) -> str:
  """Return a length in few letters.

  >>> _short(512), _short(2048), _short(1500)
  ('512', '2k', '1500')
  """
  return f'{length // 1024}k' if length % 1024 == 0 else str(length)


def _wrap(sentence: str, indent: str = '') -> str:
  return textwrap.fill(
    sentence,
    text_table.WIDTH,
    initial_indent=indent,
    subsequent_indent=2 * indent,
  )
