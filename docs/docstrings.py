"""Docstrings as Markdown: what is indented is a formula, and >>> an example.

An extension of griffe, which mkdocstrings reads the package with. Nothing of
posexp is imported for it.
"""

import re

import griffe

# What begins a section, which griffe takes apart itself; but for what is given
# back, where it would take the words before a colon for a type.
_SECTION = re.compile(r'(Args|Attributes|Raises):$', re.M)
_GIVEN = re.compile(r'(Returns|Yields):\n +')
# What a docstring of a scheme says of itself, a line each or more.
_TOLD = re.compile(r'^(Source|Use|Fails): ', re.M)


class Docstrings(griffe.Extension):
  """Rewrites every docstring before it is taken apart."""

  def on_object(self, *, obj: griffe.Object, **_: object) -> None:
    if obj.docstring:
      obj.docstring.value = markdown(obj.docstring.value)


def markdown(text: str) -> str:
  """A docstring with its formulas and examples as code.

  >>> print(markdown('A mean.\\n\\n  m = s * n\\n\\nSource: Gauss 1809.'))
  A mean.
  <BLANKLINE>
      m = s * n
  <BLANKLINE>
  **Source:** Gauss 1809.
  """
  made, inside = [], False
  for block in re.split(r'\n{2,}', text):
    inside = bool(_SECTION.match(block)) or (inside and block[:1] == ' ')
    made.append(block if inside else _block(block))
  return '\n\n'.join(made)


def _block(block: str) -> str:
  if block.startswith('>>> '):
    return f'```pycon\n{block}\n```'
  if block.startswith('  '):
    margin = min(len(n) - len(n.lstrip()) for n in block.split('\n'))
    return '\n'.join(f'    {line[margin:]}' for line in block.split('\n'))
  block = _GIVEN.sub(r'**\1:** ', block)
  return _TOLD.sub(r'\n\n**\1:** ', block).strip()
