"""Attention in one kernel, for any scheme that needs no whole rows."""

import functools

import jax
import jax.numpy as jnp

from posexp import schemes
from posexp.attention import blocks, flash
from posexp.attention.kernel import hooks, kernels
from posexp.attention.kernel.tiles import COLUMN, HEAD

Array = jax.Array


def attend(
  scheme: schemes.Scheme,
  size: int,
  window: int | None,
  params: schemes.Params,
  rows: flash.Tokens,
  columns: flash.Tokens,
  v_BxHxKxF: Array,
  scale: float,
) -> Array:
  """Causal attention in one kernel, its rotations and biases made in the tiles.

  out_i = sum over j of softmax_j(s R_i q_i . R_j k_j + b_ij) v_j

  R and b come from the hooks of the scheme, called with positions when a tile
  is computed; no scheme has code for it. The gradients are exact, those of
  positions that are not integers too. Call it inside `jax.jit`.

  On a CPU it is interpreted, as in the tests: not measured on a GPU or TPU, for
  which the tests lower it, forward and backward. Limits there:
  - what a head has of keys and values must fit a program's memory;
  - on a GPU every size must be a power of two, block and width at least 16;
  - a table is looked up by a comparison with each row, and the hidden units of
    FIRE and DynamicBias are unrolled, so that large ones compile slowly.

  Source: Dao 2023, arXiv 2307.08691 (FlashAttention-2), in Pallas.

  Args:
    scheme: one with a blockwise form, compositions included.
    size: how many tokens there are in a block.
    window: how many tokens a query sees, itself among them; None is all.
    params: as `scheme.init_layer` gives them, {} where nothing is learned.
    rows: queries, neither rotated nor scaled. A position with one head is one
      that the heads share.
    columns: keys, not rotated, in order, `blockwise.EMPTY` where there is none.
    v_BxHxKxF: values.
    scale: s, 1 / sqrt(E) as a rule.

  Returns:
    B x H x Q x F in the dtype of the values.

  Raises:
    UserError: if one of the scheme's hooks does what cannot be done on tiles.

  >>> scheme = schemes.RoPE() + schemes.ALiBi()
  >>> x, index = jnp.ones((1, 2, 3, 4)), jnp.arange(3)[None]
  >>> both = flash.tokens(x, scheme.remap(index, None), index)
  >>> attend(scheme, 2, None, {}, both, both, x, 0.5).shape
  (1, 2, 3, 4)
  """
  queries, keys = rows.x_BxHxLxE.shape[2], v_BxHxKxF.shape[2]
  interpret = jax.default_backend() == 'cpu'
  m, n = (_tile(size, length, interpret) for length in (queries, keys))
  rows, columns = blocks.pad(rows, m), flash.pad_keys(columns, n)
  one = lambda tokens, n: jax.tree.map(lambda x: x[:1, :, :n], tokens)
  tiled = lambda params, rows, columns: (params, one(rows, m), one(columns, n))
  shapes = jax.eval_shape(tiled, params, rows, columns)
  traced = hooks.trace(scheme, *shapes)
  plan = kernels.Plan(traced, scale, window, interpret)
  q, k = _blocks('q', m, rows), _blocks('k', n, columns)
  v = _cut(n, blocks.pad(v_BxHxKxF, n))
  reach = _reach(q.index, k.index, window)
  out = _fused(plan, kernels.Given(_packed(traced, params), q, k, v, *reach))
  return out.reshape(*out.shape[:2], -1, out.shape[4])[:, :, :queries]


def _tile(size, length, interpret):
  """No longer than the tokens, up to what the compilers for GPUs take."""
  if interpret:
    return min(size, length)
  return min(size, max(16, 2 ** (length - 1).bit_length()))


def _blocks(side, size, tokens):
  """Tokens as blocks, with one row for what is one number a token."""
  x, at, index = jax.tree.map(functools.partial(_cut, size), tokens)
  at, index = jax.tree.map(lambda leaf: leaf.swapaxes(3, 4), (at, index))
  return kernels.Blocks(x, hooks.labels(side, at), index)


def _cut(size, x_BxHxLxE):
  batch, heads, length, width = x_BxHxLxE.shape
  return x_BxHxLxE.reshape(batch, heads, length // size, size, width)


def _reach(q_index, k_index, window):
  """Which blocks meet: for each of queries those of keys, and the reverse.

  Keys are in order, so those that a block of queries meets are in between. The
  queries may be in any order, but a block of keys meets a stretch of them.
  """
  q = q_index.reshape(q_index.shape[2], -1)
  k = k_index.reshape(k_index.shape[2], -1)
  count = functools.partial(jnp.searchsorted, side='right')
  first, last = jnp.zeros(q.shape[0], jnp.int32), count(k.min(1), q.max(1))
  begin = jnp.searchsorted(jax.lax.cummax(q.max(1)), k.min(1))
  end = jnp.full(k.shape[0], q.shape[0], jnp.int32)
  if window is not None:
    first = count(k.max(1), q.min(1) - window)
    # An empty slot is after every window, however wide.
    real = jnp.where(k == flash.EMPTY, -1, k).max(1)
    real = jnp.minimum(real, flash.EMPTY - window)
    end = count(jax.lax.cummin(q.min(1), reverse=True), real + (window - 1))
  shaped = lambda x: x.astype(jnp.int32).reshape(1, 1, -1, 1, 1)
  return (shaped(first), shaped(last)), (shaped(begin), shaped(end))


def _packed(traced, params):
  """Parameters as 1 x H|1 x 1 x rows x columns, those that a kernel needs."""
  used = traced.queries.matters | traced.keys.matters
  if traced.bias is not None:
    used |= traced.bias.matters
  found = hooks.labels('p', params).items()
  return {n: _pack(x, traced.params[n]) for n, x in found if n in used}


def _pack(x, names):
  place = {HEAD: 0, None: 1, COLUMN: 2}
  order = sorted(range(x.ndim), key=lambda d: place[names[d]])
  heads = x.shape[names.index(HEAD)] if HEAD in names else 1
  columns = x.shape[names.index(COLUMN)] if COLUMN in names else 1
  return x.transpose(order).reshape(1, heads, 1, -1, columns)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _fused(plan, given):
  return kernels.forward(plan, given)[0]


def _forward(plan, given):
  out, logsum = kernels.forward(plan, given)
  return out, (given, out, logsum)


def _backward(plan, saved, d_out):
  given, out, logsum = saved
  wide = lambda x: x.astype(jnp.float32)
  delta = (wide(d_out) * wide(out)).sum(4)[:, :, :, None]
  saved = kernels.Saved(d_out, logsum, delta)
  by_queries = kernels.backward_queries(plan, given, saved)
  by_keys = kernels.backward_keys(plan, given, saved)
  d_q, d_k = _of_tokens(given.q, by_queries), _of_tokens(given.k, by_keys)
  grads = lambda n: [g[n] for g in (by_queries, by_keys) if n in g]
  d_params = {n: _shared(x, grads(n)) for n, x in given.params.items()}
  return (kernels.Given(d_params, d_q, d_k, by_keys['v'], None, None),)


_fused.defvjp(_forward, _backward)


def _of_tokens(tokens, grads):
  """The gradients of queries or keys and of their positions; of no index."""
  found = lambda n: [grads[n]] if n in grads else []
  d_at = {n: _shared(x, found(n)) for n, x in tokens.at.items()}
  return kernels.Blocks(grads['x'], d_at, None)


def _shared(x, grads):
  """The gradient of what several programs share, from those of each kernel."""

  def one(grad):
    over = [d for d in range(x.ndim) if x.shape[d] < grad.shape[d]]
    return grad.sum(over, keepdims=True)

  return sum(map(one, grads)).astype(x.dtype) if grads else None
