"""A page of plain blocks, written once as Markdown and once as HTML.

Blocks hold plain text. All of it is escaped where it is written, so that a name
from a record is shown as it is and never read as markup.
"""

import base64
import dataclasses
import html
import re
from collections.abc import Sequence

import markdown

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 54rem;
  margin: 0 auto; padding: 1rem; color: #1a1a1a; background: #fff; }
h1 { font-size: 1.5rem; line-height: 1.25; }
h2 { font-size: 1.2rem; margin-top: 2rem; border-bottom: 1px solid #ccc; }
h3 { font-size: 1rem; margin-top: 1.5rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.8rem; margin: 0.5rem 0; }
th, td { border-bottom: 1px solid #ddd; padding: 0.2rem 0.6rem 0.2rem 0;
  text-align: left; vertical-align: top; white-space: nowrap; }
img { max-width: 100%; height: auto; background: #fff; }
pre { overflow-x: auto; padding: 0.5rem; background: #f2f2f2; }
@media (prefers-color-scheme: dark) {
  body { color: #e6e6e6; background: #161616; }
  h2 { border-color: #555; }
  th, td { border-color: #444; }
  pre { background: #262626; }
}
"""
# No script can run and nothing is fetched, whatever the text holds.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


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
class Code:
  """A command, kept as it is."""

  text: str


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


Block = Heading | Text | Bullets | Code | Table | Picture


def as_markdown(blocks: Sequence[Block]) -> str:
  """The page as Markdown, one blank line between blocks."""
  return '\n\n'.join(map(_block, blocks)) + '\n'


def as_html(blocks: Sequence[Block]) -> str:
  """The page as one HTML file that needs no other: figures are in it."""
  text = as_markdown(blocks)
  body = markdown.markdown(text, extensions=['tables', 'fenced_code'])
  body = body.replace('<table>', '<div class="wide"><table>')
  body = body.replace('</table>', '</table></div>')
  for block in blocks:
    if isinstance(block, Picture):
      data = base64.b64encode(block.png).decode()
      body = body.replace(
        f'src="{block.name}"', f'src="data:image/png;base64,{data}"'
      )
  titles = [b.text for b in blocks if isinstance(b, Heading)]
  title = html.escape(titles[0]) if titles else ''
  return (
    '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    f'<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n'
    f'<body>\n{body}\n</body>\n</html>\n'
  )


def escape(text: str) -> str:
  """Plain text as Markdown on one line that shows just that text.

  Brackets of intervals stay as they are, for they can open no link.

  >>> print(escape('a_b | <i> [x](y) 5 [4, 6]'))
  a\\_b &#124; &lt;i&gt; \\[x\\](y) 5 [4, 6]
  """
  text = html.escape(' '.join(text.split()), quote=False)
  text = re.sub(r'[\\`*_]|\[(?![+\-\d])|\](?=[(\[:])', r'\\\g<0>', text)
  return text.replace('|', '&#124;')


def _line(text: str) -> str:
  """Text at the start of a line, where it could be a heading or a list."""
  text = escape(text)
  return re.sub(
    r'^([#+-]|\d(?=\d*\.\s)|\[)', lambda found: f'&#{ord(found[0])};', text
  )


def _block(block: Block) -> str:
  match block:
    case Heading(text, level):
      return f'{"#" * level} {_line(text)}'
    case Text(text, ''):
      return _line(text)
    case Text(text, label):
      return f'**{escape(label)}** {escape(text)}'
    case Bullets(lines):
      return '\n'.join(f'- {_line(line)}' for line in lines)
    case Code(text):
      return '\n'.join(f'    {line}' for line in text.splitlines())
    case Table(head, rows):
      rule = ('---',) * len(head)
      return '\n'.join(map(_row, (head, rule, *rows)))
    case Picture(name, caption, _):
      return f'![{escape(caption)}]({name})\n\n*{escape(caption)}*'
  raise TypeError(f'{block!r} is no block of a page')


def _row(cells: tuple[str, ...]) -> str:
  return f'| {" | ".join(map(escape, cells))} |'
