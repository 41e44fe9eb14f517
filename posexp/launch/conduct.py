"""Having a grid computed, by this process or by workers, to an exit code."""

import pathlib
import sys
from collections.abc import Callable, Sequence

import jax

from posexp import config, measure, options, sharding
from posexp.launch import local, pool, progress, status, stop


def take_cores(workers: int) -> None:
  """Takes the cores that are this process's own; before JAX starts.

  Raises:
    ValueError: one sentence, for a number of workers that makes no sense.
  """
  pool.check(workers)
  sharding.use_all_cores()


def conduct(
  runs: Sequence[config.Run],
  workdir: pathlib.Path,
  launch: local.Launch,
  workers: int = 1,
) -> int:
  """Computes what is missing of a planned grid, and says how that ended.

  A worker's process ends here: its launcher does the rest.

  Args:
    runs: parents before their retrofits.
    workdir: where records go; other launchers may share it.
    launch: this one.
    workers: processes; with 1 it is this one that computes.

  Returns:
    0, 1 if some run failed, 3 if the disk is full, 130 or 143 if it was stopped
    by SIGINT or SIGTERM.
  """
  sharding.cache_compilations()
  if workers > 1 and not sharding.on_cpu(jax.devices()[0]):
    raise ValueError(
      f'--workers={workers} is for CPUs: one process uses all of an '
      'accelerator; leave it out'
    )
  log, mine = workdir / 'log.txt', pool.joined()
  if mine is not None:
    share = lambda tell: local.execute(runs, workdir, tell, mine)
    with pool.Voice(1.0, log) as voice:
      sys.exit(_ended(share, voice))
  status.check(workdir)
  efforts = [measure.run_flops(run) for run in runs]

  def work(tell: progress.Progress) -> local.Failures:
    plan = [(r.digest, r.name, e) for r, e in zip(runs, efforts, strict=True)]
    try:
      status.plan(workdir, plan)
    except OSError as error:
      if local.is_full(error):
        raise local.full(workdir) from error
      raise
    if workers == 1:
      return local.execute(runs, workdir, tell, launch)
    return pool.execute(runs, workdir, tell, launch, workers)

  with progress.Progress(sum(efforts), log) as tell:
    return _ended(work, tell)


def _ended(
  work: Callable[[progress.Progress], local.Failures], tell: progress.Progress
) -> int:
  """Does the work, and tells how it ended."""
  try:
    with stop.noted():
      failures = work(tell)
  except KeyboardInterrupt as stopped:
    if pool.joined() is None:
      tell.note(
        'stopped: what is finished is kept; the same command goes on from the '
        'last checkpoint'
      )
    return getattr(stopped, 'code', options.INTERRUPTED)
  except local.Full as full:
    tell.note(str(full))
    return full.code
  return options.FAILED if failures else 0
