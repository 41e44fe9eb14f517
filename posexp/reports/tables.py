"""Results as text for a terminal: accuracy by length, then kinds of error."""

import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pandas as pd

from posexp.claims import format as format_lib
from posexp.claims import intervals
from posexp.reports import text_table
from posexp.results import records

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
  'length)\nwith its 95% interval: ± half of it, or both ends where it is not '
  'symmetric.'
)


def text(results: pd.DataFrame) -> str:
  """Return the results of `records.load` as a table for a terminal.

  One block a task and trained length: the accuracy of every run at every
  length, in percent with its interval, then what the errors
  were, or, for a task that cannot be learned whole (a gate of its own),
  perplexity. A run that no seed learned shows how far it came and nothing
  beyond. What was evaluated again stands in the row of its run, above the
  number of targets.
  """
  if results.empty:
    return EMPTY
  joined = intervals.joined(results)
  summary = intervals.summarize(joined)
  # Weights that were evaluated again may be so on fewer examples.
  counted = bool(results['reevaluation'].any())
  blocks = []
  for _, group in summary.groupby(['task', 'trained_length'], sort=False):
    rows = joined[joined['digest'].isin(group['digest'])]
    blocks.append('\n\n'.join(_block(group, rows, counted)))
  gates = ' or '.join(map(format_lib.gate, results['gate'].unique()))
  return '\n\n'.join([*blocks, LEGEND.format(gates)])


def _block(
  group: pd.DataFrame, results: pd.DataFrame, counted: bool
) -> Iterator[str]:
  """Yield the parts of one task, with numbers of targets if they count."""
  yield _header(group)
  by_length = group.drop_duplicates('length').set_index('length').sort_index()
  heads = [*map(_head, by_length.index, by_length['ratio'])]
  rows = [(ACCURACY, *heads), *_rows(group, by_length.index, _accuracy)]
  for column, name in BASELINES.items():
    if by_length[column].notna().any():
      rows.append((f'({name})', *map(_percent, by_length[column])))
  if counted:
    targets = (_targets(results, length) for length in by_length.index)
    rows.append(('(targets a seed)', *targets))
  learned = group.groupby('digest')['n_admitted'].transform('max') > 0
  if learned.any():
    name, show = ERRORS, _errors
    if group['gate'].iloc[0] != records.GATE:
      name, show = PERPLEXITY, _perplexity
    below = _rows(group[learned], by_length.index, show)
    rows += [(), (name, *heads), *below]
  yield text_table.table(rows, align='<<')
  if lost := [*_diverged(results), *_without_numbers(results)]:
    yield '\n'.join(lost)


def _rows(
  group: pd.DataFrame, lengths: pd.Index, show: Callable[[pd.Series], str]
) -> Iterator[tuple[str, ...]]:
  """Yield each run's label, with a cell per length or why there is none."""
  for _, run in group.groupby('digest', sort=False):
    if run['n_admitted'].max() == 0:
      yield run['label'].iloc[0], intervals.not_admitted(run)
      continue
    at_length = run.set_index('length').reindex(lengths)
    cells = (show(row) for _, row in at_length.iterrows())
    yield _title(run), *cells


def _targets(results: pd.DataFrame, length: int) -> str:
  """Return how many targets a seed has at a length, fewest to most."""
  counts = results.loc[results['length'] == length, 'targets']
  ends = dict.fromkeys((counts.min(), counts.max()))
  return '-'.join(f'{n:,}' for n in ends).rjust(5)


def _header(group: pd.DataFrame) -> str:
  """Return what all numbers of a block have in common."""
  least, most = group['n_seeds'].min(), group['n_seeds'].max()
  task, length = group[['task', 'trained_length']].iloc[0]
  seeds = '1 seed, so no interval' if most == 1 else f'{most} seeds'
  several = f'{least} to ' if least < most else ''
  return f'{task}, trained at {length} tokens, {several}{seeds}'


def _head(length: int, ratio: float) -> str:
  times = f'{ratio:.3g}' if ratio < 1000 else f'{ratio:,.0f}'
  return f'{length:>5}' if ratio == 1 else f'{length:>5} ({times}x)'


def _title(run: pd.DataFrame) -> str:
  """Return a run's label, with the seeds that count if not all do."""
  admitted, seeds = run['n_admitted'].max(), run['n_seeds'].max()
  counts = f' [{admitted} of {seeds} seeds]' if admitted < seeds else ''
  return f'{run["label"].iloc[0]}{counts}'


def _percent(share: float) -> str:
  return f'{format_lib.percent(share):>5}'


def _accuracy(row: pd.Series) -> str:
  ends = row['token'], row['token_low'], row['token_high']
  return format_lib.estimate(*ends, width=5)


def _errors(row: pd.Series) -> str:
  if math.isnan(row['order']):
    return _percent(math.nan)
  return f'{_percent(row["order"])} /{_percent(row["retrieval"])}'


def _perplexity(row: pd.Series) -> str:
  nats = [row[f'nats{end}'] for end in ('', '_low', '_high')]
  with np.errstate(over='ignore'):  # More than 709 nats are inf.
    mean, low, high = np.exp(nats).tolist()
  show, between = format_lib.number, _between
  return format_lib.estimate(mean, low, high, show, between, width=6)


def _between(low: float, high: float) -> str:
  return format_lib.ends(low, high, format_lib.significant)


def _diverged(results: pd.DataFrame) -> Iterable[str]:
  """Yield a line for each seed that diverged, but not for its retrofits."""
  names = intervals.labels(results)
  seeds = results.drop_duplicates(['digest', 'seed'])
  of_parent = seeds['parent_digest'].isin(seeds['digest'])
  for _, row in seeds[~of_parent & (seeds['diverged'] >= 0)].iterrows():
    yield (
      f'diverged: {names[row["digest"]]}, seed {row["seed"]}, at step '
      f'{row["diverged"]}'
    )


def _without_numbers(results: pd.DataFrame) -> Iterable[str]:
  """Yield a line for each seed and length at which logits are not finite.

  There a target counts as not right, and as neither kind of error.
  """
  names = intervals.labels(results)
  lost = results[(results['unanswered'] > 0) & (results['diverged'] < 0)]
  for _, row in lost.iterrows():
    yield (
      f'diverged: {names[row["digest"]]}, seed {row["seed"]}, at '
      f'{row["length"]} tokens: {row["unanswered"]:.1%} of the answers are not '
      'a number, and count as not right'
    )


def coverage(table: pd.DataFrame) -> str:
  """Return what runs were evaluated on that training never used, as text.

  Args:
    table: as `records.coverage` gives it; shown are means over seeds.
  """
  if table.empty:
    return 'no coverage here: no finished run, or none that uses position'
  keys = ['name', 'length', 'kind']
  means = table.groupby(keys, sort=False)[['unseen', 'mass']].mean()
  rows = [('run', 'length', 'kind', 'unseen', 'mass')]
  shown = ''
  for row in means.reset_index().to_dict('records'):
    name = '' if row['name'] == shown else row['name']
    shown = row['name']
    shares = f'{row["unseen"]:.1%}', f'{row["mass"]:.1%}'
    rows.append((name, str(row['length']), row['kind'], *shares))
  return '\n'.join(
    (
      text_table.table(rows),
      'unseen: share of phases, distances, buckets or rows unseen in training',
      'mass: share of attention that falls on them',
    )
  )
