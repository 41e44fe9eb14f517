"""Attention in one Pallas kernel, for a bias that depends on distance alone.

FlashAttention-2 (Dao 2023, arXiv 2307.08691): a program has one tile of queries
and goes over the keys that those see or, for the gradients of keys, the other
way round; for the gradient of the bias it goes along a diagonal of tiles.
Rotations are made before; the bias of each diagonal is computed once, by the
hook of the scheme, and read by the kernel.

On a CPU it is interpreted, as in the tests: not measured on a GPU or TPU, for
which the tests lower it, forward and backward. Limits there: what a head has of
keys, values and bias must fit the memory of a TPU's program; and on a GPU the
sizes of a tile and of a head must be powers of two, at least 16.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from posexp import component, schemes
from posexp.attention import placed, precision, tiles

Array = jax.Array

# The smallest side of what a GPU multiplies at once.
LEAST = 16


class Queries(NamedTuple):
  """Rotated and scaled, B x H x M x L x E, and indices, 1 x 1 x M x 1 x L."""

  x: Any
  index: Any


class Keys(NamedTuple):
  """Rotated, B x H x N x L x E, their indices as above, and values."""

  x: Any
  index: Any
  v: Any


class Given(NamedTuple):
  """What all kernels read; what is one number a token has one row.

  Columns of one number would be padded to 128 on a TPU.

  Attributes:
    queries: in M tiles.
    keys: in N tiles.
    bias: of tiles i and j at i - j, 1 x H x M x L x L, or None.
    seen: the first tile of keys that each tile of queries sees and one past the
      last, 1 x 1 x M x 1 x 1 each.
    seeing: the tiles of queries that see each tile of keys, likewise.
  """

  queries: Queries
  keys: Keys
  bias: Any
  seen: tuple[Any, Any]
  seeing: tuple[Any, Any]


class Saved(NamedTuple):
  """What the gradients need of queries, B x H x M x L x E or 1 x L.

  The gradient of the output; the logarithm of the sum of weights; the sum of
  the output times its gradient.
  """

  d_out: Any
  logsum: Any
  delta: Any


class Plan(NamedTuple):
  """What is fixed when a kernel is made."""

  window: int | None
  interpret: bool
  precision: str | None


def serves(
  scheme: schemes.Scheme, q_length: int, k_length: int, whole: bool
) -> bool:
  """Return whether the kernel computes these queries of a scheme it is for.

  All of one without a bias; of one with a bias those that are of the tokens of
  the keys, none left out. Which schemes it is for, `dispatch.check_scheme`
  says.
  """
  return 'bias' not in scheme.hooks() or (whole and q_length == k_length)


def attend(
  scheme: schemes.Scheme,
  params: schemes.Params,
  queries: placed.Placed,
  keys: placed.Placed,
  v_BxHxKxE: Array,
  *,
  size: int,
  window: int | None,
) -> Array:
  """Attention in tiles of so many tokens, B x H x Q x E; call it inside jit.

  Raises:
    UserError: for a size that a GPU's compiler does not take.

  >>> scheme, index = schemes.RoPE() + schemes.ALiBi(), jnp.arange(3)[None]
  >>> x, at = jnp.ones((1, 3, 2, 4)), scheme.remap(index, None)
  >>> q, k = (placed.place(scheme, {}, s, x, at, index) for s in ('q', 'k'))
  >>> v = placed.heads_first(x)
  >>> attend(scheme, {}, q, k, v, size=2, window=None).shape
  (1, 2, 3, 4)
  """
  _, heads, q_length, _ = queries.x_BxHxLxE.shape
  interpret = jax.default_backend() == 'cpu'
  if jax.default_backend() == 'gpu':
    widths = queries.x_BxHxLxE.shape[3], v_BxHxKxE.shape[3]
    _check_sizes(block=size, head_width=min(widths, key=_taken))
  q_size, k_size = (
    _tile_size(size, length, interpret)
    for length in (q_length, v_BxHxKxE.shape[2])
  )
  rows = tiles.cut_placed(queries, q_size)
  columns = tiles.cut_keys(keys, k_size)
  bias = None
  if 'bias' in scheme.hooks():
    bias_DxHxW = tiles.diagonals(scheme, params, heads, rows, columns)
    # No key is before its query by a tile or more.
    bias_MxHxW = bias_DxHxW[len(columns.index_1xL) - 1 :]
    bias = jax.vmap(tiles.skewed, out_axes=1)(bias_MxHxW)[None]

  def inner(x_NxBxHxLxE):
    return jnp.moveaxis(x_NxBxHxLxE, 0, 2)

  def row(index_Nx1xL):
    return index_Nx1xL[None, None]

  given = Given(
    Queries(inner(rows.x_BxHxLxE), row(rows.index_1xL)),
    Keys(
      inner(columns.x_BxHxLxE),
      row(columns.index_1xL),
      inner(tiles.cut(v_BxHxKxE, k_size)),
    ),
    bias,
    _numbers(tiles.reach(rows, columns, window)),
    _numbers(_seeing(rows, columns, window)),
  )
  out = _fused(Plan(window, interpret, precision.now()), given)
  return tiles.join(jnp.moveaxis(out, 2, 0), q_length)


def _check_sizes(**sizes):
  for name, size in sizes.items():
    if not _taken(size):
      raise component.UserError(
        f'{name} of the fused kernel must be a power of two of at least '
        f"{LEAST} on a GPU, got {size}: choose one, or use implementation='xla'"
      )


def _taken(size):
  return size >= LEAST and size.bit_count() == 1


def _tile_size(size, length, interpret):
  """No longer than the tokens, up to what the compilers for GPUs take."""
  if interpret:
    return min(size, length)
  return min(size, max(LEAST, 2 ** (length - 1).bit_length()))


def _numbers(ends):
  return tuple(x.astype(jnp.int32).reshape(1, 1, -1, 1, 1) for x in ends)


def _seeing(rows, columns, window):
  """Return the first query tile that sees each key tile, one past the last.

  Keys are in order. The queries may be in any, but those that see a tile of
  keys are in a stretch of them.
  """
  q = rows.index_1xL.reshape(rows.index_1xL.shape[0], -1)
  k = columns.index_1xL.reshape(columns.index_1xL.shape[0], -1)
  begin = jnp.searchsorted(lax.cummax(q.max(1)), k.min(1))
  if window is None:
    return begin, jnp.full_like(begin, len(q))
  # An empty slot is after every window, however wide.
  real = jnp.where(k == placed.EMPTY, -1, k).max(1)
  real = jnp.minimum(real, placed.EMPTY - window)
  least = lax.cummin(q.min(1), reverse=True)
  return begin, jnp.searchsorted(least, real + (window - 1), side='right')


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _fused(plan, given):
  return _forward(plan, given)[0]


def _forward(plan, given):
  q, v = given.queries.x, given.keys.v
  shapes = (
    jax.ShapeDtypeStruct((*q.shape[:4], v.shape[4]), v.dtype),
    jax.ShapeDtypeStruct((*q.shape[:3], 1, q.shape[3]), jnp.float32),
  )
  own, whole = (given.queries, given.seen), (given.keys, given.bias)
  out, logsum = _call(_mix_values, plan, own, whole, shapes)
  return out, (given, out, logsum)


def _backward(plan, saved, d_out):
  with jax.default_matmul_precision(plan.precision):
    return _gradients(plan, saved, d_out)


def _gradients(plan, saved, d_out):
  given, out, logsum = saved
  queries, keys, bias, seen, seeing = given
  delta = (d_out.astype(jnp.float32) * out.astype(jnp.float32)).sum(4)
  saved = Saved(d_out, logsum, delta[:, :, :, None])

  def like(x):
    return jax.ShapeDtypeStruct(x.shape, x.dtype)

  (d_q,) = _call(
    _d_queries, plan, (queries, seen, saved), (keys, bias), (like(queries.x),)
  )
  d_k, d_v = _call(
    _d_keys,
    plan,
    (keys, seeing),
    (queries, saved, bias),
    (like(keys.x), like(keys.v)),
  )
  d_bias = None
  if bias is not None:
    shape = *queries.x.shape[:3], *bias.shape[3:]
    shapes = (jax.ShapeDtypeStruct(shape, jnp.float32),)
    (d_bias,) = _call(_d_bias, plan, bias, (queries, keys, saved), shapes)
    d_bias = d_bias.sum(0, keepdims=True)
  d_given = Given(
    Queries(d_q, None), Keys(d_k, None, d_v), d_bias, (None, None), (None, None)
  )
  return (d_given,)


_fused.defvjp(_forward, _backward)


def _mix_values(plan, own, whole, *out):
  queries, reach = _read(own)
  i = pl.program_id(2)

  def step(j, carry):
    top, total, mixed = carry
    keys, bias = _read(whole[0], j), _read(whole[1], i - j)
    logits, visible = _logits(plan, queries, keys, bias)
    logits = jnp.where(visible, logits, placed.LOWEST)
    new = jnp.maximum(top, logits.max(1, keepdims=True))
    weights = jnp.where(visible, jnp.exp(logits - new), 0.0)
    fade = jnp.exp(top - new)
    total = fade * total + weights.sum(1, keepdims=True)
    return new, total, fade * mixed + dot(weights, keys.v, 1, 0)

  size = queries.x.shape[0]
  lowest = jnp.full((size, 1), placed.LOWEST, jnp.float32)

  def zeros(width):
    return jnp.zeros((size, width), jnp.float32)

  start = lowest, zeros(1), zeros(out[0].shape[1])
  top, total, mixed = _loop(reach, step, start)
  out[0][...] = (mixed / total).astype(out[0].dtype)
  out[1][...] = (top + jnp.log(total)).T


def _d_queries(plan, own, whole, *out):
  queries, reach, saved = _read(own)
  i = pl.program_id(2)

  def step(j, d_q):
    keys, bias = _read(whole[0], j), _read(whole[1], i - j)
    _, d_logits = _d_logits(plan, queries, keys, bias, saved)
    return d_q + dot(d_logits, keys.x, 1, 0)

  d_q = _loop(reach, step, jnp.zeros(queries.x.shape, jnp.float32))
  out[0][...] = d_q.astype(out[0].dtype)


def _d_keys(plan, own, whole, *out):
  keys, reach = _read(own)
  j = pl.program_id(2)

  def step(i, sums):
    (queries, saved), bias = _read(whole[:2], i), _read(whole[2], i - j)
    weights, d_logits = _d_logits(plan, queries, keys, bias, saved)
    more = dot(d_logits, queries.x, 0, 0), dot(weights, saved.d_out, 0, 0)
    return jax.tree.map(jnp.add, sums, more)

  def zeros(x):
    return jnp.zeros(x.shape, jnp.float32)

  sums = _loop(reach, step, (zeros(keys.x), zeros(keys.v)))
  for ref, total in zip(out, sums, strict=True):
    ref[...] = total.astype(ref.dtype)


def _d_bias(plan, own, whole, *out):
  bias, diagonal = _read(own), pl.program_id(2)

  def step(i, d_bias):
    queries, saved = _read((whole[0], whole[2]), i)
    keys = _read(whole[1], i - diagonal)
    return d_bias + _d_logits(plan, queries, keys, bias, saved)[1]

  number, size, _ = whole[0].x.shape
  end = number
  if plan.window is not None:
    # The nearest pair of tokens on a diagonal, when it is out of the window.
    nearest = diagonal * size - (size - 1)
    end = jnp.where(nearest < plan.window, number, diagonal)
  start = jnp.zeros(bias.shape, jnp.float32)
  out[0][...] = lax.fori_loop(diagonal, end, step, start)


def _logits(plan, queries, keys, bias):
  """Return the logits of a tile, rows x columns, and which of them count."""
  logits = dot(queries.x, keys.x, 1, 1)
  if bias is not None:
    logits = logits + bias
  q_index, k_index = queries.index.T, keys.index
  visible = k_index <= q_index
  if plan.window is not None:
    visible &= k_index > q_index - plan.window
  return logits, visible


def _d_logits(plan, queries, keys, bias, saved):
  """Return the weights of a tile, and the gradient of its logits."""
  logits, visible = _logits(plan, queries, keys, bias)
  weights = jnp.where(visible, jnp.exp(logits - saved.logsum.T), 0.0)
  return weights, weights * (dot(saved.d_out, keys.v, 1, 1) - saved.delta.T)


def dot(a, b, a_axis, b_axis):
  """Return a product in the narrower dtype of the two, summed in float32."""
  dtype = min(a.dtype, b.dtype, key=lambda d: d.itemsize)
  return lax.dot_general(
    a.astype(dtype),
    b.astype(dtype),
    (((a_axis,), (b_axis,)), ((), ())),
    # Those of half width have but one, and Mosaic takes no other.
    precision=None if dtype == jnp.float32 else lax.Precision.DEFAULT,
    preferred_element_type=jnp.float32,
  )


def _read(refs, tile=None):
  """Return what references hold, or one tile of it."""
  return jax.tree.map(lambda r: r[...] if tile is None else r[tile], refs)


def _loop(reach, step, start):
  first, end = (jnp.max(x) for x in reach)
  return lax.fori_loop(first, end, step, start)


def _call(kernel, plan, own, whole, shapes):
  """One program for each tile of each head of each sequence.

  It has its tile of `own` and of the results, and all tiles of `whole`.
  """

  def spec(x, every):
    batch, heads, number, *rest = x.shape

    def where(b, h, n):
      here = b if batch > 1 else 0, h if heads > 1 else 0
      return (*here, 0 if every or number == 1 else n, 0, 0)

    return pl.BlockSpec((None, None, number if every else None, *rest), where)

  own_spec = functools.partial(spec, every=False)
  call = functools.partial(
    pl.pallas_call,
    functools.partial(kernel, plan),
    grid=shapes[0].shape[:3],
    in_specs=[
      jax.tree.map(own_spec, own),
      jax.tree.map(functools.partial(spec, every=True), whole),
    ],
    out_specs=jax.tree.map(own_spec, shapes),
    out_shape=shapes,
  )
  if plan.interpret:
    return call(interpret=True)(own, whole)
  # Of the two compilers for GPUs, Triton is the one that takes plain kernels.
  on_gpu = call(compiler_params=triton.CompilerParams())
  return lax.platform_dependent(own, whole, tpu=call(), default=on_gpu)
