"""Training runs, one or several at once, from checkpoint to checkpoint."""

import dataclasses
import functools
import math
import operator
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from posexp import component
from posexp.cost import flop_count
from posexp.launch import agreement
from posexp.models import memory, mesh
from posexp.results import progress, records
from posexp.runs import config, stacking
from posexp.training import checkpoint, retrofit, train_step


class Trained(NamedTuple):
  """The parameters of a run, how they came about, and what it took."""

  params: Any
  losses_SxC: np.ndarray
  diverged_S: np.ndarray
  transfer: dict[str, Any] | None
  seconds: dict[str, float]


class Beside(NamedTuple):
  """How a run is trained at the same time as others.

  Attributes:
    width: runs that the program is for, of which some may have finished.
    seconds: the run's share of the time so far, as in `Trained`.
  """

  width: int = 1
  seconds: Mapping[str, float] = {}


ALONE = Beside()

# The share of an accelerator's memory that programs may take.
SHARE = 0.8


@dataclasses.dataclass
class _Row:
  """A run in training; its state is on the host, None before the start."""

  run: config.Run
  store: checkpoint.Checkpoints
  moved: Trained | None
  step: int
  state: Any
  losses_SxC: np.ndarray

  def save(self, state: Any) -> None:
    self.store.save(self.step, {'state': state, 'losses': self.losses_SxC})


def trained(
  runs: Sequence[config.Run],
  workdir: pathlib.Path,
  tell: progress.Progress,
  beside: Beside = ALONE,
) -> list[Trained]:
  """Trains runs of one stem at once, to their last checkpoints.

  Each from its newest checkpoint, the start, or its parent's weights; those
  that are at different steps one after another. On a CPU the bits of a run are
  those that it has alone; on an accelerator those of the `width`.

  Args:
    runs: see `packs.stem`.
    workdir: where.
    tell: whom it tells how far they are.
    beside: how wide the program is.
  """
  number = beside.width * len(runs[0].seeds)
  on = mesh.mesh(number, runs[0].train.batch)
  rows: list[_Row] = []

  def begin():
    rows.extend(_begun(run, workdir, on, tell) for run in runs)
    return ' '.join(f'{row.run.digest} {row.step}' for row in rows)

  agreement.same(begin, f'what is saved under {workdir}')
  if not beside.seconds:  # They are counted already.
    tell.skip(sum(effort(row.run) * row.step for row in rows))
  found = {}
  for step in sorted({row.step for row in rows}):
    level = [row for row in rows if row.step == step]
    seconds = _advance(level, number, on, tell)
    for row in level:
      state = row.state
      had = {k: v + beside.seconds.get(k, 0.0) for k, v in seconds.items()}
      transfer = row.moved.transfer if row.moved else None
      found[row.run.digest] = Trained(
        state.params, row.losses_SxC, state.diverged_S, transfer, had
      )
  return [found[run.digest] for run in runs]


def most(run: config.Run, asked: int | None = None) -> int:
  """How many runs like one are trained at once.

  By default one on an accelerator, where the bits depend on how many, and on a
  CPU so many that no device is idle: compiling is shared by those that follow
  each other, too, and what is finished first is there first.

  Args:
    run: one of them.
    asked: how many, 0 for as many as the memory of an accelerator holds.
  """
  devices, seeds = jax.devices(), len(run.seeds)
  if asked:
    return asked
  if mesh.looped(devices[0]):
    return len(devices) // math.gcd(seeds, len(devices))
  return 1 if asked is None else fitting(stacking.stem(run, seeds))


@functools.lru_cache(maxsize=64)
def fitting(run: config.Run) -> int:
  """How many runs like one fit into the memory of the devices, by XLA.

  One, if it cannot be compiled: it will tell itself why.
  """
  on = mesh.mesh(len(run.seeds), run.train.batch)
  have = memory.available(on)
  if have is None:
    return 1
  start, advance = train_step.programs(run, on)
  members = train_step.members([run], on)
  state = jax.eval_shape(start, members)
  lower: Any = advance.lower  # type: ignore[attr-defined]
  try:
    plan = lower(state, members, np.int32(0)).compile().memory_analysis()
  except Exception:
    return 1
  need = plan.argument_size_in_bytes + plan.temp_size_in_bytes
  need += plan.output_size_in_bytes - plan.alias_size_in_bytes
  return max(1, int(SHARE * have // (need * on.devices.size)))


def effort(run: config.Run) -> float:
  """The arithmetic of a step of all seeds."""
  return flop_count.train_flops(run) * len(run.seeds)


def _begun(
  run: config.Run,
  workdir: pathlib.Path,
  on: jax.sharding.Mesh,
  tell: progress.Progress,
) -> _Row:
  """A run as it was left, or before its first step."""
  before = moved(run, workdir, on, tell) if run.parent else None
  step, saved = _resume(run, workdir, on, tell)
  state = saved['state'] if step else None
  if before and not step:
    state = train_step.busy(run, train_step.from_weights(run, before.params))
  if 0 < step < run.train.steps:
    tell.note(f'resumed {run.name} at step {step} of {run.train.steps}')
  losses_SxC = np.array(saved['losses'])
  return _Row(run, _store(run, workdir, tell), before, step, state, losses_SxC)


def _advance(
  rows: Sequence[_Row],
  number: int,
  on: jax.sharding.Mesh,
  tell: progress.Progress,
) -> dict[str, float]:
  """Takes rows of one step to the end; what it took each, in seconds."""
  run, step = rows[0].run, rows[0].step
  if step == run.train.steps:
    return dict.fromkeys(('first_chunk', 'train'), 0.0)
  runs, seeds = [row.run for row in rows], len(run.seeds)
  if mesh.looped(on.devices.flat[0]):  # Where the idle are left out.
    number = len(rows) * seeds
  start, advance = train_step.programs(run, on, number=number)
  members = train_step.members(runs, on, number)
  begun = first = time.monotonic()
  if rows[0].state is None:
    state = start(members)
  else:
    whole = jax.tree.map(lambda *x: np.concatenate(x), *(r.state for r in rows))
    state = mesh.pad_seeds(whole, on, number)
  label = run.name + (f' and {len(rows) - 1} beside it' if rows[1:] else '')
  while step < run.train.steps:
    done = min(train_step.CHUNK, run.train.steps - step)
    state, loss_MxC = advance(state, members, np.int32(step))
    mean_M = np.mean(mesh.fetch(loss_MxC)[:, :done], axis=1)
    for n, row in enumerate(rows):
      mine = slice(n * seeds, (n + 1) * seeds)
      row.losses_SxC[:, step // train_step.CHUNK] = mean_M[mine]
    first = time.monotonic() if first == begun else first
    step += done
    tell.advance(effort(run) * done * len(rows), label)
    every = run.train.checkpoint_every
    due = step // every > (step - done) // every or step == run.train.steps
    last = agreement.asked()
    if due or last:
      _keep(rows, step, state)
    if last:
      raise agreement.Left(last)
  took = {'first_chunk': first - begun, 'train': time.monotonic() - begun}
  return {name: seconds / len(rows) for name, seconds in took.items()}


def _keep(rows: Sequence[_Row], step: int, state: Any) -> None:
  """Writes a checkpoint of each; of one that has all devices, where it is."""
  last = rows[0]
  own = mesh.several() and len(state.diverged_S) == len(last.run.seeds)
  if own and step < last.run.train.steps:
    last.step = step
    last.save(state)
    return
  whole = mesh.fetch(state)
  for n, row in enumerate(rows):
    seeds = len(row.run.seeds)
    mine = slice(n * seeds, (n + 1) * seeds)
    row.step = step
    row.state = jax.tree.map(operator.itemgetter(mine), whole)
    row.save(state if own else row.state)


def weights(
  run: config.Run,
  workdir: pathlib.Path,
  on: jax.sharding.Mesh,
  tell: progress.Progress,
) -> Trained:
  """The weights of a finished run: its last checkpoint, or those it moved."""
  if run.train.steps:
    step, saved = _resume(run, workdir, on, tell)
    if step != run.train.steps:
      raise component.UserError(
        f'the last checkpoint of {run.name} cannot be read in '
        f'{records.run_directory(workdir, run.digest)}: move that directory '
        'away to train it again'
      )
    state = saved['state']
    return Trained(state.params, saved['losses'], state.diverged_S, None, {})
  return moved(run, workdir, on, tell)


def moved(
  run: config.Run,
  workdir: pathlib.Path,
  on: jax.sharding.Mesh,
  tell: progress.Progress,
) -> Trained:
  """The weights of the parent, moved to the run's scheme."""
  assert run.parent is not None
  given = weights(run.parent, workdir, on, tell)
  found = retrofit.transfer(run.parent, run, given.params)
  return given._replace(
    params=found.params,
    losses_SxC=given.losses_SxC[:, :0],
    transfer=found.to_dict(),
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
  start, _ = train_step.programs(run, on)
  shapes = jax.eval_shape(start, train_step.members([run], on))
  chunks = -(-run.train.steps // train_step.CHUNK)
  empty = {
    'state': jax.tree.map(
      lambda x: np.zeros((len(run.seeds), *x.shape[1:]), x.dtype), shapes
    ),
    'losses': np.full((len(run.seeds), chunks), np.nan, np.float32),
  }
  return _store(run, workdir, tell).latest(empty) or (0, empty)
