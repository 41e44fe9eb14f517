"""AdamW's step follows the configuration, and what a program is given."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from posexp import schemes
from posexp.models import transformer
from posexp.runs import config
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


# Of position: a table, a number a head, and rows that are added to the input.
TREE = {
  'embedding': {'table': 0.5 * np.ones((2, 3))},
  'block_0': {
    'norm': {'gain': np.array([1.0, 2.0])},
    'position': {'T5': {'bias': np.array([[0.3, -2.0], [0.1, 4.0]])}},
  },
  'block_1': {'position': {'KERPLE': {'strength': np.array([1.5, -0.5])}}},
  'position_input': {'Learned': {'table': np.array([[3.0, -1.0]])}},
}


@pytest.mark.parametrize('decay_position', [False, True])
def test_a_step_by_hand_decays_position_as_a_whole(decay_position):
  settings = small.train_config(
    steps=10, warmup=0, decay=0.2, clip=1.5, decay_position=decay_position
  )
  rng = np.random.default_rng(3)
  grads = jax.tree.map(lambda x: rng.normal(size=x.shape), TREE)
  params, given = (
    jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)
    for tree in (TREE, grads)
  )
  state = optimizer.optimiser(settings).init(params)
  after, _ = optimizer.update(settings, params, state, given)

  norm = np.sqrt(sum(np.sum(g**2) for g in jax.tree.leaves(grads)))
  assert norm > settings.clip
  decays = {
    'embedding': True,
    'gain': False,
    **dict.fromkeys(('T5', 'KERPLE', 'Learned'), decay_position),
  }
  for path, value in jax.tree.leaves_with_path(TREE):
    keys = [key.key for key in path]
    gradient = functools.reduce(lambda tree, key: tree[key], keys, grads)
    # The first step: the moments' corrections undo their rates.
    clipped = gradient * settings.clip / norm
    step = clipped / (np.abs(clipped) + 1e-8)
    (decay,) = [decays[key] for key in keys if key in decays]
    expected = value - settings.learning_rate * (step + 0.2 * decay * value)
    found = functools.reduce(lambda tree, key: tree[key], keys, after)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


LEARNING = (
  schemes.Learned(rows=32),
  schemes.T5(),
  schemes.KERPLE(),
  schemes.FIRE(),
  schemes.RoPE() + schemes.LogLength(train_length=12, learned=True),
)


@pytest.mark.parametrize('shared', [False, True])
@pytest.mark.parametrize('scheme', LEARNING, ids=str)
def test_what_a_scheme_learns_decays_as_a_whole(scheme, shared):
  shape = config.Model(layers=2, width=16, heads=2, share_position=shared)
  run, plain = (
    small.run(scheme=s, model=shape) for s in (scheme, schemes.NoPE())
  )
  shapes = transformer.shapes(transformer.of(run))
  content = transformer.shapes(transformer.of(plain))
  both = [
    optimizer.decayed(small.train_config(decay_position=position), shapes)
    for position in (False, True)
  ]
  off, on = ([leaf for leaf in jax.tree.leaves(t) if leaf] for t in both)
  matrices = sum(x.ndim > 1 for x in jax.tree.leaves(content))
  learned = len(jax.tree.leaves(shapes)) - len(jax.tree.leaves(content))
  assert learned > 0
  assert (len(off), len(on)) == (matrices, matrices + learned)


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
  given = optimizer.Member(
    seed=jnp.uint32(0),
    learning_rate=jnp.float32(3e-3),
    decay=jnp.float32(0.1),
    warm_in=jnp.float32(0),
    numbers=(),
  )
  here = there = params
  state = same = optimizer.optimiser(settings).init(params)
  for _ in range(5):
    here, state = optimizer.update(settings, here, state, grads)
    there, same = optimizer.update(other, there, same, grads, given)
  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6)
  jax.tree.map(close, there, here)
