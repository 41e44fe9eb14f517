"""Hugging Face's settings, read and written."""

import dataclasses

import pytest

from posexp import schemes
from tests.jax import rotary_golden_test as golden


@pytest.mark.parametrize('case', golden.HF['cases'], ids=golden.named)
def test_round_trip(case):
  rope, width = golden.of_hf(case), case['head_width']
  longest = case['max_position_embeddings']
  written = schemes.to_hf(rope, head_width=width)
  again = schemes.from_hf(
    written, head_width=width, max_position_embeddings=longest
  )
  assert again == rope
  # What was given comes back; defaults are spelled out.
  for key, value in case['rope_parameters'].items():
    assert written[key] == value


@pytest.mark.parametrize('width', range(2, 257, 2))
def test_every_rotated_width_survives(width):
  for rotated in range(2, width, 2):
    rope = schemes.RoPE(rotated=rotated)
    written = schemes.to_hf(rope, head_width=width)
    assert schemes.from_hf(written, head_width=width) == rope


def read(settings, **others):
  others = {'head_width': 8, 'max_position_embeddings': 256, **others}
  return schemes.from_hf(settings, **others)


@pytest.mark.parametrize(
  'old, rope',
  [
    (None, schemes.RoPE(base=500.0)),
    ({'type': 'linear', 'factor': 2.0}, schemes.Linear(2.0)),
    ({'type': 'dynamic', 'factor': 2.0}, schemes.DynamicNTK(2.0, 256)),
    (
      {
        'type': 'yarn',
        'factor': 2.0,
        'original_max_position_embeddings': 64,
        'finetuned': True,
      },
      schemes.YaRN(2.0, 64),
    ),
    ({'rope_type': 'yarn', 'factor': 2.0}, schemes.YaRN(2.0, 256)),
    (
      {
        'type': 'yarn',
        'beta_fast': None,
        'beta_slow': 0,
        'original_max_position_embeddings': 64,
      },
      schemes.YaRN(4.0, 64),
    ),
    (
      {
        'rope_type': 'llama3',
        'factor': 8.0,
        'low_freq_factor': 1.0,
        'high_freq_factor': 4.0,
        'original_max_position_embeddings': 64,
      },
      schemes.Llama3(8.0, 64),
    ),
  ],
)
def test_version_4_spellings(old, rope):
  if isinstance(rope, schemes.Law):
    rope = schemes.RoPE(rope, base=500.0)
  assert read(old, rope_theta=500.0) == rope
  part = dataclasses.replace(rope, rotated=4)
  assert read(old, rope_theta=500.0, partial_rotary_factor=0.5) == part


def test_phi3_keeps_its_trained_length_outside():
  old = {'type': 'su', 'short_factor': [1.0] * 4, 'long_factor': [2.0] * 4}
  rope = read(old, rope_theta=1e4, original_max_position_embeddings=64)
  law = schemes.LongRoPE((1.0,) * 4, (2.0,) * 4, train_length=64, factor=4.0)
  assert rope == schemes.RoPE(law)


def test_settings_win_over_keywords():
  new = {'rope_type': 'default', 'rope_theta': 7.0, 'partial_rotary_factor': 1}
  rope = read(new, rope_theta=9.0, partial_rotary_factor=0.5)
  assert rope == schemes.RoPE(base=7.0)


LISTS = {'short_factor': [1.0] * 3, 'long_factor': [1.0] * 3, 'factor': 4.0}


@pytest.mark.parametrize(
  'settings, others, sentence',
  [
    (
      {'rope_type': 'mrope'},
      {},
      "'mrope' are unknown .* default, linear, dynamic, yarn, longrope, su, "
      'llama3, proportional',
    ),
    ({'type': 'linear', 'factr': 2}, {}, "'factr' .did you mean factor"),
    ({'mrope_section': [1, 1, 2]}, {}, "cannot be 'mrope_section'"),
    ({'full_attention': {'rope_type': 'default'}}, {}, "as 'full_attention'"),
    (None, {'rope_theta': None}, "type 'default' need rope_theta"),
    ({'type': 'linear'}, {}, "type 'linear' need factor"),
    (
      {'type': 'dynamic', 'factor': 2.0},
      {'max_position_embeddings': None},
      "type 'dynamic' need max_position_embeddings",
    ),
    (
      {'type': 'yarn', 'factor': 2.0},
      {'max_position_embeddings': None},
      "type 'yarn' need original_max_position_embeddings",
    ),
    ({'type': 'yarn'}, {}, 'need original_max_position_embeddings'),
    ({'type': 'llama3', 'factor': 2.0}, {}, 'need low_freq_factor'),
    ({'type': 'longrope', 'factor': 2.0}, {}, 'need short_factor'),
    ({'type': 'longrope', **LISTS}, {}, 'has 3 factors .* 4 pairs'),
    (None, {'partial_rotary_factor': 0.4}, 'rotated of RoPE .* even .* got 3'),
  ],
)
def test_bad_settings_are_named(settings, others, sentence):
  with pytest.raises(ValueError, match=sentence):
    read(settings, **{'rope_theta': 1e4, **others})


@pytest.mark.parametrize(
  'rope, sentence',
  [
    (schemes.RoPE(schemes.DroPE()), r'no type for DroPE\(\)'),
    (schemes.RoPE(schemes.NTK(4)), r'no type for NTK\(4\)'),
    (schemes.RoPE(schemes.NTKByParts(4, 64)), 'no type for NTKByParts'),
    (schemes.RoPE(schemes.YaRN(4, 64, ramp='rotations')), 'no type for YaRN'),
    (schemes.RoPE(pairing='interleaved'), 'cannot say pairing=interleaved'),
    (schemes.RoPE(rotated=4), r'RoPE\(rotated=4\) rotates a part'),
  ],
)
def test_what_cannot_be_written_is_named(rope, sentence):
  with pytest.raises(ValueError, match=sentence):
    schemes.to_hf(rope)
