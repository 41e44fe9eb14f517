"""Evaluation: the same bytes for all, error kinds, compilations, decoding."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from posexp import schemes, tasks
from posexp.evaluation import evaluate, scoring
from posexp.launch import longrope_search
from posexp.models import generation, memory, mesh, transformer
from posexp.runs import config
from posexp.training import train_step
from tests import small

# 13 and 14 are padded to the same length.
LENGTHS = (12, 13, 14, 24)


def initial(run):
  on = mesh.mesh(len(run.seeds), run.train.batch)
  start, _ = train_step.programs(run, on)
  return on, start(train_step.members([run], on)).params


def test_examples_depend_on_task_length_and_number_only():
  task = small.run().task
  few = evaluate.examples(task, 12, 5)
  many = evaluate.examples(task, 12, 130)
  assert many.tokens_BxL.shape == (130, 12)
  np.testing.assert_array_equal(few.tokens_BxL, many.tokens_BxL[:5])
  # Two draws of 64 and a rest are different examples.
  assert len({row.tobytes() for row in many.tokens_BxL}) > 120
  other = evaluate.examples(dataclasses.replace(task, symbols=17), 12, 5)
  assert not np.array_equal(few.tokens_BxL, other.tokens_BxL)
  copy = tasks.Copy(symbols=16, distinct=False)
  short, long = (evaluate.examples(copy, n, 64).tokens_BxL for n in (12, 24))
  assert not (short[:, 1:5] == long[:, 1:5]).all(axis=1).any()


def test_training_never_sees_the_evaluation_fold():
  run = small.run(train=small.train_config(batch=64))
  held_out = {
    row.tobytes() for row in evaluate.examples(run.task, 12, 128).tokens_BxL
  }
  for seed in (0, 1, evaluate.FOLD):
    key = jax.random.fold_in(jax.random.key(np.uint32(seed)), train_step.DATA)
    for step in range(3):
      batch = run.task.sample(
        jax.random.fold_in(key, step), length=12, batch=64
      )
      rows = {row.tobytes() for row in np.asarray(batch.tokens_BxL)}
      assert len(rows & held_out) < 3  # A chance meeting, not a shared fold.


def test_seeds_are_admitted_on_examples_of_their_own():
  task = small.run().task
  folds = evaluate.FOLD, evaluate.GATE_FOLD, longrope_search.FOLD
  assert len(set(folds)) == 3
  drawn = [
    {row.tobytes() for row in evaluate.examples(task, 12, 128, n).tokens_BxL}
    for n in folds
  ]
  assert [len(rows) for rows in drawn] == [128] * 3
  assert len(set.union(*drawn)) == 3 * 128


def test_the_gate_takes_no_program_of_its_own():
  run = small.run()
  on, params = initial(run)
  evaluator = evaluate.Evaluator(run, on)
  evaluator.outcomes(params, 12)
  evaluator.outcomes(params, 12, fold=evaluate.GATE_FOLD)
  assert evaluator.compilations == 1


@dataclasses.dataclass(frozen=True)
class Odd(schemes.Scheme):
  """Another scheme at odd lengths than at even ones."""

  def for_length(self, length):
    return schemes.ALiBi() if length % 2 else schemes.RoPE()


def cross_entropy(logits, tokens):
  """Minus the log-probability of each token, in float64, one by one."""
  found = np.zeros(tokens.shape)
  for place in np.ndindex(*tokens.shape):
    odds = np.exp(logits[place].astype(np.float64))
    found[place] = -np.log(odds[tokens[place]] / odds.sum())
  return found


@pytest.mark.parametrize('scheme', [schemes.RoPE(), Odd()], ids=str)
def test_predictions_equal_a_plain_forward_pass_at_every_length(scheme):
  # More examples than are drawn, and predicted, at once.
  evaluation = config.Evaluate(lengths=LENGTHS, examples=70)
  run = small.run(scheme=scheme, evaluate=evaluation)
  on, params = initial(run)
  evaluator = evaluate.Evaluator(run, on)
  for length in LENGTHS:
    tokens = np.asarray(evaluate.examples(run.task, length, 70).tokens_BxL)
    net = transformer.of(
      dataclasses.replace(run, scheme=scheme.for_length(length))
    )
    plain = jax.jit(functools.partial(transformer.predict, net))
    found = evaluator.predictions(params, tokens)
    for n in range(len(run.seeds)):
      one = jax.tree.map(lambda x, n=n: x[n], params)
      logits = np.asarray(plain(one, jnp.asarray(tokens)))
      np.testing.assert_array_equal(
        found.token_SxBxL[n, :, 1:], np.argmax(logits, axis=-1)
      )
      nats = cross_entropy(logits, tokens[:, 1:])
      # Float32 against float64: a few units in the last place of a logit.
      np.testing.assert_allclose(found.nats_SxBxL[n, :, 1:], nats, atol=3e-6)


def test_one_program_serves_all_seeds_and_neighbouring_lengths():
  lengths = (12, 33, 64, 128, 129, 140, 160)
  run = small.run(evaluate=config.Evaluate(lengths=lengths, examples=130))
  on, params = initial(run)
  evaluator = evaluate.Evaluator(run, on)
  for length in lengths:
    evaluator.outcomes(params, length)
  assert evaluator.compilations == 2  # Of 128 and of 160 tokens.


def test_the_ladder_wastes_at_most_a_quarter():
  for length in range(1, 3000):
    padded = evaluate.ladder(length)
    assert length <= padded < 1.25 * length + 1
    assert evaluate.ladder(padded) == padded


def test_padding_never_asks_for_more_than_the_longest_length():
  run = small.run(
    scheme=schemes.Learned(rows=33),
    evaluate=config.Evaluate(lengths=(12, 33), examples=2),
  )
  on, params = initial(run)  # 33 tokens would pad to 40, beyond the table.
  found = evaluate.Evaluator(run, on).outcomes(params, 33)
  assert found.kind_SxT.shape == (2, 2)


def judged(answers):
  """Outcomes of two sequences with two targets and one end, by hand."""
  shape = (2, 5)
  tokens = np.array([[9, 1, 5, 2, 7], [9, 3, 5, 4, 7]])
  foils = np.full((*shape, 2), -1)
  foils[0, 1] = [2, 3]
  foils[1, 3] = [3, -1]
  batch = tasks.Batch(
    tokens_BxL=tokens,
    targets_BxL=np.isin(np.arange(5), (1, 3, 4)) & np.ones(shape, bool),
    ends_BxL=np.isin(np.arange(5), (4,)) & np.ones(shape, bool),
    foils_BxLxC=foils,
    strata={'gap': np.arange(10).reshape(shape)},
  )
  return scoring.score(np.array([answers]), batch, 5)


def test_error_kinds_by_hand():
  right, order, lost = (
    scoring.CORRECT,
    scoring.ORDER_ERROR,
    scoring.RETRIEVAL_ERROR,
  )
  found = judged([[0, 3, 0, 2, 7], [0, 8, 0, 3, 1]])
  assert found.kind_SxT.tolist() == [[order, right, lost, order]]
  assert found.example_T.tolist() == [0, 0, 1, 1]
  assert found.strata['gap'].tolist() == [1, 3, 6, 8]
  assert found.ends_SxN.tolist() == [[True, False]]
  (row,) = scoring.summary(found, (4,))
  assert row == {
    'seed': 4,
    'length': 5,
    'exact': 0.0,
    'token': 0.25,
    'order': 0.5,
    'retrieval': 0.25,
    'unanswered': 0.0,
    'nats': None,
    'first_error': 0.0,
    'end': 0.5,
    'targets': 4,
  }


def test_what_is_not_a_number_is_no_answer_and_no_kind_of_error():
  tokens = np.array([[0, 2, 0, 1]])
  batch = tasks.Batch(
    tokens_BxL=tokens,
    targets_BxL=np.array([[False, True, True, True]]),
    ends_BxL=np.array([[False, False, False, True]]),
    foils_BxLxC=np.zeros((1, 4, 1), int),
    strata={},
  )
  # The largest of NaN is token 0: right at one place, a foil at the other.
  said = np.zeros((2, 1, 4), int)
  nats = np.array([[[0, 1, 2, 3]], [[0, np.nan, np.inf, np.nan]]], np.float32)
  found = scoring.score(said, batch, 4, nats)
  none = scoring.NO_NUMBER
  kinds = [[scoring.ORDER_ERROR, scoring.CORRECT], [none, none]]
  assert found.kind_SxT.tolist() == kinds
  finite, diverged = scoring.summary(found, (0, 1))
  assert (finite['token'], finite['order'], finite['nats']) == (0.5, 0.5, 1.5)
  shares = [diverged[n] for n in ('token', 'exact', 'unanswered')]
  assert shares == [0, 0, 1]
  # No answer is no error of either kind, and is not shown as a lack of errors.
  assert np.isnan([diverged['order'], diverged['retrieval']]).all()
  assert diverged['nats'] is None and diverged['first_error'] == 0
  assert found.ends_SxN.tolist() == [[False], [False]]


def test_exact_match_and_first_error_by_hand():
  (row,) = scoring.summary(judged([[0, 1, 0, 2, 7], [0, 3, 0, 8, 7]]), (0,))
  assert row['exact'] == 0.5  # The end of sequence is scored apart.
  assert (
    row['first_error'] == 1.5
  )  # None in the first: 2; place 1 in the other.
  assert row['token'] == 0.75


@pytest.mark.parametrize('bos', [True, False])
def test_greedy_decoding_has_the_exact_match_of_teacher_forcing(bos):
  run = small.run(
    task=tasks.Copy(symbols=2, distinct=False),
    scheme=schemes.RoPE() + schemes.ALiBi(),
    model=config.Model(layers=1, width=16, heads=2, bos=bos),
    evaluate=config.Evaluate(lengths=(10,)),
    # Enough to answer with symbols, too little to answer always right.
    train=small.train_config(length=10, steps=25, learning_rate=1e-2),
    seeds=(2,),
  )
  net = transformer.of(run)
  batch = run.task.sample(jax.random.key(0), length=10, batch=256)
  on = mesh.mesh(1, run.train.batch)
  start, advance = train_step.programs(run, on)
  members = train_step.members([run], on)
  state, _ = advance(start(members), members, np.int32(0))
  busy = train_step.busy(run, state.params)
  params = jax.tree.map(lambda x: jnp.asarray(x[0]), busy)
  forced = jnp.argmax(transformer.predict(net, params, batch.tokens_BxL), -1)
  free = jax.jit(generation.greedy, static_argnums=0)(
    net, params, batch.tokens_BxL, batch.targets_BxL
  )
  targets = batch.targets_BxL[:, 1:] & ~batch.ends_BxL[:, 1:]
  exact = lambda said: np.asarray(
    ((said == batch.tokens_BxL[:, 1:]) | ~targets).all(axis=1)
  )
  np.testing.assert_array_equal(exact(forced), exact(free))
  assert 0 < exact(free).sum() < 256
  # The same without a cache: a full pass for every token, fed its own words.
  written = np.array(batch.tokens_BxL)
  whole = jax.jit(lambda tokens: transformer.predict(net, params, tokens))
  for t in range(1, 10):
    said_B = np.argmax(whole(jnp.asarray(written))[:, t - 1], axis=-1)
    np.testing.assert_array_equal(np.asarray(free)[:, t - 1], said_B)
    asked_B = np.asarray(batch.targets_BxL)[:, t]
    written[:, t] = np.where(asked_B, said_B, written[:, t])
  assert (written != np.asarray(batch.tokens_BxL)).any()


# Ordering is asked for one answer; Copy for more, the longer it is.
ASKED = small.run().task, tasks.Copy(symbols=16, distinct=False)


@pytest.mark.parametrize('task', ASKED, ids=lambda t: type(t).__name__)
def test_places_that_are_asked_for_have_the_outcomes_of_all(task, monkeypatch):
  lengths = (33, 34, 39, 40)
  evaluation = config.Evaluate(lengths=lengths, examples=70)
  shape = config.Model(layers=2, width=16, heads=2)
  run = small.run(task=task, model=shape, evaluate=evaluation)
  on, params = initial(run)
  whole, few = (evaluate.Evaluator(run, on) for _ in range(2))
  every = [whole.outcomes(params, length) for length in lengths]
  monkeypatch.setattr(memory, 'SHORT', 32)
  for length, one in zip(lengths, every):
    shares = []
    found = few.outcomes(params, length, shares.append)
    assert sum(shares) == pytest.approx(1) and len(shares) == 2
    # The same float32 sums in other shapes.
    np.testing.assert_allclose(found.nats_SxT, one.nats_SxT, atol=1e-5)
    same = found._replace(nats_SxT=one.nats_SxT)
    jax.tree.map(np.testing.assert_array_equal, same, one)
  # Places that are as many need no program of their own, nor do 16 to 20.
  assert whole.compilations == 1
  assert few.compilations == (1 if task == ASKED[0] else 2)


def test_fewer_tokens_in_a_call_mean_more_calls_and_the_same_outcomes(
  monkeypatch,
):
  run = small.run(evaluate=config.Evaluate(lengths=(33,), examples=5))
  on, params = initial(run)
  at_once = evaluate.Evaluator(run, on).outcomes(params, 33)
  monkeypatch.setattr(memory, 'SHORT', 32)
  monkeypatch.setattr(evaluate, 'TOKENS', 40)
  shares = []
  alone = evaluate.Evaluator(run, on).outcomes(params, 33, shares.append)
  # One sequence at a time on each of two devices; the last is one of two.
  assert shares == [0.4, 0.4, 0.2]
  np.testing.assert_array_equal(alone.kind_SxT, at_once.kind_SxT)
  np.testing.assert_allclose(alone.nats_SxT, at_once.nats_SxT, atol=1e-5)


@dataclasses.dataclass(frozen=True)
class Everywhere(tasks.Copy):
  """A task that may ask for any token but the first."""

  def asked(self, length):
    return range(1, length)


def test_all_is_predicted_in_windows_or_where_most_is_asked():
  far = config.Evaluate(lengths=(256,))
  run = small.run(evaluate=far)
  assert evaluate.asked(run, 256).tolist() == [255]
  assert evaluate.asked(run, memory.SHORT) is None
  cut = dataclasses.replace(far, window=64)
  assert evaluate.asked(small.run(evaluate=cut), 256) is None
  most = small.run(task=Everywhere(symbols=16, distinct=False), evaluate=far)
  assert evaluate.asked(most, 256) is None
