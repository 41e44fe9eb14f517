"""Commands that read what a work directory holds, and compute no run."""

import sys

from posexp.options import FLAGS, INTERRUPTED, exactly

# To the top of a terminal that is empty then.
CLEAR = '\x1b[H\x1b[2J'


def show(words: list[str]) -> int:
  """Prints the results under a work directory."""
  from posexp import records, tables

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
  from posexp import comparisons, records, statistics

  (workdir,) = exactly(words, ['WORKDIR'], 'compare')
  results = statistics.joined(records.load(workdir))
  print(comparisons.text(comparisons.pairs(results)))
  return 0


def report(words: list[str]) -> int:
  """Writes the page of a work directory, of what is there so far."""
  from posexp.launch import status as status_lib
  from posexp.report import page

  (workdir,) = exactly(words, ['WORKDIR'], 'report')
  left = [s for s in status_lib.states(workdir) if s.kind != status_lib.DONE]
  progress = status_lib.text(workdir) if left else ''
  print(f'report: {page.write(workdir, FLAGS.output, progress)}')
  return 0
