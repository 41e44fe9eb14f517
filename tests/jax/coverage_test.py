"""What evaluation uses and training did not, counted by hand."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from posexp import schemes
from posexp.attention import dense
from posexp.cli import main
from posexp.evaluation import diagnostics
from posexp.models import probe, transformer
from posexp.results import records
from posexp.runs import config
from posexp.schemes import coverage
from tests import cases, small

DIMS = schemes.Dims(width=64, heads=4, head_width=16)
LOOKED_AT = config.Evaluate(lengths=(12, 24), examples=16)


@pytest.mark.parametrize(
  'diagnose, lengths',
  [('ends', (12, 24)), ('all', (12, 18, 24)), ('none', ())],
)
def test_attention_is_looked_at_where_it_is_asked_for(diagnose, lengths):
  asked = config.Evaluate(lengths=(24, 18), diagnose=diagnose)
  run = small.run(evaluate=asked)
  assert run.diagnosed == lengths
  # A retrofit too is compared with its root at the trained length.
  assert run.retrofit(schemes.ALiBi()).diagnosed == lengths


def shares(scheme, length, trained=None, train_length=16, dims=DIMS):
  return coverage.coverage(
    scheme,
    trained=trained,
    train_length=train_length,
    length=length,
    dims=dims,
  )


def test_at_the_trained_length_all_is_known():
  for scheme in schemes.CATALOGUE:
    found = shares(scheme, 16, dims=schemes.Dims(16, 2, 8))
    assert set(found.values()) <= {0.0}, scheme


def test_phases_are_those_that_a_loop_finds():
  length, train_length = 100, 16
  new = []
  for k in range(8):
    theta = 10000 ** (-2 * k / 16)
    trained = [n * theta for n in range(train_length)]
    for n in range(length):
      # Chords, not angles: no wrapping around to get wrong.
      chord = min(abs(2 * math.sin((n * theta - t) / 2)) for t in trained)
      new.append(chord > 2 * math.sin(2 * math.pi / 32 / 2) + 1e-9)
  found = shares(schemes.RoPE(), length, train_length=train_length)
  assert found == {'phases': pytest.approx(np.mean(new), abs=1e-12)}
  assert 0.1 < np.mean(new) < 0.9


@pytest.mark.parametrize(
  'scheme, trained, expected',
  [
    # 8 exact buckets up to 8, then 8 to 32: distances 16..63 add those from 16.
    (schemes.T5(16, 32), None, {'buckets': 4 / 16}),
    (schemes.T5(16, 32), schemes.NoPE(), {'buckets': 1.0}),
    (schemes.PerOffset(32), None, {'offsets': 16 / 32}),
    (schemes.PerOffset(16), None, {'offsets': 0.0}),
    (schemes.ALiBi(), None, {'distances': 48 / 64}),
    (schemes.Interpolate(schemes.ALiBi(), 4), schemes.ALiBi(), None),
    (schemes.NoPE(), None, {}),
    (schemes.NoPE(), schemes.RoPE(), {}),
    (schemes.Learned(64), None, {'rows': 48 / 64}),
    (schemes.Shift(schemes.Learned(64), most=32), None, {'rows': 16 / 64}),
    (schemes.Shift(schemes.ALiBi(), most=32), None, {'distances': 48 / 64}),
    (schemes.Randomize(schemes.ALiBi(), 64), None, {'distances': 0.0}),
    (schemes.Forgetting(), None, {}),
    (schemes.CoPE(), None, {}),
    (
      schemes.T5(16, 32) + schemes.ALiBi(),
      None,
      {'buckets': 4 / 16, 'distances': 48 / 64},
    ),
    (schemes.T5(16, schemes.share(1.0)), None, {'buckets': 0.0}),
  ],
  ids=str,
)
def test_tables_and_distances_are_those_counted_by_hand(
  scheme, trained, expected
):
  if expected is None:
    # Distances 0, 1/4, ..., 63/4; those above 15 are new.
    expected = {'distances': 3 / 64}
  assert shares(scheme, 64, trained) == pytest.approx(expected)


def test_interpolation_needs_no_new_phase_and_extrapolation_does():
  rope, linear = schemes.RoPE(), schemes.RoPE(schemes.Linear(4))
  assert shares(linear, 64, rope)['phases'] < 0.05
  for law in (schemes.DroPE(), schemes.Proportional(0.25)):
    assert shares(schemes.RoPE(law), 64, rope)['phases'] < 0.05
  assert shares(rope, 64, rope)['phases'] > 0.1


def test_what_was_used_before_an_adaptation_is_known_too():
  dims, scheme = schemes.Dims(64, 4, 16), schemes.ALiBi()

  def new(train_length, *adapted):
    return coverage.compare(
      scheme, train_length=train_length, length=64, dims=dims, adapted=adapted
    ).shares['distances']

  assert new(64) == new(64, (scheme, 32)) == new(32, (scheme, 64)) == 0
  assert new(32) == new(32, (scheme, 16)) == 0.5
  # Under another scheme there was nothing to learn of this one.
  assert new(32, (schemes.NoPE(), 64)) == 0.5


def attention_mass(net, params, tokens_BxL):
  """Mass by distance and by index, mean over sequences, layers x H x L."""
  place_Q = diagnostics.places(tokens_BxL.shape[1])
  layers = probe.forward(net, params, tokens_BxL, None)

  def weights(layer):
    logits = probe.logits(net, layer, place_Q)
    return dense.normalise(net.scheme, logits).mean(axis=0)

  return diagnostics.mass(jax.lax.map(weights, layers), place_Q)


def test_attention_mass_is_that_of_the_weights():
  # With ALiBi and queries of zero, weights are exp(-m n) over their sum.
  shape = config.Model(layers=1, width=16, heads=2)
  net = transformer.Transformer(shape, schemes.ALiBi(), vocabulary=7)
  tokens_BxL = jax.random.randint(jax.random.key(1), (2, 9), 0, 7)
  params = net.init(jax.random.key(0), tokens_BxL)['params']
  kernel = params['block_0']['query']['kernel']
  params['block_0']['query']['kernel'] = jnp.zeros_like(kernel)
  by_distance, by_index = attention_mass(net, params, tokens_BxL)
  distance, index = np.zeros((2, 9)), np.zeros((2, 9))
  for h, slope in enumerate((2**-4, 2**-8)):
    for i in range(9):
      weights = [math.exp(-slope * (i - j)) for j in range(i + 1)]
      for j, weight in enumerate(weights):
        distance[h, i - j] += weight / sum(weights) / 9
        index[h, j] += weight / sum(weights) / 9
  np.testing.assert_allclose(by_distance[0], distance, atol=1e-6)
  np.testing.assert_allclose(by_index[0], index, atol=1e-6)


def test_long_sequences_are_sampled_and_mass_sums_to_one():
  net, variables = cases.transformer(schemes.RoPE())
  tokens_BxL = jax.random.randint(jax.random.key(1), (1, 200), 0, 7)
  for mass in attention_mass(net, variables['params'], tokens_BxL):
    assert mass.shape == (2, 2, 200)
    np.testing.assert_allclose(mass.sum(-1), 1, atol=1e-5)


def test_mass_weighs_what_is_new():
  new = {
    'distances': np.array([[0.0], [1.0]]),
    'rows': np.array([[1.0], [0.0]]),
  }
  found = coverage.mass(new, np.array([0.25, 0.75]), np.array([0.5, 0.5]))
  assert found == {'distances': 0.75, 'rows': 0.5}


def test_coverage_is_in_every_record(tmp_path):
  run = small.run(scheme=schemes.ALiBi(), evaluate=LOOKED_AT)
  retrofit = run.retrofit(schemes.T5(8, max_distance=12))
  plain = small.run(scheme=schemes.NoPE(), evaluate=LOOKED_AT)
  assert not small.execute(tmp_path, run, retrofit, plain)
  table = records.coverage(tmp_path).set_index(['digest', 'length', 'seed'])
  assert set(table.index.get_level_values('digest')) == {
    run.digest,
    retrofit.digest,
  }
  under_t5, own = table.loc[retrofit.digest], table.loc[run.digest]
  np.testing.assert_allclose(under_t5[['unseen', 'mass']], 1, atol=1e-5)
  np.testing.assert_array_equal(own.loc[12][['unseen', 'mass']], 0)
  assert (own.loc[24]['unseen'] == 0.5).all()
  assert own.loc[24]['mass'].between(0.001, 0.4).all()


def test_the_command_prints_a_scheme_or_a_work_directory(tmp_path, capsys):
  words = ['coverage', 'RoPE(NTK(4)) + T5()', '--trained=RoPE()']
  assert main.main(['posexp', *words, '--train_length=32', '--target=64']) == 0
  rows = [line.split() for line in capsys.readouterr().out.splitlines()]
  assert ['buckets', *['100.0%'] * 3] in rows
  run = small.run(scheme=schemes.ALiBi(), evaluate=LOOKED_AT)
  assert not small.execute(tmp_path, run)
  assert main.main(['posexp', 'coverage', str(tmp_path)]) == 0
  rows = [line.split() for line in capsys.readouterr().out.splitlines()]
  assert any(row[-4:-1] == ['24', 'distances', '50.0%'] for row in rows)


def test_the_command_says_what_cannot_be(capsys):
  assert main.main(['posexp', 'coverage', 'RoPE(', '--target=64']) == 2
  assert main.main(['posexp', 'coverage', 'T5()', '--target=16']) == 2
  assert main.main(['posexp', 'coverage', 'runs/none']) == 2
  errors = capsys.readouterr().err.splitlines()
  assert len(errors) == 3 and 'target must be at least 64' in errors[1]
  assert 'no work directory runs/none: give' in errors[2]
