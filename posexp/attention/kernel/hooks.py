"""The hooks of a scheme and their gradients, on the tiles of a kernel."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.dtypes import float0
from jax.extend import core

from posexp import schemes
from posexp.attention import flash
from posexp.attention.kernel import tiles
from posexp.attention.kernel.evaluate import evaluate, used
from posexp.attention.kernel.tiles import COLUMN, HEAD, ROW, Names, Program

Array = jax.Array

# What a program has of each leaf of the arguments, by its label, in entries.
# Labels are p0, p1, ... for parameters, q0, ... and k0, ... for positions of
# queries and of keys, x for what is rotated and head.
Leaves = Mapping[str, Sequence[Any]]


class Traced(NamedTuple):
  """A function of arrays and its gradient, traced at the size of a tile.

  Attributes:
    forward: from args to one result.
    backward: from the gradient of the result, then args, to those of the leaves
      that are not integers.
    leaves: shape and dtype of each leaf of the args, by its label.
    names: the names of its axes, in order.
    out: the names of the axes of the result.
    matters: the leaves that the result depends on.
    learns: those of them that have a gradient.
  """

  forward: core.ClosedJaxpr
  backward: core.ClosedJaxpr
  leaves: Mapping[str, jax.ShapeDtypeStruct]
  names: Mapping[str, Names]
  out: Names
  matters: frozenset[str]
  learns: frozenset[str]

  def __call__(self, program: Program, given: Leaves) -> Array:
    """The result, rows x columns."""
    args = self._tiles(given)
    (out,) = evaluate(program, self.forward, args, [True])
    return tiles.entries(program, out, self.out)[0]

  def pull(
    self,
    program: Program,
    given: Leaves,
    d_out: Array,
    wanted: Collection[str],
  ) -> dict[str, list[Array]]:
    """The gradients of the wanted leaves, float32, in entries."""
    (result,) = self.forward.out_avals
    args = [tiles.leaf(result.shape, self.out, [d_out]), *self._tiles(given)]
    program = program._replace(partial=True)
    labels = [n for n, x in self.leaves.items() if _is_float(x)]
    flags = [n in wanted for n in labels]
    grads = zip(labels, evaluate(program, self.backward, args, flags))
    return {n: self._entries(program, n, g) for n, g in grads if n in wanted}

  def zeros(self, program: Program, label: str) -> list[Array]:
    """A gradient of zeros of a leaf, as `pull` gives it."""
    shape = self.leaves[label].shape
    nothing = tiles.constant(np.zeros((1,) * len(shape), np.float32))
    return self._entries(program, label, nothing._replace(shape=shape))

  def _entries(self, program, label, grad):
    entries = tiles.entries(program, grad, as_matrix(self.names[label]))
    return [e.astype(jnp.float32) for e in entries]

  def _tiles(self, given):
    # What is not given is not looked at.
    return [
      tiles.leaf(x.shape, self.names[n], given[n]) if n in given else None
      for n, x in self.leaves.items()
    ]


def _is_float(x) -> bool:
  return jnp.issubdtype(x.dtype, jnp.inexact)


def traced(fn, args, names: Mapping[str, Names], out: Names) -> Traced:
  """A function of trees of shapes, one result, traced with its gradient."""

  def backward(d_out, *args):
    grads = jax.vjp(fn, *args)[1](d_out)
    return [g for g in jax.tree.leaves(grads) if g.dtype != float0]

  forward = jax.make_jaxpr(fn)(*args)
  leaves = dict(zip(names, jax.tree.leaves(args), strict=True))
  (aval,) = forward.out_avals
  result = jax.ShapeDtypeStruct(aval.shape, aval.dtype)
  uses = zip(leaves, used(forward, [True]))
  matters = frozenset(n for n, matter in uses if matter)
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

  The bias is None where nothing is added. And the names of the parameters.
  """

  queries: Traced
  keys: Traced
  bias: Traced | None
  params: Mapping[str, Names]


def labels(side: str, tree) -> dict[str, Any]:
  """The leaves of a tree by their labels: q0, q1, ... where the side is q."""
  return {f'{side}{n}': x for n, x in enumerate(jax.tree.leaves(tree))}


def trace(
  scheme: schemes.Scheme,
  params: schemes.Params,
  rows: flash.Tokens,
  columns: flash.Tokens,
) -> Hooks:
  """Traces a scheme at the size of a tile; no array is needed, only shapes."""
  _, heads, queries, width = rows.x_BxHxLxE.shape
  shape = 1, heads, queries, columns.x_BxHxLxE.shape[2]
  of_params = _param_names(scheme, params, heads, width)

  def rotate(tokens, side):
    x = _heads_last(tokens.x_BxHxLxE, 4)
    at = jax.tree.map(_heads_last, tokens.at)
    names = {**of_params, 'x': (None, ROW, HEAD, COLUMN)}
    for label, leaf in labels(side, at).items():
      names[label] = (None, ROW, HEAD)[: leaf.ndim]
    fn = lambda params, x, at: scheme.rotate(params, x, at, side)
    return traced(fn, (params, x, at), names, names['x'])

  def bias(params, index, q_at, k_at):
    found = scheme.bias(params, schemes.Head(index, heads), q_at, k_at)
    return jnp.broadcast_to(jnp.asarray(found).astype(jnp.float32), shape)

  index = jax.ShapeDtypeStruct((1, heads, 1, 1), jnp.int32)
  args = params, index, rows.at, jax.tree.map(_lying, columns.at)
  names = {**of_params, 'head': (None, HEAD, None, None)}
  names |= dict.fromkeys(labels('q', rows.at), (None, HEAD, ROW, None))
  names |= dict.fromkeys(labels('k', columns.at), (None, HEAD, None, COLUMN))
  added = None
  if 'bias' in scheme.hooks():
    added = traced(bias, args, names, (None, HEAD, ROW, COLUMN))
  return Hooks(rotate(rows, 'q'), rotate(columns, 'k'), added, of_params)


def _lying(x):
  return jax.ShapeDtypeStruct((*x.shape[:2], *x.shape[:1:-1]), x.dtype)


def _heads_last(x, axes=None):
  """As a rotation has it, B x L x H (x E); B x L where heads share it."""
  batch, heads, length, width = x.shape
  axes = axes or (2 if heads == 1 else 3)
  shape = (batch, length, heads, width)[:axes]
  return jax.ShapeDtypeStruct(shape, x.dtype)


def _param_names(scheme, params, heads, width) -> dict[str, Names]:
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
  found = {}
  for n, shape in enumerate(plain):
    names: list[str | None] = [None] * len(shape)
    for name, larger in wider:
      for d, size in enumerate(shape):
        if larger[n][d] == 2 * size:
          names[d] = name
    found[f'p{n}'] = tuple(names)
  return found
