"""Rows of text as aligned columns, for a terminal or a file."""

import math
from collections.abc import Iterator, Sequence

# Columns of a terminal; of a label, beyond which it has a line of its own; and
# between two cells.
WIDTH, LABEL, GAP = 100, 40, 2

# What stands for a character that a terminal does not have.
ASCII = {'±': '+-', '–': '-', '×': 'x', '→': '->', '’': "'"}

Rows = Sequence[Sequence[str]]


def in_ascii(error: UnicodeError) -> tuple[str, int]:
  """Return what stands for characters that cannot be encoded, '?' at worst.

  An error handler of `codecs`.

  >>> import codecs
  >>> codecs.register_error('in_ascii', in_ascii)
  >>> print('99.7 ±0.4'.encode('ascii', 'in_ascii'))
  b'99.7 +-0.4'
  """
  if not isinstance(error, UnicodeEncodeError):
    raise error
  missing = error.object[error.start : error.end]
  return ''.join(ASCII.get(c, '?') for c in missing), error.end


def columns(rows: Rows) -> str:
  """Return rows as columns of words, the first of them a head over a rule.

  >>> print(columns([('task', 'length'), ('Copy()', '64')]))
  task    length
  --------------
  Copy()  64
  """
  return table(rows, align='<<', rule=True, width=math.inf, label=math.inf)


def table(
  rows: Rows,
  *,
  align: str = '<>',
  rule: bool = False,
  width: float = WIDTH,
  label: float = LABEL,
) -> str:
  """Return rows as aligned columns, those that do not fit below the others.

  The first cell of a row is its label. A shorter row is a label and a sentence
  that goes across the columns, and an empty one is a blank line.

  Args:
    rows: cells, with heads among the rows.
    align: how labels and how all other cells are aligned, each '<' or '>'.
    rule: whether a line is drawn below the first row.
    width: the most characters of a line.
    label: the most characters of a label beside its cells.

  >>> rows = [('%', '64', '128'), ('NoPE()', 'none'), ('T5()', '9.5', '8')]
  >>> print(table(rows))
  %        64  128
  NoPE()  none
  T5()    9.5    8
  """
  count = max(map(len, rows))
  whole = [row for row in rows if len(row) == count]
  first = max(len(row[0]) for row in rows if row and len(row[0]) <= label)
  widths = [max(len(row[n]) for row in whole) for n in range(count)]
  parts = []
  for shown in _fitting(widths, width - first):
    lines: list[str] = []
    for row in rows:
      cells = row[1:]
      if len(row) == count:
        cells = [f'{row[n]:{align[1]}{widths[n]}}' for n in shown]
      body = ''.join(' ' * GAP + cell for cell in cells)
      name = row[0] if row else ''
      line = f'{name:{align[0]}{first}}{body}'.rstrip()
      if len(name) > first and len(body) + first <= width:
        lines += [name, f'{"":{first}}{body}'.rstrip()]
      elif len(line) > width:
        lines += [name, body]
      else:
        lines.append(line)
    if rule:
      lines.insert(1, '-' * min(WIDTH, max(map(len, lines))))
    parts.append('\n'.join(lines))
  return '\n\n'.join(parts)


def _fitting(widths: Sequence[int], room: float) -> Iterator[list[int]]:
  """Yield the numbers of the columns that stand beside each other."""
  shown: list[int] = []
  used = 0
  for n, width in enumerate(widths[1:], 1):
    if shown and used + GAP + width > room:
      yield shown
      shown, used = [], 0
    shown.append(n)
    used += GAP + width
  yield shown
