"""Studies whose truth is known: their tables, made up."""

import datetime
import html.parser

import numpy as np
import pandas as pd

from posexp.studies import evidence as evidence_lib
from posexp.studies import plan, verdict

TRAINED, TARGET = 64, 256
TASKS = ('ordering', 'presence')
REGIME = 'base 10,000'
# As many as decide the criteria.
SEEDS = (0, 1, 2, 3, 4, 5, 6, 7)
# What all options have unless a test says otherwise: shares of order errors
# and of retrieval errors at the target.
CALM = (0.10, 0.10)
# Order errors come with the bias and with nothing else.
BIASED = {
  name: (0.30, 0.10)
  for name in (plan.DEPLOYED, *plan.FIXES)
  if name != plan.SCALED
}


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
  unlearned=(),
  short=None,
  missing=(),
  collapsed=(),
  latency=None,
):
  """The tables of a study in which each option has given errors.

  Args:
    made: the study.
    errors: by option or (option, schedule): shares of order and of retrieval
      errors at the target; `CALM` where none is given.
    noise: standard deviation over seeds, independent in each cell.
    unlearned: seeds with which the root did not reach the gate.
    short: by option, accuracy lost at short range.
    missing: options whose runs have not finished.
    collapsed: pairs of option and seed.
    latency: by option, ratio, low and high; (1, 0.99, 1.01) where none is.
      None of them is the root's program.
  """
  draw, planted = np.random.default_rng(0), errors or {}
  done = [cell for cell in made.cells if cell.option not in missing]
  rows = []
  for cell in done:
    wrong = planted.get(cell.option, CALM)
    wrong = planted.get((cell.option, cell.schedule), wrong)
    lost = (short or {}).get(cell.option, 0.0)
    apart = noise * draw.normal(size=(len(SEEDS), 2, 2))
    rows += _rows(made, cell, wrong, apart, lost)
  table = pd.DataFrame(rows)[list(evidence_lib.COLUMNS)]
  near = table['seed'].isin(unlearned) & (
    table['length'] == made.trained_length
  )
  table.loc[near, ['token', 'order', 'retrieval']] = (0.6, 0.2, 0.2)
  table['admitted'] = evidence_lib.admitted(made, table)
  return evidence_lib.Evidence(
    made,
    table,
    pd.DataFrame(_collapse(made, done, collapsed)),
    pd.DataFrame(_latency(made, done, latency or {})),
    tuple(cell for cell in made.cells if cell.option in missing),
    {cell.digest: run(cell) for cell in done},
  )


def one(study, *args, **kwargs):
  """The only case of a study whose tables are made up, judged."""
  (case,) = verdict.verdicts(evidence(study, *args, **kwargs))
  return case


def _rows(made, cell, wrong, noise_SxTx2, lost):
  """A row a seed, task and length of one cell."""
  place = {
    name: getattr(cell, name)
    for name in ('regime', 'variant', 'option', 'schedule', 'digest')
  }
  for seed, of_seed in zip(SEEDS, noise_SxTx2):
    for task, noise in zip(made.tasks, of_seed):
      for length in (made.trained_length, made.target):
        near = length == made.trained_length
        order, retrieval = (
          (0.0005, 0.0005) if near else np.clip(np.add(wrong, noise), 0, 1)
        )
        yield place | {
          'seed': seed,
          'task': task,
          'length': length,
          'order': order,
          'retrieval': retrieval,
          'token': 1 - order - retrieval,
          'targets': 100,
          'short': 1 - lost if near else np.nan,
          'near': 100 * near,
          'admitted': False,
        }


def _collapse(made, done, collapsed):
  for cell in done:
    for seed in SEEDS:
      lost = (cell.option, seed) in collapsed
      yield {'digest': cell.digest, 'length': made.target, 'seed': seed} | {
        'collapsed': lost,
        'why': 'made up',
      }


def _latency(made, done, latency):
  for cell in done:
    ratio = latency.get(cell.option, (1.0, 0.99, 1.01))
    for quantity in evidence_lib.QUANTITIES:
      where = {'quantity': quantity, 'length': made.target}
      times = dict(zip(('ratio', 'low', 'high'), ratio))
      yield {'digest': cell.digest, **where, **times, 'same_program': False}


def run(cell):
  when = datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC)
  return {
    'scheme': cell.option,
    'diverged': (),
    'seconds': 12.5,
    'device': 'cpu',
    'versions': {'posexp': '0.1.0', 'jax': '0.7.2'},
    'written': when,
  }


class Parser(html.parser.HTMLParser):
  """The tags of a page and its text."""

  def __init__(self, text):
    super().__init__()
    self.tags, self.text = [], ''
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))

  def handle_data(self, data):
    self.text += data
