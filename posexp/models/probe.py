"""What attention works on, layer by layer, and how far position moves it."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from posexp import schemes
from posexp.attention import dense, placed
from posexp.models import transformer

Array = jax.Array

# Resolution is a mean over the queries and keys of so many tokens each, all
# pairs of them, and over so many distances of a bin.
CONTENTS, DISTANCES = 4, 4


class Shown(NamedTuple):
  """What attention works on in a layer, as `transformer.Block` shows it."""

  params: Any
  queries: placed.Placed
  keys: placed.Placed


def forward(
  net: transformer.Transformer,
  params: Any,
  tokens_BxL: Array,
  key: Array | None,
) -> Shown:
  """Return what attention works on in all layers, which are the first axis."""
  _, state = net.apply(
    {'params': params}, tokens_BxL, key=key, mutable=['intermediates']
  )
  blocks = state['intermediates']
  layers = [
    Shown(*blocks[f'block_{n}'][transformer.SEEN][0])
    for n in range(net.shape.layers)
  ]
  return jax.tree.map(lambda *x: jnp.stack(x), *layers)


def logits(
  net: transformer.Transformer, layer: Shown, place_Q: Array | np.ndarray
) -> Array:
  """Compute the logits of some queries of a layer, B x H x Q x L.

  `placed.LOWEST` for keys that are not seen.
  """

  def some(x):
    return x[:, place_Q]

  queries = placed.Placed(
    layer.queries.x_BxHxLxE[:, :, place_Q],
    jax.tree.map(some, layer.queries.at),
    some(layer.queries.index_1xL),
    some(layer.queries.content_BxLxHxE),
  )
  return dense.logits(
    net.scheme, layer.params, queries, layer.keys, net.shape.window
  )


def measurable(scheme: schemes.Scheme) -> bool:
  """Return whether all that position does is in `rotate` and `bias`."""
  return not {'embed', 'rescore'} & set(scheme.hooks())


def _distances(length: int, number: int) -> tuple[np.ndarray, np.ndarray]:
  """Distances below length - 1, some of each bin, and the bin of each."""
  low_N = 2 ** np.arange(number)
  part_M = np.arange(DISTANCES) / DISTANCES
  every_NxM = low_N[:, None] + np.floor(low_N[:, None] * part_M).astype(int)
  every = np.unique(every_NxM)
  every = every[every + 1 < length]
  return every, np.log2(every).astype(int)


def resolution(
  net: transformer.Transformer, layer: Shown, number: int
) -> Array:
  """Return how much position changes a logit from one distance to the next.

  The mean of |z(d) - z(d + 1)| in nats, where z(d) = R_i q . R_(i-d) k /
  sqrt(E) + b_i,(i-d): query i is the last token that the model reads, and the
  same content k is put at distance d and at d + 1 from it. The mean is over the
  contents q and k of 4 tokens each, all 16 pairs, spread evenly over a
  sequence, and over up to 4 distances of each bin, its first among them. What
  the content of a place really is does not enter, nor do the mask and a
  window. Where a scheme's clock goes by the content, it is the clock of the
  sequence.

  Args:
    net: the model.
    layer: of one layer and one sequence.
    number: of bins.

  Returns:
    H x bins, float32; NaN where no two neighbours are so far apart, and
    everywhere under a scheme that has position in the content too (`embed`) or
    changes whole rows of logits (`rescore`).
  """
  q_content, k_content = (
    x.content_BxLxHxE for x in (layer.queries, layer.keys)
  )
  _, length, heads, width = k_content.shape
  distance_M, bin_M = _distances(length, number)
  if not measurable(net.scheme) or not distance_M.size:
    return jnp.full((heads, number), jnp.nan, jnp.float32)
  last = length - 1
  place_C = np.unique(((np.arange(CONTENTS) + 0.5) / CONTENTS * length) // 1)
  place_C = place_C.astype(np.int32)
  # Those at d, then those at d + 1.
  place_K = last - np.concatenate([distance_M, distance_M + 1])

  def take(place):
    return lambda x: x[:, place]

  q_at = jax.tree.map(take(np.array([last])), layer.queries.at)
  k_at = jax.tree.map(take(place_K), layer.keys.at)
  q_Cx1xHxE = q_content[0, place_C][:, None]
  shape = len(place_C), len(place_K), heads, width
  k_CxKxHxE = jnp.broadcast_to(k_content[0, place_C][:, None], shape)
  q = net.scheme.rotate(layer.params, q_Cx1xHxE, q_at, 'q')
  k = net.scheme.rotate(layer.params, k_CxKxHxE, k_at, 'k')
  z = jnp.einsum(
    'ahe,bkhe->abhk', q[:, 0], k, preferred_element_type=jnp.float32
  ) / np.float32(math.sqrt(width))
  bias = placed.bias(net.scheme, layer.params, heads, q_at, k_at)
  z = z + jnp.broadcast_to(bias, (1, heads, 1, len(place_K)))[:, :, 0][None]
  near, far = jnp.split(z, 2, axis=-1)
  step_HxM = jnp.abs(near - far).mean(axis=(0, 1))
  in_bin_MxN = (bin_M[:, None] == np.arange(number)).astype(np.float32)
  with np.errstate(invalid='ignore'):
    mean_MxN = in_bin_MxN / in_bin_MxN.sum(0)
  return step_HxM @ jnp.asarray(mean_MxN)
