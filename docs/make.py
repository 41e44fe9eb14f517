"""Writes docs/schemes, docs/tasks.md and the command line's page.

make docs
"""

import pathlib
import re
from collections.abc import Iterable, Mapping

from docs import docstrings
from posexp import tasks
from posexp.cli import flags
from posexp.cli import main as main_lib
from posexp.inspect import catalogue, listing

ROOT = pathlib.Path(__file__).parents[1]

PAGES = {
  catalogue.ABSOLUTE: 'absolute',
  catalogue.ROTATION: 'rotations',
  catalogue.LAW: 'frequency_laws',
  catalogue.BIAS: 'biases',
  catalogue.CONTENT: 'content',
  catalogue.WRAPPER: 'wrappers',
}

WRITTEN = '*Written by `make docs` from the docstrings; edit those.*'

SCHEMES = f"""\
# Schemes

{WRITTEN}

A name leads to its formula, when to use it and its known failure, which
`posexp schemes NAME` prints too. *Golden from* is whose code gave numbers to
compare with besides a float64 loop written from the paper (`tests/testdata` has
versions), *(authors)* that of those who proposed it. The interface that all
share is in [Schemes in Python](../reference/schemes.md).
"""

FAMILY = f"""\
{WRITTEN}

i is the place of a query and j of a key, z a logit, H the number of heads, E
the width of a head. *Learned* is counted at width {catalogue.DIMS.width} with \
{catalogue.DIMS.heads} heads.
*Relative*: moving all positions by a constant changes nothing. *Blockwise*:
attention can be computed in blocks. Every scheme is also compared with a
float64 loop written from its source; *Golden* is the code that gave further
numbers to compare with, where there is some; *(authors)* is code of those who
proposed the scheme.
"""

TASKS = """\
# Tasks

*Written by `make docs` from the docstrings and `docs/task_designs.txt`; edit
those.*

A sequence has `length` tokens in all. *Isolates*: C content retrieval, R
relative offset, A absolute index, O order, K counting, S state. A wrong answer
that is a *foil* was found and mis-placed (an order error); any other was not
found (a retrieval error). *Strata* are kept with every target, so that a curve
by distance is a group-by. *Answerers* cannot order and are scored on the same
examples: `random` has not seen the body, `bag` knows which tokens it holds and
not where, `recent` says what is nearest. Those that a task is *defended
against* do no better than chance, or than `bag`. An example shows the tokens
and, for each target, its place, the answer, the foils and the strata.
"""

COMMANDS = """\
# Command line

*Written by `make docs` from `posexp/cli`; edit that.*

`posexp --help` prints this page. A mistake is one sentence on stderr before any
compute, and the exit code 2.
"""


def files() -> dict[pathlib.Path, str]:
  """Return every generated file with what it should say."""
  pages = {f'docs/schemes/{PAGES[f]}.md': family_page(f) for f in PAGES}
  pages['docs/schemes/index.md'] = f'{SCHEMES}\n{scheme_table()}\n'
  pages['docs/tasks.md'] = task_page()
  pages['docs/reference/command-line.md'] = command_page()
  return {ROOT / name: text for name, text in pages.items()}


def family_page(family: str) -> str:
  """Return the page of a family of schemes."""
  entries = [e for e in catalogue.entries() if e.family == family]
  names = ' · '.join(_link(entry.name) for entry in entries)
  sections = [
    _section(
      entry.kind,
      catalogue.docstring(entry.kind),
      _formatted(entry),
      entry.facts(),
    )
    for entry in entries
  ]
  return '\n\n'.join([f'# {family}\n\n{FAMILY}\n{names}', *sections]) + '\n'


def _formatted(entry: catalogue.Entry) -> str:
  """Return the call as the formatter would write it."""
  if len(entry.call) <= 80:
    return entry.call
  fields = ''.join(f'  {field},\n' for field in entry.fields)
  return f'{entry.name}(\n{fields})'


def task_page() -> str:
  """Return the page of all tasks."""
  sections, designs = [], _designs()
  for task in _tasks():
    facts = listing.task_facts(task)
    facts['isolates'] = f'{task.capability}: {facts["isolates"]}'
    kind = type(task)
    section = _section(kind, catalogue.task_docstring(kind), str(task), facts)
    sections += [section, *designs.pop(kind.__name__, ())]
  assert not designs, f'no task is called {set(designs)}'
  return '\n\n'.join([f'{TASKS}\n{task_table()}', *sections]) + '\n'


def _designs() -> dict[str, list[str]]:
  """Return by task how it is built: once for tasks that share it."""
  text = (ROOT / 'docs/task_designs.txt').read_text('utf-8')
  designs = {}
  for section in text.split('\n## ')[1:]:
    names, _, design = section.partition('\n\n')
    first, *others = names.split(', ')
    designs[first] = [design.strip()]
    for name in others:
      designs[name] = [f'How it is built: see {_link(first)}.']
  return designs


def _section(
  kind: type, docstring: str, call: str, facts: Mapping[str, str]
) -> str:
  """Return all about a scheme or task: call, facts and docstring."""
  summary, _, rest = docstrings.page(docstring).partition('\n\n')
  blocks = [
    f'## {kind.__name__}',
    f'```python\n{call}\n```',
    f'**{" ".join(summary.split())}**',
    _table(facts, [facts.values()]),
    rest,
  ]
  return '\n\n'.join(blocks)


def scheme_table() -> str:
  """Return a table with a row for each scheme or law, under its family."""
  learned = 'learned, at width {} with {} heads'.format(*catalogue.DIMS)
  head = ('scheme', 'paper', 'acts on', 'golden from', learned)
  rows: list[Iterable[str]] = []
  for family, stem in PAGES.items():
    rows.append((f'**[{family}]({stem}.md)**', '', '', '', ''))
    for entry in catalogue.entries():
      if entry.family == family:
        facts = entry.facts()
        golden = docstrings.repositories(entry.label('Golden').rstrip('.'))
        cells = (
          _link(entry.name, f'{stem}.md'),
          paper(entry.label('Source')),
          facts['acts on'],
          golden or 'reference loop',
          facts['learned'],
        )
        rows.append(cells)
  return _table(head, rows)


def task_table() -> str:
  """Return a table with a row for each task."""
  rows = [
    (
      _link(type(task).__name__),
      task.capability,
      catalogue.summary(type(task)),
    )
    for task in _tasks()
  ]
  return _table(('task', 'isolates', 'what it asks'), rows)


def command_page() -> str:
  """Return the help of the command line and of each command."""
  blocks = [f'```text\n{main_lib.overview()}```\n']
  for name, command in main_lib.COMMANDS.items():
    help_text = flags.parser(name, command).format_help()
    blocks.append(f'## posexp {name}\n\n```text\n{help_text}```\n')
  return '\n'.join([COMMANDS, *blocks])


def paper(source: str) -> str:
  """Return the first work that a source names, with a link to arXiv.

  >>> paper('bloc97 2023, as restated in YaRN, arXiv 2309.00071')
  'bloc97 2023, in [2309.00071](https://arxiv.org/abs/2309.00071)'
  """
  work = re.search(r'(\w+(?: et al\.)? \d{4})((?: \([^)]*\))?, arXiv)?', source)
  number = re.search(r'arXiv (\d{4}\.\d{5})', source)
  assert work, f'no "Author 2024" in the source {source!r}'
  if not number:
    return work[1]
  where = ',' if work[2] else ', in'
  return f'{work[1]}{where} [{number[1]}](https://arxiv.org/abs/{number[1]})'


def _tasks() -> list[tasks.Task]:
  """Return one task of each class that is drawn, the first of each."""
  first = {type(task): task for task in reversed(listing.DRAWN)}
  return list(reversed(first.values()))


def _link(name: str, page: str = '') -> str:
  return f'[{name}]({page}#{name.lower()})'


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
  head = list(head)
  lines = [head, ['---'] * len(head), *rows]
  return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def main() -> None:
  for path, text in files().items():
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


if __name__ == '__main__':
  main()
