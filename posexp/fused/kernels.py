"""The three kernels: forward, and the gradients by queries and by keys.

FlashAttention-2 (Dao 2023, arXiv 2307.08691): a program has one block of
queries and goes over the keys that those see or, for the gradients of keys, the
other way round. Every array has five axes, B x H x N x rows x columns, N blocks
of L tokens; what is one number a token has one row, as columns of one number
would be padded to 128 on a TPU.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from posexp import blockwise
from posexp.fused.hooks import Hooks, Leaves, Traced
from posexp.fused.tiles import Program, Row

Array = jax.Array

# The number of the values among leaves.
V = -1


class Plan(NamedTuple):
  """What a kernel is made for besides shapes.

  Attributes:
    hooks: the scheme at the size of a tile.
    scale: what rotated queries are multiplied with.
    window: how many tokens a query sees, None for all.
    interpret: whether the kernel runs as ordinary operations.
  """

  hooks: Hooks
  scale: float
  window: int | None
  interpret: bool


class Blocks(NamedTuple):
  """Queries or keys.

  Attributes:
    x: B x H x N x L x E.
    at: the leaves of their positions, B|1 x H|1 x N x 1 x L.
    index: of the tokens, 1 x 1 x N x 1 x L.
  """

  x: Any
  at: Sequence[Any]
  index: Any


class Given(NamedTuple):
  """What all three kernels read.

  Attributes:
    params: by the number of the leaf, 1 x H|1 x 1 x rows x columns.
    q: the queries.
    k: the keys.
    v: the values, B x H x N x L x F.
    keys: for each block of queries the first block of keys that it meets and
      the one after the last, two arrays 1 x 1 x N x 1 x 1.
    queries: for each block of keys those of queries.
  """

  params: Mapping[int, Any]
  q: Blocks
  k: Blocks
  v: Any
  keys: tuple[Any, Any]
  queries: tuple[Any, Any]


class Saved(NamedTuple):
  """What the gradients need of queries.

  Attributes:
    d_out: the gradient of the output, B x H x N x L x F.
    logsum: the logarithm of the sum of weights, B x H x N x 1 x L.
    delta: the sum of the output times its gradient, the same.
  """

  d_out: Any
  logsum: Any
  delta: Any


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
  view, mine = _View(plan, params), _read(mine)
  q = view.queries(mine)

  def step(j, carry):
    top, total, mixed = carry
    theirs, v_j = _read(whole, j)
    logits, visible = view.logits(mine, theirs, q, view.keys(theirs))
    logits = jnp.where(visible, logits, blockwise.LOWEST)
    new = jnp.maximum(top, logits.max(1, keepdims=True))
    weights = jnp.where(visible, jnp.exp(logits - new), 0.0)
    fade = jnp.exp(top - new)
    total = fade * total + weights.sum(1, keepdims=True)
    return new, total, fade * mixed + _dot(weights, v_j, 1, 0)

  zeros = lambda columns: jnp.zeros((q.shape[0], columns), jnp.float32)
  lowest = jnp.full((q.shape[0], 1), blockwise.LOWEST, jnp.float32)
  start = lowest, zeros(1), zeros(whole[1].shape[2])
  top, total, mixed = _loop(reach, step, start)
  out['out'][...] = (mixed / total).astype(out['out'].dtype)
  out['logsum'][...] = (top + jnp.log(total)).T


def backward_queries(plan: Plan, given: Given, saved: Saved) -> dict:
  """What each block of queries gives to the gradients of its leaves."""
  rotated = _rotated_learns(plan.hooks.queries, plan)
  leaves = rotated.union(_biased_learns(plan, 'q'))
  shapes = _shapes(plan, given.params, given.q, leaves)
  own = given.params, given.keys, given.q, saved
  return _call(_queries, plan, own, (given.k, given.v), shapes)


def _queries(plan, own, whole, out):
  params, reach, mine, saved = own
  view, mine, saved = _View(plan, params), _read(mine), _read(saved)
  q = view.queries(mine)

  def step(j, carry):
    d_q, grads = carry
    theirs, v_j = _read(whole, j)
    k = view.keys(theirs)
    _, d_logits = view.pull_logits(mine, theirs, q, k, v_j, saved)
    more = view.pull_bias(mine, theirs, d_logits, 'q')
    return d_q + _dot(d_logits, k, 1, 0), _sum(grads, more)

  start = jnp.zeros(q.shape, jnp.float32), view.zeros(mine, 'q')
  d_q, grads = _loop(reach, step, start)
  more = view.pull(plan.hooks.queries, mine, d_q * plan.scale)
  _write(out, _sum(grads, more))


def backward_keys(plan: Plan, given: Given, saved: Saved) -> dict:
  """What each block of keys gives to the gradients of its leaves; and of v."""
  rotated = _rotated_learns(plan.hooks.keys, plan)
  leaves = rotated.union(_biased_learns(plan, 'k'))
  shapes = _shapes(plan, given.params, given.k, leaves)
  shapes[V] = jax.ShapeDtypeStruct(given.v.shape, given.v.dtype)
  own = given.params, given.queries, given.k, given.v
  return _call(_keys, plan, own, (given.q, saved), shapes)


def _keys(plan, own, whole, out):
  params, reach, mine, v = own
  view, mine, v = _View(plan, params), _read(mine), _read(v)
  k = view.keys(mine)

  def step(i, carry):
    d_k, d_v, grads = carry
    theirs, saved = _read(whole, i)
    q = view.queries(theirs)
    weights, d_logits = view.pull_logits(theirs, mine, q, k, v, saved)
    more = view.pull_bias(theirs, mine, d_logits, 'k')
    d_k = d_k + _dot(d_logits, q, 0, 0)
    d_v = d_v + _dot(weights, saved.d_out, 0, 0)
    return d_k, d_v, _sum(grads, more)

  zeros = lambda x: jnp.zeros(x.shape, jnp.float32)
  start = zeros(k), zeros(v), view.zeros(mine, 'k')
  d_k, d_v, grads = _loop(reach, step, start)
  grads = _sum(grads, view.pull(plan.hooks.keys, mine, d_k))
  _write(out, {**grads, V: [d_v]})


class _View:
  """What one program computes of a tile, all arrays rows x columns.

  A gradient is a list of rows for each leaf, by the number that it has in the
  rotation of queries or of keys.
  """

  def __init__(self, plan: Plan, params: Mapping[int, Any]):
    head = jnp.full((1, 1), pl.program_id(1), jnp.int32)
    self._plan, self._program = plan, Program(head)
    self._params = {n: _rows(ref) for n, ref in params.items()}

  def queries(self, block: Blocks) -> Array:
    """Rotated, and divided by the root of the width."""
    hook = self._plan.hooks.queries
    q = hook(self._program, self._rotated(block))
    return q * jnp.asarray(self._plan.scale, q.dtype)

  def keys(self, block: Blocks) -> Array:
    return self._plan.hooks.keys(self._program, self._rotated(block))

  def pull(self, hook: Traced, block: Blocks, d_x: Array) -> dict:
    """The gradients of all that a rotation depends on."""
    d_x = d_x.astype(hook.forward.out_avals[0].dtype)
    given, wanted = self._rotated(block), _rotated_learns(hook, self._plan)
    grads = hook.pull(self._program, given, d_x, wanted)
    first = self._plan.hooks.first
    return {n: [g.T for g in e] if n > first else e for n, e in grads.items()}

  def logits(self, rows: Blocks, columns: Blocks, q: Array, k: Array):
    """The logits, and which of them count."""
    logits = _dot(q, k, 1, 1)
    if self._plan.hooks.bias is not None:
      given = self._biased(rows, columns)
      logits = logits + self._plan.hooks.bias(self._program, given)
    q_index, k_index = rows.index.T, columns.index
    visible = k_index <= q_index
    if self._plan.window is not None:
      visible &= k_index > q_index - self._plan.window
    return logits, visible

  def pull_logits(self, rows, columns, q, k, v, saved: Saved):
    """The weights, and the gradient of the logits."""
    logits, visible = self.logits(rows, columns, q, k)
    weights = jnp.where(visible, jnp.exp(logits - saved.logsum.T), 0.0)
    return weights, weights * (_dot(saved.d_out, v, 1, 1) - saved.delta.T)

  def pull_bias(self, rows, columns, d_logits: Array, side: str) -> dict:
    """The gradients of the positions of one side; with queries, of params."""
    hooks = self._plan.hooks
    wanted = {n: m for m, n in _biased_learns(self._plan, side).items()}
    if not wanted:
      return {}
    given = self._biased(rows, columns)
    grads = hooks.bias.pull(self._program, given, d_logits, wanted)
    of_rows = range(hooks.first + 1, hooks.first_of_keys)
    return {
      wanted[n]: [g.T for g in e] if n in of_rows else e
      for n, e in grads.items()
    }

  def zeros(self, block: Blocks, side: str) -> dict:
    """What the sums of `pull_bias` begin with."""
    hooks = self._plan.hooks
    zeros = lambda *shape: jnp.zeros(shape, jnp.float32)

    def one(n):
      if n > hooks.first:
        return [zeros(1, block.index.shape[1])]
      rows, columns = len(self._params[n]), self._params[n][0].size
      if hooks.params[n].count(None) < 2:
        return [zeros(rows, columns)]
      return [zeros(1, columns)] * rows

    return {n: one(n) for n in _biased_learns(self._plan, side)}

  def _rotated(self, block) -> Leaves:
    own = [block.x, *(at.T for at in block.at)]
    return self._leaves(own)

  def _biased(self, rows, columns) -> Leaves:
    return self._leaves([self._program.head, *(x.T for x in rows.at), *columns.at])

  def _leaves(self, own):
    own = [[x] for x in own]
    return {**self._params, **dict(enumerate(own, self._plan.hooks.first))}


def _rows(ref) -> list[Row]:
  read = lambda n: ref[pl.ds(n, 1), :]
  return [Row(read, n, ref.shape[1]) for n in range(ref.shape[0])]


def _rotated_learns(hook: Traced, plan: Plan) -> set[int]:
  """The leaves of a rotation with a gradient; x always has one."""
  return {*hook.learns, plan.hooks.first}


def _biased_learns(plan: Plan, side: str) -> dict[int, int]:
  """The leaves of the bias that a kernel makes the gradient of.

  By the number that they have in the rotation of its side.
  """
  hooks = plan.hooks
  learns = frozenset() if hooks.bias is None else hooks.bias.learns
  by = hooks.first_of_keys - hooks.first - 1
  if side == 'q':
    return {n: n for n in learns if n < hooks.first_of_keys}
  return {n - by: n for n in learns if n >= hooks.first_of_keys}


def _shapes(plan, params, block, leaves):
  """The gradients that each program of a kernel writes, by leaf."""
  first = plan.hooks.first
  own = dict(enumerate((block.x, *block.at), first))
  return {
    n: jax.ShapeDtypeStruct(
      (*block.x.shape[:3], *x.shape[3:]),
      x.dtype if n == first else jnp.float32,
    )
    for n, x in {**params, **own}.items()
    if n in leaves
  }


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


def _dot(a, b, a_axis, b_axis):
  """A product in the narrower dtype of the two, summed in float32."""
  dtype = min(a.dtype, b.dtype, key=lambda d: d.itemsize)
  return lax.dot_general(
    a.astype(dtype),
    b.astype(dtype),
    (((a_axis,), (b_axis,)), ((), ())),
    preferred_element_type=jnp.float32,
  )


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
