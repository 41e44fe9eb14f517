"""How many runs one program trains at once."""

import math
from typing import Any

import jax
import numpy as np

from posexp import component
from posexp.models import memory, mesh
from posexp.runs import config
from posexp.training import train_step

# The share of an accelerator's memory that programs may take.
SHARE = 0.8


def most(run: config.Run, asked: int | None = None) -> int:
  """Return how many runs like one are trained at once.

  By default one on an accelerator, where the bits depend on how many, and on a
  CPU so many that no device is idle: runs that follow each other share their
  compiled program, too, and the first of them is finished sooner.

  Args:
    run: one of them.
    asked: how many, 0 for as many as the memory of an accelerator holds.
  """
  devices, seeds = jax.devices(), len(run.seeds)
  if asked:
    return asked
  if mesh.looped(devices[0]):
    return len(devices) // math.gcd(seeds, len(devices))
  return 1 if asked is None else fitting(run)


@component.cached(maxsize=64)
def fitting(run: config.Run) -> int:
  """Return how many runs like one fit into the memory of the devices, by XLA.

  One, if it cannot be compiled: training it says why.
  """
  devices = mesh.mesh(len(run.seeds), run.train.batch)
  available = memory.available(devices)
  if available is None:
    return 1
  start, advance = train_step.programs(run, devices)
  members = train_step.members([run], devices)
  state = jax.eval_shape(start, members)
  program: Any = advance
  try:
    lowered = program.lower(state, members, np.int32(0))
    plan = lowered.compile().memory_analysis()
  except Exception:
    return 1
  needed = plan.argument_size_in_bytes + plan.temp_size_in_bytes
  needed += plan.output_size_in_bytes - plan.alias_size_in_bytes
  return max(1, int(SHARE * available // (needed * devices.devices.size)))
