"""Computing one run: training, moving weights, evaluating, recording."""

import functools
import json
import pathlib
import shutil
import time
from typing import Any

import jax
import numpy as np

from posexp import (
  config,
  datasets,
  diagnose,
  evaluate,
  files,
  measure,
  outcomes,
  packs,
  records,
  sharding,
  train,
)
from posexp.launch import environment, progress, stop, training

# Rows of coverage and of diagnostics, see `diagnose.report`.
Looks = dict[str, list[dict[str, Any]]]


def weights(
  run: config.Run, workdir: pathlib.Path, tell: progress.Progress
) -> Any:
  """The parameters of a finished run, with the seeds as first axis.

  Raises:
    ValueError: if the run has not finished, or its weights cannot be read.
  """
  if records.read(workdir, run.digest) is None:
    raise ValueError(
      f'{run.name} has not finished in {workdir}: run it first, with the same '
      'configuration'
    )
  on = sharding.mesh(len(run.seeds), run.train.batch)
  return training.weights(run, workdir, on, tell).params


def compute(
  run: config.Run,
  workdir: pathlib.Path,
  tell: progress.Progress,
  beside: training.Beside = training.ALONE,
) -> None:
  """Computes a run whose parent is finished, and writes its record.

  Args:
    run: the run.
    workdir: where.
    tell: whom it tells how far it is.
    beside: how it is trained beside others.
  """
  start = time.monotonic()
  on = sharding.mesh(len(run.seeds), run.train.batch)
  prepare(run, workdir)
  parent = _parent(run, workdir, tell)
  if run.train.steps:
    (trained,) = training.trained([run], workdir, tell, beside)
  else:
    trained = training.moved(run, workdir, on, tell)
  begun = time.monotonic()
  results, arrays, looks = _evaluate(run, trained.params, on, tell)
  trained.seconds['evaluate'] = time.monotonic() - begun
  before = beside.seconds.get('train', 0.0)
  trained.seconds['total'] = time.monotonic() - start + before
  record = _record(run, parent, on, trained, results, looks)
  records.write(workdir, record, arrays)
  # The trained length, but for a task that does not exist there.
  told = min(run.lengths, key=lambda n: abs(n - run.trained_length))
  right = [r['token'] for r in results if r['length'] == told]
  tell.note(
    f'done    {run.name}: '
    f'{min(right):.3f} to {max(right):.3f} right at {told} '
    f'({progress.duration(trained.seconds["total"])})'
  )


def prepare(run: config.Run, workdir: pathlib.Path) -> None:
  """Makes a run's directory; tells before any training what cannot be.

  Raises:
    ValueError: one sentence, of too little memory or a damaged set.
  """
  directory = records.run_directory(workdir, run.digest)
  directory.mkdir(parents=True, exist_ok=True)
  tidy(directory)
  body = json.dumps(run.to_dict(), indent=1).encode()
  files.put(directory / 'config.json', body, over=True)
  on = sharding.mesh(len(run.seeds), run.train.batch)
  _evaluator(run, on).check()
  for n in run.lengths:
    evaluate.examples(run.task, n, run.evaluate.number(n))


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
  best = max((accuracy or 0) for accuracy in record['learned'].values())
  gate = record.get('gate', records.GATE)
  if best < gate:
    tell.note(
      f'note    {run.name}: no seed of the trained run learned the task (best '
      f'{best:.3f}, gate {gate:.3f}), so no number of this one is admitted: '
      'train it for more steps'
    )
  return record


def _evaluator(run: config.Run, on: jax.sharding.Mesh) -> evaluate.Evaluator:
  """The same for all runs of a stem, with what was compiled for them."""
  return _evaluators(packs.stem(run, len(run.seeds)), on)


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
  params = sharding.pad_seeds(params, on, len(run.seeds))
  rows: list[dict[str, Any]] = []
  arrays: dict[str, np.ndarray] = {}
  looks: Looks = {'coverage': [], 'diagnostics': []}
  for length in run.lengths:
    label = f'{run.name} at {length}'
    effort = measure.evaluate_flops(run, length) * len(run.seeds)
    advance = functools.partial(_advance, tell, effort, label)
    found = evaluator.outcomes(params, length, advance)
    rows += outcomes.summary(found, run.seeds)
    arrays[f'{length}/kind'] = found.kind_SxT
    arrays[f'{length}/nats'] = found.nats_SxT
    arrays[f'{length}/example'] = found.example_T
    for name, values in found.strata.items():
      arrays[f'{length}/strata/{name}'] = values
    covered, heads = diagnose.report(run, params, length, on)
    looks['coverage'] += covered
    looks['diagnostics'].append(heads)
    tell.advance(measure.diagnose_flops(run, length) * len(run.seeds), label)
  return rows, arrays, looks


def _advance(
  tell: progress.Progress, effort: float, label: str, share: float
) -> None:
  tell.advance(share * effort, label)
  stop.obey()


def _record(
  run: config.Run,
  parent: dict[str, Any] | None,
  on: jax.sharding.Mesh,
  trained: training.Trained,
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
    learned, gate = parent['learned'], parent.get('gate', records.GATE)
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
    'parameters': measure.parameters(run),
    'transfer': trained.transfer,
    'losses': _finite(trained.losses_SxC),
    'loss_every': train.CHUNK,
    'diverged': _by_seed(run, trained.diverged_S.tolist()),
    'learned': learned,
    'gate': gate,
    'chance': {str(n): run.task.chance(n) for n in run.lengths},
    'baselines': {
      str(n): evaluate.baselines(run.task, n, run.evaluate.number(n))
      for n in run.lengths
    },
    # Digests, to tell that two records are of the same bytes.
    'examples': {
      str(n): datasets.digest(
        evaluate.examples(run.task, n, run.evaluate.number(n))
      )
      for n in run.lengths
    },
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
