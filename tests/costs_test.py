"""Costs are paired, and what is timed is what it says; no time is asserted."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from posexp import (
  cli,
  config,
  cost_figures,
  cost_growth,
  cost_programs,
  cost_records,
  cost_tables,
  costs,
  model,
  paired,
  records,
  schemes,
  train,
)
from posexp.launch import progress
from tests import figures_test

SHAPE = config.Model(layers=1, width=8, heads=2)


def test_every_round_times_each_once_and_orders_differ():
  told = []

  def call(name):
    told.append(name)
    return float(name)

  turns = list(
    paired.in_turns([functools.partial(call, n) for n in range(5)], 8)
  )
  # Found by which was called, not by when.
  assert turns == [[0.0, 1.0, 2.0, 3.0, 4.0]] * 8
  orders = [tuple(told[n : n + 5]) for n in range(0, 40, 5)]
  assert all(sorted(order) == [0, 1, 2, 3, 4] for order in orders)
  assert len(set(orders)) > 4
  # In the long run nobody is first more often than others.
  first = np.bincount([paired.order(n, 5)[0] for n in range(1000)])
  assert first.min() > 160


def test_a_ratio_is_of_the_same_round():
  # The machine slows down; the ratio of the medians would say 1.25.
  base = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]
  mine = [1.5, 2.0, 5.0, 12.0, 8.0, 48.0, 96.0]
  found = paired.ratio(mine, base)
  assert (found.median, found.low, found.high) == (1.5, 0.5, 1.5)
  with pytest.raises(ValueError, match='got 7 rounds and 6'):
    paired.ratio(mine, base[:6])


def test_repetitions_are_enough_for_the_quickest():
  told = []

  def one(seconds, times):
    told.append((seconds, times))
    # A first call that is slow must not decide.
    return seconds * (3 if len(told) < 3 else 1)

  timed = [functools.partial(one, 0.004), functools.partial(one, 0.001)]
  times, single = cost_programs.repetitions(timed, least=0.02)
  assert times * 0.001 >= 0.02 and times < 30
  assert single == pytest.approx([0.012, 0.003])
  assert cost_programs.repetitions([lambda _: 0.5], least=0.02)[0] == 1


@pytest.fixture(scope='module')
def growth():
  """What grows, of schemes of which it is known."""
  known = (
    *(schemes.NoPE(), schemes.RoPE(), schemes.ALiBi(), schemes.T5()),
    schemes.Forgetting(),
  )
  # Few optimisations of a compiler's back end; XLA's counts are of before it.
  jax.config.update('jax_disable_most_optimizations', True)
  found = [cost_growth.growth(s, SHAPE, length=16) for s in known]
  jax.config.update('jax_disable_most_optimizations', False)
  return {type(s).__name__: g for s, g in zip(known, found)}


def test_arithmetic_for_every_cached_key_is_found(growth):
  operations = {name: found.operations for name, found in growth.items()}
  assert operations['NoPE'] == operations['RoPE'] == 0
  # A bias takes a subtraction and an addition a key at least; T5 compares a
  # distance with 31 edges.
  assert operations['ALiBi'] >= 2 * SHAPE.heads
  assert operations['Forgetting'] >= 2 * SHAPE.heads
  assert operations['T5'] >= 31 + operations['ALiBi'] / 2


def test_what_is_learned_of_every_cached_key_is_found(growth):
  learned = {name: found.learned for name, found in growth.items()}
  assert learned == {
    **dict.fromkeys(('NoPE', 'RoPE', 'ALiBi', 'Forgetting'), ''),
    'T5': 'looked up',
  }


def test_state_that_grows_is_found(growth):
  for name, found in growth.items():
    assert found.limit is None and found.parameters == 0, name
    # A clock of float32 a head, in place of one int32.
    clock = name == 'Forgetting'
    assert found.state == (4 * SHAPE.heads - 4 if clock else 0), name


def test_verdicts_are_sentences(growth):
  says = {name: found.sentence for name, found in growth.items()}
  assert says['NoPE'] == 'nothing: there is no position'
  assert says['RoPE'] == 'nothing: keys are cached rotated'
  assert says['ALiBi'].startswith(
    'arithmetic for every cached key, nothing learned ('
  )
  assert says['T5'].startswith('a learned value is looked up for every cached')
  assert says['Forgetting'].endswith(
    '; 4 bytes more for every cached token and layer'
  )


def test_a_table_of_positions_grows_with_the_context(monkeypatch):
  monkeypatch.setattr(cost_growth, '_slope', lambda *_: 1.0)
  found = cost_growth.growth(schemes.Learned(32), SHAPE, length=16)
  assert (found.limit, found.parameters) == (32, SHAPE.width)
  assert found.sentence == (
    '8 parameters for every token of context, 32 tokens at most'
  )


def test_a_scheme_of_whole_rows_says_so(monkeypatch):
  slope = lambda scheme, *_: 2.0 if scheme == schemes.NoPE() else 5.0
  monkeypatch.setattr(cost_growth, '_slope', slope)
  found = cost_growth.growth(schemes.CoPE(positions=4), SHAPE, length=16)
  assert found.sentence == (
    'whole rows of logits are changed by something learned (3 operations a '
    "layer and key, +150% on attention's own); training and prefill hold all "
    'logits at once'
  )


@pytest.mark.parametrize(
  ('scheme', 'expected'),
  [
    (schemes.RoPE(schemes.DynamicNTK(4, 16)), {'again': True}),
    (schemes.RoPE(schemes.YaRN(4, 16)), {'again': False, 'limit': None}),
    (schemes.KERPLE(), {'learned': 'computed'}),
    (schemes.RoPE() + schemes.T5(), {'learned': 'looked up', 'state': 4}),
    (schemes.Randomize(schemes.RoPE(), positions=40), {'limit': 40}),
    (schemes.PoPE(), {'state': 4 * SHAPE.width}),
    (schemes.LogLength(train_length=8, learned=True), {'learned': ''}),
  ],
  ids=str,
)
def test_other_growth_is_found(scheme, expected, monkeypatch):
  monkeypatch.setattr(cost_growth, '_slope', lambda *_: 1.0)
  found = cost_growth.growth(scheme, SHAPE, length=16)
  assert {name: getattr(found, name) for name in expected} == expected


def timed(quantity, scheme):
  one = cost_programs.Timed(quantity, cost_programs.run_of(scheme, SHAPE, 16))
  one.start()
  return one


def test_the_programs_do_what_they_say():
  """Prefill is the forward pass, decoding its last token from the cache."""
  fill, one = (timed(q, schemes.RoPE()) for q in ('prefill', 'decode'))
  params, tokens_1xL = fill._fixed
  run = cost_programs.run_of(schemes.RoPE(), SHAPE, 16)
  forward = jax.jit(model.of(run).apply)
  expected, _ = forward({'params': params}, tokens_1xL)
  cache, logits = fill._compiled(fill._fixed, fill._carried)
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
  (_, place), (_, made_up) = one._fixed, one._carried
  assert int(place) == 15
  assert [c.index_1xM.tolist() for c in made_up] == [[[*range(16)]]]
  # The last token is decoded again, and nothing else in the cache matters.
  carried = jnp.array(tokens_1xL[:, -1:]), cache
  (_, cache), said = one._compiled(one._fixed, carried)
  assert said.tolist() == [[int(jnp.argmax(expected[0, -1]))]]
  assert cache[0].index_1xM.tolist() == [[*range(16)]]
  for program in (fill, one):
    found = program.analysis
    held = sum(x.nbytes for x in jax.tree.leaves(cache))
    assert found['donated'] >= held and found['flops'] > 0
    kept = found['argument'] - found['donated']
    assert found['memory'] == kept + found['output'] + found['temporary']


def test_a_training_step_is_that_of_training():
  step = timed('train', schemes.ALiBi())
  run = cost_programs.run_of(schemes.ALiBi(), SHAPE, 16)
  params, state = jax.tree.map(np.asarray, step._carried)
  tokens_1xL = step._fixed
  (after, state_1), loss = step._compiled(step._fixed, step._carried)
  predict = jax.jit(functools.partial(model.predict, model.of(run)))
  z_LxV = np.asarray(predict(params, tokens_1xL)[0], np.float64)
  log = z_LxV - np.log(np.exp(z_LxV).sum(1, keepdims=True))
  said = log[np.arange(15), np.asarray(tokens_1xL)[0, 1:]]
  assert float(loss) == pytest.approx(-said.mean(), rel=1e-5)
  started = jax.jit(train.optimiser(run.train).init)(params)
  assert jax.tree.structure(state) == jax.tree.structure(started)
  for one, other in zip(jax.tree.leaves(state), jax.tree.leaves(started)):
    np.testing.assert_array_equal(one, other)
  # The rate of the very first step of a warm-up is nought.
  (second, _), _ = step._compiled(step._fixed, (after, state_1))
  moved = jax.tree.map(lambda a, b: bool((a != b).any()), params, second)
  assert all(jax.tree.leaves(moved))


def question(**changes):
  small = {'layers': 1, 'heads': 2, 'head_width': 4, 'rounds': 2}
  small |= {'lengths': (8,), 'compared': (schemes.NoPE(),)}
  return costs.Question(**small | changes)


@pytest.mark.parametrize(
  ('changes', 'sentence'),
  [
    (
      {'compared': (schemes.Learned(8),), 'lengths': (16,)},
      'Learned has 8 rows',
    ),
    ({'quantities': ('decod',)}, "cannot be 'decod' .did you mean decode"),
    ({'lengths': (8, 2)}, 'lengths to measure must be at least 4, got 2'),
    ({'lengths': ()}, 'nothing to measure: give at least one'),
    ({'minutes': 0}, 'minutes must be above 0, got 0'),
    ({'rounds': 0}, 'rounds must be at least 1, got 0'),
    ({'head_width': 3}, 'head width must be even for RoPE, got 3'),
  ],
)
def test_what_cannot_be_measured_is_refused_before_compute(changes, sentence):
  with pytest.raises(ValueError, match=sentence):
    question(**changes)


def test_the_baseline_is_measured_once_and_the_quickest_first():
  found = question(
    compared=(schemes.ALiBi(), schemes.NoPE(), schemes.ALiBi()),
    baseline=schemes.NoPE(),
    lengths=(8192, 2048, 8192),
  )
  assert found.compared == (schemes.NoPE(), schemes.ALiBi())
  cells = found.cells()
  assert [cells.index((q, 2048)) for q in ('decode', 'prefill', 'train')] == [
    *(0, 2, 3),
  ]
  assert cells[-1] == ('train', 8192)


@pytest.mark.usefixtures('quick_compiles')
def test_measured_from_the_command_line(tmp_path, capsys, monkeypatch):
  slope = lambda scheme, *_: 2.0 if scheme == schemes.NoPE() else 5.0
  monkeypatch.setattr(cost_growth, '_slope', slope)
  monkeypatch.setattr(cost_programs, 'LEAST', 1e-9)
  monkeypatch.setattr(progress, 'EVERY', 0.0)
  words = ['ALiBi()', '--baseline=NoPE()', '--lengths=16,8', '--what=decode']
  words += ['--layers=1', '--heads=2', '--head_width=4', '--rounds=2']
  words += [f'--workdir={tmp_path}']
  assert cli.main(['posexp', 'measure', *words]) == 0
  captured = capsys.readouterr()
  assert 'ALiBi(): arithmetic for every cached key' in captured.out
  line = 'left  timing: decode at 16 tokens'
  assert line in (tmp_path / 'log.txt').read_text() and line in captured.err
  assert {path.name for path in tmp_path.glob('*.p*')} == {
    *('measure.png', 'measure.pdf'),
  }
  table = costs.load(tmp_path)
  assert list(table.columns) == list(cost_records.COLUMNS)
  expected = {
    ('decode', length, scheme)
    for length in (8, 16)
    for scheme in ('NoPE()', 'ALiBi()')
  }
  keys = ['quantity', 'length', 'scheme']
  assert set(table[keys].itertuples(index=False, name=None)) == expected
  every = costs.rounds(tmp_path)
  assert (every.groupby(keys).size() == 2).all()
  assert (every['seconds'] > 0).all()
  assert (table['rounds'] == 2).all() and table['low'].isna().all()
  assert (table[table['scheme'] == 'NoPE()']['ratio'] == 1).all()
  assert (table[['memory', 'flops']] > 0).all(axis=None)


def test_a_refused_length_leaves_nothing_behind(tmp_path, capsys):
  workdir = tmp_path / 'w'
  words = ['Learned(rows=8)', '--lengths=16', f'--workdir={workdir}']
  assert cli.main(['posexp', 'measure', *words]) == cli.BAD_INPUT
  captured = capsys.readouterr()
  assert 'Learned has 8 rows but a length of 16 was asked' in captured.err
  assert captured.err.count('\n') == 1 and not workdir.exists()


class Told(progress.Progress):
  """Progress that is not shown."""

  def __init__(self):
    super().__init__(1.0, pathlib.Path('/dev/null'))


def test_what_does_not_fit_into_memory_is_left_out(monkeypatch):
  monkeypatch.setattr(cost_programs, 'free_bytes', lambda: 3000.0)
  monkeypatch.setattr(cost_growth, '_slope', lambda *_: 1.0)
  asked = question(baseline=schemes.NoPE(), quantities=('decode',))
  found = costs.answer(asked, pathlib.Path('/dev/null'))
  assert found['groups'] == []
  (sentence,) = found['left_out']
  assert sentence.startswith('NoPE(), decode at 8 tokens: XLA plans for ')
  assert sentence.endswith(' GiB and 2.79e-06 GiB are free: left out')


def test_what_takes_too_long_is_left_out_slowest_first():
  none, alibi, t5 = schemes.NoPE(), schemes.ALiBi(), schemes.T5()
  asked = question(compared=(alibi, t5), baseline=none, minutes=1.0, rounds=20)
  one = costs._Measurement(asked, Told())

  def fits(*seconds):
    each = dict(zip((none, alibi, t5), seconds))
    return one._fitting(('train', 8), each)

  # Six rounds and two calls before them.
  assert fits(2.0, 2.0, 3.0) == [none, alibi, t5]
  assert one.body['left_out'] == []
  assert fits(2.0, 2.0, 4.0) == [none, alibi]
  assert fits(2.0, 4.0, 2.0) == [none, t5]
  sentence, other = one.body['left_out']
  assert sentence == (
    'train at 8 tokens: left out T5(), as the fewest rounds of all would take '
    '1 min 4 s and 1 min 0 s are left: give 2 minutes'
  )
  assert 'left out ALiBi(), as' in other
  # Without the baseline, or with nothing beside it, there is no ratio.
  assert fits(9.0, 0.1, 0.1) == []
  assert fits(5.0, 6.0, 6.0) == []
  assert one.body['left_out'][-1].count('()') == 3


def test_what_a_length_takes_is_expected_from_a_shorter_one():
  one = costs._Measurement(question(baseline=schemes.NoPE()), Told())
  assert one._expected(('train', 16)) == {schemes.NoPE(): 0.0}
  for quantity, seconds in (('train', 32.0), ('decode', 8.0)):
    one._timed[quantity, schemes.NoPE()] = 8, 2.0
    assert one._expected((quantity, 32)) == {schemes.NoPE(): seconds}


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
  table = costs.load(tmp_path)
  assert len(table) == 18 and (table['measured'] == found['measured']).all()
  for name, ratio in SOME.items():
    rows = table[table['scheme'] == name]
    # The median round is twice as slow as the quickest.
    np.testing.assert_allclose(rows['seconds'], 0.004 * ratio)
    for column in ('ratio', 'low', 'high'):
      np.testing.assert_allclose(rows[column], ratio)
  assert table['resident'].isna().all() and (table['flops'] == 2.5e6).all()
  assert len(costs.rounds(tmp_path)) == 18 * 9
  path.write_text(path.read_text().replace('abacus', 'cheetah'))
  with pytest.raises(records.Damaged, match='was changed after it was written'):
    cost_records.read(path)
  with pytest.warns(UserWarning, match='was changed'):
    assert costs.load(tmp_path).empty
  with pytest.raises(ValueError, match='no work directory'):
    costs.load(tmp_path / 'absent')


def test_a_baseline_that_was_left_out_gives_no_ratio():
  body = made_up(SOME)
  for group in body['groups']:
    del group['seconds']['RoPE()']
  table = cost_records.table(body | {'measured': ''})
  assert table['ratio'].isna().all() and table['seconds'].notna().all()


def test_the_table_says_what_was_measured(tmp_path):
  body = made_up(SOME, resident=2**30) | {'measured': ''}
  text = cost_tables.text(body)
  lines = text.splitlines()
  assert max(map(len, lines)) <= 100 and lines == [s.rstrip() for s in lines]
  assert lines[0] == (
    '2 layers, 4 heads of width 16, batch 1, float32, on abacus (wood), jax 0'
  )
  step = lines.index(
    'training step: forward, backward, AdamW (ms, ratio, 95% interval)'
  )
  assert lines[step + 1].split() == ['2,048', 'tokens', '8,192', 'tokens']
  base, none, name, long = (line.split() for line in lines[step + 2 : step + 6])
  assert base == ['RoPE()', *['4.00', '1.00'] * 2]
  assert none == ['NoPE()', *['3.00', '0.75', '0.75-0.75'] * 2]
  assert name == ['T5(buckets=16)', '+', 'RoPE(base=100)']
  assert long == ['50.0', '12.5', '12.5-12.5'] * 2
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
  assert cost_tables.text(body).splitlines()[1:] == [
    *('', 'T5(), train at 2 tokens: left out'),
  ]


@pytest.fixture(scope='module')
def drawn():
  return cost_figures.draw(table_of(SOME))


def table_of(ratios):
  return cost_records.table(made_up(ratios) | {'measured': ''})


def test_the_figure_shows_the_ratios_of_the_table(drawn):
  panels = drawn.axes
  assert [p.get_title(loc='left') for p in panels] == [
    *('training step, batch 1', 'prefill, batch 1', 'decoding, per token'),
  ]
  assert panels[0].get_ylabel() == 'time, as a multiple of RoPE'
  for panel in panels:
    lines = {line.get_gid(): line for line in panel.lines}
    assert set(lines) == {
      'baseline',
      *(f'ratio:{n}' for n in SOME if n != 'RoPE()'),
    }
    assert set(lines['baseline'].get_ydata()) == {1}
    for name in list(SOME)[1:]:
      line = lines[f'ratio:{name}']
      np.testing.assert_allclose(line.get_ydata(), SOME[name])
      away = np.log2(line.get_xdata() / np.array([2048, 8192]))
      assert np.abs(away).max() < 0.2
    assert panel.get_xlabel() == 'tokens' and panel.get_yscale() == 'log'
    assert panel.get_xticks().tolist() == [2048, 8192]
  near = cost_figures.draw(table_of({'RoPE()': 1.0, 'NoPE()': 0.75}))
  assert {panel.get_yscale() for panel in near.axes} == {'linear'}


@pytest.mark.parametrize('number', [1, 6, 14])
def test_no_two_texts_of_the_figure_overlap(number):
  names = ['RoPE()'] + [f'Mine(place=$1, n={n})' for n in range(number)]
  drawn = cost_figures.draw(table_of(dict(zip(names, range(1, 99)))))
  figures_test.assert_apart(drawn)
  looks = [cost_figures._look(n) for n in range(number)]
  assert len({tuple(look.values()) for look in looks}) == number


def test_a_figure_of_nothing_is_a_sentence():
  with pytest.raises(ValueError, match='no costs to draw'):
    cost_figures.draw(cost_records.table({}))
