"""What `posexp explain` and `posexp measure` left, as figures of a paper."""

from typing import Any

import numpy as np
import pandas as pd

from posexp import component
from posexp.claims import timings
from posexp.plots import costs, explanation, paper
from posexp.results.explanations import Explanation


def explained(found: Explanation) -> paper.Plate:
  """Periods of rotary pairs, biases, and what a token of distance changes.

  Args:
    found: as `explain_records.read` gives it.

  Raises:
    UserError: a sentence, if the scheme does nothing that can be drawn.
  """
  drawn = explanation.draw(found)
  if drawn is None:
    raise component.UserError(f'{found.scheme} does nothing that can be drawn')
  table = _periods(found) if found.rotations else _biases(found)
  what = 'Periods of rotary pairs, in tokens' if found.rotations else 'Bias'
  return paper.Plate(
    f'explain-{paper.slug(explanation.name(found))}',
    drawn,
    table,
    f'{what}: {found.scheme}, trained at {found.train_length} tokens, target '
    f'{found.target}.',
  )


def _periods(found: Explanation) -> pd.DataFrame:
  rows: dict[str, list[str]] = {}
  for rotation in found.rotations:
    many = f'{rotation.name}, ' if len(found.rotations) > 1 else ''
    for k, (before, after) in enumerate(
      zip(rotation.before_K, rotation.after_K)
    ):
      numbers = before, after, after / before
      rows[f'{many}pair {k}'] = [_number(value) for value in numbers]
  columns = ['before', 'after', 'times']
  return pd.DataFrame.from_dict(rows, orient='index', columns=columns)


def _number(value: float) -> str:
  return f'{value:.4g}' if np.isfinite(value) else 'never'


def _biases(found: Explanation) -> pd.DataFrame:
  bias_HxT = found.bias_HxT
  if bias_HxT is None:
    return pd.DataFrame({'target': [f'{found.target}']}, ['tokens'])
  some = [2**p for p in range(found.target.bit_length()) if 2**p < found.target]
  rows = {
    f'head {h}': [f'{bias_T[n]:.3g}' for n in some]
    for h, bias_T in enumerate(bias_HxT)
  }
  columns = [f'at {n}' for n in some]
  return pd.DataFrame.from_dict(rows, orient='index', columns=columns)


def cost(body: dict[str, Any]) -> paper.Plate:
  """Time of schemes as a multiple of a baseline's, by length.

  Args:
    body: of one measurement, as `cost_records.read` gives it.
  """
  table = timings.table(body)
  drawn = costs.draw(table)
  others = table[table['scheme'] != table['baseline']]
  rows: dict[str, dict[str, str]] = {}
  for _, row in others.iterrows():
    where = f'{row["quantity"]}, {row["length"]:,}'
    ends = f' [{row["low"]:.2f}, {row["high"]:.2f}]'
    text = f'{row["ratio"]:.2f}' + (ends if np.isfinite(row['low']) else '')
    rows.setdefault(row['scheme'], {})[where] = text
  rounds = sorted({int(n) for n in others['rounds']})
  many = ' to '.join(map(str, dict.fromkeys((rounds[0], rounds[-1]))))
  return paper.Plate(
    'cost',
    drawn,
    pd.DataFrame.from_dict(rows, orient='index').fillna('–'),
    f'Time as a multiple of {table["baseline"].iloc[0]}: medians of {many} '
    'rounds in turns, with distribution-free 95 % intervals.',
    (f'measured {body["measured"]}',),
  )
