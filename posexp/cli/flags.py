"""Arguments and flags, each declared once, and how a command reads them."""

import argparse
import os
import pathlib
import re
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, NoReturn

from posexp import component
from posexp.results import files

# Help is as wide wherever it is printed, since the documentation shows it.
WIDTH = 80


class Argument(NamedTuple):
  """An argument or a flag, as `argparse` takes it."""

  name: str
  options: dict[str, Any]


class Command(NamedTuple):
  """A command: a function whose docstring is its help, and what it takes."""

  function: Callable[[argparse.Namespace], int]
  arguments: tuple[Argument, ...] = ()

  @property
  def summary(self) -> str:
    """The first line of the help."""
    return (self.function.__doc__ or '').split('\n', 1)[0]


class Parser(argparse.ArgumentParser):
  """A parser whose mistakes are a `UserError` in one sentence."""

  def error(self, message: str) -> NoReturn:
    missing = 'the following arguments are required: '
    if message.startswith(missing):
      message = (
        f'`{self.prog}` needs {message.removeprefix(missing)}: see '
        f'`{self.prog} --help`'
      )
    # 'argument --seeds: must be ...' reads better as '--seeds must be ...'.
    raise component.UserError(re.sub(r'^argument (\S+): ', r'\1 ', message))


class _Help(argparse.RawDescriptionHelpFormatter):
  def __init__(self, prog: str):
    super().__init__(prog, max_help_position=26, width=WIDTH)


def parser(name: str, command: Command) -> Parser:
  """Return the parser of a command."""
  made = Parser(
    prog=f'posexp {name}',
    description=_unindented(command.function.__doc__ or ''),
    formatter_class=_Help,
    allow_abbrev=False,
  )
  for argument in command.arguments:
    made.add_argument(argument.name, **argument.options)
  return made


def parse(
  name: str, words: Sequence[str], commands: dict[str, Command]
) -> argparse.Namespace:
  """Read the words after a command's name.

  Raises:
    UserError: one sentence, for a flag that the command does not take (it
      names the commands that do), a value that a flag cannot have, or a
      missing argument.
  """
  reader = parser(name, commands[name])
  parsed, rest = reader.parse_known_intermixed_args(words)
  if not rest:
    return parsed
  flag = rest[0].split('=')[0]
  if not flag.startswith('-'):
    raise component.UserError(
      f'`posexp {name}` does not take {" ".join(rest)}: see `posexp {name} '
      '--help`'
    )
  takers = [
    f'`posexp {other}`'
    for other, command in commands.items()
    if flag in {argument.name for argument in command.arguments}
  ]
  if takers:
    raise component.UserError(
      f'`posexp {name}` takes no {flag}: {" and ".join(takers)} '
      f'{"do" if len(takers) > 1 else "does"}'
    )
  known = [a.name for a in commands[name].arguments if a.name[0] == '-']
  raise component.UserError(
    f'`posexp {name}` takes no {flag}{component.nearest(flag, known)}: see '
    f'`posexp {name} --help`'
  )


def argument(name: str, text: str, **options: Any) -> Argument:
  """Declare an argument or a flag with its help text."""
  return Argument(name, {'help': text, **options})


def switch(name: str, text: str) -> Argument:
  """Declare a flag that is on or off."""
  return argument(name, text, action='store_true')


def whole_numbers(example: str) -> Callable[[str], tuple[int, ...]]:
  """Return the reader of a comma-separated list of whole numbers.

  >>> whole_numbers('0,1,2')('4,5')
  (4, 5)
  """

  def read(text: str) -> tuple[int, ...]:
    try:
      return tuple(int(number) for number in text.split(','))
    except ValueError:
      raise argparse.ArgumentTypeError(
        f'must be whole numbers such as {example}, got {text!r}'
      ) from None

  return read


def number(kind: type, least: float | None = None) -> Callable[[str], Any]:
  """Return the reader of one number, at least so large if that is given."""

  def read(text: str) -> Any:
    try:
      value = kind(text)
    except ValueError:
      what = 'a whole number' if kind is int else 'a number'
      raise argparse.ArgumentTypeError(
        f'must be {what}, got {text!r}'
      ) from None
    if least is not None and value < least:
      raise argparse.ArgumentTypeError(f'must be at least {least}, got {text}')
    return value

  return read


def path(text: str) -> str:
  """Read the path of a directory or a file, see `files.local`."""
  try:
    return files.local(text)
  except component.UserError as error:
    raise argparse.ArgumentTypeError(str(error)) from None


def words(text: str) -> tuple[str, ...]:
  """Read a comma-separated list.

  >>> words('wandb,tensorboard')
  ('wandb', 'tensorboard')
  """
  return tuple(word for word in text.split(',') if word)


def _unindented(docstring: str) -> str:
  """A docstring as help: its margin is that of the code."""
  first, _, rest = docstring.partition('\n')
  lines = [line.removeprefix('  ') for line in rest.split('\n')]
  return '\n'.join([first, *lines]).strip()


# What several commands take.
FILE = argument('FILE', 'an experiment file: Python with grid() or study()')
WORKDIR = argument(
  'WORKDIR', 'a work directory that `posexp run` wrote', type=path
)
ONLY = argument(
  '--only',
  'only runs whose name contains TEXT or matches it as a glob',
  metavar='TEXT',
)


def seeds(text: str) -> Argument:
  """Declare the flag for seeds, where what they do is known."""
  return argument('--seeds', text, metavar='0,1,2', type=whole_numbers('0,1,2'))


DRY_RUN = switch(
  '--dry_run', 'print the runs, their sizes and an estimate; compute nothing'
)
DATA_DIR = argument(
  '--data_dir',
  'directory of frozen evaluation sets (default: $POSEXP_DATA, or '
  '~/.cache/posexp/data)',
  metavar='DIR',
  type=path,
)
HEADS = argument(
  '--heads',
  'number of attention heads (default: 4)',
  type=number(int),
  default=4,
)
HEAD_WIDTH = argument(
  '--head_width', 'width of a head (default: 16)', type=number(int), default=16
)
TRAIN_LENGTH = argument(
  '--train_length',
  'trained length in tokens (default: 64)',
  type=number(int),
  default=64,
)
TARGET = argument(
  '--target',
  'target length in tokens (default: 4 times the trained length)',
  type=number(int),
)
EXECUTION = (
  argument(
    '--workers',
    'processes that share the runs, on a CPU (default: 1); several commands '
    'can also share a work directory',
    type=number(int),
    default=1,
  ),
  argument(
    '--executor',
    '`ray`: one Ray task per run, --workers at once on a node without an '
    'accelerator; `slurm`: an array of --workers jobs, requeued when preempted '
    '(default: local, this machine)',
    default='local',
  ),
  argument(
    '--address',
    'address of a Ray cluster (default: start Ray on this machine)',
    metavar='HOST:PORT',
  ),
  argument(
    '--slurm',
    'a parameter of the SLURM job, as named by submitit, such as '
    'timeout_min=60; may be given several times',
    metavar='NAME=VALUE',
    action='append',
    default=[],
  ),
  argument(
    '--pack',
    'number of runs that one program trains at once, if they differ only in '
    'seeds, learning rate or weight decay; 0: as many as fit into the memory '
    'of an accelerator (default: on a CPU as many as leave no core idle, with '
    'bit-identical results; on an accelerator 1)',
    type=number(int, 0),
  ),
  argument(
    '--coordinator',
    'compute one run on several hosts: start the same command on each, with '
    'a shared --workdir; give the address of process 0, or `auto` if the '
    'cluster provides this and the next two flags (TPU, SLURM)',
    metavar='HOST:PORT',
  ),
  argument(
    '--processes', 'number of processes that compute a run', type=number(int)
  ),
  argument('--process', 'index of this process, from 0', type=number(int)),
  argument(
    '--retries',
    'how often a failed run is retried (default: 1)',
    type=number(int, 0),
    default=1,
  ),
  argument(
    '--track',
    'send each run to a tracker when it finishes: wandb, tensorboard or both',
    metavar='wandb,tensorboard',
    type=words,
    default=(),
  ),
)


def output(default: str, metavar: str = 'DIR') -> Argument:
  """Declare where a command writes to."""
  return argument(
    '--output',
    f'where to write (default: {default})',
    metavar=metavar,
    type=path,
  )


def workdir(default: str) -> Argument:
  """Declare the flag for a work directory, where the default is known."""
  return argument(
    '--workdir',
    f'where records go (default: {default})',
    metavar='DIR',
    type=path,
  )


def writable(directory: pathlib.Path, flag: str = '--workdir') -> None:
  """Make a directory, or say that it cannot be written to.

  Raises:
    UserError: one sentence, if it cannot be.
  """
  try:
    directory.mkdir(parents=True, exist_ok=True)
    probe = directory / f'.probe.{os.getpid()}'
    probe.touch()
    probe.unlink(missing_ok=True)
  except OSError as error:
    raise component.UserError(
      f'cannot write to the work directory {directory} ({error.strerror}): '
      f'give another with {flag}'
    ) from None
  for reason in _unsafe(directory):
    print(f'posexp: note: {directory} {reason}', file=sys.stderr)


def silence() -> None:
  """Print nowhere from now on: what read this command has closed its pipe."""
  os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _unsafe(directory: pathlib.Path) -> Iterator[str]:
  """Why others than the user could change what is in a directory."""
  status = directory.stat()
  if status.st_mode & stat.S_IWOTH:
    yield (
      'may be written to by everyone, and what is read from it is trusted: '
      f'`chmod o-w {directory}` unless that is meant'
    )
  if status.st_uid != os.getuid():
    yield (
      'belongs to another user, and what is read from it is trusted: give a '
      '--workdir of your own unless that is meant'
    )
