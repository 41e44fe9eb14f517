"""The hooks of a scheme and their gradients, on the tiles of a kernel."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.dtypes import float0
from jax.extend import core

from posexp import blockwise, schemes
from posexp.fused import tiles
from posexp.fused.evaluate import evaluate, used
from posexp.fused.tiles import COLUMN, HEAD, ROW, Names, Program

Array = jax.Array

# What a program has of each leaf of the arguments, by its number, in entries.
Leaves = Mapping[int, Sequence[Array]]


class Traced(NamedTuple):
  """A function of arrays and its gradient, traced at the size of a tile.

  Attributes:
    forward: from args to one result.
    backward: from the gradient of the result, then args, to those of the leaves
      that are not integers.
    leaves: shape and dtype of each leaf of the args.
    names: the names of its axes.
    out: the names of the axes of the result.
    matters: the numbers of the leaves that the result depends on.
    learns: those of them that have a gradient.
  """

  forward: core.ClosedJaxpr
  backward: core.ClosedJaxpr
  leaves: Sequence[jax.ShapeDtypeStruct]
  names: Sequence[Names]
  out: Names
  matters: frozenset[int]
  learns: frozenset[int]

  def __call__(self, program: Program, given: Leaves) -> Array:
    """The result, rows x columns."""
    args = self._tiles(given)
    (out,) = evaluate(program, self.forward, args, [True])
    assert out is not None
    return tiles.entries(program, out, self.out)[0]

  def pull(
    self,
    program: Program,
    given: Leaves,
    d_out: Array,
    wanted: Collection[int],
  ) -> dict[int, list[Array]]:
    """The gradients of the wanted leaves, float32, in entries."""
    (result,) = self.forward.out_avals
    args = [tiles.leaf(result.shape, self.out, [d_out]), *self._tiles(given)]
    program = program._replace(partial=True)
    numbers = [n for n, x in enumerate(self.leaves) if _is_float(x)]
    flags = [n in wanted for n in numbers]
    grads = evaluate(program, self.backward, args, flags)
    found = [(n, g) for n, g in zip(numbers, grads) if g is not None]
    return {n: self._entries(program, n, grad) for n, grad in found}

  def zeros(self, program: Program, n: int) -> list[Array]:
    """A gradient of zeros of a leaf, as `pull` gives it."""
    shape = self.leaves[n].shape
    nothing = tiles.constant(np.zeros((1,) * len(shape), np.float32))
    return self._entries(program, n, nothing._replace(shape=shape))

  def _entries(self, program, n, grad):
    entries = tiles.entries(program, grad, as_matrix(self.names[n]))
    return [e.astype(jnp.float32) for e in entries]

  def _tiles(self, given):
    # What is not given is not looked at.
    return [
      tiles.leaf(x.shape, names, given[n]) if n in given else None
      for n, (x, names) in enumerate(zip(self.leaves, self.names))
    ]


def _is_float(x) -> bool:
  return jnp.issubdtype(x.dtype, jnp.inexact)


def traced(fn, args, names, out) -> Traced:
  """A function of trees of shapes, one result, traced with its gradient."""

  def backward(d_out, *args):
    grads = jax.vjp(fn, *args)[1](d_out)
    return [g for g in jax.tree.leaves(grads) if g.dtype != float0]

  forward, leaves = jax.make_jaxpr(fn)(*args), jax.tree.leaves(args)
  (aval,) = forward.out_avals
  result = jax.ShapeDtypeStruct(aval.shape, aval.dtype)
  matters = frozenset(n for n, u in enumerate(used(forward, [True])) if u)
  learns = frozenset(n for n in matters if _is_float(leaves[n]))
  backwards = jax.make_jaxpr(backward)(result, *args)
  return Traced(forward, backwards, leaves, names, out, matters, learns)


def as_matrix(names: Names) -> Names:
  """The names of a gradient: one axis without a name is rows, if they are free.

  So a table's is one matrix, which the sum over tiles is kept in.
  """
  if names.count(None) == 1 and ROW not in names:
    return tuple(name or ROW for name in names)
  return names


class Hooks(NamedTuple):
  """What a scheme does to the queries and keys of a tile and to its logits.

  The leaves of `queries` and `keys` are those of the parameters, of x and of
  the positions; of `bias` those of the parameters, the head and the positions
  of queries and of keys. It is None where nothing is added.
  """

  queries: Traced
  keys: Traced
  bias: Traced | None
  params: Sequence[Names]

  @property
  def first(self) -> int:
    """The number of the first leaf that is no parameter."""
    return len(self.params)

  @property
  def first_of_keys(self) -> int:
    """The number of the first leaf of `bias` for positions of keys."""
    # Queries have as many leaves in their rotation as here.
    return len(self.queries.leaves)


def trace(
  scheme: schemes.Scheme,
  params: schemes.Params,
  rows: blockwise.Tokens,
  columns: blockwise.Tokens,
) -> Hooks:
  """Traces a scheme at the size of a tile; no array is needed, only shapes."""
  _, heads, _, width = rows.x_BxHxLxE.shape
  queries, keys = (x.x_BxHxLxE.shape[2] for x in (rows, columns))
  of_params = _param_names(scheme, params, heads, width)

  def rotate(tokens, side):
    x, at = (
      _heads_last(tokens.x_BxHxLxE, 4),
      jax.tree.map(_heads_last, tokens.at),
    )
    x_names = None, ROW, HEAD, COLUMN
    at_names = [(None, ROW, HEAD)[: y.ndim] for y in jax.tree.leaves(at)]
    fn = lambda params, x, at: scheme.rotate(params, x, at, side)
    return traced(
      fn, (params, x, at), [*of_params, x_names, *at_names], x_names
    )

  def bias(params, index, q_at, k_at):
    found = scheme.bias(params, schemes.Head(index, heads), q_at, k_at)
    found = jnp.asarray(found).astype(jnp.float32)
    return jnp.broadcast_to(found, (1, heads, queries, keys))

  index = jax.ShapeDtypeStruct((1, heads, 1, 1), jnp.int32)
  args = params, index, rows.at, jax.tree.map(_lying, columns.at)
  count = len(jax.tree.leaves(rows.at))
  names: list[Names] = [(None, HEAD, None, None)]
  names += [(None, HEAD, ROW, None)] * count
  names += [(None, HEAD, None, COLUMN)] * count
  added = None
  if 'bias' in scheme.hooks():
    out = None, HEAD, ROW, COLUMN
    added = traced(bias, args, [*of_params, *names], out)
  return Hooks(rotate(rows, 'q'), rotate(columns, 'k'), added, of_params)


def _lying(x):
  return jax.ShapeDtypeStruct((*x.shape[:2], *x.shape[:1:-1]), x.dtype)


def _heads_last(x, axes=None):
  """As a rotation has it, B x L x H (x E); B x L where heads share it."""
  batch, heads, length, width = x.shape
  axes = axes or (2 if heads == 1 else 3)
  shape = (batch, length, heads, width)[:axes]
  return jax.ShapeDtypeStruct(shape, x.dtype)


def _param_names(scheme, params, heads, width) -> list[Names]:
  """Which axes of parameters go with the heads, and which with their width.

  Those that grow with them.
  """
  dims = schemes.Dims(heads * width, heads, width)
  init = lambda dims: scheme.init_layer(jax.random.key(0), dims)
  shapes = lambda dims: [
    x.shape for x in jax.tree.leaves(jax.eval_shape(lambda: init(dims)))
  ]
  plain = shapes(dims)
  wider = (
    (HEAD, shapes(dims._replace(heads=2 * heads))),
    (COLUMN, shapes(dims._replace(head_width=2 * width))),
  )
  found = []
  for n, shape in enumerate(plain):
    names: list[str | None] = [None] * len(shape)
    for name, larger in wider:
      for d, size in enumerate(shape):
        if larger[n][d] == 2 * size:
          names[d] = name
    found.append(tuple(names))
  return found
