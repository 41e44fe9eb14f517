"""What simple answerers say, for `Task.guesses`: NumPy, on the host."""

import abc
from collections.abc import Mapping

import numpy as np


class Listed(abc.ABC):
  """A task whose sequences all have equally many answers, N of them."""

  def guesses(self, rng, tokens_BxL, asked_BxL):
    answer_BxN = tokens_BxL[asked_BxL].reshape(len(tokens_BxL), -1)
    return placed(asked_BxL, self._guesses(rng, tokens_BxL, answer_BxN))

  @abc.abstractmethod
  def _guesses(
    self,
    rng: np.random.Generator,
    tokens_BxL: np.ndarray,
    answer_BxN: np.ndarray,
  ) -> dict[str, np.ndarray]:
    """Return what answerers would say, B x N by name."""


def named(tokens_BxL: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Return the tokens two places and one place before each, in turn."""
  return np.roll(tokens_BxL, 2, axis=1), np.roll(tokens_BxL, 1, axis=1)


def coin(
  rng: np.random.Generator, one_X: np.ndarray, other_X: np.ndarray
) -> np.ndarray:
  """Choose one of two answers each, with a fair coin."""
  return np.where(rng.integers(0, 2, np.shape(one_X)) == 0, one_X, other_X)


def remaining(
  rng: np.random.Generator, answer_BxN: np.ndarray, *others: np.ndarray
) -> np.ndarray:
  """Draw a token among those not said yet, for each place of the answers.

  Args:
    rng: where to draw from.
    answer_BxN: the true answers, in order.
    *others: B x any number, what else could have been an answer.

  Returns:
    B x N: at place i one of answer[i:] and the others, all equally likely.

  >>> rng = np.random.default_rng(0)
  >>> remaining(rng, np.array([[7, 8, 9]]))[0, -1]
  np.int64(9)
  """
  every_BxX = np.concatenate((answer_BxN, *others), axis=1)
  first_N = np.arange(answer_BxN.shape[1])
  pick_BxN = rng.integers(first_N, every_BxX.shape[1], answer_BxN.shape)
  return np.take_along_axis(every_BxX, pick_BxN, axis=1)


def unsaid(answer_BxN: np.ndarray, low: int, high: int) -> np.ndarray:
  """Return the ids of low, ..., high - 1 that are not among distinct tokens.

  >>> unsaid(np.array([[5, 3]]), 3, 7).tolist()
  [[4, 6]]
  """
  batch, count = answer_BxN.shape
  free_BxS = np.ones((batch, high - low), bool)
  np.put_along_axis(free_BxS, answer_BxN - low, False, axis=1)
  return low + np.nonzero(free_BxS)[1].reshape(batch, high - low - count)


def unasked(token_BxP: np.ndarray, answer_BxQ: np.ndarray) -> np.ndarray:
  """Return what is left of a bag of tokens without the answers.

  >>> unasked(np.array([[7, 5, 9, 7]]), np.array([[7, 9]])).tolist()
  [[5, 7]]
  """
  size = max(token_BxP.max(), answer_BxQ.max()) + 1
  left_BxV = counts(token_BxP, size) - counts(answer_BxQ, size)
  token_BxV = np.broadcast_to(np.arange(size), left_BxV.shape)
  left = np.repeat(token_BxV.ravel(), left_BxV.ravel())
  return left.reshape(len(token_BxP), -1)


def counts(tokens_BxN: np.ndarray, vocabulary: int) -> np.ndarray:
  """Return how often each id is in each row, B x vocabulary.

  >>> counts(np.array([[2, 0, 2]]), 4).tolist()
  [[1, 0, 2, 0]]
  """
  count_BxV = np.zeros((len(tokens_BxN), vocabulary), np.int32)
  np.add.at(count_BxV, (np.arange(len(tokens_BxN))[:, None], tokens_BxN), 1)
  return count_BxV


def beside(
  token_BxN: np.ndarray, beside_BxN: np.ndarray, asked_BxQ: np.ndarray
) -> np.ndarray:
  """Return what stands beside each token that is asked about, 0 if it is none.

  >>> tokens = np.array([[5, 3]])
  >>> beside(tokens, np.array([[7, 8]]), np.array([[3, 1]])).tolist()
  [[8, 0]]
  """
  size = max(token_BxN.max(), asked_BxQ.max()) + 1
  beside_BxV = np.zeros((len(token_BxN), size), np.int32)
  np.put_along_axis(beside_BxV, token_BxN, beside_BxN, axis=1)
  return np.take_along_axis(beside_BxV, asked_BxQ, axis=1)


def placed(
  asked_BxL: np.ndarray, answers: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """Put answers, in order of targets, at their places; -1 elsewhere.

  >>> answers = {'random': np.array([[4, 5]])}
  >>> placed(np.array([[False, True, True]]), answers)['random'].tolist()
  [[-1, 4, 5]]
  """
  placed = {}
  for name, answer_X in answers.items():
    placed[name] = np.full(asked_BxL.shape, -1, np.int32)
    placed[name][asked_BxL] = np.ravel(answer_X)
  return placed
