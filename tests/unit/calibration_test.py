"""What is simulated is what the page says, and the page is what it gave."""

import math
import re
import runpy
import types

import numpy as np
import pytest

from posexp.results import records
from posexp.studies import compare, rules
from tests import written

PAGE = written.ROOT / 'docs' / 'explanation' / 'calibration.md'


@pytest.fixture(scope='module')
def bench():
  return runpy.run_path(str(written.ROOT / 'experiments' / 'calibration.py'))


def most(trials, share=0.05):
  """What is seen of a share at most, with three standard errors."""
  return trials * share + 3 * math.sqrt(trials * share * (1 - share))


def hits(found):
  """The counts of a job, by row."""
  return {row: count.hits for (_, row, _), count in found.items()}


def test_means_are_those_that_are_covered(bench):
  for name, (draw, true) in bench['means']().items():
    values = draw(np.random.default_rng(1), (40_000, 1))
    assert values.min() >= 0 and values.max() <= 1, name
    # Four standard errors of the widest, all values at an end.
    assert abs(values.mean() - true) < 4 * 0.5 / math.sqrt(values.size), name


def test_worlds_are_alike_or_apart_as_they_say(bench):
  rng, shape = np.random.default_rng(2), (4000, 3, 2, 2)
  for name, world in bench['WORLDS'].items():
    lift = np.array([0, 0.2 * (name in bench['BETTER']), 0])
    drawn = bench['drawn'](rng, world, shape, lift)
    means = drawn.token_TxRxSxK.mean((0, 2, 3))
    # Four errors of a difference, of two lengths that are nearly one.
    error = 4 * 0.5 * math.sqrt(2 / (4000 * 2))
    np.testing.assert_allclose(means - means[0], lift, atol=error)
    assert drawn.learned_TxRxS.mean() == pytest.approx(world.learned, abs=0.02)


def test_results_are_those_of_records(bench):
  drawn = bench['drawn'](
    np.random.default_rng(3),
    bench['WORLDS']['half and half, three seeds in ten learn nothing'],
    (2, 3, 4, 2),
    np.zeros(3),
  )
  table = bench['results'](drawn)
  assert tuple(table) == records.COLUMNS
  place = table.set_index(['digest', 'seed', 'length'])
  for trial, run, seed in ((0, 0, 0), (1, 2, 3)):
    rows = place.loc[(f'{trial}-{run}', seed)]
    learned = drawn.learned_TxRxS[trial, run, seed]
    assert (rows['admitted'] == learned).all()
    assert (rows.loc[64, 'token'] >= 0.99) == learned
    far = drawn.token_TxRxSxK[trial, run, seed]
    assert rows.loc[[128, 256], 'token'].tolist() == far.tolist()


def test_planned_contrasts_claim_what_is_there_and_nothing_else(bench):
  """And are judged as whole tables are, which each of these asserts."""
  rng, trials = np.random.default_rng(4), 200
  for name in bench['ALIKE']:
    found = bench['false_contrasts'](name, 4, 5, trials, rng)
    assert max(hits(found).values()) <= most(trials), name
  found = bench['found_contrasts']('normal', 0.4, 8, trials, rng)
  # The page has 100 %.
  assert min(hits(found).values()) >= 0.95 * trials


def test_other_judgements_than_those_of_whole_tables_are_seen(
  bench, monkeypatch
):
  world = bench['WORLDS']['half and half, three seeds in ten learn nothing']
  shape = (3, 3, 6, 2)
  drawn = bench['drawn'](np.random.default_rng(6), world, shape, np.zeros(3))
  bench['check'](drawn)

  def other(few, trial, every=False):
    return bench['judged'](few, trial, not every)

  monkeypatch.setitem(bench['check'].__globals__, 'judged', other)
  with pytest.raises(AssertionError):
    bench['check'](drawn)


@pytest.mark.parametrize('kind', ['choice', 'regression'])
def test_studies_claim_what_is_there_and_nothing_else(bench, kind):
  rng = np.random.default_rng(5)
  for name in ('half of the seeds at 97 %, half at 30 %', 'normal'):
    count = bench['false_verdicts'](kind, name, 8, 10, rng)
    assert max(hits(count).values()) <= most(10), name
  found = bench['found_verdicts'](kind, 'normal', 0.4, 8, 6, rng)
  assert all(count.hits >= 4 for count in found.values())


def test_counts_are_the_same_whatever_is_computed_beside(bench):
  work = [job for job in bench['jobs'](True) if job.trials <= 80][:2]
  both = bench['compute'](work)
  alone = bench['compute'](work[1:])
  assert {key: both[key] for key in alone} == alone


def test_the_figure_has_a_panel_for_each_claim(bench):
  found = {
    (panel, f'{world}, {100 * planted:.0f} points', f'{n} seeds'): bench[
      'Count'
    ](n, 20)
    for panel in bench['PANELS']
    for world in bench['BETTER']
    for planted in bench['PLANTED']
    for n in bench['SEEDS']
  }
  panels = bench['draw'](found).axes
  assert [panel.get_title('left') for panel in panels] == [*bench['PANELS']]
  assert {panel.get_xlabel() for panel in panels} == {'seeds'}
  assert panels[0].get_ylabel() == 'claimed (% of experiments)'
  lines = [x for x in panels[0].lines if x.get_gid().startswith('mean:')]
  assert len(lines) == 6
  for line in lines:
    np.testing.assert_allclose(
      line.get_ydata(), [n / 20 for n in (3, 5, 8, 12)]
    )


def test_what_is_false_depends_on_what_is_there(bench):
  """A stub of a verdict is enough: its branch and its culprit."""

  def case(branch, cause=None, improving=()):
    return types.SimpleNamespace(
      branch=branch,
      lead=types.SimpleNamespace(improving=improving),
      attribution=cause and types.SimpleNamespace(branch=cause),
    )

  is_false, none, two = (bench[name] for name in ('is_false', 'NONE', 'TWO'))
  for lifts in (none, two):
    assert is_false(case(compare.FIRST), lifts)
    assert is_false(case(compare.NOTHING, rules.BIAS), lifts)
    assert not is_false(case(compare.NOTHING, rules.UNCLEAR), lifts)
    assert not is_false(case(compare.NOT_ADMITTED, compare.NOT_ADMITTED), lifts)
  # Gains and harm are there where two options are better.
  tie = case(compare.TIE, rules.BOTH, ('NTK', 'YaRN'))
  assert is_false(tie, none) and not is_false(tie, two)


def test_the_page_shows_every_table(bench):
  """And studies claim no null more often than 5 %.

  Of contrasts it says up to 7 % for bimodal differences, and far more of a
  steady run beside a bimodal one.
  """
  page = PAGE.read_text('utf-8')
  shown = dict(
    re.findall(r'<!-- ([a-z ]+) -->\n(.*?)\n<!-- end -->', page, re.S)
  )
  assert set(bench['PANELS']) < set(shown)
  assert 'calibration.png' in page and bench['PICTURE'].exists()
  assert len(shown) == 8
  for name, table in shown.items():
    assert table.count('\n| ') > 2, name
  limits = {'false contrasts': 7, 'families': 7, 'false verdicts': 5}
  for name, limit in limits.items():
    for line in shown[name].splitlines():
      if line.startswith('| one run steady'):
        continue
      for share, low in re.findall(r'([\d.]+) \[([\d.]+), ', line):
        assert float(low) <= 5.5 and float(share) <= limit, line
  count = bench['Count'](1, 20_000)
  key = 'coverage', 'a row', '3 seeds'
  text = bench['written'](page, {key: count})
  assert '| a row | 0.0 |' in text and text.count('<!-- ') == page.count(
    '<!-- '
  )
