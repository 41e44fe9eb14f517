"""Positions that are drawn, shifted, or set by the trained length."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import posexp
from posexp import schemes, tasks
from posexp.attention import cache as cache_lib
from posexp.evaluation import evaluate
from posexp.models import mesh, transformer
from posexp.results import records
from posexp.training import train_step
from tests import cases, references, small

RANDOM = schemes.Randomize(schemes.RoPE(), positions=64)


def positions(scheme, length, key):
  """The positions that the inner scheme sees, read off one that has none."""
  bare = dataclasses.replace(scheme, scheme=schemes.NoPE())
  return np.asarray(
    bare.for_length(length).remap(jnp.arange(length)[None], key)
  )


def test_a_draw_is_distinct_ordered_and_uniform():
  keys = jax.random.split(jax.random.key(5), 4000)
  draws = np.stack([positions(RANDOM, 6, key)[0] for key in keys])
  assert (np.diff(draws) > 0).all()
  assert draws.min() == 0 and draws.max() == 63
  # Any 6 of 64 alike: the least of them is at x with C(63 - x, 5) / C(64, 6).
  least = np.bincount(draws[:, 0], minlength=64)
  expected = np.array([math.comb(63 - x, 5) for x in range(64)], float)
  expected *= len(keys) / math.comb(64, 6)
  cut = 30  # Later ones are too rare for a chi-square.
  observed = np.append(least[:cut], least[cut:].sum())
  expected = np.append(expected[:cut], expected[cut:].sum())
  assert scipy.stats.chisquare(observed, expected).pvalue > 1e-3
  assert scipy.stats.chisquare(np.bincount(draws.ravel())).pvalue > 1e-3


def test_all_positions_drawn_are_the_positions_themselves():
  assert positions(RANDOM, 64, jax.random.key(1))[0].tolist() == [*range(64)]
  index = jnp.arange(5)[None]
  assert RANDOM.remap(index, jax.random.key(1)).tolist() == index.tolist()


def test_attention_at_drawn_positions_is_the_inner_scheme_there(monkeypatch):
  scheme = RANDOM.for_length(cases.LENGTH)
  drawn = positions(RANDOM, cases.LENGTH, None)[0]
  assert drawn.tolist() != list(range(cases.LENGTH))
  wrappers = {'Randomize': lambda scheme, p: float(drawn[int(p)])}
  monkeypatch.setattr(references, 'WRAPPERS', wrappers)
  q, k, v = cases.queries()
  expected = references.attend(scheme, {}, *cases.float64((q, k, v)))
  for block in (None, 5):
    out = posexp.attend(scheme, {}, q, k, v, block=block)
    np.testing.assert_allclose(out, expected, rtol=0, atol=2e-5)


def test_decoding_and_padding_see_the_positions_of_the_full_pass():
  scheme, key = RANDOM.for_length(9), jax.random.key(2)
  net = transformer.Transformer(cases.SHAPE, scheme, vocabulary=7)
  tokens_BxL = jax.random.randint(jax.random.key(8), (2, 9), 0, 7)
  variables = net.init(jax.random.key(0), tokens_BxL)
  whole, _ = net.apply(variables, tokens_BxL, key=key)
  padded, _ = net.apply(
    variables, jnp.pad(tokens_BxL, ((0, 0), (0, 3))), key=key
  )
  np.testing.assert_allclose(padded[:, :9], whole, rtol=0, atol=2e-5)
  empty = cache_lib.empty_cache(scheme, cases.DIMS, 2, 9, jnp.float32)
  cache = (empty,) * cases.SHAPE.layers
  for t in range(9):
    one_Bx1 = tokens_BxL[:, t : t + 1]
    logits, cache = net.apply(variables, one_Bx1, cache, jnp.int32(t), key)
    np.testing.assert_allclose(logits[:, 0], whole[:, t], rtol=0, atol=2e-5)


@dataclasses.dataclass(frozen=True)
class Mark(schemes.Scheme):
  """Adds a learned direction, times the position, to the input."""

  def init_input(self, key, dims):
    return {'w_1x1xD': jnp.zeros((1, 1, dims.width))}

  def embed(self, params, x_BxLxD, at):
    return x_BxLxD + at[..., None].astype(jnp.float32) * params['w_1x1xD']


@dataclasses.dataclass(frozen=True)
class Fixed(tasks.Ordering):
  """The same sequences in every step."""

  def sample(self, key, *, length, batch):
    return super().sample(jax.random.key(0), length=length, batch=batch)


def losses(scheme, times=1):
  """The losses of five steps that change neither data nor weights, S x 5.

  As often as asked, by one program.
  """
  still = small.train_config(steps=5, warmup=0, learning_rate=1e-30)
  task = Fixed(symbols=16, queries=1, filler=4)
  run = small.run(scheme=scheme, task=task, train=still)
  on = mesh.mesh(len(run.seeds), run.train.batch)
  start, advance = train_step.programs(run, on, chunk=5)
  members = train_step.members([run], on)
  return [
    train_step.busy(run, advance(start(members), members, np.int32(0))[1])
    for _ in range(times)
  ]


def test_every_step_draws_anew_and_the_same_again():
  (still,) = losses(schemes.RoPE())
  assert all(len(set(row)) == 1 for row in still.tolist())
  drawn, again = losses(RANDOM, times=2)
  assert all(len(set(row)) == 5 for row in drawn.tolist())
  np.testing.assert_array_equal(again, drawn)


def test_a_shift_moves_training_and_not_evaluation():
  scheme = schemes.Shift(schemes.Learned(64), most=40)
  run = small.run(scheme=scheme)
  assert run.evaluated_scheme(24) == schemes.Shift(schemes.Learned(64), most=0)
  assert run.trained_scheme == scheme
  with pytest.raises(ValueError, match='64 rows but a length of 65 was asked'):
    scheme.check(cases.DIMS, 25)


def test_drawn_positions_go_through_a_whole_run(tmp_path):
  scheme = schemes.Randomize(schemes.RoPE(), 64) + schemes.ALiBi()
  run = small.run(scheme=scheme)
  assert not small.execute(tmp_path, run, run.retrofit(schemes.RoPE()))
  assert len(records.load(tmp_path)) == 2 * 2 * 2


def test_evaluation_draws_for_each_example():
  run = small.run(scheme=schemes.Randomize(Mark(), positions=1000))
  net = transformer.Transformer(run.model, run.evaluated_scheme(12), 24)
  on = mesh.mesh(2, 1)
  tokens = jnp.zeros((64, 12), jnp.int32)
  params = net.init(jax.random.key(0), tokens[:, :2])['params']
  w_1x1xD = 3e-3 * jax.random.normal(jax.random.key(1), (1, 1, 16))
  params = {**params, transformer.POSITION_INPUT: {'w_1x1xD': w_1x1xD}}
  params = jax.tree.map(lambda x: jnp.stack([x, x]), params)
  form, numbers = transformer.take(net)
  numbers = evaluate.each(numbers, params, on)
  program = functools.partial(
    evaluate.predictor(form, on, 12, 2, at_once=8), params, numbers
  )
  number_B = np.arange(64, dtype=np.uint32)
  said = np.asarray(program(tokens, number_B)[0])[0]
  again = np.asarray(program(tokens, number_B)[0])[0]
  np.testing.assert_array_equal(again, said)
  assert len(np.unique(said, axis=0)) > 1
  same = np.asarray(program(tokens, 0 * number_B)[0])[0]
  assert len(np.unique(same, axis=0)) == 1


@pytest.mark.parametrize(
  'make, sentence',
  [
    (lambda: schemes.Randomize(schemes.RoPE(), 0), 'at least 1, got 0'),
    (lambda: RANDOM.for_length(65), '64 positions but a length of 65'),
    (lambda: schemes.Shift(schemes.RoPE(), -1), 'at least 0, got -1'),
    (lambda: schemes.matched(6), 'at least 7, got 6'),
    (lambda: schemes.matched(4096).at(6), 'at least 7, got 6'),
    (lambda: schemes.share(0.0), 'above 0, got 0: 1.0 is'),
    (lambda: schemes.share(math.nan), 'must be finite, got nan'),
  ],
)
def test_bad_values_are_sentences(make, sentence):
  with pytest.raises(ValueError, match=sentence):
    make()


RULES = (
  schemes.RoPE(base=schemes.matched(4096)),
  schemes.T5(8, max_distance=schemes.share(0.5)) + schemes.ALiBi(),
  schemes.Interpolate(schemes.RoPE(base=schemes.matched(2048)), 4),
  schemes.RoPE(
    schemes.YaRN(
      4, schemes.share(1.0), beta_fast=schemes.matched(4096, value=32.0)
    )
  ),
  schemes.RoPE(schemes.DynamicNTK(4, schemes.share(1.0))),
  schemes.FIRE(hidden=4, threshold=schemes.share(0.25)),
  schemes.RoPE(schemes.NTKByParts(4, schemes.share(1.0))),
  schemes.RoPE(schemes.Llama3(4, schemes.share(1.0))),
)


@pytest.mark.parametrize(
  'length, base', [(64, 27), (128, 72), (256, 194), (512, 520)]
)
def test_a_matched_base_keeps_the_share_of_pairs_that_turn(length, base):
  # The bases of the design page, and the share by counting pairs.
  assert abs(schemes.matched(4096).at(length) - base) < 0.6
  turning = lambda base, length: np.mean(
    2 * math.pi / schemes.RoPE(base=base).inverse_frequencies(2000) < length
  )
  found = turning(schemes.matched(4096).at(length), length)
  assert abs(found - turning(1e4, 4096)) < 2e-3


def test_a_matched_beta_parts_the_pairs_as_at_the_other_length():
  def kept(length, base, beta):
    law = schemes.NTKByParts(4, length, beta=beta)
    plain = schemes.RoPE(base=base).inverse_frequencies(2000)
    scaled = schemes.RoPE(law, base=base).inverse_frequencies(2000)
    return np.mean(scaled == plain)

  base, beta = schemes.matched(4096), schemes.matched(4096, value=32.0)
  found = kept(64, base.at(64), beta.at(64))
  assert abs(found - kept(4096, 1e4, 32.0)) < 2e-3


@pytest.mark.parametrize('scheme', RULES, ids=str)
def test_a_rule_is_resolved_by_the_trained_length_alone(scheme, tmp_path):
  assert schemes.Scheme.from_dict(scheme.to_dict()) == scheme
  resolved = scheme.trained_at(64)
  assert 'matched' not in str(resolved) and 'share' not in str(resolved)
  assert resolved.trained_at(128) == resolved
  run = small.run(scheme=scheme)
  assert run.evaluated_scheme(24) == scheme.trained_at(12).for_length(24)
  with pytest.raises(ValueError, match='call trained_at'):
    scheme.for_length(24).check(cases.DIMS, 24)
    posexp.attend(scheme, cases.layer_params(scheme), *cases.queries())
