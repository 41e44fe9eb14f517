"""Costs are paired, and what is timed is what it says; no time is asserted."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from posexp import schemes
from posexp.claims import timings
from posexp.cli import main
from posexp.cost import growth, measure, paired_timing
from posexp.cost import programs as programs_lib
from posexp.launch import exit_codes
from posexp.models import transformer
from posexp.results import cost_records, progress
from posexp.runs import config
from posexp.training import optimizer

SHAPE = config.Model(layers=1, width=8, heads=2)


def test_every_round_times_each_once_and_orders_differ():
  told = []

  def call(name):
    told.append(name)
    return float(name)

  turns = list(
    paired_timing.in_turns([functools.partial(call, n) for n in range(5)], 8)
  )
  # Found by which was called, not by when.
  assert turns == [[0.0, 1.0, 2.0, 3.0, 4.0]] * 8
  orders = [tuple(told[n : n + 5]) for n in range(0, 40, 5)]
  assert all(sorted(order) == [0, 1, 2, 3, 4] for order in orders)
  assert len(set(orders)) > 4
  # In the long run nobody is first more often than others.
  first = np.bincount([paired_timing.order(n, 5)[0] for n in range(1000)])
  assert first.min() > 160


def test_a_ratio_is_of_the_same_round():
  # The machine slows down; the ratio of the medians would say 1.25.
  base = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]
  mine = [1.5, 2.0, 5.0, 12.0, 8.0, 48.0, 96.0]
  found = timings.ratio(mine, base)
  assert (found.median, found.low, found.high) == (1.5, 0.5, 1.5)
  with pytest.raises(ValueError, match='got 7 rounds and 6'):
    timings.ratio(mine, base[:6])


def test_repetitions_are_enough_for_the_quickest():
  told = []

  def one(seconds, times):
    told.append((seconds, times))
    # A first call that is slow must not decide.
    return seconds * (3 if len(told) < 3 else 1)

  timed = [functools.partial(one, 0.004), functools.partial(one, 0.001)]
  times, single = programs_lib.repetitions(timed, least=0.02)
  assert times * 0.001 >= 0.02 and times < 30
  assert single == pytest.approx([0.012, 0.003])
  assert programs_lib.repetitions([lambda _: 0.5], least=0.02)[0] == 1


def timed(quantity, scheme):
  one = programs_lib.Program(quantity, programs_lib.run_of(scheme, SHAPE, 16))
  one.start()
  return one


def test_the_programs_do_what_they_say():
  """Prefill is the forward pass, decoding its last token from the cache."""
  fill, one = (timed(q, schemes.RoPE()) for q in ('prefill', 'decode'))
  _, params, tokens_1xL = fill._fixed
  run = programs_lib.run_of(schemes.RoPE(), SHAPE, 16)
  forward = jax.jit(transformer.of(run).apply)
  expected, _ = forward({'params': params}, tokens_1xL)
  cache, logits = fill._compiled(fill._fixed, fill._carried)
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
  (*_, place), (_, made_up) = one._fixed, one._carried
  assert int(place) == 15
  assert [c.keys.index_1xL.tolist() for c in made_up] == [[[*range(16)]]]
  # The last token is decoded again, and nothing else in the cache matters.
  carried = jnp.array(tokens_1xL[:, -1:]), cache
  (_, cache), said = one._compiled(one._fixed, carried)
  assert said.tolist() == [[int(jnp.argmax(expected[0, -1]))]]
  assert cache[0].keys.index_1xL.tolist() == [[*range(16)]]
  for program in (fill, one):
    found = program.analysis
    held = sum(x.nbytes for x in jax.tree.leaves(cache))
    assert found['donated'] >= held and found['flops'] > 0
    kept = found['argument'] - found['donated']
    assert found['memory'] == kept + found['output'] + found['temporary']


@pytest.mark.parametrize('quantity', ['decode', 'prefill'])
def test_other_frequencies_are_the_same_program(quantity):
  """A base and a factor are given to it; what is added to it is not."""
  scaled = schemes.RoPE(schemes.YaRN(4, 16), 500.0)
  others = (scaled, schemes.RoPE() + schemes.ALiBi(), schemes.NoPE())

  def program(scheme):
    return timed(quantity, scheme).analysis['program']

  root = program(schemes.RoPE())
  assert [program(scheme) == root for scheme in others] == [True, False, False]


def test_one_program_is_timed_once():
  base, scaled = schemes.RoPE(), schemes.RoPE(schemes.NTK(4))
  asked = question(
    baseline=base,
    compared=(scaled, schemes.NoPE()),
    quantities=('decode',),
    rounds=3,
  )
  (group,) = measure.answer(asked, pathlib.Path('/dev/null'))['groups']
  same, mine, other = (
    group['seconds'][str(s)] for s in (base, scaled, schemes.NoPE())
  )
  assert same == mine != other and len(same) == 3
  programs = {s: facts['program'] for s, facts in group['facts'].items()}
  assert programs[str(base)] == programs[str(scaled)] != programs['NoPE()']


def test_a_training_step_is_that_of_training():
  step = timed('train', schemes.ALiBi())
  run = programs_lib.run_of(schemes.ALiBi(), SHAPE, 16)
  params, state = jax.tree.map(np.asarray, step._carried)
  _, tokens_1xL = step._fixed
  (after, state_1), loss = step._compiled(step._fixed, step._carried)
  predict = jax.jit(functools.partial(transformer.predict, transformer.of(run)))
  z_LxV = np.asarray(predict(params, tokens_1xL)[0], np.float64)
  log = z_LxV - np.log(np.exp(z_LxV).sum(1, keepdims=True))
  said = log[np.arange(15), np.asarray(tokens_1xL)[0, 1:]]
  assert float(loss) == pytest.approx(-said.mean(), rel=1e-5)
  started = jax.jit(optimizer.optimiser(run.train).init)(params)
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
  return measure.Question(**small | changes)


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
  cells = found.settings()
  assert [cells.index((q, 2048)) for q in ('decode', 'prefill', 'train')] == [
    *(0, 2, 3),
  ]
  assert cells[-1] == ('train', 8192)


def test_measured_from_the_command_line(tmp_path, capsys, monkeypatch):
  slope = lambda scheme, *_: 2.0 if scheme == schemes.NoPE() else 5.0
  monkeypatch.setattr(growth, '_slope', slope)
  monkeypatch.setattr(programs_lib, 'LEAST', 1e-9)
  monkeypatch.setattr(progress, 'EVERY', 0.0)
  words = ['ALiBi()', '--baseline=NoPE()', '--lengths=16,8', '--what=decode']
  words += ['--layers=1', '--heads=2', '--head_width=4', '--rounds=2']
  words += [f'--workdir={tmp_path}']
  assert main.main(['posexp', 'measure', *words]) == 0
  captured = capsys.readouterr()
  assert 'ALiBi(): arithmetic for every cached key' in captured.out
  line = 'left  timing: decode at 16 tokens'
  assert line in (tmp_path / 'log.txt').read_text() and line in captured.err
  assert {path.name for path in tmp_path.glob('*.p*')} == {
    *('measure.png', 'measure.pdf'),
  }
  table = timings.load(tmp_path)
  assert list(table.columns) == list(timings.COLUMNS)
  expected = {
    ('decode', length, scheme)
    for length in (8, 16)
    for scheme in ('NoPE()', 'ALiBi()')
  }
  keys = ['quantity', 'length', 'scheme']
  assert set(table[keys].itertuples(index=False, name=None)) == expected
  every = cost_records.rounds(tmp_path)
  assert (every.groupby(keys).size() == 2).all()
  assert (every['seconds'] > 0).all()
  assert (table['rounds'] == 2).all() and table['low'].isna().all()
  assert (table[table['scheme'] == 'NoPE()']['ratio'] == 1).all()
  assert (table[['memory', 'flops']] > 0).all(axis=None)


def test_a_refused_length_leaves_nothing_behind(tmp_path, capsys):
  workdir = tmp_path / 'w'
  words = ['Learned(rows=8)', '--lengths=16', f'--workdir={workdir}']
  assert main.main(['posexp', 'measure', *words]) == exit_codes.BAD_INPUT
  captured = capsys.readouterr()
  assert 'Learned has 8 rows but a length of 16 was asked' in captured.err
  assert captured.err.count('\n') == 1 and not workdir.exists()


def test_an_interruption_keeps_what_was_finished(tmp_path, monkeypatch):
  def interrupted(*_):
    raise KeyboardInterrupt

  monkeypatch.setattr(growth, 'growth', interrupted)
  words = ['--lengths=8', '--rounds=2', f'--workdir={tmp_path}']
  assert main.main(['posexp', 'measure', *words]) == exit_codes.INTERRUPTED
  (body,) = cost_records.read_all(tmp_path)
  assert body['interrupted'] and body['groups'] == []
  assert body['left_out'] == ['interrupted: what was finished is kept']


class Told(progress.Progress):
  """Progress that is not shown."""

  def __init__(self):
    super().__init__(1.0, pathlib.Path('/dev/null'))


def test_what_does_not_fit_into_memory_is_left_out(monkeypatch):
  monkeypatch.setattr(programs_lib, 'free_bytes', lambda: 3000.0)
  monkeypatch.setattr(growth, '_slope', lambda *_: 1.0)
  asked = question(baseline=schemes.NoPE(), quantities=('decode',))
  found = measure.answer(asked, pathlib.Path('/dev/null'))
  assert found['groups'] == []
  (sentence,) = found['left_out']
  assert sentence.startswith('NoPE(), decode at 8 tokens: XLA plans for ')
  assert sentence.endswith(' GiB and 2.79e-06 GiB are free: left out')


def test_what_takes_too_long_is_left_out_slowest_first():
  none, alibi, t5 = schemes.NoPE(), schemes.ALiBi(), schemes.T5()
  asked = question(compared=(alibi, t5), baseline=none, minutes=1.0, rounds=20)
  one = measure._Measurement(asked, Told())

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
    'train at 8 tokens: T5() left out, as the fewest rounds of all would take '
    '1 min 4 s and 1 min 0 s are left: give 2 minutes'
  )
  assert 'ALiBi() left out, as' in other
  # Without the baseline, or with nothing beside it, there is no ratio.
  assert fits(9.0, 0.1, 0.1) == []
  assert fits(5.0, 6.0, 6.0) == []
  assert one.body['left_out'][-1].startswith('train at 8 tokens left out, as')
  # Nobody knows how long it would take.
  assert fits(0.0, 0.0, 99.0) == [none, alibi]
  assert one.body['left_out'][-1].endswith(
    'T5() left out, as the 1 minutes are over: give more'
  )


def test_what_a_length_takes_is_expected_from_a_shorter_one():
  one = measure._Measurement(question(baseline=schemes.NoPE()), Told())
  assert one._expected(('train', 16)) == {schemes.NoPE(): 0.0}
  for quantity, seconds in (('train', 32.0), ('decode', 8.0)):
    one._timed[quantity, schemes.NoPE()] = 8, 2.0
    assert one._expected((quantity, 32)) == {schemes.NoPE(): seconds}
