"""Attention in one kernel, for any scheme that needs no whole rows."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.dtypes import float0

from posexp import blockwise, schemes
from posexp.fused import hooks, kernels
from posexp.fused.tiles import COLUMN, HEAD

Array = jax.Array


def attend(
  scheme: schemes.Scheme,
  params: schemes.Params,
  q_BxQxHxE: Array,
  k_BxKxHxE: Array,
  v_BxKxHxF: Array,
  q_at: schemes.At,
  k_at: schemes.At,
  q_index_1xQ: Array,
  k_index_1xK: Array,
  scale: float,
  block: int,
  window: int | None = None,
  interpret: bool | None = None,
) -> Array:
  """Causal attention in one kernel, its rotations and biases made in the tiles.

  out_i = sum over j of softmax_j(s R_i q_i . R_j k_j + b_ij) v_j

  over the keys whose token is not after that of the query, as
  `posexp.attention.core` does in blocks of XLA. R and b come from the hooks of
  the scheme, called with positions when a tile is computed; no scheme has code
  for it. The gradients are exact, by recomputation: of queries, keys and
  values, of all that is learned and of positions that are not integers.
  Products are in the dtype of the arrays and summed in float32; softmax and
  biases are float32. Call it inside of `jax.jit`.

  It is run in interpret mode only, by the tests: not measured on a GPU or TPU,
  for which the tests lower it, forward and backward. Limits there:
  - what a head has of keys and values must fit a program's memory;
  - on a GPU every size must be a power of two, block and width at least 16;
  - a table is looked up by a comparison with each row, and the hidden units of
    FIRE and DynamicBias are unrolled, so that large ones compile slowly.

  Source: Dao 2023, arXiv 2307.08691 (FlashAttention-2), in Pallas.

  Args:
    scheme: one with a blockwise form, compositions included.
    params: as `scheme.init_layer` gives them, {} where nothing is learned.
    q_BxQxHxE: queries, not rotated.
    k_BxKxHxE: keys, not rotated.
    v_BxKxHxF: values.
    q_at: the scheme's positions of the queries, leaves B|1 x Q (x H).
    k_at: those of the keys, B|1 x K (x H).
    q_index_1xQ: tokens of the queries, int32, in order.
    k_index_1xK: tokens of the keys, in order, `blockwise.EMPTY` where a slot of
      a cache is not yet used.
    scale: s, 1 / sqrt(E) as a rule.
    block: how many tokens there are in a block.
    window: how many tokens a query sees, itself among them; None is all.
    interpret: whether to run as ordinary operations; None is where there is
      neither GPU nor TPU.

  Returns:
    B x Q x H x F in the dtype of the values.

  Raises:
    ValueError: if `block` is not a positive integer, the scheme changes whole
      rows of logits, or one of its hooks does what cannot be done on tiles.

  >>> scheme = schemes.RoPE() + schemes.ALiBi()
  >>> x, index = jnp.ones((1, 3, 2, 4)), jnp.arange(3)[None]
  >>> at = scheme.remap(index, None)
  >>> attend(scheme, {}, x, x, x, at, at, index, index, 0.5, block=2).shape
  (1, 3, 2, 4)
  """
  _check(scheme, block)
  if interpret is None:
    interpret = jax.default_backend() == 'cpu'
  queries, keys = q_BxQxHxE.shape[1], k_BxKxHxE.shape[1]
  rows, columns = min(block, queries), min(block, keys)
  tile = lambda n: lambda x: jax.ShapeDtypeStruct((1, n, *x.shape[2:]), x.dtype)
  traced = hooks.trace(
    scheme,
    jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params),
    tile(rows)(q_BxQxHxE),
    tile(columns)(k_BxKxHxE),
    jax.tree.map(tile(rows), q_at),
    jax.tree.map(tile(columns), k_at),
  )
  plan = kernels.Plan(traced, scale, window, interpret)
  q, k = (q_BxQxHxE, q_at, q_index_1xQ), (k_BxKxHxE, k_at, k_index_1xK)
  q = jax.tree.map(functools.partial(_padded, rows), q)
  k = jax.tree.map(functools.partial(_padded, columns), k)
  # Keys of padding come after every query; queries of padding are cut off.
  real = jnp.arange(k[2].shape[2]).reshape(1, 1, -1, 1) < keys
  k = (*k[:2], jnp.where(real, k[2], blockwise.EMPTY))
  v_BxHxKxF = _padded(columns, v_BxKxHxF)
  out = _fused(plan, rows, columns)(params, q, k, v_BxHxKxF)
  return out[:, :, :queries].swapaxes(1, 2)


def _check(scheme, block):
  if isinstance(block, bool) or not isinstance(block, int) or block < 1:
    raise ValueError(
      f'block must be an integer of at least 1, got {block!r}: use 128 if '
      'unsure'
    )
  if not scheme.blockwise:
    raise ValueError(
      f'{scheme} changes whole rows of logits and has no fused attention: use '
      'dense attention, block=None'
    )


def _padded(size, x):
  """Heads first, the last token repeated up to a whole number of blocks."""
  x = blockwise.heads_first(x)
  widths = (0, 0), (0, 0), (0, -x.shape[2] % size), (0, 0)
  return jnp.pad(x, widths, mode='edge')


def _fused(plan, rows, columns):
  """Attention of padded arrays B x H x L x E, with its gradient."""

  @jax.custom_vjp
  def attention(params, q, k, v):
    return forward(params, q, k, v)[0]

  def forward(params, q, k, v):
    given = _given(plan, rows, columns, params, q, k, v)
    out, logsum = kernels.forward(plan, given)
    return _joined(out), (params, q, k, v, out, logsum)

  def backward(saved, d_out):
    params, q, k, v, out, logsum = saved
    given = _given(plan, rows, columns, params, q, k, v)
    d_out = _cut(rows, d_out)
    wide = lambda x: x.astype(jnp.float32)
    delta = (wide(d_out) * wide(out)).sum(4)[:, :, :, None]
    saved = kernels.Saved(d_out, logsum, delta)
    by_queries = kernels.backward_queries(plan, given, saved)
    by_keys = kernels.backward_keys(plan, given, saved)
    d_params = _d_params(plan.hooks, params, (by_queries, by_keys))
    d_q = _d_tokens(plan.hooks, q, by_queries)
    d_k = _d_tokens(plan.hooks, k, by_keys)
    return d_params, d_q, d_k, _joined(by_keys[kernels.V])

  attention.defvjp(forward, backward)
  return attention


def _cut(size, x_BxHxLxE):
  batch, heads, length, width = x_BxHxLxE.shape
  return x_BxHxLxE.reshape(batch, heads, length // size, size, width)


def _joined(x_BxHxNxLxE):
  batch, heads, blocks, size, width = x_BxHxNxLxE.shape
  return x_BxHxNxLxE.reshape(batch, heads, blocks * size, width)


def _given(plan, rows, columns, params, q, k, v):
  """What the kernels read, in blocks."""

  def blocks(size, tokens):
    x, at, index = jax.tree.map(functools.partial(_cut, size), tokens)
    turn = lambda leaf: leaf.swapaxes(3, 4)
    at = list(map(turn, jax.tree.leaves(at)))
    return kernels.Blocks(x, at, turn(index))

  q, k = blocks(rows, q), blocks(columns, k)
  by_queries, by_keys = _reach(q.index, k.index, plan.window)
  params = _packed(plan.hooks, params)
  return kernels.Given(params, q, k, _cut(columns, v), by_queries, by_keys)


def _reach(q_index, k_index, window):
  """Which blocks meet: for each of queries those of keys, and the reverse.

  Tokens are in order, so the blocks that a block meets are in between.
  """
  q = q_index.reshape(q_index.shape[2], -1)
  k = k_index.reshape(k_index.shape[2], -1)
  count = functools.partial(jnp.searchsorted, side='right')
  first, last = jnp.zeros(q.shape[0], jnp.int32), count(k.min(1), q.max(1))
  begin = jnp.searchsorted(q.max(1), k.min(1))
  end = jnp.full(k.shape[0], q.shape[0], jnp.int32)
  if window is not None:
    first = count(k.max(1), q.min(1) - window)
    # An empty slot is after every window, however wide.
    real = jnp.where(k == blockwise.EMPTY, -1, k).max(1)
    real = jnp.minimum(real, blockwise.EMPTY - window)
    end = count(q.min(1), real + (window - 1))
  shaped = lambda x: x.astype(jnp.int32).reshape(1, 1, -1, 1, 1)
  return (shaped(first), shaped(last)), (shaped(begin), shaped(end))


def _packed(traced, params):
  """Parameters as 1 x H|1 x 1 x rows x columns, those that a kernel needs."""
  used = traced.queries.matters | traced.keys.matters
  if traced.bias is not None:
    used |= traced.bias.matters
  leaves = jax.tree.leaves(params)
  return {
    n: _pack(x, names)
    for n, (x, names) in enumerate(zip(leaves, traced.params))
    if n in used
  }


def _order(names):
  """The axes of a parameter: that of heads, the others, the columns."""
  place = {HEAD: 0, None: 1, COLUMN: 2}
  return sorted(range(len(names)), key=lambda d: place[names[d]])


def _pack(x, names):
  heads = x.shape[names.index(HEAD)] if HEAD in names else 1
  columns = x.shape[names.index(COLUMN)] if COLUMN in names else 1
  return x.transpose(_order(names)).reshape(1, heads, 1, -1, columns)


def _unpacked(grad, x, names):
  """The gradient of a parameter from those of all programs."""
  over = (0, 2) if HEAD in names else (0, 1, 2)
  order = _order(names)
  grad = grad.sum(over).reshape([x.shape[d] for d in order])
  return grad.transpose(np.argsort(order)).astype(x.dtype)


def _d_params(traced, params, grads):
  """The gradients of parameters, from those of each kernel by leaf."""
  leaves, tree = jax.tree.flatten(params)

  def one(n, x):
    found = [g[n] for g in grads if n in g]
    total = sum(_unpacked(g, x, traced.params[n]) for g in found)
    return total if found else _no_gradient(x)

  return jax.tree.unflatten(tree, [one(n, x) for n, x in enumerate(leaves)])


def _d_tokens(traced, tokens, grads):
  """The gradients of queries or keys, of their positions, and of no index."""
  _, at, index = tokens
  leaves, tree = jax.tree.flatten(at)

  def one(n, leaf):
    if n not in grads:
      return _no_gradient(leaf)
    grad = grads[n].reshape(*grads[n].shape[:2], -1, 1)
    # What shares a position: the sequences, the heads.
    shared = tuple(d for d in (0, 1) if leaf.shape[d] < grad.shape[d])
    return grad.sum(shared, keepdims=True).astype(leaf.dtype)

  d_at = [one(n, leaf) for n, leaf in enumerate(leaves, traced.first + 1)]
  d_x = _joined(grads[traced.first])
  return d_x, jax.tree.unflatten(tree, d_at), _no_gradient(index)


def _no_gradient(x):
  if jnp.issubdtype(x.dtype, jnp.inexact):
    return jnp.zeros(x.shape, x.dtype)
  return np.zeros(x.shape, float0)
