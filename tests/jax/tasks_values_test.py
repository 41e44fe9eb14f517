"""Answers, foils and strata against plain Python that reads only the tokens."""

import functools

import numpy as np
import pytest

from posexp import tasks
from tests import task_cases

SEP, ASK, YES, NO = range(4)
COPY_SEP, COPY_EOS = 1, 2


def ordering(tokens):
  """What Ordering asks in a sequence, by position: (token, foils, strata)."""
  sep = tokens.index(SEP)
  body, asked = tokens[:sep], {}
  for query, t in enumerate(range(sep + 1, len(tokens), 3)):
    a, b = tokens[t : t + 2]
    assert body.count(a) == body.count(b) == 1
    first, later = sorted((a, b), key=body.index)
    strata = {
      'gap': body.index(later) - body.index(first),
      'distance': t + 2 - body.index(later),
      'mention': (a, b).index(first),
      'query': query,
    }
    asked[t + 2] = first, [later], strata
  return asked


def presence(tokens):
  sep = tokens.index(SEP)
  body, asked = tokens[:sep], {}
  for query, t in enumerate(range(sep + 1, len(tokens), 3)):
    ask, x = tokens[t : t + 2]
    assert ask == ASK
    strata = {
      'distance': t + 2 - body.index(x) if x in body else -1,
      'present': int(x in body),
      'query': query,
    }
    asked[t + 2] = YES if x in body else NO, [-1], strata
  return asked


def copying(tokens, *, step):
  """Copy for step 1 and Reverse for step -1."""
  sep = tokens.index(COPY_SEP)
  start = sum(token == 0 for token in tokens)
  places = list(range(start, sep))
  asked = {}

  def at(place):  # the source token at a place, or nothing
    return tokens[place] if place in places else None

  for index, place in enumerate(places[::step]):
    t, right, cue = sep + 1 + index, at(place), at(place - step)
    foils = [at(place - step), at(place + step)]
    foils = [-1 if f in (None, right) else f for f in foils]
    same = [p for p in places if cue is not None and at(p - step) == cue]
    strata = {
      'index': index,
      'distance': t - place,
      'ambiguity': len([p for p in same if p != place]),
    }
    asked[t] = right, foils, strata
  t = sep + 1 + len(places)
  if t < len(tokens):
    strata = {'index': len(places), 'distance': -1, 'ambiguity': -1}
    asked[t] = COPY_EOS, [-1, -1], strata
  return asked


def reverse(tokens):
  return copying(tokens, step=-1)


def copy(tokens):
  return copying(tokens, step=1)


CASES = [
  (tasks.Ordering(symbols=64, queries=4), 45, ordering),
  (tasks.Ordering(symbols=64, queries=4, filler=5), 45, ordering),
  (tasks.Ordering(symbols=5, queries=1, filler=1), 9, ordering),
  (tasks.Presence(symbols=64, queries=4), 45, presence),
  (tasks.Presence(symbols=64, queries=4, filler=5), 45, presence),
  (tasks.Copy(symbols=16), 33, copy),
  (tasks.Copy(symbols=16, distinct=False), 33, copy),
  (tasks.Copy(symbols=2, distinct=False, eos=False), 3, copy),
  (tasks.Reverse(symbols=16), 33, reverse),
  (tasks.Reverse(symbols=16, distinct=False), 33, reverse),
  (tasks.Reverse(symbols=3, distinct=False, eos=False), 32, reverse),
]


@functools.cache
def draw(task, length):
  return task_cases.draw(task, length, seed=7)


def assert_as_read(task, length, reference):
  """Answers, foils and strata are those that `reference` reads off tokens."""
  assert_read(draw(task, length), reference)


def assert_read(batch, reference):
  """As `assert_as_read`, of a batch that was drawn."""
  for b, tokens in enumerate(batch.tokens_BxL.tolist()):
    asked = reference(tokens)
    assert np.flatnonzero(batch.targets_BxL[b]).tolist() == sorted(asked)
    for t, (token, foils, strata) in asked.items():
      assert tokens[t] == token
      assert batch.foils_BxLxC[b, t].tolist() == foils
      assert {k: v[b, t] for k, v in batch.strata.items()} == strata


@pytest.mark.parametrize('task, length, reference', CASES)
def test_against_plain_python(task, length, reference):
  assert_as_read(task, length, reference)


@pytest.mark.parametrize('kind', [tasks.Ordering, tasks.Presence])
@pytest.mark.parametrize('filler', [0, 5])
def test_bodies(kind, filler):
  task, length = kind(symbols=64, queries=4, filler=filler), 45
  slots = length - 1 - 3 * 4
  for tokens in draw(task, length).tokens_BxL.tolist():
    assert tokens.index(SEP) == slots
    body = tokens[:slots]
    events = [token for token in body if token < 4 + 64]
    assert min(body) >= 4
    assert len(set(events)) == len(events)
    assert len(events) == (8 if filler else slots)
    # No event is asked about twice, present or absent.
    asked = [t for i, t in enumerate(tokens[slots + 1 :]) if i % 3 < 2]
    asked = [token for token in asked if token != ASK]
    assert len(set(asked)) == len(asked)
    if filler and kind is tasks.Ordering:
      assert set(asked) == set(events)


@pytest.mark.parametrize('filler', [0, 5])
def test_presence_asks_about_the_body_of_ordering(filler):
  fields = {'symbols': 64, 'queries': 4, 'filler': filler}
  order = draw(tasks.Ordering(**fields), 45)
  presence_ = draw(tasks.Presence(**fields), 45)
  sep = 45 - 3 * 4
  np.testing.assert_array_equal(
    order.tokens_BxL[:, :sep], presence_.tokens_BxL[:, :sep]
  )
  # What is present is one of the two that Ordering asks about in that query,
  # now the one and now the other.
  sides = []
  for one, other in zip(order.tokens_BxL, presence_.tokens_BxL):
    for t in range(sep, 45, 3):
      ask, x, answer = other[t : t + 3]
      assert ask == ASK
      assert (x in one[t : t + 2]) == (answer == YES)
      if answer == YES:
        sides.append(x == one[t + 2])
  # 5 sigma of a fair coin over about 128 answers.
  assert abs(np.mean(sides) - 0.5) < 5 * 0.5 / np.sqrt(len(sides))


@pytest.mark.parametrize('kind', [tasks.Copy, tasks.Reverse])
def test_sources(kind):
  distinct = draw(kind(symbols=16), 33).tokens_BxL[:, 1:16]
  assert all(len(set(source)) == 15 for source in distinct.tolist())
  repeats = draw(kind(symbols=16, distinct=False), 33).tokens_BxL[:, 1:16]
  assert any(len(set(source)) < 15 for source in repeats.tolist())
  # Every symbol comes as often as any other, within 5 sigma of a Poisson law.
  for source in (distinct, repeats):
    count_V = np.bincount(source.ravel() - 3, minlength=16)
    mean = source.size / 16
    assert np.abs(count_V - mean).max() < 5 * np.sqrt(mean)
