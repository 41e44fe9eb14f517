"""An SVG of matplotlib, made part of a page: small, themed, pointed at."""

import re
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

from posexp import component

# Colours that the page replaces: of text, of what is grey, of the grid.
INK, GREY, GRID = '#010101', '#020202', '#030303'
_NAMES = {INK: 'ink', GREY: 'grey', GRID: 'grid'}
_SVG = '{http://www.w3.org/2000/svg}'
_LINK = '{http://www.w3.org/1999/xlink}href'
_DRAWN = (f'{_SVG}use', f'{_SVG}path')
_COLOR = re.compile(r'(fill|stroke): (#[0-9a-f]{6})')


def element(written: str, parts: Mapping[str, Sequence[str]], what: str) -> str:
  """The SVG as an element of an HTML page.

  A group whose name is kind:run becomes one of class `kind` with the attribute
  data-run, and each mark in it has what it shows as data-at. A colour c becomes
  the variable --cXXXXXX of the page, with c where there is none.

  Args:
    written: the file, as matplotlib writes it.
    parts: what the marks of each named group show, in the order drawn.
    what: the text in place of the figure.
  """
  root = ElementTree.fromstring(written[written.index('<svg') :])
  for name in ('width', 'height', 'version'):
    root.attrib.pop(name)
  root.attrib |= {'role': 'img', 'aria-label': what}
  for unseen in root.findall(f'{_SVG}metadata'):
    root.remove(unseen)
  for group in list(root.iter(f'{_SVG}g')):
    kind, _, run = group.get('id', '').partition(':')
    group.attrib.pop('id', None)
    if run:
      group.attrib |= {'class': kind, 'data-run': run}
      _mark(group, parts[f'{kind}:{run}'])
  for one in root.iter():
    _shorten(one)
  text = ElementTree.tostring(root, encoding='unicode', xml_declaration=False)
  text = re.sub(r' xmlns(:\w+)?="[^"]*"', '', text)
  return re.sub(r'(</?)\w+:(?=\w)', r'\1', text)


def _mark(group: ElementTree.Element, shown: Sequence[str]) -> None:
  """Says of each mark of a group what it shows, and its style once."""
  marks = [m for m in group.iter() if m.tag in _DRAWN and 'id' not in m.attrib]
  if group.get('class') == 'line':  # First the line itself, then its markers.
    marks = [m for m in marks if m.tag == f'{_SVG}use']
  if len(marks) != len(shown):
    raise component.UserError(
      f'{len(marks)} marks were drawn for {len(shown)} numbers: draw finite '
      'ones, within the axes'
    )
  styles = {mark.attrib.pop('style', '') for mark in marks}
  holder = group.find(f'{_SVG}g')
  if marks:
    (style,) = styles
    for on in marks if holder is None else [holder]:
      on.set('style', style)
  for mark, at in zip(marks, shown):
    mark.set('data-at', at)


def _shorten(one: ElementTree.Element) -> None:
  """Numbers to a tenth of a point, and colours that the page can change."""
  for name in ('d', 'x', 'y', 'transform'):
    if name in one.attrib:
      text = re.sub(r'(\d+\.\d)\d+', r'\1', one.attrib[name])
      one.set(name, ' '.join(text.split()))
  if _LINK in one.attrib:
    one.set('href', one.attrib.pop(_LINK))
  if 'style' in one.attrib:
    style = _COLOR.sub(_variable, one.attrib['style'])
    one.set('style', re.sub(r'(font: [\d.]+px) [^;]*', r'\1 sans-serif', style))
  one.text, one.tail = ((one.text or '').strip() or None), None


def _variable(found: re.Match[str]) -> str:
  name, color = found[1], found[2]
  if color in _NAMES:
    return f'{name}: var(--{_NAMES[color]})'
  return f'{name}: var(--c{color[1:]}, {color})'
