"""Results as text for a terminal: accuracy by length, then kinds of error."""

import math
from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from posexp.claims import intervals
from posexp.results import records

# Columns of a terminal that a table keeps to.
WIDTH = 100
# A longer label gets a line of its own.
LABEL = 40

ACCURACY = 'accuracy, %'
# Columns of results that a table shows below the runs, and their names there.
BASELINES = {
  'chance': 'chance',
  'bag': 'bag of tokens',
  'recent': 'most recent',
}
ERRORS = 'order / retrieval errors, %'
PERPLEXITY = 'perplexity'

EMPTY = (
  'no results yet: `posexp run FILE` trains the runs of an experiment file '
  'and records them under its work directory'
)
LEGEND = (
  'Mean over the seeds that learned the task (at least {} at the trained '
  'length), ± 95% t interval.'
)


def text(results: pd.DataFrame) -> str:
  """The results of `records.load` as a table for a terminal.

  One block a task and trained length: the accuracy of every run at every
  length, in percent with half of its interval, then what the errors were, or,
  for a task that cannot be learned whole (a gate of its own), perplexity. A
  run that no seed learned shows how far it came and nothing beyond. What was
  evaluated again stands in the row of its run, above the number of targets.
  """
  if results.empty:
    return EMPTY
  together = intervals.joined(results)
  summary = intervals.summarize(together)
  counted = _again(results)
  blocks = []
  for _, group in summary.groupby(['task', 'trained_length'], sort=False):
    rows = together[together['digest'].isin(group['digest'])]
    blocks.append('\n'.join(_block(group, rows, counted)))
  gates = ' or '.join(map(intervals.percent, results['gate'].unique()))
  return '\n\n'.join([*blocks, LEGEND.format(gates)])


def _block(
  group: pd.DataFrame, results: pd.DataFrame, counted: bool
) -> Iterable[str]:
  """The lines of one task, with the numbers of targets if they are counted."""
  runs = [run for _, run in group.groupby('digest', sort=False)]
  titles = {run['digest'].iloc[0]: _title(run) for run in runs}
  wide = min(LABEL, max(len(t) for t in (*titles.values(), ERRORS))) + 2
  yield _header(group)
  lengths = sorted(group['length'].unique())
  ratios = group.drop_duplicates('length').set_index('length')['ratio']
  heads = {n: _head(n, ratios[n]) for n in lengths}
  cell = max(13, 1 + max(len(h) for h in heads.values()))
  fit = max(1, (WIDTH - wide) // cell)
  errors: tuple[str, Callable[[pd.Series], str]] = (ERRORS, _errors)
  if group['gate'].iloc[0] != records.GATE:
    errors = (PERPLEXITY, _perplexity)
  for name, show in ((ACCURACY, _accuracy), errors):
    if show is not _accuracy and group['n_admitted'].max() == 0:
      continue
    for start in range(0, len(lengths), fit):
      shown = lengths[start : start + fit]
      yield ''
      yield _row(name, wide, (heads[n] for n in shown), cell)
      for run in runs:
        title = titles[run['digest'].iloc[0]]
        yield from _lines(title, wide, cell, run, shown, show)
      if show is _accuracy:
        yield from _baselines(group, wide, shown, cell)
        if counted:
          cells = (_targets(results, n) for n in shown)
          yield _row('(targets a seed)', wide, cells, cell)
  if lost := list(_diverged(results)):
    yield from ['', *lost]


def _baselines(
  group: pd.DataFrame, wide: int, lengths: list[int], cell: int
) -> Iterable[str]:
  """What answerers that cannot order would score on the same examples."""
  found = group.drop_duplicates('length').set_index('length')
  for column, name in BASELINES.items():
    scores = [found[column][n] for n in lengths]
    if not all(map(math.isnan, scores)):
      yield _row(f'({name})', wide, map(_percent, scores), cell)


def _again(results: pd.DataFrame) -> bool:
  """Whether weights were evaluated again, maybe on fewer examples."""
  tasks = results.drop_duplicates('digest').set_index('digest')['task']
  same = results['parent_digest'].map(tasks) == results['task']
  same &= results['parent'] == results['scheme']
  return bool((same & (results['steps'] == 0)).any())


def _targets(results: pd.DataFrame, length: int) -> str:
  """How many targets a seed has at a length, from the fewest to the most."""
  counts = results.loc[results['length'] == length, 'targets']
  ends = dict.fromkeys((counts.min(), counts.max()))
  return '-'.join(f'{n:,}' for n in ends).rjust(5)


def _header(group: pd.DataFrame) -> str:
  """What all numbers of a block have in common."""
  least, most = group['n_seeds'].min(), group['n_seeds'].max()
  seeds = _seeds(most) if least == most else f'{least} to {_seeds(most)}'
  task, length = group[['task', 'trained_length']].iloc[0]
  alone = ', so no interval' if most == 1 else ''
  return f'{task}, trained at {length} tokens, {seeds}{alone}'


def _seeds(number: int) -> str:
  return '1 seed' if number == 1 else f'{number} seeds'


def _head(length: int, ratio: float) -> str:
  times = f'{ratio:.3g}' if ratio < 1000 else f'{ratio:,.0f}'
  return f'{length:>5}' if ratio == 1 else f'{length:>5} ({times}x)'


def _title(run: pd.DataFrame) -> str:
  """A run's label, with the seeds that count if not all do."""
  admitted, seeds = run['n_admitted'].max(), run['n_seeds'].max()
  label = run['label'].iloc[0]
  if 0 < admitted < seeds:
    return f'{label} [{admitted} of {seeds} seeds]'
  return label


def _lines(
  title: str,
  wide: int,
  cell: int,
  run: pd.DataFrame,
  lengths: list[int],
  show: Callable[[pd.Series], str],
) -> Iterable[str]:
  """A run's line, after one for its label where that is long."""
  if run['n_admitted'].max() > 0:
    by_length = {row['length']: show(row) for _, row in run.iterrows()}
    cells = [by_length.get(n, '    -') for n in lengths]
  elif show is _accuracy:
    cells = [f' {intervals.not_admitted(run)}']
  else:
    return
  if len(title) > wide - 2:
    yield title
    title = ''
  if wide + len(cells[0]) > WIDTH:
    yield from [title] * bool(title)
    title, wide = '', 2
  yield _row(title, wide, cells, cell)


def _accuracy(row: pd.Series) -> str:
  mean = _percent(row['token'])
  # A cut interval has one short side; the other is the half-width.
  half = max(row['token'] - row['token_low'], row['token_high'] - row['token'])
  return mean if math.isnan(half) else f'{mean} ±{100 * half:.1f}'


def _errors(row: pd.Series) -> str:
  return f'{_percent(row["order"])} /{_percent(row["retrieval"])}'


def _perplexity(row: pd.Series) -> str:
  nats = [row[f'nats{end}'] for end in ('', '_low', '_high')]
  with np.errstate(over='ignore'):  # More than 709 nats are inf.
    mean, low, high = np.exp(nats).tolist()
  half = max(mean - low, high - mean)
  return f'{mean:6.2f}' + ('' if math.isnan(half) else f' ±{half:.2f}')


def _percent(share: float) -> str:
  return '   - ' if math.isnan(share) else f'{100 * share:5.1f}'


def _row(title: str, wide: int, cells: Iterable[str], cell: int) -> str:
  return (f'{title:<{wide}}' + ''.join(f'{c:<{cell}}' for c in cells)).rstrip()


def _diverged(results: pd.DataFrame) -> Iterable[str]:
  """A line for each seed whose training diverged, not for its retrofits."""
  names = intervals.labels(results)
  seeds = results.drop_duplicates(['digest', 'seed'])
  own = ~seeds['parent_digest'].isin(seeds['digest'])
  for _, row in seeds[own & (seeds['diverged'] >= 0)].iterrows():
    yield (
      f'diverged: {names[row["digest"]]}, seed {row["seed"]}, at step '
      f'{row["diverged"]}'
    )


def coverage(table: pd.DataFrame) -> str:
  """What runs were evaluated on that training never used; means over seeds.

  Args:
    table: as `records.coverage` gives it.
  """
  if table.empty:
    return 'no coverage here: no finished run, or none that uses position'
  keys = ['name', 'length', 'kind']
  means = table.groupby(keys, sort=False)[['unseen', 'mass']].mean()
  rows = means.reset_index().to_dict('records')
  wide = max(len(str(name)) for name in table['name'])
  lines = [f'{"run":{wide}}{"length":>8}  {"kind":10}{"unseen":>8}{"mass":>8}']
  last = None
  for row in rows:
    shown, last = ('' if row['name'] == last else row['name']), row['name']
    lines.append(
      f'{shown:{wide}}{row["length"]:>8}  {row["kind"]:10}'
      f'{row["unseen"]:>8.1%}{row["mass"]:>8.1%}'
    )
  lines.append('unseen: share of what is used that training never used')
  lines.append('mass: share of attention that falls there')
  return '\n'.join(lines)
