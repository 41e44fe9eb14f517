"""Computing one run: training, moving weights, evaluating, recording."""

import functools
import json
import pathlib
import shutil
import time
from typing import Any, NamedTuple

import jax
import numpy as np

from posexp import (
  checkpoint,
  config,
  datasets,
  diagnose,
  evaluate,
  files,
  measure,
  records,
  retrofit,
  sharding,
  train,
)
from posexp.launch import environment, progress, stop

# Rows of coverage and of diagnostics, see `diagnose.report`.
Looks = dict[str, list[dict[str, Any]]]


class Trained(NamedTuple):
  """The parameters of a run, how they came about, and what it took."""

  params: Any
  losses_SxC: np.ndarray
  diverged_S: np.ndarray
  transfer: dict[str, Any] | None
  seconds: dict[str, float]


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
  return _weights(run, workdir, on, tell).params


def compute(
  run: config.Run, workdir: pathlib.Path, tell: progress.Progress
) -> None:
  """Computes a run whose parent is finished, and writes its record."""
  start = time.monotonic()
  on = sharding.mesh(len(run.seeds), run.train.batch)
  directory = records.run_directory(workdir, run.digest)
  directory.mkdir(parents=True, exist_ok=True)
  tidy(directory)
  body = json.dumps(run.to_dict(), indent=1).encode()
  files.put(directory / 'config.json', body, over=True)
  # Too little memory and a damaged set are told before any training.
  evaluate.Evaluator(run, on).check()
  for n in run.lengths:
    evaluate.examples(run.task, n, run.evaluate.number(n))
  parent = _parent(run, workdir, tell)
  make = _train if run.train.steps else _moved
  trained = make(run, workdir, on, tell)
  begun = time.monotonic()
  results, outcomes, looks = _evaluate(run, trained.params, on, tell)
  trained.seconds['evaluate'] = time.monotonic() - begun
  trained.seconds['total'] = time.monotonic() - start
  record = _record(run, parent, on, trained, results, looks)
  records.write(workdir, record, outcomes)
  # The trained length, but for a task that does not exist there.
  told = min(run.lengths, key=lambda n: abs(n - run.trained_length))
  right = [r['token'] for r in results if r['length'] == told]
  tell.note(
    f'done    {run.name}: '
    f'{min(right):.3f} to {max(right):.3f} right at {told} '
    f'({progress.duration(trained.seconds["total"])})'
  )


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


def _train(
  run: config.Run,
  workdir: pathlib.Path,
  on: jax.sharding.Mesh,
  tell: progress.Progress,
) -> Trained:
  """Trains from the newest checkpoint, or the start, or a parent's weights."""
  moved = _moved(run, workdir, on, tell) if run.parent else None
  start, advance = train.programs(run, on)
  seeds_S = train.seeds_array(run, on)
  begun = first = time.monotonic()
  step, saved = _resume(run, workdir, on, tell)
  if step:
    tell.note(f'resumed {run.name} at step {step} of {run.train.steps}')
    state = sharding.pad_seeds(saved['state'], on, len(run.seeds))
  elif moved:
    state = train.from_weights(run, on, moved.params)
  else:
    state = start(seeds_S)
  losses = np.array(saved['losses'])
  per_step = measure.train_flops(run) * len(run.seeds)
  tell.skip(per_step * step)
  store = _store(run, workdir, tell)
  while step < run.train.steps:
    done = min(train.CHUNK, run.train.steps - step)
    state, loss_SxC = advance(state, seeds_S, np.int32(step))
    loss_SxC = train.busy(run, loss_SxC)[:, :done]
    losses[:, step // train.CHUNK] = np.mean(loss_SxC, axis=1)
    first = time.monotonic() if first == begun else first
    step += done
    tell.advance(per_step * done, run.name)
    every = run.train.checkpoint_every
    due = step // every > (step - done) // every or step == run.train.steps
    last = stop.asked()
    if due or last:
      store.save(step, {'state': train.busy(run, state), 'losses': losses})
    if last:
      stop.obey()
  seconds = {'first_chunk': first - begun, 'train': time.monotonic() - begun}
  state = train.busy(run, state)
  transfer = moved.transfer if moved else None
  return Trained(state.params, losses, state.diverged_S, transfer, seconds)


def _weights(
  run: config.Run,
  workdir: pathlib.Path,
  on: jax.sharding.Mesh,
  tell: progress.Progress,
) -> Trained:
  """The weights of a finished run: its last checkpoint, or those it moved."""
  if run.train.steps:
    step, saved = _resume(run, workdir, on, tell)
    if step != run.train.steps:
      raise ValueError(
        f'the last checkpoint of {run.name} cannot be read in '
        f'{records.run_directory(workdir, run.digest)}: move that directory '
        'away to train it again'
      )
    state = saved['state']
    return Trained(state.params, saved['losses'], state.diverged_S, None, {})
  return _moved(run, workdir, on, tell)


def _moved(
  run: config.Run,
  workdir: pathlib.Path,
  on: jax.sharding.Mesh,
  tell: progress.Progress,
) -> Trained:
  """The weights of the parent, moved to the run's scheme."""
  assert run.parent is not None
  given = _weights(run.parent, workdir, on, tell)
  moved = retrofit.transfer(run.parent, run, given.params)
  return given._replace(
    params=moved.params,
    losses_SxC=given.losses_SxC[:, :0],
    transfer=moved.to_dict(),
    seconds={'first_chunk': 0.0, 'train': 0.0},
  )


def _store(
  run: config.Run, workdir: pathlib.Path, tell: progress.Progress
) -> checkpoint.Checkpoints:
  return checkpoint.Checkpoints(
    records.run_directory(workdir, run.digest) / 'checkpoints',
    digest=run.digest,
    report=tell.note,
  )


def _resume(
  run: config.Run,
  workdir: pathlib.Path,
  on: jax.sharding.Mesh,
  tell: progress.Progress,
) -> tuple[int, dict[str, Any]]:
  """The newest step and what was saved there; step 0 if there is none."""
  start, _ = train.programs(run, on)
  shapes = jax.eval_shape(start, train.seeds_array(run, on))
  chunks = -(-run.train.steps // train.CHUNK)
  empty = {
    'state': jax.tree.map(
      lambda x: np.zeros((len(run.seeds), *x.shape[1:]), x.dtype), shapes
    ),
    'losses': np.full((len(run.seeds), chunks), np.nan, np.float32),
  }
  return _store(run, workdir, tell).latest(empty) or (0, empty)


def _evaluate(
  run: config.Run,
  params: Any,
  on: jax.sharding.Mesh,
  tell: progress.Progress,
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray], Looks]:
  """Result rows, the outcome of every target, and what attention does."""
  evaluator = evaluate.Evaluator(run, on)
  params = sharding.pad_seeds(params, on, len(run.seeds))
  rows: list[dict[str, Any]] = []
  arrays: dict[str, np.ndarray] = {}
  looks: Looks = {'coverage': [], 'diagnostics': []}
  for length in run.lengths:
    label = f'{run.name} at {length}'
    effort = measure.evaluate_flops(run, length) * len(run.seeds)
    advance = functools.partial(_advance, tell, effort, label)
    found = evaluator.outcomes(params, length, advance)
    rows += evaluate.summary(found, run.seeds)
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
  trained: Trained,
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
