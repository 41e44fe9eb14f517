"""Runs that are trained together: one program, given what they differ in."""

import dataclasses
import functools
from collections.abc import Iterable

from posexp.runs import config

# Fields of `Train` that a program is given for each seed.
NUMBERS = ('learning_rate', 'decay')


@functools.lru_cache(maxsize=4096)
def stem(run: config.Run, seeds: int) -> config.Run:
  """Return what the programs of a run depend on, as a run.

  Two runs with the same stem differ in nothing but their seeds, and the
  `NUMBERS` of their training or of their parents' training, whoever chose them.

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
    seeds: the number of seeds of a program.
  """
  defaults = {name: getattr(config.Train(), name) for name in NUMBERS}
  return dataclasses.replace(
    run,
    train=dataclasses.replace(run.train, **defaults),
    seeds=tuple(range(seeds)),
    parent=run.parent and stem(run.parent, seeds),
    tuning=None,
    trial=False,
  )


def trained(run: config.Run) -> config.Run:
  """Return the stem of one seed without what only its evaluation depends on.

  So that the trials of a tuned run, which are evaluated at one length, are
  trained by the program of the run.
  """
  one = stem(run, 1)
  if one.parent is not None:
    return one
  evaluation = config.Evaluate(lengths=(one.train.length,))
  return dataclasses.replace(one, evaluate=evaluation)


def alike(
  runs: Iterable[config.Run],
) -> dict[str, tuple[config.Run, ...]]:
  """Return the runs of its stem, in order, for the digest of each run."""
  by_stem: dict[str, list[config.Run]] = {}
  for run in {run.digest: run for run in runs}.values():
    if run.train.steps:
      digest = stem(run, len(run.seeds)).digest
      by_stem.setdefault(digest, []).append(run)
  return {
    run.digest: tuple(siblings)
    for siblings in by_stem.values()
    for run in siblings
  }


def pack(
  run: config.Run, siblings: tuple[config.Run, ...], size: int
) -> tuple[config.Run, ...]:
  """Return the runs that are trained together with a run, itself included.

  Whether one of them has finished does not matter: a grid is packed the same
  way after an interruption.

  Args:
    run: one of the siblings.
    siblings: all runs of its stem, as `alike` gives them.
    size: how many are trained at once.
  """
  first = siblings.index(run) // size * size
  return siblings[first : first + size]
