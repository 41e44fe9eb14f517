"""The search for LongRoPE's factors: its loss, its evolution, its refusals."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from posexp import config, evaluate, factors, schemes, search, train
from posexp import model as model_lib
from tests import small

LENGTH = 24  # Twice the trained length of the small run.


def params_of(run):
  """Parameters far enough from the start for position to matter."""
  seeds = jnp.asarray(run.seeds)
  params = jax.vmap(lambda seed: train.initial_params(run, seed))(seeds)
  return jax.tree.map(lambda x: 3 * np.asarray(x) + np.float32(0.01), params)


def loss_of(run, params, length, number):
  """The mean over seeds of `train.loss` under the run's own scheme."""
  net = model_lib.Transformer(
    run.model, run.evaluated_scheme(length), run.task.vocabulary
  )
  batch = evaluate.examples(run.task, length, number, factors.FOLD)
  means = []
  for n in range(len(run.seeds)):
    own = jax.tree.map(lambda x, n=n: jnp.asarray(x[n]), params)
    total, count = train.loss(net, own, jax.tree.map(jnp.asarray, batch))
    means.append(float(total) / float(count))
  return np.mean(means)


def test_the_search_uses_none_of_the_evaluation_examples():
  task = small.run().task
  chosen = evaluate.examples(task, LENGTH, 128, factors.FOLD).tokens_BxL
  judged = evaluate.examples(task, LENGTH, 128).tokens_BxL
  rows = lambda tokens: {row.tobytes() for row in np.asarray(tokens)}
  assert len(rows(chosen)) == len(rows(judged)) == 128
  assert not rows(chosen) & rows(judged)


@pytest.mark.parametrize(
  'scheme, shape',
  [
    (schemes.RoPE(), {}),
    (schemes.RoPE(rotated=4, pairing='interleaved', base=100.0), {}),
    (schemes.T5() + schemes.RoPE(base=schemes.matched(64)), {'layers': 2}),
    (schemes.RoPE() + schemes.T5(), {'layers': 2, 'share_position': True}),
    (
      schemes.Interpolate(schemes.ALiBi() + schemes.T5(), 2) + schemes.RoPE(),
      {},
    ),
  ],
  ids=str,
)
def test_the_loss_is_that_of_the_law_and_one_program_serves_all(scheme, shape):
  shape = config.Model(**{'layers': 1, 'width': 16, 'heads': 2, **shape})
  run = small.run(scheme=scheme, model=shape)
  params = params_of(run)
  loss = factors.Objective(run, params, LENGTH, examples=10)
  pairs = len(loss.starts()['PI'])
  found = []
  for list_K in (np.ones(pairs), np.linspace(1.1, 2.3, pairs)):
    rope = dataclasses.replace(loss_rope(scheme), frequencies=loss.law(list_K))
    scaled = factors.with_rope(scheme, lambda _, rope=rope: rope)
    child = run.retrofit(scaled)
    found.append(loss(list_K))
    # Sums over examples are taken in another order: a few float32 roundings.
    np.testing.assert_allclose(
      found[-1], loss_of(child, params, LENGTH, 10), rtol=1e-6
    )
  assert abs(found[0] - found[1]) > 1e-4  # The factors do matter.
  assert loss.compilations == 1


def loss_rope(scheme):
  (rope,) = (p for p in scheme.parts if isinstance(p, schemes.RoPE))
  return rope


def test_the_starts_are_the_laws_and_the_temperature_can_be_left_out():
  run = small.run(scheme=schemes.RoPE(base=100.0))
  params = params_of(run)
  loss = factors.Objective(
    run, params, LENGTH, examples=8, attention_factor=1.0
  )
  laws = {
    'unscaled': schemes.Law(),
    'PI': schemes.Linear(2),
    'NTK': schemes.NTK(2),
    'YaRN': schemes.YaRN(2, 12, attention_factor=1.0),
  }
  starts = loss.starts()
  assert list(starts) == list(laws)
  for name, law in laws.items():
    child = run.retrofit(schemes.RoPE(law, base=100.0))
    assert np.all(np.diff(starts[name]) >= 0), name
    np.testing.assert_allclose(
      loss(starts[name]), loss_of(child, params, LENGTH, 8), rtol=1e-6
    )


# Of this many pairs and this extension, with a bend that no law has.
TARGET_K = np.array([1, 1, 1.1, 1.2, 2, 3.5, 4, 4, 4.2, 4.4, 4.6, 4.8])
STARTS = {
  'unscaled': np.ones(12),
  'PI': np.full(12, 4.0),
  'NTK': 4.0 ** (np.arange(12) / 11),
}


def away(factors_K):
  """Mean squared distance to the target, in nats of a factor."""
  return float(np.mean(np.log(factors_K / TARGET_K) ** 2))


def evolved(loss=away, **changes):
  options = {'most': 5.0, 'evaluations': 1344, 'seed': 0, **changes}
  return search.evolve(loss, STARTS, **options)


@pytest.mark.parametrize('seed', range(5))
def test_evolution_comes_near_a_known_optimum(seed):
  factors_K, history, starts = evolved(seed=seed)
  # A tenth of a factor on average, where the best start is off by a third.
  assert math.sqrt(away(factors_K)) < 0.1
  assert math.sqrt(min(starts.values())) > 0.3
  assert away(factors_K) == history[-1][1]


def test_evolution_keeps_to_order_range_budget_and_its_best():
  asked, told = [], []

  def loss(factors_K):
    asked.append(factors_K.copy())
    return away(factors_K)

  factors_K, history, starts = evolved(
    loss, evaluations=150, tell=lambda *pair: told.append(pair)
  )
  assert len(asked) == 150
  assert [n for n, _ in history] == [64, 96, 128, 150]
  assert told == list(history)
  for one_K in asked:
    assert np.all(np.diff(one_K) >= 0)
    assert one_K.min() >= 1 and one_K.max() <= 5.0
  losses = [away(one_K) for one_K in asked]
  for n, best in history:
    assert best == min(losses[:n])
  assert starts == {name: away(one_K) for name, one_K in STARTS.items()}
  assert len({one_K.tobytes() for one_K in asked}) == 150
  np.testing.assert_array_equal(factors_K, asked[int(np.argmin(losses))])


def test_evolution_is_a_function_of_its_seed():
  one, again, other = (evolved(seed=s, evaluations=200) for s in (1, 1, 2))
  np.testing.assert_array_equal(one[0], again[0])
  assert one[1:] == again[1:]
  assert other[1] != one[1]


def test_what_is_not_finite_is_never_the_best():
  broken = lambda factors_K: math.nan if factors_K[0] < 1.5 else away(factors_K)
  factors_K, history, starts = evolved(broken, evaluations=128)
  assert factors_K[0] >= 1.5
  assert starts['unscaled'] == math.inf and math.isfinite(history[0][1])
  with pytest.raises(ValueError, match='first 64 candidates has a finite loss'):
    evolved(lambda _: math.nan)


def test_a_finished_run_is_searched_and_the_law_can_be_judged(tmp_path):
  run = small.run()
  with pytest.raises(ValueError, match='has not finished in'):
    search.longrope_of(tmp_path, run, LENGTH)
  assert small.execute(tmp_path, run) == {}
  options = {'evaluations': 80, 'examples': 8}
  found = search.longrope_of(tmp_path, run, LENGTH, **options)
  assert found == search.longrope_of(tmp_path, run, LENGTH, **options)
  assert found.loss <= min(found.starts.values())
  assert found.history[-1] == (80, found.loss)
  law = found.law
  assert law.short == (1.0,) * 4 and len(law.long) == 4
  assert list(law.long) == sorted(law.long) and law.factor == 2
  assert found.scheme == schemes.RoPE(law)
  judged = run.retrofit(found.scheme)
  assert small.execute(tmp_path, judged) == {}
  # As a law it gives the loss that it was chosen for.
  with small_bar(tmp_path) as bar:
    params = search.local.weights(run, tmp_path, bar)
  np.testing.assert_allclose(
    found.loss, loss_of(judged, params, LENGTH, 8), rtol=1e-6
  )


def small_bar(tmp_path):
  return search.progress.Progress(1.0, tmp_path / 'log.txt')


@pytest.mark.parametrize(
  'scheme, length, options, sentence',
  [
    (schemes.ALiBi(), 24, {}, r'one unscaled RoPE.*got ALiBi\(\)'),
    (schemes.RoPE(schemes.NTK(2)), 24, {}, r'got RoPE\(NTK\(2\)\)'),
    (schemes.Interpolate(schemes.RoPE(), 2), 24, {}, 'got Interpolate'),
    (schemes.RoPE() + schemes.RoPE(), 24, {}, r'got RoPE\(\) \+ RoPE\(\)'),
    (schemes.RoPE(), 12, {}, 'above the trained 12, got 12'),
    (schemes.RoPE(), 24, {'evaluations': 63}, 'at least 64, got 63'),
    (schemes.RoPE(), 24, {'examples': 0}, 'at least 1, got 0'),
  ],
)
def test_bad_input_is_a_sentence(scheme, length, options, sentence):
  run = small.run(scheme=scheme)
  with pytest.raises(ValueError, match=sentence):
    search.longrope(run, None, length, **options)
