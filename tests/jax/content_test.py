"""Content-dependent and row-wise schemes: golden numbers, edges, bad inputs."""

import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import posexp
from posexp import schemes
from posexp.attention import cache as cache_lib
from posexp.attention import placed
from tests import cases

GOLDEN = json.loads(
  (pathlib.Path(__file__).parents[1] / 'testdata' / 'content.json').read_text()
)
# The authors' code is in float32 where it matters, and so is ours.
close = functools.partial(np.testing.assert_allclose, rtol=2e-6, atol=2e-6)


def golden(name, *keys):
  """Arrays as float32."""
  load = lambda x: np.array(x['values'], np.float32).reshape(x['shape'])
  return [jnp.asarray(load(GOLDEN[name][key])) for key in keys]


def tokens_first(*arrays):
  """B x H x L x E, as torch programs have them, to B x L x H x E."""
  return [x.swapaxes(1, 2) for x in arrays]


@pytest.mark.parametrize('block', [None, 4])
def test_forgetting_is_the_authors(block):
  q, k, v, gate, out = golden(
    'Forgetting', 'q', 'k', 'v', 'fgate_logit', 'ref_out'
  )
  q, k, v, out = tokens_first(q, k, v, out)
  # Their test scales by 1/2, which is 1 / sqrt(4); the gates are the content.
  params = {'w_DxH': jnp.eye(2), 'b_H': jnp.zeros(2)}
  x_BxLxH = gate.swapaxes(1, 2)
  mine = posexp.attend(schemes.Forgetting(), params, q, k, v, block, x_BxLxH)
  close(mine, out)


@pytest.mark.parametrize('remainder', [False, True])
def test_stick_breaking_is_the_authors(remainder):
  q, k, v, out, rest = golden('StickBreaking', 'q', 'k', 'v', 'out', 'rest')
  out = out + float(remainder) * rest[..., None] * v
  q, k, v, out = tokens_first(q, k, v, out)
  close(posexp.attend(schemes.StickBreaking(remainder), {}, q, k, v), out)


@pytest.mark.parametrize('scaled, name', [(True, ''), (False, '_undivided')])
def test_cope_is_the_authors(scaled, name):
  *qkv, table, out = golden('CoPE', 'q', 'k', 'v', 'table', f'out{name}')
  *qkv, out = (x[None].swapaxes(1, 2) for x in (*qkv, out))
  scheme = schemes.CoPE(positions=4, scaled=scaled)
  close(posexp.attend(scheme, {'e_PxE': table[0].T}, *qkv), out)


def test_pope_is_another_implementation():
  q, k, delta, product = golden('PoPE', 'q', 'k', 'delta', 'product')
  q, k = tokens_first(q, k)
  params, at = {'delta_HxE': delta[:, 0]}, jnp.arange(6)[None]
  q, k = (
    schemes.PoPE().rotate(params, x, at, side)
    for x, side in ((q, 'q'), (k, 'k'))
  )
  close(jnp.einsum('bqhe,bkhe->bhqk', q, k), product)


def test_pope_counts_its_positions_from_any_query():
  # A delta in the middle of its range: the key's own angle is later by it.
  params = {'delta_HxE': jnp.full((1, 1), -0.5)}
  x = jnp.ones((1, 1, 1, 1))
  at = lambda n: jnp.array([[n]])
  product = jnp.sum(
    schemes.PoPE().rotate(params, x, at(7), 'q')
    * schemes.PoPE().rotate(params, x, at(5), 'k')
  )
  close(product, np.log1p(np.e) ** 2 * np.cos(2 + 0.5))


@pytest.mark.parametrize(
  'scheme',
  [
    schemes.Forgetting(),
    schemes.CoPE(positions=8),
    schemes.StickBreaking(),
    schemes.PoPE(),
    schemes.LogLength(8),
    schemes.LogLength(8, learned=True),
  ],
  ids=str,
)
def test_bfloat16_is_near_float32(scheme):
  arrays, params = (
    (*cases.queries(), cases.stream()),
    cases.layer_params(scheme),
  )
  attend = lambda q, k, v, x: posexp.attend(scheme, params, q, k, v, None, x)
  half = attend(*(x.astype(jnp.bfloat16) for x in arrays))
  assert half.dtype == jnp.bfloat16
  wide = attend(*arrays)
  error = np.abs(half.astype(jnp.float32) - wide).max()
  # Eight bits of mantissa on logits of several units.
  assert error < 0.05 * np.abs(wide).max()


def test_a_gradient_reaches_a_delta_at_its_bound():
  scheme, (q, k, v) = schemes.PoPE(), cases.queries()
  params = scheme.init_layer(jax.random.key(0), cases.DIMS)
  loss = lambda p: jnp.sum(jnp.square(posexp.attend(scheme, p, q, k, v)))
  grad = jax.grad(loss)(params)['delta_HxE']
  assert (np.abs(grad) > 1e-6).all()


def test_a_first_token_that_sees_nothing_gets_zeros():
  q, k, v = cases.queries()
  out = posexp.attend(schemes.StickBreaking(), {}, q, k, v)
  np.testing.assert_array_equal(out[:, 0], 0.0)
  out = posexp.attend(schemes.StickBreaking(remainder=True), {}, q, k, v)
  np.testing.assert_array_equal(out[:, 0], v[:, 0])
  # Weights then sum to one.
  ones = posexp.attend(
    schemes.StickBreaking(remainder=True), {}, q, k, jnp.ones_like(v)
  )
  close(ones, 1.0)


def test_stick_breaking_is_stable_where_nothing_is_left():
  # The nearest key takes all but e^-200, the next all of that.
  z = jnp.full((1, 1, 3, 3), 200.0)
  at = jnp.arange(3)[None]
  log = schemes.StickBreaking().rescore({}, z, None, at, at)
  close(log[0, 0, 2, :2], [-200.0, 0.0])


def test_cope_uses_content_that_is_not_rotated():
  # With keys of zero every gate is a half, and positions are the same counts
  # for all queries: the rotation must leave no trace.
  q, k, v = cases.queries()
  params = cases.layer_params(schemes.CoPE(positions=8))
  run = lambda scheme, params: posexp.attend(scheme, params, q, 0 * k, v)
  alone = run(schemes.CoPE(positions=8), params)
  rotated = run(schemes.RoPE() + schemes.CoPE(positions=8), {'CoPE': params})
  close(rotated, alone)


def test_log_length_leaves_biases_alone():
  scheme = schemes.LogLength(train_length=4)
  q, k, v = cases.queries()
  both = posexp.attend(scheme + schemes.ALiBi(), {}, 0 * q, k, v)
  np.testing.assert_array_equal(
    both, posexp.attend(schemes.ALiBi(), {}, 0 * q, k, v)
  )
  # Up to the trained length nothing happens at all.
  np.testing.assert_array_equal(
    posexp.attend(scheme, {}, q, k, v)[:, :4],
    posexp.attend(schemes.NoPE(), {}, q, k, v)[:, :4],
  )


def test_learned_log_length_starts_at_an_average_of_one():
  scheme = schemes.LogLength(schemes.share(1.0), learned=True).trained_at(1024)
  assert scheme.train_length == 1024
  params = scheme.init_layer(jax.random.key(0), cases.DIMS)
  # 1 / (ln(1024!) / 1024).
  close(params['a_H'], np.full(2, 0.168474), rtol=1e-5)
  assert scheme.neutral(params) is params
  x = jnp.ones((1, 1024, 2, 1))
  q = scheme.rotate(params, x, jnp.arange(1024)[None], 'q')
  close(q.mean(), 1.0, rtol=1e-5)


def test_a_neutral_gate_changes_little_and_learns():
  scheme, x = schemes.Forgetting(), cases.normal(0, 1, 1000, cases.DIMS.width)
  params = scheme.neutral(scheme.init_layer(jax.random.key(0), cases.DIMS))
  last = lambda p: jnp.sum(scheme.locate(p, x, None, None)[0, -1])
  forgotten, grads = jax.value_and_grad(last)(params)
  assert -0.1 < forgotten / cases.DIMS.heads < 0
  assert all((np.abs(g) > 1e-6).all() for g in jax.tree.leaves(grads))


def test_a_clock_goes_on_where_a_cache_ends():
  scheme = schemes.RoPE() + schemes.Forgetting()
  params, x = cases.layer_params(scheme), cases.stream()
  index = jnp.arange(cases.LENGTH, dtype=jnp.int32)[None]
  whole = scheme.locate(params, x, scheme.remap(index, None), None)
  cache = cache_lib.empty_cache(scheme, cases.DIMS, 2, 40, jnp.float32)
  for start, end in ((0, 11), (11, 12), (12, cases.LENGTH)):
    part = index[:, start:end]
    at = scheme.remap(part, None)
    before = cache_lib.before(cache, start)
    at = scheme.locate(params, x[:, start:end], at, before)
    k = jnp.zeros((2, 2, end - start, 8))
    cache = cache_lib.extend(cache, placed.Placed(k, at, part), k)
  # Sums of a few tens of nats in another order.
  close(cache.keys.at[1][:, : cases.LENGTH], whole[1], rtol=1e-5)


@pytest.mark.parametrize(
  'make, sentence',
  [
    (
      lambda: schemes.CoPE() + schemes.StickBreaking(),
      r'CoPE\(\) and StickBreaking\(\) both change whole rows of logits',
    ),
    (
      lambda: schemes.Interpolate(schemes.CoPE(), 2) + schemes.CoPE(),
      'both change whole rows of logits',
    ),
    (
      lambda: schemes.PoPE() + schemes.RoPE(),
      r'PoPE\(\) and RoPE\(\) both act on queries and keys',
    ),
    (
      lambda: schemes.RoPE() + schemes.Interpolate(schemes.PoPE(), 2),
      r'Interpolate\(PoPE\(\), factor=2\) and RoPE\(\) both act on',
    ),
    (
      lambda: schemes.PoPE() + schemes.ALiBi() + schemes.PoPE(),
      'both act on queries and keys',
    ),
    (
      lambda: schemes.PoPE() + schemes.T5(scaled=False),
      'both act on queries and keys',
    ),
    (
      lambda: schemes.LogLength(8) + schemes.PoPE(),
      r'wrong order.* put LogLength\(train_length=8\) after it',
    ),
    (lambda: schemes.PoPE(base=0), 'base of PoPE .* got 0'),
    (lambda: schemes.CoPE(positions=1), 'at least 2, got 1: row 0 is for'),
    (lambda: schemes.LogLength(1), 'train_length of LogLength .* got 1'),
    (lambda: schemes.LogLength(-1), 'train_length of LogLength .* got -1'),
    (
      lambda: schemes.LogLength().check(cases.DIMS, 9),
      r'train_length of LogLength is share\(1\), which depends on the trained',
    ),
  ],
)
def test_bad_input_is_named(make, sentence):
  with pytest.raises(ValueError, match=sentence):
    make()


@pytest.mark.parametrize(
  'scheme',
  [
    schemes.T5() + schemes.PoPE(),
    schemes.Interpolate(schemes.PoPE(), 2) + schemes.Forgetting(),
    schemes.PoPE() + schemes.LogLength(8) + schemes.CoPE(),
    schemes.LogLength(8) + schemes.RoPE() + schemes.LogLength(16),
  ],
  ids=str,
)
def test_what_composes(scheme):
  q, k, v = cases.queries()
  params = cases.layer_params(scheme)
  out = posexp.attend(scheme, params, q, k, v, None, cases.stream())
  assert out.shape == v.shape and np.isfinite(out).all()
