"""The table in a terminal, letter by letter."""

import math
import os
import subprocess
import sys

import pytest

from posexp.reports import tables, text_table
from tests import recorded
from tests.unit.statistics_test import run, table

GOLDEN = """\
Ordering(), trained at 64 tokens, 3 seeds

accuracy, %                     64              128 (2x)        256 (4x)
RoPE()                       100.0 [99, 100]   80.0 [23, 95]   50.0 ±35.4
ALiBi()
  not admitted: 0 of 3 seeds reached 99% at the trained length (mean 70.0%)
T5() [2 of 3 seeds]           99.5 ±0.5        90.0 [14, 99]   84.0 [13, 98]
RoPE() -> RoPE(NTK(4))        88.0 [25, 97]    88.0 [25, 97]      –
(chance)                      50.0             50.0            50.0
(bag of tokens)               62.5                –            62.5

order / retrieval errors, %     64              128 (2x)        256 (4x)
RoPE()                         0.0 /  0.0       5.0 / 15.0     12.5 / 37.5
T5() [2 of 3 seeds]            0.1 /  0.4       2.5 /  7.5      4.0 / 12.0
RoPE() -> RoPE(NTK(4))         3.0 /  9.0       3.0 /  9.0        –

diverged: T5(), seed 2, at step 812

Mean over the seeds that learned the task \
(at least 99% at the trained length)
with its 95% interval: ± half of it, or both ends where it is not symmetric."""


def results():
  t5 = run('T5()', ((1.0, 0.9, 0.8), (0.99, 0.9, 0.88), (0.5, 0.5, 0.5)))
  for row in t5:
    row['diverged'] = 812 if row['seed'] == 2 else -1
  rope = run('RoPE()', ((1, 0.7, 0.5), (1, 0.8, 0.5), (1, 0.9, 0.5)))
  retrofit = run(
    'RoPE() -> RoPE(NTK(4))',
    ((0.88, 0.88),) * 3,
    admitted=True,
    parent='RoPE()',
    parent_digest=rope[0]['digest'],
  )
  alibi = run('ALiBi()', ((0.6, 0.5, 0.5), (0.7, 0.5, 0.5), (0.8, 0.5, 0.5)))
  return rope, alibi, t5, retrofit


def test_the_whole_table():
  shown = table(*results())
  shown['bag'] = shown['length'].map({64: 0.625, 256: 0.625})
  assert tables.text(shown) == GOLDEN


def test_a_terminal_without_unicode_can_show_it(tmp_path):
  recorded.write(tmp_path)
  command = [sys.executable, '-m', 'posexp', 'show', str(tmp_path)]
  environment = os.environ | {'PYTHONIOENCODING': 'ascii'}
  shown = subprocess.run(command, env=environment, capture_output=True)
  assert shown.returncode == 0, shown.stderr
  text = shown.stdout.decode('ascii')
  assert '95% interval: +- half' in text and '?' not in text


def test_perplexity_where_a_task_cannot_be_learned_whole():
  rows = run(
    token=((0.6, 0.5), (0.6, 0.4)), task='Text()', gate=0.4, admitted=True
  )
  for row in rows:
    row['nats'] = 1.0 + 0.1 * row['seed'] + row['length'] / 128
  lines = tables.text(table(rows)).split('\n')
  assert not any(tables.ERRORS in line for line in lines)
  shown = lines[lines.index(next(x for x in lines if 'perplexity' in x)) + 1]
  # exp(1.55) and exp(2.05); half is 12.71 times 0.05 in the exponent.
  ends = '4.71 [2.50, 8.89]', '7.77 [4.12, 14.7]'
  assert shown.split() == ['RoPE()', *' '.join(ends).split()]


def test_a_perplexity_beyond_all_floats_is_infinite():
  rows = run(
    token=((0.6, 0.5), (0.6, 0.4)), task='Text()', gate=0.4, admitted=True
  )
  for row in rows:
    row['nats'] = 800.0 if row['length'] == 64 else 700.0 + 20 * row['seed']
  lines = tables.text(table(rows)).split('\n')
  shown = lines[lines.index(next(x for x in lines if 'perplexity' in x)) + 1]
  # 800 by both seeds, and 710 with an end at 710 - 12.706 * 10 nats.
  ends = 'inf [inf, inf]', 'inf [1.47e+253, inf]'
  assert shown.split() == ['RoPE()', *' '.join(ends).split()]


def test_no_results_is_one_sentence():
  text = tables.text(table())
  assert text == tables.EMPTY and '\n' not in text and '`posexp run' in text


def test_a_block_for_each_task_and_trained_length():
  text = tables.text(
    table(
      run(),
      run(task='Copy()'),
      run('NoPE()', task='Copy()', trained_length=32, digest='x'),
    )
  )
  heads = [line for line in text.split('\n') if 'trained at' in line]
  assert heads == [
    'Ordering(), trained at 64 tokens, 1 seed, so no interval',
    'Copy(), trained at 64 tokens, 1 seed, so no interval',
    'Copy(), trained at 32 tokens, 1 seed, so no interval',
  ]
  legend = tables.LEGEND.format('99%')
  assert text.endswith(legend) and text.count(legend) == 1
  text = tables.text(table(run(), run(task='Text()', gate=0.4123)))
  assert text.endswith(tables.LEGEND.format('99% or 41.2%'))


def test_one_seed_has_no_interval():
  lines = tables.text(table(run())).split('\n')
  assert lines[3].split() == ['RoPE()', '100.0', '80.0']


def test_without_admitted_runs_there_is_no_table_of_errors():
  text = tables.text(table(run(token=((0.5, 0.4),))))
  assert 'not admitted: 0 of 1 seed' in text and tables.ERRORS not in text


def test_different_numbers_of_seeds_are_said():
  text = tables.text(table(run(), run('NoPE()', ((1.0, 0.5),) * 3)))
  assert text.startswith('Ordering(), trained at 64 tokens, 1 to 3 seeds\n')


@pytest.mark.parametrize('number', [4, 9])
def test_lines_fit_a_terminal(number):
  """However many lengths there are, and even beside the longest label."""
  values = tuple(1.0 for _ in range(number))
  name = 'RoPE() -> RoPE(NTKByParts(4, alpha=2)) + ALiBi()'
  lost = tuple(0.9 for _ in range(number))
  text = tables.text(
    table(
      run(name, (values,) * 3),
      run('RoPE(base=27) + AnotherOfTheUsersOwn()', (lost,) * 3),
    )
  )
  lines = text.split('\n')
  assert max(map(len, lines)) <= text_table.WIDTH
  # Every length is a column of both tables, once.
  words = text.split()
  for power in range(number):
    assert words.count(str(64 * 2**power)) >= 2
  for head in (tables.ACCURACY, tables.ERRORS):
    assert sum(line.startswith(head) for line in lines) == -(-number // 3)
  # The long label stands alone, its numbers below it.
  at = lines.index(name)
  assert lines[at + 1].split()[:3] == ['100.0', '[99,', '100]']


def test_a_retrofit_does_not_repeat_that_its_parent_diverged():
  parent = run('RoPE()', diverged=7)
  child = run('RoPE() -> NoPE()', diverged=7, parent_digest='RoPE() Ordering()')
  text = tables.text(table(parent, child))
  assert text.count('diverged') == 1
  assert 'diverged: RoPE(), seed 0, at step 7' in text
  alone = tables.text(table(child))
  assert 'diverged: RoPE() -> NoPE(), seed 0, at step 7' in alone


def test_answers_that_are_not_a_number_are_told_with_seed_and_length():
  rows = run('RoPE()', ((1.0, 0.9), (1.0, 0.9)))
  (row,) = [r for r in rows if r['seed'] == 1 and r['length'] == 128]
  row |= {'token': 0.25, 'order': math.nan, 'retrieval': math.nan}
  row |= {'unanswered': 0.5}
  lines = tables.text(table(rows)).splitlines()
  assert [line for line in lines if line.startswith('diverged')] == [
    'diverged: RoPE(), seed 1, at 128 tokens: 50.0% of the answers are not a '
    'number, and count as not right'
  ]
