"""Figures of a paper show the numbers of the records, and can be read."""

import re

import matplotlib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from posexp import plots
from posexp.claims import contrasts, intervals
from posexp.cli import main
from posexp.launch import exit_codes
from posexp.plots import paper, style
from posexp.results import attention_records, explanations, plans, records
from tests import recorded
from tests.unit import figures_test

ROOT, NTK = 'RoPE()', 'RoPE() -> RoPE(NTK(4))'


@pytest.fixture(scope='module')
def results():
  return figures_test.results()


def marks(drawn, prefix):
  return {
    k: np.asarray(line.get_ydata(), np.float64)
    for k, line in figures_test.artists(drawn, prefix).items()
  }


def of(results, name, column='token'):
  run = results[(results['name'].str.endswith(name)) & results['admitted']]
  run = run[run['name'].str.split(': ').str[-1] == name]
  return run.pivot(index='seed', columns='length', values=column).to_numpy()


def digests(results):
  names = results['name'].str.split(': ').str[-1]
  return dict(zip(names, results['digest']))


def heads(results):
  """Made diagnostics: each value says of which layer, head and seed it is."""
  rows = []
  for (digest, seed, length), _ in results.groupby(
    ['digest', 'seed', 'length']
  ):
    for layer in range(2):
      for head in range(3):
        value = 0.1 * layer + 0.01 * head + 0.02 * seed + 1e-4 * length
        rows.append(
          {
            'digest': digest,
            'length': length,
            'seed': seed,
            'layer': layer,
            'head': head,
            'measure': 'entropy',
            'value': value,
            'baseline': 0.2,
          }
        )
  return pd.DataFrame(rows)


def strata(results):
  rng = np.random.default_rng(0)
  keys = ['digest', 'seed', 'length']
  rows = [
    dict(zip(keys, key)) | {'bin': bin, 'targets': 50}
    for key, _ in results[results['admitted']].groupby(keys, sort=False)
    for bin in (1, 2, 4, 8, 16)
  ]
  table = pd.DataFrame(rows)
  shares = rng.uniform(0, 0.5, (2, len(table)))
  return table.assign(order=shares[0], retrieval=shares[1])


def grid_of(*tasks):
  return pd.concat([figures_test.results(task=task) for task in tasks])


def every(results):
  """One plate of each kind."""
  yield plots.accuracy(results)
  yield plots.success(results)
  yield plots.errors(results)
  yield plots.retrofits(results)
  yield plots.attention(results, heads(results))
  yield plots.by_stratum(results, strata(results), 'gap')
  yield plots.grid(grid_of('Ordering()', 'Recall()'))


@pytest.fixture(scope='module')
def plates(results):
  return {made.name.split('-')[0]: made for made in every(results)}


def test_lines_are_the_means_of_admitted_seeds(results, plates):
  runs = digests(results)
  for name in ('RoPE()', 'T5()', NTK):
    mean = of(results, name).mean(0)
    drawn = marks(plates['accuracy'].figure, 'mean:')[runs[name]]
    np.testing.assert_allclose(drawn, mean)
  assert runs['ALiBi()'] not in marks(plates['accuracy'].figure, 'mean:')


def test_intervals_are_those_of_statistics(results, plates):
  table = plates['accuracy'].table
  for name, label in ((ROOT, 'RoPE()'), (NTK, NTK)):
    for n, values in zip(
      sorted(results['length'].unique()), of(results, name).T
    ):
      # The first of a root is what its gate let pass.
      gated = label == 'RoPE()' and n == 64
      within = (0.99, 1.0) if gated else intervals.SHARE
      found = intervals.interval(values, within=within)
      ends = f'[{100 * found.low:.1f}, {100 * found.high:.1f}]'
      assert table.loc[label, str(n)] == f'{100 * found.mean:.1f} {ends}'
  assert set(table.loc['ALiBi()']) == {'n.a.'}


def test_success_counts_seeds_at_the_gate(results, plates):
  """Of all seeds: T5 was learned in two of three, ALiBi in none."""
  won = (of(results, 'T5()') >= 0.99).sum(0) / 3
  drawn = marks(plates['success'].figure, 'mean:')
  np.testing.assert_allclose(drawn[digests(results)['T5()']], won)
  assert set(drawn[digests(results)['ALiBi()']]) == {0}


def test_a_legend_has_the_order_of_the_lines(results, plates):
  drawn = marks(plates['accuracy'].figure, 'mean:')
  far = {digest: y[-1] for digest, y in drawn.items()}
  names = intervals.labels(results)
  wanted = [names[d] for d in sorted(far, key=far.get, reverse=True)]
  (legend,) = plates['accuracy'].figure.legends
  shown = [' '.join(t.get_text().split()) for t in legend.get_texts()]
  plain = [n.replace('()', '').replace('->', '→') for n in wanted]
  assert shown == plain


def test_a_gain_is_paired_by_seed(results, plates):
  gain = of(results, NTK)[:, -1] - of(results, ROOT)[:, -1]
  # One of as many intervals as are drawn, which hold all at once.
  n, m = gain.size, plates['retrofits'].table.size
  error = max(stats.sem(gain), gain.mean() / stats.t.isf(4.0**-n, n - 1))
  low = gain.mean() - error * stats.t.isf(0.025 / m, n - 1)
  text = f'{100 * gain.mean():+.1f} [{100 * low:+.1f}, '
  table = plates['retrofits'].table
  last = f'gain at {results["length"].max()}'
  assert table.loc['RoPE(NTK(4))', last].startswith(text)
  dots = marks(plates['retrofits'].figure, 'after:')
  assert set(dots) == {
    digests(results)[n] for n in (NTK, 'RoPE() -> RoPE(Linear(4))')
  }


def test_attention_is_of_the_longest_length_and_a_mean_over_heads(
  results, plates
):
  far = results['length'].max()
  drawn = marks(plates['attention'].figure, 'mean:')[digests(results)[ROOT]]
  seeds = np.sort(results['seed'].unique())
  wanted = [0.1 * n + 0.01 + 0.02 * seeds.mean() + 1e-4 * far for n in (0, 1)]
  np.testing.assert_allclose(drawn, wanted)
  table = plates['attention'].table['layer 1']
  assert table['RoPE(), entropy / ln n'].startswith(f'{wanted[0]:.2f} [')
  in_training = table['RoPE() in training, entropy / ln n']
  assert in_training == '0.20 [0.20, 0.20]'


def test_strata_are_counted_as_by_hand(tmp_path):
  rng = np.random.default_rng(3)
  gap_T = rng.integers(1, 40, 600).astype(np.int32)
  kind_SxT = rng.integers(0, 3, (2, 600)).astype(np.int8)
  outcomes = {}
  for length in recorded.LENGTHS:
    outcomes |= {
      f'{length}/kind': kind_SxT,
      f'{length}/nats': np.zeros((2, 600), np.float32),
      f'{length}/example': np.arange(600, dtype=np.int32),
      f'{length}/strata/gap': gap_T,
      f'{length}/strata/side': (gap_T % 2).astype(np.int32),
      f'{length}/strata/order': gap_T,  # A name that a column has, too.
    }
  records.write(tmp_path, recorded.record(), outcomes)
  found = plots.strata(tmp_path, records.load(tmp_path))
  assert set(found) == {'gap', 'order'}  # Two sides are no quantity.
  table = found['gap']
  assert set(table['seed']) == {3}  # Seed 5 is not admitted.
  at = table[table['length'] == 16].set_index('bin')
  assert list(at.index) == [1, 2, 4, 8, 16, 32]
  for low in at.index:
    kinds = [k for k, g in zip(kind_SxT[0], gap_T) if low <= g < 2 * low]
    assert at.loc[low, 'targets'] == len(kinds)
    assert at.loc[low, 'order'] == kinds.count(1) / len(kinds)
    assert at.loc[low, 'retrieval'] == kinds.count(2) / len(kinds)


def test_a_grid_has_a_column_a_task_and_bold_where_nothing_is_better(plates):
  grid = plates['grid']
  assert list(grid.table) == ['Ordering', 'Recall']
  assert grid.table.loc['ALiBi()', 'Recall'] == 'n.a.'
  mean = 100 * of(figures_test.results(), ROOT)[:, -1].mean()
  assert grid.table.loc['RoPE()', 'Ordering'].split()[0] == f'{mean:.0f}'
  bold = [
    t.get_text() for t in figures_test.texts(grid.figure)
    if t.get_weight() == 'bold'
  ]  # fmt: skip
  assert bold and 'n.a.' not in bold


def test_no_two_texts_of_a_figure_overlap_and_none_is_cut(plates):
  for name, made in plates.items():
    overlapping(made.figure, name)


def test_long_names_and_many_runs_can_be_read_too():
  results = figures_test.results(figures_test.TWELVE)
  for made in (plots.accuracy(results), plots.retrofits(results)):
    overlapping(made.figure, made.name)
  tasks = (
    'Ordering(symbols=8)', 'Ordering(symbols=16, filler=4)',
    *(f'AnotherTaskOfItsOwn{n}()' for n in range(7)),
  )  # fmt: skip
  overlapping(plots.grid(grid_of(*tasks)).figure, 'grid')


def overlapping(drawn, name):
  with matplotlib.rc_context(style.STYLE):
    drawn.draw_without_rendering()
    renderer = drawn.canvas.get_renderer()
    boxes = [
      (t, corners(t, renderer)) for t in figures_test.texts(drawn)
    ]  # fmt: skip
  width, height = drawn.get_size_inches() * drawn.dpi
  for place, (one, box) in enumerate(boxes):
    low, high = box.min(0), box.max(0)
    assert (low >= -0.5).all(), (name, one.get_text())
    assert (high <= (width + 0.5, height + 0.5)).all(), (name, one.get_text())
    for two, other in boxes[:place]:
      words = name, one.get_text(), two.get_text()
      assert apart(box, other), words


def corners(one, renderer):
  """Of the box around a text, turned as the text is."""
  around = one.get_window_extent(renderer)
  angle = np.deg2rad(one.get_rotation())
  one.set_rotation(0)
  box = one.get_window_extent(renderer)
  one.set_rotation(np.rad2deg(angle))
  along = box.width * np.array([np.cos(angle), np.sin(angle)])
  up = box.height * np.array([-np.sin(angle), np.cos(angle)])
  start = np.array([around.x0, around.y0]) - np.minimum(up, 0)
  return np.array([start, start + along, start + up, start + along + up])


def apart(one, two):
  """Whether two boxes, turned perhaps, have a line between them."""
  for box in (one, two):
    for axis in (box[1] - box[0], box[2] - box[0]):
      a, b = one @ axis, two @ axis
      if a.max() <= b.min() + 1e-6 or b.max() <= a.min() + 1e-6:
        return True
  return False


def test_files_are_the_same_bytes_again(tmp_path, results):
  one = [p.read_bytes() for p in plots.accuracy(results).save(tmp_path / 'a')]
  two = [p.read_bytes() for p in plots.accuracy(results).save(tmp_path / 'b')]
  assert one == two
  png = (tmp_path / 'a' / 'accuracy.png').read_bytes()
  assert png.startswith(b'\x89PNG')
  assert (tmp_path / 'a' / 'accuracy.pdf').read_bytes().startswith(b'%PDF')


def test_a_table_is_booktabs_with_every_row(plates):
  for made in plates.values():
    text = made.latex()
    for rule in ('toprule', 'midrule', 'bottomrule'):
      assert text.count(f'\\{rule}') == 1
    body = text.split('\\midrule')[1].split('\\bottomrule')[0]
    rows = [line for line in body.splitlines() if line.strip()]
    assert len(rows) == len(made.table)
    for line in rows:
      cells = re.split(r'(?<!\\)&', line)
      assert len(cells) == made.table.shape[1] + 1
    for special in ('→', '±', '–', '->'):
      assert special not in text.split('\\begin{tabular}')[1]


def test_what_latex_reads_as_commands_is_escaped():
  hostile = r'50% of $x_1$ & #2 {~^\input{/etc/passwd}}'
  frame = pd.DataFrame({hostile: [hostile]}, [hostile])
  text = paper.latex(frame, hostile, 'x', [f'a\n\\input{{b}} {hostile}'])
  comment, *lines = text.splitlines()
  assert comment.startswith('% a ')
  assert '\\input' not in '\n'.join(lines)
  plain = '\n'.join(lines)
  for sign in '%$_#':
    assert not re.search(rf'(?<!\\){re.escape(sign)}', plain), sign


def test_questions_join_evaluations_of_the_same_weights():
  both = grid_of('Ordering()', 'Recall()')
  found = list(plots.questions(both))
  assert [q['task'].iloc[0] for q in found] == ['Ordering()', 'Recall()']
  assert not list(plots.questions(both.iloc[:0]))


@pytest.mark.parametrize(
  ('draw', 'sentence'),
  [
    (lambda r: plots.accuracy(grid_of('A()', 'B()')), 'and these are 2'),
    (
      lambda r: plots.errors(r[~r['admitted']]),
      'nothing to draw: no seed learned the task',
    ),
    (lambda r: plots.grid(r), 'needs two tasks or more'),
    (lambda r: plots.grid(grid_of('A()', 'B()'), 3.7), 'multiple .* 3.7'),
    (
      lambda r: plots.retrofits(r[r['parent'] == '']),
      'no run is a retrofit of another that is admitted',
    ),
    (
      lambda r: plots.attention(r, attention_records.EMPTY),
      'have no diagnostics of attention',
    ),
  ],
)
def test_what_cannot_be_drawn_is_a_sentence(results, draw, sentence):
  with pytest.raises(ValueError, match=sentence):
    draw(results)


def test_one_seed_has_no_interval_and_says_so():
  made = plots.accuracy(figures_test.results(seeds=1))
  assert 'which give no interval' in made.caption
  assert '[' not in made.table.loc['RoPE()'].str.cat()


def call(capsys, *words):
  code = main.main(['posexp', 'figures', *map(str, words)])
  return code, capsys.readouterr()


def test_the_command_draws_what_there_is_and_says_what_there_is_not(
  tmp_path, capsys
):
  recorded.write(tmp_path)
  found = explanations.Explanation(
    scheme='ALiBi()',
    train_length=8,
    target=16,
    notes=(),
    distance_N=np.arange(1, 16),
    rotations=(),
    bias_HxT=-np.outer([0.5, 0.25], np.arange(16.0)),
    stairs=(),
    content=None,
    similarity_T=None,
  )
  (tmp_path / 'explain').mkdir()
  explanations.write(tmp_path / 'explain' / 'ALiBi.npz', found)
  (tmp_path / 'explain' / 'broken.npz').write_bytes(b'PK')
  code, said = call(capsys, tmp_path)
  assert code == 0
  names = {p.name for p in (tmp_path / 'figures').iterdir()}
  for name in ('accuracy', 'success', 'errors', 'explain-ALiBi'):
    assert {f'{name}.png', f'{name}.pdf', f'{name}.tex'} <= names
    assert f'figure: {tmp_path}/figures/{name}.png' in said.out
  assert 'no diagnostics of attention' in said.err
  assert 'broken.npz cannot be read' in said.err
  assert 'posexp measure SCHEME' in said.err
  table = (tmp_path / 'figures' / 'explain-ALiBi.tex').read_text()
  assert 'head 0 & -0.5 & -1 & -2 & -4' in table


def test_an_empty_directory_and_none_are_sentences(tmp_path, capsys):
  code, said = call(capsys, tmp_path)
  assert code == 0 and 'no finished run' in said.err and not said.out
  code, said = call(capsys, tmp_path / 'none')
  assert code == exit_codes.BAD_INPUT and 'no work directory' in said.err
  assert not (tmp_path / 'none').exists()


def test_more_runs_than_one_figure_can_show_are_several(tmp_path, capsys):
  for n in range(9):
    recorded.write(tmp_path, digest=f'{n:016d}', scheme=f'S{n}()', name=f'S{n}')
  (tmp_path / 'w').mkdir()
  code, _ = call(capsys, tmp_path, f'--output={tmp_path}/w')
  assert code == 0
  names = {p.name for p in (tmp_path / 'w').iterdir()}
  assert {'accuracy-1.png', 'accuracy-2.png'} <= names
  assert 'accuracy-3.png' not in names


def test_the_style_can_be_used_by_name():
  from matplotlib import pyplot

  with pyplot.style.context('posexp.plots.paper'):
    assert matplotlib.rcParams['pdf.fonttype'] == 42
    cycle = matplotlib.rcParams['axes.prop_cycle'].by_key()['color']
    assert cycle == style.COLORS


def test_planned_contrasts_are_drawn_with_both_estimates(results):
  """As they are told: means, simultaneous intervals, filled if claimed."""
  asked = plans.default(plans._candidates(results))
  planned = contrasts.planned(results, list(asked), alpha=0.6)
  assert 0 < planned['claimed'].sum() < len(planned)
  assert (planned['n'] < planned['all_n']).any()
  plate = plots.contrasts(planned)
  drawn = figures_test.artists(plate.figure, 'contrast:')
  for row in planned.to_dict('records'):
    for prefix in ('', 'all_'):
      key = f'{prefix}{row["measure"]}:{row["length"]}:{row["run"]}'
      shown = not np.isnan(row[f'{prefix}effect'])
      if prefix:  # Drawn where it is another one.
        shown &= row['n'] != row['all_n']
      assert (key in drawn) == shown
      if not shown:
        continue
      container = drawn[key]
      (x,) = container.get_xdata()
      assert x == pytest.approx(row[f'{prefix}effect'])
      white = container.get_markerfacecolor() == 'white'
      assert white != row[f'{prefix}claimed']
  cells = plate.table.to_numpy().flatten().tolist()
  assert (
    sum(str(cell).endswith('*') for cell in cells) == planned['claimed'].sum()
  )
  (none,) = planned[planned['effect'].isna()].to_dict('records')[:1]
  with pytest.raises(ValueError, match='none of them could be made'):
    plots.contrasts(pd.DataFrame([none | {'all_effect': np.nan}]))
