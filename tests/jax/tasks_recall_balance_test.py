"""What Recall and its kin promise about their draws, at stated sigmas."""

import functools
import itertools

import jax
import numpy as np
import pytest

from posexp import tasks
from posexp.tasks import layout
from tests import task_cases
from tests.jax import tasks_balance_test

WRITE, IGNORE, READ = 2, 3, 4
drawn = tasks_balance_test.drawn
chi_square = tasks_balance_test.chi_square


@functools.cache
def draw_many(task, length, batch=4096):
  return task_cases.draw(task, length, batch, seed=3)


def test_every_arrangement_is_equally_likely():
  # Two facts of two tokens in six: 4 places, of which 2, so 6 ways.
  word = tasks_balance_test.words(6000, 4)
  place = jax.jit(jax.vmap(lambda word: layout.scattered(word, 2, 2)))
  ways, counts = np.unique(np.asarray(place(word)), axis=0, return_counts=True)
  assert [tuple(way) for way in ways] == [
    (i, j) for i in range(5) for j in range(i + 2, 5)
  ]
  assert chi_square(counts, 1000) < 5


# One question about the only pair, so that nothing is ever in its way.
SINGLE = {'pairs': 1, 'queries': 1}


@pytest.mark.parametrize('alpha', [None, 0.01])
def test_gaps_follow_their_law(alpha):
  fields = {'gaps': 'power', 'alpha': alpha} if alpha else {}
  task, length, batch = tasks.Recall(**SINGLE, **fields), 24, 8192
  # From SEP to the value of the pair next to it are 2 tokens.
  back = drawn(task, length, batch)['distance'] - 2
  places = length - 3 - 1
  law = np.arange(1, places + 1) ** ((alpha or 1) - 1.0)
  counts = np.bincount(back - back.min(), minlength=places)
  assert back.min() == 1 and counts.size == places
  assert chi_square(counts, batch * law / law.sum()) < 5


def test_under_the_power_law_pairs_are_drawn_one_by_one():
  # Two pairs in four places, counted back from SEP.
  task = tasks.Recall(pairs=2, queries=2, gaps='power', alpha=0.1)
  batch = draw_many(task, 11)
  low = task.vocabulary - task.filler
  p = np.arange(1, 5) ** -0.9 / (np.arange(1, 5) ** -0.9).sum()
  law = {
    (i, j): p[i] * p[j] * (1 / (1 - p[i]) + 1 / (1 - p[j]))
    for i, j in itertools.combinations(range(4), 2)
  }
  seen = dict.fromkeys(law, 0)
  for tokens in batch.tokens_BxL[:, :6].tolist():
    filler = [t >= low for t in tokens]
    # A pair counts one place: leave out its value.
    key = [t for t in range(6) if tokens[t] <= task.keys]
    places = [f for t, f in enumerate(filler) if t - 1 not in key]
    seen[tuple(i for i in range(4) if not places[3 - i])] += 1
  total = len(batch.tokens_BxL)
  counts, expected = np.array([(seen[w], total * law[w]) for w in law]).T
  assert chi_square(counts, expected) < 5


@pytest.mark.parametrize(
  'task, length',
  [
    (tasks.Recall(values=5), 64),
    (tasks.Recall(values=5, gaps='power'), 64),
    (tasks.Needle(values=5, queries=3), 64),
    (tasks.VariableTracking(values=5), 64),
    (tasks.FirstWins(values=5), 64),
    (tasks.LastWins(values=5), 64),
  ],
  ids=str,
)
def test_answers_are_uniform_and_the_question_number_says_nothing(task, length):
  batch = draw_many(task, length)
  answer_BxQ = batch.tokens_BxL[batch.targets_BxL].reshape(4096, -1)
  counts = np.unique(answer_BxQ[:, -1], return_counts=True)[1]
  assert counts.size == 5
  assert chi_square(counts, 4096 / 5) < 5
  # What was said before tells nothing of what is to be said.
  same = np.mean(answer_BxQ[:, 0] == answer_BxQ[:, 1])
  assert abs(same - 1 / 5) < 5 * 0.4 / np.sqrt(4096)
  for name, value_BxL in batch.strata.items():
    value_BxQ = value_BxL[batch.targets_BxL].reshape(4096, -1).astype(float)
    if name == 'distance':  # from SEP instead of the answer
      value_BxQ -= task.width * np.arange(task.queries)
    if name in ('query', 'hops'):
      continue
    sigma = value_BxQ.std() / np.sqrt(4096)
    means_Q = value_BxQ.mean(axis=0)
    assert (np.abs(means_Q - means_Q.mean()) < 5 * sigma).all(), name


def test_twins_gap_is_independent_of_the_later_write():
  # At 64 tokens 4 questions take 16 of the 27 slots: what collisions do is
  # -.06 at most, and 5 sigma of 16,384 questions .04.
  batch = draw_many(tasks.LastWins(values=5), 64)
  values = {k: v[batch.targets_BxL] for k, v in batch.strata.items()}
  later = values['distance'] - 2 * values['query']
  assert abs(np.corrcoef(values['gap'], later)[0, 1]) < 0.1


def test_both_orders_of_two_values_are_equally_likely():
  batch = draw_many(tasks.FirstWins(values=5), 64)
  first = batch.tokens_BxL[batch.targets_BxL]
  last = batch.foils_BxLxC[batch.targets_BxL, 0]
  table = np.zeros((5, 5))
  np.add.at(table, (first - first.min(), last - last.min()), 1)
  assert not table.diagonal().any()
  off = table[~np.eye(5, dtype=bool)]
  assert chi_square(off, first.size / 20) < 5


def test_needles_are_as_deep_as_shallow():
  task, length = tasks.Needle(needles=1, queries=1), 106
  # The body has 102 tokens and a needle 100 places, the last ones in the last
  # tenth: all tenths hold 10.2 of them but for the last, which ends 2 early.
  counts = np.bincount(drawn(task, length, 8192)['depth'], minlength=10)
  start = np.arange(100)
  expected = np.bincount(10 * start // 102) * 8192 / 100
  assert chi_square(counts, expected) < 5


def test_statements_stand_in_any_order():
  task = tasks.VariableTracking(hops=2, chains=2)
  late = drawn(task, 64, 4096)['late']
  # Of the 6 orders of three statements 1 has no hop back, 4 one, 1 both.
  expected = late.size * np.array([1, 4, 1]) / 6
  assert chi_square(np.bincount(late), expected) < 5


def test_mixed_questions_take_any_number_of_hops():
  hops = drawn(tasks.VariableTracking(hops=2, mixed=True), 64, 4096)['hops']
  assert chi_square(np.bincount(hops, minlength=3), hops.size / 3) < 5


def test_blanks_stand_anywhere_the_end_included():
  task = tasks.SelectiveCopy(symbols=4, count=1)
  distance = drawn(task, 20, 4096)['distance']
  counts = np.bincount(distance[distance > 0])[2:]
  assert counts.size == 17
  assert chi_square(counts, 4096 / 17) < 5


@pytest.mark.parametrize('ignore', [0.1, 0.8])
def test_flip_flop_draws_what_the_paper_says(ignore):
  batch = draw_many(tasks.FlipFlop(ignore=ignore), 32, batch=1024)
  kind_BxI, bit_BxI = batch.tokens_BxL[:, ::2], batch.tokens_BxL[:, 1::2]
  kind, bit = kind_BxI[:, 1:-1].ravel(), bit_BxI[:, 1:-1].ravel()
  rest = (1 - ignore) / 2
  counts = np.bincount(kind)[[WRITE, IGNORE, READ]]
  expected = kind.size * np.array([rest, ignore, rest])
  assert chi_square(counts, expected) < 5
  for one in WRITE, IGNORE:
    coin = bit[kind == one]
    assert abs(coin.mean() - 0.5) < 5 * 0.5 / np.sqrt(coin.size)
    # Not the bit before it either, whatever that was.
    again = (bit[1:] == bit[:-1])[kind[1:] == one]
    assert abs(again.mean() - 0.5) < 5 * 0.5 / np.sqrt(again.size)


def test_the_arms_of_flip_flop_have_one_vocabulary():
  arms = [tasks.FlipFlop(ignore=ignore) for ignore in (0.1, 0.8, 0.98)]
  assert {arm.vocabulary for arm in arms} == {5}
