"""Gaffke's interval for the mean of bounded values, of any distribution.

Its low end is the quantile (1 - confidence) / 2 of

  w_0 · least + Σ w_i x_i,  w uniform on the simplex (Dirichlet(1, ..., 1)),

and its high end the quantile (1 + confidence) / 2 with the most in place of the
least. The probability that the weighted mean is above t is exact and takes no
draws, see `_above`; the quantile is found by bisection.

Source: see `posexp.claims.intervals.interval`.
"""

import numpy as np

# Halvings until the ends are as good as exact.
BISECTIONS = 32


def ends(
  values_CxN: np.ndarray, confidence: float, within_Cx2: np.ndarray
) -> np.ndarray:
  """Return the low ends of cells of N values, and the high ends.

  Args:
    values_CxN: a cell a row.
    confidence: the share of such intervals that cover the true mean.
    within_Cx2: the least and the most that a value of each cell can be.

  >>> low, high = ends(np.ones((1, 3)), 0.95, np.array([[0.0, 1.0]]))
  >>> round(float(low[0]), 4), round(0.025 ** (1 / 3), 4), float(high[0])
  (0.2924, 0.2924, 1.0)
  """
  count, tail = len(values_CxN), (1 - confidence) / 2
  points = [np.column_stack((values_CxN, bound_C)) for bound_C in within_Cx2.T]
  both_RxP = np.sort(np.concatenate(points), 1)
  above_R = np.repeat((1 - tail, tail), count)
  low_R, high_R = both_RxP[:, 0], both_RxP[:, -1]
  for _ in range(BISECTIONS):
    middle_R = (low_R + high_R) / 2
    below_R = _above(both_RxP, middle_R) > above_R
    low_R = np.where(below_R, middle_R, low_R)
    high_R = np.where(below_R, high_R, middle_R)
  return ((low_R + high_R) / 2).reshape(2, count)


def _above(points_RxP: np.ndarray, t_R: np.ndarray) -> np.ndarray:
  """Return the probability that Σ w_i x_i > t, w uniform on the simplex.

  It is the divided difference of (x - t)^(P - 1), 0 below t, at the points:

    S_{i..j} = ((t - x_i) S_{i..j-1} + (x_j - t) S_{i+1..j}) / (x_j - x_i),

  S_{i..i} whether x_i > t; the recursion of de Boor's for splines, which only
  averages and so is stable, also where points are equal.

  Args:
    points_RxP: x, ascending in each row.
    t_R: of each row.
  """
  above = (points_RxP > t_R[:, None]).astype(np.float64)
  for apart in range(1, points_RxP.shape[1]):
    first, last = points_RxP[:, :-apart], points_RxP[:, apart:]
    gap = last - first
    # Outside of its points a part is 0 or 1 by both terms.
    part = np.clip(t_R[:, None] - first, 0, gap)
    part = np.divide(part, gap, out=np.zeros_like(gap), where=gap > 0)
    above = part * above[:, :-1] + (1 - part) * above[:, 1:]
  return above[:, 0]
