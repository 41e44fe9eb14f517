"""Schemes beyond their laws: golden numbers, edges and bad inputs."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import posexp
from posexp import schemes
from tests import references

DIMS = schemes.Dims(width=16, heads=2, head_width=8)


@pytest.mark.parametrize(
  'heads, slopes',
  [
    (4, [0.25, 0.0625, 0.015625, 0.00390625]),
    (6, [0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125]),
    (
      12,
      [2.0**-n for n in range(1, 9)]
      + [0.70710678, 0.35355339, 0.17677669, 0.08838835],
    ),
    (1, [2.0**-8]),
  ],
)
def test_alibi_slopes(heads, slopes):
  np.testing.assert_allclose(schemes.ALiBi().slopes(heads), slopes, rtol=1e-7)


def test_t5_first_distance_of_each_bucket():
  bucket = np.asarray(schemes.T5().bucket(np.arange(200)))
  first = [int(np.argmax(bucket == n)) for n in range(32)]
  far = [16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113]
  assert first == [*range(16), *far]
  assert (np.diff(bucket) >= 0).all()
  assert schemes.T5().bucket(jnp.array([-1, -1000])).tolist() == [0, 0]


@pytest.mark.parametrize('buckets', [4, 8, 32, 64])
@pytest.mark.parametrize('distance', [64, 128, 1000, 65_536, 3_000_000])
def test_t5_edges_are_exact_in_float32(buckets, distance):
  scheme = schemes.T5(buckets, max(distance, buckets))
  exact = buckets // 2
  # n >= E (M / E)^(m / r) in integers, without a logarithm or a rounding.
  bigger, rest = scheme.max_distance, buckets - exact
  for m in range(1, rest):
    edge = round(exact * (bigger / exact) ** (m / rest))
    for n in range(max(exact, edge - 2), edge + 3):
      reached = n**rest * exact**m >= exact**rest * bigger**m
      assert (int(scheme.bucket(n)) >= exact + m) == reached, n


@pytest.mark.parametrize(
  'factor, width, base',
  [
    (4, 16, 48760.546),
    (4, 32, 43872.999),
    (4, 64, 41829.366),
    (4, 128, 40889.942),
    (8, 64, 85550.376),
  ],
)
def test_ntk_base(factor, width, base):
  law = schemes.NTK(factor)
  scaled = law.scaled_base(base=1e4, width=width)
  # The golden numbers have three decimals.
  np.testing.assert_allclose(scaled, base, rtol=0, atol=6e-4)
  # Period matching: the first pair keeps its angle, the last one's is 1 / s.
  angles = schemes.RoPE(law).inverse_frequencies(width)
  plain = schemes.RoPE().inverse_frequencies(width)
  assert angles.dtype == np.float64 and angles.shape == (width // 2,)
  np.testing.assert_allclose(angles[0], plain[0], rtol=1e-12)
  np.testing.assert_allclose(angles[-1], plain[-1] / factor, rtol=1e-12)


@pytest.mark.parametrize('block', [None, 5])
def test_linear_law_is_interpolation_of_positions(block):
  q, k, v = (
    jax.random.normal(jax.random.key(n), (2, 13, 2, 8)) for n in range(3)
  )
  law = posexp.attend(schemes.RoPE(schemes.Linear(3)), {}, q, k, v, block=block)
  remap = schemes.Interpolate(schemes.RoPE(), 3)
  # A third is not a float32 number: angles differ in their last bits.
  np.testing.assert_allclose(
    law, posexp.attend(remap, {}, q, k, v, block=block), rtol=0, atol=2e-6
  )


def test_scope_of_a_remap_is_lexical():
  head = schemes.Head(jnp.arange(2).reshape(1, 2, 1, 1), 2)

  def bias_at_8(scheme):
    place = lambda at: jax.tree.map(lambda x: x[:, None, :, None], at)
    q, k = (place(scheme.remap(jnp.array([[n]]), None)) for n in (8, 0))
    return np.asarray(scheme.bias({}, head, q, k)).ravel().tolist()

  rope, alibi = schemes.RoPE(), schemes.ALiBi()
  # Slopes of two heads are 1/16 and 1/256.
  assert bias_at_8(schemes.Interpolate(rope, 4) + alibi) == [-0.5, -0.03125]
  assert bias_at_8(schemes.Interpolate(rope + alibi, 4)) == [-0.125, -0.0078125]


def test_rotation_far_out():
  # Beyond the exactness of float32 angles, at the bound that RoPE documents.
  x, p = jax.random.normal(jax.random.key(0), (1, 1, 1, 64)), 32_767
  rotated = schemes.RoPE().rotate({}, x, jnp.array([[p]]), 'q')
  ref = references.rotary(schemes.RoPE())
  expected = ref.rotate({}, np.float64(x[0, 0, 0]), p, 'q')
  error = np.abs(np.asarray(rotated)[0, 0, 0] - expected).max()
  assert error < 0.004 * np.abs(x).max() * math.sqrt(2)


def test_a_learned_row_outside_of_the_table_is_nan():
  params = {'table_RxD': jnp.arange(3.0)[:, None]}
  at = jnp.array([[-1.0, -0.5, 0.0, 1.25, 2.0, 2.5, 3.0]])
  out = schemes.Learned(3).embed(params, jnp.zeros((1, 7, 1)), at)[0, :, 0]
  nan = np.nan
  np.testing.assert_array_equal(out, [nan, nan, 0.0, 1.25, 2.0, nan, nan])


def test_unscaled_t5_undoes_the_division():
  x = jnp.ones((1, 1, 1, 16))
  at = jnp.zeros((1, 1), jnp.int32)
  rotate = lambda scheme, side: float(
    scheme.rotate({}, x, at, side)[0, 0, 0, 0]
  )
  assert rotate(schemes.T5(scaled=False), 'q') == 4.0
  assert rotate(schemes.T5(scaled=False), 'k') == 1.0
  assert rotate(schemes.T5(), 'q') == 1.0


def test_names_are_as_written():
  scheme = schemes.Interpolate(schemes.RoPE(schemes.NTK(4), base=500.0), 2)
  text = 'Interpolate(RoPE(NTK(4), base=500), factor=2) + T5(buckets=16)'
  assert str(scheme + schemes.T5(buckets=16)) == text


@pytest.mark.parametrize(
  'make, sentence',
  [
    (lambda: schemes.RoPE().inverse_frequencies(15), 'even for RoPE, got 15'),
    (lambda: schemes.RoPE(base=-1.0), 'base of RoPE .* got -1:'),
    (lambda: schemes.RoPE(4), 'frequencies of RoPE .* Law, got 4: .*NTK'),
    (lambda: schemes.Linear(0), 'factor of Linear .* got 0'),
    (lambda: schemes.NTK(-2), 'factor of NTK .* got -2'),
    (lambda: schemes.NTK(math.nan), 'factor of NTK .* got nan'),
    (lambda: schemes.NTK(math.inf), 'factor of NTK .* got inf'),
    (
      lambda: schemes.RoPE(schemes.NTK(2)).inverse_frequencies(2),
      'at least 4, got 2',
    ),
    (lambda: schemes.Interpolate(schemes.RoPE(), 0), 'Interpolate .* got 0'),
    (
      lambda: schemes.Interpolate(schemes.RoPE(), math.nan),
      'Interpolate .* got nan',
    ),
    (lambda: schemes.T5(buckets=7), 'buckets of T5 .* got 7'),
    (lambda: schemes.T5(buckets=2), 'buckets of T5 .* got 2'),
    (
      lambda: schemes.T5(max_distance=16),
      'max_distance of T5 .* above 16, got 16: .*fewer',
    ),
    (lambda: schemes.Learned(0), 'rows of Learned .* got 0'),
    (lambda: schemes.Learned(8).check(DIMS, 9), '8 rows but a length of 9'),
    (
      lambda: schemes.Sinusoidal().check(DIMS._replace(width=9), 1),
      'even for Sinusoidal, got 9',
    ),
    (
      lambda: (schemes.ALiBi() + schemes.Learned(8)).check(DIMS, 9),
      '8 rows but a length of 9',
    ),
    (
      lambda: schemes.Interpolate(schemes.Learned(8), 2).check(DIMS, 16),
      '8 rows but a length of 9',
    ),
    (
      lambda: schemes.Scheme.from_dict({'type': 'Alibi'}),
      "called 'Alibi' .did you mean ALiBi",
    ),
    (
      lambda: schemes.Scheme.from_dict({'type': 'T5', 'bucket': 3}),
      "no field 'bucket' .did you mean buckets",
    ),
  ],
)
def test_bad_input_is_named(make, sentence):
  with pytest.raises(ValueError, match=sentence):
    make()


def test_a_scheme_of_ones_own_needs_no_registration():
  @dataclasses.dataclass(frozen=True)
  class Recency(schemes.Scheme):
    """z - (i - j) / scale, for all heads."""

    scale: float = 2.0

    def bias(self, params, head, q_at, k_at):
      del params, head
      return (k_at - q_at).astype(jnp.float32) / self.scale

  scheme = Recency(4.0) + schemes.RoPE()
  assert schemes.Scheme.from_dict(scheme.to_dict()) == scheme
  zeros = jnp.zeros((1, 3, 1, 4))
  v = jnp.eye(3, 4)[None, :, None]
  out = posexp.attend(scheme, {}, zeros, zeros, v)[0, 2, 0, :3]
  weights = np.exp([-0.5, -0.25, 0.0])
  np.testing.assert_allclose(out, weights / weights.sum(), rtol=1e-6)


def test_a_sum_of_a_list_is_the_sum_of_its_schemes():
  terms = [schemes.RoPE(), schemes.ALiBi(), schemes.T5()]
  assert sum(terms) == terms[0] + terms[1] + terms[2]
  assert sum(terms[:1]) == schemes.RoPE()
  for start in (1, False, 0.0):
    with pytest.raises(TypeError, match='unsupported operand'):
      sum(terms, start)
