"""Count what an evaluation asks of a scheme that training never used."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from posexp.schemes import base

# A phase is known if training met one within this many radians of it, a
# thirty-second of a turn on either side.
NEAR = 2 * np.pi / 32

# Kinds whose features lie on a circle.
CYCLIC = ('phases', 'angles')


class Compared(NamedTuple):
  """What is new in an evaluation, by kind of feature.

  Attributes:
    shares: as `coverage` returns them.
    new: whether training never used what a place uses; l x m, 0 or 1.
  """

  shares: dict[str, float]
  new: dict[str, np.ndarray]


def coverage(
  scheme: base.Scheme,
  *,
  train_length: int,
  length: int,
  dims: base.Dims,
  trained: base.Scheme | None = None,
) -> dict[str, float]:
  """Compute the share of each kind of feature that training never used.

  At a length `l` the places 0, ..., l - 1 are distances between two tokens
  ('phases' of rotary pairs, 'buckets' and 'offsets' of a table, 'distances'
  of a bias that is a formula) or indices of tokens ('rows' of a table,
  'angles' of sinusoids). A phase is new if no place in training came within
  1/32 of a turn, a distance if it is beyond the longest. For tables the share
  is of the different entries that are used, for the others of all pairs (or
  columns) and places. A scheme without position has no features.

  What is covered can still fail: interpolation asks for no new phase, but for
  a finer resolution.

  Args:
    scheme: what is evaluated.
    train_length: `L`, tokens in a training sequence.
    length: `l`, tokens in an evaluated one.
    dims: the sizes of the model.
    trained: what was trained, if it is another scheme (a retrofit).

  Returns:
    The share by kind, each from 0 to 1.

  >>> from posexp import schemes
  >>> def show(scheme):
  ...   shares = coverage(
  ...     scheme,
  ...     trained=schemes.RoPE(),
  ...     train_length=64,
  ...     length=256,
  ...     dims=schemes.Dims(width=64, heads=4, head_width=16),
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
  scheme: base.Scheme,
  *,
  train_length: int,
  length: int,
  dims: base.Dims,
  trained: base.Scheme | None = None,
  adapted: Sequence[tuple[base.Scheme, int]] = (),
) -> Compared:
  """Compute `coverage` and which places are new; arguments as there.

  Args:
    adapted: schemes and lengths that the model was trained with afterwards;
      what they used is known too.
  """
  stages = [(scheme if trained is None else trained, train_length), *adapted]
  known = [
    stage.trained_at(train_length).for_length(n).trained_features(dims, n)
    for stage, n in stages
  ]
  resolved = evaluated(scheme, train_length, length)
  shares, new = {}, {}
  for kind, used_NxM in resolved.features(dims, np.arange(length)).items():
    by_stage = [_is_new(kind, used_NxM, stage.get(kind)) for stage in known]
    new[kind] = np.logical_and.reduce(by_stage).astype(np.float64)
    counted = new[kind]
    if kind not in (*CYCLIC, 'distances'):
      _, first = np.unique(used_NxM, axis=0, return_index=True)
      counted = counted[first]
    shares[kind] = float(counted.mean())
  return Compared(shares, new)


def mass(
  new: dict[str, np.ndarray], by_distance_N: np.ndarray, by_index_N: np.ndarray
) -> dict[str, float]:
  """Compute the share of attention on what training never used, by kind.

  Args:
    new: as `compare` returns it.
    by_distance_N: the attention paid to each distance, summing to one.
    by_index_N: the attention paid to the key at each index.
  """
  return {
    kind: float(
      new_NxM.mean(axis=1)
      @ (by_index_N if kind in base.BY_INDEX else by_distance_N)
    )
    for kind, new_NxM in new.items()
  }


def evaluated(
  scheme: base.Scheme, train_length: int, length: int
) -> base.Scheme:
  """Return a scheme as it is evaluated at a length after training at another.

  >>> from posexp import schemes
  >>> rope = schemes.RoPE(schemes.DynamicNTK(2, schemes.share(1.0)))
  >>> print(evaluated(rope, 64, 96))
  RoPE(NTK(2))
  """
  return scheme.trained_at(train_length).evaluated().for_length(length)


def _is_new(
  kind: str, used_NxM: np.ndarray, known_PxM: np.ndarray | None
) -> np.ndarray:
  """Return which features were never used in training, column by column."""
  if known_PxM is None or known_PxM.shape[1] != used_NxM.shape[1]:
    return np.ones(used_NxM.shape, bool)
  if kind == 'distances':
    return used_NxM > known_PxM.max(axis=0, keepdims=True)
  compare_column = _is_far if kind in CYCLIC else _is_missing
  columns = zip(used_NxM.T, known_PxM.T)
  return np.stack([compare_column(*column) for column in columns], axis=1)


def _is_missing(used_N: np.ndarray, known_P: np.ndarray) -> np.ndarray:
  return ~np.isin(used_N, known_P)


def _is_far(used_N: np.ndarray, known_P: np.ndarray) -> np.ndarray:
  """Return which angles are further than NEAR from all known ones."""
  known = np.sort(known_P)
  around = np.concatenate(
    [known[-1:] - 2 * np.pi, known, known[:1] + 2 * np.pi]
  )
  above = np.searchsorted(around, used_N).clip(1, around.size - 1)
  gap_N = np.minimum(around[above] - used_N, used_N - around[above - 1])
  return gap_N > NEAR + 1e-9
