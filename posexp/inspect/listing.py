"""The catalogues of schemes and tasks as text for a terminal."""

import textwrap
from collections.abc import Iterable, Mapping

from posexp import component, data, schemes, tasks
from posexp.inspect import catalogue
from posexp.reports import text_table


def table() -> str:
  """Return the catalogue of schemes, for a terminal of 100 columns."""
  head = ('scheme', 'acts on', 'learned', 'relative', 'blocks')
  rows = {scheme: _row(scheme) for scheme in schemes.CATALOGUE}
  widths = [max(map(len, cells)) for cells in zip(head, *rows.values())]
  lines, explained = [_padded(head, widths)], set()
  for family in catalogue.FAMILIES:
    lines += ['', family]
    for scheme in (s for s in rows if catalogue.family(s) == family):
      lines.append(_padded(rows[scheme], widths))
      kind = catalogue.explained(scheme)
      if kind not in explained:
        explained.add(kind)
        lines.append(f'    {catalogue.summary(kind).rstrip(".")}')
  return '\n'.join([*lines, '', *_LEGEND])


def _row(scheme: schemes.Scheme) -> tuple[str, ...]:
  facts = catalogue.facts(scheme).values()
  return (str(scheme), *(fact.replace(' a ', '/') for fact in facts))


def _padded(cells: Iterable[str], widths: Iterable[int]) -> str:
  return '  '.join(map(str.ljust, cells, widths)).rstrip()


_LEGEND = (
  f'learned: number of parameters, at width {catalogue.DIMS.width} with '
  f'{catalogue.DIMS.heads} heads; relative: only distances matter;',
  'blocks: attention can be computed in blocks.',
  '`posexp schemes NAME` describes one of them, e.g. `posexp schemes YaRN`.',
  'Compose with +, e.g. RoPE(NTK(4)) + ALiBi(); Interpolate(s, 4) divides the '
  'positions of s by 4.',
)


def page(name: str) -> str:
  """Return all about one scheme or law, for a terminal of 80 columns."""
  entry = catalogue.find(name)
  facts = {'family': entry.family, **entry.facts()}
  if entry.scheme is not entry.example:
    facts = {'written': str(entry.scheme), **facts}
  return _page(entry.call, facts, catalogue.docstring(entry.kind))


def _page(call: str, facts: Mapping[str, str], docstring: str) -> str:
  width = max(map(len, facts)) + 2
  rows = [_wrap(f'{k:{width}}{v}', ' ' * width) for k, v in facts.items()]
  return '\n\n'.join([_wrap(call, '    '), '\n'.join(rows), docstring])


def _wrap(text: str, indent: str) -> str:
  return textwrap.fill(
    text, 80, subsequent_indent=indent, break_on_hyphens=False
  )


CAPABILITIES = {
  'C': 'content retrieval',
  'R': 'relative offset',
  'A': 'absolute index',
  'O': 'order',
  'K': 'counting',
  'S': 'state',
}


# Those of the catalogue and tasks made of them, of which a few stand for all.
DRAWN: tuple[tasks.Task, ...] = (
  *tasks.CATALOGUE,
  tasks.Start(tasks.Ordering(filler=8), 0, 16),
  tasks.Mixture((tasks.Ordering(), tasks.Presence())),
)
# And what is asked of data that are read.
TASKS = (*DRAWN, data.Text())


def task_table() -> str:
  """Return the catalogue of tasks, for a terminal of 100 columns."""
  rows = [('task', 'isolates', 'what it asks')]
  for task in TASKS:
    kind = type(task)
    rows.append((kind.__name__, task.capability, catalogue.summary(kind)))
  legend = ', '.join(f'{k} {v}' for k, v in CAPABILITIES.items())
  hint = '`posexp tasks NAME` describes one of them, e.g. `posexp tasks Copy`.'
  return '\n'.join([text_table.columns(rows), '', f'{legend}.', hint])


def task_facts(task: tasks.Task) -> dict[str, str]:
  """Return what a task isolates and what its accuracy is worth, in words."""
  length = task_length(task)
  defended = ', '.join(sorted(task.defended)) or 'none'
  return {
    'isolates': ', '.join(CAPABILITIES[c] for c in task.capability),
    'token ids': str(task.vocabulary),
    'chance': f'{task.chance(length):.1%} at {length} tokens',
    'defended against': defended,
  }


def task_length(task: tasks.Task) -> int:
  """Return 64 tokens, or the least power of two beyond that a task allows."""
  for power in range(6, 16):
    try:
      task.check(2**power)
    except ValueError:
      continue
    return 2**power
  raise component.UserError(
    f'{task} exists at no length from 64 to 32,768 tokens'
  )


def task_page(name: str) -> str:
  """Return all about one task, for a terminal of 80 columns."""
  task = find_task(name)
  docstring = catalogue.task_docstring(type(task))
  return _page(str(task), task_facts(task), docstring)


def find_task(name: str) -> tasks.Task:
  """Return the task of a name, in any case; a `UserError` if there is none.

  >>> str(find_task('copy'))
  'Copy()'
  >>> find_task('Ordring')
  Traceback (most recent call last):
  ...
  posexp.UserError: no task is called 'Ordring' (did you mean Ordering?): ...
  """
  # The first of each class in `TASKS` stands for it.
  known = {type(task).__name__: task for task in reversed(TASKS)}
  return catalogue.look_up(name, known, 'task', 'posexp tasks')
