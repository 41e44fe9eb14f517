"""What Ordering promises about its draws, at fixed keys and stated sigmas."""

import functools

import jax
import numpy as np
import pytest

from posexp import tasks
from posexp.tasks import draw, pairs
from tests import task_cases


@functools.cache
def drawn(task, length, batch):
  """The strata of all the answers of a batch, in one row each."""
  out = task_cases.draw(task, length, batch, seed=11)
  return {
    name: value_BxL[out.targets_BxL] for name, value_BxL in out.strata.items()
  }


def words(*shape):
  rng = np.random.default_rng(0)
  return rng.integers(2**32, size=shape, dtype=np.uint32)


def chi_square(counts, expected):
  """How many standard deviations chi-square is above its mean."""
  counts = np.asarray(counts, float).ravel()
  freedom = counts.size - 1
  value = ((counts - expected) ** 2 / expected).sum()
  return (value - freedom) / np.sqrt(2 * freedom)


def test_one_query_is_uniform_in_gap_and_later_slot_together():
  # With one question nothing is ever rejected, so the law holds exactly.
  length, batch = 36, 8192
  slots = length - 4
  values = drawn(tasks.Ordering(queries=1), length, batch)
  later = length - 1 - values['distance']
  assert values['gap'].min() == 1 and values['gap'].max() == slots // 2
  assert later.min() == slots // 2 and later.max() == slots - 1
  table, _, _ = np.histogram2d(
    values['gap'], later, bins=(np.arange(1, 18), np.arange(16, 33))
  )
  assert chi_square(table.sum(1), batch / 16) < 5
  assert chi_square(table.sum(0), batch / 16) < 5
  assert chi_square(table, batch / 256) < 5


@pytest.mark.parametrize('filler', [0, 8])
def test_many_queries_are_uniform_when_there_is_room(filler):
  length, batch = 512, 2048
  slots, reach = length - 25, (length - 25) // 2
  values = drawn(tasks.Ordering(symbols=512, filler=filler), length, batch)
  slot = length - 22 + 3 * values['query'] - values['distance']
  # Ten bins; 3 % is the share that collisions can move at this length.
  for value, low, high in (
    (values['gap'], 1, reach + 1),
    (slot, reach, slots),
  ):
    counts, edges = np.histogram(value, np.linspace(low, high, 11).astype(int))
    expected = values['gap'].size * np.diff(edges) / (high - low)
    slack = 5 * np.sqrt(expected) + 0.03 * expected
    assert (np.abs(counts - expected) < slack).all()


# (length, bound): 5 sigma of 16,384 questions is .04, to which comes what the
# collisions of 16 slots do: -.05 at the default length, less than .01 beyond.
@pytest.mark.parametrize('length, bound', [(64, 0.09), (512, 0.05)])
@pytest.mark.parametrize('filler', [0, 8])
def test_gap_is_independent_of_everything(length, bound, filler):
  symbols = max(64, length)
  values = drawn(tasks.Ordering(symbols=symbols, filler=filler), length, 2048)
  later = 3 * values['query'] - values['distance']  # up to a constant
  for name, other in {**values, 'later': later}.items():
    if name != 'gap':
      r = np.corrcoef(values['gap'], other)[0, 1]
      assert abs(r) < bound, (name, r)


@pytest.mark.parametrize('filler', [0, 8])
def test_query_number_says_nothing(filler):
  # Those placed last find less room; they are shuffled, so at the shortest
  # length, where it matters most, no query has a gap or slot of its own.
  values = drawn(tasks.Ordering(filler=filler), 57, 4096)
  slot = 3 * values['query'] - values['distance']
  for value in (values['gap'], slot, values['mention']):
    for query in range(8):
      mean = value[values['query'] == query].mean()
      sigma = value.std() / np.sqrt(4096)
      assert abs(mean - value.mean()) < 5 * sigma


@pytest.mark.parametrize(
  'task, name',
  [(tasks.Ordering(), 'mention'), (tasks.Presence(), 'present')],
  ids=['mention', 'present'],
)
def test_coins_are_fair_and_independent(task, name):
  coin_BxQ = drawn(task, 64, 2048)[name].reshape(2048, 8)
  assert abs(coin_BxQ.mean() - 0.5) < 5 * 0.5 / np.sqrt(coin_BxQ.size)
  # The number of ones is binomial: were the coins balanced, always 4.
  count = np.bincount(coin_BxQ.sum(1), minlength=9)
  binomial = np.array([1, 8, 28, 56, 70, 56, 28, 8, 1]) / 256
  assert (np.abs(count - 2048 * binomial) < 5 * np.sqrt(2048 * binomial)).all()


@pytest.mark.parametrize('count, slots', [(1, 3), (8, 16), (8, 24)])
def test_pairs_are_always_valid(count, slots):
  # Far below the room that tasks ask for, so that the fallback is taken.
  place = functools.partial(pairs.draw_pairs, slots=slots)
  out = jax.jit(jax.vmap(place))(words(500, count, pairs.WORDS))
  earlier, later = jax.tree.map(np.asarray, out)
  assert (earlier < later).all() and (earlier >= 0).all()
  assert (later < slots).all()
  both = np.sort(np.concatenate((earlier, later), axis=1))
  assert (np.diff(both) > 0).all()


@pytest.mark.parametrize('count', [1, 2, 256, 257, 1000])
def test_shuffled_is_a_permutation(count):
  order = np.asarray(draw.shuffled(words(count)))
  assert order.dtype == np.int32
  np.testing.assert_array_equal(np.sort(order), np.arange(count))
  assert count < 3 or (order != np.arange(count)).any()


@pytest.mark.parametrize('count', [4, 300])
def test_shuffled_is_uniform(count):
  # The order of items 0 to 3 among all: 24 ways, equally often. 300 items
  # take the other branch.
  order = jax.jit(jax.vmap(draw.shuffled))(words(24 * 200, count))
  where = np.argsort(np.asarray(order), axis=1)[:, :4]
  rank = np.argsort(where, axis=1)
  _, counts = np.unique(rank @ [64, 16, 4, 1], return_counts=True)
  assert counts.size == 24
  assert chi_square(counts, 200) < 5


@pytest.mark.parametrize('weights', [(1, 1e-17), (1, 1e-17, 1e-17), (0, 1)])
def test_a_weight_next_to_nothing_is_one_all_the_same(weights):
  index = draw.choice(words(100), weights)
  assert index.tolist() == [weights.index(1)] * 100


def test_integers_reach_both_ends_and_no_further():
  values = np.asarray(draw.integers(words(4000), 3, 11))
  counts = np.bincount(values)
  assert values.min() == 3 and values.max() == 10
  assert chi_square(counts[3:], 500) < 5
