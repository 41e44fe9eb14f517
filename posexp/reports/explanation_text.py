"""An explanation as text for a terminal."""

from collections.abc import Iterable, Mapping

import numpy as np

from posexp.claims import format as format_lib
from posexp.reports import templates, text_table
from posexp.results import explanations
from posexp.results.explanations import Explanation

# Columns of a terminal; rows and heads of a table, the rest left out evenly.
WIDTH, ROWS, HEADS = 80, 16, 5


def text(explanation: Explanation) -> str:
  """Return the tables of what a scheme does, one blank line between them."""
  tables = _periods, _equalities, _filled, _score, _resolution
  return templates.text(
    'explanation.txt.jinja',
    WIDTH,
    found=explanation,
    ROWS=ROWS,
    isfinite=np.isfinite,
    **{show.__name__.removeprefix('_'): show for show in tables},
  )


def distances(explanation: Explanation) -> list[int]:
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


def _periods(explanation: Explanation, rotation: explanations.Rotation) -> str:
  """Return the periods of a rotation, and its turns in both lengths."""
  lengths = explanation.train_length, explanation.target
  before_K, after_K = rotation.before_K, rotation.after_K
  if rotation.scaled:
    columns = {'before': before_K, 'after': after_K}
    columns['times'] = rotation.stretch_K
    for n in lengths:
      columns |= {f'{n} before': n / before_K, f'{n} after': n / after_K}
  else:
    columns = {'period': after_K} | {f'in {n}': n / after_K for n in lengths}
  shown = _some(len(after_K), ROWS)
  return _columns('pair', shown, {k: c_K[shown] for k, c_K in columns.items()})


def _equalities(rotation: explanations.Rotation) -> str:
  """Return how far a scaled rotation is from the plain one elsewhere."""
  shared = f'all 1/{rotation.factor:.4g}'
  rows: list[tuple[str, ...]] = [
    ('n', "r_k = theta'_k / theta_k", shared, 'all 1')
  ]
  for check in rotation.equalities:
    gaps = (f'{gap:.1e}' for gap in (check.own, check.shared, check.none))
    rows.append((str(check.distance), *gaps))
  return _table(rows)


def _filled(explanation: Explanation, stairs: explanations.Stairs) -> str:
  """Return a filled table beside the line that it samples."""
  n = np.array(distances(explanation))
  step_N, line_N = stairs.filled_HxN[0, n], stairs.alibi_HxN[0, n]
  same_N = np.isclose(step_N, line_N, rtol=1e-6)
  columns = {
    'bucket': stairs.bucket_N[n],
    'stairs': step_N,
    'ALiBi': line_N,
    'apart': np.where(same_N, 0.0, step_N - line_N),
  }
  return _columns('distance', n, columns)


def _score(explanation: Explanation) -> str:
  """Return what falls with distance: content, biases, what inputs share."""
  n = np.array(distances(explanation))
  columns: dict[str, np.ndarray] = {}
  if explanation.content is not None:
    at = np.searchsorted(explanation.distance_N, n)
    columns['q.k'] = explanation.content.score_N[at]
  if explanation.similarity_T is not None:
    columns['p_i.p_j'] = explanation.similarity_T[n]
  columns |= _heads(explanation.bias_HxT, n)
  return _columns('distance', n, columns)


def _resolution(explanation: Explanation) -> str:
  """Return what tells two neighbours apart, near and far."""
  length, target = explanation.train_length, explanation.target
  asked = {1, length // 2, length - 1, target // 2, target - 1}
  n = np.array(sorted(d for d in asked if d in explanation.distance_N))
  at = np.searchsorted(explanation.distance_N, n)
  columns: dict[str, np.ndarray] = {}
  if explanation.content is not None:
    columns['q.k'] = explanation.content.change_N[at]
    if explanation.content.plain_N is not None:
      columns['unscaled'] = explanation.content.plain_N[at]
  columns |= _heads(explanation.step_HxN, at)
  return _columns('n', n, columns)


def _heads(values: np.ndarray | None, at: np.ndarray) -> dict[str, np.ndarray]:
  """Return a column for each of some heads."""
  if values is None:
    return {}
  heads = _some(len(values), HEADS)
  return {f'bias {head}': values[head, at] for head in heads}


def _some(count: int, most: int) -> list[int]:
  """Return at most so many of the first numbers, evenly, with both ends."""
  spread = np.linspace(0, count - 1, min(count, most)).round()
  return [int(i) for i in spread]


def _number(value: float) -> str:
  if isinstance(value, np.integer):
    return str(value)
  return 'never' if np.isinf(value) else format_lib.significant(value, 4)


def _columns(
  name: str, places: Iterable[int], columns: Mapping[str, np.ndarray]
) -> str:
  """Return named columns of numbers beside the places that they are of."""
  rows = [(name, *columns)]
  for place, *values in zip(places, *columns.values()):
    rows.append((str(place), *map(_number, values)))
  return _table(rows)


def _table(rows: text_table.Rows) -> str:
  return text_table.table(rows, align='>>', rule=True, width=WIDTH)
