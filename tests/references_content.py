"""References of schemes that look at the content or at a whole row of logits.

Plain functions that give the fields of `references.Reference`.
"""

import math

import numpy as np


def sigmoid(x: float) -> float:
  return math.exp(-math.log1p(math.exp(-x))) if x > -700 else math.exp(x)


def forgetting(scheme) -> dict:
  """arXiv 2503.02130, section 3: f_t = sigmoid(w_f x_t + b_f), one a head.

  d_ij = sum over l = j+1..i of log f_l is added to q_i . k_j / sqrt(d).
  """
  del scheme

  def locate(params, x_LxD, positions):
    del positions
    # The position of a token is the list of its own log f, and of all before.
    gates = x_LxD @ params['w_DxH'] + params['b_H']
    logs = [[-math.log1p(math.exp(-g)) for g in row] for row in gates]
    return [logs[: m + 1] for m in range(len(logs))]

  def bias(params, h, heads, i, j):
    del params, heads
    return sum(row[h] for row in i[len(j) :])

  return {'locate': locate, 'bias': bias}


def cope(scheme) -> dict:
  """arXiv 2405.18719, equations 3 to 6: gates, positions, e[p], attention."""

  def rescore(params, z, q):
    table = params['e_PxE']
    out = []
    for j in range(len(z)):
      p = sum(sigmoid(z[m]) for m in range(j, len(z)))
      p = min(p, scheme.positions - 1)
      low, high = math.floor(p), math.ceil(p)
      e = (p - low) * table[high] + (1 - p + low) * table[low]
      # q comes divided by sqrt(d), which the listing of the paper does not do.
      undo = 1 if scheme.scaled else math.sqrt(len(q))
      out.append(z[j] + undo * (q @ e))
    return out

  return {'rescore': rescore}


def stick_breaking(scheme) -> dict:
  """arXiv 2410.17980, section 2: A_ij = b_ij prod over j<k<i of (1 - b_ik)."""

  def rescore(params, z, q):
    del params, q
    *before, _ = [sigmoid(x) for x in z]
    weights = [
      beta * math.prod(1 - b for b in before[j + 1 :])
      for j, beta in enumerate(before)
    ]
    # The authors' model adds (1 - sum of A) v_i.
    own = 1 - sum(weights) if scheme.remainder else 0.0
    return [*weights, own]

  return {'rescore': rescore, 'weights': True}


def pope(scheme) -> dict:
  """arXiv 2509.10534, equations 3 to 8, on complex numbers.

  Re(conj(q~_t) k~_s) = sum of mu mu cos((s - t) theta_c + delta_c).
  """

  def rotate_head(params, h, x, p, side):
    out = []
    for c in range(len(x)):
      theta = scheme.base ** (-c / len(x))
      delta = min(max(params['delta_HxE'][h, c], -2 * math.pi), 0.0)
      angle = p * theta + (delta if side == 'k' else 0.0)
      size = math.log(1 + math.exp(x[c]))
      out += [size * math.cos(angle), size * math.sin(angle)]
    return np.array(out)

  return {'rotate_head': rotate_head}


def log_length(scheme) -> dict:
  """arXiv 2501.19399, equation 11, or Qwen's log_L n beyond L tokens."""

  def rotate_head(params, h, x, p, side):
    if side == 'k':
      return x
    if scheme.learned:
      return x * params['a_H'][h] * math.log(p + 1)
    long = p + 1 > scheme.train_length
    return x * (math.log(p + 1, scheme.train_length) if long else 1.0)

  return {'rotate_head': rotate_head}
