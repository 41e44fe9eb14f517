"""Additive biases beyond the laws: published code, neutral starts, edges."""

import functools
import json
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import posexp
from posexp import schemes
from tests import cases, references, references_bias

GOLDEN = json.loads(
  (pathlib.Path(__file__).parents[1] / 'testdata' / 'bias.json').read_text()
)
DIMS = schemes.Dims(width=12, heads=3, head_width=4)
BIASES = (
  schemes.T5(),
  schemes.T5(bidirectional=True),
  schemes.PerOffset(offsets=8),
  schemes.KERPLE(),
  schemes.KERPLE('power'),
  schemes.FIRE(hidden=5),
  schemes.DynamicBias(hidden=5),
  schemes.DynamicBias(log=False, hidden=5, depth=3),
)
each_bias = pytest.mark.parametrize('scheme', BIASES, ids=str)


def bias_HxLxL(scheme, params, positions, heads=3):
  """The bias of all pairs; keys after the query included."""
  at = jnp.asarray(positions, jnp.float32)
  head = schemes.Head(jnp.arange(heads).reshape(1, heads, 1, 1), heads)
  q_at, k_at = at.reshape(1, 1, -1, 1), at.reshape(1, 1, 1, -1)
  shape = heads, at.size, at.size
  return np.broadcast_to(scheme.bias(params, head, q_at, k_at)[0], shape)


def published(case):
  """The parameters of a golden case, and its bias under the mask."""
  names = {
    k for k in case if k[-2:] in ('_W', '_H') or k.endswith(('xW', 'xH'))
  }
  params = {k: jnp.asarray(case[k]) for k in names | ({'c'} & set(case))}
  if 'multiplier' in case:
    params['multiplier'] = jnp.float32(case['multiplier'])
  return params, np.array(case['bias_HxLxL'])


def agree(scheme, params, expected, rtol=1e-6, atol=2e-6):
  ours = bias_HxLxL(scheme, params, np.arange(expected.shape[1]))
  seen = np.tril_indices(expected.shape[1])
  np.testing.assert_allclose(
    ours[:, *seen], expected[:, *seen], rtol=rtol, atol=atol
  )


@pytest.mark.parametrize('heads', range(1, 41))
def test_alibi_slopes_of_the_authors(heads):
  np.testing.assert_allclose(
    schemes.ALiBi().slopes(heads), GOLDEN['alibi'][str(heads)], rtol=1e-11
  )


@pytest.mark.parametrize('factor', [2, 3.5, 16])
def test_interpolated_alibi_has_slopes_over_the_factor(factor):
  """arXiv 2310.13017: m'_j = m_j L / L', on whole positions."""
  train, target = 512, 512 * factor
  positions = np.arange(0, 8192, 97)
  scheme = schemes.Interpolate(schemes.ALiBi(), factor)
  at = scheme.remap(jnp.asarray(positions)[None], None)[0]
  for heads in (3, 8):
    slopes = np.array(GOLDEN['alibi'][str(heads)]) * (train / target)
    n = np.maximum(positions[:, None] - positions[None], 0)
    # Positions are rounded before they are subtracted: half a unit in the
    # last place of the largest, 2.5e-4 of a token, times a slope of 1 at most.
    np.testing.assert_allclose(
      bias_HxLxL(scheme, {}, at, heads),
      -slopes[:, None, None] * n,
      rtol=1e-6,
      atol=5e-4,
    )


@pytest.mark.parametrize(
  'case',
  GOLDEN['t5'],
  ids=lambda c: f'{c["bidirectional"]}-{c["buckets"]}-{c["max_distance"]}',
)
def test_t5_buckets_of_hugging_face(case):
  fields = {k: case[k] for k in ('buckets', 'max_distance', 'bidirectional')}
  scheme = schemes.T5(**fields)
  edges = scheme.edges()
  for side, sign in (('past', 1), ('future', -1)):
    starts, values = np.array(case[side]).T
    n = np.arange(starts[0], 2 * scheme.max_distance)
    theirs = values[np.searchsorted(starts, n, side='right') - 1]
    ours = np.asarray(scheme.bucket(sign * n))
    # Their float32 logarithm may fall short where n is exactly an edge.
    differ = n[ours != theirs]
    assert np.isin(differ, edges).all(), differ
    np.testing.assert_array_equal((ours - theirs)[ours != theirs], 1)


def test_t5_bidirectional_halves():
  scheme = schemes.T5(buckets=8, max_distance=16, bidirectional=True)
  n = np.array([0, 1, 2, 5, 6, 99])
  past = [0, 1, 2, 2, 3, 3]
  assert scheme.bucket(n).tolist() == past
  assert scheme.bucket(-n).tolist() == [0, *(4 + b for b in past[1:])]
  # A causal model reads the first half only, and trains nothing else.
  params = cases.randomised(scheme.init_layer(jax.random.key(0), DIMS))
  q, k, v = (cases.normal(n, 1, 30, 3, 4) for n in range(3))
  loss = lambda p: jnp.sum(posexp.attend(scheme, p, q, k, v) ** 2)
  grad = np.abs(jax.grad(loss)(params)['table_NxH'])
  assert (grad[:4] > 0).all() and (grad[4:] == 0).all()


@pytest.mark.parametrize('buckets, half', [(8, 4), (16, 8), (32, 16), (64, 32)])
@pytest.mark.parametrize('far', [64, 128, 4096, 3_000_000])
def test_t5_bidirectional_is_causal_with_half_the_buckets(buckets, half, far):
  both = schemes.T5(buckets, far, bidirectional=True)
  n = np.unique(np.concatenate([np.arange(300), 2 ** np.arange(22)]))
  past = schemes.T5(half, far).bucket(n)
  np.testing.assert_array_equal(both.bucket(n), past)
  np.testing.assert_array_equal(both.bucket(-n[1:]), half + past[1:])


@pytest.mark.parametrize('case', GOLDEN['kerple'], ids=lambda c: c['kind'])
def test_kerple_of_the_authors(case):
  agree(schemes.KERPLE(case['kind']), *published(case))


@pytest.mark.parametrize('case', GOLDEN['sandwich'], ids=lambda c: c['width'])
def test_sandwich_as_listed(case):
  # Sums of up to 64 numbers of about 1.
  agree(schemes.Sandwich(case['width']), *published(case), atol=1e-5)


@pytest.mark.parametrize('case', GOLDEN['fire'])
def test_fire_as_listed(case):
  scheme = schemes.FIRE(hidden=5, threshold=case['threshold'])
  agree(scheme, *published(case))


@pytest.mark.parametrize('unit', [1.0, 50.0])
@pytest.mark.parametrize('case', GOLDEN['dynamic'])
def test_dynamic_bias_of_x_transformers(case, unit):
  params, expected = published(case)
  scheme = schemes.DynamicBias(
    log=case['log'], hidden=4, depth=case['depth'], unit=unit
  )
  # Theirs reads n or ln(1 + n) itself: the first weights make up for the unit.
  of_unit = math.log1p(unit) if case['log'] else unit
  params['in_W'] = params['in_W'] * of_unit
  agree(scheme, params, expected)


def test_a_table_starts_at_zero():
  initial = schemes.PerOffset().init_layer(jax.random.key(0), DIMS)
  assert initial['table_KxH'].shape == (64, 3)
  assert not np.any(initial['table_KxH'])


@each_bias
def test_neutral_is_no_bias_that_can_still_learn(scheme):
  initial = scheme.init_layer(jax.random.key(0), DIMS)
  neutral = scheme.neutral(initial)
  assert jax.tree.structure(neutral) == jax.tree.structure(initial)
  positions = np.array([0, 1, 2, 15, 40, 500])
  assert (bias_HxLxL(scheme, neutral, positions) == 0).all()
  q, k, v = (cases.normal(n, 2, 30, 3, 4) for n in range(3))

  def loss(params, sign):
    return sign * jnp.sum(posexp.attend(scheme, params, q, k, v) ** 3)

  # Whichever way the data pull: after two steps a bias has appeared in each
  # head, or is held at zero by its sign with a gradient that would free it.
  for sign in (1.0, -1.0):
    params = neutral
    for _ in range(2):
      grads = jax.grad(loss)(params, sign)
      assert any(np.any(g) for g in jax.tree.leaves(grads))
      params = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
    back = jax.tree.map(lambda p, g: p + 0.3 * g, params, grads)
    biases = [bias_HxLxL(scheme, p, positions) for p in (params, back)]
    # Among the keys of a query: what all of them share is no bias at all.
    assert (np.ptp(biases, axis=-1).max((0, 2)) > 1e-5).all()


def test_neutral_of_the_default_would_leave_a_network_stuck():
  scheme = schemes.FIRE(hidden=5)
  zeros = jax.tree.map(
    jnp.zeros_like, scheme.init_layer(jax.random.key(0), DIMS)
  )
  head = schemes.Head(jnp.array(0), 3)
  total = lambda p: scheme.bias(p, head, jnp.array([9.0]), jnp.array([3.0]))[0]
  grads = jax.grad(total)(zeros)
  assert not np.any(grads['out_WxH'])
  grads = jax.grad(total)(
    scheme.neutral(scheme.init_layer(jax.random.key(0), DIMS))
  )
  assert np.any(grads['out_WxH'])


@pytest.mark.parametrize('kind', ['log', 'power'])
def test_kerple_is_positive_and_never_stuck(kind):
  scheme = schemes.KERPLE(kind)
  values = jnp.array([-3.0, 0.0, 1.0, 7.0])
  front, inner = ('p_H', 'a_H') if kind == 'log' else ('a_H', 'p_H')
  grid = np.meshgrid(values, values)
  params = {front: jnp.asarray(grid[0]).ravel(), inner: grid[1].ravel()}
  params = jax.tree.map(jnp.asarray, params)
  total = lambda p: jnp.sum(bias(p))
  bias = functools.partial(_pair, scheme, n=20.0)
  assert (np.asarray(bias(params)) <= 0).all()
  grads = jax.grad(total)(params)
  assert (np.asarray(grads[front]) < 0).all()
  moves = np.asarray(params[front]) > 0
  assert (np.asarray(grads[inner])[moves] < 0).all()
  # The power of the authors ends at 2.
  if kind == 'power':
    one = {'p_H': jnp.array([7.0]), 'a_H': jnp.array([1.0])}
    np.testing.assert_allclose(_pair(scheme, one, n=3.0), [-9.0], rtol=1e-6)


def _pair(scheme, params, n):
  heads = len(params['p_H'])
  head = schemes.Head(jnp.arange(heads), heads)
  return scheme.bias(params, head, jnp.full(heads, n), jnp.zeros(heads))


@pytest.mark.parametrize('p', [0.01, 0.3, 1.0, 2.0])
def test_the_power_of_no_distance(p):
  params = {'p_H': jnp.array([p]), 'a_H': jnp.array([0.5])}
  scheme, head = schemes.KERPLE('power'), schemes.Head(jnp.array(0), 1)

  def bias(params, at, key_at):
    return scheme.bias(params, head, at, key_at)

  for key_at in (3.0, 3.5, 1e6):
    value, grads = jax.value_and_grad(bias, argnums=(0, 1, 2))(
      params, jnp.float32(3.0), jnp.float32(key_at)
    )
    assert value == 0
    assert all(not np.any(g) for g in jax.tree.leaves(grads))


def test_fire_interpolates_from_its_threshold_on():
  scheme = schemes.FIRE(hidden=7, threshold=10.0)
  params = scheme.init_layer(jax.random.key(3), DIMS)
  bias = functools.partial(bias_HxLxL, scheme, params)
  # Token 0 is read alike by every query past the threshold, by none before.
  first = bias([0, 5, 9, 10, 11, 40, 1000])[:, :, 0]
  np.testing.assert_allclose(first[:, 3:], first[:, 3:4] * [[1.0] * 4], 1e-5)
  assert (np.abs(first[:, 1:3] - first[:, 3:4]) > 1e-3).all()
  # Below it the bias is relative, past it no longer.
  low, high = bias([2, 5]), bias([6, 9])
  np.testing.assert_allclose(low[:, 1], high[:, 1], rtol=1e-5)
  assert (np.abs(bias([97, 100])[:, 1, 0] - low[:, 1, 0]) > 1e-3).all()
  # The threshold is learned where it acts.
  grads = jax.grad(lambda p: jnp.sum(scheme.bias(p, *_one_pair(8.0))))(params)
  assert grads['multiplier'] != 0 and grads['c'] != 0
  grads = jax.grad(lambda p: jnp.sum(scheme.bias(p, *_one_pair(12.0))))(params)
  assert grads['multiplier'] == 0 and grads['c'] != 0


def _one_pair(at):
  return schemes.Head(jnp.arange(3), 3), jnp.full(3, at), jnp.full(3, 2.0)


@pytest.mark.parametrize('log', [True, False])
def test_far_distances_stay_in_reach_of_the_network(log):
  scheme = schemes.DynamicBias(log=log, unit=64.0)
  params = scheme.init_layer(jax.random.key(4), DIMS)
  bias = bias_HxLxL(scheme, params, [0, 64, 1_000_000])[:, :, 0]
  # Weights are at most 1 and 1 / sqrt(32): |f| <= sqrt(32) (x + 1) + 1.
  x = math.log1p(1e6) / math.log1p(64) if log else 1e6 / 64
  assert (np.abs(bias[:, 2]) <= math.sqrt(32) * (x + 1) + 1).all()


def test_sandwich_far_out():
  scheme, head = schemes.Sandwich(), schemes.Head(jnp.arange(3), 3)
  reference = references_bias.sandwich(scheme)
  for i, j in ((32_768, 32_768), (32_768, 32_700), (32_767, 0)):
    at = jnp.full(3, i, jnp.float32), jnp.full(3, j, jnp.float32)
    expected = [reference({}, h, 3, i, j) for h in range(3)]
    # Errors of float32 angles, as the docstring says.
    np.testing.assert_allclose(
      scheme.bias({}, head, *at), expected, rtol=0, atol=5e-3
    )


# Of those that are continuous: a bucket of T5 has edges, where the rounding of
# an interpolated position decides.
@pytest.mark.parametrize('scheme', BIASES[2:], ids=str)
def test_interpolation_matches_its_reference(scheme):
  wrapped = schemes.Interpolate(scheme, 2.5)
  args = cases.layer_params(wrapped), *cases.queries()
  expected = references.attend(wrapped, *cases.float64(args))
  np.testing.assert_allclose(
    posexp.attend(wrapped, *args), expected, rtol=0, atol=5e-6
  )


@pytest.mark.parametrize(
  'make, sentence',
  [
    (lambda: schemes.PerOffset(0), 'offsets of PerOffset .* got 0'),
    (lambda: schemes.KERPLE('logs'), "kind of KERPLE .*'logs'.*mean log"),
    (lambda: schemes.Sandwich(7), 'width of Sandwich .* got 7'),
    (lambda: schemes.Sandwich(0), 'width of Sandwich .* got 0'),
    (lambda: schemes.FIRE(hidden=0), 'hidden of FIRE .* got 0'),
    (lambda: schemes.FIRE(threshold=0.0), 'threshold of FIRE .* got 0:'),
    (lambda: schemes.FIRE(threshold=math.inf), 'threshold .* got inf'),
    (lambda: schemes.DynamicBias(hidden=0), 'hidden of DynamicBias .* got 0'),
    (lambda: schemes.DynamicBias(depth=0), 'depth of DynamicBias .* got 0'),
    (lambda: schemes.DynamicBias(unit=-1.0), 'unit of DynamicBias .* got -1'),
    (
      lambda: schemes.T5(buckets=6, bidirectional=True),
      'buckets of T5 must be a multiple of 4 and at least 8, got 6',
    ),
    (
      lambda: schemes.T5(buckets=10, bidirectional=True),
      'buckets of T5 must be a multiple of 4 and at least 8, got 10',
    ),
    (
      lambda: schemes.T5(32, 8, bidirectional=True),
      'max_distance of T5 .* above 8, got 8',
    ),
  ],
)
def test_bad_input_is_named(make, sentence):
  with pytest.raises(ValueError, match=sentence):
    make()
