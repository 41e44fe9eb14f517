"""The search for LongRoPE's factors: its loss, its evolution, its refusals."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from posexp import schemes
from posexp.evaluation import evaluate
from posexp.launch import longrope_search
from posexp.models import transformer as model_lib
from posexp.runs import config
from posexp.training import train_step
from tests import small

LENGTH = 24  # Twice the trained length of the small run.
NUMBER = 16  # Examples; everywhere the same, so that they are drawn once.


def params_of(run):
  """Parameters far enough from the start for position to matter."""
  seeds = jnp.asarray(run.seeds)
  params = jax.jit(jax.vmap(lambda s: train_step.initial_params(run, s)))(seeds)
  return jax.tree.map(lambda x: 3 * np.asarray(x) + np.float32(0.01), params)


def loss_of(run, params):
  """The mean over seeds of `train.loss` under the run's own scheme."""
  net = model_lib.Transformer(
    run.model, run.evaluated_scheme(LENGTH), run.task.vocabulary
  )
  batch = evaluate.examples(run.task, LENGTH, NUMBER, longrope_search.FOLD)
  each = jax.jit(jax.vmap(lambda p: train_step.loss(net, p, batch)))
  total_S, count_S = each(params)
  return np.mean(np.asarray(total_S) / np.asarray(count_S), dtype=np.float64)


def test_the_search_uses_none_of_the_evaluation_examples():
  task = small.run().task
  chosen = evaluate.examples(
    task, LENGTH, NUMBER, longrope_search.FOLD
  ).tokens_BxL
  judged = evaluate.examples(task, LENGTH, NUMBER).tokens_BxL
  rows = lambda tokens: {row.tobytes() for row in np.asarray(tokens)}
  assert len(rows(chosen)) == len(rows(judged)) == NUMBER
  assert not rows(chosen) & rows(judged)


def rope_in(scheme):
  (rope,) = (p for p in scheme.parts if isinstance(p, schemes.RoPE))
  return rope


@pytest.mark.parametrize(
  'scheme, shape',
  [
    (schemes.RoPE(), {}),
    (
      schemes.Interpolate(schemes.ALiBi() + schemes.T5(), 2)
      + schemes.RoPE(rotated=4, pairing='interleaved'),
      {'layers': 2},
    ),
    (
      schemes.RoPE(base=schemes.matched(64)) + schemes.T5(),
      {'share_position': True},
    ),
  ],
  ids=str,
)
@pytest.mark.usefixtures('own_programs')
def test_the_loss_is_that_of_the_law_and_one_program_serves_all(scheme, shape):
  shape = config.Model(**{'layers': 1, 'width': 16, 'heads': 2, **shape})
  run = small.run(scheme=scheme, model=shape)
  params = params_of(run)
  loss = longrope_search.Objective(run, params, LENGTH, examples=NUMBER)
  ones_K = np.ones_like(loss.starts()['PI'])
  list_K = np.linspace(1.1, 2.3, ones_K.size)
  values = loss(list_K), loss(ones_K)
  assert abs(values[0] - values[1]) > 1e-4  # The factors do matter.
  assert loss.compilations == 1
  rope = dataclasses.replace(rope_in(scheme), frequencies=loss.law(list_K))
  child = run.retrofit(longrope_search.with_rope(scheme, lambda _: rope))
  # Sums over examples are taken in another order: a few float32 roundings.
  np.testing.assert_allclose(values[0], loss_of(child, params), rtol=1e-6)


def test_the_starts_are_the_laws_and_the_temperature_can_be_left_out():
  run = small.run(scheme=schemes.RoPE(base=100.0))
  params = params_of(run)
  loss = longrope_search.Objective(run, params, LENGTH, attention_factor=1.0)
  laws = {
    'unscaled': schemes.Law(),
    'PI': schemes.Linear(2),
    'NTK': schemes.NTK(2),
    'YaRN': schemes.YaRN(2, 12),
  }
  starts = loss.starts()
  assert list(starts) == list(laws)
  angles = lambda law: schemes.RoPE(law, base=100.0).inverse_frequencies(8)
  for name, law in laws.items():
    assert np.all(np.diff(starts[name]) >= 0)
    law_of_starts = loss.law(starts[name]).for_length(LENGTH)
    np.testing.assert_allclose(angles(law_of_starts), angles(law))
    assert law_of_starts.temperature == 1.0
  law = longrope_search.Objective(run, params, LENGTH).law(starts['PI'])
  np.testing.assert_allclose(law.temperature, 1 + math.log(2) / math.log(12))


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
  return longrope_search.evolve(loss, STARTS, **options)


@pytest.mark.parametrize('seed', range(5))
def test_evolution_comes_near_a_known_optimum(seed):
  factors_K, history, starts = evolved(seed=seed)
  # Within three hundredths of each factor where the best start is off by a
  # third, as root mean squares.
  assert math.sqrt(away(factors_K)) < 0.03
  assert math.sqrt(min(starts.values())) > 0.3
  assert away(factors_K) == history[-1][1]


def test_evolution_keeps_to_order_range_budget_and_its_best():
  asked, reported = [], []

  def loss(factors_K):
    asked.append(factors_K.copy())
    return away(factors_K)

  factors_K, history, starts = evolved(
    loss, evaluations=150, tell=lambda *pair: reported.append(pair)
  )
  assert len(asked) == 150
  assert [n for n, _ in history] == [64, 96, 128, 150]
  assert reported == list(history)
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
  run = small.run(evaluate=config.Evaluate(lengths=(12,), examples=16))
  with pytest.raises(ValueError, match='has not finished in'):
    longrope_search.longrope_of(tmp_path, run, LENGTH)
  assert small.execute(tmp_path, run) == {}
  options = {'evaluations': 80, 'examples': NUMBER}
  search = longrope_search.longrope_of(tmp_path, run, LENGTH, **options)
  assert search == longrope_search.longrope_of(tmp_path, run, LENGTH, **options)
  assert search.loss <= min(search.starts.values())
  assert search.history[-1] == (80, search.loss)
  law = search.law
  assert law.short == (1.0,) * 4 and len(law.long) == 4
  assert list(law.long) == sorted(law.long) and law.factor == 2
  assert search.scheme == schemes.RoPE(law)
  assert run.retrofit(search.scheme).evaluated_scheme(LENGTH) == schemes.RoPE(
    dataclasses.replace(law, short=law.long)
  )


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
    longrope_search.longrope(run, None, length, **options)
