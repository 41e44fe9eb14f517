"""Text in columns, for a terminal."""

from collections.abc import Sequence


def columns(rows: Sequence[Sequence[str]]) -> str:
  """Rows as aligned columns, the first of them a head with a rule below.

  >>> print(columns([('task', 'length'), ('Copy()', '64')]))
  task    length
  ------------
  Copy()  64
  """
  widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
  lines = [
    '  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
    for row in rows
  ]
  return '\n'.join([lines[0], '-' * min(100, sum(widths)), *lines[1:]])
