"""Intervals against SciPy's own, and the rule of what is averaged."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from posexp.claims import intervals
from posexp.results import records


def run(name='RoPE()', token=((1.0, 0.8),), **changes):
  """Rows of a run: the token accuracy of each seed at lengths 64, 128, ...

  Of the errors, a quarter are order errors.
  """
  task = changes.get('task', 'Ordering()')
  same = {
    'digest': f'{name} {task}',
    'name': f'{task.split("(")[0]}: {name}',
    'task': task,
    'scheme': name.split(' -> ')[-1],
    'parent': '',
    'parent_digest': '',
    'trained_length': 64,
    'chance': 0.5,
    'gate': 0.99,
    'bag': math.nan,
    'recent': math.nan,
    'targets': 100,
    'parameters': 1000,
    'steps': 20,
    'diverged': -1,
    'reevaluation': False,
  }
  rows = []
  for seed, by_length in enumerate(token):
    for power, value in enumerate(by_length):
      order = 0.25 * (1 - value)
      result = {
        'seed': seed,
        'length': 64 * 2**power,
        'ratio': float(2**power),
        'exact': value**2,
        'token': value,
        'order': order,
        'retrieval': 1 - value - order,
        'unanswered': 0.0,
        'first_error': 1.0,
        'end': math.nan,
        'admitted': by_length[0] >= 0.99,
      }
      rows.append({**same, **result, **changes})
  return rows


def table(*runs):
  rows = [row for rows in runs for row in rows]
  return pd.DataFrame(rows, columns=list(records.COLUMNS))


@pytest.mark.parametrize('n', [2, 3, 5, 30])
@pytest.mark.parametrize('confidence', [0.5, 0.9, 0.95, 0.99])
def test_interval_is_that_of_a_t_test(n, confidence):
  values = np.random.default_rng(n).uniform(size=n)
  interval = intervals.interval(values, confidence)
  test = stats.ttest_1samp(values, 0.5).confidence_interval(confidence)
  np.testing.assert_allclose(interval[1:3], test, rtol=0, atol=1e-12)
  assert interval.mean == pytest.approx(values.mean(), abs=1e-15)
  assert interval.n == n


def test_interval_by_hand():
  # s = 0.05, and the quantile of t with 2 degrees of freedom is 4.302653.
  interval = intervals.interval([0.80, 0.90, 0.85])
  half = 4.302653 * 0.05 / math.sqrt(3)
  assert interval.low == pytest.approx(0.85 - half, abs=1e-6)
  assert interval.high == pytest.approx(0.85 + half, abs=1e-6)


def test_interval_covers_the_mean_as_often_as_it_says():
  rng = np.random.default_rng(0)
  sampled = [intervals.interval(rng.normal(size=3), 0.8) for _ in range(2000)]
  covered = sum(i.low <= 0 <= i.high for i in sampled)
  # Four standard errors of a share of 0.8 among 2000.
  assert abs(covered / 2000 - 0.8) < 4 * math.sqrt(0.8 * 0.2 / 2000)


def test_interval_stays_inside_only_where_asked():
  free = intervals.interval([0.9, 1.0])
  inside = intervals.interval([0.9, 1.0], within=intervals.SHARE)
  assert free.high > 1 > inside.high and free.mean == inside.mean
  assert intervals.interval([0.0, 0.1], within=intervals.SHARE).low > 0
  # One that is near no end is Student's; near is 3 % of the range.
  values = [0.4, 0.5, 0.6]
  inside = intervals.interval(values, within=intervals.SHARE)
  assert inside == intervals.interval(values)
  values = [0.95, 0.96, 0.971]
  near = intervals.interval(values, within=intervals.SHARE)
  assert near.low < 0.5 < 0.9 < intervals.interval(values).low
  # There is no bounded one where an end is infinite: it is cut at the other.
  free = intervals.interval([0.1, 0.5])
  cut = intervals.interval([0.1, 0.5], within=(0, math.inf))
  assert free.low < 0 and cut == free._replace(low=0)


def test_interval_of_few_values():
  one = intervals.interval([0.7], within=intervals.SHARE)
  assert (one.mean, one.n) == (0.7, 1)
  assert math.isnan(one.low) and math.isnan(one.high)
  none = intervals.interval([])
  assert none.n == 0 and all(math.isnan(x) for x in none[:3])
  assert intervals.interval([0.5] * 3) == (0.5, 0.5, 0.5, 3)
  # A share has no such interval without a width.
  low, high = intervals.interval([0.1] * 3, within=intervals.SHARE)[1:3]
  assert low < 0.1 < high


def test_a_nan_is_not_dropped():
  interval = intervals.interval([0.5, math.nan, 0.7], within=intervals.SHARE)
  assert all(math.isnan(x) for x in interval[:3]) and interval.n == 3


@pytest.mark.parametrize('confidence', [0, 1, 95, math.nan])
def test_confidence_is_a_share(confidence):
  with pytest.raises(ValueError, match=f'got {confidence}: 0.95 is 95 %'):
    intervals.interval([0.1, 0.2], confidence)


@pytest.mark.parametrize('confidence', [0.5, 0.95, 0.99])
def test_median_interval_leaves_out_what_coin_tosses_allow(confidence):
  for n in range(1, 25):
    values = np.random.default_rng(n).permutation(n) * 1.0
    median = intervals.median(values, confidence)
    assert median.median == (n - 1) / 2 and median.n == n
    # P(fewer than k of n tosses are heads), by counting.
    below = [sum(math.comb(n, i) for i in range(k)) / 2**n for k in range(n)]
    fitting = [k for k in range(1, n) if below[k] <= (1 - confidence) / 2]
    if not fitting:
      assert math.isnan(median.low) and math.isnan(median.high)
      continue
    # Values are 0 to n - 1, so that the k-th smallest is k - 1.
    assert (median.low, median.high) == (fitting[-1] - 1, n - fitting[-1])


def test_median_interval_covers_a_skewed_median_as_often_as_it_says():
  rng = np.random.default_rng(0)
  sampled = [intervals.median(rng.exponential(size=15)) for _ in range(2000)]
  covered = np.mean([m.low <= math.log(2) <= m.high for m in sampled])
  # By the binomial 0.965, with a standard error of 0.004.
  assert abs(covered - 0.965) < 0.013


def test_median_of_a_nan_or_of_nothing_is_nan():
  for values in ([], [1.0] * 9 + [math.nan]):
    median = intervals.median(values)
    assert all(map(math.isnan, median[:3])) and median.n == len(values)


def test_summary_averages_admitted_seeds_only():
  tokens = ((1.0, 0.8), (0.6, 0.1), (0.99, 0.7))
  summary = intervals.summarize(table(run(token=tokens)))
  assert tuple(summary) == intervals.COLUMNS
  assert summary['length'].tolist() == [64, 128]
  assert summary['ratio'].tolist() == [1, 2]
  assert summary['n_seeds'].tolist() == [3, 3]
  assert summary['n_admitted'].tolist() == [2, 2]
  far = summary.iloc[1]
  assert far['token'] == pytest.approx(0.75)
  assert far['exact'] == pytest.approx((0.64 + 0.49) / 2)
  assert far['order'] == pytest.approx((0.05 + 0.075) / 2)
  assert far['retrieval'] == pytest.approx((0.15 + 0.225) / 2)
  ends = intervals.interval([0.8, 0.7], within=intervals.SHARE)[1:3]
  assert tuple(far[['token_low', 'token_high']]) == ends
  assert far['in_distribution'] == pytest.approx((1 + 0.6 + 0.99) / 3)


def test_what_a_gate_let_pass_is_bounded_by_it():
  """Of a root at the trained length, not elsewhere and of no retrofit."""
  tokens = ((1.0, 1.0), (0.998, 0.998), (0.996, 0.996))
  root = run('A()', tokens)
  others = {'parent': 'A()', 'parent_digest': root[0]['digest']}
  again = run('A()', tokens, digest='again', reevaluation=True, **others)
  windows = run('A() in windows', tokens, reevaluation=True, **others)
  retrofit = run('A() -> B()', tokens, **others)
  summary = intervals.summarize(table(root, again, windows, retrofit))
  summary = summary.set_index(['digest', 'length'])
  values = [row[0] for row in tokens]
  gated = intervals.interval(values, within=(0.99, 1))
  free = intervals.interval(values, within=intervals.SHARE)
  assert gated.low > 0.99 and free.low < 0.3
  for digest in summary.index.unique(0):
    passed = digest in (root[0]['digest'], 'again')
    for length in (64, 128):
      cell = summary.loc[digest, length]
      wanted = gated if passed and length == 64 else free
      ends = 'token', 'token_low', 'token_high'
      assert tuple(cell[list(ends)]) == pytest.approx(wanted[:3])
      # Errors are what accuracy leaves.
      most = 0.01 if passed and length == 64 else 1
      order = intervals.interval(
        [0.25 * (1 - value) for value in values], within=(0, most)
      )
      ends = 'order_low', 'order_high'
      assert tuple(cell[list(ends)]) == pytest.approx(order[1:3])
  # A seed beyond the gate, as one that was measured on other examples may be.
  cell = intervals.summarize(
    table(run(token=((0.985,), (1.0,)), admitted=True))
  )
  low = intervals.interval([0.985, 1.0], within=(0.985, 1)).low
  assert cell['token_low'].tolist() == pytest.approx([low])


def test_summary_of_a_run_that_was_not_admitted():
  summary = intervals.summarize(table(run(token=((0.9, 0.8), (0.8, 0.7)))))
  assert summary['n_admitted'].tolist() == [0, 0]
  measures = [c for c in summary if c.split('_')[0] in intervals.MEASURES]
  assert len(measures) == 15
  assert summary[measures].isna().all(axis=None)
  assert summary['in_distribution'].tolist() == pytest.approx([0.85, 0.85])


def test_summary_without_the_trained_length():
  results = table(run(token=((0.5, 0.4),)))
  far = intervals.summarize(results[results['length'] > 64])
  assert far['in_distribution'].isna().tolist() == [True]


def test_summary_keeps_the_order_of_runs_and_sorts_lengths():
  results = table(run('RoPE()'), run('ALiBi()'), run('NoPE()'))
  shuffled = results.iloc[[1, 0, 2, 3, 5, 4]]
  summary = intervals.summarize(shuffled)
  assert summary['label'].tolist() == [
    *('RoPE()', 'RoPE()', 'ALiBi()', 'ALiBi()', 'NoPE()', 'NoPE()')
  ]
  assert summary['length'].tolist() == [64, 128] * 3


def test_empty_results_have_an_empty_summary():
  summary = intervals.summarize(table())
  assert summary.empty and tuple(summary) == intervals.COLUMNS


def test_labels_tell_runs_of_one_scheme_apart():
  results = table(
    run('A()', digest='1', steps=1000),
    run('A()', digest='2', steps=20000),
    run('B()', digest='3', parameters=500),
    run('B()', digest='4', parameters=2500),
    run('C()', digest='5'),
    run('C()', digest='6'),
    run('A()', digest='7', task='Copy()'),
    run('A() -> B()', digest='8'),
    run('A()', digest='9', trained_length=128),
  )
  assert list(intervals.labels(results).items()) == [
    ('1', 'A() [1,000 steps]'),
    ('2', 'A() [20,000 steps]'),
    ('3', 'B() [500 parameters]'),
    ('4', 'B() [2,500 parameters]'),
    ('5', 'C() [5]'),
    ('6', 'C() [6]'),
    ('7', 'A()'),
    ('8', 'A() -> B()'),
    ('9', 'A()'),
  ]


def test_not_admitted_says_how_far_it_came():
  def why(**changes):
    return intervals.not_admitted(intervals.summarize(table(run(**changes))))

  two = ((0.9, 0.8), (0.8, 0.7))
  assert why(token=two) == (
    'not admitted: 0 of 2 seeds reached 99% at the trained length (mean 85.0%)'
  )
  assert why(token=two[:1]) == (
    'not admitted: 0 of 1 seed reached 99% at the trained length (mean 90.0%)'
  )
  assert why(token=two, parent='RoPE()') == (
    'not admitted: 0 of 2 seeds of its parent reached 99% at the trained length'
  )
  assert why(token=two, trained_length=32) == (
    'not admitted: 0 of 2 seeds reached 99% at the trained length'
  )
