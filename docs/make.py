"""Writes docs/schemes, docs/tasks.md and README's lists from the docstrings.

make docs
"""

import inspect
import pathlib
import re

from posexp import tasks
from posexp.cli import flags
from posexp.cli import main as main_lib
from posexp.inspect import catalogue, listing

ROOT = pathlib.Path(__file__).parents[1]
# What is written into README, between these lines.
LISTS = 'schemes', 'tasks'
BEGIN, END = '<!-- {}: make docs -->\n', '<!-- end of {} -->'

PAGES = {
  catalogue.ABSOLUTE: 'absolute',
  catalogue.ROTATION: 'rotations',
  catalogue.LAW: 'frequency_laws',
  catalogue.BIAS: 'biases',
  catalogue.CONTENT: 'content',
  catalogue.WRAPPER: 'wrappers',
}

LEGEND = """\
*Written by `make docs` from the docstrings; edit those.*

i is the place of a query and j of a key, z a logit, H the number of heads, E
the width of a head. *Learned* is counted at width {width} with {heads} heads.
*Relative*: moving all positions by a constant changes nothing. *Blockwise*:
attention can be computed in blocks. Every scheme is also compared with a
float64 loop written from its source; *golden from* is the code that gave
further numbers to compare with, where there is some; *(authors)* is code of
those who proposed the scheme.
"""

TASK_LEGEND = """\
*Written by `make docs` from the docstrings; edit those.*

A sequence has `length` tokens in all. *Isolates*: C content retrieval, R
relative offset, A absolute index, O order, K counting, S state. A wrong answer
that is a *foil* was found and mis-placed (an order error); any other was not
found (a retrieval error). *Strata* are kept with every target, so that a curve
by distance is a group-by. *Answerers* cannot order and are scored on the same
examples: `random` has not seen the body, `bag` knows which tokens it holds and
not where, `recent` says what is nearest. Those that a task is *defended
against* do no better than chance, or than `bag`. -1 is none.
"""

INDEX_LEGEND = """\
# Schemes

*Written by `make docs` from the docstrings; edit those.*

A name leads to its formula, when to use it and its known failure, which
`posexp schemes NAME` prints too. *Golden from* is whose code gave numbers to
compare with besides a float64 loop written from the paper (`tests/testdata` has
versions), *(authors)* that of those who proposed it. The interface that all
share is in [Schemes in Python](../reference/schemes.md).
"""

COMMAND_LEGEND = """\
# Command line

*Written by `make docs` from `posexp/cli`; edit that.*

`posexp --help` prints this page. A mistake is one sentence on stderr before any
compute, and the exit code 2.
"""

_ARXIV = re.compile(r'(?:arXiv )(\d{4}\.\d{5})')
_PAPER = re.compile(r'(\w+(?: et al\.)? \d{4})((?: \([^)]*\))?, arXiv )?')


def files() -> dict[pathlib.Path, str]:
  """Every generated file with what it should say."""
  made = {}
  for family, stem in PAGES.items():
    listed = [e for e in catalogue.entries() if e.family == family]
    made[ROOT / f'docs/schemes/{stem}.md'] = page(family, listed)
  made[ROOT / 'docs/schemes/index.md'] = f'{INDEX_LEGEND}\n{table()}'
  made[ROOT / 'docs/tasks.md'] = task_page()
  made[ROOT / 'docs/reference/command-line.md'] = command_page()
  text = (ROOT / 'README.md').read_text()
  for name, made_list in zip(LISTS, (brief(), task_brief())):
    begin, end = BEGIN.format(name), END.format(name)
    before, rest = text.split(begin)
    text = f'{before}{begin}{made_list}{end}{rest.split(end)[1]}'
  made[ROOT / 'README.md'] = text
  return made


def command_page() -> str:
  """The help of the command line and of each command, in Markdown."""
  pages = {
    f'posexp {name}': flags.parser(name, command).format_help()
    for name, command in main_lib.COMMANDS.items()
  }
  blocks = [f'```text\n{main_lib.overview()}```\n']
  blocks += [f'## {name}\n\n```text\n{pages[name]}```\n' for name in pages]
  return '\n'.join([COMMAND_LEGEND, *blocks])


def brief() -> str:
  """The list of README: a line a family."""
  lines = []
  for family, stem in PAGES.items():
    file = f'docs/schemes/{stem}.md'
    names = ', '.join(
      f'[{e.name}]({file}#{e.name.lower()})'
      for e in catalogue.entries()
      if e.family == family
    )
    lines.append(f'- **{family}**: {names}')
  return '\n'.join(lines) + '\n'


def task_brief() -> str:
  """The list of README: all tasks on a line."""
  names = [type(task).__name__ for task in each_task()]
  listed = ', '.join(f'[{n}](docs/tasks.md#{n.lower()})' for n in names)
  return f'- **Tasks**: {listed}\n'


def page(family: str, listed: list[catalogue.Entry]) -> str:
  """The page of a family, in Markdown."""
  dims = catalogue.DIMS
  legend = LEGEND.format(width=dims.width, heads=dims.heads)
  contents = ' · '.join(f'[{e.name}](#{e.name.lower()})' for e in listed)
  entries = '\n'.join(map(section, listed))
  return f'# {family}\n\n{legend}\n{contents}\n\n{entries}'


def section(entry: catalogue.Entry) -> str:
  """One scheme or law, in Markdown."""
  text = entry.text
  facts = entry.facts()
  facts['golden from'] = golden(entry, 'none')
  rows = [f'| {" | ".join(facts)} |', '|---' * len(facts) + '|']
  rows.append(f'| {" | ".join(facts.values())} |')
  blocks = [
    f'## {entry.name}',
    f'```python\n{call(entry)}\n```',
    f'**{spans(text.summary)}**',
    *map(spans, text.body),
    '\n'.join(rows),
    f'- **Source:** {linked(spans(text.source))}\n'
    f'- **Use:** {spans(text.use)}\n'
    f'- **Fails:** {spans(text.fails)}',
  ]
  if text.attributes:
    fields = [f'- `{k}`: {spans(v)}' for k, v in text.attributes.items()]
    blocks.append('\n'.join(['Fields:\n', *fields]))
  blocks.append(f'```python\n{text.example}\n```')
  return '\n\n'.join(blocks) + '\n'


def task_page() -> str:
  """All tasks, in Markdown."""
  sections = '\n'.join(map(task_section, each_task()))
  return f'# Tasks\n\n{TASK_LEGEND}\n{task_table()}\n{sections}'


def each_task() -> list[tasks.Task]:
  """One task of each class that is drawn."""
  return list({type(task): task for task in reversed(listing.DRAWN)}.values())[
    ::-1
  ]


def task_section(task: tasks.Task) -> str:
  """One task, in Markdown."""
  text, mark, example = (inspect.getdoc(type(task)) or '').partition('>>> ')
  body, _, fields = text.partition('Args:\n')
  facts = listing.task_facts(task)
  facts['isolates'] = f'{task.capability}: {facts["isolates"]}'
  named = re.findall(
    r'^  (\w+): (.*(?:\n    .*)*)', fields.split('Raises:')[0], re.M
  )
  blocks = [
    f'## {type(task).__name__}',
    body.strip(),
    '\n'.join(f'- **{name}**: {fact}' for name, fact in facts.items()),
    '\n'.join(f'- `{name}`: {" ".join(of.split())}' for name, of in named),
    f'```python\n{mark}{example.strip()}\n```',
  ]
  return '\n\n'.join(filter(None, blocks)) + '\n'


def task_table() -> str:
  """A row a task."""
  lines = ['| task | isolates | what it asks |', '|---|---|---|']
  for task in each_task():
    name = type(task).__name__
    summary = ' '.join(
      (inspect.getdoc(type(task)) or '').split('\n\n')[0].split()
    )
    link = f'[{name}](#{name.lower()})'
    lines.append(f'| {link} | {task.capability} | {summary} |')
  return '\n'.join(lines) + '\n'


def call(entry: catalogue.Entry) -> str:
  """The call with all fields, as the formatter would write it."""
  one = f'{entry.name}({", ".join(entry.arguments)})'
  if len(one) <= 80:
    return one
  fields = ''.join(f'  {field},\n' for field in entry.arguments)
  return f'{entry.name}(\n{fields})'


def table() -> str:
  """A row a scheme or law."""
  dims = catalogue.DIMS
  lines = [
    '| scheme | paper | acts on | golden from | learned, at width '
    f'{dims.width} with {dims.heads} heads |',
    '|---|---|---|---|---|',
  ]
  family = ''
  for entry in catalogue.entries():
    file = f'{PAGES[entry.family]}.md'
    if entry.family != family:
      family = entry.family
      lines.append(f'| **[{family}]({file})** | | | | |')
    facts = entry.facts()
    cells = (
      f'[{entry.name}]({file}#{entry.name.lower()})',
      paper(entry.text.source),
      facts['acts on'],
      golden(entry, 'reference loop'),
      facts['learned'],
    )
    lines.append(f'| {" | ".join(cells)} |')
  return '\n'.join(lines) + '\n'


def paper(source: str) -> str:
  """The first work that a source names, and the first link to arXiv.

  >>> paper('bloc97 2023, as restated in YaRN, arXiv 2309.00071')
  'bloc97 2023, in [2309.00071](https://arxiv.org/abs/2309.00071)'
  """
  work, number = _PAPER.search(source), _ARXIV.search(source)
  assert work, f'no "Author 2024" in the source {source!r}'
  if not number:
    return work[1]
  within = ', ' if work[2] else ', in '
  return f'{work[1]}{within}{linked(number[0]).removeprefix("arXiv ")}'


def linked(text: str) -> str:
  """The same with its arXiv numbers as links."""
  return _ARXIV.sub(r'arXiv [\1](https://arxiv.org/abs/\1)', text)


def golden(entry: catalogue.Entry, none: str) -> str:
  """The repositories of its golden numbers, as links."""
  shown = []
  for path in entry.golden:
    of = ' (authors)' if path in catalogue.AUTHORS else ''
    shown.append(f'[{path.split("/")[1]}](https://github.com/{path}){of}')
  return ', '.join(shown) or none


# Words that are part of a formula for sure, those that may be (a letter, a
# number, a function), and those that need a word on either side.
_SURE = re.compile(r"\S*([=^<>|+*]|\w_\w|\w'_|\w\(|\w\[|\w\.\.)\S*")
_MAYBE = re.compile(
  r"[(\[-]*([b-zA-HJ-Z]'?|[\d.,]+|ln|pi|cos|sin|\d*\w/\d*\w|[a-z]\.[a-z])"
  r'[)\],]*|\(a|\.\.'
)
_OPERATOR = {'=', '+', '-', '*', '/', '<', '<=', '>', '->', '.'}
_SUM = re.compile(r'(?<=[=+*] )(sum|product) over [^.,;]*\S+ of (?=\S)')
_GLUE = '\0'
_END = re.compile(r'(?<=[^\s.])[.,;:]+$')


def spans(text: str) -> str:
  """Prose with its formulas as code, so that Markdown leaves them alone.

  >>> spans('A bias of -m_h (i - j), low = high (or h > 4), is added.')
  'A bias of `-m_h (i - j)`, `low = high` (or `h > 4`), is added.'
  """
  pieces = re.split(r'(`[^`]*`)', text)
  return ''.join(p if p[:1] == '`' else _spans(p) for p in pieces)


def _spans(text: str) -> str:
  out: list[str] = []
  run: list[str] = []
  glued = _SUM.sub(lambda m: m[0][:-1].replace(' ', _GLUE) + ' ', text)
  for word in glued.split(' '):
    bare = _END.sub('', word)
    inside = bool(run) and (_depth(run) > 0 or run[-1] in _OPERATOR)
    if not run and word in _OPERATOR and out and out[-1]:
      run.append(out.pop())  # A name before an operator: low = 1.
    known = word in _OPERATOR or _GLUE in word
    if known or inside or _SURE.fullmatch(bare) or _MAYBE.fullmatch(bare):
      run.append(word)
      if word == bare or _depth(run) > 0:
        continue
    else:
      out += [*_closed(run), word]
      run = []
      continue
    out += _closed(run)
    run = []
  return ' '.join([*out, *_closed(run)]).replace(_GLUE, ' ')


def _closed(run: list[str]) -> list[str]:
  """The words as code, if they are a formula."""
  text = ' '.join(run)
  formula = _END.sub('', text)
  while formula.endswith(')') and _depth([formula]) < 0:
    formula = formula[:-1]
  start = 0
  while formula[start : start + 1] == '(' and _depth([formula[start:]]) > 0:
    start += 1
  kept = formula[start:]
  words = kept.split(' ')
  sure = any(_SURE.fullmatch(w) or w in {*_OPERATOR, 'x'} for w in words[1:-1])
  if not (sure or any(map(_SURE.fullmatch, words))):
    return run
  return [f'{text[:start]}`{kept}`{text[len(formula) :]}']


def _depth(words: list[str]) -> int:
  """How many brackets are open."""
  text = ''.join(words)
  return sum(map(text.count, '([')) - sum(map(text.count, ')]'))


def main() -> None:
  for path, text in files().items():
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


if __name__ == '__main__':
  main()
