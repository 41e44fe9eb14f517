"""Runs that one program serves, which is given what they differ in."""

import dataclasses
import functools
from collections.abc import Iterable

from posexp.runs import config

# Fields of `Train` that a program is given, seed by seed.
NUMBERS = ('learning_rate', 'decay')


@functools.lru_cache(maxsize=4096)
def stem(run: config.Run, seeds: int) -> config.Run:
  """What decides on the programs of a run: it, but for what they are given.

  Two runs with the same stem differ in nothing but which seeds they have, and
  in the `NUMBERS` of their training, or of their parents' training.

  >>> from posexp import schemes, tasks
  >>> def run(rate, seeds):
  ...   train = config.Train(learning_rate=rate)
  ...   return config.Run(
  ...     task=tasks.Recall(), scheme=schemes.RoPE(), train=train, seeds=seeds
  ...   )
  >>> stem(run(1e-3, (0, 1)), 2) == stem(run(3e-4, (5, 7)), 2)
  True

  Args:
    run: the run.
    seeds: how many a program is for.
  """
  usual = {name: getattr(config.Train(), name) for name in NUMBERS}
  return dataclasses.replace(
    run,
    train=dataclasses.replace(run.train, **usual),
    seeds=tuple(range(seeds)),
    parent=run.parent and stem(run.parent, seeds),
  )


def alike(
  runs: Iterable[config.Run],
) -> dict[str, tuple[config.Run, ...]]:
  """Those of one stem that are trained, in the order of the plan, by digest."""
  kinds: dict[str, list[config.Run]] = {}
  for run in {run.digest: run for run in runs}.values():
    if run.train.steps:
      kind = stem(run, len(run.seeds)).digest
      kinds.setdefault(kind, []).append(run)
  return {run.digest: tuple(every) for every in kinds.values() for run in every}


def pack(
  run: config.Run, every: tuple[config.Run, ...], size: int
) -> tuple[config.Run, ...]:
  """Which of all runs of one stem are trained together with a run.

  Whatever of them has finished: a grid is packed the same way after an
  interruption.

  Args:
    run: one of them.
    every: see `alike`.
    size: how many at once.
  """
  first = every.index(run) // size * size
  return every[first : first + size]
