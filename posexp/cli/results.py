"""Commands that read what a work directory holds, and compute no run."""

import contextlib
import functools
import os
import pathlib
import sys

from posexp import component
from posexp.cli.flags import FLAGS, exactly, writable
from posexp.launch.exit_codes import INTERRUPTED

# To the top of a terminal that is empty then.
CLEAR = '\x1b[H\x1b[2J'


def show(words: list[str]) -> int:
  """Prints the results under a work directory."""
  from posexp.reports import tables
  from posexp.results import records

  (workdir,) = exactly(words, ['WORKDIR'], 'show')
  print(tables.text(records.load(workdir)))
  return 0


def status(words: list[str]) -> int:
  """Prints what became of the runs of a work directory so far."""
  from posexp.launch import status as status_lib

  (workdir,) = exactly(words, ['WORKDIR'], 'status')
  try:
    for text in status_lib.followed(workdir) if FLAGS.follow else ():
      print(f'{CLEAR if sys.stdout.isatty() else ""}{text}', flush=True)
  except KeyboardInterrupt:
    return INTERRUPTED
  if not FLAGS.follow:
    print(status_lib.text(workdir))
  return 0


def compare(words: list[str]) -> int:
  """Prints which runs of a work directory differ, and which are tied."""
  from posexp.claims import contrasts, intervals
  from posexp.results import records

  (workdir,) = exactly(words, ['WORKDIR'], 'compare')
  results = intervals.joined(records.load(workdir))
  print(contrasts.text(contrasts.pairs(results)))
  return 0


def report(words: list[str]) -> int:
  """Writes the page of a work directory, of what is there so far."""
  from posexp.launch import status as status_lib
  from posexp.reports import page

  (workdir,) = exactly(words, ['WORKDIR'], 'report')
  left = [s for s in status_lib.states(workdir) if s.kind != status_lib.DONE]
  progress = status_lib.text(workdir) if left else ''
  output = pathlib.Path(FLAGS.output or pathlib.Path(workdir) / page.NAME)
  with _writing(output) as bar:
    tell = functools.partial(bar.advance, label='report')
    path = page.write(workdir, output, progress, tell)
  print(f'report: {path}')
  return 0


def export(words: list[str]) -> int:
  """Writes the results of a work directory for other tools."""
  from posexp.reports import export as export_lib

  (workdir,) = exactly(words, ['WORKDIR'], 'export')
  found = export_lib.finished(workdir, FLAGS.to)
  output = pathlib.Path(FLAGS.output or export_lib.place(workdir, FLAGS.to))
  writable(output, '--output')
  with _writing(output):
    for path in export_lib.write(found, workdir, FLAGS.to, output):
      print(f'{FLAGS.to}: {path}')
  return 0


@contextlib.contextmanager
def _writing(output: pathlib.Path):
  """Progress from 0 to 1; what the file system refuses is a sentence."""
  from posexp.results import progress

  try:
    with progress.Progress(1, pathlib.Path(os.devnull)) as bar:
      yield bar
  except OSError as error:
    raise component.UserError(
      f'cannot write {error.filename or output} ({error.strerror}): make room '
      'or give another place with --output'
    ) from None


def figures(words: list[str]) -> int:
  """Draws all that the records of a work directory allow, for a paper."""
  from posexp import plots
  from posexp.results import records

  (workdir,) = exactly(words, ['WORKDIR'], 'figures')
  records.load(workdir, [])  # Is there one?
  output = pathlib.Path(FLAGS.output or pathlib.Path(workdir) / 'figures')
  writable(output, '--output')
  with _writing(output) as bar:
    tell = functools.partial(bar.advance, label='figures')
    written = plots.write(workdir, output, tell)
  for path in written.paths:
    print(f'{"table" if path.suffix == ".tex" else "figure"}: {path}')
  for note in written.notes:
    print(f'posexp: {note}', file=sys.stderr)
  return 0
