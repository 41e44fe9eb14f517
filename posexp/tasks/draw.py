"""How tasks draw: one key per example, integers only.

Integer arithmetic is the same under jit, eagerly, and on every device, so a
sequence is its key and nothing else.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from posexp.tasks import base


def per_example(
  one: Callable[[jax.Array], base.Batch], key: jax.Array, batch: int
) -> base.Batch:
  """`one` for each example, with a key that is the example's own.

  Example i sees fold_in(key, i), so it does not depend on the batch size.
  """
  index_B = jnp.arange(batch, dtype=jnp.uint32)
  return jax.vmap(lambda i: one(jax.random.fold_in(key, i)))(index_B)


def integers(
  key: jax.Array, shape: tuple[int, ...], low: int, high: int
) -> jax.Array:
  """int32 in low, ..., high - 1, whatever the precision jax is set to."""
  return jax.random.randint(key, shape, low, high, dtype=jnp.int32)


def coins(key: jax.Array, count: int) -> jax.Array:
  """`count` independent fair coins, 0 or 1.

  Independent on purpose: coins balanced within a sequence could be counted
  like cards, and the last of them would be known without looking.
  """
  return integers(key, (count,), 0, 2)


def shuffled(key: jax.Array, count: int) -> jax.Array:
  """0, ..., count - 1 in random order, by sorting random bits.

  Few items are packed into the low bits of what is sorted, since sorting one
  array is four times faster than sorting a pair of them. Bits that draw
  equal keep their order: for any two items once in 2**24
  shuffles up to 256 items, and once in 2**32 above.
  """
  bits_N = jax.random.bits(key, (count,), jnp.uint32)
  index_N = jnp.arange(count, dtype=jnp.uint32)
  if count > 256:
    return jax.lax.sort((bits_N, index_N), num_keys=1)[1].astype(jnp.int32)
  low = jnp.uint32(255)
  return (jax.lax.sort(bits_N & ~low | index_N) & low).astype(jnp.int32)
