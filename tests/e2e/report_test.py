"""The page of a report in a real browser."""

import collections
import io
import json
import re
import shutil
from urllib import parse

import numpy as np
import pytest
from PIL import Image

from posexp.results import records
from tests.report_made import LENGTHS, RUNS, report, write

HOSTILE = '<img src=x onerror=alert(1)>"\'</script><script>alert(2)</script>'


@pytest.fixture(scope='module')
def grid(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('grid')
  digests = write(workdir)
  report(workdir)
  return workdir, digests


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
  pytest.importorskip('selenium', reason='needs the extra [dev]')
  from selenium import webdriver
  from selenium.webdriver.chrome import options, service

  binary = shutil.which('chromium') or shutil.which('google-chrome')
  driver = shutil.which('chromedriver')
  if not (binary and driver):
    pytest.skip('needs Chromium and its driver on the path')
  how = options.Options()
  home = tmp_path_factory.mktemp('browser')
  for flag in ('headless=new', 'no-sandbox', 'disable-gpu', 'no-first-run'):
    how.add_argument(f'--{flag}')
  how.add_argument(f'--user-data-dir={home}')
  how.binary_location = binary
  how.set_capability('goog:loggingPrefs', {'browser': 'ALL'})
  opened = webdriver.Chrome(how, service.Service(driver))
  yield opened
  opened.quit()


def visit(browser, path, dark=False, width=1280):
  """Opens a page afresh; it may say nothing on the console."""
  size = {'width': width, 'height': 1600, 'deviceScaleFactor': 1}
  browser.execute_cdp_cmd(
    'Emulation.setDeviceMetricsOverride', size | {'mobile': width < 500}
  )
  theme = 'dark' if dark else 'light'
  scheme = {'name': 'prefers-color-scheme', 'value': theme}
  browser.execute_cdp_cmd('Emulation.setEmulatedMedia', {'features': [scheme]})
  browser.get('about:blank')
  browser.get(f'file://{parse.quote(str(path))}')
  assert browser.get_log('browser') == []
  return browser


def js(browser, script, *arguments):
  return browser.execute_script(script, *arguments)


def shown(browser, selector):
  """How many elements of a selector can be seen."""
  return js(
    browser,
    'return [...document.querySelectorAll(arguments[0])].filter('
    'e => e.getClientRects().length).length',
    selector,
  )


def choose(browser, name, value, on):
  js(
    browser,
    'const [name, value, on] = arguments;'
    'const b = [...document.querySelectorAll(`input[name=${name}]`)]'
    '.find(b => b.value.includes(value)); if (b.checked !== on) b.click()',
    name,
    value,
    on,
  )


@pytest.mark.parametrize(
  ('dark', 'width'), [(False, 1280), (True, 1280), (False, 390), (True, 390)]
)
def test_it_can_be_seen_in_both_themes_and_on_a_phone(
  grid, browser, dark, width
):
  visit(browser, grid[0] / 'report.html', dark, width)
  wide = js(browser, 'return document.documentElement.scrollWidth')
  assert wide <= width
  figure = browser.find_element('css selector', 'figure svg')
  pixels = np.asarray(
    Image.open(io.BytesIO(figure.screenshot_as_png)).convert('RGB')
  )
  counts = collections.Counter(map(tuple, pixels.reshape(-1, 3).tolist()))
  paper, most = counts.most_common(1)[0]
  assert (sum(paper) < 200) == dark
  drawn = 1 - most / sum(counts.values())
  assert 0.01 < drawn < 0.5 and len(counts) > 20


def test_filters_hide_rows_marks_and_questions(grid, browser):
  workdir, digests = grid
  visit(browser, workdir / 'report.html')
  rows = '#results tbody tr'
  assert shown(browser, rows) == len(digests) * len(LENGTHS)
  alibi = digests['Ordering()', 'ALiBi()']
  marks = f'figure [data-run="{alibi}"]'
  assert shown(browser, marks) > 0
  choose(browser, 'scheme', alibi, False)
  assert shown(browser, rows) == (len(digests) - 2) * len(LENGTHS)
  assert shown(browser, marks) == 0
  assert shown(browser, f'#pairs tr[data-other="{alibi}"]') == 0
  choose(browser, 'scheme', alibi, True)
  choose(browser, 'question', '1', False)
  assert shown(browser, '#figures h3') == 1
  assert shown(browser, rows) == len(RUNS) * len(LENGTHS)
  choose(browser, 'length', '32', False)
  assert shown(browser, rows) == len(RUNS) * (len(LENGTHS) - 1)
  assert shown(browser, '[data-at^="32|"]') == 0
  assert shown(browser, '[data-at^="16|"]') > 0
  count = browser.find_element('id', 'count').text
  assert count == f'({len(RUNS) * 2} rows shown)'
  choose(browser, 'length', '32', True)
  assert shown(browser, '[data-at^="32|"]') > 0


def test_tables_sort_by_number_both_ways(grid, browser):
  visit(browser, grid[0] / 'report.html')
  read = (
    'return [...document.querySelectorAll("#results tbody tr")].map('
    'r => parseFloat(r.cells[5].dataset.value))'
  )
  for reverse in (False, True):
    browser.find_element(
      'css selector', '#results thead th:nth-child(6) button'
    ).click()
    values = [v for v in js(browser, read) if v is not None]
    assert values == sorted(values, reverse=reverse) and len(set(values)) > 5
    state = js(
      browser,
      'return document.querySelector("#results th:nth-child(6)").ariaSort',
    )
    assert state == ('descending' if reverse else 'ascending')


def test_pointing_and_keys_tell_the_run_and_the_seed(grid, browser):
  from selenium.webdriver.common import action_chains

  workdir, digests = grid
  visit(browser, workdir / 'report.html')
  digest = digests['Ordering()', 'RoPE()']
  group = f'figure .seeds[data-run="{digest}"]'
  mark = browser.find_element('css selector', f'{group} [data-at^="32|3|"]')
  js(browser, 'arguments[0].scrollIntoView({block: "center"})', mark)
  action_chains.ActionChains(browser).move_to_element(mark).perform()
  told = browser.find_element('id', 'tip').text
  table = records.load(workdir, [digest])
  at = table[(table['length'] == 32) & (table['seed'] == 3)]
  accuracy = 100 * at['token'].iloc[0]
  assert told == f'RoPE() at 32 tokens, seed 3: {accuracy:.1f} %'
  svg = browser.find_element('css selector', 'figure [role=img]')
  svg.send_keys('\ue014')  # Right.
  first = browser.find_element('id', 'tip').text
  svg.send_keys('\ue014')
  assert first and browser.find_element('id', 'tip').text != first
  svg.send_keys('\ue00c')  # Escape.
  assert not browser.find_element('id', 'tip').is_displayed()


def test_every_figure_has_words_and_every_field_a_name(grid, browser):
  visit(browser, grid[0] / 'report.html')
  unnamed = js(
    browser,
    'return [...document.querySelectorAll("input")].filter('
    'i => !i.labels.length).length',
  )
  silent = js(
    browser,
    'return [...document.querySelectorAll("figure [role=img]")].filter('
    's => !s.getAttribute("aria-label")).length',
  )
  assert (unnamed, silent) == (0, 0)
  assert js(browser, 'return document.documentElement.lang') == 'en'


def test_hostile_names_are_text(tmp_path, browser):
  runs = {f'RoPE(){HOSTILE}': (0.5, True), HOSTILE: (0.9, True)}
  write(tmp_path, runs, tasks=(f'Ordering(){HOSTILE}',))
  record = records.read(tmp_path, f'{0:016x}')
  assert HOSTILE in record['scheme']
  text = report(tmp_path)
  assert '<img' not in text and '<script>alert' not in text
  visit(browser, tmp_path / 'report.html')
  assert js(browser, 'return document.images.length') == 0
  assert js(browser, 'return document.scripts.length') == 1
  body = browser.find_element('tag name', 'main').text
  assert HOSTILE in body


def plain(text):
  return ' '.join(re.sub(r'<[^>]*>', ' ', text).split())


def test_an_empty_work_directory_is_a_page(tmp_path, browser):
  assert 'There is no finished run here yet' in plain(report(tmp_path))
  visit(browser, tmp_path / 'report.html')
  assert 'posexp run FILE' in browser.find_element('tag name', 'body').text


def test_a_grid_that_is_running_says_what_is_missing(tmp_path, browser):
  from posexp.launch import status

  digests = write(tmp_path, tasks=('Ordering()',))
  plan = [(digest, f'run {digest}', 1e9) for digest in digests.values()]
  status.plan(tmp_path, [*plan, ('f' * 16, 'the run to come', 1e9)])
  text = plain(report(tmp_path))
  assert '4 done, 1 waiting of 5 runs' in text
  visit(browser, tmp_path / 'report.html')
  assert shown(browser, '#results tbody tr') == 4 * len(LENGTHS)


def test_one_seed_says_that_there_is_no_interval(tmp_path, browser):
  write(tmp_path, seeds=(0,), tasks=('Ordering()',))
  text = plain(report(tmp_path))
  assert 'one seed, so no interval and no comparison; give the runs' in text
  assert 'could be made, so nothing can be claimed' in text
  page_text = (tmp_path / 'report.html').read_text()
  rows = re.findall(r'<tr data-run.*?</tr>', page_text)
  means = [re.findall(r'<td data-value="[\d.]+">(.*?)</td>', r) for r in rows]
  # Of the length, then the mean; of one seed a share has Wilson's interval.
  assert means and all('[' not in cell for row in means for cell in row[1:2])
  visit(browser, tmp_path / 'report.html')
  assert shown(browser, 'figure svg') == 4


def test_missing_cells_and_records_that_cannot_be_read_are_said(
  tmp_path, browser
):
  digests = list(write(tmp_path, tasks=('Ordering()',)).values())
  body = records.whole(tmp_path, digests[1])
  kept = [row for row in body['results'] if row['length'] < 32]
  shutil.rmtree(tmp_path / 'runs' / digests[1])
  body.pop('format', None)
  records.write(tmp_path, body | {'results': kept}, {})
  path = tmp_path / 'runs' / digests[2] / 'record.json'
  newer = json.loads(path.read_text())
  path.write_text(json.dumps(newer | {'format': 999}))
  with pytest.warns(UserWarning, match='has format 999'):
    records.read_all(tmp_path)
  text = plain(report(tmp_path))
  assert 'ALiBi() was not evaluated at 32 tokens' in text
  assert 'has format 999, and this version reads' in text
  visit(browser, tmp_path / 'report.html')
  assert shown(browser, '#results tbody tr') == 3 + 2 + 3
