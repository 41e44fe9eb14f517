"""The blocks of a deep model, side by side, so that one program is for all.

A model has its parameters block by block, as `block_0`, `block_1` and so on:
they are drawn, saved, moved and looked at so. From `SCANNED_FROM` layers on its
programs have those of all blocks but the last as one tree with the blocks as an
axis: a loop over them compiles in the same time whatever their number. The last
block is apart, as it may be computed for some tokens alone, and as what it
keeps for its gradient is what the backward pass needs first.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# From so many layers on a loop compiles sooner.
SCANNED_FROM = 8

# The name of the stacked blocks.
STACKED = 'blocks'


def name(n: int) -> str:
  """Return the name of a block."""
  return f'block_{n}'


def stack(of_blocks: Sequence[Any], axis: int = 0) -> Any:
  """Return one tree for those of several blocks."""
  return jax.tree.map(lambda *x: _numpy(x[0]).stack(x, axis), *of_blocks)


def stacked(tree: Any, axis: int = 0) -> Any:
  """Stack the blocks of deep models, wherever a tree has parameters.

  >>> import numpy as np
  >>> deep = {f'block_{n}': {'scale': np.ones(3)} for n in range(8)}
  >>> {k: v['scale'].shape for k, v in stacked(deep).items()}
  {'block_7': (3,), 'blocks': (7, 3)}

  Args:
    tree: arrays, of the host or of a program.
    axis: where the blocks are in what is stacked, 1 after one of seeds.
  """

  def stack_in(node):
    layers = _number(node)
    if layers < SCANNED_FROM:
      return node
    first = [name(n) for n in range(layers - 1)]
    rest = {k: v for k, v in node.items() if k not in first}
    return {**rest, STACKED: stack([node[n] for n in first], axis)}

  return jax.tree.map(stack_in, tree, is_leaf=lambda x: _number(x) > 0)


def unstacked(tree: Any, axis: int = 0) -> Any:
  """Return a tree block by block: the inverse of `stacked`."""

  def unstack(node):
    if not _is_stacked(node):
      return node
    rest = {k: v for k, v in node.items() if k != STACKED}
    # One more has a name of its own.
    blocks = [
      jax.tree.map(
        lambda x, n=n: x[(slice(None),) * axis + (n,)], node[STACKED]
      )
      for n in range(_layers(node) - 1)
    ]
    return {**rest, **{name(n): block for n, block in enumerate(blocks)}}

  return jax.tree.map(unstack, tree, is_leaf=_is_stacked)


def each(
  function: Callable[[Any], Any], params: dict[str, Any]
) -> dict[str, Any]:
  """Apply a function to the parameters of each block, stacked or not."""

  def apply(key, value):
    if key == STACKED:
      return jax.vmap(function)(value)
    return function(value) if key.startswith('block_') else value

  return {key: apply(key, value) for key, value in params.items()}


def _number(node: Any) -> int:
  """Return how many blocks a node of a tree has, 0 if it has none."""
  if not isinstance(node, dict):
    return 0
  return sum(key.startswith('block_') for key in node)


def _is_stacked(node: Any) -> bool:
  return isinstance(node, dict) and STACKED in node


def _layers(node: dict[str, Any]) -> int:
  (last,) = (key for key in node if key.startswith('block_'))
  return int(last.removeprefix('block_')) + 1


def is_stacked(path: tuple[Any, ...]) -> bool:
  """Return whether a leaf of the parameters has blocks as an axis, by path."""
  return any(key.key == STACKED for key in path)


def _numpy(x: Any) -> Any:
  return np if isinstance(x, np.ndarray) else jnp
