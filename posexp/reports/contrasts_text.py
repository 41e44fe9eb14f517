"""Comparisons of the runs of a grid, for a terminal: found, and to be found."""

import math
import textwrap
from collections.abc import Iterable
from typing import Any

import pandas as pd

from posexp.claims import contrasts, format

# Sizes of a grid that an outlook weighs against the one that was asked for.
MORE_SEEDS = (3, 5, 8, 12, 16, 24, 32)


def text(compared: pd.DataFrame) -> str:
  """Return what is claimed, then the ties.

  Args:
    compared: as `contrasts.pairs` gives it.
  """
  if compared.empty:
    return 'nothing to compare: fewer than two runs of a question are admitted'
  lines = []
  keys = [*contrasts.QUESTION, 'length']
  for (task, trained, length), group in compared.groupby(keys, sort=False):
    lines.append(f'{task}, trained at {trained}, at {length} tokens')
    claimed = group[group['claimed']]
    lines += [f'  {claim(row)}' for _, row in claimed.iterrows()]
    ties = len(group) - len(claimed)
    lines.append(f'  {ties} of {len(group)} pairs are ties')
  lines.append(
    '[interval], p: paired t tests over seeds, Holm’s correction over all '
    'pairs and lengths of a question (a task at a trained length), 5 %'
  )
  return '\n'.join(lines)


def claim(row: pd.Series) -> str:
  """Return a claimed difference in accuracy, from the better run's side."""
  better, worse = row['label'], row['against']
  low, high = row['low'], row['high']
  if row['effect'] < 0:
    better, worse, low, high = worse, better, -high, -low
  effect = format.bracketed(abs(row['effect']), low, high, unit=' points')
  return (
    f'{better} is right more often than {worse}, by {effect}, '
    f'p = {row["holm"]:.2g} after correction, {row["n"]} seeds'
  )


def planned(runs: Iterable[Any]) -> str:
  """Return the outlook of each question of some planned runs."""
  questions: dict[tuple[str, int], list[Any]] = {}
  for run in runs:
    questions.setdefault((str(run.task), run.trained_length), []).append(run)
  return '\n'.join(
    outlook(
      task,
      len(group),
      len({length for run in group for length in run.lengths}),
      min(len(run.seeds) for run in group),
    )
    for (task, _), group in questions.items()
  )


def outlook(question: str, runs: int, lengths: int, seeds: int) -> str:
  """Return what a question of a grid could show, before any compute.

  >>> print(outlook('Ordering()', 4, 3, 3))
  Ordering(): 18 comparisons (4 runs at 3 lengths)
    3 seeds are likely to detect a difference of 13.9 standard deviations over
    seeds, or 69 points if the standard deviation is 5 points. With 5, 8 and
    12 seeds, it is 3.7, 2.0 and 1.4 standard deviations.
  """
  number = math.comb(runs, 2) * lengths
  if not number:
    return f'{question}: one run, so nothing to compare'
  more = [n for n in MORE_SEEDS if n > seeds][:3]
  others = f'{format.listed([str(n) for n in more], "and")} seeds'
  effects = format.listed(
    [f'{contrasts.detectable(n, number):.1f}' for n in more], 'and'
  )
  if seeds < 2:
    sentences = (
      'One seed cannot show a difference, as it has no interval. '
      f'{others} are likely to detect a difference of {effects} standard '
      'deviations over seeds.'
    )
  else:
    least = contrasts.detectable(seeds, number)
    sentences = (
      f'{seeds} seeds are likely to detect a difference of {least:.1f} '
      f'standard deviations over seeds, or {5 * least:.0f} points if the '
      'standard deviation is 5 points'
    )
    sentences += ' (more than is possible).' if 5 * least > 100 else '.'
    if more:
      sentences += f' With {others}, it is {effects} standard deviations.'
  head = (
    f'{question}: {_count(number, "comparison")} ({_count(runs, "run")} at '
    f'{_count(lengths, "length")})'
  )
  body = textwrap.fill(sentences, 74)
  return f'{head}\n{textwrap.indent(body, "  ")}'


def _count(number: int, noun: str) -> str:
  return f'{number} {noun}{"s" * (number > 1)}'
