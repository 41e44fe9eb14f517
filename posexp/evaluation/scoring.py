"""What became of every target, and what that comes to."""

import math
from typing import Any, NamedTuple

import numpy as np

from posexp import tasks

# What became of a target.
CORRECT, ORDER_ERROR, RETRIEVAL_ERROR = 0, 1, 2


class Outcomes(NamedTuple):
  """What became of every target at one length.

  Attributes:
    length: tokens in a sequence.
    kind_SxT: int8, CORRECT, ORDER_ERROR or RETRIEVAL_ERROR; T counts the
      targets of all examples that are not an end of sequence.
    nats_SxT: float32, minus the logarithm of the right token's probability;
      NaN for answerers that give none.
    example_T: the example that a target belongs to, ascending.
    strata: int32 arrays over T, by name.
    ends_SxN: for each end-of-sequence target, whether it was right.
  """

  length: int
  kind_SxT: np.ndarray
  nats_SxT: np.ndarray
  example_T: np.ndarray
  strata: dict[str, np.ndarray]
  ends_SxN: np.ndarray


def judge(
  said_SxBxL: np.ndarray,
  batch: tasks.Batch,
  length: int,
  nats_SxBxL: np.ndarray | None = None,
) -> Outcomes:
  """Tells correct answers, order errors and retrieval errors apart."""
  if nats_SxBxL is None:
    nats_SxBxL = np.full(said_SxBxL.shape, np.nan, np.float32)
  tokens, foils = np.asarray(batch.tokens_BxL), np.asarray(batch.foils_BxLxC)
  right = said_SxBxL == tokens
  foiled = (said_SxBxL[..., None] == foils).any(-1)
  kind = np.where(
    right, CORRECT, np.where(foiled, ORDER_ERROR, RETRIEVAL_ERROR)
  ).astype(np.int8)
  ends = np.asarray(batch.targets_BxL & batch.ends_BxL)
  scored = np.asarray(batch.targets_BxL & ~batch.ends_BxL)
  return Outcomes(
    length=length,
    kind_SxT=kind[:, scored],
    nats_SxT=nats_SxBxL[:, scored],
    example_T=np.nonzero(scored)[0].astype(np.int32),
    strata={k: np.asarray(v)[scored] for k, v in batch.strata.items()},
    ends_SxN=right[:, ends],
  )


def summary(outcomes: Outcomes, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
  """One row of results a seed.

  Keys: `token`, `order`, `retrieval` are shares of all targets and sum to 1;
  `exact` is the share of sequences with every target right; `first_error` the
  mean place among its targets of a sequence's first error, their number where
  there is none; `nats` the mean of minus the log-probability of the right
  token, None where there are no probabilities; `end` the share of
  end-of-sequence tokens that were right, None where the task has none.
  """
  rows = []
  starts = np.nonzero(np.diff(outcomes.example_T, prepend=-1))[0]
  counts = np.diff(np.append(starts, outcomes.example_T.size))
  place_T = np.arange(outcomes.example_T.size) - np.repeat(starts, counts)
  nats_S = outcomes.nats_SxT.mean(axis=1, dtype=np.float64)
  for seed, kind_T, nats, ends_N in zip(
    seeds, outcomes.kind_SxT, nats_S.tolist(), outcomes.ends_SxN
  ):
    wrong_T = kind_T != CORRECT
    free = np.repeat(counts, counts)
    first = np.minimum.reduceat(np.where(wrong_T, place_T, free), starts)
    rows.append(
      {
        'seed': seed,
        'length': outcomes.length,
        'exact': float(np.mean(first == counts)),
        'token': float(np.mean(kind_T == CORRECT)),
        'order': float(np.mean(kind_T == ORDER_ERROR)),
        'retrieval': float(np.mean(kind_T == RETRIEVAL_ERROR)),
        'nats': None if math.isnan(nats) else nats,
        'first_error': float(np.mean(first)),
        'end': float(np.mean(ends_N)) if ends_N.size else None,
        'targets': int(kind_T.size),
      }
    )
  return rows
