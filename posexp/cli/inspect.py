"""Commands that train nothing: what a scheme or a task is and does."""

import argparse
import pathlib

from posexp import component
from posexp.cli import flags
from posexp.launch import exit_codes


def explain(arguments: argparse.Namespace) -> int:
  """Show what a scheme does to periods, scores and order."""
  from posexp import schemes
  from posexp.inspect import explain as explain_lib
  from posexp.plots import explanation
  from posexp.reports import explanation_text
  from posexp.results import explanations

  explained = explain_lib.explain(
    schemes.parse(arguments.SCHEME),
    train_length=arguments.train_length,
    target=arguments.target,
    heads=arguments.heads,
    head_width=arguments.head_width,
  )
  output = pathlib.Path(arguments.output or 'runs/explain')
  flags.writable(output, '--output')
  print(explanation_text.text(explained))
  for path in explanation.save(explained, output):
    print(f'figure: {path}')
  record = output / f'{explanation.name(explained)}.npz'
  print(f'record: {explanations.write(record, explained)}')
  return exit_codes.DONE


def coverage(arguments: argparse.Namespace) -> int:
  """Print which positions evaluation uses and training did not.

  Of a scheme, by arithmetic; of a work directory, with the share of attention
  that fell on it.
  """
  from posexp import schemes
  from posexp.reports import tables
  from posexp.results import records

  workdir = pathlib.Path(arguments.WHAT)
  is_path = '/' in arguments.WHAT and '(' not in arguments.WHAT
  if is_path and not workdir.is_dir():
    raise component.UserError(
      f'no work directory {workdir}: give the one that `posexp run` wrote to, '
      "or a scheme such as 'RoPE(NTK(4))'"
    )
  if workdir.is_dir():
    print(tables.coverage(records.coverage(arguments.WHAT)))
    return exit_codes.DONE
  from posexp.inspect import coverage as coverage_lib

  heads, head_width = arguments.heads, arguments.head_width
  print(
    coverage_lib.text(
      schemes.parse(arguments.WHAT),
      trained=arguments.trained and schemes.parse(arguments.trained),
      train_length=arguments.train_length,
      target=arguments.target,
      dims=schemes.Dims(heads * head_width, heads, head_width),
    )
  )
  return exit_codes.DONE


def list_schemes(arguments: argparse.Namespace) -> int:
  """Print the schemes, or the formula and use of one."""
  from posexp.inspect import listing

  name = arguments.NAME
  print(listing.page(name) if name else listing.table())
  return exit_codes.DONE


def list_tasks(arguments: argparse.Namespace) -> int:
  """Print the tasks, or the layout and foils of one."""
  from posexp.inspect import listing

  name = arguments.NAME
  print(listing.task_page(name) if name else listing.task_table())
  return exit_codes.DONE


_LENGTHS = (
  flags.TRAIN_LENGTH,
  flags.TARGET,
  flags.HEADS,
  flags.HEAD_WIDTH,
)
COMMANDS = {
  'explain': flags.Command(
    explain,
    (
      flags.argument('SCHEME', "such as 'RoPE(NTK(4)) + ALiBi()'"),
      *_LENGTHS,
      flags.output('runs/explain'),
    ),
  ),
  'coverage': flags.Command(
    coverage,
    (
      flags.argument(
        'WHAT', 'a scheme or a work directory', metavar='SCHEME|WORKDIR'
      ),
      *_LENGTHS,
      flags.argument(
        '--trained', 'the scheme in training, if another', metavar='SCHEME'
      ),
    ),
  ),
  'schemes': flags.Command(
    list_schemes,
    (flags.argument('NAME', 'a scheme, such as YaRN', nargs='?'),),
  ),
  'tasks': flags.Command(
    list_tasks,
    (flags.argument('NAME', 'a task, such as Ordering', nargs='?'),),
  ),
}
