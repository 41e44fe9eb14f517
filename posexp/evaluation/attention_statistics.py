"""What each head does: how focused it is, where it looks, what it finds.

Everything here is reduced where it is computed: what leaves is a few numbers a
layer and head, never a map of T x T.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from posexp import tasks
from posexp.attention import dense
from posexp.models import probe, transformer
from posexp.runs import config

Array = jax.Array

# One number a layer and head, and one a layer, head and bin of distance.
HEADS = (
  *('finite', 'entropy', 'first', 'beyond', 'reach', 'reach_share'),
  *('rank_share', 'asked_entropy', 'asked_first'),
)
BINNED = ('rank', 'margin', 'resolution')

# Of queries whose right key is known: means over those, not over all.
MEANS = ('rank_share', 'asked_entropy', 'asked_first')
RANKED = ('rank', 'margin', *MEANS)

# So many queries of a sequence whose right key is known are looked at.
GOLD = 16

# A margin is cut at so many nats: a key that a scheme hides is at -1e38.
WIDEST = 1000.0


class Gold(NamedTuple):
  """Queries whose right key is known, of sequences padded to so many.

  Attributes:
    query_BxG: the place of the query in what the model reads.
    key_BxG: the place of the right key there.
    bin_BxG: of the distance from the answer back to it; -1 for padding.
  """

  query_BxG: Array
  key_BxG: Array
  bin_BxG: Array


def bins(length: int) -> int:
  """Return how many bins of distance a length has: 1, 2-3, 4-7, ...

  >>> [bins(length) for length in (2, 3, 4, 64, 65)]
  [1, 2, 2, 6, 7]
  """
  return (length - 1).bit_length()


def gold(batch: tasks.Batch, shape: config.Model) -> Gold | None:
  """Return queries of each sequence that predict a target with a known key.

  The key is known where the stratum `evidence` says how far before the answer
  at t it stands, d >= 1, see `tasks.with_evidence`. The answer is predicted at
  place t - 1 + bos of what the model reads, as BOS is one place before the
  first token, and the key stands at place t - d + bos: d - 1 places before the
  query. Left out are keys that the query cannot see, and queries that see no
  other.

  Args:
    batch: NumPy arrays.
    shape: of the model, for BOS and the window.

  Returns:
    At most 16 a sequence, evenly spread over all that it has; None if there is
    none at all.

  >>> from posexp import tasks
  >>> one = np.array([[0, 0, 1, 1]])
  >>> evidence = {'evidence': np.array([[-1, -1, 1, 3]])}
  >>> batch = tasks.Batch(one, one == 1, one > 1, one[..., None], evidence)
  >>> [x.tolist() for x in gold(batch, config.Model(bos=True))]
  [[[2, 3]], [[2, 1]], [[0, 1]]]
  """
  if 'evidence' not in batch.strata:
    return None
  distance_BxL = np.asarray(batch.strata['evidence'])
  place_L = np.arange(distance_BxL.shape[1]) - 1 + shape.bos
  sees_L = _sees(place_L, shape.window)
  known_BxL = np.asarray(batch.targets_BxL & ~batch.ends_BxL)
  known_BxL &= (distance_BxL >= 1) & (distance_BxL <= sees_L) & (sees_L > 1)
  number = min(GOLD, int(known_BxL.sum(axis=1).max()))
  if not number:
    return None
  gold = np.zeros((3, len(known_BxL), number), np.int32)
  gold[2] = -1
  for b, known_L in enumerate(known_BxL):
    (t_T,) = np.nonzero(known_L)
    some = np.linspace(0, len(t_T) - 1, min(number, len(t_T)))
    t_G = t_T[np.round(some).astype(int)]
    query_G, distance_G = place_L[t_G], distance_BxL[b, t_G]
    binned_G = np.log2(distance_G).astype(np.int32)
    gold[:, b, : len(t_G)] = query_G, query_G - distance_G + 1, binned_G
  return Gold(*gold)


def _sees(place: np.ndarray, window: int | None) -> np.ndarray:
  """Return how many keys the queries at some places see."""
  return np.minimum(place + 1, window or np.inf).astype(int)


def look(
  net: transformer.Transformer,
  layer: probe.Shown,
  place_Q: np.ndarray,
  gold: Gold | None,
  number: int,
) -> tuple[Array, dict[str, Array]]:
  """Return weights of some queries, H x Q x L, and what a layer's heads do.

  Args:
    net: the model.
    layer: of one sequence.
    place_Q: the queries whose weights are asked for.
    gold: of that sequence, three arrays of G.
    number: of bins.
  """
  place = jnp.asarray(place_Q)
  if gold is not None:
    place = jnp.concatenate([place, gold.query_BxG])
  logits = probe.logits(net, layer, place)[0]
  spread_out, asking = logits[:, : len(place_Q)], logits[:, len(place_Q) :]
  weights_HxQxL = dense.normalise(net.scheme, spread_out)
  window = net.shape.window
  values = spread(weights_HxQxL, place_Q, window)
  values['resolution'] = probe.resolution(net, layer, number)
  if gold is not None:
    values |= ranks(asking, gold, number, window)
    weights = dense.normalise(net.scheme, asking)
    values |= asked(weights, gold, window)
  return weights_HxQxL, values


def row(
  values: Mapping[str, np.ndarray],
  masses: Sequence[np.ndarray],
  gold: Gold | None,
  train_length: int,
  number: int,
) -> dict[str, Any]:
  """Return what a record keeps of all sequences at a length, as plain values.

  To what `look` gives it adds `first`, the weight of the first token that the
  model reads, and `beyond`, that of keys `train_length` tokens before the query
  or more.

  Args:
    values: by name, as `look` gives them, S x B x layers x H (x bins).
    masses: the mean weight by distance and by index, S x B x layers x H x L.
    gold: of all sequences.
    train_length: tokens of a sequence in training.
    number: of bins.

  Returns:
    `bins`, the least distance of each; `known`, how many queries with a known
    key are in each; `heads` and `binned`, means over all queries, by name.
  """
  by_distance, by_index = (np.asarray(x, np.float64) for x in masses)
  beyond = by_distance[..., train_length:].sum(-1)
  values = {**values, 'first': by_index[..., 0], 'beyond': beyond}
  bin_BxG = np.zeros((0, 0), int) if gold is None else gold.bin_BxG
  known_N = np.bincount(bin_BxG[bin_BxG >= 0], minlength=number)
  by_name = {
    name: _plain(np.asarray(x, np.float64).mean(axis=1))
    for name, x in values.items()
    if name not in RANKED
  }
  for name in set(RANKED) & set(values):
    count = known_N.sum() if name in MEANS else known_N
    total = np.asarray(values[name], np.float64).sum(axis=1)
    by_name[name] = _plain(total / np.where(count, count, np.nan))
  return {
    'bins': (2 ** np.arange(number)).tolist(),
    'known': known_N.tolist(),
    'heads': {name: by_name[name] for name in HEADS if name in by_name},
    'binned': {name: by_name[name] for name in BINNED if name in by_name},
  }


def _plain(array: np.ndarray) -> list[Any]:
  """Return nested lists of numbers of five digits."""
  if not array.ndim:
    return float(f'{float(array):.5g}')  # type: ignore[return-value]
  return [_plain(x) for x in array]


def spread(
  weights_HxQxL: Array, place_Q: np.ndarray, window: int | None = None
) -> dict[str, Array]:
  """Compute how attention is spread over keys: means over queries, by name, H.

  With n keys seen by a query, weights w and p = w / sum of w:

  * finite: the share of queries whose weights are all finite.
  * entropy: - sum p ln p / ln n, which is 1 where p is uniform; queries that
    see one key are left out.
  * reach, reach_share: sum of p (i - j), in tokens, and that over n.

  Args:
    weights_HxQxL: of the queries at `place_Q`, in float32.
    place_Q: where the queries stand.
    window: how many tokens a query sees, None for all.

  >>> weights = jnp.array([[[0.5, 0.25, 0.25, 0.0]]])
  >>> values = spread(weights, np.array([2]))
  >>> [round(float(x[0]), 4) for x in values.values()]
  [1.0, 0.9464, 1.25, 0.4167]
  """
  length = weights_HxQxL.shape[-1]
  sees_Q = _sees(place_Q, window)
  distance_QxL = np.maximum(place_Q[:, None] - np.arange(length), 0)
  total_HxQ = weights_HxQxL.sum(-1)
  total_HxQ = jnp.where(total_HxQ == 0, 1.0, total_HxQ)
  entropy_HxQ = _entropy(weights_HxQxL)
  several_Q = np.flatnonzero(sees_Q > 1)
  over_Q = jnp.asarray(1 / np.log(sees_Q[several_Q]), jnp.float32)
  away_QxL = jnp.asarray(distance_QxL, jnp.float32)
  away_HxQ = jnp.einsum('hql,ql->hq', weights_HxQxL, away_QxL) / total_HxQ
  share_Q = jnp.asarray(1 / sees_Q, jnp.float32)
  finite_HxQ = jnp.isfinite(weights_HxQxL).all(-1).astype(jnp.float32)
  return {
    'finite': finite_HxQ.mean(axis=1),
    'entropy': (entropy_HxQ[:, several_Q] * over_Q[None]).mean(axis=1),
    'reach': away_HxQ.mean(axis=1),
    'reach_share': (away_HxQ * share_Q[None]).mean(axis=1),
  }


def asked(
  weights_HxGxL: Array, gold: Gold, window: int | None = None
) -> dict[str, Array]:
  """Compute how queries that answer spread attention: sums over them, by name.

  * asked_entropy: - sum p ln p / ln n, as `spread` has it.
  * asked_first: the weight of the first token that the model reads.

  These are the same queries at any length, where those evenly spread over a
  longer sequence are filler more often.

  Args:
    weights_HxGxL: of the queries in `gold`, in float32.
    gold: of one sequence, three arrays of G.
    window: how many tokens a query sees, None for all.

  >>> gold = Gold(*map(jnp.array, ([2, 0], [1, 0], [0, -1])))
  >>> weights = jnp.array([[[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]]])
  >>> {k: round(x.item(), 4) for k, x in asked(weights, gold).items()}
  {'asked_entropy': 0.9464, 'asked_first': 0.5}
  """
  query_G, _, bin_G = gold
  sees_G = query_G + 1 if window is None else jnp.minimum(query_G + 1, window)
  over_G = 1 / jnp.log(jnp.maximum(sees_G, 2).astype(jnp.float32))
  real_1xG = (bin_G >= 0)[None]

  def total(x_HxG: Array) -> Array:
    return jnp.where(real_1xG, x_HxG, 0.0).sum(axis=1)

  return {
    'asked_entropy': total(_entropy(weights_HxGxL) * over_G[None]),
    'asked_first': total(weights_HxGxL[..., 0]),
  }


def _entropy(weights: Array) -> Array:
  """Compute - sum p ln p over the last axis, of p = w / sum of w, in nats."""
  total = weights.sum(-1)
  # A row of zeros is one of a scheme that may give nothing to anybody.
  total = jnp.where(total == 0, 1.0, total)
  return jax.scipy.special.entr(weights).sum(-1) / total + jnp.log(total)


def ranks(
  logits_HxGxL: Array,
  gold: Gold,
  number: int,
  window: int | None = None,
) -> dict[str, Array]:
  """Compute where the right key ranks among those that a query sees.

  All are sums over queries, by name.

  * rank: how many other keys have a higher logit, and half of those that have
    the same, so that it is (n - 1) / 2 where all n are alike; H x bins.
  * margin: the logit of the right key minus the best of the others, in nats,
    within 1000 of 0; H x bins.
  * rank_share: the rank over n - 1, so that a half is chance; H.

  A rank is not a number where the logit of the right key is not.

  Args:
    logits_HxGxL: of the queries in `gold`, float32, masked by
      `blockwise.LOWEST`.
    gold: of one sequence, three arrays of G.
    number: of bins.
    window: how many tokens a query sees, None for all.

  >>> gold = Gold(*map(jnp.array, ([2, 0], [1, 0], [0, -1])))
  >>> z = jnp.array([[[1.0, 2.0, 4.0], [0.0, 0.0, 0.0]]])
  >>> {k: x.tolist() for k, x in ranks(z, gold, 1).items()}
  {'rank_share': [0.5], 'rank': [[1.0]], 'margin': [[-2.0]]}
  """
  query_G, key_G, bin_G = gold
  index_1xL = jnp.arange(logits_HxGxL.shape[-1], dtype=jnp.int32)[None]
  others_GxL = (index_1xL <= query_G[:, None]) & (index_1xL != key_G[:, None])
  if window is not None:
    others_GxL &= index_1xL > query_G[:, None] - window
  at = jnp.broadcast_to(key_G[None, :, None], (*logits_HxGxL.shape[:2], 1))
  own_HxGx1 = jnp.take_along_axis(logits_HxGxL, at, axis=-1)
  higher = jnp.sign(logits_HxGxL - own_HxGx1) / 2 + 0.5
  rank_HxG = jnp.where(others_GxL[None], higher, 0.0).sum(-1)
  best = jnp.where(others_GxL[None], logits_HxGxL, -jnp.inf).max(-1)
  margin_HxG = jnp.clip(own_HxGx1[..., 0] - best, -WIDEST, WIDEST)
  rivals_G = jnp.maximum(others_GxL.sum(-1), 1).astype(jnp.float32)
  real_G = bin_G >= 0
  share_HxG = jnp.where(real_G[None], rank_HxG / rivals_G[None], 0.0)
  in_bin_GxN = bin_G[:, None] == np.arange(number, dtype=np.int32)[None]

  def binned(x_HxG: Array) -> Array:
    return jnp.where(in_bin_GxN[None], x_HxG[..., None], 0.0).sum(axis=1)

  return {
    'rank_share': share_HxG.sum(-1),
    'rank': binned(rank_HxG),
    'margin': binned(margin_HxG),
  }
