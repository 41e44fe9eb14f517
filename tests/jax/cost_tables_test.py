"""Records, tables and figures of costs say what was measured."""

import numpy as np
import pytest

from posexp.claims import timings
from posexp.plots import figures, style
from posexp.reports import cost_text
from posexp.results import cost_records, records
from tests.unit import figures_test


def made_up(ratios, rounds=9, resident=None, **changes):
  """A measurement in which each scheme takes so many times the first's 2 ms."""
  names = list(ratios)
  # The machine is slower in some rounds, which ratios do not see.
  slow_R = [1 + n % 3 for n in range(rounds)]
  facts = {
    'flops': 2.5e6,
    'bytes_accessed': 1e6,
    'loops': False,
    'memory': 3 * 2**20,
    'total': 1000,
    'positional': 64,
    'resident': resident,
  }
  groups = [
    {
      'quantity': quantity,
      'length': length,
      'calls': 7,
      'seconds': {
        s: [0.002 * x * r for r in slow_R] for s, x in ratios.items()
      },
      'facts': dict.fromkeys(names, facts | {'loops': quantity == 'train'}),
    }
    for quantity in ('decode', 'prefill', 'train')
    for length in (2048, 8192)
  ]
  shape = {'layers': 2, 'heads': 4, 'head_width': 16}
  return {
    'question': {'compared': names, 'baseline': names[0], **shape},
    'versions': {'jax': '0'},
    'device': {'kind': 'abacus', 'machine': 'wood', 'platform': 'cpu'},
    'growth': [{'scheme': name, 'sentence': 'nothing: why'} for name in names],
    'groups': groups,
    'left_out': ['T5(), train at 2 tokens: left out'],
    'interrupted': False,
    **changes,
  }


SOME = {'RoPE()': 1.0, 'NoPE()': 0.75, 'T5(buckets=16) + RoPE(base=100)': 12.5}


def test_a_measurement_is_read_as_it_was_written(tmp_path):
  body = made_up(SOME)
  path = cost_records.write(tmp_path, body)
  found = cost_records.read(path)
  assert {k: v for k, v in found.items() if k in body} == body
  table = timings.load(tmp_path)
  assert len(table) == 18 and (table['measured'] == found['measured']).all()
  for name, ratio in SOME.items():
    rows = table[table['scheme'] == name]
    # The median round is twice as slow as the quickest.
    np.testing.assert_allclose(rows['seconds'], 0.004 * ratio)
    for column in ('ratio', 'low', 'high'):
      np.testing.assert_allclose(rows[column], ratio)
  assert table['resident'].isna().all() and (table['flops'] == 2.5e6).all()
  assert len(cost_records.rounds(tmp_path)) == 18 * 9
  path.write_text(path.read_text().replace('abacus', 'cheetah'))
  with pytest.raises(
    records.DamagedRecord, match='was changed after it was written'
  ):
    cost_records.read(path)
  with pytest.warns(UserWarning, match='was changed'):
    assert timings.load(tmp_path).empty
  with pytest.raises(ValueError, match='no work directory'):
    timings.load(tmp_path / 'absent')


def test_the_same_program_is_that_of_the_baseline():
  body = made_up(SOME, measured='2026-01-02')
  assert not timings.table(body)['same_program'].any()  # Not recorded.
  for group in body['groups']:
    programs = dict(
      zip(SOME, 'aab' if group['quantity'] == 'decode' else 'aba')
    )
    for name, program in programs.items():
      group['facts'][name] = group['facts'][name] | {'program': program}
  table = timings.table(body).set_index(['quantity', 'scheme'])
  same = table.loc[table['same_program']].index.unique().tolist()
  rope, none, both = SOME
  assert set(same) == {
    *((q, rope) for q in ('decode', 'prefill', 'train')),
    *(('decode', none), ('prefill', both), ('train', both)),
  }


def test_a_baseline_that_was_left_out_gives_no_ratio():
  body = made_up(SOME)
  for group in body['groups']:
    del group['seconds']['RoPE()']
  table = timings.table(body | {'measured': ''})
  assert table['ratio'].isna().all() and table['seconds'].notna().all()


def test_the_table_says_what_was_measured(tmp_path):
  body = made_up(SOME, resident=2**30) | {'measured': ''}
  text = cost_text.text(body)
  lines = text.splitlines()
  assert max(map(len, lines)) <= 100 and lines == [s.rstrip() for s in lines]
  assert lines[0] == (
    '2 layers, 4 heads of width 16, batch 1, float32, on abacus (wood), jax 0'
  )
  step = lines.index(
    'training step: forward, backward, AdamW (ms, ratio [95% interval])'
  )
  assert lines[step + 1].split() == ['2,048', 'tokens', '8,192', 'tokens']
  base, none, name, long = (line.split() for line in lines[step + 2 : step + 6])
  assert base == ['RoPE()', *['4.00', '1.00'] * 2]
  assert none == ['NoPE()', *['3.00', '0.75', '[0.75,', '0.75]'] * 2]
  assert name == ['T5(buckets=16)', '+', 'RoPE(base=100)']
  assert long == ['50.0', '12.50', '[12.50,', '12.50]'] * 2
  assert 'Medians of 9 rounds' in text and 'ratio to RoPE()' in text
  memory = next(n for n, line in enumerate(lines) if 'XLA plans for' in line)
  assert lines[memory + 1].split() == ['train', 'prefill', 'decode']
  assert lines[memory + 2].split() == ['2k', '8k'] * 3
  assert lines[memory + 3].split() == ['RoPE()', *['3.00'] * 6]
  held = next(n for n, line in enumerate(lines) if 'process of its own' in line)
  assert lines[held + 3].split() == ['RoPE()', *['1,024'] * 6]
  count = next(n for n, line in enumerate(lines) if 'in millions' in line)
  assert lines[count + 3].split() == ['RoPE()', *['loop'] * 2, *['2.50'] * 4]
  assert '  NoPE(): nothing: why' in lines
  assert lines[-1] == 'T5(), train at 2 tokens: left out'


def test_a_table_of_nothing_says_why():
  body = made_up(SOME, groups=[], growth=[]) | {'measured': ''}
  assert cost_text.text(body).splitlines()[1:] == [
    *('', 'T5(), train at 2 tokens: left out'),
  ]


@pytest.fixture(scope='module')
def drawn():
  return drawn_of(SOME)


def drawn_of(ratios):
  return figures.cost(made_up(ratios) | {'measured': ''}).figure


def test_the_figure_shows_the_ratios_of_the_table(drawn):
  panels = drawn.axes
  assert [p.get_title(loc='left') for p in panels] == [
    *('training step, batch 1', 'prefill, batch 1', 'decoding, per token'),
  ]
  assert panels[0].get_ylabel() == 'time, as a multiple of the baseline'
  for panel in panels:
    lines = {line.get_gid(): line for line in panel.lines}
    assert set(lines) == {
      'baseline',
      *(f'mean:{n}' for n in SOME if n != 'RoPE()'),
    }
    assert set(lines['baseline'].get_ydata()) == {1}
    for name in list(SOME)[1:]:
      line = lines[f'mean:{name}']
      np.testing.assert_allclose(line.get_ydata(), SOME[name])
      away = np.log2(line.get_xdata() / np.array([2048, 8192]))
      assert np.abs(away).max() < 0.2
    assert panel.get_xlabel() == 'tokens' and panel.get_yscale() == 'log'
    assert panel.get_xticks().tolist() == [2048, 8192]
  near = drawn_of({'RoPE()': 1.0, 'NoPE()': 0.75})
  assert {panel.get_yscale() for panel in near.axes} == {'linear'}


@pytest.mark.parametrize('number', [1, 6, 14])
def test_no_two_texts_of_the_figure_overlap(number):
  names = ['RoPE()'] + [f'Mine(place=$1, n={n})' for n in range(number)]
  names[-1] += f' + {names[-1]}' * (number % 6)
  drawn = drawn_of(dict(zip(names, range(1, 99))))
  figures_test.assert_apart(drawn)
  for panel in drawn.axes:
    left, right = panel.get_xlim()
    x = np.concatenate([line.get_xdata() for line in panel.lines[1:]])
    assert left < x.min() and x.max() < right
  assert len(set(style.numbered(names[1:]).values())) == number


def test_a_figure_of_nothing_is_a_sentence():
  with pytest.raises(ValueError, match='no costs to draw'):
    figures.cost({})
