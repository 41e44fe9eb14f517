"""What an experiment asked and what its seeds answer, for a terminal."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from posexp import component
from posexp.claims import contrasts, format
from posexp.results import plans

# A row of `contrasts.planned`.
Row = Mapping[Any, Any]

# What the better of two runs does, and the unit of the difference.
_BETTER = {
  'token': ('is right more often than', ' points'),
  'exact': ('has more sequences wholly right than', ' points'),
  'order': ('makes fewer order errors than', ' points'),
  'retrieval': ('makes fewer retrieval errors than', ' points'),
  'nats': ('predicts better than', ' nats'),
}
# Of these, less is better.
_ERRORS = ('order', 'retrieval', 'nats')
# What the outlook takes the differences of seeds to be, as a share.
SPREAD = 0.1
# Sizes of a grid that an outlook weighs against the one that was asked for.
MORE_SEEDS = (3, 5, 8, 12, 16, 24, 32)
WIDTH = 78
# Sentences at the end of a launch.
MOST = 5

NOTHING = (
  'nothing to compare: no run has finished, or there is only one of a question'
)
LEGEND = (
  'Intervals hold all at once with 95 % confidence (t intervals, Bonferroni); '
  'p by Holm’s method over the planned comparisons of a question (a task at a '
  'trained length). A difference is claimed where p is at most 0.05. Where it '
  'is not, that does not show that two runs are equal.'
)
EXPLORATORY = (
  'Exploratory: which of these pairs matters was not said before the runs, so '
  'nothing here is a claim. Intervals hold all at once, p by Holm’s method, '
  'over all pairs and lengths of a question. To claim a difference, plan it: '
  'yield a posexp.Contrast from contrasts(runs) in the experiment file, and '
  'train new seeds.'
)


def text(planned: pd.DataFrame) -> str:
  """Return the planned contrasts: disagreements, claims, ties, gaps.

  Args:
    planned: as `contrasts.planned` gives it.
  """
  if planned.empty:
    return NOTHING
  questions = planned.groupby(contrasts.QUESTION, sort=False)
  blocks = [
    '\n'.join(_block(group.to_dict('records'))) for _, group in questions
  ]
  return '\n\n'.join([*blocks, textwrap.fill(LEGEND, WIDTH)])


def summary(planned: pd.DataFrame, workdir: str) -> str:
  """Return what can be claimed in a few sentences, for the end of a launch.

  Args:
    planned: as `contrasts.planned` gives it.
    workdir: as the command line takes it.
  """
  rows = planned.to_dict('records')
  if not rows:
    return f'{NOTHING}\n'
  lines = [disagreement(row) for row in rows if row['disagree']] + claims(rows)
  more = f'posexp compare {workdir}'
  count = _count(len(rows), 'planned comparison')
  if not lines:
    return f'Claimed: none of {count} ({more}).\n'
  if len(lines) > MOST:
    lines[MOST:] = [f'and {len(lines) - MOST} more.']
  head = f'Claimed of {count} ({more}):'
  return '\n'.join([head, *map(_item, lines)]) + '\n'


def _block(rows: Sequence[Row]) -> Iterator[str]:
  """Yield the lines on one question."""
  count = _count(len(rows), 'planned comparison')
  trained = f'trained at {rows[0]["trained_length"]:,} tokens'
  yield f'{rows[0]["task"]}, {trained}: {count}'
  if all(row['why'] for row in rows):
    yield '  None of them could be made, so nothing can be claimed:'
  parts = {
    'Which seeds learned the task is part of the answer:': [
      disagreement(row) for row in rows if row['disagree']
    ],
    'Claimed:': claims(rows),
    'At the best learning rate of each scheme:': survivals(rows),
    'Not claimed:': [
      tie(row) for row in rows if not row['claimed'] and not row['why']
    ],
    'Not compared:': [not_compared(row) for row in rows if row['why']],
  }
  for title, lines in parts.items():
    if lines:
      yield f'  {title}'
    yield from map(_item, lines)


def _item(line: str) -> str:
  """Return a sentence as an item of a list."""
  return textwrap.fill(
    line,
    WIDTH,
    initial_indent='  - ',
    subsequent_indent='    ',
    break_on_hyphens=False,
  )


def claims(rows: Iterable[Row]) -> list[str]:
  """Return a sentence for each claimed difference, the largest first."""
  claimed = [row for row in rows if row['claimed']]
  claimed.sort(key=lambda row: -abs(row['effect']))
  return [f'{claim(row)}.' for row in claimed]


def survivals(rows: Sequence[Row]) -> list[str]:
  """Return what becomes of each claim at the best rate of each scheme.

  Of the claims whose runs have twins that were tuned, see `posexp.tuned`.
  """
  of_twins = {_question(row): row for row in rows if _tuned(row)}
  lines = []
  for row in rows:
    twin = of_twins.get(_question(row))
    if not row['claimed'] or _tuned(row) or twin is None:
      continue
    fate = 'is not claimed'
    if twin['claimed']:
      same = row['effect'] * twin['effect'] > 0
      fate = 'is claimed, too' if same else 'is reversed'
    found = twin['why'] or numbers(twin)
    lines.append(f'{pair(row)}: the difference {fate} ({found})')
  return lines


def _tuned(row: Row) -> bool:
  """Return whether both runs of a contrast were trained at a tuned rate."""
  return all(plans.TUNED in row[name] for name in ('label', 'baseline'))


def _question(row: Row) -> tuple[Any, ...]:
  """Return what a contrast has in common with that of its tuned twins."""
  names = (plans.untuned(row[name]) for name in ('label', 'baseline'))
  where = (row[c] for c in ('task', 'trained_length', 'length', 'measure'))
  return (*names, *where)


def claim(row: Row) -> str:
  """Return what is claimed of a contrast, from the better run's side."""
  better, worse = row['label'], row['baseline']
  if (row['effect'] < 0) != (row['measure'] in _ERRORS):
    better, worse = worse, better
  verb, _ = _BETTER[row['measure']]
  # A later step of Holm's method is held to less than all intervals together.
  sign = ' (the sign is claimed, no size)' * (row['low'] <= 0 <= row['high'])
  return (
    f'{better} {verb} {worse} at {_at(row)}: {numbers(row, gain=True)}{sign}, '
    f'{_p(row["p"])}{_seeds(row)}'
  )


def tie(row: Row) -> str:
  """Return the difference of a contrast that is not claimed."""
  return f'{pair(row)}: {numbers(row)}, {_p(row["p"])}{_seeds(row)}'


def not_compared(row: Row) -> str:
  """Return why a contrast has no number, and what it is over all seeds."""
  text = f'{pair(row)}: {row["why"]}'
  if row['all_n'] < 2 or row['disagree']:  # Said before.
    return text
  return f'{text}; over all of them {numbers(row, "all_")}'


def pair(row: Row) -> str:
  """Return which runs a contrast compares, and where."""
  measure = '' if row['measure'] == 'token' else f', {row["measure"]}'
  return f'{row["label"]} against {row["baseline"]} at {_at(row)}{measure}'


def disagreement(row: Row) -> str:
  """Return both estimates of a contrast that do not agree."""
  learned = row['why'] or (
    f'{numbers(row)} ({"claimed" if row["claimed"] else "not claimed"})'
  )
  every = 'claimed' if row['all_claimed'] else 'not claimed'
  return (
    f'{pair(row)}: over the {row["n"]} seeds in which both learned the task '
    f'{learned}; over all {row["all_n"]} seeds '
    f'{numbers(row, "all_")} ({every}).'
  )


def numbers(row: Row, prefix: str = '', gain: bool = False) -> str:
  """Return a difference with its interval, run less baseline.

  Args:
    row: of `contrasts.planned`.
    prefix: '' over the seeds that learned the task, 'all_' over all.
    gain: whether it is written as what the better of both gains.
  """
  mean, low, high = (row[f'{prefix}{c}'] for c in ('effect', 'low', 'high'))
  if gain and mean < 0:
    mean, low, high = -mean, -high, -low
  unit = _BETTER[row['measure']][1]
  show = _nats if row['measure'] == 'nats' else format.points
  return format.bracketed(mean, low, high, show, unit)


def _nats(value: float) -> str:
  return f'{value:+.3f}'


def _seeds(row: Row) -> str:
  """Return the seeds, and the estimate over all if some did not learn."""
  if row['n'] == row['all_n']:
    return f', {row["n"]} seeds'
  return (
    f', {row["n"]} of {row["all_n"]} seeds (over all of them '
    f'{numbers(row, "all_")})'
  )


def _p(p: float) -> str:
  return 'p < 0.001' if p < 0.001 else f'p = {p:.2g}'


def _at(row: Row) -> str:
  """Return a length, and how many times the trained one it is."""
  ratio = row['ratio']
  return f'{row["length"]:,} tokens' + (
    f' ({ratio:.3g}x)' if ratio != 1 else ''
  )


def explored(
  pairs: pd.DataFrame, against: str | None = None, length: int | None = None
) -> str:
  """Return all pairs of runs, or those asked for, to explore.

  Args:
    pairs: as `contrasts.pairs` gives them.
    against: only pairs with a run whose label contains this, or matches it.
    length: only pairs at this length, in tokens.

  Raises:
    UserError: if no run has that label, or none was evaluated at the length.
  """
  if pairs.empty:
    return 'nothing to explore: no two runs of a question have learned the task'
  if against is not None:
    labels = dict.fromkeys([*pairs['label'], *pairs['against']])
    chosen = {name for name in labels if component.matches(name, against)}
    if not chosen:
      raise component.UserError(
        f'--against={against!r} matches no run that was compared (there are: '
        f'{"; ".join(labels)}): give one of them, or a part of it'
      )
    pairs = pairs[pairs['label'].isin(chosen) | pairs['against'].isin(chosen)]
  if length is not None:
    lengths = sorted(set(pairs['length']))
    if length not in lengths:
      raise component.UserError(
        f'--length={length}: no two runs were evaluated at that length (but '
        f'at {", ".join(map(str, lengths))}): give one of these, or evaluate '
        'the runs there with `posexp evaluate`'
      )
    pairs = pairs[pairs['length'] == length]
  lines = [textwrap.fill(EXPLORATORY, WIDTH)]
  keys = [*contrasts.QUESTION, 'length']
  for (task, trained, at), group in pairs.groupby(keys, sort=False):
    lines.append(f'\n{task}, trained at {trained:,} tokens, at {at:,} tokens')
    lines += [_explored(row) for row in group.to_dict('records')]
  return '\n'.join(lines)


def _explored(row: Row) -> str:
  names = f'  {row["label"]} against {row["against"]}'
  if row['n'] < 2:
    return f'{names}: too few seeds'
  ends = row['effect'], row['low'], row['high']
  gap = format.bracketed(*ends, format.points, ' points')
  return f'{names}: {gap}, {_p(row["p"])}'


def outlook(planned: Iterable[plans.Contrast], seeds: Mapping[str, int]) -> str:
  """Return what so many seeds can show of what was planned, before a launch.

  Args:
    planned: what the launch asks.
    seeds: how many each run has, by digest.
  """
  questions: dict[plans.Question, list[plans.Contrast]] = {}
  for contrast in planned:
    questions.setdefault(contrast.question, []).append(contrast)
  if not questions:
    return 'nothing is compared: there is one run of each question'
  lines = []
  for (task, _), asked in questions.items():
    fewest = min(seeds[digest] for c in asked for digest in c.digests)
    sentence = f'{task}: {prospect(len(asked), fewest)}'
    lines.append(textwrap.fill(sentence, WIDTH, subsequent_indent='  '))
  return '\n'.join(lines)


def prospect(comparisons: int, seeds: int) -> str:
  """Return what so many seeds can show in so many comparisons, as a sentence.

  >>> prospect(5, 3).split(': ')[1]
  'so few seeds can claim no difference at all; take 5 seeds.'
  """
  have = f'{_count(comparisons, "planned comparison")}, {seeds} seeds'
  if seeds < 2:
    return (
      f'{have[:-1]}: one seed shows no difference; give more, as with '
      '--seeds=0,1,2,3,4.'
    )
  least = contrasts.detectable(seeds, comparisons) * SPREAD
  more = {
    n: contrasts.detectable(n, comparisons) * SPREAD
    for n in MORE_SEEDS
    if n > seeds
  }
  enough = {n: points for n, points in more.items() if points <= 1}
  if least > 1:
    remedy = f'take {min(enough)} seeds' if enough else 'plan fewer comparisons'
    return f'{have}: so few seeds can claim no difference at all; {remedy}.'
  better = ''
  if enough:
    n = min(enough)
    better = f' With {n} seeds, {_points(enough[n])} points.'
  return (
    f'{have}: a difference of {_points(least)} points is likely to be found '
    f'(four times in five, if it varies by {_points(SPREAD)} points from seed '
    f'to seed).{better}'
  )


def _points(share: float) -> str:
  return f'{100 * share:.0f}'


def listing(planned: Iterable[plans.Contrast]) -> str:
  """Return every planned contrast, a line for two runs."""
  lengths: dict[tuple[str, ...], list[int]] = {}
  for c in planned:
    key = (c.task, c.label, c.baseline, c.measure)
    lengths.setdefault(key, []).append(c.length)
  lines = []
  for (_, label, baseline, measure), at in lengths.items():
    tokens = format.listed([f'{n:,}' for n in sorted(at)], 'and')
    what = '' if measure == 'token' else f', {measure}'
    lines.append(f'  {label} against {baseline} at {tokens} tokens{what}')
  return '\n'.join(lines)


def _count(number: int, noun: str) -> str:
  return f'{number} {noun}{"s" * (number != 1)}'
