"""Studies whose truth is known: their tables, made up."""

import datetime

import numpy as np
import pandas as pd

from posexp.study import cells, plan

TRAINED, TARGET = 64, 256
TASKS = ('ordering', 'presence')
REGIME = 'base 10,000'
SEEDS = (0, 1, 2, 3, 4)
# What all options have unless a test says otherwise: shares of order errors
# and of retrieval errors at the target.
CALM = (0.10, 0.10)


def digest(number):
  return f'{number:016x}'


def regression(variants=('A',), schedules=('zero-shot',), regimes=(REGIME,)):
  """Every cell of a regression."""
  places = []
  for regime in regimes:
    places.append((regime, '', plan.ROOT, 'trained'))
    for schedule in schedules:
      places.append((regime, '', plan.SCALED, schedule))
      places += [
        (regime, variant, option, schedule)
        for variant in variants
        for option in (plan.DEPLOYED, *plan.FIXES[1:])
      ]
  return study('regression', places)


def choice(options=('NTK', 'YaRN', 'ALiBi', 'NTK + ALiBi'), adapted=()):
  """Candidates zero-shot, some of them adapted as well."""
  places = [(REGIME, '', plan.ROOT, 'trained')]
  places += [(REGIME, '', option, 'zero-shot') for option in options]
  places += [(REGIME, '', option, 'adapted') for option in adapted]
  return study('choice', places)


def study(kind, places, **changes):
  names = ('regime', 'variant', 'option', 'schedule')
  made = [
    plan.Cell(digest=digest(n), **dict(zip(names, place)))
    for n, place in enumerate(places)
  ]
  options = {cell.option for cell in made}
  fields = {
    'kind': kind,
    'size': 'quick',
    'question': 'What is to be done?',
    'trained_length': TRAINED,
    'target': TARGET,
    'tasks': TASKS,
    'cells': tuple(made),
    'command': 'posexp run experiments/made_up.py',
    'adaptation': '100 steps at the target length',
    'lookups': {
      label: (0.0, 0.0)
      for option in sorted(options)
      for label in (option, f'{option} A', f'{option} B')
    },
  }
  return plan.Study(**fields | changes)


def evidence(
  made,
  errors=None,
  *,
  noise=0.004,
  seeds=SEEDS,
  unlearned=(),
  short=None,
  missing=(),
  collapsed=(),
  latency=None,
  rng=0,
):
  """The tables of a study in which each option has given errors.

  Args:
    made: the study.
    errors: by option or (variant, option) or (option, schedule): shares of
      order and of retrieval errors at the target; `CALM` where none is given.
    noise: standard deviation over seeds, independent in each cell.
    seeds: of every run.
    unlearned: seeds with which the root did not reach the gate.
    short: by option, accuracy lost at short range.
    missing: options whose runs have not finished.
    collapsed: pairs of option and seed.
    latency: by option, ratio, low and high; (1, 0.99, 1.01) where none is.
    rng: of the noise.
  """
  draw = np.random.default_rng(rng)
  rows, collapse, times, runs, gone = [], [], [], {}, []
  for cell in made.cells:
    if cell.option in missing:
      gone.append(cell)
      continue
    said = errors or {}
    for key in (
      *((cell.variant, cell.option), (cell.option, cell.schedule)),
      cell.option,
    ):
      if key in said:
        order, retrieval = said[key]
        break
    else:
      order, retrieval = CALM
    place = {
      name: getattr(cell, name)
      for name in ('regime', 'variant', 'option', 'schedule', 'digest')
    }
    lost = (short or {}).get(cell.option, 0.0)
    for seed in seeds:
      for task in made.tasks:
        for length in (made.trained_length, made.target):
          near = length == made.trained_length
          wrong = (0.0005, 0.0005) if near else (order, retrieval)
          if seed in unlearned and near:
            wrong = (0.2, 0.2)
          wrong = np.array(wrong)
          if not near:
            wrong = np.clip(wrong + noise * draw.normal(size=2), 0, 1)
          rows.append(
            place
            | {'seed': seed, 'task': task, 'length': length}
            | dict(zip(('order', 'retrieval'), wrong))
            | {'token': 1 - wrong.sum(), 'targets': 100}
            | {'short': 1 - lost if near else np.nan, 'admitted': False}
          )
      collapse.append(
        {'digest': cell.digest, 'length': made.target, 'seed': seed}
        | {'collapsed': (cell.option, seed) in collapsed, 'why': 'made up'}
      )
    ratio = (latency or {}).get(cell.option, (1.0, 0.99, 1.01))
    for quantity in cells.QUANTITIES:
      times.append(
        {'digest': cell.digest, 'quantity': quantity, 'length': made.target}
        | dict(zip(('ratio', 'low', 'high'), ratio))
      )
    runs[cell.digest] = run(cell)
  table = pd.DataFrame(rows)[list(cells.COLUMNS)]
  table['admitted'] = cells.admitted(made, table)
  return cells.Evidence(
    made,
    table,
    pd.DataFrame(collapse),
    pd.DataFrame(times),
    tuple(gone),
    runs,
  )


def run(cell):
  when = datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC)
  return {
    'name': f'Made: {cell.option}',
    'scheme': cell.option,
    'seeds': SEEDS,
    'steps': 100,
    'parameters': 1234,
    'seconds': 12.5,
    'device': 'cpu',
    'versions': {'posexp': '0.1.0', 'jax': '0.7.2'},
    'written': when,
  }
