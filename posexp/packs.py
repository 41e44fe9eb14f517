"""Runs that one program serves, which is given what they differ in."""

import dataclasses
import functools
from collections.abc import Callable, Iterable

from posexp import config

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


def side_by_side(
  runs: Iterable[config.Run], most: Callable[[config.Run], int]
) -> dict[str, tuple[config.Run, ...]]:
  """Which runs are trained together: the pack of each run, by its digest.

  Runs of one stem in the order of the plan, whatever of them has finished: so
  a grid is packed the same way after an interruption.

  Args:
    runs: of a grid.
    most: how many runs like one are trained at once.
  """
  kinds: dict[config.Run, list[config.Run]] = {}
  for run in dict.fromkeys(runs):
    if run.train.steps:
      kinds.setdefault(stem(run, len(run.seeds)), []).append(run)
  packs: dict[str, tuple[config.Run, ...]] = {}
  for alike in kinds.values():
    size = most(alike[0]) if len(alike) > 1 else 1
    for first in range(0, len(alike), size):
      pack = tuple(alike[first : first + size])
      packs |= dict.fromkeys((run.digest for run in pack), pack)
  return packs
