"""Every pair of schemes, through all that a scheme goes through.

Shapes alone: what is computed is the laws' concern, and tracing is quick.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import pytest

import posexp
from posexp import schemes
from posexp.cost import bench
from posexp.models import transformer
from posexp.training import retrofit, train_step
from tests import cases, small

LENGTH = 12


SCHEMES = bench.one_of_each()
# What a pair cannot be, and why.
ROWWISE = (schemes.CoPE, schemes.StickBreaking)


def refused(first, second):
  """Why two schemes make no sum, None if they do."""
  kinds = type(first), type(second)
  if all(kind in ROWWISE for kind in kinds):
    return 'both change whole rows of logits'
  if schemes.PoPE not in kinds:
    return None
  other = second if kinds[0] is schemes.PoPE else first
  if isinstance(other, schemes.LogLength):
    return 'in the wrong order' if other is first else None
  return 'both act on queries and keys' if 'rotate' in other.hooks() else None


@functools.cache
def examples():
  """The shapes of a batch, which are those of the task alone."""
  sample = lambda: small.run().task.sample(
    jax.random.key(0), length=LENGTH, batch=2
  )
  return jax.eval_shape(sample)


def goes_through_everything(scheme):
  """Traces training, retrofit, decoding and blocks of a composition."""
  run = small.run(scheme=scheme, seeds=(0,))
  net = transformer.of(run)
  params = transformer.shapes(net)
  step = lambda p, b: train_step.gradient(
    net, p, b, run.task.asked(LENGTH), 2, jax.random.key(0)
  )
  *_, grads = jax.eval_shape(step, params, examples())
  assert jax.tree.map(lambda x: x.shape, grads) == jax.tree.map(
    lambda x: x.shape, params
  )
  one = jax.ShapeDtypeStruct((2, 1), jnp.int32)
  cache = jax.eval_shape(lambda: transformer.empty_cache(net, 2, LENGTH))
  decode = lambda p, t, c: net.apply({'params': p}, t, c, jnp.int32(3))
  _, longer = jax.eval_shape(decode, params, one, cache)
  assert jax.tree.map(lambda x: x.shape, longer) == jax.tree.map(
    lambda x: x.shape, cache
  )
  if scheme.blockwise:
    q = jax.ShapeDtypeStruct((2, LENGTH, 2, 8), jnp.float32)
    x = jax.ShapeDtypeStruct((2, LENGTH, 16), jnp.float32)
    layer = jax.eval_shape(
      lambda: scheme.init_layer(jax.random.key(0), cases.DIMS)
    )
    block = lambda p, q, x: posexp.attend(scheme, p, q, q, q, 5, x)
    assert jax.eval_shape(block, layer, q, x).shape == q.shape
  moved = run.retrofit(schemes.NoPE()).retrofit(scheme)
  old = jax.eval_shape(lambda p: jax.tree.map(lambda x: x[None], p), params)
  found = jax.eval_shape(lambda p: retrofit.transfer(run, moved, p).params, old)
  assert jax.tree.map(lambda x: x.shape[1:], found) == jax.tree.map(
    lambda x: x.shape, params
  )


@pytest.mark.parametrize('first', SCHEMES, ids=str)
def test_every_pair_works_or_says_why_not(first):
  for second in SCHEMES:
    why = refused(first, second)
    if why is not None:
      with pytest.raises(ValueError, match=why):
        first + second
    elif SCHEMES.index(first) <= SCHEMES.index(second):
      goes_through_everything((first + second).trained_at(LENGTH))


def test_the_pairs_are_all_pairs():
  assert len(SCHEMES) >= 18
  pairs = itertools.product(SCHEMES, repeat=2)
  assert 0 < sum(refused(*pair) is not None for pair in pairs) < 20
