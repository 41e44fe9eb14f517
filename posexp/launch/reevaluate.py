"""Finished runs evaluated again at other lengths, from their saved weights."""

import dataclasses
import os
from collections.abc import Iterable, Sequence
from typing import Any

from posexp import component
from posexp.launch import grid
from posexp.results import records
from posexp.runs import config


def plan(
  workdir: str | os.PathLike,
  lengths: Iterable[int],
  *,
  examples: int | None = None,
  window: int | None = None,
  only: str | None = None,
  seeds: Sequence[int] | None = None,
) -> tuple[config.Run, ...]:
  """Plan a run for each finished run of a work directory and each length.

  Each takes over the weights of the run that is its parent, under the same
  scheme; retrofits are evaluated too. One length each, so that a length that
  was evaluated once is never computed again. Short lengths come first.

  Args:
    workdir: as given to `posexp run`.
    lengths: tokens in the evaluated sequences.
    examples: sequences at each length; None is as many as each run had.
    window: as in `config.Evaluate`.
    only: text that the name of a run must contain, or match as a glob.
    seeds: those that a run must have.

  Raises:
    UserError: if there is nothing to evaluate, a record is of another version,
      or a run does not serve a length; it names the run.
  """
  runs = finished(workdir, only, seeds)
  return tuple(
    _again(run, length, examples, window)
    for length in sorted(set(lengths))
    for run in runs
  )


def finished(
  workdir: str | os.PathLike,
  only: str | None = None,
  seeds: Sequence[int] | None = None,
) -> list[config.Run]:
  """Return the finished runs of a work directory, but those of `plan`."""
  trained = [r for r in records.read_all(workdir) if not records.reevaluates(r)]
  if not trained:
    raise component.UserError(
      f'no finished run in {workdir}: `posexp run FILE --workdir={workdir}` '
      'trains those of a file'
    )
  if only:
    names = [record['name'] for record in trained]
    trained = [r for r in trained if component.matches(r['name'], only)]
    if not trained:
      raise grid.no_match(only, names)
  runs = [_run(record) for record in trained]
  chosen = [r for r in runs if seeds is None or r.seeds == tuple(seeds)]
  if not chosen:
    have = ' or '.join(sorted({','.join(map(str, r.seeds)) for r in runs}))
    raise component.UserError(
      f'no finished run in {workdir} was trained with exactly the seeds '
      f'{",".join(map(str, seeds or ()))}: give --seeds={have}, or leave it out'
    )
  return chosen


def _run(record: dict[str, Any]) -> config.Run:
  """Return the run that a record is of."""
  try:
    run = config.Run.from_dict(record['config'])
  except component.UserError as error:
    raise component.UserError(f'{record["name"]}: {error}') from None
  if run.digest != record['digest']:
    raise component.UserError(
      f'{record["name"]} was run with another version of posexp, or of classes '
      f'of its own, as {record["digest"]} is now {run.digest}: run it again, '
      'or choose others with --only'
    )
  return run


def _again(
  run: config.Run, length: int, examples: int | None, window: int | None
) -> config.Run:
  examples = run.evaluate.number(length) if examples is None else examples
  window = run.evaluate.window if window is None else window
  if window is not None and window >= length:  # It would hide nothing.
    window = None
  try:
    return run.retrofit(
      run.scheme,
      evaluate=dataclasses.replace(
        run.evaluate,
        lengths=(length,),
        examples=examples,
        tokens=0,
        window=window,
      ),
    )
  except component.UserError as error:
    raise component.UserError(
      f'{run.name} at {length} tokens: {error}'
    ) from None
