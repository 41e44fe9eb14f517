"""Perplexity by place: bins, means and what the figure shows."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from matplotlib import image

from posexp.claims import intervals
from posexp.plots import perplexity, style
from posexp.results import by_stratum, records
from tests import recorded

TRAINED, LENGTHS, SEEDS = 8, (8, 16, 32), (3, 5, 7)
NAMES = {
  'a' * 16: 'Text: RoPE()',
  'b' * 16: 'Text: RoPE() in windows of 8',
  'c' * 16: 'Text: NoPE()',
}
EXAMPLES = 2


def nats(digest, length):
  """S x (examples x places), another for every run, length and seed."""
  rng = np.random.default_rng([ord(digest[0]), length])
  shape = len(SEEDS), EXAMPLES * (length - 1)
  return rng.uniform(1, 3, shape).astype(np.float32)


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  """Three runs: one, its windows, and one that a single seed learned."""
  path = tmp_path_factory.mktemp('work')
  for digest, name in NAMES.items():
    arrays, results = {}, []
    for length in LENGTHS:
      places = np.tile(np.arange(1, length, dtype=np.int32), EXAMPLES)
      found_SxT = nats(digest, length)
      arrays |= {
        f'{length}/kind': np.zeros(found_SxT.shape, np.int8),
        f'{length}/nats': found_SxT,
        f'{length}/example': np.repeat(np.arange(EXAMPLES), length - 1),
        f'{length}/strata/place': places,
      }
      results += [
        {'seed': seed, 'length': length, 'nats': float(mean), 'exact': 0.0}
        | {'token': 0.5, 'order': 0.0, 'retrieval': 0.5, 'first_error': 1.0}
        | {'end': None, 'targets': places.size, 'unanswered': 0.0}
        for seed, mean in zip(SEEDS, found_SxT.mean(axis=1))
      ]
    made = recorded.record(
      digest,
      name,
      task='Text()',
      scheme=name.split(': ')[1],
      trained_length=TRAINED,
      config={'seeds': list(SEEDS), 'train': {'steps': 20}},
      chance={str(n): 0.3 for n in LENGTHS},
      diverged=dict.fromkeys(map(str, SEEDS), -1),
      gate=0.4,
      learned={'3': 0.5, '5': 0.5, '7': 0.3 if digest[0] == 'c' else 0.5},
      results=results,
    )
    if 'windows' in name:
      made |= {'parent': 'RoPE()', 'parent_digest': 'a' * 16}
    records.write(path, made, arrays)
  return path


@pytest.mark.parametrize('per_octave', [1, 2, 3])
@pytest.mark.parametrize(
  'trained, longest', [(8, 32), (2, 5), (7, 100), (9, 9)]
)
def test_bins_cover_every_place_and_none_holds_both_sides(
  trained, longest, per_octave
):
  edge = by_stratum.edges(trained, longest, per_octave).tolist()
  assert edge[0] == 1 and edge[-1] == longest and trained in edge
  assert edge == sorted(set(edge))
  for low, high in itertools.pairwise(edge):
    # Geometric, but for places being whole.
    assert high <= math.ceil((low + 0.5) * 2 ** (1 / per_octave) + 0.5)


def test_perplexity_of_every_bin_by_hand(workdir):
  digest = 'a' * 16
  table = by_stratum.perplexity(workdir, digest)
  edge = by_stratum.edges(TRAINED, 32)
  for _, row in table.iterrows():
    length, seed = int(row['length']), int(row['seed'])
    found_T = nats(digest, length)[SEEDS.index(seed)]
    place_T = 1 + np.arange(found_T.size) % (length - 1)
    mine = [
      float(n)
      for n, place in zip(found_T, place_T)
      if row['first'] <= place <= row['last']
    ]
    assert row['first'] in edge and row['last'] + 1 in edge
    assert row['targets'] == len(mine)
    want = math.exp(sum(mine) / len(mine))
    assert row['perplexity'] == pytest.approx(want, rel=1e-6)
  for length in LENGTHS:
    mine = table[(table['length'] == length) & (table['seed'] == 5)]
    assert mine['targets'].sum() == EXAMPLES * (length - 1)


def test_a_record_without_nats_is_a_sentence(workdir, tmp_path):
  arrays = recorded.outcomes()
  for length in recorded.LENGTHS:
    arrays[f'{length}/nats'] = np.full((2, 4), np.nan, np.float32)
    arrays[f'{length}/strata/place'] = np.array([1, 2, 3, 4], np.int32)
  records.write(tmp_path, recorded.record(), arrays)
  with pytest.raises(ValueError, match='has no nats'):
    by_stratum.perplexity(tmp_path, recorded.A)


def drawn_by(workdir):
  results = records.load(workdir, NAMES)
  frames = [by_stratum.perplexity(workdir, d).assign(digest=d) for d in NAMES]
  return perplexity.draw(results, pd.concat(frames))


def test_lines_and_intervals_are_those_of_the_records(workdir):
  drawn = drawn_by(workdir)
  left, right = drawn.axes
  for panel in (left, right):
    assert [t.get_text() for t in panel.texts] == ['trained at 8 tokens']
  lines = {line.get_gid(): line for line in right.get_lines()}
  for digest in NAMES:
    busy = 2 if digest[0] == 'c' else 3  # The seeds that count.
    means = [nats(digest, n)[:busy].mean(axis=1) for n in LENGTHS]
    x, y = lines[f'mean:{digest}'].get_data()
    # Runs stand side by side: at most a sixth of an octave from the length.
    assert np.abs(np.log2(x / np.array(LENGTHS))).max() < 1 / 6
    want = [math.exp(np.mean(m, dtype=np.float64)) for m in means]
    np.testing.assert_allclose(y, want, rtol=1e-6)
    each = lines[f'seeds:{digest}'].get_ydata()
    np.testing.assert_allclose(
      np.sort(each), np.sort(np.exp(np.ravel(means))), rtol=1e-6
    )
    (band,) = right.findobj(lambda a, d=digest: a.get_gid() == f'interval:{d}')
    found = intervals.interval(means[-1])
    ends = band.get_segments()[-1][:, 1]
    assert min(ends) == pytest.approx(math.exp(found.low))
    assert max(ends) == pytest.approx(math.exp(found.high))
  by_place = {line.get_gid(): line for line in left.get_lines()}
  table = by_stratum.perplexity(workdir, 'a' * 16)
  table = table[table['length'] == 32]
  x, y = by_place['mean:' + 'a' * 16].get_data()
  want = np.exp(table.groupby('first')['nats'].mean())
  np.testing.assert_allclose(y, want, rtol=1e-9)
  assert x[0] >= 1 / 2 ** (1 / 6) and x[-1] <= 31
  # A window is its run's colour, darker, and never a full line.
  dashes = [lines[f'mean:{d}'].get_linestyle() for d in NAMES]
  assert dashes[0] == dashes[2] == '-' != dashes[1]


def test_the_figure_is_written_and_can_be_read(workdir):
  paths = perplexity.overview(
    records.load(workdir, NAMES), workdir, name='text'
  )
  assert [p.name for p in paths] == ['text.png', 'text.pdf']
  pixels = image.imread(paths[0])
  assert pixels.shape[1] == int(style.WIDTH * 200)
  # Nothing touches the edge, and legend and title are whole.
  assert (pixels[[0, -1]] == 1).all() and (pixels[:, [0, -1]] == 1).all()
  legend = drawn_by(workdir).legends[0]
  assert [t.get_text() for t in legend.get_texts()] == [
    'RoPE',
    'RoPE in windows of 8',
    'NoPE\n2 of 3 seeds',
  ]


def test_without_a_seed_that_learned_it_there_is_no_figure(workdir):
  results = records.load(workdir, NAMES).assign(admitted=False)
  assert perplexity.overview(results, workdir, name='none') == []
  one = records.load(workdir, NAMES)
  one['admitted'] &= one['digest'] != 'c' * 16
  frames = [by_stratum.perplexity(workdir, d).assign(digest=d) for d in NAMES]
  drawn = perplexity.draw(one, pd.concat(frames))
  legend = drawn.legends[0]
  assert legend.get_texts()[-1].get_text().startswith('NoPE\nnot admitted')
  gids = {line.get_gid() for line in drawn.axes[0].get_lines()}
  assert f'mean:{"c" * 16}' not in gids
