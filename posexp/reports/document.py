"""Plain text as Markdown, and Markdown as one page of HTML.

Text is escaped where it is written, so that a name from a record is shown as
it is and never read as markup.
"""

import base64
import dataclasses
import html
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import markdown
import markupsafe

from posexp.reports import templates


@dataclasses.dataclass(frozen=True)
class Heading:
  text: str
  level: int = 2


@dataclasses.dataclass(frozen=True)
class Text:
  """A paragraph, with a few bold words before it if there is a label."""

  text: str
  label: str = ''


@dataclasses.dataclass(frozen=True)
class Bullets:
  lines: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Table:
  head: tuple[str, ...]
  rows: tuple[tuple[str, ...], ...]


@dataclasses.dataclass(frozen=True)
class Picture:
  """A figure: the name of its file, what it shows, and its bytes as PNG."""

  name: str
  caption: str
  png: bytes = dataclasses.field(repr=False)


Block = Heading | Text | Bullets | Table | Picture


def escape(text: Any) -> markupsafe.Markup:
  """Return plain text as Markdown on one line that shows just that text.

  Brackets of intervals stay as they are, for they can open no link. What is
  Markdown already stays as it is, too.

  >>> print(escape('a_b | <i> [x](y) 5 [4, 6]'))
  a\\_b &#124; &lt;i&gt; \\[x\\](y) 5 [4, 6]
  >>> print(escape('# no heading'), escape('+1.2 [+1.0, +1.4]'))
  &#35; no heading +1.2 [+1.0, +1.4]
  """
  if isinstance(text, markupsafe.Markup):
    return text
  line = html.escape(' '.join(str(text).split()), quote=False)
  line = re.sub(r'[\\`*_]|\[(?![+\-\d])|\](?=[(\[:])', r'\\\g<0>', line)
  line = line.replace('|', '&#124;')
  # At the start of a line these would make a heading, a list or a link.
  start = r'^(#|[+-](?=\s)|\d(?=\d*\.\s)|\[)'
  return markupsafe.Markup(
    re.sub(start, lambda match: f'&#{ord(match[0])};', line)
  )


def as_markdown(*blocks: Block) -> markupsafe.Markup:
  """Return blocks as Markdown, with one blank line between them."""
  return markupsafe.Markup('\n\n'.join(map(_block, blocks)))


def _block(block: Block) -> str:
  match block:
    case Heading(text, level):
      return f'{"#" * level} {escape(text)}'
    case Text(text, ''):
      return escape(text)
    case Text(text, label):
      return f'**{escape(label)}** {escape(text)}'
    case Bullets(lines):
      return '\n'.join(f'- {escape(line)}' for line in lines)
    case Table(head, rows):
      return '\n'.join(map(_row, (head, ('---',) * len(head), *rows)))
    case Picture(name, caption, _):
      return f'![{escape(caption)}]({name})\n\n*{escape(caption)}*'


def _row(cells: Sequence[str]) -> str:
  return f'| {" | ".join(map(escape, cells))} |'


def code(text: str) -> markupsafe.Markup:
  """Return lines that are shown as they are."""
  return markupsafe.Markup(textwrap.indent(text, '    '))


def render(name: str, **values: Any) -> str:
  """Return a template of Markdown with its values as plain text."""
  template = templates.template(name, escape, block=as_markdown, code=code)
  # A template leaves several blank lines where Markdown has one.
  return re.sub(r'\n{3,}', '\n\n', template.render(values)).strip() + '\n'


def as_html(text: str, pictures: Mapping[str, bytes]) -> str:
  """Return a page of Markdown as one HTML file that needs no other.

  Args:
    text: the Markdown, whose first line is the title.
    pictures: by the names of their files; they become part of the page.
  """
  body = markdown.markdown(text, extensions=['tables', 'fenced_code'])
  # A line breaks before an interval, and not within.
  body = re.sub(r'(\[[+-]?[\d.]+,) (?=[+-]?[\d.]+\])', r'\1&nbsp;', body)
  body = body.replace('<table>', '<div class="wide"><table>')
  body = body.replace('</table>', '</table></div>')
  for name, png in pictures.items():
    data = base64.b64encode(png).decode()
    body = body.replace(f'src="{name}"', f'src="data:image/png;base64,{data}"')
  title = re.match('<h1>(.*?)</h1>', body)
  return templates.template('memo.html').render(
    title=markupsafe.Markup(title[1] if title else ''),
    body=markupsafe.Markup(body),
  )
