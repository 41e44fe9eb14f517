"""The catalogues of schemes and tasks as text for a terminal."""

import inspect
import textwrap

from posexp import component, data, schemes, tasks
from posexp.inspect import catalogue
from posexp.reports import text_table


def table() -> str:
  """The catalogue for a terminal of 100 columns."""
  head = 'scheme', 'acts on', 'learned', 'relative', 'blocks'
  rows = {s: _row(s) for s in schemes.CATALOGUE}
  widths = [max(map(len, cells)) for cells in zip(head, *rows.values())]
  show = lambda row: '  '.join(map(str.ljust, row, widths)).rstrip()
  lines, seen = [show(head)], set()
  for name in catalogue.FAMILIES:
    lines += ['', f'{name}']
    for scheme in (s for s in rows if catalogue.family(s) == name):
      lines.append(show(rows[scheme]))
      kind = catalogue.explained(scheme)
      if kind not in seen:
        seen.add(kind)
        lines.append(f'    {catalogue.read(kind).summary.rstrip(".")}')
  return '\n'.join([*lines, '', *_LEGEND])


_LEGEND = (
  f'learned: how many numbers, at width {catalogue.DIMS.width} with '
  f'{catalogue.DIMS.heads} heads; relative: only distances matter;',
  'blocks: attention can be computed in blocks.',
  '`posexp schemes NAME` tells all about one, as in `posexp schemes YaRN`.',
  'Compose with +, e.g. RoPE(NTK(4)) + ALiBi(); Interpolate(s, 4) is s at a '
  'quarter of the positions.',
)


def page(name: str) -> str:
  """All about one scheme or law, for a terminal of 80 columns."""
  entry = catalogue.find(name)
  text = entry.text
  facts = [('family', entry.family), *entry.facts().items()]
  if entry.scheme is not entry.example:
    facts.insert(0, ('written', str(entry.scheme)))
  blocks = [
    _wrap(f'{entry.name}({", ".join(entry.arguments)})', '    '),
    _wrap(text.summary),
    '\n'.join(_wrap(f'{k:<11}  {v}', ' ' * 13) for k, v in facts),
    *map(_wrap, text.body),
    _wrap(f'Source: {text.source}', '  '),
    _wrap(f'Use: {text.use}', '  '),
    _wrap(f'Fails: {text.fails}', '  '),
  ]
  if text.attributes:
    fields = [_wrap(f'  {k}: {v}', '    ') for k, v in text.attributes.items()]
    blocks.append('\n'.join(['Fields', *fields]))
  example = textwrap.indent(text.example, '  ')
  return '\n\n'.join([*blocks, f'Example\n{example}'])


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
  """The catalogue of tasks for a terminal of 100 columns."""
  rows = [('task', 'isolates', 'what it asks')]
  for task in TASKS:
    summary = (inspect.getdoc(type(task)) or '').split('\n\n')[0]
    rows.append(
      (type(task).__name__, task.capability, ' '.join(summary.split()))
    )
  legend = ', '.join(f'{k} {v}' for k, v in CAPABILITIES.items())
  told = '`posexp tasks NAME` tells all about one, as in `posexp tasks Copy`.'
  return '\n'.join([text_table.columns(rows), '', f'{legend}.', told])


def task_facts(task: tasks.Task) -> dict[str, str]:
  """What a task isolates and what a number of it is worth, in words."""
  length = task_length(task)
  defended = ', '.join(sorted(task.defended)) or 'none'
  return {
    'isolates': ', '.join(CAPABILITIES[c] for c in task.capability),
    'token ids': str(task.vocabulary),
    'chance': f'{task.chance(length):.1%} at {length} tokens',
    'defended against': defended,
  }


def task_length(task: tasks.Task) -> int:
  """64 tokens, or the shortest power of two beyond at which a task exists."""
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
  """All about one task, for a terminal of 80 columns."""
  task = find_task(name)
  facts = '\n'.join(f'{k:<16}  {v}' for k, v in task_facts(task).items())
  written = _wrap(str(task), '  ')
  return f'{written}\n\n{facts}\n\n{inspect.getdoc(type(task))}'


def find_task(name: str) -> tasks.Task:
  """The task of a name, in any case; a sentence if there is none.

  >>> str(find_task('copy'))
  'Copy()'
  >>> find_task('Ordring')
  Traceback (most recent call last):
  ...
  posexp.UserError: no task is called 'Ordring' (did you mean Ordering?): ...
  """
  known = {type(t).__name__: t for t in reversed(TASKS)}
  for kind, task in known.items():
    if kind.lower() == name.lower():
      return task
  raise component.UserError(
    f'no task is called {name!r}{component.nearest(name, known)}: '
    '`posexp tasks` lists them'
  )


def _row(scheme: schemes.Scheme) -> tuple[str, ...]:
  return (
    str(scheme),
    ', '.join(scheme.hooks()) or 'nothing',
    catalogue.learned(scheme).replace(' a ', '/'),
    catalogue.yes(scheme.relative),
    catalogue.yes(scheme.blockwise),
  )


def _wrap(text: str, indent: str = '') -> str:
  return textwrap.fill(
    text, 80, subsequent_indent=indent, break_on_hyphens=False
  )
