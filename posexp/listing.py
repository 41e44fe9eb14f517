"""The catalogue of schemes as text for a terminal."""

import textwrap

from posexp import catalogue, schemes


def table() -> str:
  """The catalogue for a terminal of 100 columns."""
  head = 'scheme', 'acts on', 'learned', 'relative', 'blocks'
  rows = {s: _row(s) for s in schemes.CATALOGUE}
  columns = list(zip(head, *rows.values()))
  widths = [max(map(len, column)) for column in columns]
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
