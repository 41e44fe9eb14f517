"""The page of a report: what it says."""

import html
import json
import re
import shutil
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from posexp.claims import contrasts
from posexp.cli import main
from posexp.launch import exit_codes
from posexp.plots import style
from posexp.plots.report import MEASURES, draw
from posexp.reports import contrasts_text, findings, page
from posexp.results import plans, records
from tests import report_made
from tests.report_made import LENGTHS, report

SVG = '{http://www.w3.org/2000/svg}'


@pytest.fixture(scope='module')
def grid(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('grid')
  digests = report_made.write(workdir)
  report(workdir)
  return workdir, digests


def test_nothing_is_fetched(grid):
  text = (grid[0] / 'report.html').read_text()
  links = re.findall(r'(?:src|href)\s*=\s*"([^"]*)"', text)
  assert links and all(link.startswith('#') for link in links)
  assert "default-src 'none'" in text and '@import' not in text
  assert 'url(http' not in text


def test_the_same_records_give_the_same_page(grid, tmp_path):
  shutil.copytree(grid[0] / 'runs', tmp_path / grid[0].name / 'runs')
  again = report(tmp_path / grid[0].name)
  assert again == (grid[0] / 'report.html').read_text()


def test_claims_are_those_of_the_planned_comparisons(grid):
  workdir, _ = grid
  found = findings.load(workdir)
  text = ' '.join(page.compose(found).split())
  planned = found.planned
  claimed, made = planned['claimed'].sum(), (planned['why'] == '').sum()
  assert 0 < claimed < made < len(planned)
  assert text.count('<td>claimed</td>') == claimed
  assert text.count('<td>not claimed</td>') == made - claimed
  assert (
    text.count('>the same</td>') == (planned['n'] == planned['all_n']).sum()
  )
  for row in planned.to_dict('records'):
    said = html.escape(contrasts_text.claim(row), quote=False)
    assert (f'<li>{said}.</li>' in text) == row['claimed']
  for _, asked in planned.groupby('task'):
    words = f'{asked["claimed"].sum()} of {len(asked)} planned comparisons'
    assert words in text
  # The same in the terminal, to the digit.
  results = records.load(workdir)
  told = contrasts.planned(results, plans.read(workdir, results))
  pd.testing.assert_frame_equal(told, planned)
  # The two that cannot be told apart are both first.
  far = found.cells[(found.cells['length'] == 32)]
  best = far[far['rank'] == 1].groupby('task')['label'].apply(set)
  assert all(labels == {'ALiBi()', 'T5()'} for labels in best)


def test_a_run_that_did_not_learn_has_no_number_anywhere(grid):
  text = (grid[0] / 'report.html').read_text()
  digest = grid[1]['Ordering()', 'NoPE()']
  # But one: none of all its seeds succeeded.
  drawn = re.findall(rf'"\d-(\w+):mean:{digest}"', text)
  assert set(drawn) == {'success'}
  assert 'not admitted: 0 of 5 seeds reached 99% at the trained length' in text
  results = text[text.index('<section id="results">') :]
  results = results[: results.index('</section>')]
  rows = re.findall(rf'<tr data-run="{digest}".*?</tr>', results)
  assert len(rows) == len(LENGTHS)
  for row in rows:
    assert re.findall(r'<td data-value="nan">(.*?)</td>', row) == ['–'] * 4
    assert '<td data-value="0.0">0 of 5 [0.0, 43.4]</td>' in row


def test_no_work_directory_is_a_sentence(tmp_path, capsys):
  none = tmp_path / 'none'
  assert main.main(['posexp', 'report', str(none)]) == exit_codes.BAD_INPUT
  said = capsys.readouterr().err
  assert said.startswith(f'posexp: no work directory {none}')
  assert said.count('\n') == 1 and not none.exists()


def test_another_file_can_be_asked_for(grid, tmp_path, capsys):
  path = tmp_path / 'deep' / 'page.html'
  words = 'posexp', 'report', str(grid[0]), f'--output={path}'
  assert main.main(list(words)) == 0
  assert capsys.readouterr().out == f'report: {path}\n'
  assert path.read_text() == (grid[0] / 'report.html').read_text()


def test_what_cannot_be_written_is_a_sentence(grid, capsys):
  words = 'posexp', 'report', str(grid[0]), '--output=/dev/null/page.html'
  assert main.main(list(words)) == exit_codes.BAD_INPUT
  said = capsys.readouterr().err.splitlines()[-1]
  assert said.startswith('posexp: cannot write /dev/null')
  assert said.endswith('give another place with --output')


def test_every_mark_of_a_figure_has_its_numbers(grid):
  """As many marks are drawn as the page has texts for them, in their order."""
  text = (grid[0] / 'report.html').read_text()
  pattern = r"data-name=\"(.*?)\" data-marks='(.*?)'>(<svg.*?</svg>)"
  figures = re.findall(pattern, text, re.DOTALL)
  assert len(figures) == 2 * len(MEASURES)
  for name, marks, svg in figures:
    root = ElementTree.fromstring(svg)
    by_part = json.loads(marks)
    assert {part.split(':')[0] for part in by_part} >= {'mean', 'interval'}
    groups = {g.get('id'): g for g in root.iter(f'{SVG}g')}
    for part, shown in by_part.items():
      group = groups[f'{name}:{part}']
      drawn = list(group.iter(f'{SVG}use'))
      if part.startswith('interval:'):
        drawn = [m for m in group.iter(f'{SVG}path') if 'id' not in m.attrib]
      assert len(drawn) == len(shown)
      if part.startswith('mean:'):
        assert [text.split('|')[0] for text in shown] == list(map(str, LENGTHS))
        # A mark stands where its number is, -2 % at the bottom, 102 % on top.
        shares = [float(text.split('|')[1]) for text in shown]
        heights = [float(mark.get('y')) for mark in drawn]
        low, high = 72 * 2.7 * (1 - 0.22), 72 * 2.7 * (1 - 0.22 - 0.68)
        wanted = np.interp(shares, [-2, 102], [low, high])
        np.testing.assert_allclose(heights, wanted, rtol=0, atol=0.1)


def test_a_number_that_is_missing_has_no_mark(tmp_path):
  """As many marks as numbers, where one seed diverged at a length."""
  report_made.write(tmp_path)
  found = findings.load(tmp_path)
  results, cells = found.results.copy(), found.cells.copy()
  at = (results['length'] == 16) & (results['seed'] == 3)
  results.loc[at, 'token'] = np.nan
  cells.loc[cells['length'] == 16, ['token', 'token_low', 'token_high']] = (
    np.nan
  )
  task = results['task'] == 'Ordering()'
  looks = style.looks(results)
  of_task = cells['task'] == 'Ordering()'
  figure = draw(MEASURES[0], cells[of_task], results[task], looks, 'x')
  root = ElementTree.fromstring(figure.svg)
  groups = {g.get('id'): g for g in root.iter(f'{SVG}g')}
  for part, shown in figure.marks.items():
    if not part.startswith('interval:'):
      drawn = list(groups[f'x:{part}'].iter(f'{SVG}use'))
      expected = 2 if part.startswith('mean:') else 3 * 5 - 1
      assert len(drawn) == len(shown) == expected
