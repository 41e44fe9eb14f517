"""The records behind a study, as tables; no JAX.

A study admits as `records.admitted` does, task by task: a seed counts in all
cells of a regime if the root of that regime, with that seed, reached the gate
in every task at the trained length, on examples that nothing else uses. No seed
is left out for how it did at another length, or on what is reported.
"""

import datetime
import math
import os
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from posexp import component
from posexp.claims import collapse as collapse_lib
from posexp.claims import timings
from posexp.results import attention_records, records
from posexp.studies import plan

# Targets whose answer lies at most this share of the trained length back.
SHORT = 1 / 8

_TYPES = {
  **dict.fromkeys((*plan.PLACE, 'digest'), 'str'),
  'seed': 'int64',
  'task': 'str',
  'length': 'int64',
  **dict.fromkeys(('token', 'order', 'retrieval', 'short'), 'float64'),
  **dict.fromkeys(('near', 'targets'), 'int64'),
  'admitted': 'bool',
}
COLUMNS = tuple(_TYPES)
_COLLAPSE = {
  'digest': 'str',
  **dict.fromkeys(('length', 'seed'), 'int64'),
  'collapsed': 'bool',
  'why': 'str',
}
_LATENCY = {
  **dict.fromkeys(('digest', 'quantity'), 'str'),
  'length': 'int64',
  **dict.fromkeys(('ratio', 'low', 'high'), 'float64'),
  'same_program': 'bool',
}
# What a user waits for; a training step is none of it.
QUANTITIES = ('decode', 'prefill')


class Evidence(NamedTuple):
  """All that the rules look at.

  Attributes:
    study: what was asked.
    cells: one row a (cell, seed, task, length) with `COLUMNS`: shares token,
      order and retrieval of the targets, and short, the token accuracy at the
      trained length of the targets whose answer is at most an eighth of it
      back (NaN at other lengths, and where there are none).
    collapse: one row a digest, length and seed, with collapsed and why.
    latency: one row a digest and quantity at the longest measured length: the
      ratio to the root, the ends of its interval, and same_program.
    missing: cells whose run has not finished or cannot be read.
    runs: by digest what is kept of a record: scheme, the seeds whose training
      diverged, heads, head_width, seconds, device, versions, written, and
      learned, see `learned`.
    heads: what the heads of the runs do, as `attention_records.load` gives it.
  """

  study: plan.Study
  cells: pd.DataFrame
  collapse: pd.DataFrame
  latency: pd.DataFrame
  missing: tuple[plan.Cell, ...]
  runs: dict[str, dict[str, Any]]
  heads: pd.DataFrame = attention_records.EMPTY


def load(workdir: str | os.PathLike, study: plan.Study) -> Evidence:
  """Return the tables of a study, of what has finished by now."""
  runs, frames, missing = {}, [], []
  for cell in study.cells:
    try:
      record = records.read(workdir, cell.digest)
      if record is None:
        missing.append(cell)
        continue
      frames.append(_table(workdir, study, cell))
    except records.DamagedRecord as error:
      warnings.warn(str(error), stacklevel=2)
      missing.append(cell)
      continue
    runs[cell.digest] = _run(record) | {'learned': learned(record, study)}
  empty = pd.DataFrame(columns=list(COLUMNS)).astype(_TYPES)
  table = pd.concat([empty, *frames], ignore_index=True)
  table['admitted'] = admitted(
    study, table, {digest: run['learned'] for digest, run in runs.items()}
  )
  heads = attention_records.load(workdir, runs)
  return Evidence(
    study=study,
    cells=table.astype(_TYPES),
    collapse=collapse(heads),
    latency=_latency(workdir, study, runs),
    missing=tuple(missing),
    runs=runs,
    heads=heads,
  )


def collapse(heads: pd.DataFrame) -> pd.DataFrame:
  """Return whether attention collapsed: digest, length, seed, collapsed, why.

  A run whose record, or whose root's, has no diagnostics has no rows; neither
  has a seed none of whose heads can be compared.
  """
  rows = []
  for _, table in heads.groupby(['digest', 'length'], sort=False):
    if table.loc[table['distance'].isna(), 'baseline'].isna().all():
      continue
    for verdict in collapse_lib.verdict(table):
      # Where no head can be compared, that none collapsed says nothing.
      compared = any(count.compared for count in verdict.counts)
      if verdict.collapsed or compared:
        rows.append({name: getattr(verdict, name) for name in _COLLAPSE})
  return pd.DataFrame(rows, columns=list(_COLLAPSE)).astype(_COLLAPSE)


def _table(
  workdir: str | os.PathLike, study: plan.Study, cell: plan.Cell
) -> pd.DataFrame:
  """Return the rows of one cell, not yet admitted."""
  targets = records.with_kinds(records.outcomes(workdir, cell.digest))
  if 'task' not in targets:
    targets['task'] = 0  # A run on one task alone has no such stratum.
  if not targets['task'].between(0, len(study.tasks) - 1).all():
    raise component.UserError(
      f'run {cell.digest} has a task of index {targets["task"].max()}, and '
      f'{plan.NAME} names {len(study.tasks)}: name every task of the mixture'
    )
  if 'evidence' in targets:
    near = targets['evidence'].between(1, SHORT * study.trained_length)
    near &= targets['length'] == study.trained_length
    targets['short'] = targets['token'].where(near).astype(float)
  else:
    targets['short'] = float('nan')
  grouped = targets.groupby(['seed', 'task', 'length'])
  means = grouped[[*records.KINDS, 'short']].mean()
  counts = {'near': grouped['short'].count(), 'targets': grouped.size()}
  means = means.assign(**counts).reset_index()
  means['task'] = [study.tasks[n] for n in means['task']]
  place = dict(zip(plan.PLACE, cell.place))
  means = means.assign(digest=cell.digest, admitted=False, **place)
  return means[list(COLUMNS)].astype(_TYPES)


# By seed the least accuracy in a task, NaN where a task was not measured.
Learned = Mapping[int, float]


def learned(record: Mapping[str, Any], study: plan.Study) -> Learned | None:
  """Return what a seed is admitted by, on the examples of the gate.

  None for an older record, whose gate was on the examples that are reported.

  Args:
    record: of a root.
    study: for its tasks.
  """
  if not record.get('gate_examples'):
    return None
  by_task = record.get('learned_by_task') or {
    seed: {'0': accuracy} for seed, accuracy in record['learned'].items()
  }
  least = {}
  for seed, accuracies in by_task.items():
    known = [a for a in accuracies.values() if a is not None]
    # A task without targets there was not learned there.
    whole = len(known) == len(study.tasks)
    least[int(seed)] = min(known) if whole else math.nan
  return least


def admitted(
  study: plan.Study,
  table: pd.DataFrame,
  learned: Mapping[str, Learned | None] | None = None,
) -> pd.Series:
  """Return whether the seed of each row is admitted, by its regime's root.

  Args:
    study: for its gate.
    table: with the rows of the roots.
    learned: by digest of a root, see `learned`; where there is none, the
      accuracy in the table is what counts.
  """
  roots = table[
    (table['option'] == plan.ROOT)
    & (table['schedule'] == 'trained')
    & (table['length'] == study.trained_length)
  ]
  counts: set[tuple[str, int]] = set()
  for _, rows in roots.groupby(['regime', 'digest']):
    regime, digest = (str(rows[name].iloc[0]) for name in ('regime', 'digest'))
    least = (learned or {}).get(digest)
    if least is None:
      tasks = rows.groupby('seed')['token'].agg(['min', 'size'])
      whole = tasks[tasks['size'] == len(study.tasks)]
      least = dict(zip(whole.index.tolist(), whole['min'].tolist()))
    counts |= {(regime, seed) for seed, a in least.items() if a >= study.gate}
  keys = zip(table['regime'], table['seed'])
  return pd.Series([key in counts for key in keys], table.index, dtype=bool)


def _run(record: dict[str, Any]) -> dict[str, Any]:
  """Return what the memo says of a run beside its results."""
  model = record['config']['model']
  return {
    'scheme': record['scheme'],
    'diverged': tuple(
      seed for seed, step in record['diverged'].items() if step >= 0
    ),
    'heads': model['heads'],
    'head_width': model['width'] // model['heads'],
    'seconds': record.get('seconds', {}).get('total'),
    'device': (record.get('device') or {}).get('kind'),
    'versions': record.get('versions', {}),
    'written': datetime.datetime.fromisoformat(record['finished']),
  }


def _latency(
  workdir: str | os.PathLike, study: plan.Study, runs: dict[str, Any]
) -> pd.DataFrame:
  """Return time over that of the root, matched by the text of both schemes.

  What an option costs depends on no base, so that one regime is timed for all.
  """
  measured = timings.load(workdir)
  measured = measured[measured['quantity'].isin(QUANTITIES)]
  texts: dict[str, set[str]] = {}
  # Adapted first: before it, a bias that is 0 may be left out.
  for cell in sorted(study.cells, key=lambda c: c.schedule != 'adapted'):
    if cell.digest in runs:
      written = texts.setdefault(cell.label, set())
      if cell.schedule == 'adapted' or not written:
        written.add(runs[cell.digest]['scheme'])
  roots = texts.get(plan.ROOT, set())
  rows = []
  for cell in study.cells:
    timed = measured[
      measured['scheme'].isin(texts.get(cell.label, set()))
      & measured['baseline'].isin(roots)
    ].sort_values('length', kind='stable')
    # At the longest length, by the newest measurement, which comes last.
    for _, row in timed.groupby('quantity').tail(1).iterrows():
      rows.append({'digest': cell.digest, **row[list(_LATENCY)[1:]]})
  table = pd.DataFrame(rows, columns=list(_LATENCY)).astype(_LATENCY)
  return table.drop_duplicates(['digest', 'quantity'])
