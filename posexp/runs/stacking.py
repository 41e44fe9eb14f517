"""Runs that are trained together: one program, given what they differ in."""

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from posexp import schemes, tasks
from posexp.runs import config, diff

# Fields of `Train` that a program is given for each seed.
NUMBERS = ('learning_rate', 'decay', 'warm_in')


class Stem(NamedTuple):
  """What the program that trains a run depends on, but for its seeds.

  Attributes:
    task: what is learned.
    model: the shape of the model.
    train: how it is trained, the `NUMBERS` at their defaults.
    forms: by length, the form of the scheme in a step at that length.
    added: the places in the scheme's `parts` of the biases that an adaptation
      adds, which may be warmed in.
    steps_before: that its data go on from.
  """

  task: tasks.Task
  model: config.Model
  train: config.Train
  forms: tuple[tuple[int, schemes.Scheme], ...]
  added: tuple[int, ...]
  steps_before: int

  def scheme(
    self, numbers: Sequence[schemes.Numbers], length: int | None = None
  ) -> schemes.Scheme:
    """Return the scheme in a step at a length, given numbers for each form."""
    place = [n for n, _ in self.forms].index(length or self.train.length)
    return schemes.fill(self.forms[place][1], numbers[place])


@functools.lru_cache(maxsize=4096)
def split(run: config.Run) -> tuple[Stem, tuple[schemes.Numbers, ...]]:
  """Return the stem of a run, and the numbers of the scheme for each form.

  Two runs with the same stem differ in nothing but their seeds, the numbers of
  their schemes (see `schemes.take`) and the `NUMBERS` of their training,
  whoever chose them.

  >>> from posexp import schemes, tasks
  >>> def run(base, rate):
  ...   train = config.Train(learning_rate=rate)
  ...   return config.Run(
  ...     task=tasks.Recall(), scheme=schemes.RoPE(base=base), train=train
  ...   )
  >>> split(run(500, 1e-3))[0] == split(run(1e4, 3e-4))[0]
  True
  """
  train, defaults = run.train, config.Train()
  lengths = sorted({*train.rungs, train.length})
  taken = [
    schemes.take(
      run.trained_scheme_at(length), run.model.dims, run.model.compute
    )
    for length in lengths
  ]
  added: tuple[int, ...] = ()
  if run.parent is not None:
    added = diff.added_biases(run.parent.scheme, run.scheme)
  stem = Stem(
    run.task,
    run.model,
    dataclasses.replace(train, **{n: getattr(defaults, n) for n in NUMBERS}),
    tuple((n, form) for n, (form, _) in zip(lengths, taken)),
    added,
    run.steps_before,
  )
  return stem, tuple(numbers for _, numbers in taken)


def alike(
  runs: Iterable[config.Run],
) -> dict[str, tuple[config.Run, ...]]:
  """Return the runs that can be trained with it, for the digest of each run.

  In order: those of its stem and of its number of seeds, with parents that are
  alike too, and trials only with trials, so that none has to wait for another.
  """
  by_stem: dict[Any, list[config.Run]] = {}
  for run in {run.digest: run for run in runs}.values():
    if run.train.steps:
      by_stem.setdefault(_stems(run), []).append(run)
  return {
    run.digest: tuple(siblings)
    for siblings in by_stem.values()
    for run in siblings
  }


def _stems(run: config.Run) -> tuple[Any, ...]:
  """Return the stems of a run and of all that it comes from."""
  before = () if run.parent is None else _stems(run.parent)
  return (split(run)[0], len(run.seeds), run.trial, *before)


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
