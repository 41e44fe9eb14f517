"""Sort, RepeatToken and the tallies: against plain Python, and balance."""

import functools
import itertools

import numpy as np
import pytest

from posexp import tasks
from tests.jax.tasks_lookup_test import assert_uniform, many, questions, stratum
from tests.jax.tasks_values_test import draw
from tests.jax.tasks_values_test import test_against_plain_python as compare
from tests.task_cases import assert_bad_fields, assert_shortest

PAD, SEP, EOS = range(3)  # of Sort and RepeatToken


def sort(tokens):
  sep = tokens.index(SEP)
  source = [x for x in tokens[:sep] if x != PAD]
  answer, asked = sorted(source), {}
  for index, token in enumerate(answer):
    t = sep + 1 + index
    strata = {'index': index, 'distance': t - tokens.index(token)}
    around = [answer[i : i + 1] for i in (index - 1, index + 1) if i >= 0]
    around = [[]] * (2 - len(around)) + around
    asked[t] = token, [f[0] if f else -1 for f in around], strata
  if sep + 1 + len(source) < len(tokens):
    strata = {'index': len(source), 'distance': -1}
    asked[sep + 1 + len(source)] = EOS, [-1, -1], strata
  return asked


def repeat_token(tokens):
  sep = tokens.index(SEP)
  source = [x for x in tokens[:sep] if x != PAD]
  (x,), n = set(source), len(source)
  assert set(tokens[: sep - n]) | set(tokens[sep + n + 2 :]) <= {PAD}
  assert tokens[sep + 1 : sep + 1 + n] == source
  return {
    sep + n: (x, [EOS], {'count': n, 'stop': 0}),
    sep + n + 1: (EOS, [x], {'count': n, 'stop': 1}),
  }


def count(tokens, *, modulus):
  body, asks = questions(tokens, 2)
  asked = {}
  for query, (symbol,), t in asks:
    n = body.count(symbol)
    foils = [1 + (n - 1) % modulus, 1 + (n + 1) % modulus]
    asked[t] = 1 + n % modulus, foils, {'count': n, 'query': query}
  return asked


def parity(tokens):
  return {
    t: (token, [-1], strata)
    for t, (token, _, strata) in count(tokens, modulus=2).items()
  }


def majority(tokens):
  body, asks = questions(tokens, 3)
  asked = {}
  for query, (a, b), t in asks:
    of_a, of_b = body.count(a), body.count(b)
    assert of_a != of_b
    strata = {'margin': abs(of_a - of_b), 'query': query}
    asked[t] = a if of_a > of_b else b, [-1], strata
  return asked


CASES = [
  (tasks.Sort(symbols=16), 33, sort),
  (tasks.Sort(symbols=40, eos=False), 32, sort),
  (tasks.RepeatToken(symbols=3), 21, repeat_token),
  (tasks.Count(), 45, functools.partial(count, modulus=4)),
  (tasks.Count(modulus=2), 45, functools.partial(count, modulus=2)),
  (tasks.Parity(), 45, parity),
  (tasks.Majority(), 45, majority),
]


@pytest.mark.parametrize('task, length, reference', CASES)
def test_against_plain_python(task, length, reference):
  compare(task, length, reference)


def best_blind(sequences):
  """The share that the best answerer gets right who sees what was before.

  Args:
    sequences: (tokens, the places that are scored), all equally likely.
  """
  seen = {}
  for tokens, scored in sequences:
    for place in scored:
      found = seen.setdefault((place, tokens[:place]), {})
      found[tokens[place]] = found.get(tokens[place], 0) + 1
  best = sum(max(found.values()) for found in seen.values())
  return best / sum(sum(found.values()) for found in seen.values())


@pytest.mark.parametrize('number', [1, 4, 5])
def test_chance_of_sort_is_the_best_blind_answerer(number):
  answers = itertools.combinations(range(6), number)
  best = best_blind((answer, range(number)) for answer in answers)
  task = tasks.Sort(symbols=6, eos=False)
  assert task.chance(2 * number + 1) == pytest.approx(best)


@pytest.mark.parametrize('longest, symbols', [(2, 1), (3, 2), (5, 3)])
def test_chance_of_repeat_token_is_the_best_blind_answerer(longest, symbols):
  sources = itertools.product(range(1, longest + 1), range(symbols))
  best = best_blind(((x,) * n + (-1,), (n - 1, n)) for n, x in sources)
  task = tasks.RepeatToken(symbols=symbols)
  assert task.chance(2 * longest + 2) == pytest.approx(best)
  assert task.chance(2 * longest + 3) == pytest.approx(best)


def test_sort_takes_every_set_of_values():
  batch = many(tasks.Sort(symbols=6, eos=False), 5)
  source_BxN = np.sort(batch.tokens_BxL[:, :2])
  assert_uniform(*source_BxN.T, cells=15)


def test_repeat_token_stops_anywhere():
  batch = many(tasks.RepeatToken(symbols=3), 21)
  number, x = stratum(batch, 'count')[:, 0], batch.tokens_BxL[:, 9]
  assert_uniform(number, x, cells=9 * 3)


COUNTS = [
  (tasks.Count(), 64, 12),
  (tasks.Count(), 128, 28),
  (tasks.Parity(), 64, 14),
  (tasks.Majority(), 64, 7),
  (tasks.Majority(), 128, 15),
]


@pytest.mark.parametrize('task, length, reach', COUNTS)
def test_counts_reach_as_far_as_told(task, length, reach):
  batch = many(task, length, 1024)
  name = 'margin' if isinstance(task, tasks.Majority) else 'count'
  assert stratum(batch, name).max() == reach - 1


def test_counts_are_uniform_and_independent():
  task = tasks.Count(symbols=4, queries=2, modulus=3)
  count_BxQ = stratum(many(task, 1 + 4 + 10), 'count')
  assert_uniform(*count_BxQ.T, cells=6 * 6)


def test_majority_counts_are_any_two_that_differ():
  task = tasks.Majority(symbols=3, queries=1)
  batch = many(task, 1 + 3 + 8)
  body_BxN, pair_BxP = batch.tokens_BxL[:, :8], batch.tokens_BxL[:, 9:11]
  count_PxB = [(body_BxN == x_B[:, None]).sum(axis=1) for x_B in pair_BxP.T]
  assert_uniform(*count_PxB, cells=5 * 4)


def test_tallies_have_all_orders():
  # Where the symbol that is asked about comes once, it may stand anywhere.
  task = tasks.Count(symbols=4, queries=2, modulus=3)
  batch = many(task, 1 + 4 + 10)
  is_x_BxN = batch.tokens_BxL[:, :10] == batch.tokens_BxL[:, [11]]
  once_BxN = is_x_BxN[stratum(batch, 'count')[:, 0] == 1]
  assert (once_BxN.sum(axis=1) == 1).all()
  assert_uniform(once_BxN.argmax(axis=1), cells=10)


def test_the_bag_is_enough_to_sort_and_to_count():
  for task, length, _ in CASES:
    batch = draw(task, length)
    scored_BxL = batch.targets_BxL & ~batch.ends_BxL
    rng = np.random.default_rng(0)
    said = task.guesses(rng, batch.tokens_BxL, scored_BxL)['bag']
    np.testing.assert_array_equal(
      said[scored_BxL], batch.tokens_BxL[scored_BxL]
    )


BAD_FIELDS = [
  (tasks.Sort, {'symbols': 1}, 'symbols must be at least 2, got 1: with one'),
  (tasks.Sort, {'eos': 1}, 'eos must be True or False, got 1'),
  (tasks.RepeatToken, {'symbols': 0}, 'symbols must be at least 1, got 0'),
  (tasks.Count, {'modulus': 1}, 'modulus must be at least 2, got 1: with one'),
  (tasks.Count, {'queries': 0}, 'queries must be at least 1, got 0'),
  (
    tasks.Parity,
    {'symbols': 4},
    'symbols must be above symbols_asked=4, got 4: .* lower queries',
  ),
  (
    tasks.Majority,
    {'symbols': 8},
    'symbols must be above symbols_asked=8, got 8: .* lower queries',
  ),
]


@pytest.mark.parametrize('kind, values, sentence', BAD_FIELDS)
def test_bad_fields(kind, values, sentence):
  assert_bad_fields(kind, values, sentence)


SHORTEST = [
  (tasks.Sort(), 4, 'length must be at least 4, got 3: .* and EOS must fit'),
  (tasks.Sort(eos=False), 3, 'length must be at least 3, got 2: '),
  (tasks.RepeatToken(), 6, 'length must be at least 6, got 5: '),
  (tasks.Count(), 21, 'length must be at least 21, got 20: a body of 12 '),
  (tasks.Parity(), 13, 'length must be at least 13, got 12: a body of 4 '),
  (tasks.Majority(), 21, 'length must be at least 21, got 20: .* 4 x 3 tokens'),
]


@pytest.mark.parametrize('task, length, sentence', SHORTEST)
def test_lengths(task, length, sentence):
  assert_shortest(task, length, sentence)


def test_sort_leaves_a_value_out():
  task = tasks.Sort(symbols=8)
  task.check(17)
  with pytest.raises(
    ValueError, match='at least 9 at length 18, got 8: the values'
  ):
    task.check(18)
