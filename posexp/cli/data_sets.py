"""What `posexp data` does with a list of sets, and what it says."""

import pathlib
from collections.abc import Sequence
from typing import Protocol

from posexp import component
from posexp.data import examples, published, store
from posexp.reports import text_table


class Tell(Protocol):
  """Who is told how far it is: a `progress.Progress`."""

  def note(self, text: str) -> None: ...

  def skip(self, work: float) -> None: ...

  def advance(self, work: float, label: str) -> None: ...


def build(
  sets: Sequence[examples.Set], where: pathlib.Path, tell: Tell
) -> tuple[str, int]:
  """Builds what is missing; what was built before is verified."""

  def done(one: examples.Set, found: bool) -> None:
    if found:
      tell.skip(1)
    else:
      tell.advance(1, str(one))

  built = store.build(sets, where, done)
  size = sum(store.size(one, where) for one in sets)
  return (
    f'{where / store.DATASET}: {_sets(built)} built, {len(sets) - built} there '
    f'before; {_megabytes(size)} in all'
  ), 0


def verify(
  sets: Sequence[examples.Set], where: pathlib.Path, tell: Tell
) -> tuple[str, int]:
  """Reads every set that was built; one sentence for each that is damaged."""
  there = [one for one in sets if store.there(one, where)]
  if not there:
    raise component.UserError(
      f'none of {len(sets)} evaluation sets is under {where / store.DATASET}: '
      'give what was built, or `posexp data build` with the same words first'
    )
  tell.skip(len(sets) - len(there))
  failures = 0
  for one in there:
    try:
      store.read(one, where)
    except store.Damaged as error:
      failures += 1
      tell.note(str(error))
    tell.advance(1, str(one))
  return (
    f'{where / store.DATASET}: {_sets(len(there))} read, {failures} damaged, '
    f'{len(sets) - len(there)} not built'
  ), failures


def table(sets: Sequence[examples.Set], where: pathlib.Path) -> str:
  """Every set with its published digest and what is there of it."""
  head = ('config', 'task', 'length', 'examples', 'size', 'digest', 'state')
  rows: list[tuple[str, ...]] = [head]
  for one in sets:
    state = store.state(one, where)
    rows.append(
      (
        one.name,
        str(one.task),
        str(one.length),
        str(examples.NUMBER),
        '-' if state == store.MISSING else _megabytes(store.size(one, where)),
        published.digests().get(one.name, 'unpublished')[:12],
        state,
      )
    )
  return f'{text_table.columns(rows)}\n\nunder {where / store.DATASET}'


def _sets(number: int) -> str:
  return '1 set' if number == 1 else f'{number} sets'


def _megabytes(size: int) -> str:
  return f'{size / 1e6:.1f} MB'


ACTIONS = {'build': build, 'verify': verify}
