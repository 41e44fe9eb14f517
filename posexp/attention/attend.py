"""Causal attention for any positional scheme, whole or from a cache."""

from typing import NoReturn

import jax
import jax.numpy as jnp

from posexp import component, schemes
from posexp.attention import (
  cudnn,
  dense,
  dispatch,
  flash,
  kernel,
  placed,
  precision,
)

Array = jax.Array


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
  key: Array | None = None,
) -> Array:
  """Causal attention of a sequence to itself under a positional scheme.

  out_i = sum over j <= i of softmax_j(R_i q_i . R_j k_j / sqrt(E) + b_ij) v_j

  A scheme that depends on the length (DynamicNTK, LongRoPE, Randomize) is the
  one for L tokens; for that of another length give `scheme.for_length(n)`,
  which stays as it is.

  Products of float32 arrays are float32 on every device, also where its default
  is less, unless `jax.default_matmul_precision` is set: that is kept to then.

  Args:
    scheme: any scheme, compositions included.
    params: as `scheme.init_layer` gives them, {} where nothing is learned.
    q_BxLxHxE: queries; token l is at index l.
    k_BxLxHxE: keys, of the shape of the queries.
    v_BxLxHxE: values, which may have another width.
    block: None for dense attention, an integer for blocks of so many tokens,
      'auto' for the library's choice: dense up to 128 tokens, then blocks,
      which on an NVIDIA GPU of compute capability 8.0 or more are those of
      cuDNN for half precision without a bias. Memory is quadratic in the
      length if dense, linear in blocks; all give the same up to rounding.
    x_BxLxD: the content, for schemes whose clock depends on it.
    window: how many tokens a query sees, itself among them; None is all.
    implementation: None for the library's choice, 'xla' for nothing but XLA's
      operations, 'pallas' for one fused kernel in tiles of `block` tokens, 128
      if that is None or 'auto'. The kernel is for schemes without a bias, or
      with one that depends on the distance of two token indices alone, and for
      no other (FIRE, Forgetting, a bias inside a wrapper). On a CPU it is
      interpreted, which is slow and for tests; on a GPU the width of a head and
      the block must be powers of two, at least 16. It has not been measured on
      a GPU or TPU, and so is never the library's choice.
    key: of positions that are drawn; without it those of `Randomize` are one
      fixed draw, the same in every call, and those of `Shift` are not moved.

  Returns:
    B x L x H x E in the dtype of the values; softmax and biases are float32.

  Raises:
    UserError: if queries, keys and values are not of one sequence, the scheme
      cannot serve the length or the head width, `block`, `window` or
      `implementation` is none of these, the scheme has no blockwise form, the
      kernel does not compute it, or it needs the content and none is given.

  >>> x = jnp.ones((1, 3, 2, 4))
  >>> attend(schemes.RoPE() + schemes.ALiBi(), {}, x, x, x).shape
  (1, 3, 2, 4)
  """
  dispatch.check_scheme(scheme, block, implementation)
  window = component.as_kind('window', window, int | None)
  component.at_least('window', window, 1, 'use None for all tokens')
  _check_arrays(q_BxLxHxE, k_BxLxHxE, v_BxLxHxE, x_BxLxD)
  _, length, heads, head_width = q_BxLxHxE.shape
  dims = schemes.Dims(heads * head_width, heads, head_width)
  scheme = scheme.for_length(length)
  scheme.check(dims, length)
  if x_BxLxD is None and 'locate' in scheme.hooks():
    raise component.UserError(
      f'{scheme} has a clock that depends on the content: give x_BxLxD, what '
      'the queries and keys were made of'
    )
  index_1xL = jnp.arange(length, dtype=jnp.int32)[None]
  at = scheme.remap(index_1xL, key)
  exactly = precision.now() or precision.of(q_BxLxHxE.dtype)
  with jax.default_matmul_precision(exactly):
    if x_BxLxD is not None:
      at = scheme.locate(params, x_BxLxD, at, None)
    return attend_placed(
      scheme,
      params,
      placed.place(scheme, params, 'q', q_BxLxHxE, at, index_1xL),
      placed.place(scheme, params, 'k', k_BxLxHxE, at, index_1xL),
      placed.heads_first(v_BxLxHxE),
      block=block,
      window=window,
      whole=True,
      implementation=implementation,
    )


def attend_placed(
  scheme: schemes.Scheme,
  params: schemes.Params,
  queries: placed.Placed,
  keys: placed.Placed,
  v_BxHxKxE: Array,
  *,
  block: int | str | None = None,
  window: int | None = None,
  whole: bool = False,
  implementation: str | None = None,
) -> Array:
  """Attention of rotated queries to rotated keys, B x Q x H x E.

  The indices of the keys must not decrease along K (those of a cache do not).
  `block`, `window` and `implementation` are as in `attend`; `whole` says that
  no token is left out between the first query and the last.
  """
  _check_placed(queries, keys, v_BxHxKxE)
  q_length, k_length = queries.x_BxHxLxE.shape[2], v_BxHxKxE.shape[2]
  size = dispatch.block_size(scheme, block, q_length, k_length, implementation)
  problem = scheme, params, queries, keys, v_BxHxKxE
  library = whole and block == 'auto' and implementation is None
  if size is None:
    mixed = dense.attend(*problem, window)
  elif implementation == 'pallas' and kernel.serves(
    scheme, q_length, k_length, whole
  ):
    mixed = kernel.attend(*problem, size=size, window=window)
  elif library and cudnn.serves(scheme, queries, keys, v_BxHxKxE):
    mixed = cudnn.attend(queries, keys, v_BxHxKxE, window)
  else:
    mixed = flash.attend(*problem, size=size, window=window, whole=whole)
  return mixed.swapaxes(1, 2)


def check_remat(scheme: schemes.Scheme, dims: schemes.Dims) -> None:
  """Raise where what a scheme does in a layer cannot be computed twice.

  All hooks are functions of arrays, and can. One that does something besides,
  as `io_callback` does, is refused by JAX, in a gradient alone.
  """
  index_1x1 = jnp.zeros((1, 1), jnp.int32)

  def layer(params, x_1x1xD, at):
    at = scheme.locate(params, x_1x1xD, at, None)
    x_BxLxHxE = x_1x1xD.reshape(1, 1, dims.heads, dims.head_width)
    q, k = (
      placed.place(scheme, params, side, x_BxLxHxE, at, index_1x1)
      for side in ('q', 'k')
    )
    return dense.attend(
      scheme, params, q, k, placed.heads_first(x_BxLxHxE)
    ).sum()

  def gradient():
    params = scheme.init_layer(jax.random.key(0), dims)
    at = scheme.remap(index_1x1, jax.random.key(0))
    x_1x1xD = jnp.zeros((1, 1, dims.width))
    return jax.grad(jax.checkpoint(layer), argnums=1)(params, x_1x1xD, at)

  try:
    jax.eval_shape(gradient)
  except NotImplementedError as error:
    if 'Effects' not in str(error):
      raise
    raise component.UserError(
      f'{scheme} has a side effect in a layer, which cannot be computed a '
      'second time, got remat=True: use remat=False'
    ) from error


def _check_arrays(q: Array, k: Array, v: Array, x: Array | None) -> None:
  """Raise unless the arrays are of one sequence of tokens."""
  shapes = q.shape, k.shape, v.shape
  if any(len(shape) != 4 for shape in shapes) or k.shape != q.shape:
    _refuse(shapes, 'give both as batch x tokens x heads x width')
  if v.shape[:3] != q.shape[:3]:
    _refuse(shapes, 'repeat the heads that are shared, and give every token')
  if 0 in q.shape:
    _refuse(shapes, 'give at least one of each')
  for name, array in (('queries', q), ('keys', k), ('values', v)):
    if not jnp.issubdtype(array.dtype, jnp.floating):
      raise component.UserError(
        f'{name} must be floating-point numbers, got {array.dtype}: convert '
        'them, as to float32'
      )
  if x is not None and (x.ndim != 3 or x.shape[:2] != q.shape[:2]):
    raise component.UserError(
      f'x_BxLxD must have the {q.shape[0]} sequences of {q.shape[1]} tokens of '
      f'the queries, got the shape {x.shape}: give what they were made of'
    )


def _check_placed(
  queries: placed.Placed, keys: placed.Placed, v_BxHxKxE: Array
) -> None:
  """Raise unless the keys fit the queries, and the values the keys."""
  q, k, v = queries.x_BxHxLxE, keys.x_BxHxLxE, v_BxHxKxE
  queries_fit = q.shape[:2] == k.shape[:2] and q.shape[3] == k.shape[3]
  if not queries_fit or v.shape[:3] != k.shape[:3]:
    _refuse((q.shape, k.shape, v.shape), 'only the queries may be fewer')


def _refuse(shapes: tuple[tuple[int, ...], ...], remedy: str) -> NoReturn:
  q, k, v = shapes
  raise component.UserError(
    f'queries, keys and values do not fit, got the shapes {q}, {k} and {v}: '
    f'{remedy}'
  )
