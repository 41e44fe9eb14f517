"""Weights & Biases: a run for each seed, the seeds of a run being a group."""

import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from posexp import component
from posexp.reports.trackers import base, series

PROJECT = 'posexp'
# What W&B allows in a name or a group.
LONGEST = 128


def require(flag: str) -> None:
  """Raise a `UserError` that names the extra, or that nobody can log in.

  In a terminal W&B asks for a key, now and not once runs have been computed.
  """
  library = component.extra('wandb', flag, 'wandb')
  if os.environ.get('WANDB_MODE', 'online') in ('online', 'run', 'shared'):
    try:
      library.login()
    except library.Error as error:
      raise component.UserError(
        f'{flag} cannot log in to W&B ({_line(error)}): `wandb login` first, '
        'or WANDB_MODE=offline and `wandb sync` later'
      ) from None


def place(workdir: pathlib.Path) -> pathlib.Path:
  """Return where W&B makes its directory `wandb` unless somewhere is named."""
  return workdir


def identity(digest: str, seed: int) -> str:
  """Return the id of a seed of a run in W&B, the same whenever it is sent."""
  return f'{digest}-{seed}'


class Tracker(base.Tracker):
  """Runs of W&B, online or as the environment says (WANDB_MODE and others).

  The project is that of WANDB_PROJECT, `posexp` without. A run that is sent
  again has the same id and replaces what was there.
  """

  def has(self, digest: str, name: str, seeds: Sequence[int]) -> bool:
    return self._sent(digest).exists()

  def send(self, record: Mapping[str, Any]) -> None:
    library = component.extra('wandb', 'tracking', 'wandb')
    mark = self._sent(record['digest'])
    mark.unlink(missing_ok=True)
    taken = True
    for seed, curves in series.curves(record).items():
      try:
        taken &= self._send(library, record, seed, curves)
      except library.Error as error:
        raise component.UserError(
          f'W&B did not take {record["name"]} ({_line(error)})'
        ) from error
    if taken:
      mark.touch()

  def _sent(self, digest: str) -> pathlib.Path:
    """Return the file that says that a run was sent whole."""
    return self._output / 'wandb' / f'sent-{digest}'

  def _send(
    self,
    library: Any,
    record: Mapping[str, Any],
    seed: int,
    curves: series.Curves,
  ) -> bool:
    """Send one seed; return False if W&B was told to take nothing."""
    run_id = identity(record['digest'], seed)
    for old in (self._output / 'wandb').glob(f'*run-*-{run_id}'):
      shutil.rmtree(old, ignore_errors=True)
    name, digest = record['name'], record['digest'][:8]
    run = library.init(
      project=os.environ.get('WANDB_PROJECT', PROJECT),
      id=run_id,
      group=_short(name, f' {digest}'),
      name=_short(name, f' {digest} seed {seed}'),
      config=series.settings(record, seed),
      dir=str(self._output),
      mode=os.environ.get('WANDB_MODE'),
      reinit='create_new',  # Beside what a user has in this process.
      settings=_quiet(library),
    )
    try:
      _log(run, curves)
    finally:
      run.finish()
    return not run.disabled


def _log(run: Any, curves: series.Curves) -> None:
  """Log all numbers of a seed, each curve over what it is a curve of."""
  for kind, by in (('train', 'step'), ('length', 'tokens')):
    run.define_metric(f'{kind}/{by}', hidden=True)
    run.define_metric(f'{kind}/*', step_metric=f'{kind}/{by}')
  for step, loss in curves.loss:
    run.log({'train/step': step, 'train/loss': loss})
  for length, numbers in curves.lengths:
    named = {f'length/{name}': value for name, value in numbers.items()}
    run.log({'length/tokens': length, **named})
    run.summary[f'accuracy at {length}'] = numbers.get('accuracy')


def _quiet(library: Any) -> Any:
  """Return settings under which W&B prints and collects nothing else."""
  return library.Settings(
    silent=True,
    console='off',
    disable_git=True,
    disable_code=True,
    save_code=False,
    x_disable_meta=True,
    x_disable_stats=True,
    x_save_requirements=False,
  )


def _short(name: str, end: str) -> str:
  return name[: LONGEST - len(end)] + end


def _line(error: Exception) -> str:
  """Return the first line of an error."""
  lines = str(error).strip().splitlines()
  return lines[0].rstrip('.') if lines else type(error).__name__
