"""An explanation as text for a terminal."""

import textwrap
from collections.abc import Mapping

import numpy as np

from posexp.reports import text_table
from posexp.results import explanations

# Columns of a terminal; rows and heads of a table, the rest left out evenly.
WIDTH, ROWS, HEADS = 80, 16, 5


def text(explanation: explanations.Explanation) -> str:
  """Return the tables of what a scheme does, one blank line between them."""
  title = (
    f'{explanation.scheme}, trained at {explanation.train_length} tokens, '
    f'target {explanation.target}'
  )
  blocks = [_wrap(title), *map(_wrap, explanation.notes)]
  for rotation in explanation.rotations:
    blocks += _rotation(explanation, rotation)
  blocks += [_stairs(explanation, stairs) for stairs in explanation.stairs]
  blocks += [_score(explanation), _resolution(explanation)]
  return '\n\n'.join(filter(None, blocks))


def distances(explanation: explanations.Explanation) -> list[int]:
  """Return distances worth a row: powers of two, and around the lengths."""
  length, target = explanation.train_length, explanation.target
  fixed = {1, length // 2, length - 1, length, target // 2, target - 1}
  doubled = {2**p for p in range(target.bit_length())}
  known = [n for n in sorted(fixed | doubled) if n in explanation.distance_N]
  extra = len(known) - ROWS
  if extra > 0:  # The middle powers of two say least.
    spare = [n for n in known if n not in fixed]
    drop = {spare[i] for i in _some(len(spare), min(extra, len(spare)))}
    known = [n for n in known if n not in drop]
  return known


def _rotation(
  explanation: explanations.Explanation, rotation: explanations.Rotation
) -> list[str]:
  """Return the periods of a rotation, and what its scaling keeps."""
  length, target = explanation.train_length, explanation.target
  after_K, before_K = rotation.after_K, rotation.before_K
  periods = {'here': after_K}
  columns = {'period': after_K}
  columns |= {f'in {n}': n / after_K for n in (length, target)}
  if rotation.scaled:
    periods = {'before': before_K, 'after': after_K}
    columns = {**periods, 'times': rotation.stretch_K}
    for n in (length, target):
      columns |= {f'{n} {when}': n / p_K for when, p_K in periods.items()}
  some = np.array(_some(len(after_K), ROWS))
  cut = f', {ROWS} of {len(after_K)}' if len(after_K) > ROWS else ''
  lines = [
    _wrap(
      f'Pairs of {rotation.name}{cut}: period in tokens, and turns (length / '
      f'period) within {length} and {target} tokens'
    ),
    _columns('pair', some, {name: c_K[some] for name, c_K in columns.items()}),
  ]
  for when, period_K in periods.items():
    within, beyond = ((period_K <= n).sum() for n in (length, target))
    lines.append(
      _wrap(
        f'{when}: {within} of {len(period_K)} pairs complete a period within '
        f'{length} tokens, {beyond} within {target}'
      )
    )
  blocks = ['\n'.join(lines)]
  if rotation.temperature != 1:
    blocks.append(f'Content logits are times {rotation.temperature:.6g}.')
  return blocks + (_scaling(rotation) if rotation.scaled else [])


def _scaling(rotation: explanations.Rotation) -> list[str]:
  """Return the period-matching constraint, and the rotation at other angles."""
  first, last = rotation.stretch_K[[0, -1]]
  factor = rotation.factor
  matched = 'it holds' if rotation.matched else 'it does not hold'
  constraint = (
    'Period matching, the constraint of base scaling (the period of the first '
    f'pair times 1, of the last times s = {factor:.6g}): first times '
    f'{first:.6g}, last times {last:.6g}; {matched}.'
  )
  if not np.isfinite(last):
    constraint = 'Period matching does not apply: some pairs no longer turn.'
  blocks = [_wrap(constraint)]
  if rotation.equalities:
    same = _wrap(
      'Is it the unscaled rotation at other angles? Largest '
      "|R'(n) x - R(r_k n) x| over normal x, float32, with pair k at r_k n:"
    )
    rows = [('n', "r_k = theta'_k / theta_k", f'all 1/{factor:.4g}', 'all 1')]
    for check in rotation.equalities:
      own, shared, none = check.own, check.shared, check.none
      row = (str(check.distance), f'{own:.1e}', f'{shared:.1e}', f'{none:.1e}')
      rows.append(row)
    blocks.append(f'{same}\n{_table(rows)}')
  return blocks


def _stairs(
  explanation: explanations.Explanation, stairs: explanations.Stairs
) -> str:
  """Return a filled table beside the line that it samples."""
  title = _wrap(
    f'{stairs.name} filled with ALiBi at the first distance of each bucket, '
    'beside ALiBi, first head (nats)'
  )
  n = np.array(distances(explanation))
  step_N, line_N = stairs.filled_HxN[0, n], stairs.alibi_HxN[0, n]
  apart_N = np.where(
    np.isclose(step_N, line_N, rtol=1e-6), 0.0, step_N - line_N
  )
  columns = {
    'bucket': stairs.bucket_N[n],
    'stairs': step_N,
    'ALiBi': line_N,
    'apart': apart_N,
  }
  shown = _columns('distance', n, columns)
  return f'{title}\n{shown}'


def _score(explanation: explanations.Explanation) -> str:
  """Return what falls with distance: content, biases, what inputs share."""
  n = np.array(distances(explanation))
  columns: dict[str, np.ndarray] = {}
  legend = []
  if explanation.content is not None:
    at = np.searchsorted(explanation.distance_N, n)
    columns['q.k'] = explanation.content.score_N[at]
    legend.append('q.k: mean of two equal tokens, 1 at distance 0')
  if explanation.similarity_T is not None:
    columns['p_i.p_j'] = explanation.similarity_T[n]
    legend.append(
      'p_i.p_j: of the vectors added to two inputs, 1 at distance 0'
    )
  if explanation.bias_HxT is not None:
    for head in _some(len(explanation.bias_HxT), HEADS):
      columns[f'bias {head}'] = explanation.bias_HxT[head, n]
    legend.append('bias h: added to the logit of head h, in nats')
  if not columns:
    return 'Distance changes no score.' if explanation.rotations else ''
  title = _wrap(f'Score against distance ({"; ".join(legend)})')
  return f'{title}\n{_columns("distance", n, columns)}'


def _resolution(explanation: explanations.Explanation) -> str:
  """Return what tells two neighbours apart, near and far."""
  length, target = explanation.train_length, explanation.target
  asked = {1, length // 2, length - 1, target // 2, target - 1}
  n = np.array(sorted(d for d in asked if d in explanation.distance_N))
  at = np.searchsorted(explanation.distance_N, n)
  columns: dict[str, np.ndarray] = {}
  legend = []
  if explanation.content is not None:
    columns['q.k'] = explanation.content.change_N[at]
    if explanation.content.plain_N is not None:
      columns['unscaled'] = explanation.content.plain_N[at]
    legend.append('q.k: rms change over its rms')
  if explanation.step_HxN is not None:
    for head in _some(len(explanation.step_HxN), HEADS):
      columns[f'bias {head}'] = explanation.step_HxN[head, at]
    legend.append('bias h: nats')
  if not columns:
    return ''
  title = _wrap(
    'Resolution: what changes between the neighbouring distances n - 1 and n '
    f'({"; ".join(legend)})'
  )
  note = _wrap(
    'A model reads order from these changes. The smaller they are, the easier '
    'it confuses two neighbours; a row of zeros cannot tell them apart.'
  )
  return f'{title}\n{_columns("n", n, columns)}\n{note}'


def _some(count: int, most: int) -> list[int]:
  """Return at most so many of the first numbers, evenly, with both ends."""
  spread = np.linspace(0, count - 1, min(count, most)).round()
  return [int(i) for i in spread]


def _number(value: float) -> str:
  """Return an integer as it is, else four digits in a cell of nine."""
  if isinstance(value, np.integer):
    return str(value)
  if np.isinf(value):
    return 'never'
  if value == 0:
    return '0'
  if 1e-4 <= abs(value) < 9999.5:
    digits = max(0, 3 - int(np.floor(np.log10(abs(value)))))
    return f'{value:.{min(digits, 6)}f}'
  if 1 <= abs(value) < 1e8:
    return f'{value:,.0f}' if abs(value) < 1e6 else f'{value:.2e}'
  return f'{value:.1e}'


def _columns(
  name: str, places: np.ndarray, columns: Mapping[str, np.ndarray]
) -> str:
  """Return named columns of numbers beside the places that they are of."""
  rows = [(name, *columns)]
  for place, *values in zip(places, *columns.values()):
    rows.append((str(place), *map(_number, values)))
  return _table(rows)


def _table(rows: text_table.Rows) -> str:
  return text_table.table(rows, align='>>', rule=True, width=WIDTH)


def _wrap(sentence: str) -> str:
  return textwrap.fill(sentence, WIDTH)
