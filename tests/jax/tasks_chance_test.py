"""Chance is what no answerer beats that has not seen the order."""

import math

import numpy as np
import pytest

from posexp import tasks
from tests.task_cases import each, many, scores


@each
def test_chance_is_a_probability(task, length):
  assert 0 < task.chance(length) < 1


def test_chance_by_hand():
  assert tasks.Copy(symbols=4).chance(8) == pytest.approx(
    (1 / 4 + 1 / 3 + 1 / 2) / 3
  )
  assert tasks.Reverse(symbols=4, distinct=False).chance(8) == 1 / 4
  assert tasks.Ordering().chance(64) == tasks.Presence().chance(64) == 0.5


@each
def test_a_random_answerer_scores_chance(task, length):
  hits, sigma = scores(task, length)
  assert abs(hits['random'] - task.chance(length)) < 5 * sigma


@each
def test_no_answerer_beats_what_the_design_defends_against(task, length):
  hits, sigma = scores(task, length)
  assert {'random', 'bag'} <= set(hits) and task.defended <= set(hits)
  for name in task.defended:
    bar = task.chance(length)
    if name != 'bag':
      bar = max(bar, hits['bag'])
    assert hits[name] < bar + 5 * sigma, name


def assert_chance(task, length, batch, guess_BxL):
  scored_BxL = batch.targets_BxL & ~batch.ends_BxL
  hit = (guess_BxL == batch.tokens_BxL)[scored_BxL]
  sigma = 0.5 / math.sqrt(hit.size)  # at most, and 5 of them are allowed
  assert abs(hit.mean() - task.chance(length)) < 5 * sigma


def behind(coin_BxL):
  """Whether 1 has come less often than 0 in the answers so far.

  Betting on it wins if the coins of a sequence are balanced.
  """
  lead_BxL = np.cumsum((coin_BxL == 1) * 1 - (coin_BxL == 0) * 1, axis=1)
  return np.roll(lead_BxL, 1, axis=1) < 0


@pytest.mark.parametrize('name', ['ordering', 'ordering spread'])
def test_ordering_without_looking_is_chance(name):
  task, length, batch = many(name)
  a_BxL = np.roll(batch.tokens_BxL, 2, axis=1)
  b_BxL = np.roll(batch.tokens_BxL, 1, axis=1)
  counted_BxL = np.where(behind(batch.strata['mention']), b_BxL, a_BxL)
  for guess_BxL in (a_BxL, b_BxL, np.minimum(a_BxL, b_BxL), counted_BxL):
    assert_chance(task, length, batch, guess_BxL)


@pytest.mark.parametrize('name', ['presence', 'presence spread'])
def test_presence_without_looking_is_chance(name):
  task, length, batch = many(name)
  x_BxL = np.roll(batch.tokens_BxL, 1, axis=1)
  for yes_BxL in (
    np.full_like(x_BxL, True, bool),
    behind(batch.strata['present']),
    x_BxL < 4 + task.symbols // 2,
  ):
    assert_chance(task, length, batch, np.where(yes_BxL, 2, 3))


@pytest.mark.parametrize(
  'name', ['copy', 'copy repeats', 'reverse', 'reverse repeats']
)
def test_copying_without_looking_is_chance(name):
  task, length, batch = many(name)
  guess_BxL = np.full_like(batch.tokens_BxL, -1)
  for b, t in np.argwhere(batch.targets_BxL & ~batch.ends_BxL):
    start = t - batch.strata['index'][b, t]
    said = set(batch.tokens_BxL[b, start:t]) if task.distinct else set()
    guess_BxL[b, t] = min(set(range(3, task.vocabulary)) - said)
  assert_chance(task, length, batch, guess_BxL)
