"""Causal attention for any positional scheme, whole or from a cache."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from posexp import component, schemes
from posexp.attention import cudnn, dispatch, flash, kernel

Array = jax.Array


class Cache(NamedTuple):
  """Keys (already rotated) and values of one layer, M slots.

  Attributes:
    k_BxHxMxE: rotated keys.
    v_BxHxMxE: values.
    at: the scheme's positions of the keys, leaves 1 x M or B x M (x H).
    index_1xM: token indices, blockwise.EMPTY where a slot is not yet used.
  """

  k_BxHxMxE: Array
  v_BxHxMxE: Array
  at: schemes.At
  index_1xM: Array


def attend(
  scheme: schemes.Scheme,
  params: schemes.Params,
  q_BxLxHxE: Array,
  k_BxLxHxE: Array,
  v_BxLxHxE: Array,
  block: int | str | None = None,
  x_BxLxD: Array | None = None,
  window: int | None = None,
  implementation: str | None = None,
) -> Array:
  """Causal attention of a sequence to itself under a positional scheme.

  out_i = sum over j <= i of softmax_j(R_i q_i . R_j k_j / sqrt(E) + b_ij) v_j

  Args:
    scheme: any scheme, compositions included.
    params: as `scheme.init_layer` gives them, {} where nothing is learned.
    q_BxLxHxE: queries; token l is at index l.
    k_BxLxHxE: keys.
    v_BxLxHxE: values.
    block: None for dense attention, an integer for blocks of so many tokens,
      'auto' for the library's choice: dense up to 128 tokens, then blocks,
      which on an NVIDIA GPU of compute capability 8.0 or more are those of
      cuDNN for half precision without a bias. Memory is quadratic in the
      length if dense, linear in blocks; all give the same up to rounding.
    x_BxLxD: the content, for schemes whose clock depends on it.
    window: how many tokens a query sees, itself among them; None is all.
    implementation: None for the library's choice, 'xla' for nothing but XLA's
      operations, 'pallas' for one fused kernel, see
      `posexp.attention.kernel`, in tiles of `block` tokens, 128 if that is
      None or 'auto'. On a CPU the kernel is interpreted,
      which is slow and for tests; it has not been measured on a GPU or TPU,
      and so is never the library's choice.

  Returns:
    B x L x H x E in the dtype of the values; softmax and biases are float32.

  Raises:
    UserError: if the scheme cannot serve the length or the head width, or
      `block`, `window` or `implementation` is none of these, the scheme has no
      blockwise form, or it needs the content and none is given.

  >>> x = jnp.ones((1, 3, 2, 4))
  >>> attend(schemes.RoPE() + schemes.ALiBi(), {}, x, x, x).shape
  (1, 3, 2, 4)
  """
  dispatch.check_scheme(scheme, block, implementation)
  component.at_least('window', window, 1, 'use None for all tokens')
  _, length, heads, head_width = q_BxLxHxE.shape
  dims = schemes.Dims(heads * head_width, heads, head_width)
  scheme.check(dims, length)
  index_1xL = jnp.arange(length, dtype=jnp.int32)[None]
  at = scheme.remap(index_1xL, None)
  if x_BxLxD is not None:
    at = scheme.locate(params, x_BxLxD, at, None)
  elif 'locate' in scheme.hooks():
    raise component.UserError(
      f'{scheme} has a clock that depends on the content: give x_BxLxD, what '
      'the queries and keys were made of'
    )
  scale = 1.0 / math.sqrt(head_width)
  q = scheme.rotate(params, q_BxLxHxE, at, 'q')
  k = scheme.rotate(params, k_BxLxHxE, at, 'k')
  return core(
    scheme,
    params,
    q,
    flash.heads_first(k),
    flash.heads_first(v_BxLxHxE),
    at,
    at,
    index_1xL,
    index_1xL,
    scale,
    block,
    content_BxQxHxE=q_BxLxHxE,
    keys_BxHxKxE=flash.heads_first(k_BxLxHxE),
    window=window,
    whole=True,
    implementation=implementation,
  )


def core(
  scheme: schemes.Scheme,
  params: schemes.Params,
  q_BxQxHxE: Array,
  k_BxHxKxE: Array,
  v_BxHxKxE: Array,
  q_at: schemes.At,
  k_at: schemes.At,
  q_index_1xQ: Array,
  k_index_1xK: Array,
  scale: float,
  block: int | str | None = None,
  *,
  content_BxQxHxE: Array | None = None,
  keys_BxHxKxE: Array | None = None,
  window: int | None = None,
  whole: bool = False,
  implementation: str | None = None,
) -> Array:
  """Attention of rotated queries to rotated keys, masked by token index.

  The indices of the keys must not decrease along K (those of a cache do not).
  `block`, `window` and `implementation` are as in `attend`; the content is the
  queries before they were rotated, for schemes that change whole rows of logits
  and for 'pallas', which is 'xla' where such `keys` are not known, as in a
  cache. `whole` says that no token is left out between the first query and the
  last.
  """
  if keys_BxHxKxE is None and implementation == 'pallas':
    implementation = 'xla'
  if content_BxQxHxE is None:
    content_BxQxHxE = q_BxQxHxE
  q, content = (
    x * jnp.asarray(scale, x.dtype) for x in (q_BxQxHxE, content_BxQxHxE)
  )
  rows = flash.tokens(flash.heads_first(q), q_at, q_index_1xQ)
  columns = flash.tokens(k_BxHxKxE, k_at, k_index_1xK)
  queries, keys = q_BxQxHxE.shape[1], k_BxHxKxE.shape[2]
  size = dispatch.block_size(scheme, block, queries, keys, implementation)
  if size is None:
    logits_BxHxQxK = logits(
      scheme, params, rows, columns, content, q_at, k_at, window
    )
    weights_BxHxQxK = normalise(scheme, logits_BxHxQxK)
    weights_BxHxQxK = weights_BxHxQxK.astype(v_BxHxKxE.dtype)
    mixed = jnp.einsum('bhqk,bhke->bhqe', weights_BxHxQxK, v_BxHxKxE)
    return mixed.swapaxes(1, 2)
  if implementation == 'pallas' and keys_BxHxKxE is not None:
    rows = rows._replace(x_BxHxLxE=flash.heads_first(content_BxQxHxE))
    columns = columns._replace(x_BxHxLxE=keys_BxHxKxE)
    mixed = kernel.attend(
      scheme, size, window, params, rows, columns, v_BxHxKxE, scale
    )
    return mixed.swapaxes(1, 2)
  free = whole and block == 'auto' and implementation is None
  if free and cudnn.serves(scheme, q, k_BxHxKxE, v_BxHxKxE):
    return cudnn.attend(q, k_BxHxKxE, v_BxHxKxE, window)
  mixed = flash.attend(
    scheme, size, window, params, rows, columns, v_BxHxKxE, whole
  )
  return mixed.swapaxes(1, 2)


def logits(
  scheme: schemes.Scheme,
  params: schemes.Params,
  rows: flash.Tokens,
  columns: flash.Tokens,
  content_BxQxHxE: Array,
  q_at: schemes.At,
  k_at: schemes.At,
  window: int | None = None,
) -> Array:
  """The logit of each key for each query, B x H x Q x K, float32.

  blockwise.LOWEST for keys that are not seen. The queries, rotated in `rows`
  and as content, are divided by sqrt(E).
  """
  seen = flash.seen(rows, columns, window)
  logits_BxHxQxK = flash.score(scheme, params, rows, columns)
  logits_BxHxQxK = jnp.where(seen, logits_BxHxQxK, flash.LOWEST)
  if not scheme.blockwise:
    logits_BxHxQxK = scheme.rescore(
      params, logits_BxHxQxK, content_BxQxHxE, q_at, k_at
    )
    logits_BxHxQxK = jnp.where(seen, logits_BxHxQxK, flash.LOWEST)
  return logits_BxHxQxK


def normalise(scheme: schemes.Scheme, logits_BxHxQxK: Array) -> Array:
  """Weights from logits: their softmax, unless the scheme says otherwise."""
  if scheme.normalised:
    return jax.nn.softmax(logits_BxHxQxK, axis=-1)
  return jnp.exp(logits_BxHxQxK)


def empty_cache(
  scheme: schemes.Scheme,
  dims: schemes.Dims,
  batch: int,
  slots: int,
  dtype: jnp.dtype,
) -> Cache:
  """A cache with every slot empty."""
  index_1xM = jnp.full((1, slots), flash.EMPTY, jnp.int32)

  def keys():
    params = scheme.init_layer(jax.random.key(0), dims)
    at = scheme.remap(index_1xM, None)
    x_BxMxD = jnp.zeros((batch, slots, dims.width), dtype)
    at = scheme.locate(params, x_BxMxD, at, None)
    k_BxMxHxE = x_BxMxD.reshape(batch, slots, dims.heads, dims.head_width)
    return scheme.rotate(params, k_BxMxHxE, at, 'k'), k_BxMxHxE, at

  # What a scheme makes of a key may be wider, and its clock have heads.
  empty = lambda x: jnp.zeros(x.shape, x.dtype)
  k, v, at = jax.tree.map(empty, jax.eval_shape(keys))
  return Cache(flash.heads_first(k), flash.heads_first(v), at, index_1xM)


def before(cache: Cache, start: Array | int) -> schemes.At:
  """The positions of the token before `start`, zeros if there is none."""

  def one(x_BxM):
    last = jax.lax.dynamic_slice_in_dim(x_BxM, start - 1, 1, axis=1)
    return jnp.where(start > 0, last, jnp.zeros_like(last))

  return jax.tree.map(one, cache.at)


def extend(
  cache: Cache,
  k_BxLxHxE: Array,
  v_BxLxHxE: Array,
  at: schemes.At,
  index_1xL: Array,
) -> Cache:
  """The cache with new tokens written at slots index_1xL[0, 0] onwards.

  Tokens past the last slot turn all later results into NaN, since under jit
  their indices are not known in time to raise.

  Raises:
    UserError: if there are more tokens than slots.
  """
  length, slots = index_1xL.shape[1], cache.index_1xM.shape[1]
  if length > slots:
    raise component.UserError(
      f'the cache has {slots} slots but {length} tokens were given: make it '
      'as long as the sequence'
    )
  k, v = flash.heads_first(k_BxLxHxE), flash.heads_first(v_BxLxHxE)
  new = Cache(k, v, at, index_1xL)

  def write(cache):
    def one(old, new):
      start, axis = index_1xL[0, 0], 2 if old.ndim == 4 else 1
      new = new.astype(old.dtype)
      return jax.lax.dynamic_update_slice_in_dim(old, new, start, axis)

    return jax.tree.map(one, cache, new)

  # A write past the end is moved back by XLA, onto other tokens' slots. And
  # without a condition XLA fuses the write into each use of the cache, each
  # with a copy of its own: decoding is five times slower then.
  spoil = lambda cache: cache._replace(
    v_BxHxMxE=jnp.full_like(cache.v_BxHxMxE, jnp.nan)
  )
  return jax.lax.cond(index_1xL[0, -1] < slots, write, spoil, cache)
