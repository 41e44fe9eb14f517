"""What one program computes of a tile of queries and keys."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl

from posexp.fused.hooks import Hooks, Leaves, Traced
from posexp.fused.tiles import Program, Row

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
  return [n for n in learns if n[0] in {'q': 'pq', 'k': 'k'}[side]]


def dot(a, b, a_axis, b_axis):
  """A product in the narrower dtype of the two, summed in float32."""
  dtype = min(a.dtype, b.dtype, key=lambda d: d.itemsize)
  return lax.dot_general(
    a.astype(dtype),
    b.astype(dtype),
    (((a_axis,), (b_axis,)), ((), ())),
    preferred_element_type=jnp.float32,
  )
