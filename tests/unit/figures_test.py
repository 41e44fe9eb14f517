"""What a figure shows is what the table says, and it can be read."""

import itertools
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib import colors, image, text

from posexp.claims import intervals
from posexp.plots import experiment, style
from tests.unit.statistics_test import run, table

SIX = (
  'NoPE()',
  'RoPE()',
  'ALiBi()',
  'T5()',
  'RoPE() -> RoPE(Linear(4))',
  'RoPE() -> RoPE(NTK(4))',
)
TWELVE = (
  *SIX,
  'RoPE() -> RoPE(YaRN(4, train_length=64))',
  'RoPE() -> RoPE(NTKByParts(4)) + ALiBi()',
  'Sinusoidal()',
  'RoPE(base=27) + ALiBi()',
  'KERPLE()',
  'FIRE()',
)


def results(names=SIX, seeds=3, lengths=4, task='Ordering()'):
  """Runs that fall with length; ALiBi learned nothing, T5 in all but one."""
  runs = []
  for index, name in enumerate(names):
    rng = np.random.default_rng(index)
    far = np.linspace(1, 0.55 + 0.02 * index, lengths)
    tokens = far - rng.uniform(0, 0.05, (seeds, lengths))
    tokens[:, 0] = 1
    if name == 'ALiBi()':
      tokens[:, 0] = 0.7
    if name == 'T5()' and seeds > 1:
      tokens[-1, 0] = 0.5
    changes = {}
    if '->' in name:
      changes = {'parent': 'RoPE()', 'parent_digest': f'RoPE() {task}'}
    runs.append(run(name, tokens.tolist(), task=task, **changes))
  return table(*runs)


@pytest.fixture(scope='module')
def drawn():
  return experiment.draw(results())


def artists(drawn, prefix):
  """Artists by what follows the prefix of their group id."""
  found = drawn.findobj(lambda a: (a.get_gid() or '').startswith(prefix))
  return {a.get_gid().removeprefix(prefix): a for a in found}


def texts(drawn):
  """All texts but the names of ticks that are out of view."""
  hidden = set()
  for axis in drawn.findobj(matplotlib.axis.Axis):
    low, high = sorted(axis.get_view_interval())
    for tick in axis.get_major_ticks():
      if not low <= tick.get_loc() <= high:
        hidden |= {tick.label1, tick.label2}
  found = drawn.findobj(lambda a: isinstance(a, text.Text) and a.get_text())
  return [t for t in found if t.get_visible() and t not in hidden]


def said(drawn):
  return [' '.join(t.get_text().split()) for t in texts(drawn)]


def test_lines_points_and_intervals_are_those_of_the_table(drawn):
  data = results()
  summary = intervals.summarize(data)
  means = artists(drawn, 'mean:')
  points, bars = artists(drawn, 'seeds:'), artists(drawn, 'interval:')
  expected = {f'{name} Ordering()' for name in SIX if name != 'ALiBi()'}
  assert set(means) == set(points) == set(bars) == expected
  for digest, line in means.items():
    rows = summary[summary['digest'] == digest]
    assert line.get_ydata().tolist() == rows['token'].tolist()
    # Runs stand side by side: at most a sixth of an octave from the length.
    away = np.log2(line.get_xdata() / rows['length'])
    assert np.ptp(away) < 1e-9 and abs(away.iloc[0]) < 1 / 6
    each = data[(data['digest'] == digest) & data['admitted']]
    assert len(each) == 4 * (2 if 'T5' in digest else 3)
    assert points[digest].get_ydata().tolist() == each['token'].tolist()
    x = dict(zip(rows['length'], line.get_xdata()))
    assert points[digest].get_xdata().tolist() == [x[n] for n in each['length']]
    ends = [segment[:, 1].tolist() for segment in bars[digest].get_segments()]
    np.testing.assert_array_equal(ends, rows[['token_low', 'token_high']])
  shifts = [line.get_xdata()[0] for line in means.values()]
  assert shifts == sorted(set(shifts))


def test_the_trained_length_and_chance_are_marked(drawn):
  (trained,) = artists(drawn, 'trained').values()
  assert list(trained.get_xdata()) == [64, 64]
  (chance,) = artists(drawn, 'chance').values()
  assert set(chance.get_ydata()) == {0.5}
  assert {'trained at 64 tokens', 'chance'} <= set(said(drawn))


def test_axes_have_units_and_a_tick_at_every_length(drawn):
  panel = artists(drawn, 'trained')[''].axes
  assert panel.get_xlabel().startswith('sequence length (tokens')
  assert panel.get_ylabel() == 'accuracy (% of targets)'
  assert panel.get_xscale() == 'log'
  assert panel.get_xticks().tolist() == [64, 128, 256, 512]
  names = [label.get_text() for label in panel.get_xticklabels()]
  assert names == ['64\n1×', '128\n2×', '256\n4×', '512\n8×']
  low, high = panel.get_ylim()
  assert low < 0.5 and 1 <= high < 1.1


def test_bars_are_shares_that_add_up(drawn):
  summary = intervals.summarize(results())
  panels = {p.get_title(loc='left'): p for p in drawn.findobj(is_panel)}
  assert list(panels) == [
    *('NoPE', 'RoPE', 'ALiBi', 'T5'),
    *('RoPE → RoPE(Linear(4))', 'RoPE → RoPE(NTK(4))'),
  ]
  for name, (_, rows) in zip(panels, summary.groupby('digest', sort=False)):
    if name == 'ALiBi':
      continue
    for bars, kind in zip(panels[name].containers, style.KINDS, strict=True):
      heights = [b.get_height() for b in bars]
      np.testing.assert_allclose(heights, rows[kind[0]], rtol=0, atol=1e-12)
    tops = [b.get_y() + b.get_height() for b in panels[name].containers[-1]]
    np.testing.assert_allclose(tops, 1, rtol=0, atol=1e-12)
    ticks = [label.get_text() for label in panels[name].get_xticklabels()]
    assert ticks == ['64', '128', '256', '512']
  assert not panels['ALiBi'].containers and not panels['ALiBi'].lines
  assert {'correct', 'order error', 'retrieval error'} <= set(said(drawn))


def is_panel(artist):
  return isinstance(artist, matplotlib.axes.Axes) and artist.get_title('left')


def test_a_run_that_was_not_admitted_says_so_twice(drawn):
  why = (
    'not admitted: 0 of 3 seeds reached 99% at the trained length (mean 70.0%)'
  )
  assert said(drawn).count(why) == 1  # its panel
  assert f'ALiBi {why}' in said(drawn)  # the legend
  assert 'T5 2 of 3 seeds' in said(drawn)


def test_one_seed_has_no_interval():
  drawn = experiment.draw(results(seeds=1))
  assert 'one seed a run' in said(drawn)
  for bars in artists(drawn, 'interval:').values():
    assert sum(len(segment) for segment in bars.get_segments()) == 0
  assert len(artists(drawn, 'mean:')) == 5


def test_looks_tell_runs_apart_and_show_the_parent():
  styles = experiment.looks(results(TWELVE))
  by_name = {
    digest.removesuffix(' Ordering()'): styles[digest] for digest in styles
  }
  assert tuple(by_name) == TWELVE
  assert len({look.marker for look in by_name.values()}) == 12
  assert len({colors.to_hex(look.color) for look in by_name.values()}) == 12
  parent = np.array(colors.to_rgb(by_name['RoPE()'].color))
  for name, look in by_name.items():
    if '->' not in name:
      assert look.linestyle == '-' and look.markerfacecolor == look.color
      continue
    assert look.linestyle != '-' and look.markerfacecolor == 'white'
    shade = np.array(colors.to_rgb(look.color))
    # On the way from the parent's colour to black or to white.
    steps = [np.cross(shade - parent, end - parent) for end in (0.0, 1.0)]
    assert min(np.abs(step).max() for step in steps) < 1e-12


def test_a_scheme_looks_the_same_in_every_task():
  both = (results(SIX[::-1], task='Copy()'), results(SIX))
  styles = experiment.looks(table(*(t.to_dict('records') for t in both)))
  for name in SIX:
    assert styles[f'{name} Copy()'] == styles[f'{name} Ordering()']


def test_a_retrofit_without_its_parent_is_drawn():
  drawn = experiment.draw(results(SIX[4:]))
  assert len(artists(drawn, 'mean:')) == 2


@pytest.mark.parametrize(
  ('names', 'seeds', 'lengths'),
  [(SIX, 3, 4), (SIX[:1], 1, 1), (SIX[2:3], 3, 3), (TWELVE, 3, 6)],
)
def test_no_two_texts_overlap_and_none_is_cut(names, seeds, lengths):
  assert_apart(experiment.draw(results(names, seeds, lengths)))


def test_a_long_task_does_not_run_into_the_legend():
  task = 'Ordering(symbols=16, queries=4, filler=4)'
  assert_apart(experiment.draw(results(task=task)))


def assert_apart(drawn):
  with matplotlib.rc_context(style.STYLE):
    drawn.draw_without_rendering()
    renderer = drawn.canvas.get_renderer()
    boxes = {t: t.get_window_extent(renderer) for t in texts(drawn)}
  width, height = drawn.get_size_inches() * drawn.dpi
  for one, box in boxes.items():
    assert 0 <= box.x0 < box.x1 <= width, one.get_text()
    assert 0 <= box.y0 < box.y1 <= height, one.get_text()
    assert one.get_fontsize() >= 6.5
  for one, two in itertools.combinations(boxes, 2):
    overlap = boxes[one].overlaps(boxes[two])
    assert not overlap, (one.get_text(), two.get_text())


def test_names_are_shown_as_they_are():
  drawn = experiment.draw(
    table(
      run('_Mine(a=$1, b=$2)', ((1.0, 0.9),)), run('Ünter()', ((0.5, 0.5),))
    )
  )
  with matplotlib.rc_context(style.STYLE):
    drawn.draw_without_rendering()
  assert said(drawn).count(r'_Mine(a=\$1, b=\$2)') == 2
  assert 'Ünter' in said(drawn)


def test_a_long_name_is_cut_and_not_the_figure():
  name = ' + '.join(f'RoPE(base={n})' for n in range(40))
  drawn = experiment.draw(table(run(name, ((1.0, 0.9),))))
  assert max(t.get_text().count('\n') for t in texts(drawn)) <= 3
  assert drawn.get_figheight() < 6


def test_a_block_a_task_each_with_its_own_chance(tmp_path):
  one, two = results(SIX[:2]), results(SIX[:4], task='Copy(symbols=8)')
  two['chance'] = 0.125 + 0.01 * np.log2(two['ratio'])
  both = table(*(t.to_dict('records') for t in (one, two)))
  drawn = experiment.draw(both)
  titles = [t for t in said(drawn) if ', trained at' in t]
  assert titles == [
    'Ordering, trained at 64 tokens',
    'Copy(symbols=8), trained at 64 tokens',
  ]
  lines = drawn.findobj(lambda a: a.get_gid() == 'chance')
  assert [line.get_ydata()[1:-1].tolist() for line in lines] == [
    [0.5] * 4,
    pytest.approx([0.125, 0.135, 0.145, 0.155]),
  ]


def test_the_same_table_gives_the_same_bytes(tmp_path, monkeypatch):
  """And needs neither a display nor pyplot, nor leaves a style behind."""
  monkeypatch.setitem(sys.modules, 'matplotlib.pyplot', None)
  monkeypatch.delenv('DISPLAY', raising=False)
  before = {key: matplotlib.rcParams[key] for key in style.STYLE}
  paths = experiment.overview(results(), tmp_path / 'a' / 'b')
  assert {key: matplotlib.rcParams[key] for key in before} == before
  assert paths == [tmp_path / f'a/b/overview.{e}' for e in ('png', 'pdf')]
  with matplotlib.rc_context({'font.size': 30}):
    again = experiment.overview(results(), tmp_path, 'again')
  for one, two in zip(paths, again):
    assert one.read_bytes() == two.read_bytes()
  other = experiment.overview(results(lengths=3), tmp_path, 'other')
  assert other[0].read_bytes() != paths[0].read_bytes()


def test_the_png_is_as_wide_as_a_page_and_not_blank(tmp_path):
  png, pdf = experiment.overview(results(), tmp_path)
  pixels = image.imread(png)[..., :3]
  assert pixels.shape[1] == int(17 / 2.54 * 200)
  ink = (pixels < 0.95).any(-1)
  # Something in each twelfth, from the title to the last row of bars.
  assert all(part.any() for part in np.array_split(ink, 12))
  assert 0.05 < ink.mean() < 0.5
  assert pdf.read_bytes().startswith(b'%PDF-')
  assert b'CreationDate' not in pdf.read_bytes()


def test_no_results_is_a_sentence(tmp_path):
  with pytest.raises(ValueError, match='no results to draw'):
    experiment.overview(table(), tmp_path / 'new')
  assert not (tmp_path / 'new').exists()
