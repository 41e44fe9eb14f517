"""`posexp data`: the frozen evaluation sets, built, verified and listed."""

import argparse
import os
import pathlib
from collections.abc import Sequence

from posexp import component
from posexp.cli import flags
from posexp.launch import disk, exit_codes

ACTIONS = 'build', 'verify', 'list'


def data(arguments: argparse.Namespace) -> int:
  """Build, verify or list frozen evaluation sets.

  By default all published sets, or those of the given experiment files.
  """
  from posexp.data import examples, published, store
  from posexp.launch import grid
  from posexp.results import progress

  action = arguments.ACTION
  component.one_of('the word after `posexp data`', action, ACTIONS)
  asked = [
    examples.Set(run.task, length)
    for file in arguments.FILE
    for run in grid.load(file).runs
    for length in run.lengths
  ]
  sets = tuple(dict.fromkeys(asked)) or published.sets()
  directory = store.directory()
  store.check(directory)
  if action == 'list':
    print(_table(sets, directory))
    return exit_codes.DONE
  work = _build if action == 'build' else _verify
  with progress.Progress(len(sets), pathlib.Path(os.devnull)) as bar:
    try:
      with disk.room(directory):
        text, damaged = work(sets, directory, bar)
    except KeyboardInterrupt:
      bar.note('interrupted: the same command goes on with what is missing')
      return exit_codes.INTERRUPTED
  print(text)
  return exit_codes.FAILED if damaged else exit_codes.DONE


def _build(sets: Sequence, directory: pathlib.Path, bar) -> tuple[str, int]:
  """Build the sets that are missing; verify those that are there."""
  from posexp.data import store

  def count(item, was_there: bool) -> None:
    if was_there:
      bar.skip(1)
    else:
      bar.advance(1, str(item))

  built = store.build(sets, directory, count)
  size = sum(store.size(item, directory) for item in sets)
  return (
    f'{directory / store.DATASET}: {_count(built)} built, '
    f'{len(sets) - built} there before; {_megabytes(size)} in all'
  ), 0


def _verify(sets: Sequence, directory: pathlib.Path, bar) -> tuple[str, int]:
  """Read every set that was built; print a sentence for each damaged one."""
  from posexp.data import store

  built = [item for item in sets if store.there(item, directory)]
  if not built:
    raise component.UserError(
      f'none of {len(sets)} evaluation sets is under '
      f'{directory / store.DATASET}: give what was built, or `posexp data '
      'build` with the same words first'
    )
  bar.skip(len(sets) - len(built))
  damaged = 0
  for item in built:
    try:
      store.read(item, directory)
    except store.DamagedSet as error:
      damaged += 1
      bar.note(str(error))
    bar.advance(1, str(item))
  return (
    f'{directory / store.DATASET}: {_count(len(built))} read, {damaged} '
    f'damaged, {len(sets) - len(built)} not built'
  ), damaged


def _table(sets: Sequence, directory: pathlib.Path) -> str:
  """List every set with its published digest and what is there of it."""
  from posexp.data import examples, published, store
  from posexp.reports import text_table

  head = ('config', 'task', 'length', 'examples', 'size', 'digest', 'state')
  rows: list[tuple[str, ...]] = [head]
  for item in sets:
    state = store.state(item, directory)
    missing = state == store.MISSING
    size = '-' if missing else _megabytes(store.size(item, directory))
    rows.append(
      (
        item.name,
        str(item.task),
        str(item.length),
        str(examples.NUMBER),
        size,
        published.digests().get(item.name, 'unpublished')[:12],
        state,
      )
    )
  return f'{text_table.columns(rows)}\n\nunder {directory / store.DATASET}'


def _count(number: int) -> str:
  return '1 set' if number == 1 else f'{number} sets'


def _megabytes(size: int) -> str:
  return f'{size / 1e6:.1f} MB'


COMMANDS = {
  'data': flags.Command(
    data,
    (
      flags.argument('ACTION', 'what to do', metavar='build|verify|list'),
      flags.argument(
        'FILE', 'experiment files (default: all published sets)', nargs='*'
      ),
      flags.DATA_DIR,
    ),
  )
}
