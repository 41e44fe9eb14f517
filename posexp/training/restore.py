"""How a run goes on: from its checkpoint, its parent's weights, or new."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from posexp import component
from posexp.models import blocks
from posexp.results import records
from posexp.runs import config
from posexp.training import checkpoint, rates, retrofit, train_step

Note = Callable[[str], None]


class Trained(NamedTuple):
  """The parameters of a run, how they came about, and what it took.

  Attributes:
    params: with the seeds as first axis.
    losses_SxC: the mean loss of each chunk of steps.
    diverged_S: the first step whose loss was not finite, -1 if none.
    transfer: what became of the parent's parameters, None without a parent.
    seconds: of the first chunk, which has the compilation, and of training.
  """

  params: Any
  losses_SxC: np.ndarray
  diverged_S: np.ndarray | jax.Array
  transfer: dict[str, Any] | None
  seconds: dict[str, float]


@dataclasses.dataclass
class Training:
  """A run in training.

  Attributes:
    run: the run.
    checkpoints: where it is saved.
    transfer: what became of its parent's parameters, if it has a parent.
    rate: its peak learning rate, which trials have chosen if it is tuned.
    step: how many steps it has behind it.
    state: on the host; None before the first step of a new run.
    losses_SxC: the mean loss of each chunk of steps, NaN where none was done.
    seconds: as in `Trained`.
  """

  run: config.Run
  checkpoints: checkpoint.Checkpoints
  transfer: dict[str, Any] | None
  rate: float
  step: int
  state: train_step.State | None
  losses_SxC: np.ndarray
  seconds: dict[str, float]

  def save(self, step: int, state: train_step.State) -> None:
    """Write a checkpoint."""
    self.step = step
    self.checkpoints.save(step, {'state': state, 'losses': self.losses_SxC})

  def result(self) -> Trained:
    """Return the weights, at the last step."""
    state, losses_SxC = self.state, self.losses_SxC
    assert state is not None, 'it is kept at the last step'
    return Trained(
      state.params, losses_SxC, state.diverged_S, self.transfer, self.seconds
    )


def checkpoints(
  run: config.Run, workdir: pathlib.Path, note: Note
) -> checkpoint.Checkpoints:
  """Return the checkpoints of a run in a work directory."""
  directory = records.run_directory(workdir, run.digest) / 'checkpoints'
  return checkpoint.Checkpoints(directory, digest=run.digest, report=note)


def newest(
  run: config.Run, store: checkpoint.Checkpoints, devices: jax.sharding.Mesh
) -> tuple[int, train_step.State | None, np.ndarray]:
  """Read the newest checkpoint of a run.

  Args:
    run: the run.
    store: its checkpoints.
    devices: the mesh of its programs.

  Returns:
    Its step, the state on the host and the losses so far; 0, None and NaN if
    there is none.
  """
  start, _ = train_step.programs(run, devices)
  members = train_step.members([run], devices)
  shapes = jax.eval_shape(lambda: blocks.unstacked(start(members), axis=1))
  seeds, chunks = len(run.seeds), -(-run.train.steps // train_step.CHUNK)
  like = {
    'state': jax.tree.map(
      lambda x: np.zeros((seeds, *x.shape[1:]), x.dtype), shapes
    ),
    'losses': np.full((seeds, chunks), np.nan, np.float32),
  }
  saved = store.latest(like)
  if saved is None:
    return 0, None, like['losses']
  step, tree = saved
  return step, tree['state'], np.array(tree['losses'])


def weights(
  run: config.Run, workdir: pathlib.Path, devices: jax.sharding.Mesh, note: Note
) -> Trained:
  """Return the weights of a finished run, trained or moved.

  Raises:
    UserError: if its last checkpoint cannot be read.
  """
  if not run.train.steps:
    start = moved(run, workdir, devices, note)
    assert start is not None, 'a run without steps has a parent'
    return start
  store = checkpoints(run, workdir, note)
  step, state, losses_SxC = newest(run, store, devices)
  if state is None or step != run.train.steps:
    raise component.UserError(
      f'the last checkpoint of {run.name} cannot be read in '
      f'{records.run_directory(workdir, run.digest)}: move that directory '
      'away to train it again'
    )
  return Trained(state.params, losses_SxC, state.diverged_S, None, {})


def moved(
  run: config.Run, workdir: pathlib.Path, devices: jax.sharding.Mesh, note: Note
) -> Trained | None:
  """Return the weights of the parent moved to the run's scheme.

  None where the run has no parent.
  """
  if run.parent is None:
    return None
  parent = weights(run.parent, workdir, devices, note)
  transfer = retrofit.transfer(run.parent, run, parent.params)
  return parent._replace(
    params=transfer.params,
    losses_SxC=parent.losses_SxC[:, :0],
    transfer=transfer.to_dict(),
    seconds={'first_chunk': 0.0, 'train': 0.0},
  )


def begin(
  run: config.Run,
  workdir: pathlib.Path,
  devices: jax.sharding.Mesh,
  note: Note,
) -> Training:
  """Return a run as it was left, or before its first step."""
  start = moved(run, workdir, devices, note)
  store = checkpoints(run, workdir, note)
  step, state, losses_SxC = newest(run, store, devices)
  if start and state is None:
    state = train_step.from_weights(run, start.params)
    state = train_step.busy(run, state)
  if 0 < step < run.train.steps:
    note(f'resumed {run.name} at step {step} of {run.train.steps}')
  return Training(
    run=run,
    checkpoints=store,
    transfer=start.transfer if start else None,
    rate=rates.of(run, workdir),
    step=step,
    state=state,
    losses_SxC=losses_SxC,
    seconds=dict.fromkeys(('first_chunk', 'train'), 0.0),
  )
