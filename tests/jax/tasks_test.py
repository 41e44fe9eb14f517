"""Laws that every task keeps, over the table of `task_cases`."""

import dataclasses
import functools
import json
import math

import jax
import numpy as np
import pytest

from posexp import tasks
from tests.task_cases import (
  QUICK,
  TABLE,
  assert_bad_fields,
  assert_exists,
  assert_refused,
  draw,
  draws,
  each,
)


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


def test_an_example_is_the_same_under_any_generator_of_jax():
  task = tasks.RepeatToken(symbols=4)
  with jax.default_prng_impl('rbg'):
    text = task.example(length=12)
  assert text.splitlines() == [
    '0 0 3 3 3 1 3 3 3 2 0 0',
    '8: 3, foils [2], count 3, stop 0',
    '9: 2, foils [3], count 3, stop 1',
  ]


# Two that take every path between them; op by op each takes seconds.
@pytest.mark.parametrize('name', ['presence spread', 'copy repeats'])
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
  # The last id is used: the vocabulary is not larger than it need be.
  assert batch.tokens_BxL.max() == task.vocabulary - 1


@each
def test_targets_ends_and_strata(task, length):
  batch = draw(task, length)
  assert batch.targets_BxL.any(axis=1).all()
  assert not batch.targets_BxL[:, 0].any()
  assert not (batch.ends_BxL & ~batch.targets_BxL).any()
  assert batch.ends_BxL.sum(axis=1).max() == getattr(task, 'eos', False)
  for name, value_BxL in batch.strata.items():
    assert (value_BxL[~batch.targets_BxL] == -1).all(), name
    assert value_BxL.max() >= 0, name


@each
def test_the_places_that_a_task_names_are_those_that_hold_targets(task, length):
  held_L = draws(task, length).targets_BxL.any(axis=0)
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


BAD_FIELDS = [
  (tasks.Ordering, {'queries': 0}, 'queries must be at least 1, got 0'),
  (
    tasks.Presence,
    {'symbols': 15},
    'symbols must be at least events_asked=16, got 15: .* two distinct events',
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
  assert_bad_fields(kind, values, sentence)


BAD_LENGTHS = [
  (
    tasks.Ordering(),
    56,
    'length must be at least 57, got 56: .* 8 x 3 tokens .* fewer queries',
  ),
  (tasks.Presence(queries=2), 14, 'length must be at least 15, got 14'),
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
  assert_refused(task, length, sentence)


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
  assert_exists(task, length)


def test_unknown_field_is_named():
  with pytest.raises(ValueError, match='Ordering has no field'):
    tasks.Task.from_dict({'type': 'Ordering', 'querys': 3})
  assert [f.name for f in dataclasses.fields(tasks.Presence)] == [
    f.name for f in dataclasses.fields(tasks.Ordering)
  ]
