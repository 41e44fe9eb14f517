"""What an experiment asks, written down and read again."""

import json

import pytest

from posexp.results import plans
from tests.unit.statistics_test import run, table

TASK = 'Ordering()'


def candidate(digest, parent=None, lengths=(64, 128, 256), **changes):
  fields = {
    'digest': digest,
    'label': f'{digest}()',
    'task': TASK,
    'trained_length': 64,
    'lengths': lengths,
    'parent': parent,
    'again': False,
  }
  return plans.Candidate(**{**fields, **changes})


def pairs(*candidates, **changes):
  """What the default plan compares: run, against and length."""
  return [
    (c.run, c.against, c.length) for c in plans.default(candidates, **changes)
  ]


def test_by_default_runs_meet_the_first_and_retrofits_their_parent():
  runs = candidate('a'), candidate('b'), candidate('c', 'b')
  assert pairs(*runs) == [('b', 'a', 256), ('c', 'b', 256)]


def test_a_baseline_and_a_target_can_be_named():
  runs = candidate('a'), candidate('b'), candidate('c', 'b')
  assert pairs(*runs, baseline='b()', target=128) == [
    ('a', 'b', 128),
    ('a', 'b', 256),
    ('c', 'b', 128),
    ('c', 'b', 256),
  ]
  assert pairs(*runs, target=256) == pairs(*runs)


def test_each_question_is_asked_by_itself():
  other = {'task': 'Copy()'}
  runs = candidate('a'), candidate('b', **other), candidate('c', **other)
  assert pairs(*runs, candidate('d')) == [('d', 'a', 256), ('c', 'b', 256)]
  # A retrofit on another arm of the task has no parent that does it.
  arm = candidate('e', 'a', **other)
  assert pairs(*runs, arm)[-1] == ('e', 'b', 256)


def test_lengths_are_those_of_both_and_one_that_is_evaluated_again_has_none():
  short = candidate('b', lengths=(64, 128))
  again = candidate('c', 'a', lengths=(128, 512), again=True)
  assert pairs(candidate('a'), short, again) == [('b', 'a', 128)]
  assert pairs(candidate('a'), candidate('b', lengths=(32,))) == []


def test_tuned_runs_are_compared_among_themselves():
  tuned = {
    'a2': candidate('a2', label='a() [tuned]', tuned=True),
    'b2': candidate('b2', label='b() [tuned]', tuned=True),
  }
  runs = candidate('a'), tuned['a2'], candidate('b'), tuned['b2']
  assert pairs(*runs) == [('b', 'a', 256), ('b2', 'a2', 256)]
  assert pairs(*runs, baseline='b()') == [('a', 'b', 256), ('a2', 'b2', 256)]


def contrast(one, other, length=128):
  return plans.Contrast(TASK, 64, one, other, length, 'token', one, other)


def test_what_is_written_is_read(tmp_path):
  results = table(run('A()', ((1.0, 0.9),)))
  asked = contrast('a', 'b'), contrast('c', 'b')
  plans.write(tmp_path, asked)
  assert plans.read(tmp_path, results) == asked
  plans.write(tmp_path, asked)
  assert len(list((tmp_path / 'plans').glob('*.json'))) == 1


def test_of_earlier_launches_what_has_finished_counts(tmp_path):
  results = table(*(run(name, ((1.0, 0.9),)) for name in ('A()', 'B()')))
  one, other = dict.fromkeys(results['digest'])
  finished, never = contrast(one, other), contrast('gone', other)
  plans.write(tmp_path, [finished, never])
  newest = contrast('new', one)
  plans.write(tmp_path, [newest])
  assert plans.read(tmp_path, results) == (newest, finished)
  # The earlier one again: it is the newest now.
  plans.write(tmp_path, [finished, never])
  assert plans.read(tmp_path, results) == (finished, never)


def test_without_a_plan_the_default_of_what_is_there(tmp_path):
  parent = run('A()', ((1.0, 0.9),))
  retrofit = run('A() -> B()', ((1.0, 0.9),), parent_digest='A() Ordering()')
  results = table(parent, retrofit)
  (only,) = plans.read(tmp_path, results)
  assert (only.run, only.against) == tuple(
    reversed(list(dict.fromkeys(results['digest'])))
  )
  assert only.length == 128


@pytest.mark.parametrize(
  ('body', 'words'),
  [
    ({'format': plans.FORMAT + 1, 'contrasts': []}, 'update posexp'),
    ({'contrasts': []}, 'cannot be read'),
    ({'format': plans.FORMAT, 'contrasts': [{'run': 'a'}]}, 'cannot be read'),
  ],
)
def test_a_plan_that_cannot_be_read_is_named(tmp_path, body, words):
  path = plans.write(tmp_path, [contrast('a', 'b')])
  path.write_text(json.dumps(body))
  with pytest.raises(ValueError, match=words) as error:
    plans.read(tmp_path, table(run()))
  assert path.name in str(error.value)
