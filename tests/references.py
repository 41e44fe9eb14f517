"""Each scheme again: float64 loops over i and j, transcribed from the papers.

Nothing here comes from posexp's formulas; only a scheme's fields are read. A
scheme is named by its type, so a new one in the catalogue fails every law
that needs a reference until it is transcribed here.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator

import jax.numpy as jnp
import numpy as np

from posexp import schemes
from tests import references_bias, references_content, references_rotary

Vector = np.ndarray


@dataclasses.dataclass(frozen=True)
class Reference:
  """What one scheme does to a token or a pair; every default is NoPE.

  Attributes:
    embed: (params, x of D numbers, p) to x.
    rotate: (params, q or k of E numbers, p, 'q' or 'k') to the same.
    bias: (params, h from 0, H, p_i, p_j) to a number.
    locate: (params, content L x D, [p_0, ...]) to other positions, anything.
    rotate_head: as rotate, with h after the parameters; applied after it.
    rescore: (params, [z_i0, ..., z_ii], q_i / sqrt(E)) to another row.
    weights: whether what `rescore` gives are weights, to be used as they are.
  """

  embed: Callable[[dict, Vector, float], Vector] = lambda params, x, p: x
  rotate: Callable[[dict, Vector, float, str], Vector] = (
    lambda params, x, p, side: x
  )
  bias: Callable[[dict, int, int, float, float], float] = (
    lambda params, h, heads, i, j: 0.0
  )
  locate: Callable[[dict, Vector, list], list] = lambda params, x, ps: ps
  rotate_head: Callable[[dict, int, Vector, float, str], Vector] = (
    lambda params, h, x, p, side: x
  )
  rescore: Callable[[dict, list, Vector], list] = lambda params, row, q: row
  weights: bool = False


def no_position(scheme) -> Reference:
  """arXiv 1706.03762, equation 1: softmax(q.k / sqrt(d)), causal, no more."""
  del scheme
  return Reference()


def sinusoidal(scheme) -> Reference:
  """arXiv 1706.03762, section 3.5: PE(pos, 2i) and PE(pos, 2i + 1)."""
  del scheme

  def embed(params, x, p):
    del params
    out, width = np.array(x), len(x)
    for i in range(width // 2):
      angle = p / 10000.0 ** (2 * i / width)
      # All sines, then all cosines: a permutation of the paper's layout.
      out[i] += math.sin(angle)
      out[width // 2 + i] += math.cos(angle)
    return out

  return Reference(embed=embed)


def learned(scheme) -> Reference:
  """arXiv 1705.03122, section 3.1: e = (w_1 + p_1, ..., w_m + p_m)."""
  del scheme

  def embed(params, x, p):
    table = params['table_RxD']
    low, share = math.floor(p), p - math.floor(p)
    if not share:
      return x + table[low]
    return x + (1 - share) * table[low] + share * table[low + 1]

  return Reference(embed=embed)


def rotary(scheme) -> Reference:
  """A rotation, see tests/references_rotary.py."""
  angles = _known(LAWS, type(scheme.frequencies).__name__, 'frequency law')
  return Reference(rotate=references_rotary.rotation(scheme, angles))


def xpos(scheme) -> Reference:
  """A rotation that fades, see tests/references_rotary.py."""
  inner = rotary(scheme.rope).rotate
  return Reference(rotate=references_rotary.fading(scheme, inner))


def alibi(scheme) -> Reference:
  """arXiv 2108.12409, section 3: q_i K^T + m [-(i-1), ..., -1, 0]."""
  del scheme

  def slopes(heads: int) -> list[float]:
    # The authors' get_slopes, with its recursion.
    if math.log2(heads).is_integer():
      start = 2 ** (-(2 ** -(math.log2(heads) - 3)))
      return [start * start**i for i in range(heads)]
    closest = 2 ** math.floor(math.log2(heads))
    return slopes(closest) + slopes(2 * closest)[0::2][: heads - closest]

  def bias(params, h, heads, i, j):
    del params
    return -slopes(heads)[h] * (i - j)

  return Reference(bias=bias)


def t5(scheme) -> Reference:
  """arXiv 1910.10683, section 2.1: logits q.k, not divided by sqrt(d)."""

  def rotate(params, x, p, side):
    del params, p
    undo = side == 'q' and not scheme.scaled
    return x * math.sqrt(len(x)) if undo else x

  return Reference(bias=references_bias.t5(scheme), rotate=rotate)


def biased(make: Callable) -> Callable:
  """The reference of a scheme that is a bias and nothing more."""
  return lambda scheme: Reference(bias=make(scheme))


def interpolate(scheme, p: float) -> float:
  """arXiv 2306.15595, equation 4: the position m L / L', whatever is inside."""
  return p / scheme.factor


def randomized(scheme, p: float) -> float:
  """arXiv 2305.16843, section 3: the p-th of the positions that were drawn.

  Which ones the library draws without a key; tests/jax/wrappers_test.py asks
  whether they are distinct, in order and uniform.
  """
  if scheme.tokens is None:
    return p
  return _fixed_draw(scheme.tokens, scheme.positions)[int(p)]


@functools.cache
def _fixed_draw(tokens: int, positions: int) -> list[float]:
  scheme = schemes.Randomize(schemes.NoPE(), positions, tokens)
  return scheme.remap(jnp.arange(tokens)[None], None)[0].tolist()


LAWS = {
  'Law': references_rotary.unscaled_law,
  'Linear': references_rotary.linear_law,
  'NTK': references_rotary.ntk_law,
  'DynamicNTK': references_rotary.dynamic_ntk_law,
  'NTKByParts': references_rotary.by_parts_law,
  'Llama3': references_rotary.llama3_law,
  'YaRN': references_rotary.yarn_law,
  'LongRoPE': references_rotary.longrope_law,
  'Proportional': references_rotary.proportional_law,
  'DroPE': references_rotary.drope_law,
}

SCHEMES = {
  'NoPE': no_position,
  'Sinusoidal': sinusoidal,
  'Learned': learned,
  'RoPE': rotary,
  'xPos': xpos,
  'ALiBi': alibi,
  'T5': t5,
  'PerOffset': biased(references_bias.per_offset),
  'KERPLE': biased(references_bias.kerple),
  'Sandwich': biased(references_bias.sandwich),
  'FIRE': biased(references_bias.fire),
  'DynamicBias': biased(references_bias.dynamic_bias),
  'Forgetting': lambda s: Reference(**references_content.forgetting(s)),
  'CoPE': lambda s: Reference(**references_content.cope(s)),
  'StickBreaking': lambda s: Reference(**references_content.stick_breaking(s)),
  'PoPE': lambda s: Reference(**references_content.pope(s)),
  'LogLength': lambda s: Reference(**references_content.log_length(s)),
}

# A wrapper says which position its scheme sees.
WRAPPERS = {
  'Interpolate': interpolate,
  'Randomize': randomized,
  # No shift, which is what there is without a key.
  'Shift': lambda scheme, p: p,
}


def _known(table: dict, name: str, kind: str):
  if name not in table:
    raise LookupError(
      f'no reference for the {kind} {name}: transcribe it from its paper into '
      'tests/references.py, with the number of the equation'
    )
  return table[name]


@dataclasses.dataclass(frozen=True)
class Term:
  """One scheme of a composition, its parameters and its positions."""

  scheme: Reference
  params: dict
  position: Callable[[int], float]


def terms(scheme, params: dict, position=float) -> list[Term]:
  """The terms of a composition, in the order in which they apply."""
  name = type(scheme).__name__
  if name == 'Sum':
    out, seen = [], []
    for term in scheme.terms:
      kind = type(term).__name__
      # The parameters of a second T5 are under 'T5_1'.
      key = f'{kind}_{seen.count(kind)}' if kind in seen else kind
      seen.append(kind)
      out += terms(term, params.get(key, {}), position)
    return out
  if name in WRAPPERS:
    inside = lambda i: WRAPPERS[name](scheme, position(i))
    return terms(scheme.scheme, params, inside)
  make = _known(SCHEMES, name, 'scheme')
  return [Term(make(scheme), params, position)]


def embed(scheme, params: dict, x_BxLxD: Vector) -> Vector:
  """The input with position added, token by token."""
  out = np.array(x_BxLxD, np.float64)
  for term in terms(scheme, params):
    for b, i in np.ndindex(*out.shape[:2]):
      p = term.position(i)
      out[b, i] = term.scheme.embed(term.params, out[b, i], p)
  return out


def attend(
  scheme,
  params: dict,
  q: Vector,
  k: Vector,
  v: Vector,
  x: Vector | None = None,
) -> Vector:
  """arXiv 1706.03762, equation 1, causal, with rotations and biases.

  z_ij = (R_i q_i).(R_j k_j) / sqrt(d) + sum of the biases, over B x L x H x E.
  """
  out = np.zeros(v.shape, np.float64)
  for (b, h, i), _, weights in rows(scheme, params, q, k, x):
    for j, weight in enumerate(weights):
      out[b, i, h] += weight * v[b, j, h]
  return out


def rows(
  scheme, params: dict, q: Vector, k: Vector, x: Vector | None = None
) -> Iterator[tuple[tuple[int, int, int], Vector, Vector]]:
  """For each (b, h, i) the logits of keys 0 to i, and their weights."""
  parts = terms(scheme, params)
  batch, length, heads, width = q.shape
  x = [None] * batch if x is None else x
  for b, h in np.ndindex(batch, heads):
    index = range(length)
    z = logit(parts, q[b, :, h], k[b, :, h], x[b], h, heads)
    for i in index:
      row = [z(i, i, j, j) for j in range(i + 1)]
      for t in parts:
        row = t.scheme.rescore(t.params, row, q[b, i, h] / math.sqrt(width))
      if any(t.scheme.weights for t in parts):
        with np.errstate(divide='ignore'):
          yield (b, h, i), np.log(row), np.array(row)
        continue
      weights = np.exp(np.array(row) - max(row))
      yield (b, h, i), np.array(row), weights / weights.sum()


def logit(parts, q, k, x, h, heads) -> Callable[[int, int, int, int], float]:
  """The logit of the content of two tokens, L x E, at two places.

  A function of (token of q, its place, token of k, its place).
  """
  index, width = range(len(q)), q.shape[1]
  places = [
    t.scheme.locate(t.params, x, [t.position(i) for i in index]) for t in parts
  ]
  turn = functools.cache(
    lambda n, i, side: _rotated(
      parts, places, h, (q if side == 'q' else k)[n], i, side
    )
  )

  def z(m, i, n, j):
    return turn(m, i, 'q') @ turn(n, j, 'k') / math.sqrt(width) + sum(
      t.scheme.bias(t.params, h, heads, at[i], at[j])
      for t, at in zip(parts, places)
    )

  return z


def _rotated(parts, places, h, x, i, side):
  for t, at in zip(parts, places):
    x = t.scheme.rotate(t.params, x, at[i], side)
    x = t.scheme.rotate_head(t.params, h, x, at[i], side)
  return x
