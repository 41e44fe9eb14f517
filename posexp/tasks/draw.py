"""How tasks draw: one key per example, random words once, integers only.

Integer arithmetic is the same under jit, eagerly, and on every device, so a
sequence is its key and nothing else. An example draws all of its words in one
call, because each call to the generator takes a CPU a third of a second to
compile.
"""

import abc
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.tasks import base


def root(seed: jax.Array | int) -> jax.Array:
  """Return the key of a seed.

  >>> jax.random.key_data(root(7)).tolist()
  [0, 7]
  """
  return jax.random.key(seed, impl=base.GENERATOR)


@dataclasses.dataclass(frozen=True)
class PerExample(base.Task):
  """A task of sequences that have nothing in common but the fields."""

  def sample(self, key, *, length, batch):
    self.check(length)
    return per_example(lambda key: self._one(key, length), key, batch)

  @abc.abstractmethod
  def _one(self, key: jax.Array, length: int) -> base.Batch:
    """Draw one sequence (no batch axis yet), of a length that was checked."""


def per_example(
  one: Callable[..., base.Batch], key: jax.Array, batch: int, *trees: Any
) -> base.Batch:
  """Call `one` for each example, with a key that is the example's own.

  Example i sees fold_in(key, i), so it does not depend on the batch size, and
  after it entry i of `trees`. It is compiled as one program also where the
  caller does not compile it.

  Raises:
    UserError: for a key of another generator, which gives other sequences.
  """
  generator = jax.random.key_impl(key)
  if generator != base.GENERATOR:
    raise component.UserError(
      f'sequences are drawn with {base.GENERATOR}, got a key of {generator}: '
      f"make it with jax.random.key(seed, impl='{base.GENERATOR}')"
    )

  @jax.jit
  def every(key: jax.Array, trees: tuple[Any, ...]) -> base.Batch:
    index_B = jnp.arange(batch, dtype=jnp.uint32)

    def each(index: jax.Array, *entries: Any) -> base.Batch:
      return one(jax.random.fold_in(key, index), *entries)

    return jax.vmap(each)(index_B, *trees)

  with jax.threefry_partitionable(True):
    return every(key, trees)


def words(key: jax.Array, *sizes: int) -> list[jax.Array]:
  """Draw arrays of independent random uint32 words, one array per size."""
  word_W = jax.random.bits(key, (sum(sizes),), jnp.uint32)
  ends = np.cumsum(sizes)
  return [word_W[end - size : end] for end, size in zip(ends, sizes)]


def integers(word_X: jax.Array, low: int, high: int) -> jax.Array:
  """Turn each word into an int32 in low, ..., high - 1.

  By remainder, so that some values are likelier than others by a share of
  (high - low) / 2**32, or 1e-5 at a length of 32,768.
  """
  return low + (word_X % jnp.uint32(high - low)).astype(jnp.int32)


def coins(word_X: jax.Array) -> jax.Array:
  """Turn each word into a fair coin, 0 or 1, independent of the others."""
  return integers(word_X, 0, 2)


def choice(word_X: jax.Array, weights: Sequence[float]) -> jax.Array:
  """Turn each word into an index with probability proportional to `weights`.

  An index of weight 0 is never drawn, and where one is left nothing is.

  >>> import jax.numpy as jnp
  >>> word_N = jnp.array([0, 2**30, 2**31, 2**32 - 1], jnp.uint32)
  >>> choice(word_N, (0, 1, 3, 0)).tolist()
  [1, 2, 2, 2]
  """
  likely = np.flatnonzero(weights)
  share_K = np.cumsum(np.asarray(weights, np.float64)[likely])
  index_X = jnp.zeros(word_X.shape, jnp.int32)
  for share in share_K[:-1] / share_K[-1]:
    # What is all but certain in float64 would be one more than a word holds.
    edge = min(int(share * 2**32), 2**32 - 1)
    index_X += (word_X >= jnp.uint32(edge)).astype(jnp.int32)
  return jnp.asarray(likely, jnp.int32)[index_X]


def shuffled(word_N: jax.Array) -> jax.Array:
  """Return 0, ..., N - 1 in random order, by sorting N random words.

  Few items are packed into the low bits of what is sorted, since sorting one
  array is four times faster than sorting a pair of them. Words that are equal
  in the other bits keep their order: for any two items once in 2**24
  shuffles up to 256 items, and once in 2**32 above.
  """
  index_N = jnp.arange(word_N.shape[0], dtype=jnp.uint32)
  if word_N.shape[0] > 256:
    _, order_N = jax.lax.sort((word_N, index_N), num_keys=1)
    return order_N.astype(jnp.int32)
  low = jnp.uint32(255)
  return (jax.lax.sort(word_N & ~low | index_N) & low).astype(jnp.int32)
