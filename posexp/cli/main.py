"""The command line: `posexp COMMAND`."""

import codecs
import io
import os
import signal
import sys
import warnings
from collections.abc import Sequence

from absl import app, logging
from absl import flags as absl_flags

from posexp import component, version
from posexp.cli import cost, data, errors, flags, inspect, new, results, run
from posexp.launch import exit_codes, signals
from posexp.reports import text_table

# In the order in which somebody new needs them.
GROUPS: dict[str, dict[str, flags.Command]] = {
  'Experiments': new.COMMANDS | run.COMMANDS,
  'Results': results.COMMANDS,
  'Before any training': inspect.COMMANDS,
  'Data, time and memory': data.COMMANDS | cost.COMMANDS,
}
COMMANDS = {
  name: command for group in GROUPS.values() for name, command in group.items()
}
ABOUT = 'posexp: controlled experiments on positional schemes in transformers.'
MORE = """\
`posexp COMMAND --help` shows the arguments and flags of a command.

A finished run is never computed again. When the same command is given again, an
interrupted run resumes from its last checkpoint. SIGINT and SIGTERM (Ctrl-C, a
batch system) write a checkpoint before they stop the command.

Exit codes: 0 done, 1 a run failed or there was a bug, 2 bad input, 3 the disk
is full, 130 and 143 stopped by SIGINT and SIGTERM.

Examples:

  posexp new my_question.py
  posexp run my_question.py --dry_run
  posexp run my_question.py --only=ALiBi --set=train.steps=200 --seeds=0,1
  posexp explain 'RoPE(NTK(4)) + ALiBi()' --train_length=64 --target=256
"""


def entry_point() -> None:
  """Run the `posexp` command."""
  codecs.register_error('in_ascii', text_table.in_ascii)
  for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):
      stream.reconfigure(errors='in_ascii')
  warnings.formatwarning = _noted
  app.run(main, flags_parser=_unparsed)


def _noted(
  message: Warning | str,
  category: type[Warning],
  filename: str,
  lineno: int,
  line: str | None = None,
) -> str:
  """Return a warning as a note, without the line of posexp that it came by."""
  if category is UserWarning:
    return f'posexp: note: {message}\n'
  return _FORMATTED(message, category, filename, lineno, line)


# What shows the warnings of libraries, with their lines.
_FORMATTED = warnings.formatwarning


def _unparsed(argv: list[str]) -> list[str]:
  """Leave all words to `main`; the libraries' own flags keep their defaults."""
  absl_flags.FLAGS(argv[:1])
  logging.set_verbosity(logging.WARNING)
  return argv


def main(argv: Sequence[str]) -> int:
  """Run a command and return its exit code.

  >>> main(['posexp', 'shwo'])  # The sentence goes to stderr.
  2
  """
  if signals.LAUNCHER in os.environ:  # Ctrl-C is for the launcher alone.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # By which SLURM tells all of a job that its time is up.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
  try:
    return _run(list(argv[1:]))
  except component.UserError as error:
    print(f'posexp: {error}', file=sys.stderr)
    return exit_codes.BAD_INPUT
  except KeyboardInterrupt:
    print('posexp: interrupted', file=sys.stderr)
    return exit_codes.INTERRUPTED
  except BrokenPipeError:  # `posexp schemes | head`
    flags.silence()
    return exit_codes.DONE
  except Exception as error:
    code = errors.told(error)
    if code is None:
      raise
    return code


def overview() -> str:
  """Return the help of the whole command line: a line for each command."""
  lines = [ABOUT, '']
  for title, commands in GROUPS.items():
    lines.append(f'{title}:')
    lines += [f'  posexp {n:10}{c.summary}' for n, c in commands.items()]
    lines.append('')
  return '\n'.join([*lines, MORE])


def _run(words: list[str]) -> int:
  name, *rest = words or ['help']
  if name == '--version':
    print(version.VERSION)
    return exit_codes.DONE
  if name in ('help', '--help', '-h'):
    name, *rest = [*rest, '--help'] if rest else ['']
  if not name:
    print(overview())
    return exit_codes.DONE
  if name.startswith('-'):
    raise component.UserError(
      f'flags follow a command, got {name!r} first: `posexp --help` lists the '
      'commands'
    )
  if name not in COMMANDS:
    raise component.UserError(
      f'no command {name!r}{component.nearest(name, COMMANDS)}: '
      '`posexp --help` lists them'
    )
  if {'--help', '-h'} & set(rest):
    print(flags.parser(name, COMMANDS[name]).format_help())
    return exit_codes.DONE
  arguments = flags.parse(name, rest, COMMANDS)
  arguments.words = (name, *rest)
  if getattr(arguments, 'data_dir', None):  # Processes of a run look there too.
    os.environ['POSEXP_DATA'] = arguments.data_dir
  return COMMANDS[name].function(arguments)
