"""The three kernels: forward, and the gradients by queries and by keys.

FlashAttention-2 (Dao 2023, arXiv 2307.08691): a program has one block of
queries and goes over the keys that those see or, for the gradients of keys, the
other way round. Every array has five axes, B x H x N x rows x columns, N blocks
of L tokens; what is one number a token has one row, as columns of one number
would be padded to 128 on a TPU.
"""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from posexp.attention import flash
from posexp.attention.kernel.hooks import Hooks, Leaves, Traced
from posexp.attention.kernel.tiles import Program, Row

Array = jax.Array

# The gradients of some leaves, each a list of matrices.
Grads = dict[str, list[Array]]


class Plan(NamedTuple):
  """What a kernel is made for besides shapes: a scheme at the size of a tile.

  Rotated queries are multiplied by the scale and see a window of tokens.
  """

  hooks: Hooks
  scale: float
  window: int | None
  interpret: bool


class Blocks(NamedTuple):
  """Queries or keys, B x H x N x L x E, and the index of each token.

  The leaves of their positions, by label, are B|1 x H|1 x N x 1 x L.
  """

  x: Any
  at: Any
  index: Any


class Saved(NamedTuple):
  """What the gradients need of queries, B x H x N x L x F or 1 x L.

  The gradient of the output; the logarithm of the sum of weights; the sum of
  the output times its gradient.
  """

  d_out: Any
  logsum: Any
  delta: Any


class Given(NamedTuple):
  """What all three kernels read.

  Parameters by label, 1 x H|1 x 1 x rows x columns; queries,
  keys and values, B x H x N x L x F. For each block of queries the first block
  of keys that it meets and the one after the last, two arrays 1 x 1 x N x 1 x
  1; and for each block of keys those of queries.
  """

  params: Mapping[str, Any]
  q: Blocks
  k: Blocks
  v: Any
  keys: Any
  queries: Any


class View:
  """What one program computes of a tile, all arrays rows x columns.

  A gradient is a list of rows for each leaf, by its label.
  """

  def __init__(self, plan: Plan, params: Mapping[str, Any]):
    head = jnp.full((1, 1), pl.program_id(1), jnp.int32)
    self._plan, self._program = plan, Program(head)
    self._params = {n: _rows(ref) for n, ref in params.items()}

  def queries(self, block: Blocks) -> Array:
    """Rotated, and divided by the root of the width."""
    q = self._plan.hooks.queries(self._program, self._rotated(block))
    return self.scaled(q, q.dtype)

  def scaled(self, x: Array, dtype) -> Array:
    """Multiplied by the scale as it is in a dtype."""
    return x * jnp.asarray(self._plan.scale, dtype).astype(x.dtype)

  def keys(self, block: Blocks) -> Array:
    return self._plan.hooks.keys(self._program, self._rotated(block))

  def pull(self, hook: Traced, block: Blocks, d_x: Array) -> Grads:
    """The gradients of all that a rotation depends on."""
    d_x = d_x.astype(hook.forward.out_avals[0].dtype)
    given, wanted = self._rotated(block), hook.learns | {'x'}
    return _lying(hook.pull(self._program, given, d_x, wanted))

  def pull_logits(self, rows, columns, q, k, v, saved: Saved):
    """The weights, and the gradient of the logits."""
    logits, visible = self.logits(rows, columns, q, k)
    weights = jnp.where(visible, jnp.exp(logits - saved.logsum.T), 0.0)
    return weights, weights * (dot(saved.d_out, v, 1, 1) - saved.delta.T)

  def logits(self, rows: Blocks, columns: Blocks, q: Array, k: Array):
    """The logits, and which of them count."""
    logits, added = dot(q, k, 1, 1), self._plan.hooks.bias
    if added is not None:
      logits = logits + added(self._program, self._biased(rows, columns))
    q_index, k_index = rows.index.T, columns.index
    visible = k_index <= q_index
    if self._plan.window is not None:
      visible &= k_index > q_index - self._plan.window
    return logits, visible

  def pull_bias(self, rows, columns, d_logits: Array, side: str) -> Grads:
    """The gradients of the positions of one side; with queries, of params."""
    added, wanted = self._plan.hooks.bias, biased_learns(self._plan, side)
    if added is None or not wanted:
      return {}
    given = self._biased(rows, columns)
    return _lying(added.pull(self._program, given, d_logits, wanted))

  def zeros(self, side: str) -> Grads:
    """What the sums of `pull_bias` begin with."""
    added, wanted = self._plan.hooks.bias, biased_learns(self._plan, side)
    if added is None:
      return {}
    return _lying({n: added.zeros(self._program, n) for n in wanted})

  def _rotated(self, block) -> Leaves:
    at = {n: [x.T] for n, x in block.at.items()}
    return {**self._params, 'x': [block.x], **at}

  def _biased(self, rows, columns) -> Leaves:
    q_at = {n: [x.T] for n, x in rows.at.items()}
    k_at = {n: [x] for n, x in columns.at.items()}
    return {**self._params, 'head': [self._program.head], **q_at, **k_at}


def _lying(grads: Grads) -> Grads:
  """Those of positions, which are one number a token, as one row."""
  lie = lambda g: g.T if g.shape[1] == 1 else g
  return {n: list(map(lie, g)) if n[0] in 'qk' else g for n, g in grads.items()}


def _rows(ref) -> list[Row]:
  read = lambda n: ref[pl.ds(n, 1), :]
  return [Row(read, n, ref.shape[1]) for n in range(ref.shape[0])]


def biased_learns(plan: Plan, side: str) -> list[str]:
  """The leaves of the bias that a kernel makes the gradient of."""
  learns = plan.hooks.bias.learns if plan.hooks.bias else ()
  kinds = {'q': 'pq', 'k': 'k'}[side]
  return sorted(n for n in learns if n[0] in kinds)


def dot(a, b, a_axis, b_axis):
  """A product in the narrower dtype of the two, summed in float32."""
  dtype = min(a.dtype, b.dtype, key=lambda d: d.itemsize)
  return lax.dot_general(
    a.astype(dtype),
    b.astype(dtype),
    (((a_axis,), (b_axis,)), ((), ())),
    preferred_element_type=jnp.float32,
  )


def forward(plan: Plan, given: Given) -> tuple[Array, Array]:
  """Attention, and the logarithm of each query's sum of weights."""
  batch, heads, blocks, rows, _ = given.q.x.shape
  shape = batch, heads, blocks
  shapes = {
    'out': jax.ShapeDtypeStruct(
      (*shape, rows, given.v.shape[4]), given.v.dtype
    ),
    'logsum': jax.ShapeDtypeStruct((*shape, 1, rows), jnp.float32),
  }
  own, whole = (given.params, given.keys, given.q), (given.k, given.v)
  out = _call(_forward, plan, own, whole, shapes)
  return out['out'], out['logsum']


def _forward(plan, own, whole, out):
  params, reach, mine = own
  view, mine = View(plan, params), _read(mine)
  q = view.queries(mine)

  def step(j, carry):
    top, total, mixed = carry
    theirs, v_j = _read(whole, j)
    logits, visible = view.logits(mine, theirs, q, view.keys(theirs))
    logits = jnp.where(visible, logits, flash.LOWEST)
    new = jnp.maximum(top, logits.max(1, keepdims=True))
    weights = jnp.where(visible, jnp.exp(logits - new), 0.0)
    fade = jnp.exp(top - new)
    total = fade * total + weights.sum(1, keepdims=True)
    return new, total, fade * mixed + dot(weights, v_j, 1, 0)

  zeros = lambda columns: jnp.zeros((q.shape[0], columns), jnp.float32)
  lowest = jnp.full((q.shape[0], 1), flash.LOWEST, jnp.float32)
  start = lowest, zeros(1), zeros(whole[1].shape[2])
  top, total, mixed = _loop(reach, step, start)
  out['out'][...] = (mixed / total).astype(out['out'].dtype)
  out['logsum'][...] = (top + jnp.log(total)).T


def backward_queries(plan: Plan, given: Given, saved: Saved) -> dict:
  """What each block of queries gives to the gradients of its leaves."""
  leaves = plan.hooks.queries.learns.union(biased_learns(plan, 'q'))
  shapes = _shapes(given.params, given.q, leaves)
  own = given.params, given.keys, given.q, saved
  return _call(_queries, plan, own, (given.k, given.v), shapes)


def _queries(plan, own, whole, out):
  params, reach, mine, saved = own
  view, mine, saved = View(plan, params), _read(mine), _read(saved)
  q = view.queries(mine)

  def step(j, carry):
    d_q, grads = carry
    theirs, v_j = _read(whole, j)
    k = view.keys(theirs)
    _, d_logits = view.pull_logits(mine, theirs, q, k, v_j, saved)
    more = view.pull_bias(mine, theirs, d_logits, 'q')
    return d_q + dot(d_logits, k, 1, 0), _sum(grads, more)

  start = jnp.zeros(q.shape, jnp.float32), view.zeros('q')
  d_q, grads = _loop(reach, step, start)
  more = view.pull(plan.hooks.queries, mine, view.scaled(d_q, q.dtype))
  _write(out, _sum(grads, more))


def backward_keys(plan: Plan, given: Given, saved: Saved) -> dict:
  """What each block of keys gives to the gradients of its leaves; and of v."""
  leaves = plan.hooks.keys.learns.union(biased_learns(plan, 'k'))
  shapes = _shapes(given.params, given.k, leaves)
  shapes['v'] = jax.ShapeDtypeStruct(given.v.shape, given.v.dtype)
  own = given.params, given.queries, given.k, given.v
  return _call(_keys, plan, own, (given.q, saved), shapes)


def _keys(plan, own, whole, out):
  params, reach, mine, v = own
  view, mine, v = View(plan, params), _read(mine), _read(v)
  k = view.keys(mine)

  def step(i, carry):
    d_k, d_v, grads = carry
    theirs, saved = _read(whole, i)
    q = view.queries(theirs)
    weights, d_logits = view.pull_logits(theirs, mine, q, k, v, saved)
    more = view.pull_bias(theirs, mine, d_logits, 'k')
    d_k = d_k + dot(d_logits, q, 0, 0)
    d_v = d_v + dot(weights, saved.d_out, 0, 0)
    return d_k, d_v, _sum(grads, more)

  zeros = lambda x: jnp.zeros(x.shape, jnp.float32)
  start = zeros(k), zeros(v), view.zeros('k')
  d_k, d_v, grads = _loop(reach, step, start)
  grads = _sum(grads, view.pull(plan.hooks.keys, mine, d_k))
  _write(out, {**grads, 'v': [d_v]})


def _shapes(params, block, leaves):
  """The gradients that each program of a kernel writes, by leaf."""
  shape = block.x.shape[:3]
  wide = lambda x: jax.ShapeDtypeStruct((*shape, *x.shape[3:]), jnp.float32)
  found = {n: wide(x) for n, x in {**params, **block.at}.items() if n in leaves}
  return {**found, 'x': jax.ShapeDtypeStruct(block.x.shape, block.x.dtype)}


def _sum(grads, more):
  both = grads.keys() & more.keys()
  added = {n: jax.tree.map(jnp.add, grads[n], more[n]) for n in both}
  return {**grads, **more, **added}


def _write(out, grads):
  for n, rows in grads.items():
    if len(rows) == 1:
      out[n][...] = rows[0].astype(out[n].dtype)
      continue
    for k, row in enumerate(rows):
      out[n][pl.ds(k, 1), :] = row.astype(out[n].dtype)


def _read(tree, block=None):
  """What references hold, or one block of it."""
  return jax.tree.map(lambda r: r[...] if block is None else r[block], tree)


def _loop(reach, step, start):
  begin, end = (jnp.max(x) for x in _read(reach))
  return lax.fori_loop(begin, end, step, start)


def _call(kernel, plan, own, whole, shapes):
  """One program for each block of each head of each sequence."""

  def spec(x, every):
    batch, heads, blocks, *rest = x.shape

    def where(b, h, i):
      here = b if batch > 1 else 0, h if heads > 1 else 0
      return (*here, 0 if every or blocks == 1 else i, 0, 0)

    return pl.BlockSpec((None, None, blocks if every else None, *rest), where)

  own_spec = functools.partial(spec, every=False)
  call = functools.partial(
    pl.pallas_call,
    functools.partial(kernel, plan),
    grid=next(iter(shapes.values())).shape[:3],
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
