"""`posexp new`: an experiment to start from."""

import argparse
import pathlib
import shlex

from posexp import component
from posexp.cli import flags
from posexp.launch import exit_codes

STARTER = pathlib.Path(__file__).with_name('starter.py')


def new(arguments: argparse.Namespace) -> int:
  """Write a complete starter experiment."""
  path = pathlib.Path(arguments.FILE)
  if path.suffix != '.py':
    raise component.UserError(
      f'an experiment is a Python file, got {path}: name it '
      f'{path.with_suffix(".py")}'
    )
  try:
    with path.open('x', encoding='utf-8') as file:
      file.write(STARTER.read_text('utf-8'))
  except FileExistsError:
    raise component.UserError(
      f'{path} is there already: give another name'
    ) from None
  except OSError as error:
    raise component.UserError(
      f'cannot write {path} ({error.strerror}): give a place that you may '
      'write to'
    ) from None
  print(f'experiment: {path}')
  print(f'next: posexp run {shlex.quote(str(path))} --dry_run')
  return exit_codes.DONE


COMMANDS = {
  'new': flags.Command(
    new, (flags.argument('FILE', 'the file to write, such as my_question.py'),)
  )
}
