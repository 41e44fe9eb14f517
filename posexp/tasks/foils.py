"""Foils that several tasks share."""

import jax
import jax.numpy as jnp


def neighbours(answer_N: jax.Array) -> list[jax.Array]:
  """The answer one place before each answer, and the one after it.

  Two arrays over N, -1 where there is none or where it is the same token.

  >>> import jax.numpy as jnp
  >>> [foil_N.tolist() for foil_N in neighbours(jnp.array([5, 5, 7]))]
  [[-1, -1, 5], [-1, 7, -1]]
  """
  padded_N = jnp.pad(answer_N, (1, 1), constant_values=-1)
  return [
    jnp.where(foil_N == answer_N, -1, foil_N)
    for foil_N in (padded_N[:-2], padded_N[2:])
  ]
