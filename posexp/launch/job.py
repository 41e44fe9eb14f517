"""Computing one run: training, moving weights, evaluating, recording."""

import functools
import json
import pathlib
import shutil
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from posexp import component, data
from posexp.cost import flop_count
from posexp.evaluation import diagnostics, evaluate, scoring
from posexp.launch import agreement
from posexp.models import environment, mesh
from posexp.results import files, progress, records
from posexp.runs import config, stacking
from posexp.training import loop, train_step

# Rows of coverage and of diagnostics, see `diagnose.report`.
Looks = dict[str, list[dict[str, Any]]]
# A record, and the outcomes beside it.
Computed = tuple[dict[str, Any], dict[str, np.ndarray]]

CONFIG = 'config.json'
# Seconds until a file that one host wrote is seen by another.
PATIENCE = 90.0


def weights(
  run: config.Run, workdir: pathlib.Path, tell: progress.Progress
) -> Any:
  """The parameters of a finished run, with the seeds as first axis.

  Raises:
    UserError: if the run has not finished, or its weights cannot be read.
  """
  if records.read(workdir, run.digest) is None:
    raise component.UserError(
      f'{run.name} has not finished in {workdir}: run it first, with the same '
      'configuration'
    )
  on = mesh.mesh(len(run.seeds), run.train.batch)
  return loop.weights(run, workdir, on, tell).params


def compute(
  run: config.Run,
  workdir: pathlib.Path,
  tell: progress.Progress,
  beside: loop.Beside = loop.ALONE,
) -> None:
  """Computes a run whose parent is finished, and writes its record.

  In every process that it has; the first one writes.

  Args:
    run: the run.
    workdir: where.
    tell: whom it tells how far it is.
    beside: how it is trained beside others.
  """
  found = agreement.alike(lambda: _computed(run, workdir, tell, beside))
  if agreement.first():
    _keep(run, workdir, tell, found)


def _computed(
  run: config.Run,
  workdir: pathlib.Path,
  tell: progress.Progress,
  beside: loop.Beside,
) -> Computed:
  """All that is kept of a run."""
  start = time.monotonic()
  on = mesh.mesh(len(run.seeds), run.train.batch)
  parents = _prepared([run], workdir, tell)
  if run.train.steps:
    (trained,) = loop.trained([run], workdir, tell, beside)
  else:
    trained = loop.moved(run, workdir, on, tell)
  begun = time.monotonic()
  results, arrays, looks = _evaluate(run, trained.params, on, tell)
  trained.seconds['evaluate'] = time.monotonic() - begun
  before = beside.seconds.get('train', 0.0)
  trained.seconds['total'] = time.monotonic() - start + before
  parent = parents[0] if parents else None
  return _record(run, parent, on, trained, results, looks), arrays


def trained(
  runs: Sequence[config.Run],
  workdir: pathlib.Path,
  tell: progress.Progress,
  beside: loop.Beside,
) -> list[loop.Trained]:
  """Trains runs of one stem at once, in every process that they have."""

  def work():
    _prepared(runs, workdir, tell)
    return loop.trained(runs, workdir, tell, beside)

  return agreement.alike(work)


def _keep(
  run: config.Run,
  workdir: pathlib.Path,
  tell: progress.Progress,
  found: Computed,
) -> None:
  """Writes the record of a run that was computed."""
  record, arrays = found
  records.write(workdir, record, arrays)
  # The trained length, but for a task that does not exist there.
  told = min(run.lengths, key=lambda n: abs(n - run.trained_length))
  right = [r['token'] for r in record['results'] if r['length'] == told]
  tell.note(
    f'done    {run.name}: '
    f'{min(right):.3f} to {max(right):.3f} right at {told} '
    f'({progress.duration(record["seconds"]["total"])})'
  )


def _prepared(
  runs: Sequence[config.Run], workdir: pathlib.Path, tell: progress.Progress
) -> list[dict[str, Any] | None]:
  """Makes runs' directories; tells before any training what cannot be.

  Returns:
    The records of the runs' parents, in the first process.

  Raises:
    UserError: one sentence, of too little memory, a damaged set, or processes
      that have not the same work directory.
  """
  parents: list[dict[str, Any] | None] = []

  def work():
    found = ' '.join(prepare(run, workdir) for run in runs)
    if agreement.first():
      parents.extend(_parent(run, workdir, tell) for run in runs)
    return found

  agreement.same(work, 'evaluation data')
  agreement.same(lambda: _seen(runs, workdir), f'the work directory {workdir}')
  return parents


def _seen(runs: Sequence[config.Run], workdir: pathlib.Path) -> str:
  """Whether this process sees what the first one wrote of runs.

  A file system of several hosts may take its time.
  """
  until = time.monotonic() + PATIENCE
  for run in runs:
    path = records.run_directory(workdir, run.digest) / CONFIG
    while not path.exists():
      if time.monotonic() > until:
        return f'no {path}'
      time.sleep(0.5)
  return 'all'


def prepare(run: config.Run, workdir: pathlib.Path) -> str:
  """Makes a run's directory; what it will be evaluated on, by digests.

  Which are for other processes: empty where there are none.
  """
  directory = records.run_directory(workdir, run.digest)
  if agreement.first():
    directory.mkdir(parents=True, exist_ok=True)
    tidy(directory)
    body = json.dumps(run.to_dict(), indent=1).encode()
    files.put(directory / CONFIG, body, over=True)
  on = mesh.mesh(len(run.seeds), run.train.batch)
  _evaluator(run, on).check()
  if mesh.several():
    return ' '.join(_examples(run).values())
  for n in run.lengths:
    evaluate.examples(run.task, n, run.evaluate.number(n))
  return ''


def _examples(run: config.Run) -> dict[str, str]:
  """Digests by length, to tell that two records are of the same bytes."""
  make = lambda n: evaluate.examples(run.task, n, run.evaluate.number(n))
  return {str(n): data.digest(make(n)) for n in run.lengths}


def tidy(directory: pathlib.Path) -> None:
  """Removes what a process that was killed had half written.

  For whoever has the claim.
  """
  for path in directory.glob('.*.partial'):
    path.unlink(missing_ok=True)
  for path in directory.glob('checkpoints/*.orbax-checkpoint-tmp*'):
    shutil.rmtree(path, ignore_errors=True)


def _parent(
  run: config.Run, workdir: pathlib.Path, tell: progress.Progress
) -> dict[str, Any] | None:
  """The parent's record; says, before any compute, where no number counts."""
  if run.parent is None:
    return None
  record = records.read(workdir, run.parent.digest)
  if record is None:
    raise records.Damaged(
      f'its parent {run.parent.name} has no record in {workdir}: run the '
      'parent first, in the same work directory'
    )
  if not any(records.admitted(record).values()):
    best = max((accuracy or 0) for accuracy in record['learned'].values())
    tell.note(
      f'note    {run.name}: no seed of the trained run learned the task (best '
      f'{best:.3f}, gate {record["gate"]:.3f}), so no number of this one is '
      'admitted: train it for more steps'
    )
  return record


def _evaluator(run: config.Run, on: jax.sharding.Mesh) -> evaluate.Evaluator:
  """The same for all runs of a stem, with what was compiled for them."""
  return _evaluators(stacking.stem(run, len(run.seeds)), on)


# Made once a stem.
_evaluators = functools.lru_cache(maxsize=32)(evaluate.Evaluator)


def _evaluate(
  run: config.Run,
  params: Any,
  on: jax.sharding.Mesh,
  tell: progress.Progress,
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray], Looks]:
  """Result rows, the outcome of every target, and what attention does."""
  evaluator = _evaluator(run, on)
  params = mesh.pad_seeds(params, on, len(run.seeds))
  rows: list[dict[str, Any]] = []
  arrays: dict[str, np.ndarray] = {}
  looks: Looks = {'coverage': [], 'diagnostics': []}
  for length in run.lengths:
    label = f'{run.name} at {length}'
    effort = flop_count.evaluate_flops(run, length) * len(run.seeds)
    advance = functools.partial(_advance, tell, effort, label)
    found = evaluator.outcomes(params, length, advance)
    rows += scoring.summary(found, run.seeds)
    arrays[f'{length}/kind'] = found.kind_SxT
    arrays[f'{length}/nats'] = found.nats_SxT
    arrays[f'{length}/example'] = found.example_T
    for name, values in found.strata.items():
      arrays[f'{length}/strata/{name}'] = values
    covered, heads = diagnostics.report(run, params, length, on)
    looks['coverage'] += covered
    looks['diagnostics'].append(heads)
    tell.advance(flop_count.diagnose_flops(run, length) * len(run.seeds), label)
  return rows, arrays, looks


def _advance(
  tell: progress.Progress, effort: float, label: str, share: float
) -> None:
  tell.advance(share * effort, label)
  agreement.obey()


def _record(
  run: config.Run,
  parent: dict[str, Any] | None,
  on: jax.sharding.Mesh,
  trained: loop.Trained,
  results: list[dict[str, Any]],
  looks: Looks,
) -> dict[str, Any]:
  """All that is kept of a run, as plain JSON values.

  `parent` is the record of the run's parent, if it has one.
  """
  if parent is None:
    learned = {
      str(r['seed']): r['token']
      for r in results
      if r['length'] == run.trained_length
    }
    gate = records.GATE if run.task.gate is None else run.task.gate
  else:
    learned, gate = parent['learned'], parent['gate']
  return {
    'digest': run.digest,
    'name': run.name,
    'task': str(run.task),
    'scheme': str(run.scheme),
    'parent': parent and parent['scheme'],
    'parent_digest': parent and parent['digest'],
    'trained_length': run.trained_length,
    'tokens': run.train.tokens,
    'changes': list(run.changes),
    'config': run.to_dict(),
    'versions': environment.versions(),
    'device': environment.device(on),
    'seconds': {k: round(v, 3) for k, v in trained.seconds.items()},
    'parameters': flop_count.parameters(run),
    'transfer': trained.transfer,
    'losses': _finite(trained.losses_SxC),
    'loss_every': train_step.CHUNK,
    'diverged': _by_seed(run, trained.diverged_S.tolist()),
    'learned': learned,
    'gate': gate,
    'chance': {str(n): run.task.chance(n) for n in run.lengths},
    'baselines': {
      str(n): evaluate.baselines(run.task, n, run.evaluate.number(n))
      for n in run.lengths
    },
    'examples': _examples(run),
    'results': results,
    **looks,
  }


def _by_seed(run: config.Run, values: list[Any]) -> dict[str, Any]:
  return {str(s): v for s, v in zip(run.seeds, values, strict=True)}


def _finite(array: np.ndarray) -> list[Any]:
  """Nested lists with None where a number is not finite: plain JSON."""
  wide = array.astype(object)
  wide[~np.isfinite(array)] = None
  return wide.tolist()
