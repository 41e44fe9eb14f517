"""Initial parameters: those that Flax draws, each of all blocks at once.

Flax folds the path of each parameter into the key of the model, one by one: for
24 blocks, that compiles for longer than a training step. Here the same numbers
are drawn with the blocks as an axis.
"""

import functools
import hashlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from posexp.models import blocks, transformer

Array = jax.Array


def params(net: transformer.Transformer, key: Array) -> Any:
  """Return the parameters of `net.init`, of a deep model with blocks stacked.

  Args:
    net: the model.
    key: of the seed.
  """
  if net.shape.layers < blocks.SCANNED_FROM:
    return net.init(key, jnp.zeros((1, 2), jnp.int32))['params']
  fold_in = functools.partial(jax.random.fold_in, key)
  tree: dict[str, Any] = {}
  names = [blocks.name(n) for n in range(net.shape.layers - 1)]
  for path, drawn in transformer.draws(net).items():
    if path[0] not in names:
      _put(tree, path, drawn.init(fold_in(_folded(drawn.suffix))))
    elif path[0] == names[0]:
      hash_N = np.stack([_folded((n, *drawn.suffix[1:])) for n in names])
      key_N = jax.vmap(fold_in)(hash_N)
      _put(tree, (blocks.STACKED, *path[1:]), jax.vmap(drawn.init)(key_N))
  return tree


def _folded(suffix: tuple[str | int, ...]) -> np.uint32:
  """Return the number that Flax folds into a key for a path and a number."""
  sha = hashlib.sha1()
  for part in suffix:
    if isinstance(part, int):
      sha.update(part.to_bytes((part.bit_length() + 7) // 8, 'big'))
    else:
      sha.update(part.encode())
  return np.uint32(int.from_bytes(sha.digest()[:4], 'big'))


def _put(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
  *parents, last = path
  for name in parents:
    tree = tree.setdefault(name, {})
  tree[last] = value
