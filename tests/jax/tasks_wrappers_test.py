"""Start and Mixture: the problems of their tasks, moved and mixed."""

import numpy as np
import pytest

from posexp import tasks
from tests.jax.tasks_algorithms_test import addition
from tests.jax.tasks_balance_test import chi_square
from tests.jax.tasks_values_test import assert_read
from tests.task_cases import (
  assert_bad_fields,
  assert_shortest,
  draw,
  draws,
  many,
)

_ORDER = tasks.Ordering(symbols=8, queries=1)


def test_start_moves_the_problem_and_changes_nothing_else():
  task, length, batch = many('start')
  plain = task.task  # The same keys, without the shift.
  inner = draws(plain, length - task.high)
  rows = len(batch.tokens_BxL)
  starts = []
  for b in range(rows):
    tokens = batch.tokens_BxL[b].tolist()
    pads = [t for t, token in enumerate(tokens) if token == plain.vocabulary]
    start = next(t for t in range(length) if t not in pads)
    end = start + length - task.high
    assert pads == [*range(start), *range(end, length)]
    starts.append(start)
    for name in ('tokens_BxL', 'targets_BxL', 'ends_BxL', 'foils_BxLxC'):
      mine, theirs = getattr(batch, name)[b], getattr(inner, name)[b]
      np.testing.assert_array_equal(mine[start:end], theirs)
    assert set(np.flatnonzero(batch.targets_BxL[b])) <= set(task.asked(length))
    assert set(batch.strata) == {*inner.strata, 'start'}
    for name, value_BxL in inner.strata.items():
      np.testing.assert_array_equal(
        batch.strata[name][b, start:end], value_BxL[b]
      )
    at = batch.targets_BxL[b]
    assert (batch.strata['start'][b][at] == start).all()
    assert (batch.strata['start'][b][~at] == -1).all()
  counts = np.bincount(starts, minlength=task.high + 1)
  assert counts[: task.low].sum() == 0
  assert chi_square(counts[task.low :], rows / 4) < 5
  used = np.flatnonzero(batch.targets_BxL.any(axis=0))
  assert used.tolist() == list(task.asked(length))


def test_start_keeps_ends_and_the_vocabulary():
  copy = tasks.Copy(symbols=4, distinct=False)
  near, far = tasks.Start(copy, 0, 2), tasks.Start(copy, 6, 6)
  assert near.vocabulary == far.vocabulary == copy.vocabulary + 1
  assert near.chance(12) == copy.chance(10) and far.capability == 'CR'
  batch = draw(far, 18)
  assert np.flatnonzero(batch.ends_BxL[0]).tolist() == [17]
  assert (batch.tokens_BxL[:, 17] == 2).all()
  assert list(far.asked(18)) == [t + 6 for t in copy.asked(12)]


def test_a_mixture_has_the_examples_of_its_tasks():
  task, length, batch = many('mixture')
  low = task.tasks[0].vocabulary
  asked = set(task.asked(length))
  alone = [draws(task.only(k), length) for k in range(2)]
  picked = batch.strata['task'].max(axis=1)
  for b, k in enumerate(picked.tolist()):
    one = alone[k]
    np.testing.assert_array_equal(batch.tokens_BxL[b], one.tokens_BxL[b])
    np.testing.assert_array_equal(batch.targets_BxL[b], one.targets_BxL[b])
    width = one.foils_BxLxC.shape[2]
    foils = batch.foils_BxLxC[b]
    np.testing.assert_array_equal(foils[:, :width], one.foils_BxLxC[b])
    assert (foils[:, width:] == -1).all()
    for name, value_BxL in batch.strata.items():
      theirs = one.strata.get(name, np.full_like(value_BxL, -1))
      np.testing.assert_array_equal(value_BxL[b], theirs[b])
    assert ((batch.tokens_BxL[b] >= low) == (k == 1)).all()
    assert set(np.flatnonzero(batch.targets_BxL[b])) <= asked
  assert set(batch.strata) == {'task', *alone[0].strata, *alone[1].strata}
  # One in three is of the first.
  assert abs((picked == 0).mean() - 1 / 3) < 5 * 0.5 / np.sqrt(picked.size)


def test_the_tasks_of_a_mixture_are_themselves():
  # But for the offset of its token ids a part answers to its own reference.
  task, length, _ = many('mixture')
  assert task.only(1).vocabulary == task.vocabulary
  batch = draw(task.only(0), length)
  assert (batch.strata.pop('task')[batch.targets_BxL] == 0).all()
  assert_read(batch, lambda t: addition(t, reverse=False))
  copy = tasks.Copy(symbols=4, distinct=False)
  ends = tasks.Mixture((tasks.Presence(symbols=2, queries=1), copy)).only(1)
  batch = draw(ends, 10)
  assert (batch.tokens_BxL[batch.ends_BxL] == 6 + 2).all()
  assert batch.ends_BxL.sum() == 64


def test_chance_of_a_mixture_counts_targets():
  five, one = tasks.Addition(eos=False), tasks.Ordering(symbols=16, queries=1)
  task = tasks.Mixture((five, one), (1, 3))
  # At 15 tokens 5 targets in one of four sequences, 1 in the other three.
  expected = (5 * five.chance(15) + 3 * 0.5) / 8
  assert task.chance(15) == pytest.approx(expected)
  assert task.only(0).chance(15) == pytest.approx(five.chance(15))
  assert task.capability == 'ORS' and task.only(1).capability == 'O'


def test_chance_of_a_mixture_counts_targets_on_average():
  # The last of 32 instructions is a READ, and of those between one in ten;
  # against 31 of a Copy whose chance is far from a half.
  copy = tasks.Copy()
  task = tasks.Mixture((tasks.FlipFlop(), copy))
  expected = (4 * 0.5 + 31 * copy.chance(64)) / 35
  assert task.chance(64) == pytest.approx(expected, rel=0.02)


class _Anywhere(tasks.Copy):
  """A Copy that does not say where it asks."""

  def asked(self, length):
    return None


def test_who_wraps_a_task_that_does_not_say_where_does_not_either():
  task = _Anywhere(symbols=4, distinct=False)
  assert tasks.Start(task, 0, 3).asked(16) is None
  mixed = tasks.Mixture((tasks.Dyck(), task))
  assert mixed.asked(16) is None and mixed.only(0).asked(16) == [12, 13, 14, 15]


BAD_FIELDS = [
  (tasks.Start, {'task': _ORDER, 'low': -1}, 'low must be at least 0, got -1:'),
  (
    tasks.Start,
    {'task': _ORDER, 'low': 4, 'high': 3},
    'high must be at least low=4, got 3: use low=high',
  ),
  (
    tasks.Start,
    {'task': tasks.Start(_ORDER)},
    r'task of Start is a Start, got Start\(.*: shift Ordering\(.*\) once',
  ),
  (
    tasks.Start,
    {'task': 'Copy'},
    "task must be of type Task, got 'Copy': write",
  ),
  (
    tasks.Mixture,
    {'tasks': _ORDER},
    r'tasks must be a tuple, got Ordering\(.*: write',
  ),
  (
    tasks.Mixture,
    {'tasks': (_ORDER, 'Copy')},
    "tasks must be of type Task, got 'Copy': write",
  ),
  (tasks.Mixture, {'tasks': ()}, 'tasks of Mixture is empty: give one'),
  (
    tasks.Mixture,
    {'tasks': (_ORDER,), 'weights': (1, 2)},
    r'weights must be a number for each of its 1 tasks, got \(1, 2\): use 0',
  ),
  (
    tasks.Mixture,
    {'tasks': (_ORDER, _ORDER), 'weights': (1, -0.5)},
    r'weights must be at least 0, got -0\.5: use 0',
  ),
  (
    tasks.Mixture,
    {'tasks': (_ORDER, _ORDER), 'weights': ('1', 2)},
    "weights must be a number, got '1': use 0",
  ),
  (
    tasks.Mixture,
    {'tasks': (_ORDER, _ORDER), 'weights': 2},
    'weights must be a tuple, got 2: use 0',
  ),
  (
    tasks.Mixture,
    {'tasks': (_ORDER, _ORDER), 'weights': (0, 0)},
    r'weights of Mixture are all 0, got \(0, 0\): give a task',
  ),
]


@pytest.mark.parametrize('kind, values, sentence', BAD_FIELDS)
def test_bad_fields(kind, values, sentence):
  assert_bad_fields(kind, values, sentence)


SHORTEST = [
  (
    tasks.Start(_ORDER, 0, 4),
    12,
    'of a length of 11, Start keeps 4 for where to start and leaves 7: length '
    'must be at least 8, got 7: a body',
  ),
  (
    tasks.Mixture((_ORDER, tasks.Dyck())),
    11,
    r'Dyck\(\) of Mixture: length must be at least 11',
  ),
]


@pytest.mark.parametrize('task, length, sentence', SHORTEST)
def test_the_shortest_length(task, length, sentence):
  assert_shortest(task, length, sentence)


def test_a_task_of_a_mixture_is_named_by_its_index():
  mixture = tasks.Mixture((_ORDER, tasks.Dyck()))
  for index in (-1, 2):
    with pytest.raises(ValueError, match=f'index must be 0 to 1, got {index}'):
      mixture.only(index)
