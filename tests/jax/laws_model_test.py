"""The laws that need a model: 7 to 9 and 11 of the twelve."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import posexp
from posexp import schemes
from posexp.attention import cache as cache_lib
from posexp.models import transformer
from tests import cases, references


@cases.every_model
def test_7_decoding_equals_the_full_pass(scheme):
  net, variables = cases.transformer(scheme)
  length = cases.LENGTH
  tokens_BxL = jax.random.randint(jax.random.key(8), (2, length), 0, length)
  empty = cache_lib.empty_cache(scheme, cases.DIMS, 2, length, jnp.float32)
  whole, _ = jax.jit(net.apply)(variables, tokens_BxL)
  cache = (empty,) * cases.SHAPE.layers
  decode = jax.jit(net.apply)
  for t in range(length):
    one_Bx1 = tokens_BxL[:, t : t + 1]
    logits, cache = decode(variables, one_Bx1, cache, jnp.int32(t))
    # Two layers of float32 sums in another order, logits of a few units.
    np.testing.assert_allclose(logits[:, 0], whole[:, t], rtol=0, atol=2e-5)


@cases.every_model
def test_8_causality(scheme):
  net, variables = cases.transformer(scheme)
  # Each token is its own id, so a row of the table is the input at its place.
  tokens_1xL = jnp.arange(cases.LENGTH)[None]
  weights_V = cases.normal(9, cases.LENGTH)

  def outputs_L(table):
    params = {**variables['params'], 'embedding': table}
    return net.apply({'params': params}, tokens_1xL)[0][0] @ weights_V

  jacobian = jax.jit(jax.jacrev(outputs_L))(variables['params']['embedding'])
  size_LxL = np.abs(jacobian).sum(-1)[:, : cases.LENGTH]
  assert (np.triu(size_LxL, 1) == 0).all()
  assert (size_LxL[np.tril_indices(cases.LENGTH)] > 0).all()


@cases.every_model
def test_9_shift(scheme):
  net, variables = cases.transformer(scheme)
  tokens_1xL, shift = jnp.arange(cases.LENGTH)[None], 100
  run = jax.jit(lambda start: net.apply(variables, tokens_1xL, None, start)[0])
  change = np.abs(run(shift) - run(0)).max()
  if scheme.relative:
    # Angles beyond 100 radians are off by up to 1.5e-5 in float32.
    assert change < 1e-4
    return
  assert change > 1e-2
  # And not in any way: token i becomes what token i + shift was.
  params = cases.input_params(scheme)
  x = cases.normal(6, 1, cases.LENGTH + shift, cases.DIMS.width)
  index = shift + jnp.arange(cases.LENGTH)[None]
  moved = scheme.embed(params, x[:, shift:], scheme.remap(index, None))
  expected = references.embed(scheme, *cases.float64((params, x)))[:, shift:]
  np.testing.assert_allclose(moved, expected, rtol=0, atol=2e-5)


LONGEST = 1_000_000


@pytest.mark.parametrize(
  'scheme', (*cases.CASES, schemes.Interpolate(schemes.Learned(8), 4)), ids=str
)
def test_11_beyond_the_table_raises(scheme):
  def attend(length):
    q = jnp.zeros((1, length, 2, 8))
    x = jnp.zeros((1, length, cases.DIMS.width))
    return posexp.attend(scheme, cases.layer_params(scheme), q, q, q, None, x)

  def forward(length):
    tokens = jnp.zeros((1, length), jnp.int32)
    net = transformer.Transformer(cases.SHAPE, scheme, vocabulary=4)
    return net.init_with_output(jax.random.key(0), tokens)[0][0]

  def served(length):
    try:
      scheme.check(cases.DIMS, length)
    except ValueError:
      return False
    return True

  low, high = 1, LONGEST + 1
  while high - low > 1:
    middle = (low + high) // 2
    low, high = (middle, high) if served(middle) else (low, middle)
  last = scheme.remap(jnp.array([[low - 1]]), None)
  x = jnp.zeros((1, 1, cases.DIMS.width))
  assert np.isfinite(scheme.embed(cases.input_params(scheme), x, last)).all()
  for run in (attend, forward):
    # Shapes alone: the error must come before any compute.
    assert jax.eval_shape(lambda run=run: run(low)).shape[1] == low
    if low < LONGEST:
      with pytest.raises(ValueError, match='but a length of'):
        jax.eval_shape(lambda run=run: run(low + 1))
