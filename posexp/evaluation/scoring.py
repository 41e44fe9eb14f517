"""Scoring: every answer is correct, an order error or a retrieval error.

A wrong answer that is one of the target's *foils*, the tokens that a mistake of
order would give, was found in the sequence and misplaced: an order error. Any
other wrong answer was not found at all: a retrieval error. Where a model's
logits are not finite it gave no answer: that is not right, and an error of
neither kind.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from posexp import tasks

# The kinds of an outcome, as they are recorded.
CORRECT, ORDER_ERROR, RETRIEVAL_ERROR, NO_NUMBER = 0, 1, 2, 3
# The stratum that says which task of a mixture a target is of.
TASK = 'task'


class Outcomes(NamedTuple):
  """What became of every target at one length.

  S counts seeds, and T the targets of all examples, one example after another,
  without those that end a sequence, of which there are N.

  Attributes:
    length: tokens in a sequence.
    kind_SxT: int8, CORRECT, ORDER_ERROR, RETRIEVAL_ERROR or NO_NUMBER.
    nats_SxT: float32, minus the logarithm of the right token's probability;
      NaN for answerers that give none.
    example_T: the example that a target belongs to, ascending.
    strata: int32 arrays over T, by name.
    ends_SxN: whether the end of a sequence was predicted where it is.
  """

  length: int
  kind_SxT: np.ndarray
  nats_SxT: np.ndarray
  example_T: np.ndarray
  strata: dict[str, np.ndarray]
  ends_SxN: np.ndarray


def score(
  predicted_SxBxL: np.ndarray,
  batch: tasks.Batch,
  length: int,
  nats_SxBxL: np.ndarray | None = None,
) -> Outcomes:
  """Score the predictions of every seed against the examples.

  Args:
    predicted_SxBxL: the token that each seed predicts at each place.
    batch: the examples.
    length: tokens in a sequence.
    nats_SxBxL: minus the log-probability of the right token. It is not finite
      where a logit is NaN or infinite; None for answerers without any.
  """
  tokens_BxL = np.asarray(batch.tokens_BxL)
  foils_BxLxC = np.asarray(batch.foils_BxLxC)
  correct_SxBxL = predicted_SxBxL == tokens_BxL
  foil_SxBxL = (predicted_SxBxL[..., None] == foils_BxLxC).any(axis=-1)
  wrong_SxBxL = np.where(foil_SxBxL, ORDER_ERROR, RETRIEVAL_ERROR)
  kind_SxBxL = np.where(correct_SxBxL, CORRECT, wrong_SxBxL).astype(np.int8)
  if nats_SxBxL is None:
    nats_SxBxL = np.full(predicted_SxBxL.shape, np.nan, np.float32)
  else:  # The largest of NaN is token 0, which nobody said.
    lost_SxBxL = ~np.isfinite(nats_SxBxL)
    kind_SxBxL[lost_SxBxL] = NO_NUMBER
    correct_SxBxL &= ~lost_SxBxL

  target_BxL = np.asarray(batch.targets_BxL & ~batch.ends_BxL)
  end_BxL = np.asarray(batch.targets_BxL & batch.ends_BxL)
  return Outcomes(
    length=length,
    kind_SxT=kind_SxBxL[:, target_BxL],
    nats_SxT=nats_SxBxL[:, target_BxL],
    example_T=np.nonzero(target_BxL)[0].astype(np.int32),
    strata={k: np.asarray(v)[target_BxL] for k, v in batch.strata.items()},
    ends_SxN=correct_SxBxL[:, end_BxL],
  )


def learned(outcomes: Outcomes, seeds: tuple[int, ...]) -> dict[str, Any]:
  """Return what decides which seeds count, from outcomes of the gate's fold.

  Keys: `learned` is the token accuracy by seed; `learned_by_task`, of a mixture
  alone, is the same by seed and index of the task, for the tasks that have
  targets there.

  >>> outcomes = Outcomes(
  ...   length=8,
  ...   kind_SxT=np.array([[0, 1, 0, 0]], np.int8),
  ...   nats_SxT=np.zeros((1, 4), np.float32),
  ...   example_T=np.arange(4),
  ...   strata={'task': np.array([0, 0, 2, 2])},
  ...   ends_SxN=np.zeros((1, 0), bool),
  ... )
  >>> for name, value in learned(outcomes, (7,)).items():
  ...   print(name, value)
  learned {'7': 0.75}
  learned_by_task {'7': {'0': 0.5, '2': 1.0}}
  """
  right_SxT = outcomes.kind_SxT == CORRECT
  by_seed: dict[str, Any] = {
    str(seed): float(right_T.mean()) for seed, right_T in zip(seeds, right_SxT)
  }
  if TASK not in outcomes.strata:
    return {'learned': by_seed}
  task_T = outcomes.strata[TASK]
  by_task = {
    str(seed): {
      str(task): float(right_T[task_T == task].mean())
      for task in np.unique(task_T).tolist()
    }
    for seed, right_T in zip(seeds, right_SxT)
  }
  return {'learned': by_seed, 'learned_by_task': by_task}


def summary(outcomes: Outcomes, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
  """Return one row of results a seed.

  Keys: `token`, `order` and `retrieval` are shares of all targets and sum to 1;
  `unanswered` is the share at which logits are not finite, and where there are
  any, `order` and `retrieval` are NaN: a model that gives no answer makes no
  error of either kind, and is not better for it. `exact` is the share of
  sequences with every target right; `first_error` the mean place among its
  targets of a sequence's first error, their number where there is none; `nats`
  the mean of minus the log-probability of the right token, None where one is
  not a number; `end` the share of end-of-sequence tokens that were right, None
  where the task has none.
  """
  example_T = outcomes.example_T
  # Where the targets of each example start, how many they are, and the place
  # of each target among those of its example.
  start_B = np.nonzero(np.diff(example_T, prepend=-1))[0]
  number_B = np.diff(np.append(start_B, example_T.size))
  place_T = np.arange(example_T.size) - np.repeat(start_B, number_B)
  number_T = np.repeat(number_B, number_B)
  nats_S = outcomes.nats_SxT.mean(axis=1, dtype=np.float64)

  rows = []
  for n, seed in enumerate(seeds):
    kind_T, ends_N = outcomes.kind_SxT[n], outcomes.ends_SxN[n]
    error_T = np.where(kind_T == CORRECT, number_T, place_T)
    first_error_B = np.minimum.reduceat(error_T, start_B)
    nats = float(nats_S[n])
    share = np.bincount(kind_T, minlength=NO_NUMBER + 1) / kind_T.size
    answered = not share[NO_NUMBER]
    rows.append(
      {
        'seed': seed,
        'length': outcomes.length,
        'exact': float(np.mean(first_error_B == number_B)),
        'token': float(share[CORRECT]),
        'order': float(share[ORDER_ERROR]) if answered else math.nan,
        'retrieval': float(share[RETRIEVAL_ERROR]) if answered else math.nan,
        'unanswered': float(share[NO_NUMBER]),
        'nats': nats if math.isfinite(nats) else None,
        'first_error': float(np.mean(first_error_B)),
        'end': float(np.mean(ends_N)) if ends_N.size else None,
        'targets': int(kind_T.size),
      }
    )
  return rows
