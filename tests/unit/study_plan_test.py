"""study.json: written once, checked, read again."""

import dataclasses
import json

import pytest

from posexp.studies import plan
from tests import study_made as made


def test_a_study_is_read_as_it_was_written(tmp_path):
  for study in (
    made.regression(variants=('A', 'B'), schedules=('zero-shot', 'adapted')),
    made.choice(adapted=('YaRN',)),
  ):
    where = tmp_path / study.kind
    path = plan.write(where, study)
    assert plan.read(where) == study
    assert list(plan.read(where).lookups) == list(study.lookups)
    before = path.stat()
    assert plan.write(where, study) == path
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert json.loads(path.read_text())['format'] == plan.FORMAT


def test_a_work_directory_holds_one_study(tmp_path):
  study = made.regression()
  plan.write(tmp_path, study)
  larger = dataclasses.replace(study, size='full')
  sentence = r"size 'quick', and .* size 'full': give another .* --workdir"
  with pytest.raises(ValueError, match=sentence):
    plan.write(tmp_path, larger)
  fewer = dataclasses.replace(study, cells=study.cells[:-1])
  with pytest.raises(ValueError, match='of other runs: give another'):
    plan.write(tmp_path, fewer)
  with pytest.raises(ValueError, match=r'regression .* this is a choice study'):
    plan.write(tmp_path, made.choice())
  assert plan.read(tmp_path) == study
  # Better words are no other study.
  words = dataclasses.replace(study, untested=('More.',), question='Which?')
  plan.write(tmp_path, words)
  assert plan.read(tmp_path) == words != study


def test_no_study_names_the_files_that_make_one(tmp_path):
  with pytest.raises(ValueError) as error:
    plan.read(tmp_path)
  for file in plan.FILES.values():
    assert file in str(error.value)


@pytest.mark.parametrize(
  'change',
  [
    lambda text: text[: len(text) // 2],
    lambda text: '[]',
    lambda text: text.replace('"format": 1', '"format": 9'),
    lambda text: text.replace('"gate"', '"gates"'),
    lambda text: text.replace('zero-shot', 'zero shot'),
    lambda text: text.replace('"target": 256', '"target": "256"'),
    lambda text: text.replace('"digest": "0', '"digest": 0, "was": "0', 1),
  ],
)
def test_a_study_that_cannot_be_read_is_a_sentence(tmp_path, change):
  path = plan.write(tmp_path, made.regression())
  text = path.read_text()
  assert change(text) != text
  path.write_text(change(text))
  with pytest.raises(ValueError, match=r'study.json cannot be read .* move it'):
    plan.read(tmp_path)


CELL = {
  'digest': 'a' * 16,
  'regime': 'base 27',
  'option': 'deployed',
  'schedule': 'zero-shot',
  'variant': 'A',
}


@pytest.mark.parametrize(
  'change, sentence',
  [
    ({'variant': 'C'}, "variant of Cell cannot be 'C' .known: , A, B"),
    (
      {'schedule': 'later'},
      "schedule of Cell cannot be 'later' .did you mean adapted",
    ),
    ({'digest': ''}, "digest of Cell must be text, got ''"),
  ],
)
def test_bad_cells(change, sentence):
  with pytest.raises(ValueError, match=sentence):
    plan.Cell(**CELL | change)


@pytest.mark.parametrize(
  'change, sentence',
  [
    (
      {'kind': 'guess'},
      "kind of Study cannot be 'guess' .did you mean regression",
    ),
    (
      {'target': 64},
      'target of Study must be above trained_length=64, got 64: a study',
    ),
    (
      {'trained_length': 1},
      'trained_length of Study must be at least 2, got 1',
    ),
    ({'gate': 0}, 'gate of Study must be .* above 0, got 0: 0.99 is 99 %'),
    ({'tasks': ()}, 'tasks and cells of Study must not be empty, got 0'),
    ({'question': ''}, "question of Study must be text, got ''"),
    ({'lookups': {'bias': (1,)}}, "two numbers from 0 on, got .1,. for 'bias'"),
    ({'cells': ('a',)}, "cells of Study must be of type Cell, got 'a'"),
  ],
)
def test_bad_studies(change, sentence):
  with pytest.raises(ValueError, match=sentence):
    dataclasses.replace(made.regression(), **change)


def test_cells_that_a_kind_does_not_have():
  cell = plan.Cell(**CELL)
  study = made.regression()
  with pytest.raises(ValueError, match=r'stand for .*deployed.* keep one'):
    dataclasses.replace(study, cells=(cell, cell))
  other = dataclasses.replace(cell, option='PI')
  with pytest.raises(
    ValueError, match=r"option of Cell cannot be 'PI' \(known: YaRN, "
  ):
    dataclasses.replace(study, cells=(other,))
  with pytest.raises(ValueError, match="of a choice must be '', got 'A'"):
    dataclasses.replace(made.choice(), cells=(cell,))


def test_groups_are_the_cases_of_a_verdict():
  regimes = ('base 10,000', 'base 27')
  study = made.regression(('A', 'B'), ('zero-shot', 'adapted'), regimes)
  assert study.groups() == [
    (regime, variant, schedule)
    for regime in regimes
    for variant in 'AB'
    for schedule in ('zero-shot', 'adapted')
  ]
  assert made.choice().groups() == [(made.REGIME, '', '')]
