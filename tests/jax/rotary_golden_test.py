"""Rotations against published numbers and the code of their authors.

How the golden files were made is told inside them.
"""

import dataclasses
import json
import pathlib

import jax.numpy as jnp
import numpy as np
import pytest

from posexp import schemes

DATA = pathlib.Path(__file__).parents[1] / 'testdata'
HF = json.loads((DATA / 'hf_rope.json').read_text())
AUTHORS = json.loads((DATA / 'authors_rope.json').read_text())

# The golden values are float32: b^(2k/d) is off by up to ln(b) = 14 times half
# a unit in the last place (6e-8), and a ramp is a difference of such numbers.
RTOL = 1e-6


def named(case):
  settings = case.get('rope_parameters', {'rope_type': case.get('law')})
  return f'{settings["rope_type"]}-{case["head_width"]}'


def of_hf(case):
  return schemes.from_hf(
    case['rope_parameters'],
    head_width=case['head_width'],
    max_position_embeddings=case.get('max_position_embeddings'),
  )


@pytest.mark.parametrize('case', HF['cases'], ids=named)
def test_hugging_face(case):
  rope = of_hf(case).for_length(case['length'])
  angles = rope.inverse_frequencies(case['head_width'])
  assert angles.dtype == np.float64
  np.testing.assert_allclose(
    angles, case['inverse_frequencies'], rtol=RTOL, atol=0
  )
  # Theirs is on q and on k, ours on their product.
  np.testing.assert_allclose(
    rope.temperature, case['attention_factor'] ** 2, rtol=1e-12
  )


def test_hugging_face_covers_every_type():
  kinds = [case['rope_parameters']['rope_type'] for case in HF['cases']]
  scaled = {'linear', 'dynamic', 'yarn', 'longrope', 'llama3', 'proportional'}
  assert set(kinds) == {'default', *scaled}
  assert min(map(kinds.count, set(kinds))) >= 6


def test_by_parts_is_llama3_with_other_bounds():
  # There is no code of the paper's ramp by rotations but Meta's.
  seen = 0
  for case in HF['cases']:
    law = of_hf(case).frequencies
    if isinstance(law, schemes.Llama3):
      parts = schemes.NTKByParts(
        law.factor, law.train_length, law.low, law.high
      )
      rope = dataclasses.replace(of_hf(case), frequencies=parts)
      np.testing.assert_allclose(
        rope.inverse_frequencies(case['head_width']),
        case['inverse_frequencies'],
        rtol=RTOL,
      )
      seen += 1
  assert seen >= 6


def content(length, width):
  """What the scripts that made the goldens used, 1 x L x 1 x width."""
  n = np.arange(length * width, dtype=np.float64)
  return (
    jnp.asarray(np.cos(m * n).reshape(1, length, 1, width), jnp.float32)
    for m in (1, 2)
  )


def products(scheme, q, k, at):
  q, k = scheme.rotate({}, q, at, 'q'), scheme.rotate({}, k, at, 'k')
  return np.float64(q[0, :, 0]) @ np.float64(k[0, :, 0]).T


@pytest.mark.parametrize(
  'case', HF['rotated'], ids=lambda c: f'{named(c)}-{c["pairing"]}'
)
def test_hugging_face_rotates_so(case):
  # The temperature is on the rotated part only, there as here.
  at = jnp.array([HF['positions']])
  rope = dataclasses.replace(of_hf(case), pairing=case['pairing'])
  found = products(rope, *content(at.size, case['head_width']), at)
  # Angles of up to 30 radians in float32.
  np.testing.assert_allclose(found, case['logits'], rtol=0, atol=1e-5)


@pytest.mark.parametrize('case', AUTHORS['laws'], ids=named)
def test_authors_of_yarn(case):
  law = getattr(schemes, case['law'])(**case['fields'])
  rope = schemes.RoPE(law, base=case['base'])
  rope = rope.for_length(case.get('length', 1))
  angles = rope.inverse_frequencies(case['head_width'])
  np.testing.assert_allclose(angles, case['inverse_frequencies'], rtol=RTOL)
  expected = case.get('attention_factor', 1.0) ** 2
  np.testing.assert_allclose(rope.temperature, expected, rtol=1e-12)


@pytest.mark.parametrize('case', AUTHORS['xpos'], ids=lambda c: f'{c}'[:45])
@pytest.mark.parametrize('centre', [0.0, 0.5, 20.0])
def test_authors_of_xpos(case, centre):
  # Theirs is centred on half of the length; products do not depend on it.
  length, width = case['length'], case['head_width']
  rope = schemes.RoPE(pairing='interleaved')
  base = case['scale_base']
  scheme = schemes.xPos(rope, base, centre * base)
  at = jnp.arange(length)[None]
  found = products(scheme, *content(length, width), at)
  expected = np.reshape(case['logits'], (length, length))
  # An exponent of 25 nats is off by 25 times 1e-7, on either side.
  size = np.abs(expected).max()
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * size)


def test_published_yarn_and_llama3():
  yarn = schemes.RoPE(schemes.YaRN(factor=4, train_length=64))
  angles = yarn.inverse_frequencies(32)
  np.testing.assert_allclose(
    angles[[0, 1, 4, 8]], [1, 0.47799012, 0.04, 0.0025], rtol=1e-7
  )
  np.testing.assert_allclose(yarn.temperature, 1.1386294**2, rtol=1e-7)
  plain = schemes.RoPE().inverse_frequencies(32)
  # So short a trained length leaves little but interpolation.
  assert np.sum(np.isclose(angles, plain / 4, rtol=1e-12, atol=0)) == 11
  law = schemes.Llama3(factor=8, train_length=8192, low=1, high=4)
  angles = schemes.RoPE(law).inverse_frequencies(32)
  # Eight decimals are published.
  expected = [0.01, 0.00021361, 0.00002223]
  np.testing.assert_allclose(angles[[8, 12, 15]], expected, atol=5e-9)


def test_a_pair_on_the_step_is_kept():
  # Hugging Face divides 0 by 0 here and gives NaN.
  rotations = 8 / (2 * np.pi)  # Of the first pair within 8 tokens.
  for law in (
    schemes.Llama3(4, 8, rotations, rotations),
    schemes.NTKByParts(4, 8, rotations, rotations),
  ):
    angles = schemes.RoPE(law, base=16.0).inverse_frequencies(4)
    np.testing.assert_allclose(angles, [1.0, 0.0625])
