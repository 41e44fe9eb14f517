"""Law 12: a seed draws the same bits alone as among others."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from posexp import schemes
from posexp.models import transformer
from tests import cases


def made(scheme):
  """Return a small model, and what it is asked."""
  shape = dataclasses.replace(cases.SHAPE, layers=1)
  tokens_BxL = jax.random.randint(jax.random.key(8), (2, 9), 0, 7)
  return transformer.Transformer(shape, scheme, vocabulary=7), tokens_BxL


def together_and_alone(function):
  """Return the second of three seeds among the others, and alone."""
  keys = jax.random.split(jax.random.key(0), 3)
  together = jax.jit(jax.vmap(function))(keys)
  return jax.tree.map(lambda x: x[1], together), jax.jit(function)(keys[1])


# A table, a network and a gate; what else is drawn is drawn in these ways, and
# the gradients below have every scheme.
DRAWN = (
  schemes.Learned(),
  schemes.FIRE(hidden=8),
  schemes.RoPE() + schemes.Forgetting(),
)


@pytest.mark.optimised
@cases.models(DRAWN)
def test_12_a_seed_is_the_same_alone(scheme):
  net, tokens_BxL = made(scheme)
  together, alone = together_and_alone(lambda key: net.init(key, tokens_BxL))
  jax.tree.map(np.testing.assert_array_equal, together, alone)


@cases.every_random_model
def test_12_gradients_of_a_seed_are_the_same_alone(scheme):
  net, tokens_BxL = made(scheme)

  def loss(params):
    return jnp.sum(jnp.square(net.apply(params, tokens_BxL)[0]))

  def gradients(key):
    return jax.grad(loss)(net.init(key, tokens_BxL))

  together, alone = together_and_alone(gradients)
  # Batched products may sum in another order; draws are the same bits.
  close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
  jax.tree.map(close, together, alone)
