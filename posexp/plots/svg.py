"""An SVG of matplotlib, made part of a page: small, themed, pointed at."""

import re
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

from matplotlib import colors

from posexp.plots import style

# Colours that the page replaces, by its variables.
_VARIABLES = {
  '#000000': 'ink',
  colors.to_hex(style.GREY): 'grey',
  colors.to_hex(style.STYLE['grid.color']): 'grid',
  '#ffffff': 'page',
}
_SVG = '{http://www.w3.org/2000/svg}'
# What the parts of a run are called in the page, by their ids.
KINDS = {'mean': 'line', 'interval': 'interval', 'seeds': 'seed'}


def element(written: str, marks: Mapping[str, Sequence[str]], what: str) -> str:
  """Return the SVG as an element of an HTML page.

  A group whose id is kind:run becomes one of class `kind` with the attribute
  data-run, and each mark in it has what it shows as data-at. A colour c becomes
  the variable --cXXXXXX of the page, with c where there is none.

  Args:
    written: the file, as matplotlib writes it.
    marks: what the marks of each group show, by its id, in the order drawn.
    what: the text in place of the figure.
  """
  root = ElementTree.fromstring(written[written.index('<svg') :])
  for name in ('width', 'height', 'version'):
    root.attrib.pop(name)
  root.attrib |= {'role': 'img', 'aria-label': what}
  for metadata in root.findall(f'{_SVG}metadata'):
    root.remove(metadata)
  for group in root.iter(f'{_SVG}g'):
    kind, _, run = group.attrib.pop('id', '').partition(':')
    if run:
      group.attrib |= {'class': KINDS[kind], 'data-run': run}
      _describe(group, kind, marks.get(f'{kind}:{run}', ()))
  text = ElementTree.tostring(root, encoding='unicode', xml_declaration=False)
  text = re.sub(r' xmlns(:\w+)?="[^"]*"', '', text)
  text = re.sub(r'(</?)\w+:(?=\w)', r'\1', text)
  text = re.sub(r' \w+:href=', ' href=', text)
  text = re.sub(r' (d|x|y|transform)="[^"]*"', _rounded, text)
  text = re.sub(r'(font: [\d.]+px) [^;"]*', r'\1 sans-serif', text)
  text = re.sub(r'(fill|stroke): (#[0-9a-f]{6})', _variable, text)
  return re.sub(r'>\s+<', '><', text)


def _describe(
  group: ElementTree.Element, kind: str, shown: Sequence[str]
) -> None:
  """Say of each mark of a group what it shows, and its style once."""
  tag = 'path' if kind == 'interval' else 'use'  # A line is a path, and marks.
  marks = [m for m in group.iter(f'{_SVG}{tag}') if 'id' not in m.attrib]
  if len(marks) != len(shown):
    raise ValueError(
      f'{len(marks)} marks were drawn for {len(shown)} numbers: draw finite '
      'ones, within the axes'
    )
  for mark, at in zip(marks, shown):
    group.set('style', mark.attrib.pop('style', ''))
    mark.set('data-at', at)


def _rounded(attribute: re.Match[str]) -> str:
  return re.sub(r'(\d+\.\d)\d+', r'\1', ' '.join(attribute[0].split('\n')))


def _variable(color: re.Match[str]) -> str:
  part, value = color.groups()
  name = _VARIABLES.get(value, f'c{value[1:]}')
  return f'{part}: var(--{name}, {value})'
