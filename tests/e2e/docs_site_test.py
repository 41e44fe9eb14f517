"""The pages of docs are built strictly, offline, and fetch nothing."""

import doctest
import html.parser
import importlib.util
import os
import pathlib
import re
import subprocess
import sys

import pytest

from posexp import version
from tests import written

NEEDED = ('mkdocs', 'material', 'mkdocstrings_handlers', 'griffe')


@pytest.fixture(scope='module')
def site(tmp_path_factory):
  """The folder of the built pages."""
  for name in NEEDED:
    if importlib.util.find_spec(name) is None:
      pytest.skip(f'no {name}: it comes with the extra [docs]')
  folder = tmp_path_factory.mktemp('site')
  built = subprocess.run(
    [sys.executable, '-m', 'mkdocs', 'build', '--strict', '-d', str(folder)],
    cwd=written.ROOT,
    env={**os.environ, 'NO_MKDOCS_2_WARNING': '1'},
    capture_output=True,
    text=True,
  )
  assert built.returncode == 0, built.stderr
  return folder


class Page(html.parser.HTMLParser):
  """What a page fetches by itself, and the text of its blocks of code."""

  def __init__(self, path: pathlib.Path):
    super().__init__()
    self.fetched: list[str] = []
    self.code: list[str] = []
    self._depth = 0
    self.feed(path.read_text())

  def handle_starttag(self, tag, attrs):
    found = dict(attrs)
    if tag == 'pre':
      self.code.append('')
      self._depth += 1
    if tag == 'link' and found.get('rel') in ('canonical', 'next', 'prev'):
      return
    if tag != 'a':
      self.fetched += filter(None, (found.get('src'), found.get('href')))

  def handle_endtag(self, tag):
    self._depth -= tag == 'pre'

  def handle_data(self, data):
    if self._depth:
      self.code[-1] += data


def test_every_page_is_there_and_fetches_nothing_from_elsewhere(site):
  sources = (written.ROOT / 'docs').rglob('*.md')
  for source in sources:
    path = site / source.relative_to(written.ROOT / 'docs').with_suffix('.html')
    for address in Page(path).fetched:
      assert not re.match(r'(\w+:)?//', address), f'{path}: {address}'
  for style in site.rglob('*.css'):
    assert not re.search(r'url\(["\']?(\w+:)?//', style.read_text()), style


def test_formulas_and_examples_of_docstrings_are_code(site):
  code = Page(site / 'reference/statistics.html').code
  whole = '\n'.join(code)
  for formula in (
    's / √n,  s² the variance of',
    'mean ± t_{(1 + confidence) / 2',
  ):
    assert formula in whole
  (example,) = [block for block in code if '>>> interval([0.9])' in block]
  assert 'Interval(mean=0.9, low=nan, high=nan, n=1)' in example


def test_fields_are_shown_with_their_defaults(site):
  code = '\n'.join(Page(site / 'reference/schemes.html').code)
  assert re.search(r'Matched\(\s*length: int,\s*value: float = 10000.0', code)
  assert 'field(' not in code


def test_docstrings_become_markdown(site):
  from docs import docstrings

  assert doctest.testmod(docstrings) == (0, 3)
  args = 'A.\n\nArgs:\n  n: of it.\n\n    more of n.\n\n'
  shown = docstrings.markdown(f'{args}>>> 1\n1')
  assert shown == f'{args}```pycon\n>>> 1\n1\n```'


def test_the_citation_is_of_this_version():
  text = (written.ROOT / 'CITATION.cff').read_text()
  found = dict(re.findall(r'^([\w-]+): (.+)$', text, flags=re.M))
  assert found['cff-version'] == '1.2.0' and found['title'] == 'posexp'
  assert found['version'] == version.VERSION
  assert found['license'] == 'Apache-2.0'
  # What the schema of CFF 1.2.0 asks for besides.
  assert {'message', 'type'} <= found.keys() and '\nauthors:\n' in text
  assert '  - name: posexp authors' in text


def test_the_changelog_tells_of_what_is_coming():
  text = (written.ROOT / 'CHANGELOG.md').read_text()
  heads = re.findall(r'^## (.+)$', text, flags=re.M)
  assert heads[0] == 'Unreleased' or heads[0].startswith(f'{version.VERSION} ')
  assert version.VERSION in text


def test_laws_of_contributing_are_tests():
  text = (written.ROOT / 'CONTRIBUTING.md').read_text()
  tests = '\n'.join(
    p.read_text() for p in (written.ROOT / 'tests').rglob('*.py')
  )
  named = re.findall(r'`(test_\w+)`', text)
  assert len(named) >= 12
  for name in named:
    assert f'def {name}(' in tests, name
  for path in re.findall(r'`((?:tests|posexp)/[\w/.]+)`', text):
    assert (written.ROOT / path).exists(), path
