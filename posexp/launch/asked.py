"""What an experiment file asks: its planned contrasts."""

import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from posexp import component
from posexp.launch import grid
from posexp.results import plans
from posexp.runs import config, contrast


def contrasts(
  path: pathlib.Path,
  module: Any,
  runs: Sequence[config.Run],
  launched: Iterable[config.Run],
) -> tuple[plans.Contrast, ...]:
  """Return the planned contrasts of an experiment file.

  What its `contrasts(runs)` yields. Without that, each retrofit against its
  parent and each trained run against the file's `BASELINE` (a scheme; the
  first run of a question unless it is there), at the longest length and at its
  `TARGET` (in tokens).

  Args:
    path: of the file.
    module: the file, imported.
    runs: of the whole grid, with all changes.
    launched: those that are computed now; contrasts of others are left out.

  Raises:
    UserError: for a contrast of a run that is not in the grid, something else
      than contrasts, or a baseline or target that no run has.
  """
  digests = {run.digest for run in launched}
  runs = [run for run in runs if not run.trial]
  with grid.errors_of(path):
    asked = _asked(path, module, runs)
  return tuple(c for c in asked if digests.issuperset(c.digests))


def _asked(
  path: pathlib.Path, module: Any, runs: Sequence[config.Run]
) -> list[plans.Contrast]:
  if not callable(getattr(module, 'contrasts', None)):
    return _default(path, module, runs)
  yielded = module.contrasts(runs)
  if not isinstance(yielded, Iterable):
    raise component.UserError(
      f'contrasts(runs) of {path} must yield posexp.Contrast objects, or '
      f'return a list of them, got {yielded!r}'
    )
  planned: dict[plans.Contrast, None] = {}
  known = {run.digest for run in runs}
  for each in yielded:
    if not isinstance(each, contrast.Contrast):
      raise component.UserError(
        f'contrasts(runs) of {path} must yield posexp.Contrast objects, got '
        f'{each!r}'
      )
    for run in each.both:
      if run.digest not in known:
        raise component.UserError(
          f'contrasts(runs) of {path} compares {run.name}, which grid() does '
          'not yield as it is: take both runs from the argument `runs`'
        )
    planned[each.plan()] = None
  if not planned:
    raise component.UserError(
      f'contrasts(runs) of {path} yields nothing, so that no difference could '
      'be claimed: give at least one, or leave it out for the default'
    )
  return list(planned)


def _default(
  path: pathlib.Path, module: Any, runs: Sequence[config.Run]
) -> list[plans.Contrast]:
  candidates = [contrast.candidate(run) for run in runs]
  baseline = getattr(module, 'BASELINE', None)
  if baseline is not None:
    baseline = str(baseline)
    labels = dict.fromkeys(plans.untuned(c.label) for c in candidates)
    if baseline not in labels:
      raise component.UserError(
        f'BASELINE of {path} is {baseline}, and no run of grid() has that '
        f'scheme (there are: {"; ".join(labels)}): name one of them'
      )
  target = getattr(module, 'TARGET', None)
  lengths = sorted({length for run in runs for length in run.lengths})
  if target is not None and target not in lengths:
    raise component.UserError(
      f'TARGET of {path} is {target!r}, and no run is evaluated at it (but at '
      f'{", ".join(map(str, lengths))}): add it to the lengths of Evaluate'
    )
  return list(plans.default(candidates, baseline, target))
