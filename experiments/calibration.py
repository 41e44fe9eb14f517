"""How often posexp claims what is not there, and how often it finds what is.

Experiments whose truth is known are simulated and judged by the code that
judges real ones: intervals of a mean, the planned contrasts of a grid, and both
kinds of study. Nothing is trained.

Command: python experiments/calibration.py
It prints the tables, and how long it takes. With --write they replace those in
docs/explanation/calibration.md, and the figure docs/images/calibration.png is
drawn, as `make calibration` does.
"""

import argparse
import concurrent.futures
import contextlib
import functools
import os
import pathlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import special

from posexp.claims import contrasts, intervals
from posexp.claims import format as format_lib
from posexp.plots import curves, elements, paper, style
from posexp.reports import text_table
from posexp.results import plans, progress, records
from posexp.studies import compare, plan, rules, verdict
from posexp.studies import evidence as evidence_lib

ROOT = pathlib.Path(__file__).parents[1]
PAGE = ROOT / 'docs' / 'explanation' / 'calibration.md'
PICTURE = ROOT / 'docs' / 'images' / 'calibration.png'

SEEDS, PLANTED = (3, 5, 8, 12), (0.1, 0.2, 0.4)
# Of each cell of a table.
TRIALS = {
  'coverage': 20_000,
  'false contrasts': 3000,
  'families': 1500,
  'found contrasts': 600,
  'false choice': 150,
  'false regression': 80,
  'found choice': 80,
  'found regression': 60,
}
# Of these so many are judged as whole tables, too.
CHECKED = 10
TRAINED, TARGETS, GATE = 64, 1000, records.GATE
# What a seed does that extrapolates, and what one does that does not.
HIGH, LOW = 0.97, 0.3

# ---- Accuracies beyond the trained length ------------------------------------

# Axes: T trials, R runs, S seeds, K lengths or tasks. The last argument of what
# draws shares is by how much each run is better than the first.
Shape = tuple[int, int, int, int]
Draw = Callable[[np.random.Generator, Shape, np.ndarray], np.ndarray]


def normal(
  rng: np.random.Generator, shape: Shape, lift_R: np.ndarray, mean: float = 0.5
) -> np.ndarray:
  """Draw shares whose differences have a standard deviation of 11 points."""
  trials, runs, seeds, _ = shape
  of_seed = rng.normal(0, 0.07, (trials, 1, seeds, 1))
  of_run = rng.normal(0, 0.07, (trials, runs, seeds, 1))
  apart = of_seed + of_run + rng.normal(0, 0.03, shape)
  return mean + lift_R[:, None, None] + apart


def skewed(
  rng: np.random.Generator, shape: Shape, lift_R: np.ndarray
) -> np.ndarray:
  """Draw shares near 100 %, some of them far below."""
  trials, runs, seeds, _ = shape
  of_run = rng.exponential(0.03, (trials, runs, seeds, 1))
  lost = of_run + rng.exponential(0.01, shape)
  return 1 + lift_R[:, None, None] - lost


def bimodal(
  rng: np.random.Generator,
  shape: Shape,
  lift_R: np.ndarray,
  chance: float = 0.5,
  alike: float = 0.0,
  jitter: float = 0.02,
  high: float = HIGH,
) -> np.ndarray:
  """Draw shares of seeds that extrapolate or do not.

  A latent value decides, with a correlation of 0.8 between the lengths or tasks
  of a run. A run is better as more of its seeds extrapolate.

  Args:
    rng: of the draws.
    shape: T, R, S, K.
    lift_R: by how much the mean of each run is above that of chance.
    chance: that a seed extrapolates.
    alike: the correlation of the latent value between the runs of a seed.
    jitter: the standard deviation in each mode.
    high: the accuracy of what extrapolates.
  """
  trials, runs, seeds, _ = shape
  of_seed = rng.normal(0, 1, (trials, 1, seeds, 1))
  of_run = rng.normal(0, 1, (trials, runs, seeds, 1))
  latent = np.sqrt(0.8) * of_run + np.sqrt(0.2) * rng.normal(0, 1, shape)
  latent = np.sqrt(alike) * of_seed + np.sqrt(1 - alike) * latent
  chance_R = np.clip(chance + lift_R / (high - LOW), 0, 1)
  solved = latent < special.ndtri(chance_R)[:, None, None]
  return np.where(solved, high, LOW) + jitter * rng.normal(0, 1, shape)


def steady(
  rng: np.random.Generator, shape: Shape, lift_R: np.ndarray
) -> np.ndarray:
  """Draw the first run always between the modes of the others."""
  shares = bimodal(rng, shape, lift_R)
  first = (HIGH + LOW) / 2 + 0.02 * rng.normal(0, 1, shape)
  shares[:, 0] = first[:, 0]
  return shares


class World(NamedTuple):
  """How the accuracies of an experiment come about.

  Attributes:
    draw: of the shares.
    learned: the chance that a seed learns the task; one that does not stays at
      55 % everywhere.
    counted: whether accuracy is the share of `TARGETS` targets, drawn.
  """

  draw: Draw
  learned: float = 1.0
  counted: bool = True


# What cannot differ: all runs are drawn alike.
ALIKE = {
  'normal, differences spread by 11 points': World(normal),
  'near 100 %, skewed': World(skewed),
  'half of the seeds at 97 %, half at 30 %': World(bimodal),
  'the same, runs of a seed correlated': World(
    functools.partial(bimodal, alike=0.5)
  ),
  'the same, to the digit': World(
    functools.partial(bimodal, jitter=0.0), counted=False
  ),
  'all at 100 %, one seed in ten at 30 %': World(
    functools.partial(bimodal, chance=0.9, jitter=0.0, high=1.0), counted=False
  ),
  'half and half, three seeds in ten learn nothing': World(
    bimodal, learned=0.7
  ),
}
# Means are equal and nothing else is: what no few seeds can tell.
UNLIKE = {'one run steady at 63 %, the others half and half': World(steady)}
# In which a run is better. Of the second, 30 % of the seeds extrapolate.
BETTER = {
  'normal': World(normal),
  'bimodal': World(functools.partial(bimodal, chance=0.3)),
}
WORLDS = ALIKE | UNLIKE | BETTER


class Drawn(NamedTuple):
  """Simulated experiments: accuracies, and which seeds learned the task."""

  token_TxRxSxK: np.ndarray
  learned_TxRxS: np.ndarray


def drawn(
  rng: np.random.Generator, world: World, shape: Shape, lift_R: np.ndarray
) -> Drawn:
  """Draw experiments of a world."""
  shares = world.draw(rng, shape, lift_R)
  learned = rng.random(shape[:3]) < world.learned
  blank = 0.55 + 0.05 * rng.normal(0, 1, shape)
  shares = np.where(learned[..., None], shares, blank).clip(0, 1)
  if world.counted:
    shares = rng.binomial(TARGETS, shares) / TARGETS
  return Drawn(shares, learned)


# ---- Intervals of a mean -----------------------------------------------------


def means() -> dict[str, tuple[Callable[..., np.ndarray], float]]:
  """Return draws of accuracies by what they are, and their true means."""
  found: dict[str, tuple[Callable[..., np.ndarray], float]] = {}
  for jitter, words in ((0.0, ''), (0.03, ', to 3 points inside')):
    for chance in (0.1, 0.3, 0.5, 0.7, 0.9):
      name = f'{chance:.0%} of the seeds at 100 %, others at 0{words}'
      draw = functools.partial(_ends, chance=chance, jitter=jitter)
      found[name] = draw, chance + 0.5 * jitter * (1 - 2 * chance)
  found['normal, 60 ± 10 %'] = _normal, 0.6
  found['skewed, 97 % on average'] = _skewed, 0.97
  found['half at 90 %, half at 40 %, ± 5'] = _inside, 0.65
  return found


def _ends(rng: Any, shape: Any, chance: float, jitter: float) -> np.ndarray:
  solved = (rng.random(shape) < chance).astype(np.float64)
  return np.abs(solved - jitter * rng.random(shape))


def _normal(rng: Any, shape: Any) -> np.ndarray:
  return rng.normal(0.6, 0.1, shape).clip(0, 1)


def _skewed(rng: Any, shape: Any) -> np.ndarray:
  return 1 - rng.beta(0.97, 31.36, shape)


def _inside(rng: Any, shape: Any) -> np.ndarray:
  high = rng.random(shape) < 0.5
  return np.where(high, 0.9, 0.4) + rng.normal(0, 0.05, shape).clip(-0.1, 0.1)


def coverage(seeds: int, trials: int, rng: np.random.Generator) -> 'Found':
  """Return how often intervals of a mean cover it, Student's and posexp's."""
  found: Found = {}
  for name, (draw, true) in means().items():
    values = draw(rng, (trials, seeds))
    within = np.tile(intervals.SHARE, (trials, 1))
    for column, ends in (('t', None), ('', within)):
      _, low, high = intervals.by_row(values, 0.95, ends)
      # Also where all values are equal, an interval of no width covers them.
      hits = int(((low <= true) & (true <= high)).sum())
      head = f'{seeds} seeds{", t" * bool(column)}'
      found['coverage', name, head] = Count(hits, trials)
  return found


# ---- Planned contrasts -------------------------------------------------------

# Contrasts of a family, by the number of runs and of lengths.
FAMILIES = {1: (2, 1), 4: (3, 2), 10: (6, 2)}


def results(drawn: Drawn) -> pd.DataFrame:
  """Return experiments as `records.load` gives them, each a question."""
  far, learned = drawn.token_TxRxSxK, drawn.learned_TxRxS
  near = np.where(learned, 0.999, 0.6)[..., None]
  token = np.concatenate((near, far), -1)
  trial, run, seed, place = (axis.ravel() for axis in np.indices(token.shape))
  scheme = [f'Scheme{r}()' for r in run]
  columns = {
    'digest': [f'{t}-{r}' for t, r in zip(trial, run)],
    'name': [f'Simulated: {name}' for name in scheme],
    'task': [f'Simulated(number={t})' for t in trial],
    'scheme': scheme,
    'trained_length': TRAINED,
    'length': TRAINED * 2**place,
    'ratio': 2.0**place,
    'seed': seed,
    'token': token.ravel(),
    'targets': TARGETS,
    'gate': GATE,
    'admitted': np.repeat(learned, token.shape[-1]),
    **dict.fromkeys(('parent', 'parent_digest', 'variant'), ''),
    **dict.fromkeys(('parameters', 'steps'), 1),
    'diverged': -1,
    'reevaluation': False,
  }
  return pd.DataFrame(columns).reindex(columns=list(records.COLUMNS))


def planned(drawn: Drawn) -> pd.DataFrame:
  """Return the planned contrasts of experiments, every run with the first."""
  table = results(drawn)
  lengths = tuple(sorted(map(int, table['length'].unique())))
  runs = table.drop_duplicates('digest')
  candidates = [
    plans.Candidate(digest, scheme, task, TRAINED, lengths, None, False)
    for digest, scheme, task in zip(
      runs['digest'], runs['scheme'], runs['task']
    )
  ]
  target = lengths[1] if len(lengths) > 2 else None
  asked = tuple(plans.default(candidates, target=target))
  return contrasts.planned(table, asked)


# By run and place.
Judged = dict[tuple[int, int], contrasts.Difference]


def judged(drawn: Drawn, trial: int, every: bool = False) -> Judged:
  """Judge a trial as `planned` does, which takes ten times as long.

  Args:
    drawn: the experiments.
    trial: of them.
    every: over all seeds, and not only those that learned the task.
  """
  token, learned = drawn.token_TxRxSxK[trial], drawn.learned_TxRxS[trial]
  pairs = {}
  for run in range(1, len(token)):
    counts_S = (learned[0] & learned[run]) | every
    for place in range(token.shape[-1]):
      values, base = (token[which, counts_S, place] for which in (run, 0))
      pairs[run, place] = contrasts.paired(values, base, 1 / TARGETS)
  return contrasts.family(pairs)


def check(drawn: Drawn) -> None:
  """Assert that some trials are judged the same as whole tables."""
  few = Drawn(*(array[:CHECKED] for array in drawn))
  table = planned(few)
  for trial, of_trial in table.groupby('task', sort=False):
    number = int(str(trial).split('=')[1].strip(')'))
    for every, prefix in ((False, ''), (True, 'all_')):
      differences = judged(few, number, every)
      for row in of_trial.to_dict('records'):
        run = int(row['run'].split('-')[1])
        place = int(np.log2(row['length'] / TRAINED)) - 1
        wanted, m = differences[run, place], len(differences)
        got = [
          row[f'{prefix}{name}'] for name in ('effect', 'low', 'high', 'p')
        ]
        np.testing.assert_allclose(
          got, [wanted.mean, wanted.low, wanted.high, wanted.p], atol=1e-12
        )
        assert row[f'{prefix}claimed'] == wanted.claimed and row['m'] == m


def false_contrasts(
  name: str, m: int, seeds: int, trials: int, rng: np.random.Generator
) -> 'Found':
  """Return in how many experiments a difference is claimed: none is there."""
  runs, lengths = FAMILIES[m]
  shape = trials, runs, seeds, lengths
  experiments = drawn(rng, WORLDS[name], shape, np.zeros(runs))
  check(experiments)
  head, where, row = f'{seeds} seeds', 'false contrasts', name
  if m != 4:
    where, row = 'families', f'{name}; {m} planned'
  found = {}
  for every, words in ((False, ''), (True, '; over all seeds')):
    if every and WORLDS[name].learned == 1:
      continue
    hits = sum(
      any(of.claimed for of in judged(experiments, trial, every).values())
      for trial in range(trials)
    )
    found[where, f'{row}{words}', head] = Count(hits, trials)
  return found


def found_contrasts(
  name: str, planted: float, seeds: int, trials: int, rng: np.random.Generator
) -> 'Found':
  """Return how often a run that is better is claimed to be, one of four."""
  lift = np.array([0.0, planted, 0.0])
  experiments = drawn(rng, WORLDS[name], (trials, 3, seeds, 2), lift)
  longest = 1, 1
  hits = sum(
    judged(experiments, trial)[longest].above for trial in range(trials)
  )
  row = f'{name}, {100 * planted:.0f} points'
  return {('a planned contrast', row, f'{seeds} seeds'): Count(hits, trials)}


# ---- Studies -----------------------------------------------------------------

REGIME, TARGET, TASKS = 'base 10,000', 256, ('ordering', 'presence')
CANDIDATES = ('NTK', 'YaRN', 'ALiBi')


def study(kind: str) -> plan.Study:
  """Return a study of one case; the first cell is what options gain on."""
  schedules = {plan.ROOT: 'trained'}
  options: tuple[str, ...] = (plan.ROOT, *CANDIDATES)
  if kind == 'regression':
    options = (plan.DEPLOYED, *plan.FIXES, plan.ROOT)
  cells = tuple(
    plan.Cell(
      digest=f'{number:016x}',
      regime=REGIME,
      option=option,
      schedule=schedules.get(option, 'zero-shot'),
      variant=''
      if kind == 'choice' or option in (plan.ROOT, plan.SCALED)
      else 'A',
    )
    for number, option in enumerate(options)
  )
  return plan.Study(
    kind=kind,
    size='simulated',
    question='What is claimed?',
    trained_length=TRAINED,
    target=TARGET,
    tasks=TASKS,
    cells=cells,
    command='python experiments/calibration.py',
    adaptation='none',
    lookups={cell.label: (0.0, 0.0) for cell in cells},
  )


def evidence(
  study: plan.Study, drawn: Drawn, trial: int, rng: np.random.Generator
) -> evidence_lib.Evidence:
  """Return a trial as the records of a study, a place for each task.

  Of the seeds that lose most of their accuracy, attention collapses in half.
  """
  token_CxSxK = drawn.token_TxRxSxK[trial]
  # The root says who learned the task, with that seed, for all cells.
  learned_S = drawn.learned_TxRxS[trial, 0]
  count, seeds, tasks = token_CxSxK.shape
  cell, seed, task, far = np.indices((count, seeds, tasks, 2)).reshape(4, -1)
  kept = rng.binomial(TARGETS, 0.998, cell.size) / TARGETS
  near = np.where(learned_S[seed], kept, 0.6)
  token = np.where(far == 1, token_CxSxK[cell, seed, task], near)
  order = (1 - token) * rng.beta(8, 8, cell.size)
  names = np.array([cell.place for cell in study.cells], object)
  table = pd.DataFrame(
    {
      **{name: names[cell, n] for n, name in enumerate(plan.PLACE)},
      'digest': np.array([c.digest for c in study.cells], object)[cell],
      'seed': seed,
      'task': np.array(study.tasks, object)[task],
      'length': np.where(far == 1, study.target, study.trained_length),
      'token': token,
      'order': order,
      'retrieval': 1 - token - order,
      'short': np.where(far == 1, np.nan, near),
      'near': np.where(far == 1, 0, TARGETS // 8),
      'targets': TARGETS,
      'admitted': learned_S[seed],
    }
  )
  lost_CxS = token_CxSxK.mean(-1) < 0.5
  collapsed_CxS = lost_CxS & (rng.random(lost_CxS.shape) < 0.5)
  digests = [cell.digest for cell in study.cells]
  collapse = pd.DataFrame(
    {
      'digest': np.repeat(digests, seeds),
      'length': study.target,
      'seed': np.tile(np.arange(seeds), count),
      'collapsed': collapsed_CxS.ravel(),
      'why': 'simulated',
    }
  )
  latency = pd.DataFrame(
    [(d, q, study.target) for d in digests for q in evidence_lib.QUANTITIES],
    columns=['digest', 'quantity', 'length'],
  ).assign(ratio=1.0, low=0.99, high=1.01, same_program=False)
  cells = table[list(evidence_lib.COLUMNS)]
  return evidence_lib.Evidence(study, cells, collapse, latency, (), {})


def cases(
  kind: str,
  world: World,
  lifts: Mapping[str, float],
  seeds: int,
  trials: int,
  rng: np.random.Generator,
) -> Iterator[verdict.Case]:
  """Yield the verdict of each of several studies of one case."""
  made = study(kind)
  lift_C = np.array([lifts.get(cell.option, 0.0) for cell in made.cells])
  shape = trials, len(made.cells), seeds, len(made.tasks)
  experiments = drawn(rng, world, shape, lift_C)
  for trial in range(trials):
    (case,) = verdict.verdicts(evidence(made, experiments, trial, rng))
    yield case


# All options alike, and two of them alike above the rest.
NONE: dict[str, float] = {}
TWO = {plan.SCALED: 0.4, plan.BIASED: 0.4, 'NTK': 0.4, 'YaRN': 0.4}
CULPRITS = (rules.BIAS, rules.BASE)


def is_false(case: verdict.Case, lifts: Mapping[str, float]) -> bool:
  """Return whether a verdict is one that nothing is behind.

  Where all options are alike that is any culprit, gain, first fix or
  recommendation. Where two are alike and better, so that each change does as
  much harm as the other, it is one of the two as the culprit or the first.
  """
  first = case.branch == compare.FIRST
  cause = case.attribution.branch if case.attribution else rules.UNCLEAR
  if lifts:
    return first or cause in CULPRITS
  nothing = (rules.UNCLEAR, compare.NOT_ADMITTED, compare.MISSING)
  return first or bool(case.lead.improving) or cause not in nothing


def false_verdicts(
  kind: str, name: str, seeds: int, trials: int, rng: np.random.Generator
) -> 'Found':
  """Return in how many studies a verdict is false."""
  lifts = TWO if name in BETTER else NONE
  hits = sum(
    is_false(case, lifts)
    for case in cases(kind, WORLDS[name], lifts, seeds, trials, rng)
  )
  row = f'{kind}: two alike and better, {name}' if lifts else f'{kind}: {name}'
  where = 'false verdicts'
  count = Count(hits, trials)
  return {(where, row, f'{seeds} seeds'): count, (where, row, 'all'): count}


def found_verdicts(
  kind: str,
  name: str,
  planted: float,
  seeds: int,
  trials: int,
  rng: np.random.Generator,
) -> 'Found':
  """Return how often a study names what is there.

  In a regression the bias does harm, so that base scaling alone is better than
  all with it. In a choice one candidate is better than all others.
  """
  row, head = f'{name}, {100 * planted:.0f} points', f'{seeds} seeds'
  best = plan.SCALED if kind == 'regression' else 'YaRN'
  hits = {'culprit': 0, 'first': 0}
  lifts = {best: planted}
  for case in cases(kind, WORLDS[name], lifts, seeds, trials, rng):
    hits['first'] += (case.branch, case.lead.option) == (compare.FIRST, best)
    if case.attribution:
      hits['culprit'] += case.attribution.branch == rules.BIAS
  if kind == 'choice':
    return {('a recommendation', row, head): Count(hits['first'], trials)}
  return {
    ('a culprit', row, head): Count(hits['culprit'], trials),
    ('a first fix', row, head): Count(hits['first'], trials),
  }


# ---- The tables --------------------------------------------------------------


class Count(NamedTuple):
  """How often something happened, and in how many trials."""

  hits: int
  trials: int

  def __str__(self) -> str:
    share, low, high, *_ = intervals.wilson(self.hits, self.trials)
    # Of so many trials the last digit is the error.
    if self.trials >= TRIALS['coverage']:
      return format_lib.percent(share)
    return format_lib.bracketed(share, low, high)


# By table, row and column.
Found = dict[tuple[str, str, str], Count]


class Job(NamedTuple):
  """Some cells of a table: a function with its arguments, and its work."""

  work: Callable[..., Found]
  how: tuple[Any, ...]
  trials: int
  effort: float

  def __call__(self) -> Found:
    # Its own draws, whichever process computes it and when.
    key = zlib.crc32(repr((self.work.__name__, *self.how)).encode())
    return self.work(*self.how, self.trials, np.random.default_rng(key))


def jobs(quick: bool = False) -> Iterator[Job]:
  """Yield all that is computed, the slowest last.

  Args:
    quick: a few trials of everything, to see that it works.
  """

  def job(what: str, seconds: float, work: Callable[..., Found], *how: Any):
    trials = max(2, TRIALS[what] // 150) if quick else TRIALS[what]
    return Job(work, how, trials, seconds * trials)

  seeds_of = (3, 8) if quick else SEEDS
  for seeds in (3, 5, 8):
    yield job('coverage', 3e-4, coverage, seeds)
  for seeds in seeds_of:
    for name in (*ALIKE, *UNLIKE):
      yield job('false contrasts', 0.001, false_contrasts, name, 4, seeds)
    for m in (1, 10):
      for name in list(ALIKE)[:3:2]:
        yield job('families', 0.00025 * m, false_contrasts, name, m, seeds)
    for name in BETTER:
      for planted in PLANTED:
        what = 'found contrasts'
        yield job(what, 0.001, found_contrasts, name, planted, seeds)
  for kind, seconds in (('choice', 0.03), ('regression', 0.06)):
    for seeds in seeds_of:
      for name in (*ALIKE, *UNLIKE, *BETTER):
        yield job(f'false {kind}', seconds, false_verdicts, kind, name, seeds)
      for name in BETTER:
        for planted in PLANTED:
          what = f'found {kind}'
          yield job(what, seconds, found_verdicts, kind, name, planted, seeds)


def compute(work: Sequence[Job], processes: int = 1) -> Found:
  """Return all counts, those of the same cell added up, showing how far it is.

  Args:
    work: what is computed.
    processes: at once; the counts are the same however many there are.
  """
  found: Found = {}
  total = sum(job.effort for job in work)
  with contextlib.ExitStack() as stack:
    mapped: Callable[..., Iterator[Found]] = map
    if processes > 1:
      pool = concurrent.futures.ProcessPoolExecutor(processes)
      mapped = stack.enter_context(pool).map
    shown = stack.enter_context(
      progress.Progress(total, pathlib.Path(os.devnull))
    )
    for job, counts in zip(work, mapped(Job.__call__, work)):
      for key, count in counts.items():
        before = found.get(key, Count(0, 0))
        found[key] = Count(*np.add(before, count).tolist())
      shown.advance(job.effort, ' '.join(map(str, job.how)))
  return found


def tables(found: Found) -> dict[str, list[tuple[str, ...]]]:
  """Return each table as rows of text, the first of them its head."""
  by_table: dict[str, list[tuple[str, ...]]] = {}
  for table in dict.fromkeys(key[0] for key in found):
    cells = {key[1:]: count for key, count in found.items() if key[0] == table}
    heads = list(dict.fromkeys(head for _, head in cells))
    heads.sort(key=lambda head: head == 'all')  # Stable: it comes last.
    rows = [('%', *heads)]
    for row in dict.fromkeys(row for row, _ in cells):
      rows.append((row, *(str(cells.get((row, h), '')) for h in heads)))
    by_table[table] = rows
  return by_table


def markdown(rows: Sequence[Sequence[str]]) -> str:
  """Return rows as a table of Markdown."""
  rule = ('---', *('---:' for _ in rows[0][1:]))
  lines = (rows[0], rule, *rows[1:])
  return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def written(page: str, found: Found) -> str:
  """Return a page with its tables replaced, each between two comments."""
  for name, rows in tables(found).items():
    begin, end = f'<!-- {name} -->', '<!-- end -->'
    before, there, after = page.partition(begin)
    if there:
      rest = after.partition(end)[2]
      page = f'{before}{begin}\n\n{markdown(rows)}\n\n{end}{rest}'
  return page


# What is drawn: a panel each.
PANELS = ('a planned contrast', 'a culprit', 'a first fix', 'a recommendation')


@style.styled
def draw(found: Found) -> Any:
  """Return the figure of how often what is there is found."""
  rows = []
  for (table, row, head), count in found.items():
    if table in PANELS:
      share = intervals.wilson(*count)
      rows.append((table, row, int(head.split()[0]), *share[:3]))
  means = pd.DataFrame(rows, columns=['panel', 'run', 'x', *curves.VALUES])
  means['panel'] = pd.Categorical(means['panel'], PANELS, ordered=True)
  means = means.sort_values('panel', kind='stable').astype({'panel': 'str'})
  names = {row: row for row in dict.fromkeys(means['run'])}
  looks = {
    row: style.Look(
      style.COLORS[number % len(PLANTED)],
      style.MARKERS[number % len(PLANTED)],
      '-' if number < len(PLANTED) else style.DASHES[0],
      style.COLORS[number % len(PLANTED)] if number < len(PLANTED) else 'white',
    )
    for number, row in enumerate(names)
  }

  def axis(panel: Any) -> None:
    elements.ticks(panel, SEEDS, [str(n) for n in SEEDS])
    panel.set_xlabel('seeds')
    panel.set_ylim(-0.02, 1.02)

  lines = curves.Curves(means, looks, names)
  drawn, panels = lines.draw(axis, step=0.12, sharey=True)
  elements.share_axes(panels, 'claimed (% of experiments)')
  return drawn


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument(
    '--write', action='store_true', help='write the page and its figure'
  )
  parser.add_argument(
    '--quick', action='store_true', help='a few trials, to see that it works'
  )
  parser.add_argument('--processes', type=int, default=1)
  flags = parser.parse_args()
  found = compute(list(jobs(flags.quick)), flags.processes)
  for name, rows in tables(found).items():
    print(f'\n{name}\n{text_table.columns(rows)}')
  if flags.write:
    PAGE.write_text(written(PAGE.read_text('utf-8'), found), 'utf-8')
    PICTURE.write_bytes(paper.png(draw(found)))


if __name__ == '__main__':
  main()
