"""Sliding windows: every place once, with what stands before it."""

import numpy as np
import pytest

from posexp.evaluation import strided


@pytest.mark.parametrize('window', [2, 3, 8, 9])
def test_windows_cover_every_place_once(window):
  for length in range(window, 4 * window):
    tokens_BxL = np.arange(1, 1 + 2 * length).reshape(2, length)
    slid = strided.slide(tokens_BxL, window)
    assert slid.shape == (2 * strided.number(length, window), window)
    # Every token is told by how many stood before it in its window.
    before = np.broadcast_to(np.arange(window), (1, *slid.shape))
    again = strided.join(slid[None], length)
    assert again.tolist() == [tokens_BxL.tolist()]
    context = strided.join(before, length)[0, 0]
    assert context[:window].tolist() == list(range(window))
    assert set(context[window:]) <= set(range(window - window // 2, window))
