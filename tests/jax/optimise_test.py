"""AdamW's step follows the configuration, and what a program is given."""

import jax
import jax.numpy as jnp
import numpy as np

from posexp.training import optimizer
from tests import small


def test_decay_and_schedule_follow_the_configuration():
  run = small.run(train=small.train_config(steps=100, warmup=10))
  optimiser = optimizer.optimiser(run.train)
  params = {'w': jnp.ones((2, 2)), 'g': jnp.ones(2)}
  state = optimiser.init(params)
  zero = jax.tree.map(jnp.zeros_like, params)
  sizes = []
  for _ in range(100):
    with jax.numpy_dtype_promotion('standard'):
      update, state = optimiser.update(zero, state, params)
    assert float(jnp.abs(update['g']).max()) == 0.0  # Vectors do not decay.
    sizes.append(float(-update['w'][0, 0]))
  rate = np.array(sizes) / run.train.decay
  assert rate[0] == 0.0
  np.testing.assert_allclose(rate[10], run.train.learning_rate, rtol=1e-5)
  cosine = 0.5 * (1 + np.cos(np.pi * (55 - 10) / 90))
  expected = run.train.learning_rate * cosine
  np.testing.assert_allclose(rate[55], expected, rtol=1e-5)


def test_clipping_and_the_second_moment_follow_the_configuration():
  settings = small.train_config(
    steps=10**9, warmup=0, decay=0.0, beta2=0.5, clip=2.0
  )
  optimiser = optimizer.optimiser(settings)
  params = {'w': jnp.ones((1, 2))}
  state = optimiser.init(params)
  for g in ([3.0, 4.0], [0.3, 0.4]):
    with jax.numpy_dtype_promotion('standard'):
      update, state = optimiser.update({'w': jnp.array([g])}, state, params)
  # AdamW's second step; the first gradient, of norm 5, was cut to 2.
  first, second = np.array([1.2, 1.6]), np.array([0.3, 0.4])
  mean = (0.9 * first + second) * 0.1 / (1 - 0.9**2)
  square = (0.5 * first**2 + second**2) * 0.5 / (1 - 0.5**2)
  expected = -settings.learning_rate * mean / np.sqrt(square)
  np.testing.assert_allclose(update['w'][0], expected, rtol=1e-5)


def test_numbers_that_are_given_are_those_of_the_configuration():
  settings = small.train_config(
    steps=9, warmup=3, learning_rate=3e-3, decay=0.1
  )
  other = small.train_config(steps=9, warmup=3, learning_rate=9.0, decay=0.0)
  params = {'w': jnp.ones((2, 2)), 'g': jnp.ones(2)}
  grads = jax.tree.map(lambda x: 0.3 * x, params)
  given = optimizer.Member(jnp.uint32(0), jnp.float32(3e-3), jnp.float32(0.1))
  here = there = params
  state = same = optimizer.optimiser(settings).init(params)
  for _ in range(5):
    here, state = optimizer.update(settings, here, state, grads)
    there, same = optimizer.update(other, there, same, grads, given)
  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6)
  jax.tree.map(close, there, here)
