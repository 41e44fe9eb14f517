"""Recall and its kin: plain Python that reads only the tokens, bad input."""

import functools

import numpy as np
import pytest

from posexp import tasks
from tests.jax import tasks_values_test
from tests.task_cases import assert_bad_fields, assert_shortest

SEP, MARK, EOS = 0, 1, 2
draw = tasks_values_test.draw
WRITE, IGNORE, READ = 2, 3, 4


def stored(task, tokens, width):
  """The facts of the body, by where they start, and the questions."""
  low = task.vocabulary - task.filler  # of filler
  sep = tokens.index(SEP)
  body, facts, t = tokens[:sep], {}, 0
  while t < sep:
    if body[t] >= low:
      t += 1
    else:
      facts[t] = body[t : t + width]
      t += width
  asked = range(sep + 1, len(tokens), width)
  questions = [(t, tokens[t : t + width]) for t in asked]
  assert all(
    len(f) == width for f in [*facts.values(), *(q for _, q in questions)]
  )
  return facts, questions


def beside(values, place):
  """The values before and after a place, -1 where none or the same one."""
  around = [-1, *values, -1]
  pair = around[place], around[place + 2]
  return [-1 if v == values[place] else v for v in pair]


def recall(task, tokens):
  width = 3 if isinstance(task, tasks.Needle) else 2
  facts, questions = stored(task, tokens, width)
  keys = [fact[-2] for fact in facts.values()]
  values = [fact[-1] for fact in facts.values()]
  assert len(set(keys)) == len(keys)
  assert len({q[-2] for _, q in questions}) == len(questions)
  asked = {}
  for number, (t, question) in enumerate(questions):
    place = keys.index(question[-2])
    start, answer = list(facts)[place], t + width - 1
    strata = {'distance': answer - (start + width - 1), 'query': number}
    if width == 3:
      assert {f[0] for f in [question, *facts.values()]} == {MARK}
      strata['depth'] = int(start / tokens.index(SEP) * 10)
    else:
      strata['pair'] = place
    asked[answer] = values[place], beside(values, place), strata
  return asked


def writes(task, tokens):
  facts, questions = stored(task, tokens, 2)
  asked = {}
  for number, (t, (key, _)) in enumerate(questions):
    first, last = (at for at, fact in facts.items() if fact[0] == key)
    right, wrong = first, last
    if isinstance(task, tasks.LastWins):
      right, wrong = last, first
    assert tokens[first + 1] != tokens[last + 1]
    strata = {'gap': last - first, 'distance': t - right, 'query': number}
    asked[t + 1] = tokens[right + 1], [tokens[wrong + 1]], strata
  assert len(facts) == 2 * len(questions)
  return asked


def tracking(task, tokens):
  facts, questions = stored(task, tokens, 3)
  assert {f[0] for f in [*facts.values(), *(q for _, q in questions)]} == {1}
  set_at = {fact[1]: at for at, fact in facts.items()}
  assert len(set_at) == len(facts)
  roots = [at for at, fact in facts.items() if fact[2] not in set_at]
  values = [tokens[at + 2] for at in roots]
  asked = {}
  for number, (t, (_, name, _)) in enumerate(questions):
    used = name in [fact[2] for fact in facts.values()]
    assert task.mixed or not used
    late, hops = 0, 0
    while tokens[set_at[name] + 2] in set_at:
      needed = tokens[set_at[name] + 2]
      late += set_at[needed] > set_at[name]
      name, hops = needed, hops + 1
    place = roots.index(set_at[name])
    strata = {'hops': hops, 'late': late, 'query': number}
    strata['distance'] = t - set_at[name]
    asked[t + 2] = values[place], beside(values, place), strata
  return asked


def selective(task, tokens):
  sep = tokens.index(1)
  data = [t for t in range(sep) if tokens[t] != 0]
  values = [tokens[t] for t in data]
  asked = {}
  for index, at in enumerate(data):
    t = sep + 1 + index
    strata = {'index': index, 'distance': t - at}
    asked[t] = tokens[at], beside(values, index), strata
  if task.eos:
    strata = {'index': len(data), 'distance': -1}
    asked[sep + 1 + len(data)] = EOS, [-1, -1], strata
  assert sep + len(asked) + 1 == len(tokens)
  return asked


def flipflop(task, tokens):
  written, asked = [], {}
  assert tokens[0] == WRITE and tokens[-2] == READ
  for t in range(0, len(tokens), 2):
    kind, bit = tokens[t : t + 2]
    assert kind in (WRITE, IGNORE, READ) and bit in (0, 1)
    if kind == WRITE:
      written.append((t, bit))
    if kind == READ and (task.every or t == len(tokens) - 2):
      at, right = written[-1]
      stale = 1 - right if (1 - right) in [b for _, b in written] else -1
      ignored = tokens[at:t:2].count(IGNORE)
      strata = {'distance': t - at, 'ignored': ignored}
      asked[t + 1] = right, [stale], strata
  return asked


CASES = [
  (tasks.Recall(pairs=6, values=5, filler=3), 33, recall),
  (tasks.Recall(pairs=6, values=5, gaps='power'), 33, recall),
  (tasks.Recall(pairs=5, queries=5, gaps='power'), 21, recall),
  (tasks.Recall(pairs=1, queries=1), 6, recall),
  (tasks.Needle(needles=4, values=5), 40, recall),
  (tasks.Needle(needles=1, queries=1), 10, recall),
  (tasks.FirstWins(values=5, queries=3), 44, writes),
  (tasks.LastWins(values=2, queries=1), 11, writes),
  (tasks.VariableTracking(values=5, hops=3, chains=3), 50, tracking),
  (tasks.VariableTracking(hops=1, chains=1, queries=1), 10, tracking),
  (tasks.VariableTracking(chains=3, queries=3, mixed=True), 64, tracking),
  (tasks.SelectiveCopy(symbols=4, count=5), 33, selective),
  (tasks.SelectiveCopy(symbols=4, count=1, eos=False), 3, selective),
  (tasks.FlipFlop(ignore=0.4), 32, flipflop),
  (tasks.FlipFlop(ignore=0.8, every=False), 32, flipflop),
  (tasks.FlipFlop(ignore=1), 4, flipflop),
]


@pytest.mark.parametrize('task, length, reference', CASES)
def test_against_plain_python(task, length, reference):
  tasks_values_test.assert_as_read(
    task, length, functools.partial(reference, task)
  )


TWINS = [
  kind(values=5, queries=3) for kind in (tasks.FirstWins, tasks.LastWins)
]


def test_the_twins_differ_in_their_answers_alone():
  first, last = (draw(task, 44) for task in TWINS)
  asked_BxL = first.targets_BxL
  same_BxL = first.tokens_BxL == last.tokens_BxL
  np.testing.assert_array_equal(same_BxL, ~asked_BxL)
  np.testing.assert_array_equal(
    first.foils_BxLxC[asked_BxL, 0], last.tokens_BxL[asked_BxL]
  )


def test_recent_is_never_right_on_one_twin_and_always_on_the_other():
  for task, share in zip(TWINS, (0, 1)):
    batch = draw(task, 44)
    rng = np.random.default_rng(0)
    said = task.guesses(rng, batch.tokens_BxL, batch.targets_BxL)['recent']
    hits = (said == batch.tokens_BxL)[batch.targets_BxL]
    assert hits.size == 192 and hits.mean() == share


def test_bag_and_recent_by_hand():
  task = tasks.Recall(values=4, filler=2, keys=4, pairs=2, queries=2)
  # Keys 1 to 4, values 5 to 8, filler 9 and 10.
  tokens_BxL = np.array([[1, 8, 9, 3, 5, 0, 3, 5, 1, 8]])
  asked_BxL = np.zeros((1, 10), bool)
  asked_BxL[:, task.asked(10)] = True
  rng = np.random.default_rng(0)
  said = [task.guesses(rng, tokens_BxL, asked_BxL) for _ in range(20)]
  # Once 5 is said, 8 is what is left in the bag.
  assert {s['bag'][0, 9] for s in said} == {8}
  assert {s['bag'][0, 7] for s in said} == {5, 8}
  assert said[0]['recent'].tolist() == [[-1] * 7 + [5, -1, 5]]
  flip = tasks.FlipFlop().guesses(
    rng,
    tokens_BxL=np.array([[2, 1, 3, 1, 2, 0, 4, 0]]),
    asked_BxL=np.arange(8)[None] == 7,
  )
  assert flip['bag'][0, 7] == 1 and flip['recent'][0, 7] == 0


BAD_FIELDS = [
  (tasks.Recall, {'queries': 0}, 'queries must be at least 1, got 0'),
  (tasks.Recall, {'values': 1}, 'values must be at least 2, got 1: with one'),
  (tasks.Needle, {'filler': 0}, 'filler must be at least 1, got 0: what'),
  (
    tasks.Recall,
    {'pairs': 3},
    'pairs must be at least queries=4, got 3: no pair',
  ),
  (
    tasks.Recall,
    {'keys': 7},
    'keys must be at least pairs=8, got 7: the keys of a sequence are '
    'distinct; raise keys or have fewer pairs',
  ),
  (tasks.Recall, {'gaps': 'powr'}, "gaps cannot be 'powr' .*power"),
  (
    tasks.Recall,
    {'alpha': 1.5},
    "alpha must be at least 0 and at most 1, got 1.5: 0.01 is Zoology's",
  ),
  (tasks.Recall, {'alpha': '1'}, "alpha must be a number, got '1'"),
  (
    tasks.Needle,
    {'needles': 1},
    'needles must be at least queries=2, got 1: no',
  ),
  (
    tasks.Needle,
    {'keys': 5},
    'keys must be at least needles=6, got 5: .* needles',
  ),
  (
    tasks.FirstWins,
    {'keys': 3},
    'keys must be at least queries=4, got 3: .* queries',
  ),
  (
    tasks.VariableTracking,
    {'hops': 0},
    'hops must be at least 1, got 0: .*Rec',
  ),
  (
    tasks.VariableTracking,
    {'chains': 1},
    'chains must be at least queries=2, got 1: no',
  ),
  (
    tasks.VariableTracking,
    {'variables': 11},
    'variables must be at least statements=12, got 11: a variable is set once; '
    'raise variables or have fewer chains or hops',
  ),
  (tasks.SelectiveCopy, {'symbols': 1}, 'symbols must be at least 2, got 1'),
  (tasks.SelectiveCopy, {'count': 0}, 'count must be at least 1, got 0: there'),
  (tasks.SelectiveCopy, {'eos': 1}, 'eos must be True or False, got 1'),
  (
    tasks.FlipFlop,
    {'ignore': 1.1},
    'ignore must be at least 0 and at most 1, got 1.1',
  ),
  (
    tasks.FlipFlop,
    {'ignore': float('nan')},
    'ignore must be .*, got nan: it is',
  ),
  (tasks.FlipFlop, {'every': 0}, 'every must be True or False, got 0'),
]


@pytest.mark.parametrize('kind, values, sentence', BAD_FIELDS)
def test_bad_fields(kind, values, sentence):
  assert_bad_fields(kind, values, sentence)


# The shortest length of each, and what is said of a shorter one.
SHORTEST = [
  (
    tasks.Recall(),
    25,
    'a body of 16 tokens, SEP and 4 x 2 tokens of questions',
  ),
  (tasks.Recall(gaps='power'), 25, '24: .* fewer pairs or queries'),
  (tasks.Needle(), 43, 'a body of 36 tokens, .* fewer needles or queries'),
  (tasks.FirstWins(), 41, 'a body of 32 tokens, .* fewer queries'),
  (tasks.VariableTracking(), 43, '42: .* fewer chains, hops or queries'),
  (tasks.SelectiveCopy(), 18, '8 data tokens, SEP, their answer and EOS must'),
  (tasks.SelectiveCopy(eos=False), 17, 'their answer must fit; .* count'),
  (tasks.FlipFlop(), 4, '3: each instruction has its bit, .* use 4'),
]


@pytest.mark.parametrize('task, shortest, sentence', SHORTEST)
def test_shortest_lengths(task, shortest, sentence):
  assert_shortest(task, shortest, sentence)
  start = f'length must be .*{shortest}, got {shortest - 1}: '
  with pytest.raises(ValueError, match=start):
    task.check(shortest - 1)


def test_flip_flop_needs_an_even_length():
  with pytest.raises(
    ValueError, match=r'even and at least 4, got 63: .* use 64'
  ):
    tasks.FlipFlop().check(63)
