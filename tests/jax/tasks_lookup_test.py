"""Attachment and look-ups by place: against plain Python, and balance."""

import functools

import numpy as np
import pytest

from posexp import tasks
from tests import task_cases
from tests.jax.tasks_balance_test import chi_square
from tests.jax.tasks_values_test import draw
from tests.jax.tasks_values_test import test_against_plain_python as compare

SEP = 0


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


ATTACHMENT = tasks.Attachment(symbols=12, queries=3, distractors=2, filler=5)
SIDES = {'symbols': 5, 'queries': 3, 'offsets': (1, 3), 'most': 6}
CASES = [
  (ATTACHMENT, 45, functools.partial(attachment, symbols=12)),
  (tasks.LookupLeft(**SIDES), 40, functools.partial(beside, side=-1)),
  (tasks.LookupRight(**SIDES), 40, functools.partial(beside, side=1)),
  (tasks.IndexLookup(symbols=5, high=15, most=15), 32, index_lookup),
  (tasks.IndexLookup(symbols=5, queries=3, low=6, high=9), 32, index_lookup),
]


@pytest.mark.parametrize('task, length, reference', CASES)
def test_against_plain_python(task, length, reference):
  compare(task, length, reference)


@functools.cache
def many(task, length, number=4096):
  return task_cases.draw(task, length, number, seed=5)


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


def test_any_clauses_are_asked_about_in_any_order():
  batch = many(ATTACHMENT, 45)
  body_BxN, modifier_BxQ = batch.tokens_BxL[:, :38], batch.tokens_BxL[:, 39::2]
  is_modifier_BxN = (body_BxN >= 15) & (body_BxN < 27)
  told_BxC = body_BxN[is_modifier_BxN].reshape(-1, 5)
  rank_BxQ = (told_BxC[:, None] == modifier_BxQ[:, :, None]).argmax(axis=2)
  assert_uniform(*rank_BxQ.T, cells=5 * 4 * 3)


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


BAD_FIELDS = [
  (tasks.Attachment, {'queries': 0}, 'queries must be at least 1, got 0'),
  (tasks.Attachment, {'distractors': -1}, 'distractors must be at least 0'),
  (
    tasks.Attachment,
    {'symbols': 15},
    'symbols must be at least heads=16, got 15: .* two heads',
  ),
  (tasks.Attachment, {'filler': 0}, 'filler must be at least 1, got 0'),
  (tasks.LookupLeft, {'symbols': 1}, 'symbols must be at least 2, got 1: with'),
  (
    tasks.LookupRight,
    {'symbols': 3},
    'symbols must be at least 4, got 3: 4 queries have an anchor each',
  ),
  (tasks.LookupRight, {'queries': 0}, 'queries must be at least 1, got 0'),
  (tasks.LookupLeft, {'most': 0}, 'most must be at least 1, got 0'),
  (
    tasks.LookupLeft,
    {'offsets': ()},
    r'one or more different numbers, got \(\): ',
  ),
  (
    tasks.LookupLeft,
    {'offsets': 3},
    'offsets must be a tuple, got 3: .* write',
  ),
  (tasks.LookupRight, {'offsets': (2, 2)}, r'got \(2, 2\): write \(1, 2, 3\)'),
  (tasks.LookupRight, {'offsets': (1.0,)}, r'offsets must be an int, got 1\.0'),
  (tasks.LookupLeft, {'offsets': (0, 1)}, 'offsets must be at least 1, got 0'),
  (
    tasks.LookupRight,
    {'offsets': (1, 17)},
    'offsets must be at most most=16, got 17: raise most',
  ),
  (tasks.IndexLookup, {'symbols': 1}, 'symbols must be at least 2, got 1'),
  (tasks.IndexLookup, {'queries': 0}, 'queries must be at least 1, got 0'),
  (tasks.IndexLookup, {'low': -1}, 'low must be at least 0, got -1'),
  (
    tasks.IndexLookup,
    {'low': 8, 'high': 15},
    'high must be at least 16, got 15: 8 queries ask for distinct .* from 8 on',
  ),
  (
    tasks.IndexLookup,
    {'most': 31},
    'most must be at least high=32, got 31: each',
  ),
]


@pytest.mark.parametrize('kind, values, sentence', BAD_FIELDS)
def test_bad_fields(kind, values, sentence):
  task_cases.assert_bad_fields(kind, values, sentence)


# The shortest length of each, and what is said of one less.
SHORTEST = [
  (
    tasks.Attachment(),
    41,
    'length must be at least 41, got 40: a body of 32 tokens.* 4 x 2 tokens',
  ),
  (
    tasks.LookupLeft(),
    37,
    'length must be at least 37, got 36: .* smaller offsets',
  ),
  (
    tasks.LookupRight(queries=1, offsets=(5,)),
    15,
    'at least 15, got 14: .* smaller offsets: no anchor is that near',
  ),
  (
    tasks.IndexLookup(),
    49,
    'length must be at least 49, got 48: a body of 32 .* 8 x 2 tokens .* a '
    'smaller high',
  ),
]


@pytest.mark.parametrize('task, length, sentence', SHORTEST)
def test_lengths(task, length, sentence):
  task_cases.assert_shortest(task, length, sentence)
