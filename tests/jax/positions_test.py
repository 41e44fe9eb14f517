"""Positions that are divided, far away or drawn, and what is drawn of them."""

import dataclasses
import fractions
import functools
import math
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import posexp
from posexp import schemes
from posexp.attention import cache as cache_lib
from posexp.schemes import divided
from tests import cases, references

# And the fraction that is meant, None where there is none of few digits.
FACTORS = {
  3.0: (3, 1),
  2.7: (27, 10),
  49.0: (49, 1),
  0.3: (3, 10),
  4096 / 300: (4096, 300),
  math.pi: None,
}


@pytest.mark.parametrize('factor', FACTORS)
def test_a_distance_is_divided_exactly_wherever_it_stands(factor):
  scheme = schemes.Interpolate(schemes.NoPE(), factor)
  start_S = np.array([0, 1, 7, 298, 4095, 2**20 + 1, 2**23 - 1100])
  far_N = np.arange(1100)

  @jax.jit
  def distances(index_BxL):
    at = scheme.remap(index_BxL, None)
    return at[:, 1:] - at[:, :1]

  index_SxN = start_S[:, None] + np.append(0, far_N)
  found_SxN = np.asarray(distances(jnp.asarray(index_SxN)))
  meant = FACTORS[factor]
  ratio = fractions.Fraction(*meant) if meant else fractions.Fraction(factor)
  expected_N = np.array([float(n / ratio) for n in far_N.tolist()])
  for found_N in found_SxN:
    np.testing.assert_array_equal(found_N, found_SxN[0])
  whole_N = expected_N == expected_N.round()
  assert whole_N.sum() > (1 if meant else 0)
  np.testing.assert_array_equal(found_SxN[0, whole_N], expected_N[whole_N])
  np.testing.assert_allclose(found_SxN[0], expected_N, rtol=1.2e-7, atol=0)


@pytest.mark.parametrize('inner', [schemes.T5(), schemes.PerOffset(64)])
def test_an_interpolated_table_is_read_at_the_distance_alone(inner):
  scheme = schemes.Interpolate(inner, 3.0)
  params = cases.layer_params(inner)
  at = scheme.remap(jnp.arange(300)[None], None)
  bias_KxK = cases.bias_of(scheme, params, at, at)[0, 0]
  (table_NxH,) = params.values()
  for distance in (0, 3, 30, 45):  # Of a bucket each, at a third of it.
    along = np.diagonal(bias_KxK, -distance)
    np.testing.assert_array_equal(along, table_NxH[distance // 3, 0])


def test_what_is_interpolated_twice_is_divided_once():
  twice = schemes.Interpolate(schemes.Interpolate(schemes.NoPE(), 1.5), 2)
  once = schemes.Interpolate(schemes.NoPE(), 3)
  index = jnp.arange(1000)[None]
  np.testing.assert_array_equal(
    np.asarray(twice.remap(index, None)), np.asarray(once.remap(index, None))
  )


def test_divided_positions_are_arrays_for_a_scheme_of_ones_own():
  at, number = divided.divide(jnp.arange(5)[None], 4), jnp.float32(2)
  quarter = np.arange(5) / 4
  for found, expected in (
    (jnp.sin(at), np.sin(quarter)),
    (at * number, 2 * quarter),
    (number * at + at, 3 * quarter),
    (at / number - number, quarter / 2 - 2),
    (number - at, 2 - quarter),
    (-at, -quarter),
    (abs(-at), quarter),
    (at**2 + 2**at, quarter**2 + 2**quarter),
    (1 / (at + 1), 1 / (quarter + 1)),
    (at % 0.5 + at // 0.5, quarter % 0.5 + quarter // 0.5),
    (at.reshape(5, 1).T, quarter),
    (at.max() - at, 1 - quarter),
    (at[..., None] >= at[:, :1, None], quarter[:, None] >= 0),
    (jnp.where(at == number, 1.0, at.astype(jnp.float32)), quarter),
  ):
    np.testing.assert_allclose(found, [expected], rtol=1e-6, atol=1e-7)
  assert (at.shape, at.ndim, at.dtype) == ((1, 5), 2, jnp.float32)


def test_a_draw_inside_of_an_interpolation_is_refused():
  drawn = schemes.Randomize(schemes.RoPE()) + schemes.ALiBi()
  with pytest.raises(posexp.UserError, match='put Interpolate inside'):
    schemes.Interpolate(drawn, 4)


def test_float32_tells_apart_what_is_accepted():
  assert np.float32(2**24 - 1) < np.float32(2**24) == np.float32(2**24 + 1)
  # Of a factor that is no power of two one bit less is left.
  index = np.arange(2**22, 2**23, dtype=np.int32)
  for factor in (3.0, 2.7, 1.001, 63.0):
    assert (np.diff(index.astype(np.float32) / np.float32(factor)) > 0).all()
  index = np.arange(2**24 - 2**20, 2**24, dtype=np.int32)
  assert not (np.diff(index.astype(np.float32) / np.float32(3)) > 0).all()


UNPLACED = schemes.NoPE, schemes.Forgetting, schemes.CoPE, schemes.StickBreaking


@pytest.mark.parametrize(
  'scheme',
  [s for s in schemes.CATALOGUE if not isinstance(s, UNPLACED)],
  ids=str,
)
def test_positions_that_float32_cannot_tell_apart_are_refused(scheme):
  scheme.check(cases.DIMS, 500)
  with pytest.raises(posexp.UserError, match=r'length of|tells only|was asked'):
    scheme.check(cases.DIMS, 2**24 + 1)


@pytest.mark.parametrize(
  'scheme, length, most',
  [
    (schemes.RoPE(), 2**24 + 1, 2**24),
    (schemes.Learned(2**25), 2**24 + 1, 2**24),
    (schemes.ALiBi() + schemes.RoPE(), 2**24 + 1, 2**24),
    (schemes.Shift(schemes.RoPE(), most=2**24), 1, 2**24),
    (schemes.Randomize(schemes.RoPE(), positions=2**24 + 1), 2, 2**24),
    (schemes.Interpolate(schemes.RoPE(), 4), 2**24 + 1, 2**24),
    (schemes.Interpolate(schemes.RoPE(), 3), 2**23 + 1, 2**23),
    (schemes.Interpolate(schemes.ALiBi(), 0.5), 2**23 + 1, 2**24),
    (
      schemes.Interpolate(schemes.RoPE() + schemes.Forgetting(), 3),
      2**23 + 1,
      2**23,
    ),
  ],
  ids=str,
)
def test_the_farthest_position_is_named(scheme, length, most):
  with pytest.raises(posexp.UserError, match=f'only {most} apart'):
    scheme.check(cases.DIMS, length)
  if not scheme.draws:
    scheme.check(cases.DIMS, length - 1)


def test_a_far_cache_is_refused_before_it_is_made():
  with pytest.raises(posexp.UserError, match='16777217 positions'):
    cache_lib.empty_cache(schemes.RoPE(), cases.DIMS, 1, 2**24 + 1, jnp.float32)


def variants(scheme):
  """A scheme with each of its booleans and names at each of its values."""
  yield scheme
  hints = typing.get_type_hints(type(scheme))
  for field in dataclasses.fields(scheme):
    check = field.metadata.get('check')
    options = check.one_of if check else ()
    if hints[field.name] is bool:
      options = (False, True)
    for option in options:
      try:
        yield dataclasses.replace(scheme, **{field.name: option})
      except posexp.UserError:
        continue  # Of another number of buckets.


def everything():
  for scheme in schemes.CATALOGUE:
    yield from variants(scheme)
    if isinstance(scheme, schemes.Wrapper):
      continue
    yield from variants(type(scheme)())


@pytest.mark.parametrize('scheme', sorted(set(everything()), key=str), ids=str)
def test_every_scheme_says_whether_it_learns(scheme):
  key, resolved = jax.random.key(0), scheme.trained_at(64)
  params = jax.eval_shape(
    lambda: (
      resolved.init_input(key, cases.DIMS),
      resolved.init_layer(key, cases.DIMS),
    )
  )
  assert scheme.learns() == bool(jax.tree.leaves(params))


def attended(scheme, **options):
  q, k, v = cases.queries()
  return posexp.attend(scheme, {}, q, k, v, **options)


@pytest.mark.parametrize(
  'scheme, used',
  [
    # s = f l / L - (f - 1) at the 23 tokens here.
    (schemes.DynamicNTK(4, 8), schemes.NTK(4 * 23 / 8 - 3)),
    (schemes.DynamicNTK(4, 32), schemes.Law()),
    (
      schemes.LongRoPE((1.0,) * 4, (1.0, 2.0, 3.0, 4.0), 8, 4),
      schemes.LongRoPE((1.0, 2.0, 3.0, 4.0), (9.0,) * 4, 8, 4),
    ),
  ],
  ids=str,
)
def test_attention_uses_the_scheme_of_its_length(scheme, used):
  arrays = cases.float64(cases.queries())
  expected = references.attend(schemes.RoPE(used), {}, *arrays)
  found = attended(schemes.RoPE(scheme))
  np.testing.assert_allclose(found, expected, rtol=0, atol=5e-6)
  # That of another length is asked for, and kept.
  other = schemes.RoPE(scheme).for_length(8)
  expected = references.attend(other, {}, *arrays)
  np.testing.assert_allclose(attended(other), expected, rtol=0, atol=5e-6)


def test_attention_draws_positions_from_the_key_that_it_is_given(monkeypatch):
  scheme, key = schemes.Randomize(schemes.RoPE(), 64), jax.random.key(7)
  drawn = dataclasses.replace(scheme, scheme=schemes.NoPE(), tokens=23)
  drawn = drawn.remap(jnp.arange(23)[None], key)[0].tolist()
  wrappers = {'Randomize': lambda scheme, p: drawn[int(p)]}
  monkeypatch.setattr(references, 'WRAPPERS', wrappers)
  arrays = cases.float64(cases.queries())
  expected = references.attend(scheme, {}, *arrays)
  found = attended(scheme, key=key)
  np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)
  assert np.abs(found - attended(scheme)).max() > 0.1


def test_a_draw_does_not_serve_more_tokens_than_it_has():
  drawn = schemes.Randomize(schemes.RoPE(), 64).for_length(9)
  assert drawn.for_length(5) == drawn
  with pytest.raises(posexp.UserError, match='9 positions but a length of 23'):
    attended(drawn)


X = np.zeros((2, 5, 4, 8), np.float32)


@pytest.mark.parametrize(
  'k, v, x, sentence',
  [
    (X[:, :3], X[:, :3], None, r'\(2, 5, 4, 8\), \(2, 3, 4, 8\) and \(2, 3'),
    (X[:, :1], X[:, :1], None, r'\(2, 1, 4, 8\)'),
    (X, X[:, :3], None, 'and give every token'),
    (X[:, :, :2], X[:, :, :2], None, r'\(2, 5, 2, 8\)'),
    (X, X[:, :, :1], None, 'repeat the heads'),
    (X[:1], X[:1], None, r'\(1, 5, 4, 8\)'),
    (X[..., :4], X, None, r'\(2, 5, 4, 4\)'),
    (X[0], X[0], None, r'\(5, 4, 8\)'),
    (X, X.astype(np.int32), None, 'values must be floating-point .* int32'),
    (X, X, X[0, 0], r'2 sequences of 5 tokens .* shape \(4, 8\)'),
    (X, X, X[:, :3, 0], r'got the shape \(2, 3, 8\)'),
  ],
)
def test_arrays_that_are_not_of_one_sequence_are_refused(k, v, x, sentence):
  for block in (None, 'auto', 2):
    with pytest.raises(posexp.UserError, match=sentence):
      posexp.attend(schemes.ALiBi(), {}, X, k, v, block=block, x_BxLxD=x)


def test_values_may_have_another_width():
  out = posexp.attend(schemes.ALiBi(), {}, X, X, np.ones_like(X[..., :3]))
  np.testing.assert_allclose(out, np.ones((2, 5, 4, 3)), rtol=3e-7)


DRAWN = schemes.Randomize(schemes.RoPE(), 64), schemes.Shift(schemes.RoPE(), 40)


@pytest.mark.parametrize('scheme', DRAWN, ids=str)
def test_positions_are_drawn_alike_alone_and_in_any_sum(scheme):
  key, index = jax.random.key(5), jnp.arange(9)[None]
  scheme = scheme.for_length(9)
  alone = scheme.remap(index, key)
  other = schemes.Shift(schemes.Sinusoidal(), 40)
  if isinstance(scheme, schemes.Shift):
    other = schemes.Randomize(schemes.Sinusoidal(), 64).for_length(9)
  for sum_, place in (
    (scheme + schemes.ALiBi(), 0),
    (schemes.ALiBi() + schemes.T5() + scheme, 2),
    (other + scheme, 1),
    # What its inner scheme shares with another term is not drawn.
    (schemes.RoPE() + scheme, 1),
  ):
    np.testing.assert_array_equal(sum_.remap(index, key)[place], alone)
  # Two of a kind have positions of their own.
  one, two = (scheme + scheme).remap(index, key)
  np.testing.assert_array_equal(one, alone)
  assert (one != two).any()


LEARNED = (
  schemes.Learned(8),
  schemes.KERPLE(),
  schemes.FIRE(hidden=4),
  schemes.DynamicBias(hidden=4),
  schemes.Forgetting(),
)


@pytest.mark.parametrize('scheme', LEARNED, ids=str)
def test_parameters_are_drawn_alike_alone_in_wrappers_and_in_any_sum(scheme):
  name, key = type(scheme).__name__, jax.random.key(5)
  equal = functools.partial(
    jax.tree.map, functools.partial(np.testing.assert_array_equal)
  )
  for kind in ('init_input', 'init_layer'):

    def drawn(scheme, kind=kind):
      return getattr(scheme, kind)(key, cases.DIMS)

    alone = drawn(scheme)
    equal(drawn(schemes.Interpolate(scheme, 2)), alone)
    others = [other for other in LEARNED if other != scheme]
    for total in (others[0] + scheme, scheme + others[1], sum(others, scheme)):
      equal(drawn(total).get(name, {}), alone)
    if alone:
      twice = drawn(scheme + schemes.Interpolate(scheme, 2))
      equal(twice[name], alone)
      pairs = zip(*map(jax.tree.leaves, twice.values()))
      # The others are constants: an initial c, a bias of zero.
      drawn_anew = [(a != b).any() for a, b in pairs if np.unique(a).size > 1]
      assert drawn_anew and all(drawn_anew)


def test_no_two_terms_of_one_class_begin_alike():
  pair = schemes.KERPLE() + schemes.KERPLE()
  total = schemes.Interpolate(pair, 2) + schemes.KERPLE()
  leaves = jax.tree.leaves(total.init_layer(jax.random.key(5), cases.DIMS))
  drawn = {np.asarray(leaf).tobytes() for leaf in leaves}
  assert len(drawn) == len(leaves) == 6
