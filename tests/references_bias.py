"""Additive biases again: float64 and plain Python, from their papers.

Each function takes the fields of a scheme and returns its bias, as a function
of (params, h from 0, H, p_i, p_j). Tables and weights are the scheme's own.
"""

import math


def t5(scheme):
  """arXiv 1910.10683, section 2.1, and the code that it describes."""

  def bucket(n: float, buckets: int) -> int:
    exact = buckets // 2
    if n < exact:
      return math.floor(n)
    # Whole powers fall on edges; the slack keeps them on the upper side.
    steps = math.log(n / exact) / math.log(scheme.max_distance / exact)
    large = exact + math.floor(steps * (buckets - exact) + 1e-9)
    return min(large, buckets - 1)

  def bias(params, h, heads, i, j):
    del heads
    if not scheme.bidirectional:
      row = bucket(max(i - j, 0.0), scheme.buckets)
    else:
      half = scheme.buckets // 2
      row = bucket(abs(i - j), half) + (half if j > i else 0)
    return params['table_NxH'][row, h]

  return bias


def per_offset(scheme):
  """arXiv 1803.02155, section 3.2: one weight for clip(j - i, -k, k), causal.

  A fractional distance, which the paper has not, mixes its two neighbours.
  """

  def bias(params, h, heads, i, j):
    del heads
    n = min(max(i - j, 0.0), scheme.offsets - 1.0)
    share = n - math.floor(n)
    row = [params['table_KxH'][f(n), h] for f in (math.floor, math.ceil)]
    return row[0] * (1 - share) + row[1] * share

  return bias


def kerple(scheme):
  """arXiv 2205.09921: -r1 log(1 + r2 |m - n|) and -r1 |m - n|^r2.

  r1, r2 > 0 and r2 <= 2 in the power; the authors' code clamps from below at
  0.01. Here r1 is clamped at 0 instead.
  """

  def bias(params, h, heads, i, j):
    del heads
    n = max(i - j, 0.0)
    if scheme.kind == 'log':
      r1, r2 = max(params['p_H'][h], 0.0), max(params['a_H'][h], 0.01)
      return -r1 * math.log(1 + r2 * n)
    r1, r2 = max(params['a_H'][h], 0.0), params['p_H'][h]
    return -r1 * n ** min(max(r2, 0.01), 2.0)

  return bias


def sandwich(scheme):
  """arXiv 2212.10356, the listing of appendix E, with cosines of m - n."""

  def bias(params, h, heads, i, j):
    del params
    compression = (h + 1) * 8 / heads
    waves = (
      math.cos((i - j) / 10000 ** (2 * k / scheme.width))
      for k in range(scheme.width // 2)
    )
    return sum(waves) / compression

  return bias


def fire(scheme):
  """arXiv 2310.04418: f(psi(i - j) / psi(max(L, i))), psi(x) = log(c x + 1)."""

  def bias(params, h, heads, i, j):
    del heads
    c, threshold = abs(params['c']), abs(params['multiplier'])
    psi = lambda x: math.log(c * x + 1)
    normaliser = psi(max(threshold * scheme.threshold, i))
    x = psi(max(i - j, 0.0)) / (normaliser + 1e-6)
    total = params['out_bias_H'][h]
    for w in range(scheme.hidden):
      unit = max(params['in_W'][w] * x + params['in_bias_W'][w], 0.0)
      total += unit * params['out_WxH'][w, h]
    return total

  return bias


def dynamic_bias(scheme):
  """arXiv 2108.00154: an MLP of the offset; 2111.09883: of its logarithm."""
  silu = lambda x: x / (1 + math.exp(-x))

  def bias(params, h, heads, i, j):
    del heads
    n = max(i - j, 0.0)
    x = math.log(1 + n) / math.log(1 + scheme.unit)
    x = x if scheme.log else n / scheme.unit
    pairs = zip(params['in_W'], params['in_bias_W'])
    units = [silu(weight * x + shift) for weight, shift in pairs]
    for layer in range(1, scheme.depth):
      weights = params[f'hidden_{layer}_WxW']
      shifts = params[f'hidden_{layer}_bias_W']
      units = [
        silu(sum(u * weights[v, w] for v, u in enumerate(units)) + shifts[w])
        for w in range(scheme.hidden)
      ]
    out = params['out_WxH'][:, h]
    return sum(u * w for u, w in zip(units, out)) + params['out_bias_H'][h]

  return bias
