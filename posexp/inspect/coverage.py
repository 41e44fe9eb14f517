"""What an evaluation asks of a scheme that training never did."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from posexp import component, schemes

# A phase is known if training met one within this many radians of it, a
# thirty-second of a turn on either side.
NEAR = 2 * np.pi / 32


class Compared(NamedTuple):
  """What is new in an evaluation, by kind of regime.

  Attributes:
    shares: as `coverage` gives them.
    new: whether training never used what a place uses; l x m, 0 or 1.
  """

  shares: dict[str, float]
  new: dict[str, np.ndarray]


def coverage(
  scheme: schemes.Scheme,
  *,
  train_length: int,
  length: int,
  dims: schemes.Dims,
  trained: schemes.Scheme | None = None,
) -> dict[str, float]:
  """The share of each kind of regime that training never used.

  At a length l the places 0, ..., l - 1 are distances between two tokens
  ('phases' of rotary pairs, 'buckets' and 'offsets' of a table, 'distances'
  of a bias that is a formula) or indices of tokens ('rows' of a table,
  'angles' of sinusoids). A phase is new if no place in training came within
  1/32 of a turn, a distance if it is beyond the longest. For tables the share
  is of the different entries that are used, for the others of all pairs (or
  columns) and places. A scheme without position has no regimes.

  What is covered can still fail: interpolation asks for no new phase, but for
  a finer resolution.

  Args:
    scheme: what is evaluated.
    train_length: L, tokens in a training sequence.
    length: l, tokens in an evaluated one.
    dims: the sizes of the model.
    trained: what was trained, if it is another scheme (a retrofit).

  Returns:
    The share by kind, each from 0 to 1.

  >>> dims = schemes.Dims(width=64, heads=4, head_width=16)
  >>> def show(scheme):
  ...   shares = coverage(
  ...     scheme,
  ...     trained=schemes.RoPE(),
  ...     train_length=64,
  ...     length=256,
  ...     dims=dims,
  ...   )
  ...   return {kind: round(share, 2) for kind, share in shares.items()}
  >>> show(schemes.RoPE()), show(schemes.RoPE(schemes.Linear(4)))
  ({'phases': 0.21}, {'phases': 0.0})
  >>> show(schemes.T5())
  {'buckets': 1.0}
  """
  return compare(
    scheme,
    trained=trained,
    train_length=train_length,
    length=length,
    dims=dims,
  ).shares


def compare(
  scheme: schemes.Scheme,
  *,
  train_length: int,
  length: int,
  dims: schemes.Dims,
  trained: schemes.Scheme | None = None,
  adapted: Sequence[tuple[schemes.Scheme, int]] = (),
) -> Compared:
  """`coverage`, and which places are new; arguments as there.

  What was `adapted` since, schemes and lengths, was used in training too.
  """
  first = (scheme if trained is None else trained), train_length
  known = [
    one.trained_at(train_length).for_length(n).practised(dims, n)
    for one, n in (first, *adapted)
  ]
  used = _evaluated(scheme, train_length, length).regimes(
    dims, np.arange(length)
  )
  shares, new = {}, {}
  for kind, used_NxM in used.items():
    each = [_new(kind, used_NxM, one.get(kind)) for one in known]
    new_NxM = np.logical_and.reduce(each).astype(np.float64)
    counted = new_NxM
    if kind not in ('phases', 'angles', 'distances'):
      _, once = np.unique(used_NxM, axis=0, return_index=True)
      counted = new_NxM[once]
    shares[kind], new[kind] = float(counted.mean()), new_NxM
  return Compared(shares, new)


def mass(
  new: dict[str, np.ndarray], by_distance_N: np.ndarray, by_index_N: np.ndarray
) -> dict[str, float]:
  """The share of attention that falls on what training never used, by kind.

  Args:
    new: as `compare` gives it.
    by_distance_N: the attention paid to each distance, summing to one.
    by_index_N: the attention paid to the key at each index.
  """
  return {
    kind: float(
      new_NxM.mean(axis=1)
      @ (by_index_N if kind in schemes.BY_INDEX else by_distance_N)
    )
    for kind, new_NxM in new.items()
  }


def text(
  scheme: schemes.Scheme,
  *,
  train_length: int,
  dims: schemes.Dims,
  target: int | None = None,
  trained: schemes.Scheme | None = None,
) -> str:
  """A table of the coverage at lengths up to a target, 4 times the trained."""
  component.at_least('train_length', train_length, 2, 'one token has no place')
  target = 4 * train_length if target is None else target
  component.at_least('target', target, train_length, 'give a longer one')
  ratios = (1, 1.5, 2, 4, 8, 16, 32, 64)
  inside = {round(train_length * r) for r in ratios}
  lengths = sorted({n for n in inside if n < target} | {target})
  for length in lengths:
    _evaluated(scheme, train_length, length).check(dims, length)
  found = [
    coverage(
      scheme,
      trained=trained,
      train_length=train_length,
      length=length,
      dims=dims,
    )
    for length in lengths
  ]
  title = f'{scheme}, trained at {train_length} tokens'
  title += f' under {trained}' if trained is not None else ''
  if not found[0]:
    return f'{title}: it has no regimes; nothing in it depends on position'
  lines = [title, 'share that training never used, by length in tokens', '']
  lines.append(f'{"":12}' + ''.join(f'{n:>10,}' for n in lengths))
  for kind in found[0]:
    cells = ''.join(f'{f[kind]:>10.1%}' for f in found)
    lines.append(f'{kind:12}{cells}')
  return '\n'.join(lines)


def _evaluated(
  scheme: schemes.Scheme, train_length: int, length: int
) -> schemes.Scheme:
  return scheme.trained_at(train_length).evaluated().for_length(length)


def _new(
  kind: str, used_NxM: np.ndarray, known_PxM: np.ndarray | None
) -> np.ndarray:
  """Which entries of a kind were never used in training, column by column."""
  if known_PxM is None or known_PxM.shape[1] != used_NxM.shape[1]:
    return np.ones(used_NxM.shape, bool)
  if kind == 'distances':
    return used_NxM > known_PxM.max(axis=0, keepdims=True)
  columns = range(used_NxM.shape[1])
  if kind in ('phases', 'angles'):
    return np.stack(
      [_far(used_NxM[:, m], known_PxM[:, m]) for m in columns], axis=1
    )
  return np.stack(
    [~np.isin(used_NxM[:, m], known_PxM[:, m]) for m in columns], axis=1
  )


def _far(used_N: np.ndarray, known_P: np.ndarray) -> np.ndarray:
  """Which angles are further than NEAR from all known ones, on the circle."""
  known = np.sort(known_P)
  around = np.concatenate(
    [known[-1:] - 2 * np.pi, known, known[:1] + 2 * np.pi]
  )
  above = np.searchsorted(around, used_N).clip(1, around.size - 1)
  gap_N = np.minimum(around[above] - used_N, used_N - around[above - 1])
  return gap_N > NEAR + 1e-9
