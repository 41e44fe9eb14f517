"""What grows with the context is found, of schemes of which it is known."""

import json
import math

import pytest

from posexp import schemes
from posexp.cost import growth as growth_lib
from posexp.runs import config

SHAPE = config.Model(layers=1, width=8, heads=2)


@pytest.fixture(scope='module')
def growth():
  """What grows, of schemes of which it is known."""
  known = (
    *(schemes.NoPE(), schemes.RoPE(), schemes.ALiBi(), schemes.T5()),
    *(schemes.Learned(32), schemes.Forgetting()),
  )
  return {
    type(s).__name__: growth_lib.growth(s, SHAPE, length=16) for s in known
  }


def test_arithmetic_for_every_cached_key_is_found(growth):
  operations = {name: found.operations for name, found in growth.items()}
  assert operations['NoPE'] == operations['RoPE'] == operations['Learned'] == 0
  # A distance (a difference, as float32, at least 0), times a slope and added
  # to the logit for each head; a difference of clocks, added, for each head.
  assert operations['ALiBi'] == 3 + 2 * SHAPE.heads
  assert operations['Forgetting'] == 2 * SHAPE.heads
  # A distance is compared with 31 edges, and the results are added up.
  assert operations['T5'] >= 2 * 31


def test_what_is_learned_of_every_cached_key_is_found(growth):
  learned = {name: found.learned for name, found in growth.items()}
  assert learned == {
    **dict.fromkeys(('NoPE', 'RoPE', 'ALiBi', 'Learned', 'Forgetting'), ''),
    'T5': 'looked up',
  }


def test_parameters_and_state_that_grow_are_found(growth):
  for name, found in growth.items():
    table = name == 'Learned'
    assert found.limit == (32 if table else None), name
    assert found.parameters == (SHAPE.width if table else 0), name
    # A clock of float32 a head, in place of one int32.
    clock = name == 'Forgetting'
    assert found.state == (4 * SHAPE.heads - 4 if clock else 0), name


def test_verdicts_are_sentences(growth):
  says = {name: found.sentence for name, found in growth.items()}
  assert says['NoPE'] == 'nothing: there is no position'
  assert says['RoPE'] == 'nothing: keys are cached rotated'
  assert says['Learned'] == (
    '8 parameters for every token of context, 32 tokens at most'
  )
  assert says['ALiBi'].startswith(
    'arithmetic for every cached key, nothing learned (7 operations a layer '
  )
  assert says['T5'].startswith('a learned value is looked up for every cached')
  assert says['Forgetting'].endswith(
    '; 4 bytes more for every cached token and layer'
  )


def test_what_xla_does_not_count_is_left_out(monkeypatch):
  monkeypatch.setattr(growth_lib, '_slope', lambda *_: math.nan)
  found = growth_lib.growth(schemes.ALiBi(), SHAPE, length=16)
  says = 'arithmetic for every cached key, nothing learned'
  assert found.sentence == says
  plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
  assert plain['operations'] is None and plain['share'] is None


def test_a_scheme_of_whole_rows_says_so(monkeypatch):
  slope = lambda scheme, *_: 2.0 if scheme == schemes.NoPE() else 5.0
  monkeypatch.setattr(growth_lib, '_slope', slope)
  found = growth_lib.growth(schemes.CoPE(positions=4), SHAPE, length=16)
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
    # Four tokens to a row of a table, and a table of as many rows as the limit.
    (
      schemes.Interpolate(schemes.Learned(rows=16), 4),
      {'limit': 61, 'parameters': 16 * SHAPE.width / 61},
    ),
    (schemes.Randomize(schemes.T5(), positions=32), {'parameters': 0}),
  ],
  ids=str,
)
def test_other_growth_is_found(scheme, expected, monkeypatch):
  monkeypatch.setattr(growth_lib, '_slope', lambda *_: 1.0)
  found = growth_lib.growth(scheme, SHAPE, length=16)
  assert {name: getattr(found, name) for name in expected} == expected
