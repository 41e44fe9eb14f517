"""Addition and Dyck, and the tasks made of tasks, against plain Python."""

import itertools

import numpy as np
import pytest

from posexp import tasks
from tests.jax import tasks_values_test
from tests.jax.tasks_balance_test import chi_square
from tests.task_cases import (
  TABLE,
  assert_bad_fields,
  assert_shortest,
  many,
  scores,
)

PAD, PLUS, EQUALS, EOS = range(4)
SEP = 1


def addition(tokens, *, reverse):
  """What Addition asks in a sequence, by position: (token, foils, strata)."""
  plus, equals = tokens.index(PLUS), tokens.index(EQUALS)
  start = sum(token == PAD for token in tokens)
  step = 1 if reverse else -1
  # Places of the digits, least significant first.
  a_at = list(range(start, plus))[::step]
  b_at = list(range(plus + 1, equals))[::step]
  assert len(a_at) == len(b_at)
  c_at = list(range(equals + 1, equals + 2 + len(a_at)))[::step]
  a, b = (
    int(''.join(str(tokens[t] - 4) for t in at[::-1])) for at in (a_at, b_at)
  )
  right = [4 + int(d) for d in str(a + b).zfill(len(c_at))[::-1]]
  asked = {}
  for place, t in enumerate(c_at):
    foils = [
      right[p] if 0 <= p < len(right) and right[p] != right[place] else -1
      for p in (place - step, place + step)
    ]
    low = 10**place
    chain = 0
    if a % low + b % low >= low:  # Something was carried: from how far?
      chain = 1
      while tokens[a_at[place - chain]] + tokens[b_at[place - chain]] - 8 == 9:
        chain += 1
    strata = {
      'index': t - equals - 1,
      'place': place,
      'carry': chain,
      'distance': t - a_at[place] if place < len(a_at) else -1,
    }
    asked[t] = right[place], foils, strata
  t = equals + 1 + len(c_at)
  if t < len(tokens):
    none = {'index': len(c_at), 'place': -1, 'carry': -1, 'distance': -1}
    asked[t] = EOS, [-1, -1], none
  return asked


def dyck(tokens, *, task):
  """Reads the body with a stack."""
  sep, stack = tokens.index(SEP), []
  for t, token in enumerate(tokens[:sep]):
    if token < 2:
      assert t == 0  # A PAD.
    elif token < 2 + task.kinds:
      stack.append((token + task.kinds, t))
    else:
      assert stack.pop()[0] == token
    assert len(stack) <= task.depth
  assert len(stack) == task.unclosed == len(tokens) - sep - 1
  asked = {}
  for index, (token, place) in enumerate(stack[::-1]):
    t = sep + 1 + index
    depth = len(stack) - index
    above = stack[depth][0] if index else -1
    below = stack[depth - 2][0] if depth > 1 else -1
    foils = [-1 if f == token else f for f in (above, below)]
    strata = {'index': index, 'depth': depth, 'distance': t - place}
    asked[t] = token, foils, strata
  return asked


@pytest.mark.parametrize(
  'name', ['addition', 'addition reverse', 'addition short']
)
def test_addition_against_plain_python(name):
  task, _, batch = many(name)
  tasks_values_test.assert_read(
    batch, lambda t: addition(t, reverse=task.reverse)
  )


@pytest.mark.parametrize('name', ['dyck', 'dyck shallow'])
def test_dyck_against_a_stack(name):
  task, _, batch = many(name)
  tasks_values_test.assert_read(batch, lambda t: dyck(t, task=task))


def test_addition_is_balanced():
  # Two lengths of table tasks: n digits of 1,024 examples each.
  _, length, batch = many('addition')
  count = (length - 4) // 3
  asked = batch.targets_BxL & ~batch.ends_BxL
  body = batch.tokens_BxL[~asked & (batch.tokens_BxL >= 4)]
  assert body.size == 1024 * 2 * count
  assert chi_square(np.bincount(body - 4, minlength=10), body.size / 10) < 5
  # A carry reaches the tens with .45 and others with ever nearer to a half.
  for place in range(count + 1):
    carry = batch.strata['carry'][batch.strata['place'] == place] > 0
    expected = 0.5 - 0.5 * 10.0**-place
    assert abs(carry.mean() - expected) < 5 * 0.5 / np.sqrt(1024), place
  # Nine in ten carries were made one column away, nine in a hundred two.
  chain = batch.strata['carry'][batch.strata['place'] == count]
  far = (chain > 1).sum() / (chain > 0).sum()
  assert abs(far - 0.1) < 5 * 0.3 / np.sqrt((chain > 0).sum())


@pytest.mark.parametrize('reverse', [False, True])
@pytest.mark.parametrize('digits', [1, 2, 3])
def test_chance_of_addition_by_going_through_all_sums(digits, reverse):
  # The best answer to each history of answers is the one most often right.
  number = np.arange(10**digits)
  sums, ways = np.unique(number[:, None] + number[None], return_counts=True)
  texts = [str(c).zfill(digits + 1)[:: -1 if reverse else 1] for c in sums]
  total = 0
  for k in range(digits + 1):
    count = {}
    for text, way in zip(texts, ways):
      said = count.setdefault(text[:k], {})
      said[text[k]] = said.get(text[k], 0) + int(way)
    total += sum(max(said.values()) for said in count.values())
  expected = total / 100**digits / (digits + 1)
  task = tasks.Addition(reverse=reverse)
  for length in range(3 * digits + 4, 3 * digits + 7):
    assert task.chance(length) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize('reverse', [False, True])
def test_casting_out_nines_gives_the_bag_the_last_digit(reverse):
  name = 'addition reverse' if reverse else 'addition'
  task, _, batch = many(name)
  asked_BxL = batch.targets_BxL & ~batch.ends_BxL
  rng = np.random.default_rng(0)
  said_BxL = task.guesses(rng, batch.tokens_BxL, asked_BxL)['bag']
  last = 0 if not reverse else batch.strata['place'].max()
  right = (said_BxL == batch.tokens_BxL)[batch.strata['place'] == last]
  # 0 and 9 leave the same rest; the leading digit is never 9.
  expected = 1.0 if reverse else 0.9
  assert abs(right.mean() - expected) <= 5 * 0.3 / np.sqrt(right.size)
  assert not reverse or right.all()


def test_dyck_is_balanced():
  task, length, batch = many('dyck')
  opens = (batch.tokens_BxL >= 2) & (batch.tokens_BxL < 2 + task.kinds)
  for tokens in (
    batch.tokens_BxL[opens] - 2,
    batch.tokens_BxL[batch.targets_BxL] - 2 - task.kinds,
  ):
    counts = np.bincount(tokens, minlength=task.kinds)
    assert chi_square(counts, tokens.size / task.kinds) < 5
  # Answers are independent of the one before.
  answer_BxU = batch.tokens_BxL[:, -task.unclosed :] - 2 - task.kinds
  pair = task.kinds * answer_BxU[:, :-1] + answer_BxU[:, 1:]
  counts = np.bincount(pair.ravel(), minlength=task.kinds**2)
  assert chi_square(counts, pair.size / task.kinds**2) < 5
  # All ways to split P pairs into u + 1 texts are equally likely: the number
  # of pairs after the innermost open bracket follows from counting them.
  unclosed = task.unclosed
  pairs = (length - 1 - 2 * unclosed) // 2
  inner = (batch.strata['distance'][:, -unclosed] - 2) // 2
  ways = [
    len(list(itertools.combinations_with_replacement(range(unclosed), left)))
    for left in range(pairs, -1, -1)
  ]
  expected = len(inner) * np.array(ways) / sum(ways)
  counts = np.bincount(inner, minlength=pairs + 1)
  assert (np.abs(counts - expected) < 5 * np.sqrt(expected) + 1).all()


def test_dyck_uses_the_depth_that_it_is_given():
  # 1,024 bodies of 19 slots: folded walks reach the cap, and none beyond it.
  task, _, batch = many('dyck shallow')
  step_BxL = np.select(
    [batch.tokens_BxL < 2, batch.tokens_BxL < 2 + task.kinds], [0, 1], -1
  )
  height_BxL = np.cumsum(step_BxL, axis=1)
  reached = np.bincount(height_BxL.max(axis=1), minlength=task.depth + 1)
  assert reached[task.depth] > 100 and reached.size == task.depth + 1


def test_brackets_are_found_in_the_opened_order_or_its_reverse():
  # 'recent' is the trap that a text of few pairs sets: it must not be enough.
  hits, _ = scores(*TABLE['dyck'])
  assert 1 / 4 < hits['recent'] < hits['bag'] < 0.75


BAD_FIELDS = [
  (tasks.Addition, {'reverse': 1}, 'reverse must be True or False, got 1:'),
  (tasks.Addition, {'eos': 'no'}, "eos must be True or False, got 'no':"),
  (tasks.Dyck, {'kinds': 1}, 'kinds must be at least 2, got 1: with one'),
  (tasks.Dyck, {'unclosed': 0}, 'unclosed must be at least 1, got 0: leave'),
  (
    tasks.Dyck,
    {'depth': 4},
    'depth must be above unclosed=4, got 4: .* stays open; .* lower unclosed',
  ),
]


@pytest.mark.parametrize('kind, values, sentence', BAD_FIELDS)
def test_bad_fields(kind, values, sentence):
  assert_bad_fields(kind, values, sentence)


SHORTEST = [
  (tasks.Addition(), 7, 'length must be at least 7, got 6: .* and EOS must'),
  (tasks.Addition(eos=False), 6, 'length must be at least 6, got 5: two'),
  (
    tasks.Dyck(),
    11,
    'length must be at least 11, got 10: 4 unclosed brackets, SEP',
  ),
]


@pytest.mark.parametrize('task, length, sentence', SHORTEST)
def test_the_shortest_length(task, length, sentence):
  assert_shortest(task, length, sentence)
