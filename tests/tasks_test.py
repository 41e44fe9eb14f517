"""Laws that every task keeps, over a table: to add a task, add its line."""

import dataclasses
import functools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from posexp import tasks

# (task, length): odd and even lengths, dense and sparse, with and without EOS.
TABLE = {
  'ordering': (tasks.Ordering(symbols=32, queries=4), 32),
  'ordering spread': (tasks.Ordering(symbols=12, queries=4, filler=5), 32),
  'ordering single': (tasks.Ordering(symbols=4, queries=1), 8),
  'presence': (tasks.Presence(symbols=32, queries=4), 32),
  'presence spread': (tasks.Presence(symbols=12, queries=4, filler=5), 32),
  'copy': (tasks.Copy(symbols=16), 32),
  'copy repeats': (tasks.Copy(symbols=4, distinct=False), 31),
  'copy no eos': (tasks.Copy(symbols=16, eos=False), 32),
  'reverse': (tasks.Reverse(symbols=16), 32),
  'reverse repeats': (tasks.Reverse(symbols=4, distinct=False, eos=False), 31),
  'selective copy': (tasks.SelectiveCopy(symbols=6, count=4), 32),
  'selective no eos': (tasks.SelectiveCopy(symbols=6, count=9, eos=False), 31),
  'recall': (tasks.Recall(keys=9, values=6, filler=5, pairs=7), 32),
  'recall power': (tasks.Recall(values=6, filler=5, gaps='power'), 32),
  'first wins': (tasks.FirstWins(values=6, filler=5, queries=2), 32),
  'last wins': (tasks.LastWins(values=6, filler=5, queries=2), 32),
  'needle': (tasks.Needle(values=6, filler=5, needles=4), 32),
  'tracking': (tasks.VariableTracking(values=6, filler=5, chains=2), 32),
  'flip-flop': (tasks.FlipFlop(), 32),
  'flip-flop last': (tasks.FlipFlop(ignore=0.1, every=False), 32),
  'attachment': (tasks.Attachment(symbols=8, queries=2, distractors=2), 32),
  'lookup left': (tasks.LookupLeft(symbols=8, queries=3), 32),
  'lookup right': (tasks.LookupRight(symbols=8, queries=3), 32),
  'index lookup': (tasks.IndexLookup(symbols=8, queries=4, high=20), 32),
  'sort': (tasks.Sort(symbols=24), 32),
  'sort no eos': (tasks.Sort(symbols=24, eos=False), 32),
  'repeat token': (tasks.RepeatToken(symbols=4), 32),
  'count': (tasks.Count(), 32),
  'majority': (tasks.Majority(queries=2), 32),
  'parity': (tasks.Parity(), 32),
  'addition': (tasks.Addition(), 17),
  'addition reverse': (tasks.Addition(reverse=True), 32),
  'addition short': (tasks.Addition(eos=False), 6),
  'dyck': (tasks.Dyck(), 32),
  'dyck shallow': (tasks.Dyck(kinds=3, depth=3, unclosed=2), 24),
  'start': (tasks.Start(tasks.Ordering(symbols=4, queries=1), 1, 4), 12),
  'start fixed': (tasks.Start(tasks.Copy(symbols=16, eos=False), 3, 3), 32),
  'mixture': (
    tasks.Mixture(
      (tasks.Addition(eos=False), tasks.Ordering(symbols=12, queries=2)), (1, 2)
    ),
    19,
  ),
}
each = pytest.mark.parametrize('task, length', TABLE.values(), ids=TABLE.keys())


@pytest.fixture(autouse=True)
def strict():
  with (
    jax.numpy_rank_promotion('raise'),
    jax.numpy_dtype_promotion('strict'),
  ):
    yield


# Integers do not change with the optimizer; unoptimized they compile sooner.
QUICK = {'xla_backend_optimization_level': 0}


@functools.cache
def jitted(task):
  return jax.jit(
    task.sample, static_argnames=('length', 'batch'), compiler_options=QUICK
  )


def draw(task, length, batch=64, seed=0):
  drawn = jitted(task)(jax.random.key(seed), length=length, batch=batch)
  return jax.tree.map(np.asarray, drawn)


def assert_equal(one, other):
  jax.tree.map(np.testing.assert_array_equal, one, other)


@each
def test_shapes_and_dtypes(task, length):
  batch = draw(task, length)
  assert batch.tokens_BxL.shape == (64, length)
  assert batch.tokens_BxL.dtype == np.int32
  for marks in (batch.targets_BxL, batch.ends_BxL):
    assert marks.shape == (64, length) and marks.dtype == bool
  assert batch.foils_BxLxC.shape[:2] == (64, length)
  assert batch.foils_BxLxC.dtype == np.int32
  assert batch.strata
  for value_BxL in batch.strata.values():
    assert value_BxL.shape == (64, length) and value_BxL.dtype == np.int32


@each
def test_pure_function_of_the_key(task, length):
  once, again = draw(task, length), draw(task, length)
  other = draw(task, length, seed=1)
  assert_equal(once, again)
  same_B = (once.tokens_BxL == other.tokens_BxL).all(axis=1)
  # Two short sources may agree by chance; half of them cannot.
  assert same_B.mean() < 0.5


# One that asks and one that repeats; op by op each takes seconds.
@pytest.mark.parametrize('name', ['ordering single', 'copy repeats'])
def test_jit_is_eager(name):
  task, length = TABLE[name]
  with jax.disable_jit():
    eager = task.sample(jax.random.key(0), length=length, batch=64)
  assert_equal(draw(task, length), jax.tree.map(np.asarray, eager))


@each
def test_neither_batch_size_nor_vmap_changes_an_example(task, length):
  keys_S = jax.vmap(jax.random.key)(np.arange(3))
  sample = functools.partial(task.sample, length=length, batch=5)
  few = jax.jit(jax.vmap(sample), compiler_options=QUICK)(keys_S)
  many = draw(task, length)
  assert_equal(
    jax.tree.map(lambda x: x[:5], many), jax.tree.map(lambda x: x[0], few)
  )
  assert len({tuple(tokens_L) for tokens_L in many.tokens_BxL}) > 1
  assert (few.tokens_BxL[1] != few.tokens_BxL[0]).any()


@each
def test_tokens_are_in_the_vocabulary(task, length):
  batch = draw(task, length)
  assert batch.tokens_BxL.min() >= 0
  assert batch.tokens_BxL.max() < task.vocabulary
  # The last id is used: the vocabulary is not larger than it need be.
  assert batch.tokens_BxL.max() == task.vocabulary - 1


@each
def test_targets_ends_and_strata(task, length):
  batch = draw(task, length)
  assert batch.targets_BxL.any(axis=1).all()
  assert not batch.targets_BxL[:, 0].any()
  asked = task.asked(length)
  if asked is not None:
    places = np.nonzero(batch.targets_BxL.any(axis=0))[0]
    np.testing.assert_array_equal(places, sorted(asked))
  assert not (batch.ends_BxL & ~batch.targets_BxL).any()
  assert batch.ends_BxL.sum(axis=1).max() == getattr(task, 'eos', False)
  for name, value_BxL in batch.strata.items():
    assert (value_BxL[~batch.targets_BxL] == -1).all(), name
    assert value_BxL.max() >= 0, name


@each
def test_the_places_that_a_task_names_are_those_that_hold_targets(task, length):
  batches = [draw(task, length, seed=seed) for seed in range(16)]
  held_L = np.any([batch.targets_BxL.any(axis=0) for batch in batches], axis=0)
  if task.asked(length) is not None:
    assert np.flatnonzero(held_L).tolist() == list(task.asked(length))


@each
def test_foils_are_other_tokens(task, length):
  batch = draw(task, length)
  assert (batch.foils_BxLxC != batch.tokens_BxL[..., None]).all()
  assert batch.foils_BxLxC.min() >= -1
  assert batch.foils_BxLxC.max() < task.vocabulary
  scored_BxL = batch.targets_BxL & ~batch.ends_BxL
  assert (batch.foils_BxLxC[~scored_BxL] == -1).all()


@each
def test_dictionary_round_trip(task, length):
  del length
  assert tasks.Task.from_dict(task.to_dict()) == task
  assert hash(tasks.Task.from_dict(task.to_dict())) == hash(task)


@pytest.mark.parametrize(
  'one, other',
  [
    (tasks.FlipFlop(ignore=1), tasks.FlipFlop(ignore=1.0)),
    (tasks.Recall(alpha=1), tasks.Recall(alpha=1.0)),
    (
      tasks.Mixture((tasks.Copy(), tasks.Dyck()), (1, 2)),
      tasks.Mixture((tasks.Copy(), tasks.Dyck()), (1.0, 2.0)),
    ),
  ],
)
def test_tasks_that_are_equal_are_written_alike(one, other):
  # What is written is part of the key of the evaluation examples, which are
  # kept in memory by what is equal.
  assert one == other
  assert json.dumps(one.to_dict()) == json.dumps(other.to_dict())


@each
def test_chance_is_a_probability(task, length):
  assert 0 < task.chance(length) < 1


@functools.cache
def scores(task, length):
  """The share of right answers of each answerer, and one sigma of it."""
  batches = [draw(task, length, seed=seed) for seed in range(16)]
  batch = jax.tree.map(lambda *x: np.concatenate(x), *batches)
  asked_BxL = batch.targets_BxL & ~batch.ends_BxL
  rng = np.random.default_rng(0)
  guesses = task.guesses(rng, batch.tokens_BxL, asked_BxL)
  hits = {
    name: (said_BxL == batch.tokens_BxL)[asked_BxL].mean()
    for name, said_BxL in guesses.items()
  }
  # Answers of one sequence may hang together, so sequences are counted.
  return hits, 0.5 / math.sqrt(len(batch.tokens_BxL))


@each
def test_a_random_answerer_scores_chance(task, length):
  hits, sigma = scores(task, length)
  assert abs(hits['random'] - task.chance(length)) < 5 * sigma


@each
def test_no_answerer_beats_what_the_design_defends_against(task, length):
  hits, sigma = scores(task, length)
  assert {'random', 'bag'} <= set(hits) and task.defended <= set(hits)
  for name in task.defended:
    bar = task.chance(length)
    if name != 'bag':
      bar = max(bar, hits['bag'])
    assert hits[name] < bar + 5 * sigma, name


@pytest.mark.parametrize(
  'task',
  [
    tasks.Ordering(filler=8),
    tasks.Presence(filler=8),
    tasks.Ordering(symbols=40_000),
    tasks.Copy(distinct=False),
    tasks.Reverse(symbols=20_000),
    tasks.SelectiveCopy(),
    tasks.Recall(),
    tasks.Recall(gaps='power'),
    tasks.FirstWins(),
    tasks.Needle(),
    tasks.VariableTracking(),
    tasks.FlipFlop(),
    tasks.Attachment(),
    tasks.LookupLeft(),
    tasks.IndexLookup(),
    tasks.Sort(symbols=20_000),
    tasks.RepeatToken(),
    tasks.Count(),
    tasks.Majority(),
    tasks.Addition(),
    tasks.Dyck(),
    tasks.Start(tasks.Copy(distinct=False), 0, 4096),
    tasks.Mixture((tasks.Copy(distinct=False), tasks.Dyck())),
  ],
  ids=str,
)
def test_long_sequences_need_no_square(task):
  length = 32_768
  traced = jax.make_jaxpr(lambda k: task.sample(k, length=length, batch=1))
  sizes = list(_sizes(traced(jax.random.key(0)).jaxpr))
  assert length <= max(sizes) <= 4 * length


def _sizes(jaxpr):
  for equation in jaxpr.eqns:
    for out in equation.outvars:
      yield math.prod(out.aval.shape)
    for value in equation.params.values():
      inner = getattr(value, 'jaxpr', value)
      if hasattr(inner, 'eqns'):
        yield from _sizes(inner)


def test_defaults_fit_the_usual_length():
  for task in tasks.CATALOGUE:
    task.check(64)


def many(name):
  """4,096 answers or more: a table task at 16 seeds, compiled already."""
  task, length = TABLE[name]
  batches = [draw(task, length, seed=seed) for seed in range(16)]
  return task, length, jax.tree.map(lambda *x: np.concatenate(x), *batches)


def assert_chance(task, length, batch, guess_BxL):
  scored_BxL = batch.targets_BxL & ~batch.ends_BxL
  hit = (guess_BxL == batch.tokens_BxL)[scored_BxL]
  sigma = 0.5 / math.sqrt(hit.size)  # at most, and 5 of them are allowed
  assert abs(hit.mean() - task.chance(length)) < 5 * sigma


def behind(coin_BxL):
  """Whether 1 has come less often than 0 in the answers so far.

  Betting on it wins if the coins of a sequence are balanced.
  """
  lead_BxL = np.cumsum((coin_BxL == 1) * 1 - (coin_BxL == 0) * 1, axis=1)
  return np.roll(lead_BxL, 1, axis=1) < 0


@pytest.mark.parametrize('name', ['ordering', 'ordering spread'])
def test_ordering_without_looking_is_chance(name):
  task, length, batch = many(name)
  a_BxL = np.roll(batch.tokens_BxL, 2, axis=1)
  b_BxL = np.roll(batch.tokens_BxL, 1, axis=1)
  counted_BxL = np.where(behind(batch.strata['mention']), b_BxL, a_BxL)
  for guess_BxL in (a_BxL, b_BxL, np.minimum(a_BxL, b_BxL), counted_BxL):
    assert_chance(task, length, batch, guess_BxL)


@pytest.mark.parametrize('name', ['presence', 'presence spread'])
def test_presence_without_looking_is_chance(name):
  task, length, batch = many(name)
  x_BxL = np.roll(batch.tokens_BxL, 1, axis=1)
  for yes_BxL in (
    np.full_like(x_BxL, True, bool),
    behind(batch.strata['present']),
    x_BxL < 4 + task.symbols // 2,
  ):
    assert_chance(task, length, batch, np.where(yes_BxL, 2, 3))


@pytest.mark.parametrize(
  'name', ['copy', 'copy repeats', 'reverse', 'reverse repeats']
)
def test_copying_without_looking_is_chance(name):
  task, length, batch = many(name)
  guess_BxL = np.full_like(batch.tokens_BxL, -1)
  for b, t in np.argwhere(batch.targets_BxL & ~batch.ends_BxL):
    start = t - batch.strata['index'][b, t]
    said = set(batch.tokens_BxL[b, start:t]) if task.distinct else set()
    guess_BxL[b, t] = min(set(range(3, task.vocabulary)) - said)
  assert_chance(task, length, batch, guess_BxL)


def test_chance_by_hand():
  assert tasks.Copy(symbols=4).chance(8) == pytest.approx(
    (1 / 4 + 1 / 3 + 1 / 2) / 3
  )
  assert tasks.Reverse(symbols=4, distinct=False).chance(8) == 1 / 4
  assert tasks.Ordering().chance(64) == tasks.Presence().chance(64) == 0.5


BAD_FIELDS = [
  (tasks.Ordering, {'queries': 0}, 'queries must be at least 1, got 0: ask'),
  (
    tasks.Presence,
    {'symbols': 15},
    'symbols must be at least 16, got 15: 8 queries ask about two distinct',
  ),
  (tasks.Ordering, {'filler': -1}, 'filler must be at least 0, got -1: use 0'),
  (tasks.Ordering, {'queries': 2.0}, r'queries must be an int, got 2\.0'),
  (tasks.Presence, {'filler': True}, r'filler must be an int, got True \(bool'),
  (tasks.Copy, {'symbols': 1}, 'symbols must be at least 2, got 1: with one'),
  (tasks.Reverse, {'symbols': '9'}, "symbols must be an int, got '9'"),
  (tasks.Copy, {'distinct': 1}, 'distinct must be True or False, got 1:'),
  (tasks.Reverse, {'eos': None}, 'eos must be True or False, got None:'),
]


@pytest.mark.parametrize('kind, values, sentence', BAD_FIELDS)
def test_bad_fields(kind, values, sentence):
  with pytest.raises(ValueError, match=sentence):
    kind(**values)


BAD_LENGTHS = [
  (
    tasks.Ordering(),
    56,
    'length must be at least 57 for 8 queries, got 56: .* fewer queries',
  ),
  (tasks.Presence(queries=2), 14, 'length must be at least 15 for 2 queries'),
  (
    tasks.Ordering(symbols=64),
    90,
    'symbols must be at least 65 at length 90, got 64: the events of a '
    'sequence are distinct; use symbols=65 or more, or filler',
  ),
  (
    tasks.Presence(symbols=46),
    64,
    'symbols must be at least 47 at length 64, got 46: the events and the 8 '
    'absent ones',
  ),
  (
    tasks.Presence(symbols=23, filler=4),
    64,
    'symbols must be at least 24 at length 64, got 23: .* symbols=24 or more$',
  ),
  (tasks.Copy(), 3, 'length must be at least 4, got 3: .* and EOS must fit'),
  (tasks.Reverse(eos=False), 2, 'length must be at least 3, got 2: '),
  (
    tasks.Copy(symbols=64),
    132,
    'symbols must be at least 65 at length 132, got 64: .* distinct=False',
  ),
]


@pytest.mark.parametrize('task, length, sentence', BAD_LENGTHS)
def test_bad_lengths(task, length, sentence):
  with pytest.raises(ValueError, match=sentence):
    task.check(length)
  with pytest.raises(ValueError, match=sentence):
    task.sample(jax.random.key(0), length=length, batch=1)


SHORTEST = [
  (tasks.Ordering(), 57),
  (tasks.Ordering(symbols=64), 89),
  (tasks.Presence(symbols=47), 64),
  (tasks.Presence(symbols=24, filler=4), 64),
  (tasks.Ordering(symbols=2, queries=1, filler=1), 8),
  (tasks.Copy(symbols=2), 4),
  (tasks.Reverse(symbols=2, distinct=False, eos=False), 3),
  (tasks.Copy(symbols=64), 131),
]


@pytest.mark.parametrize('task, length', SHORTEST)
def test_the_lengths_that_the_sentences_name_do_work(task, length):
  task.check(length)
  shapes = jax.eval_shape(
    lambda key: task.sample(key, length=length, batch=2), jax.random.key(0)
  )
  assert shapes.tokens_BxL.shape == (2, length)
  assert shapes.tokens_BxL.dtype == jnp.int32


def test_unknown_field_is_named():
  with pytest.raises(ValueError, match='Ordering has no field'):
    tasks.Task.from_dict({'type': 'Ordering', 'querys': 3})
  assert [f.name for f in dataclasses.fields(tasks.Presence)] == [
    f.name for f in dataclasses.fields(tasks.Ordering)
  ]
