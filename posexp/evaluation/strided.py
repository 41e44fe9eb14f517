"""Sliding windows over sequences, each moved by half of its length."""

import numpy as np


def number(length: int, window: int) -> int:
  """Return how many windows cover a length, each moved by half of its own.

  >>> number(128, 128), number(256, 128), number(257, 128)
  (1, 3, 4)
  """
  return 1 - (window - length) // (window // 2)


def slide(tokens_BxL: np.ndarray, window: int) -> np.ndarray:
  """Return the windows of each sequence, one after another: B W x window.

  The last is filled up with zeros, which come after all that is asked.

  >>> slide(np.arange(1, 8)[None], 4).tolist()
  [[1, 2, 3, 4], [3, 4, 5, 6], [5, 6, 7, 0]]
  """
  step, count = window // 2, number(tokens_BxL.shape[1], window)
  more = (count - 1) * step + window - tokens_BxL.shape[1]
  padded_BxP = np.pad(tokens_BxL, ((0, 0), (0, more)))
  at_WxL = step * np.arange(count)[:, None] + np.arange(window)
  return padded_BxP[:, at_WxL].reshape(-1, window)


def join(predicted_SxNxL: np.ndarray, length: int) -> np.ndarray:
  """Return what was predicted in the windows of `slide` for whole sequences.

  Of each window but the first, what it has beyond the one before.

  >>> predicted = np.array([[[0, 2, 3, 4], [0, -1, 5, 6], [0, -1, 7, -1]]])
  >>> join(predicted, 7).tolist()
  [[[0, 2, 3, 4, 5, 6, 7]]]
  """
  seeds, _, window = predicted_SxNxL.shape
  count = number(length, window)
  predicted_SxBxWxL = predicted_SxNxL.reshape(seeds, -1, count, window)
  new = predicted_SxBxWxL[:, :, 1:, -(window // 2) :].reshape(
    seeds, predicted_SxBxWxL.shape[1], -1
  )
  whole = np.concatenate([predicted_SxBxWxL[:, :, 0], new], axis=-1)
  return whole[..., :length]
