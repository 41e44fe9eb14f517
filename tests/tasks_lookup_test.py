"""Tasks that look up by place, attach, sort and count, against plain Python."""

import functools
import itertools

import jax
import numpy as np
import pytest

from posexp import tasks
from tests.tasks_balance_test import chi_square
from tests.tasks_values_test import QUICK, draw
from tests.tasks_values_test import test_against_plain_python as compare

SEP = 0
PAD, COPY_SEP, EOS = 0, 1, 2  # of Sort and RepeatToken


def questions(tokens, width):
  """The body of a sequence and its questions, with where the answers are."""
  sep = tokens.index(SEP)
  starts = range(sep + 1, len(tokens), width)
  return tokens[:sep], [
    (query, tokens[t : t + width - 1], t + width - 1)
    for query, t in enumerate(starts)
  ]


def attachment(tokens, *, symbols):
  """What is asked in a sequence, by position: (token, foils, strata)."""
  body, asks = questions(tokens, 2)
  heads = [t for t, x in enumerate(body) if 3 <= x < 3 + symbols]
  asked = {}
  for query, (modifier,), t in asks:
    assert body.count(modifier) == 1
    place = body.index(modifier)
    near = {1: 0, 2: 1}[body[place - 1]]
    candidates = [h for h in heads if h < place][-2:]
    right, other = candidates[near], candidates[1 - near]
    strata = {
      'gap': place - right,
      'distance': t - right,
      'near': near,
      'query': query,
    }
    asked[t] = body[right], [body[other]], strata
  return asked


def places(body, right, *others):
  """The token at a place, and the foils that stand at other places."""
  foils = [body[p] if 0 <= p < len(body) else -1 for p in others]
  return body[right], [-1 if f == body[right] else f for f in foils]


def beside(tokens, *, side):
  body, asks = questions(tokens, 3)
  asked = {}
  for query, (anchor, k), t in asks:
    assert body.count(anchor) == 1
    at = body.index(anchor)
    right = at + side * k
    token, foils = places(
      body, right, at + side * (k - 1), at + side * (k + 1), at - side * k
    )
    strata = {'offset': k, 'distance': t - right, 'query': query}
    asked[t] = token, foils, strata
  return asked


def index_lookup(tokens):
  body, asks = questions(tokens, 2)
  asked = {}
  for query, (index_token,), t in asks:
    k = index_token - 1
    strata = {'index': k, 'distance': t - k, 'query': query}
    asked[t] = *places(body, k, k - 1, k + 1), strata
  return asked


def sort(tokens):
  sep = tokens.index(COPY_SEP)
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
  sep = tokens.index(COPY_SEP)
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


ATTACHMENT = tasks.Attachment(symbols=12, queries=3, distractors=2, filler=5)
SIDES = {'symbols': 5, 'queries': 3, 'offsets': (1, 3), 'most': 6}
CASES = [
  (ATTACHMENT, 45, functools.partial(attachment, symbols=12)),
  (tasks.LookupLeft(**SIDES), 40, functools.partial(beside, side=-1)),
  (tasks.LookupRight(**SIDES), 40, functools.partial(beside, side=1)),
  (tasks.IndexLookup(symbols=5, high=15, most=15), 32, index_lookup),
  (tasks.IndexLookup(symbols=5, queries=3, low=6, high=9), 32, index_lookup),
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


@functools.cache
def many(task, length, number=4096):
  sample = jax.jit(
    task.sample, static_argnames=('length', 'batch'), compiler_options=QUICK
  )
  drawn = sample(jax.random.key(5), length=length, batch=number)
  return jax.tree.map(np.asarray, drawn)


def stratum(batch, name):
  """A stratum of all the targets, B x Q."""
  number = len(batch.tokens_BxL)
  return batch.strata[name][batch.targets_BxL].reshape(number, -1)


def assert_uniform(*values, cells):
  """All combinations that there are come equally often, and there are all."""
  _, counts = np.unique(np.stack(values), axis=1, return_counts=True)
  assert counts.size == cells
  assert chi_square(counts, values[0].size / cells) < 5


def test_attachment_bodies():
  for tokens in draw(ATTACHMENT, 45).tokens_BxL.tolist():
    body = tokens[: tokens.index(SEP)]
    told = [x for x in body if x < 27]
    assert len(told) == 20 and len(body) == 38
    heads = told[0::4] + told[1::4]
    assert all(3 <= x < 15 for x in heads) and len(set(heads)) == 10
    assert set(told[2::4]) <= {1, 2}
    assert all(15 <= x < 27 for x in told[3::4])
    assert len({*told[3::4]}) == 5
    for modifier in told[3::4]:
      assert body[body.index(modifier) - 1] in (1, 2)


def test_attachment_has_every_arrangement_with_either_marker():
  task = tasks.Attachment(symbols=2, queries=1, distractors=0, filler=1)
  batch = many(task, 10)  # A body of seven: two heads, a pair and three more.
  heads = np.argsort((batch.tokens_BxL[:, :7] - 3) // 2 != 0, stable=True)
  marker = np.argmax(np.isin(batch.tokens_BxL, (1, 2)), axis=1)
  near = stratum(batch, 'near')[:, 0]
  assert_uniform(*np.sort(heads[:, :2]).T, marker, near, cells=20 * 2)


def test_the_nearest_head_is_right_half_of_the_time():
  task, length = tasks.Attachment(), 128
  batch = many(task, length)
  scored_BxL = batch.targets_BxL
  said = task.guesses(np.random.default_rng(0), batch.tokens_BxL, scored_BxL)
  hit_BxQ = (said['recent'] == batch.tokens_BxL)[scored_BxL].reshape(-1, 4)
  np.testing.assert_array_equal(hit_BxQ, stratum(batch, 'near') == 1)
  # So often that k of four questions are of the nearest head: independent.
  law = np.array([1, 4, 6, 4, 1]) / 16 * len(hit_BxQ)
  counts = np.bincount(hit_BxQ.sum(axis=1), minlength=5)
  assert (np.abs(counts - law) < 5 * np.sqrt(law)).all()
  # And at any place of the modifier.
  place_BxQ = stratum(batch, 'distance') - stratum(batch, 'gap')
  r = np.corrcoef(place_BxQ.ravel(), hit_BxQ.ravel())[0, 1]
  assert abs(r) < 5 / np.sqrt(hit_BxQ.size)
  # Both heads of a clause come at large distances and at small ones.
  for near in (0, 1):
    gap = stratum(batch, 'gap')[hit_BxQ == near]
    assert gap.min() == 3 - near and gap.max() > length // 4


def test_the_sides_ask_the_same_of_the_same_body():
  left, right = (draw(task, 40) for task, _, _ in CASES[1:3])
  answers_BxL = left.targets_BxL
  np.testing.assert_array_equal(answers_BxL, right.targets_BxL)
  np.testing.assert_array_equal(
    left.tokens_BxL[~answers_BxL], right.tokens_BxL[~answers_BxL]
  )
  for name in ('offset', 'query'):
    np.testing.assert_array_equal(left.strata[name], right.strata[name])


@pytest.mark.parametrize('task, length, reference', CASES[1:3])
def test_lookup_asks_for_items_and_for_none_twice(task, length, reference):
  del reference
  batch = draw(task, length)
  answer_BxQ = batch.tokens_BxL[batch.targets_BxL].reshape(-1, 3)
  assert answer_BxQ.min() > 6 + 5
  place_BxQ = np.nonzero(batch.targets_BxL)[1].reshape(-1, 3)
  place_BxQ = place_BxQ - stratum(batch, 'distance')
  assert (np.diff(np.sort(place_BxQ)) > 0).all()


def test_lookup_is_uniform_in_offset_and_arrangement():
  task = tasks.LookupRight(symbols=2, queries=2, offsets=(2, 1), most=2)
  length = 1 + 3 * 2 + 11
  batch = many(task, length)
  anchor_BxQ = stratum(batch, 'distance') + stratum(batch, 'offset')
  anchor_BxQ = length - 4 + 3 * stratum(batch, 'query') - anchor_BxQ
  assert anchor_BxQ.min() == 2 and anchor_BxQ.max() == 11 - 3
  # Two of the slots 2, ..., 8, three apart or more, in either order.
  offset_BxQ = stratum(batch, 'offset')
  assert_uniform(*anchor_BxQ.T, *offset_BxQ.T, cells=2 * 10 * 4)


def test_lookup_neighbour_is_right_where_the_offset_is_one():
  for task, length, _ in CASES[1:3]:
    batch = draw(task, length)
    guesses = task.guesses(
      np.random.default_rng(0), batch.tokens_BxL, batch.targets_BxL
    )
    hit = (guesses['recent'] == batch.tokens_BxL)[batch.targets_BxL]
    one = batch.strata['offset'][batch.targets_BxL] == 1
    assert hit[one].all() and hit[~one].mean() < 0.5


def test_indices_are_uniform_and_distinct():
  task = tasks.IndexLookup(symbols=5, queries=3, low=6, high=9)
  batch = many(task, 32)
  assert_uniform(*stratum(batch, 'index').T, cells=6)


def test_indices_do_not_follow_the_length():
  task = tasks.IndexLookup(symbols=5, queries=3, low=6, high=9)
  for length in (32, 64):
    index_BxQ = stratum(many(task, length, 64), 'index')
    assert index_BxQ.min() == 6 and index_BxQ.max() == 8


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
  for task, length, _ in CASES[5:]:
    batch = draw(task, length)
    scored_BxL = batch.targets_BxL & ~batch.ends_BxL
    rng = np.random.default_rng(0)
    said = task.guesses(rng, batch.tokens_BxL, scored_BxL)['bag']
    np.testing.assert_array_equal(
      said[scored_BxL], batch.tokens_BxL[scored_BxL]
    )
