"""Commands that compute runs: `posexp run` and `posexp evaluate`."""

import argparse
import pathlib
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any

from posexp import component
from posexp.cli import flags, results
from posexp.launch import exit_codes

# With these a grid was gone through, and there is something to show.
ENDED = exit_codes.DONE, exit_codes.FAILED
# Whoever launches on a cluster need not have what it computes with.
NOT_TIMED = (
  'posexp: latency was not timed, because this machine only launches the '
  'runs: to time it and write the memo again, give the same command without '
  '--executor on the machine where the model will be served'
)


def run(arguments: argparse.Namespace) -> int:
  """Train, retrofit and evaluate the unfinished runs of a grid."""
  from posexp.launch import asked, grid, launcher, multihost
  from posexp.results import plans

  executor = _executor(arguments)
  launcher.take_cores(executor)
  experiment = grid.load(arguments.FILE, arguments.size)
  if experiment.planned is not None:
    return _run_study(experiment.planned, arguments, executor)
  changes = list(arguments.set)
  if arguments.seeds is not None:
    changes.append(f'seeds={arguments.seeds}')
  runs = every = grid.change(experiment.runs, changes)
  if arguments.only:
    runs = grid.select(runs, arguments.only)
  name = pathlib.Path(arguments.FILE).stem
  workdir = pathlib.Path(arguments.workdir or f'runs/{name}')
  planned = asked.contrasts(
    pathlib.Path(arguments.FILE), experiment.module, every, runs
  )

  def write() -> None:
    plans.write(workdir, planned)

  def begin() -> None:
    _print_outlook(runs, workdir, planned, arguments.dry_run)
    if not arguments.dry_run:
      multihost.agree(write, 'the plan')

  code = _execute(runs, workdir, executor, arguments, begin)
  if code in ENDED and not arguments.dry_run:
    _present(experiment.module, runs, workdir)
  return code


def evaluate(arguments: argparse.Namespace) -> int:
  """Evaluate finished runs at other lengths.

  This uses the weights that the runs saved.
  """
  from posexp.launch import grid, launcher, reevaluate

  executor = _executor(arguments)
  launcher.take_cores(executor)
  workdir = pathlib.Path(arguments.WORKDIR)
  if arguments.FILE:  # For the classes that it defines.
    grid.load(arguments.FILE)
  if not arguments.lengths:
    raise component.UserError(
      '`posexp evaluate` needs lengths in tokens: give --lengths=8192,32768, '
      'for example'
    )
  runs = reevaluate.plan(
    workdir,
    arguments.lengths,
    examples=arguments.examples,
    window=arguments.window,
    only=arguments.only,
    seeds=arguments.seeds,
  )
  code = _execute(runs, workdir, executor, arguments)
  if code in ENDED and not arguments.dry_run:
    _present(None, grid.plan(runs), workdir)
  return code


def _run_study(planned, arguments: argparse.Namespace, executor) -> int:
  """Carry out the study of an experiment file, to its memo."""
  from posexp.launch import grid, multihost, study_runs
  from posexp.studies import plan

  for flag in ('set', 'seeds'):
    if getattr(arguments, flag):
      raise component.UserError(
        f'--{flag} would make another study of this one: change '
        f'{arguments.FILE}, or choose one of its sizes with --size'
      )
  name = f'{pathlib.Path(arguments.FILE).stem}-{planned.study.size}'
  workdir = pathlib.Path(arguments.workdir or f'runs/{name}')
  runs = planned.runs
  if arguments.only:
    runs = grid.select(runs, arguments.only)
  if not arguments.dry_run:

    def begin() -> None:
      flags.writable(workdir)
      plan.write(workdir, planned.study)

    multihost.agree(begin, 'the study')
  few = study_runs.few_seeds(planned)
  if few and multihost.leads():
    print(few, file=sys.stderr)
  code = _execute(grid.plan(runs), workdir, executor, arguments)
  if arguments.dry_run:
    print(study_runs.outlook(planned))
  elif code in ENDED:
    try:
      if executor.local:
        study_runs.measure_latency(planned, workdir)
    except KeyboardInterrupt:
      return exit_codes.INTERRUPTED
    results.write_memo(workdir)
    if not executor.local:
      print(NOT_TIMED, file=sys.stderr)
  return code


def _executor(arguments: argparse.Namespace) -> Any:
  """Return who computes, as the flags say."""
  from posexp.launch import launcher

  return launcher.ExecutorConfig(
    workers=arguments.workers,
    executor=arguments.executor,
    address=arguments.address,
    slurm=tuple(arguments.slurm),
    pack=arguments.pack,
    coordinator=arguments.coordinator,
    processes=arguments.processes,
    process=arguments.process,
    track=tuple(arguments.track),
    retries=arguments.retries,
    argv=arguments.words,
  )


def _execute(
  runs: Sequence,
  workdir: pathlib.Path,
  executor,
  arguments: argparse.Namespace,
  before: Callable[[], None] = lambda: None,
) -> int:
  """Compute what is missing of the runs, or print what it would take.

  Args:
    runs: of one grid.
    workdir: where their records go.
    executor: who computes.
    arguments: of the command.
    before: called when nothing speaks against the runs.
  """
  from posexp.launch import grid, launcher, multihost

  launcher.check(runs, workdir, executor)
  if not arguments.dry_run:
    multihost.agree(lambda: flags.writable(workdir), 'the work directory')
  before()
  if arguments.dry_run:
    if multihost.leads():
      print(grid.estimate(runs))
    return exit_codes.DONE
  return launcher.execute(runs, workdir, executor)


def _print_outlook(
  runs: Sequence, workdir: pathlib.Path, planned: Sequence, listed: bool
) -> None:
  """Say what so many seeds can show, while more can still be asked for."""
  from posexp.launch import earlier, multihost
  from posexp.reports import contrasts_text
  from posexp.results import records

  missing = [r for r in runs if not records.finished(workdir, r.digest)]
  if missing and multihost.leads():
    for note in earlier.notes(runs, workdir):
      print(f'posexp: note: {note}', file=sys.stderr)
    seeds = {run.digest: len(run.seeds) for run in runs}
    print(contrasts_text.outlook(planned, seeds), file=sys.stderr)
    if listed:
      print(contrasts_text.listing(planned), file=sys.stderr)


def _present(module: Any, runs: Sequence, workdir: pathlib.Path) -> None:
  """Print what can be claimed and the table, and draw the file's figures."""
  from posexp.claims import contrasts
  from posexp.reports import contrasts_text, tables
  from posexp.results import plans, records

  hint = shlex.quote(str(workdir))
  table = records.load(workdir, [run.digest for run in runs])
  try:
    if len(table) and module is not None:
      every = records.load(workdir)
      planned = contrasts.planned(every, plans.read(workdir, every))
      _say(contrasts_text.summary(planned, hint))
    _say(tables.text(table))
    if callable(getattr(module, 'figure', None)) and len(table):
      for path in module.figure(table, workdir) or ():
        _say(f'figure: {path}')
  finally:  # Whatever a figure does, all is recorded.
    _say(f'records: {workdir}/runs  (posexp show {hint})')


def _say(text: str) -> None:
  """Print; whoever stopped reading ends neither figures nor exit code."""
  try:
    print(text, flush=True)
  except BrokenPipeError:
    flags.silence()


COMMANDS = {
  'run': flags.Command(
    run,
    (
      flags.FILE,
      flags.workdir('runs/<name of FILE>'),
      flags.ONLY,
      flags.argument(
        '--set',
        'change a field in every run, such as train.steps=500; may be given '
        'several times',
        metavar='FIELD=VALUE',
        action='append',
        default=[],
      ),
      flags.seeds("other seeds than the file's, for every run"),
      flags.argument(
        '--size',
        'size of a study: `small` for two cores, `full` for accelerators',
      ),
      flags.DRY_RUN,
      *flags.EXECUTION,
      flags.DATA_DIR,
    ),
  ),
  'evaluate': flags.Command(
    evaluate,
    (
      flags.WORKDIR,
      flags.argument(
        'FILE',
        "the runs' experiment file, if it defines schemes or tasks of its own",
        nargs='?',
      ),
      flags.argument(
        '--lengths',
        'tokens in the evaluated sequences',
        metavar='8192,32768',
        type=flags.whole_numbers('8192,32768'),
      ),
      flags.argument(
        '--examples',
        'sequences at each length (default: as many as a run had)',
        type=flags.number(int),
      ),
      flags.argument(
        '--window',
        'width of a sliding attention window, in tokens (default: none)',
        type=flags.number(int),
      ),
      flags.ONLY,
      flags.seeds('only runs that were trained with exactly these seeds'),
      flags.DRY_RUN,
      *flags.EXECUTION,
      flags.DATA_DIR,
    ),
  ),
}
