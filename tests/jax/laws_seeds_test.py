"""Law 12: a seed draws the same bits alone as among others."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from posexp.models import transformer
from tests import cases

pytestmark = pytest.mark.fused


@cases.every_random_model
def test_12_a_seed_is_the_same_alone(scheme):
  shape = dataclasses.replace(cases.SHAPE, layers=1)
  net = transformer.Transformer(shape, scheme, vocabulary=7)
  tokens_BxL = jax.random.randint(jax.random.key(8), (2, 9), 0, 7)

  def one(key):
    params = net.init(key, tokens_BxL)
    loss = lambda p: jnp.sum(jnp.square(net.apply(p, tokens_BxL)[0]))
    return params, jax.grad(loss)(params)

  keys = jax.random.split(jax.random.key(0), 3)
  together, alone = jax.jit(jax.vmap(one))(keys), jax.jit(one)(keys[1])
  # Batched products may sum in another order; draws are the same bits.
  close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
  jax.tree.map(lambda a, b: close(a[1], b), together[1], alone[1])
  same = np.testing.assert_array_equal
  jax.tree.map(lambda a, b: same(a[1], b), together[0], alone[0])
