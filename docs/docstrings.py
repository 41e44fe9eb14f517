"""Docstrings as Markdown: what is indented is a formula, and >>> an example.

Also an extension of griffe, which mkdocstrings reads the package with. Nothing
of posexp is imported for it.
"""

import re

import griffe

# What begins a section, which griffe takes apart itself; but for what is given
# back, where it would take the words before a colon for a type.
_SECTION = re.compile(r'(Args|Attributes|Raises):$', re.M)
_GIVEN = re.compile(r'(Returns|Yields):\n +')
# What a docstring of a scheme or task says of itself, a line each or more.
_LABEL = re.compile(
  r'^(Source|Use|Fails|Golden|Answerers|Foils \(C = \d\)|Strata): ', re.M
)
_ARXIV = re.compile(r'arXiv (\d{4}\.\d{5})')
_GOLDEN = re.compile(r'^Golden: .*(\n.*)*', re.M)
# The sections themselves, for pages that griffe does not write.
_FIELDS = re.compile(
  r'^(Args|Attributes|Raises):\n((?:(?:  .*)?(?:\n|\Z))+)', re.M
)
_FIELD = re.compile(r'^  (\w+): (.*(?:\n    .*)*)', re.M)


# What declares a field of a component: its first argument is the default.
_DECLARED = ('component.field', 'trained_length.positive')


class Docstrings(griffe.Extension):
  """Rewrites every docstring before it is taken apart, and fields' defaults."""

  def on_attribute_instance(
    self, *, attr: griffe.Attribute, **_: object
  ) -> None:
    call = attr.value
    if (
      not isinstance(call, griffe.ExprCall)
      or str(call.function) not in _DECLARED
    ):
      return
    given = [a for a in call.arguments if not isinstance(a, griffe.ExprKeyword)]
    attr.value = given[0] if given else None

  def on_object(self, *, obj: griffe.Object, **_: object) -> None:
    if obj.docstring:
      obj.docstring.value = markdown(obj.docstring.value)


def markdown(text: str) -> str:
  """Return a docstring with its formulas and examples as code.

  >>> print(markdown('A mean.\\n\\n  m = s * n\\n\\nSource: Gauss 1809.'))
  A mean.
  <BLANKLINE>
      m = s * n
  <BLANKLINE>
  **Source:** Gauss 1809.
  """
  blocks, inside = [], False
  for block in re.split(r'\n{2,}', text):
    inside = bool(_SECTION.match(block)) or (inside and block[:1] == ' ')
    blocks.append(block if inside else _block(block))
  return '\n\n'.join(blocks)


def page(text: str) -> str:
  """Return a docstring as Markdown, its fields a list, without what it raises.

  >>> page('Copy.\\n\\nArgs:\\n  n: of\\n    them.\\n\\nRaises:\\n  E: if.')
  'Copy.\\n\\n- `n`: of them.'
  """
  return _FIELDS.sub(_listed, markdown(text)).strip()


def _listed(section: re.Match[str]) -> str:
  if section[1] == 'Raises':
    return ''
  fields = _FIELD.findall(section[2])
  items = (f'- `{name}`: {" ".join(of.split())}\n' for name, of in fields)
  return ''.join(items) + '\n'


def _block(block: str) -> str:
  if block.startswith('>>> '):
    return f'```pycon\n{block}\n```'
  if block.startswith('  '):
    margin = min(len(n) - len(n.lstrip()) for n in block.split('\n'))
    return '\n'.join(f'    {line[margin:]}' for line in block.split('\n'))
  block = _GIVEN.sub(r'**\1:** ', block)
  block = _ARXIV.sub(r'arXiv [\1](https://arxiv.org/abs/\1)', block)
  block = _GOLDEN.sub(lambda golden: repositories(golden[0]), block)
  return _LABEL.sub(r'\n**\1:** ', block).strip()


def repositories(text: str) -> str:
  """Return a list of repositories with a link to each.

  >>> repositories('jquesnelle/yarn (authors).')
  '[yarn](https://github.com/jquesnelle/yarn) (authors).'
  """
  link = r'[\1](https://github.com/\g<0>)'
  return re.sub(r'[\w-]+/([\w-]+)', link, text)
