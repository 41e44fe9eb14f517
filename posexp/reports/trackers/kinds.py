"""The trackers that there are, by the names that a user gives."""

import pathlib
from collections.abc import Iterable

from posexp import component
from posexp.reports.trackers import base, tensorboard, wandb

KINDS = {'tensorboard': tensorboard, 'wandb': wandb}


def check(names: Iterable[str]) -> None:
  """Raise a `UserError` for trackers that cannot be used.

  >>> check(['tensorbord'])
  Traceback (most recent call last):
  ...
  posexp.UserError: --track cannot be 'tensorbord' (did you mean tensorboard?)
  """
  names = list(names)
  for name in names:
    component.one_of('--track', name, tuple(KINDS))
  for name in names:
    KINDS[name].require(f'--track={name}')


def make(
  name: str, workdir: pathlib.Path, output: pathlib.Path | None = None
) -> base.Tracker:
  """Return a tracker of a work directory, in its own place by default."""
  kind = KINDS[name]
  return kind.Tracker(output or kind.place(workdir))
