"""The training loop: from runs to trained weights, checkpoint by checkpoint."""

import functools
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from posexp.models import blocks, environment, mesh
from posexp.runs import config
from posexp.training import monitor as monitor_lib
from posexp.training import restore, train_step


@environment.fixed()
def train(
  runs: Sequence[config.Run],
  workdir: pathlib.Path,
  monitor: monitor_lib.Monitor | None = None,
  width: int = 1,
) -> list[restore.Trained]:
  """Train runs of one stem at once, to their last checkpoints.

  Each goes on from its newest checkpoint, or begins with new weights or with
  its parent's. Those that are at different steps are trained one after another.
  On a CPU the bits of a run are those that it has alone; on an accelerator they
  depend on `width`.

  Args:
    runs: one, or several of the same `stacking.Stem`.
    workdir: where their checkpoints are.
    monitor: what is told and asked after every chunk of steps.
    width: runs that the program is for, of which some may have finished.

  Returns:
    The trained weights of each run.
  """
  monitor = monitor or monitor_lib.Monitor()
  members = width * len(runs[0].seeds)
  devices = mesh.mesh(members, runs[0].train.batch)
  trainings: list[restore.Training] = []

  def begin() -> str:
    trainings.extend(
      restore.begin(run, workdir, devices, monitor.note) for run in runs
    )
    return ' '.join(f'{t.run.digest} {t.step} {t.rate}' for t in trainings)

  monitor.agree(begin, f'what is saved under {workdir}')
  levels: dict[int, list[restore.Training]] = {}
  for training in trainings:
    monitor.skip(training.run, training.step)
    levels.setdefault(training.step, []).append(training)
  for step in sorted(levels):
    _advance(levels[step], step, members, devices, monitor)
  return [training.result() for training in trainings]


def _advance(
  trainings: Sequence[restore.Training],
  step: int,
  members: int,
  devices: jax.sharding.Mesh,
  monitor: monitor_lib.Monitor,
) -> None:
  """Take runs that are at one step to the end, in one program."""
  runs = [training.run for training in trainings]
  run, seeds = runs[0], len(runs[0].seeds)
  if step == run.train.steps:
    return
  if mesh.looped(devices.devices.flat[0]):  # Idle members are left out there.
    members = len(runs) * seeds
  start, advance = train_step.programs(run, devices, number=members)
  rates = [training.rate for training in trainings]
  inputs = train_step.members(runs, devices, members, rates)
  begun, first_chunk = time.monotonic(), 0.0
  if trainings[0].state is None:
    state = start(inputs)
  else:
    states = [training.state for training in trainings]
    whole = jax.tree.map(lambda *x_S: np.concatenate(x_S), *states)
    state = mesh.pad_seeds(blocks.stacked(whole, axis=1), devices, members)
  while step < run.train.steps:
    steps = min(train_step.CHUNK, run.train.steps - step)
    state, loss_MxC = advance(state, inputs, np.int32(step))
    mean_M = np.mean(mesh.fetch(loss_MxC)[:, :steps], axis=1)
    for n, training in enumerate(trainings):
      mean_S = mean_M[n * seeds : (n + 1) * seeds]
      training.losses_SxC[:, step // train_step.CHUNK] = mean_S
    first_chunk = first_chunk or time.monotonic() - begun
    step += steps
    monitor.advance(runs, steps)
    stop = monitor.stop()
    if stop or step == run.train.steps or _due(run, step, steps):
      _save(trainings, step, state)
    if stop:
      raise stop
  seconds = time.monotonic() - begun
  for training in trainings:
    training.seconds['first_chunk'] = first_chunk / len(runs)
    training.seconds['train'] = seconds / len(runs)


def _due(run: config.Run, step: int, steps: int) -> bool:
  """Return whether a multiple of `checkpoint_every` is among the last steps."""
  every = run.train.checkpoint_every
  return step // every > (step - steps) // every


def _save(trainings: Sequence[restore.Training], step: int, state: Any) -> None:
  """Write a checkpoint of each run; at the last step keep its state, too."""
  run, seeds = trainings[0].run, len(trainings[0].run.seeds)
  # Several processes each write their part of arrays that are one run's alone.
  spread = mesh.several() and len(state.diverged_S) == seeds
  if spread:
    state = _unstacked(state)
  if spread and step < run.train.steps:
    trainings[0].save(step, state)
    return
  whole = blocks.unstacked(mesh.fetch(state), axis=1)
  for n, training in enumerate(trainings):
    part = slice(n * seeds, (n + 1) * seeds)
    training.state = jax.tree.map(lambda x, part=part: x[part], whole)
    training.save(step, state if spread else training.state)


# Of arrays of several processes, which need a program for it.
_unstacked = jax.jit(functools.partial(blocks.unstacked, axis=1))
