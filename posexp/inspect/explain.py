"""What a positional method does, in numbers, before any training.

Everything comes from the public hooks of a scheme, so a composition or a
scheme of one's own is explained like any other; what a scheme does not do is
None. Distances are in tokens, seen by the last of the target tokens.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component, schemes
from posexp.attention import placed
from posexp.inspect import rotation_scaling
from posexp.models import environment
from posexp.results.explanations import Content, Explanation, Stairs
from posexp.schemes import divided

# Longer targets are sampled: so many pairs of neighbouring distances.
EVERY, SAMPLED, LONGEST = 512, 160, 2**20
# Numbers in one array of rotated keys.
CHUNK = 2**21


@environment.fixed()
def explain(
  scheme: schemes.Scheme,
  *,
  train_length: int = 64,
  target: int | None = None,
  heads: int = 4,
  head_width: int = 16,
) -> Explanation:
  """Compute what a scheme does to attention at a target length.

  Args:
    scheme: any scheme.
    train_length: L in tokens, for numbers that depend on it.
    target: in tokens; four times the trained length unless given.
    heads: H.
    head_width: E.

  Raises:
    UserError: where a length or a size makes no sense or the scheme cannot
      serve it.

  >>> found = explain(schemes.RoPE(schemes.NTK(4)))
  >>> found.rotations[0].stretch_K[[0, -1]].round(6).tolist()
  [1.0, 4.0]
  >>> explain(schemes.ALiBi()).bias_HxT[:, 8].tolist()
  [-2.0, -0.5, -0.125, -0.03125]
  """
  target = 4 * train_length if target is None else target
  _sensible(train_length, target, heads, head_width)
  dims = schemes.Dims(heads * head_width, heads, head_width)
  resolved = scheme.trained_at(train_length)
  resolved.check(dims, target)
  scheme = resolved.evaluated().for_length(target)
  rotations, at = rotation_scaling.rotations(
    scheme, dims, (train_length, target)
  )
  params, stairs = _filled(scheme, dims, target)
  if 'locate' in scheme.hooks():
    x_1xTxD = jax.random.normal(jax.random.key(1), (1, target, dims.width))
    at = scheme.locate(params, x_1xTxD, at, None)
  distance_N = _distances(target)
  has_bias = 'bias' in scheme.hooks()
  scaled = any(rotation.scaled for rotation in rotations)
  return Explanation(
    scheme,
    train_length,
    target,
    tuple(_notes(resolved, scheme, train_length, bool(stairs))),
    distance_N,
    rotations,
    _bias(scheme, params, at, heads) if has_bias else None,
    stairs,
    _content(scheme, params, at, dims, distance_N, scaled),
    _similarity(scheme, dims, target),
  )


def _sensible(train_length, target, heads, head_width) -> None:
  component.at_least(
    'train_length', train_length, 2, 'one token has no distance'
  )
  component.at_least('heads', heads, 1)
  component.at_least('head_width', head_width, 1)
  component.at_least(
    'target', target, train_length, 'it may not be below the train length'
  )
  if target > LONGEST:
    raise component.UserError(
      f'target must be at most {LONGEST}, got {target}: a shorter one with '
      'the same factor shows the same'
    )


def _index(target: int) -> jax.Array:
  return jnp.arange(target, dtype=jnp.int32)[None]


def _distances(target: int) -> np.ndarray:
  """Return the distances that are shown, sampled if they are many."""
  if target <= EVERY:
    return np.arange(1, target)
  halves = target // 2 ** np.arange(int(math.log2(target)))
  spread = np.geomspace(1, target - 1, SAMPLED).round()
  sampled = np.unique(np.concatenate([halves, halves - 1, spread])).astype(int)
  return sampled[(sampled >= 1) & (sampled < target)]


def _notes(resolved, scheme, train_length, filled: bool):
  """Yield what a reader must know beside the numbers."""
  hooks = scheme.hooks()
  key, dims = jax.random.key(0), schemes.Dims(4, 2, 2)
  if not hooks or hooks == ('remap',):
    yield 'No hook uses position: only the causal mask carries order.'
  if filled:
    yield (
      'The table of buckets is learned and starts at zero. It is shown filled '
      "with ALiBi's bias at the first distance of each bucket."
    )
  elif jax.tree.leaves(scheme.init_layer(key, dims)):
    yield 'Learned parameters are shown with their initial values.'
  if 'embed' in hooks:
    yield (
      'Position is added to the input. Its effect on scores and resolution '
      'depends on learned projections and is not shown.'
    )
    if jax.tree.leaves(scheme.init_input(key, dims)):
      yield 'The added vectors are learned; their initial values have no order.'
  if 'locate' in hooks:
    yield 'Positions depend on the content: shown for one random content.'
  if 'rescore' in hooks:
    yield (
      'The scheme changes whole rows of logits, depending on the content: '
      'only what happens before that is shown.'
    )
  if resolved.draws:
    yield (
      'Positions are drawn at random in training: those of evaluation are '
      'shown, with fixed draws.'
    )
  if resolved.evaluated().for_length(train_length) != scheme:
    yield 'The scheme depends on the length: shown at the target.'
  if not scheme.relative and 'embed' not in hooks:
    yield 'The scheme is not relative: shown for the last token of the target.'


def _filled(scheme, dims, target: int):
  """Return initial parameters, tables of buckets filled, and these tables."""
  params = scheme.init_layer(jax.random.key(0), dims)
  flat, stairs = list(scheme.flatten(params)), []
  slope_H = schemes.ALiBi().slopes(dims.heads)
  for place, atom in enumerate(scheme.atoms):
    if not hasattr(atom, 'bucket') or 'table_NxH' not in flat[place]:
      continue
    far = max(target, getattr(atom, 'max_distance', 0) + 1)
    bucket_T = np.asarray(atom.bucket(np.arange(far)))
    reached, first = np.unique(bucket_T, return_index=True)
    table_NxH = np.zeros(flat[place]['table_NxH'].shape, np.float32)
    table_NxH[reached] = -first[:, None] * slope_H
    flat[place] = {**flat[place], 'table_NxH': jnp.asarray(table_NxH)}
    filled = _bias(atom, flat[place], _index(target), dims.heads)
    line = -slope_H[:, None] * np.arange(target)
    stairs.append(Stairs(str(atom), bucket_T[:target], filled, line))
  return scheme.unflatten(tuple(flat)), tuple(stairs)


def _bias(scheme, params, at, heads: int) -> np.ndarray:
  """Return the bias at each distance from the last token, H x T."""
  target = jax.tree.leaves(at)[0].shape[1]
  q_at = jax.tree.map(lambda x: x[:, -1:], at)
  added = placed.bias(scheme, params, heads, q_at, at)
  bias = np.asarray(added, np.float64)
  return np.broadcast_to(bias, (1, heads, 1, target))[0, :, 0, ::-1]


def _content(
  scheme, params, at, dims, distance_N, scaled: bool
) -> Content | None:
  """Return the scores of contents; None where distance does not change them."""
  if 'rotate' not in scheme.hooks():
    return None
  score_N, change_N = _scores(scheme, params, at, dims, distance_N)
  if not change_N.any():
    return None
  plain_N = None
  if scaled and 'locate' not in scheme.hooks():
    unscaled = rotation_scaling.plain(scheme)
    length = jax.tree.leaves(at)[0].shape[1]
    plain_at = jax.tree.map(
      lambda _: _index(length), at, is_leaf=divided.is_array
    )
    _, plain_N = _scores(unscaled, params, plain_at, dims, distance_N)
  return Content(score_N, change_N, plain_N)


def _scores(scheme, params, at, dims, distance_N):
  """Return the mean score and its rms change, at each distance.

  The contents are random orthonormal bases, one of queries and one of keys: a
  mean over such a basis is exactly that over all directions.
  """
  last = jax.tree.leaves(at)[0].shape[1] - 1
  width, heads = dims.head_width, dims.heads
  bases = np.random.default_rng(0).normal(size=(2, width, width))
  q, k = (
    jnp.broadcast_to(
      jnp.asarray(basis, jnp.float32)[:, None, None], (width, 1, heads, width)
    )
    for basis in np.linalg.qr(bases)[0]
  )

  def take(index):
    return jax.tree.map(lambda x: x[:, index], at)

  turned_q = scheme.rotate(params, q, take(np.array([last])), 'q')

  def products(keys, n, equation):
    keys = jnp.broadcast_to(keys, (width, len(n), heads, width))
    turned_k = scheme.rotate(params, keys, take(last - n), 'k')
    return np.asarray(jnp.einsum(equation, turned_q, turned_k), np.float64)

  def same(n):
    return products(q, n, 'blhe,bnhe->bhn').mean((0, 1))

  def pairs(n):
    return products(k, n, 'alhe,bnhe->abhn')

  def rms(x):
    return np.sqrt(np.mean(x**2, axis=(0, 1, 2)))

  start = same(np.array([0])).item()
  scores, changes = [], []
  size = max(1, CHUNK // (width * width * heads))
  for begin in range(0, len(distance_N), size):
    n = distance_N[begin : begin + size]
    at_n = pairs(n)
    scores.append(same(n) / start)
    changes.append(rms(at_n - pairs(n - 1)) / np.maximum(rms(at_n), 1e-30))
  return np.concatenate(scores), np.concatenate(changes)


def _similarity(scheme, dims, target: int) -> np.ndarray | None:
  """Return how alike what is added to two inputs is, by their distance."""
  if 'embed' not in scheme.hooks():
    return None
  params = scheme.init_input(jax.random.key(0), dims)
  if jax.tree.leaves(params):
    return None
  at = scheme.remap(_index(target), None)
  added = scheme.embed(params, jnp.zeros((1, target, dims.width)), at)
  p_TxD = np.asarray(added, np.float64)[0]
  return (p_TxD @ p_TxD[-1] / (p_TxD[-1] @ p_TxD[-1]))[::-1]
