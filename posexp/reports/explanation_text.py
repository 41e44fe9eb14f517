"""An explanation as text for a terminal."""

import textwrap
from collections.abc import Iterable, Sequence

import numpy as np

from posexp.results import explanations

# Columns of a terminal; rows and heads of a table, the rest left out evenly.
WIDTH, ROWS, HEADS = 80, 16, 5

Rows = Iterable[Sequence[str]]


def text(found: explanations.Explanation) -> str:
  """The tables of what a scheme does, one blank line between them."""
  title = (
    f'{found.scheme}, trained at {found.train_length} tokens, target '
    f'{found.target}'
  )
  blocks = [
    '\n'.join(_wrap(title)),
    *('\n'.join(_wrap(n)) for n in found.notes),
  ]
  for rotation in found.rotations:
    blocks += _rotation(found, rotation)
  blocks += [_stairs(found, stairs) for stairs in found.stairs]
  blocks += [*_score(found), *_resolution(found)]
  return '\n\n'.join(blocks)


def distances(found: explanations.Explanation) -> list[int]:
  """Distances worth a row: powers of two, and both sides of the lengths."""
  length, target = found.train_length, found.target
  fixed = {1, length // 2, length - 1, length, target // 2, target - 1}
  doubled = {2**p for p in range(target.bit_length())}
  known = [n for n in sorted(fixed | doubled) if n in found.distance_N]
  extra = len(known) - ROWS
  if extra > 0:  # The middle powers of two say least.
    spare = [n for n in known if n not in fixed]
    drop = {spare[i] for i in _some(len(spare), min(extra, len(spare)))}
    known = [n for n in known if n not in drop]
  return known


def _rotation(
  found: explanations.Explanation, rotation: explanations.Rotation
) -> list[str]:
  """The periods of a rotation, and what its scaling keeps."""
  length, target = found.train_length, found.target
  after_K, before_K = rotation.after_K, rotation.before_K
  some = _some(len(after_K), ROWS)
  cut = f', {ROWS} of {len(after_K)}' if len(after_K) > ROWS else ''
  name = f'Pairs of {rotation.name}{cut}: period in tokens, and turns (length '
  lines = [*_wrap(f'{name}/ period) within {length} and {target} tokens')]
  if not rotation.scaled:
    head = ['pair', 'period', f'in {length}', f'in {target}']
    columns = [after_K, length / after_K, target / after_K]
  else:
    head = ['pair', 'before', 'after', 'times']
    head += [f'{n} {w}' for n in (length, target) for w in ('before', 'after')]
    columns = [before_K, after_K, rotation.stretch_K]
    columns += [n / p for n in (length, target) for p in (before_K, after_K)]
  rows = [[str(k), *(_number(c[k]) for c in columns)] for k in some]
  lines += _table([head, *rows])
  for when, period_K in (('before', before_K), ('after', after_K)):
    if rotation.scaled or when == 'after':
      turned = [int((period_K <= n).sum()) for n in (length, target)]
      lines += _wrap(
        f'{when if rotation.scaled else "here"}: {turned[0]} of '
        f'{len(period_K)} pairs complete a period within {length} tokens, '
        f'{turned[1]} within {target}'
      )
  blocks = ['\n'.join(lines)]
  if rotation.temperature != 1:
    blocks.append(f'Content logits are times {rotation.temperature:.6g}.')
  return blocks + (_scaling(rotation) if rotation.scaled else [])


def _scaling(rotation: explanations.Rotation) -> list[str]:
  """The period-matching constraint, and the rotation at other angles."""
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
  if not rotation.equalities:
    return ['\n'.join(_wrap(constraint))]
  rows = [['n', "r_k = theta'_k / theta_k", f'all 1/{factor:.4g}', 'all 1']]
  for check in rotation.equalities:
    errors = (check.own, check.shared, check.none)
    rows.append([str(check.distance), *(f'{e:.1e}' for e in errors)])
  same = _wrap(
    "The same as the unscaled rotation at other angles? max |R'(n) x - "
    'R(r_k n) x| over normal x, float32, with pair k at r_k n:'
  )
  return ['\n'.join(_wrap(constraint)), '\n'.join([*same, *_table(rows)])]


def _stairs(
  found: explanations.Explanation, stairs: explanations.Stairs
) -> str:
  """A filled table beside the line that it samples."""
  title = (
    f'{stairs.name} filled with ALiBi at the first distance of each bucket, '
    'beside ALiBi, first head (nats)'
  )
  rows = [['distance', 'bucket', 'stairs', 'ALiBi', 'apart']]
  for n in distances(found):
    step, line = stairs.filled_HxN[0, n], stairs.alibi_HxN[0, n]
    apart = 0.0 if np.isclose(step, line, rtol=1e-6) else step - line
    values = [_number(v) for v in (step, line, apart)]
    rows.append([str(n), str(stairs.bucket_N[n]), *values])
  return '\n'.join([*_wrap(title), *_table(rows)])


def _score(found: explanations.Explanation) -> list[str]:
  """What falls with distance: content, biases, what is added to inputs."""
  n = np.array(distances(found))
  columns: list[tuple[str, np.ndarray]] = []
  says = []
  if found.content is not None:
    at = np.searchsorted(found.distance_N, n)
    columns.append(('q.k', found.content.score_N[at]))
    says.append('q.k: mean of two equal tokens, 1 at distance 0')
  if found.similarity_T is not None:
    columns.append(('p_i.p_j', found.similarity_T[n]))
    says.append('p_i.p_j: of what is added to two inputs, 1 at distance 0')
  if found.bias_HxT is not None:
    some = _some(len(found.bias_HxT), HEADS)
    columns += [(f'bias {h}', found.bias_HxT[h, n]) for h in some]
    says.append('bias h: added to the logit of head h, in nats')
  if not columns:
    return ['Distance changes no score.'] * bool(found.rotations)
  head = ['distance', *(name for name, _ in columns)]
  rows = [
    [str(d), *(_number(c[i]) for _, c in columns)] for i, d in enumerate(n)
  ]
  title = f'Score against distance ({"; ".join(says)})'
  return ['\n'.join([*_wrap(title), *_table([head, *rows])])]


def _resolution(found: explanations.Explanation) -> list[str]:
  """What tells two neighbours apart, near and far."""
  length, target = found.train_length, found.target
  asked = {1, length // 2, length - 1, target // 2, target - 1}
  n = np.array(sorted(d for d in asked if d in found.distance_N))
  at = np.searchsorted(found.distance_N, n)
  columns: list[tuple[str, np.ndarray]] = []
  content, step_HxN = found.content, found.step_HxN
  if content is not None:
    columns.append(('q.k', content.change_N[at]))
    if content.plain_N is not None:
      columns.append(('unscaled', content.plain_N[at]))
  if step_HxN is not None:
    some = _some(len(step_HxN), HEADS)
    columns += [(f'bias {h}', step_HxN[h, at]) for h in some]
  if not columns:
    return []
  head = ['n', *(name for name, _ in columns)]
  rows = [
    [str(d), *(_number(c[i]) for _, c in columns)] for i, d in enumerate(n)
  ]
  says = ['q.k: rms change over its rms'] * (content is not None)
  says += ['bias h: nats'] * (step_HxN is not None)
  title = (
    'Resolution: what changes between the neighbouring distances n - 1 and n '
    f'({"; ".join(says)})'
  )
  read = (
    'Read: order is read from these changes. The smaller they are, the easier '
    'two neighbours are taken for one another; a row of zeros is a tie.'
  )
  return ['\n'.join([*_wrap(title), *_table([head, *rows]), *_wrap(read)])]


def _some(count: int, most: int) -> list[int]:
  """At most so many of the first numbers, evenly, with both ends."""
  spread = np.linspace(0, count - 1, min(count, most)).round()
  return [int(i) for i in spread]


def _number(value: float) -> str:
  """Four digits, in a cell of nine."""
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


def _table(rows: Rows) -> list[str]:
  """Cells aligned to the right, under a rule."""
  rows = list(rows)
  widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
  lines = [
    '  '.join(cell.rjust(wide) for cell, wide in zip(row, widths))
    for row in rows
  ]
  return [lines[0], '-' * len(lines[0]), *lines[1:]]


def _wrap(sentence: str) -> list[str]:
  return textwrap.wrap(sentence, WIDTH)
