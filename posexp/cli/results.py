"""Commands that read what a work directory holds, and compute no run."""

import argparse
import contextlib
import functools
import os
import pathlib
import sys

from posexp import component
from posexp.cli import flags
from posexp.launch import exit_codes

# To the top of a terminal that is empty then.
CLEAR = '\x1b[H\x1b[2J'


def show(arguments: argparse.Namespace) -> int:
  """Print the results of a work directory as a table."""
  from posexp.reports import tables
  from posexp.results import records

  print(tables.text(records.load(arguments.WORKDIR)))
  return exit_codes.DONE


def status(arguments: argparse.Namespace) -> int:
  """Print which runs are done, running or failed, and why."""
  from posexp.launch import status as status_lib

  workdir = arguments.WORKDIR
  if not arguments.follow:
    print(status_lib.text(workdir))
    return exit_codes.DONE
  try:
    for text in status_lib.followed(workdir):
      print(f'{CLEAR if sys.stdout.isatty() else ""}{text}', flush=True)
  except KeyboardInterrupt:
    return exit_codes.INTERRUPTED
  return exit_codes.DONE


def compare(arguments: argparse.Namespace) -> int:
  """Print which of the planned differences can be claimed.

  By paired tests over seeds, corrected for the number of planned comparisons.
  With --against or --length: all pairs of runs, to explore.
  """
  from posexp.claims import contrasts, intervals
  from posexp.reports import contrasts_text
  from posexp.results import plans, records

  workdir = arguments.WORKDIR
  results = records.load(workdir)
  if arguments.against is None and arguments.length is None:
    planned = contrasts.planned(results, plans.read(workdir, results))
    print(contrasts_text.text(planned))
    return exit_codes.DONE
  pairs = contrasts.pairs(intervals.joined(results))
  print(contrasts_text.explored(pairs, arguments.against, arguments.length))
  return exit_codes.DONE


def report(arguments: argparse.Namespace) -> int:
  """Write one page with figures, tables and claims."""
  from posexp.launch import status as status_lib
  from posexp.reports import page

  workdir = arguments.WORKDIR
  states = status_lib.states(workdir)
  left = [state for state in states if state.kind != status_lib.DONE]
  summary = status_lib.text(workdir) if left else ''
  output = pathlib.Path(arguments.output or pathlib.Path(workdir) / page.NAME)
  with _writing(output) as bar:
    advance = functools.partial(bar.advance, label='report')
    path = page.write(workdir, output, summary, advance)
  print(f'report: {path}')
  return exit_codes.DONE


def figures(arguments: argparse.Namespace) -> int:
  """Draw figures for a paper: PNG, PDF and LaTeX tables."""
  from posexp import plots
  from posexp.results import records

  workdir = arguments.WORKDIR
  records.load(workdir, [])  # Is there one?
  output = pathlib.Path(arguments.output or pathlib.Path(workdir) / 'figures')
  flags.writable(output, '--output')
  with _writing(output) as bar:
    advance = functools.partial(bar.advance, label='figures')
    written = plots.write(workdir, output, advance)
  for path in written.paths:
    print(f'{"table" if path.suffix == ".tex" else "figure"}: {path}')
  for note in written.notes:
    print(f'posexp: {note}', file=sys.stderr)
  return exit_codes.DONE


def export(arguments: argparse.Namespace) -> int:
  """Write the results and settings of all runs for other tools."""
  from posexp.reports import export as export_lib

  workdir, form = arguments.WORKDIR, arguments.to
  records = export_lib.finished(workdir, form)
  output = pathlib.Path(arguments.output or export_lib.place(workdir, form))
  flags.writable(output, '--output')
  with _writing(output):
    for path in export_lib.write(records, workdir, form, output):
      print(f'{form}: {path}')
  return exit_codes.DONE


def memo(arguments: argparse.Namespace) -> int:
  """Write the memo of a study, and print its decision.

  The decision follows from the records by written rules; the memo has all
  numbers, as Markdown and as HTML.
  """
  write_memo(arguments.WORKDIR)
  return exit_codes.DONE


def write_memo(workdir: str | os.PathLike) -> None:
  """Write the memo of the study in a work directory, and print its answer."""
  from posexp.inspect import mechanisms
  from posexp.reports import memo as memo_lib
  from posexp.studies import verdict

  evidence = memo_lib.load(workdir)
  cases = verdict.verdicts(evidence)
  print(memo_lib.answer(evidence, cases))
  blocks = mechanisms.blocks(evidence)
  for path in memo_lib.publish(evidence, workdir, blocks, cases):
    print(f'{path.suffix[1:]}: {path}')


@contextlib.contextmanager
def _writing(output: pathlib.Path):
  """Show progress from 0 to 1; what the file system refuses is a sentence."""
  from posexp.results import progress

  try:
    with progress.Progress(1, pathlib.Path(os.devnull)) as bar:
      yield bar
  except OSError as error:
    raise component.UserError(
      f'cannot write {error.filename or output} ({error.strerror}): make room '
      'or give another place with --output'
    ) from None


COMMANDS = {
  'show': flags.Command(show, (flags.WORKDIR,)),
  'status': flags.Command(
    status,
    (
      flags.WORKDIR,
      flags.switch('--follow', 'repeat until all runs are done'),
    ),
  ),
  'compare': flags.Command(
    compare,
    (
      flags.WORKDIR,
      flags.argument(
        '--against',
        'explore all pairs with runs whose name contains this, or matches it',
        metavar='NAME',
      ),
      flags.argument(
        '--length',
        'explore all pairs at this length, in tokens',
        metavar='N',
        type=flags.number(int),
      ),
    ),
  ),
  'report': flags.Command(
    report, (flags.WORKDIR, flags.output('WORKDIR/report.html', 'FILE'))
  ),
  'figures': flags.Command(
    figures, (flags.WORKDIR, flags.output('WORKDIR/figures'))
  ),
  'export': flags.Command(
    export,
    (
      flags.WORKDIR,
      flags.argument('--to', 'format: csv, parquet, tensorboard or wandb'),
      flags.output('the work directory'),
    ),
  ),
  'memo': flags.Command(memo, (flags.WORKDIR,)),
}
