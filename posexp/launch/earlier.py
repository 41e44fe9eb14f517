"""Finished runs that are like those asked for, and why they are not them."""

import pathlib
import warnings
from collections.abc import Iterator, Sequence

from posexp.results import records, variants
from posexp.runs import config


def notes(runs: Sequence[config.Run], workdir: pathlib.Path) -> Iterator[str]:
  """Yield a sentence for each reason why finished runs are computed again.

  A run that has not finished may have finished under the same name, with other
  seeds, other code or another version of posexp: its record stays, and is shown
  beside the new one.

  Args:
    runs: those asked for.
    workdir: where records go.
  """
  missing = [r for r in runs if not records.finished(workdir, r.digest)]
  asked = {run.digest for run in runs}
  if not missing or not workdir.is_dir():
    return
  with warnings.catch_warnings(record=True) as unreadable:
    warnings.simplefilter('always')
    there = [r for r in records.read_all(workdir) if r['digest'] not in asked]
  if unreadable:
    yield (
      f'{len(unreadable)} records in {workdir} cannot be read, such as: '
      f'{unreadable[0].message}'
    )
  reasons: dict[str, list[str]] = {}
  for run in missing:
    name, now = run.name, {**run.to_dict(), 'revision': config.REVISION}
    twins = [
      variants.described(r)
      for r in there
      if (r['name'], r['task']) == (name, str(run.task))
    ]
    if twins:
      least = min((_reason(now, twin) for twin in twins), key=len)
      reasons.setdefault(least, []).append(name)
  for reason, names in reasons.items():
    others = f' and {len(names) - 1} more' if names[1:] else ''
    yield (
      f'{names[0]}{others}: finished in {workdir} with {reason}, so that it is '
      'computed again; what is there stays, and is shown beside it'
    )


def _reason(now: dict, before: dict) -> str:
  """Return in which fields a run differs from an earlier one of its name."""
  new, old = variants.differences([now, before])
  if set(new) <= {'revision'}:
    return f'another version of posexp (revision {old.get("revision")})'
  fields = [
    'other code of its classes'
    if name.split('.')[-1] == 'source'
    else f'{name}={old[name]} instead of {new[name]}'
    for name in new
    if name != 'revision'
  ]
  return ' and '.join(dict.fromkeys(fields))
