"""What README and docs show: their pages, commands and blocks of Python."""

import pathlib
import re
import shlex
from collections.abc import Iterator, Sequence

ROOT = pathlib.Path(__file__).parents[1]
PAGES = (
  *(ROOT / name for name in ('README.md', 'CONTRIBUTING.md')),
  *sorted((ROOT / 'docs').rglob('*.md')),
)
# Pages whose blocks are docstrings, and tested as such.
FROM_DOCSTRINGS = ('docs/schemes/', 'docs/tasks.md')

# Programs whose words are checked, those that start one of them, and those of
# the shell.
PROGRAMS = ('posexp', 'python', 'make', 'pip')
STARTERS = ('gcloud', 'srun')
SHELL = ('source', 'cd')


def blocks(language: str) -> list[tuple[str, str]]:
  """Every block of code in a language, with the path of its page."""
  found = []
  for page in PAGES:
    name = str(page.relative_to(ROOT))
    fence = rf'^```{language}\n(.*?)^```'
    for block in re.findall(fence, page.read_text(), flags=re.S | re.M):
      found.append((name, block))
  return found


def commands() -> list[str]:
  """Every command of the pages once, as one would type it."""
  found = {}
  for page, block in blocks('sh'):
    for line in block.replace('\\\n', ' ').split('\n'):
      for words in commands_of(shlex.split(line, comments=True)):
        found.setdefault(shlex.join(words), page)
  return list(found)


def commands_of(words: Sequence[str]) -> Iterator[list[str]]:
  """The commands in the words of a line, those that another starts too.

  Raises:
    ValueError: for a program that nobody checks.
  """
  if not words:
    return
  names = [pathlib.PurePath(word).name for word in words]
  if names[0] in PROGRAMS:
    yield [names[0], *words[1:]]
  elif names[0] in STARTERS:
    starts = [n for n, name in enumerate(names) if name in PROGRAMS]
    yield from commands_of(words[starts[0] :] if starts else ())
    for word in words:
      if ' && ' in word:  # --command='cd posexp && posexp run FILE'
        for part in word.partition('=')[2].split(' && '):
          yield from commands_of(shlex.split(part))
  elif names[0] not in SHELL:
    raise ValueError(f'{names[0]} is a program that nobody checks')
