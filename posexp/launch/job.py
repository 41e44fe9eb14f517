"""Computing one run: training, moving weights, evaluating, recording."""

import functools
import json
import pathlib
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from posexp import component, data
from posexp.attention import precision
from posexp.cost import flop_count
from posexp.evaluation import diagnostics, evaluate, scoring
from posexp.launch import multihost
from posexp.models import environment, mesh
from posexp.results import files, progress, records
from posexp.runs import config
from posexp.training import checkpoint, loop, rates, restore, train_step
from posexp.training import monitor as monitor_lib

# Rows of coverage and of diagnostics, see `diagnostics.report`.
Attention = dict[str, list[dict[str, Any]]]
# A record, and the outcomes beside it.
Computed = tuple[dict[str, Any], dict[str, np.ndarray]]

CONFIG = 'config.json'
# What of a record is its root's: which seeds count, and how it was tuned.
LEARNED = 'learned', 'learned_by_task', 'gate', 'tuned'
# Seconds until a file that one host wrote is seen by another.
PATIENCE = 90.0


def step_flops(run: config.Run) -> float:
  """Return the arithmetic of a step of all seeds."""
  return flop_count.train_flops(run) * len(run.seeds)


class _Monitor(monitor_lib.Monitor):
  """A training loop's progress, and what may stop it.

  What earlier processes did is counted unless it is `counted` already.
  """

  def __init__(self, tell: progress.Progress, counted: bool = False):
    self._tell, self._counted = tell, counted

  def note(self, text: str) -> None:
    self._tell.note(text)

  def skip(self, run: config.Run, steps: int) -> None:
    if not self._counted:
      self._tell.skip(step_flops(run) * steps)

  def advance(self, runs: Sequence[config.Run], steps: int) -> None:
    more = f' and {len(runs) - 1} beside it' if runs[1:] else ''
    effort = sum(step_flops(run) for run in runs) * steps
    self._tell.advance(effort, runs[0].name + more)

  def stop(self) -> BaseException | None:
    return multihost.stop()

  def agree(self, work: Callable[[], str], what: str) -> None:
    multihost.agree(work, what)


def actions(
  workdir: pathlib.Path, tell: progress.Progress
) -> dict[int, multihost.Action]:
  """Return what every process of a run over several hosts can be told to do."""
  return {
    multihost.COMPUTE: lambda runs, width, seconds=None: compute(
      runs[0], workdir, tell, width, seconds
    ),
    multihost.TRAIN: lambda runs, width: train(runs, workdir, tell, width),
  }


@environment.fixed()
def weights(
  run: config.Run, workdir: pathlib.Path, tell: progress.Progress
) -> Any:
  """Return the parameters of a finished run, with the seeds as first axis.

  Raises:
    UserError: if the run has not finished, or its weights cannot be read.
  """
  if records.read(workdir, run.digest) is None:
    raise component.UserError(
      f'{run.name} has not finished in {workdir}: run it first, with the same '
      'configuration'
    )
  devices = mesh.mesh(len(run.seeds), run.train.batch)
  return restore.weights(run, workdir, devices, tell.note).params


@environment.fixed()
def train(
  runs: Sequence[config.Run],
  workdir: pathlib.Path,
  tell: progress.Progress,
  width: int,
) -> list[restore.Trained]:
  """Train runs of one stem at once, for `compute` to go on with."""
  _prepare(runs, workdir, tell)
  return loop.train(runs, workdir, _Monitor(tell), width)


@environment.fixed()
def compute(
  run: config.Run,
  workdir: pathlib.Path,
  tell: progress.Progress,
  width: int = 1,
  seconds: Mapping[str, float] | None = None,
) -> Computed:
  """Compute a run whose parent is finished, in each process that it has.

  Args:
    run: the run.
    workdir: where its parent's weights and its own checkpoints are.
    tell: its progress.
    width: runs that its training program is for.
    seconds: what its training took, if it was trained beside others.
  """
  start, before = time.monotonic(), seconds or {}
  devices = mesh.mesh(len(run.seeds), run.train.batch)
  parents = _prepare([run], workdir, tell)
  if run.train.steps:
    monitor = _Monitor(tell, counted=bool(before))
    (trained,) = loop.train([run], workdir, monitor, width)
  else:
    trained = restore.weights(run, workdir, devices, tell.note)
  begun = time.monotonic()
  parent = parents[0] if parents else None
  learned = _learned(run, parent, trained.params, devices, tell)
  if run.tuning:
    learned['tuned'] = rates.choose(run, workdir).to_dict()
  results, outcomes, attention = _evaluate(run, trained.params, devices, tell)
  now = time.monotonic()
  took = {k: v + before.get(k, 0.0) for k, v in trained.seconds.items()}
  took['evaluate'] = now - begun
  took['total'] = now - start + before.get('train', 0.0)
  record = _record(run, parent, devices, trained, took, results)
  return record | learned | attention, outcomes


def keep(
  run: config.Run,
  workdir: pathlib.Path,
  tell: progress.Progress,
  computed: Computed,
) -> None:
  """Write the record of a run that was computed.

  Another process may have written it before this one, where a file system lost
  a claim; then that record stands.

  Raises:
    DamagedRecord: if it cannot be read.
  """
  record, outcomes = computed
  try:
    path = records.write(workdir, record, outcomes)
    tidy(path.parent)
  except files.AlreadyThere:
    tell.note(f'twice   {run.name}: another process has finished it before')
    records.read(workdir, run.digest)
    return
  # The trained length, but for a task that does not exist there.
  nearest = min(run.lengths, key=lambda n: abs(n - run.trained_length))
  right = [r['token'] for r in record['results'] if r['length'] == nearest]
  accuracy = f'{100 * min(right):.1f} to {100 * max(right):.1f} %'
  duration = progress.duration(record['seconds']['total'])
  rate = f', learning rate {record["tuned"]["rate"]:g}' if run.tuning else ''
  tell.note(
    f'done    {run.name}: accuracy {accuracy} over seeds at {nearest} tokens'
    f'{rate} ({duration})'
  )


def _prepare(
  runs: Sequence[config.Run], workdir: pathlib.Path, tell: progress.Progress
) -> list[dict[str, Any] | None]:
  """Make runs' directories; find out before training what cannot be.

  Returns:
    The records of the runs' parents, in the first process.

  Raises:
    UserError: of too little memory, a damaged evaluation set, or processes that
      do not have the same work directory.
  """
  parents: list[dict[str, Any] | None] = []
  paths = [records.run_directory(workdir, run.digest) / CONFIG for run in runs]

  def prepare() -> str:
    digests: list[str] = []
    for run, path in zip(runs, paths, strict=True):
      if multihost.leads():
        files.make_directory(path.parent)
        body = json.dumps(run.to_dict(), indent=1).encode()
        files.put(path, body, over=True)
        parents.append(_parent_record(run, workdir, tell))
      on = mesh.mesh(len(run.seeds), run.train.batch)
      evaluate.Evaluator(run, on).check()
      digests += [*_examples(run).values(), str(_gate_examples(run))]
    return ' '.join(digests)

  def seen() -> str:
    """Wait until this process sees what the first one wrote."""
    until = time.monotonic() + PATIENCE
    for path in paths:
      while not path.exists():
        if time.monotonic() > until:
          return f'no {path}'
        time.sleep(0.5)
    return 'all'

  multihost.agree(prepare, 'evaluation data')
  multihost.agree(seen, f'the work directory {workdir}')
  return parents


def _examples(run: config.Run) -> dict[str, str]:
  """Digests by length, to tell that two records are of the same bytes."""
  digests = {}
  for length in run.lengths:
    number = run.evaluate.number(length)
    examples = evaluate.examples(run.task, length, number)
    digests[str(length)] = data.digest(examples)
  return digests


def _gate_examples(run: config.Run) -> str | None:
  """The digest of the examples that decide which seeds count, of a root."""
  if run.parent is not None:
    return None
  length = run.trained_length
  number = run.evaluate.number(length)
  return data.digest(
    evaluate.examples(run.task, length, number, evaluate.GATE_FOLD)
  )


def tidy(directory: pathlib.Path) -> None:
  """Remove what processes that were killed had half written.

  For whoever holds the lock, once there is a record: before, it may be of a
  process that lost its lock.
  """
  for path in directory.glob('.*.partial'):
    path.unlink(missing_ok=True)
  for path in directory.glob(f'checkpoints/{checkpoint.SAVING}*'):
    shutil.rmtree(path, ignore_errors=True)


def _parent_record(
  run: config.Run, workdir: pathlib.Path, tell: progress.Progress
) -> dict[str, Any] | None:
  """Return the parent's record; note, before any compute, a failed gate."""
  if run.parent is None:
    return None
  record = records.read(workdir, run.parent.digest)
  if record is None:
    raise records.DamagedRecord(
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


def _learned(
  run: config.Run,
  parent: dict[str, Any] | None,
  params: Any,
  devices: jax.sharding.Mesh,
  tell: progress.Progress,
) -> dict[str, Any]:
  """Return which seeds count, and why: what a retrofit has from its root.

  Not on the examples that results are of: their accuracy at the trained length
  would be cut at the gate. The programs are those of the evaluation.
  """
  if run.parent is not None:  # Its record is read in the first process alone.
    inherited = parent or {}
    return {n: inherited[n] for n in LEARNED if n in inherited}
  evaluator, seeds = evaluate.Evaluator(run, devices), len(run.seeds)
  advance = functools.partial(
    _advance, tell, flop_count.gate_flops(run) * seeds, f'{run.name}: gate'
  )
  outcomes = evaluator.outcomes(
    mesh.pad_seeds(params, devices, seeds),
    run.trained_length,
    advance,
    evaluate.GATE_FOLD,
  )
  gate = records.GATE if run.task.gate is None else run.task.gate
  return {**scoring.learned(outcomes, run.seeds), 'gate': gate}


def _evaluate(
  run: config.Run,
  params: Any,
  devices: jax.sharding.Mesh,
  tell: progress.Progress,
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray], Attention]:
  """Result rows, the outcome of every target, and what attention does."""
  evaluator, seeds = evaluate.Evaluator(run, devices), len(run.seeds)
  params = mesh.pad_seeds(params, devices, seeds)
  results: list[dict[str, Any]] = []
  arrays: dict[str, np.ndarray] = {}
  attention: Attention = {'coverage': [], 'diagnostics': []}
  for length in run.lengths:
    label = f'{run.name} at {length}'
    effort = flop_count.evaluate_flops(run, length) * seeds
    advance = functools.partial(_advance, tell, effort, label)
    outcomes = evaluator.outcomes(params, length, advance)
    results += scoring.summary(outcomes, run.seeds)
    arrays[f'{length}/kind'] = outcomes.kind_SxT
    arrays[f'{length}/nats'] = outcomes.nats_SxT
    arrays[f'{length}/example'] = outcomes.example_T
    for name, values in outcomes.strata.items():
      arrays[f'{length}/strata/{name}'] = values
    if length in run.diagnosed:
      coverage, heads = diagnostics.report(run, params, length, devices)
      attention['coverage'] += coverage
      attention['diagnostics'].append(heads)
      tell.advance(flop_count.diagnose_flops(run, length) * seeds, label)
  return results, arrays, attention


def _advance(
  tell: progress.Progress, effort: float, label: str, share: float
) -> None:
  tell.advance(share * effort, label)
  if stop := multihost.stop():
    raise stop


def _record(
  run: config.Run,
  parent: dict[str, Any] | None,
  devices: jax.sharding.Mesh,
  trained: restore.Trained,
  seconds: Mapping[str, float],
  results: list[dict[str, Any]],
) -> dict[str, Any]:
  """All that is kept of a run but its attention, as plain JSON values.

  `parent` is the record of the run's parent, if it has one.
  """
  diverged = zip(run.seeds, trained.diverged_S.tolist(), strict=True)
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
    'revision': config.REVISION,
    'versions': environment.versions(),
    'device': environment.device(devices),
    'matmul_precision': precision.of(run.model.compute),
    'seconds': {k: round(v, 3) for k, v in seconds.items()},
    'parameters': flop_count.parameters(run),
    'transfer': trained.transfer,
    'losses': trained.losses_SxC.tolist(),
    'loss_every': train_step.CHUNK,
    'diverged': {str(seed): step for seed, step in diverged},
    'chance': {str(n): run.task.chance(n) for n in run.lengths},
    'baselines': {
      str(n): evaluate.baselines(run.task, n, run.evaluate.number(n))
      for n in run.lengths
    },
    'examples': _examples(run),
    'gate_examples': _gate_examples(run),
    'results': results,
  }
