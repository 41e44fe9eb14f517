"""Commands that time schemes on this machine."""

import argparse
import pathlib

from posexp.cli import flags
from posexp.launch import exit_codes


def measure(arguments: argparse.Namespace) -> int:
  """Measure time and memory of schemes side by side.

  A training step, prefill and decoding, and what grows with the context; as a
  table, a figure and a record.
  """
  from posexp import schemes
  from posexp.cost import measure as measure_lib
  from posexp.plots import figures, paper
  from posexp.reports import cost_text
  from posexp.results import cost_records

  given = {
    'compared': tuple(map(schemes.parse, arguments.SCHEME)) or None,
    'baseline': arguments.baseline and schemes.parse(arguments.baseline),
    'quantities': arguments.what,
  }
  names = 'lengths layers heads head_width rounds minutes resident'
  given |= {name: getattr(arguments, name) for name in names.split()}
  question = measure_lib.Question(
    **{name: value for name, value in given.items() if value is not None}
  )
  workdir = pathlib.Path(arguments.workdir or 'runs/measure')
  flags.writable(workdir)
  body = measure_lib.answer(question, workdir / 'log.txt')
  path = cost_records.write(workdir, body)
  body = cost_records.read(path)
  print(cost_text.text(body))
  if body['groups']:
    plate = figures.cost(body)
    for drawn in paper.save(plate.figure, workdir, 'measure'):
      print(f'figure: {drawn}')
  print(f'record: {path}')
  return exit_codes.INTERRUPTED if body['interrupted'] else exit_codes.DONE


def bench(arguments: argparse.Namespace) -> int:
  """Print the training speed of each scheme."""
  from posexp.cost import bench as bench_lib

  del arguments
  print(bench_lib.table())
  return exit_codes.DONE


COMMANDS = {
  'measure': flags.Command(
    measure,
    (
      flags.argument(
        'SCHEME', 'the schemes to compare (default: ten)', nargs='*'
      ),
      flags.argument(
        '--lengths',
        'tokens in a training step, a prompt and the cache '
        '(default: 2048,8192,32768)',
        metavar='2048,8192',
        type=flags.whole_numbers('2048,8192'),
      ),
      flags.argument(
        '--baseline',
        'the scheme that ratios refer to (default: RoPE())',
        metavar='SCHEME',
      ),
      flags.argument(
        '--layers',
        'layers of the model (default: 2)',
        type=flags.number(int),
      ),
      flags.HEADS,
      flags.HEAD_WIDTH,
      flags.argument(
        '--what',
        'quantities to measure (default: all three)',
        metavar='train,prefill,decode',
        type=flags.words,
      ),
      flags.argument(
        '--rounds',
        'number of timed rounds (default: 15)',
        type=flags.number(int),
      ),
      flags.argument(
        '--minutes',
        'time limit: measurements that would exceed it are left out '
        '(default: 6)',
        type=flags.number(float),
      ),
      flags.switch(
        '--resident',
        'also measure the resident memory, each program in a separate process',
      ),
      flags.workdir('runs/measure'),
    ),
  ),
  'bench': flags.Command(bench),
}
