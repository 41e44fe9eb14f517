"""Rotations beyond their laws: lengths, parts of a head, and edges."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import posexp
from posexp import schemes
from posexp.attention import cache as cache_lib
from posexp.attention import placed
from posexp.models import transformer
from tests import cases, references_rotary
from tests.jax.rotary_golden_test import products


@pytest.mark.parametrize('length', [8, 16, 17, 40])
def test_laws_resolve_for_a_length(length):
  dynamic = schemes.DynamicNTK(3, 16)
  lists = (1.0, 1.5, 2.0, 4.0), (1.0, 2.0, 4.0, 8.0)
  longrope = schemes.LongRoPE(*lists, train_length=16, factor=4)
  for law, reference in (
    (dynamic, references_rotary.dynamic_ntk_law),
    (longrope, references_rotary.longrope_law),
  ):
    rope = schemes.RoPE(law)
    resolved = rope.for_length(length)
    expected = reference(law, 1e4, 8, length)
    found = resolved.inverse_frequencies(8)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert resolved.for_length(length) == resolved
    assert resolved.for_length(10_000) == resolved
    assert resolved.temperature == rope.temperature
    # Unresolved, it is as at the trained length.
    np.testing.assert_array_equal(
      rope.inverse_frequencies(8), rope.for_length(16).inverse_frequencies(8)
    )
    both = schemes.Interpolate(rope, 2) + schemes.xPos(rope)
    inner = both.for_length(length).terms
    assert inner[0].scheme == rope.for_length(-(-length // 2))
    assert inner[1].rope == resolved


@pytest.mark.parametrize(
  'law',
  [
    schemes.DynamicNTK(4, 8),
    schemes.LongRoPE((1.0,) * 4, (1.0, 2.0, 4.0, 8.0), 8, 4),
  ],
  ids=str,
)
def test_prefill_and_decoding_agree_beyond_the_trained_length(law):
  # Resolved once with the total length, though the prompt is shorter than L.
  prompt, total = 5, 14
  scheme = schemes.RoPE(law).for_length(total)
  net, variables = cases.transformer(scheme)
  tokens = jax.random.randint(jax.random.key(8), (1, total), 0, cases.LENGTH)
  whole, _ = net.apply(variables, tokens)
  cache = transformer.empty_cache(net, 1, total)
  logits, cache = net.apply(variables, tokens[:, :prompt], cache, 0)
  # Two layers of float32 sums in another order.
  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=2e-5)
  close(logits, whole[:, :prompt])
  for t in range(prompt, total):
    one, cache = net.apply(variables, tokens[:, t : t + 1], cache, t)
    close(one[:, 0], whole[:, t])
  # Keys left at the angles of the prompt's length would be another model.
  early, _ = net.clone(scheme=schemes.RoPE(law).for_length(prompt)).apply(
    variables, tokens
  )
  assert np.abs(early - whole).max() > 1e-3


def test_a_part_of_the_head_rotates_and_the_rest_passes():
  (x,) = cases.queries(1)
  at = jnp.arange(cases.LENGTH)[None]
  part = schemes.RoPE(schemes.YaRN(4, 64), rotated=4)
  out = part.rotate({}, x, at, 'q')
  np.testing.assert_array_equal(out[..., 4:], x[..., 4:])
  whole = schemes.RoPE(schemes.YaRN(4, 64)).rotate({}, x[..., :4], at, 'q')
  np.testing.assert_array_equal(out[..., :4], whole)


def test_interleaved_pairs_are_a_permutation():
  (x,) = cases.queries(1)
  at = jnp.arange(cases.LENGTH)[None]
  order = jnp.array([0, 4, 1, 5, 2, 6, 3, 7])
  halves = schemes.RoPE().rotate({}, x, at, 'q')
  mixed = schemes.RoPE(pairing='interleaved').rotate({}, x[..., order], at, 'q')
  np.testing.assert_array_equal(mixed, halves[..., order])


def test_dropped_rotation_is_no_position():
  q, k, v = cases.queries()
  np.testing.assert_allclose(
    posexp.attend(schemes.RoPE(schemes.DroPE()), {}, q, k, v),
    posexp.attend(schemes.NoPE(), {}, q, k, v),
    rtol=0,
    atol=1e-6,
  )


@pytest.mark.parametrize('side', ['q', 'k'])
@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_xpos_is_finite_far_out(side, dtype):
  at = jnp.array([[0, 26_156, 32_768, 100_000, 3_000_000]])
  x = 100 * jnp.ones((1, 5, 1, 8), dtype)
  rotate = lambda x: schemes.xPos().rotate({}, x, at, side)
  out, pull = jax.vjp(rotate, x)
  assert np.isfinite(np.float32(out)).all()
  assert np.isfinite(np.float32(pull(jnp.ones_like(out))[0])).all()


def test_xpos_holds_32k_around_its_centre():
  # Near pairs at both ends, where a query's factor alone is e^40 or e^-40.
  scheme = schemes.xPos(schemes.RoPE(schemes.DroPE()), centre=16_384)
  dims = schemes.Dims(8, 1, 8)
  scheme.check(dims, 32_768)
  decay = (np.arange(4) / 4 + 0.4) / 1.4
  for last in (600, 32_767):
    at = jnp.array([[last - 500, last]])
    q, k = jnp.ones((2, 1, 2, 1, 8))
    found = products(scheme, q, k, at)[1]
    expected = [2 * np.sum(decay ** (n / 512)) for n in (500, 0)]
    np.testing.assert_allclose(found, expected, rtol=2e-5)


def test_xpos_attends_in_blocks_near_its_reach():
  scheme = schemes.Interpolate(schemes.xPos(), 1 / 500)
  q, k, v = (0.1 * x for x in cases.queries())
  run = lambda block: posexp.attend(scheme, {}, q, k, v, block)
  # 22 tokens span 11,000 positions, 27 nats.
  np.testing.assert_allclose(run(5), run(None), rtol=0, atol=2e-6)
  grads = jax.grad(lambda q: jnp.sum(posexp.attend(scheme, {}, q, k, v)))(q)
  assert np.isfinite(grads).all()


def test_names_show_what_is_not_a_default():
  name = lambda law, **fields: str(schemes.RoPE(law, **fields))
  assert name(schemes.YaRN(4, 64)) == 'RoPE(YaRN(4, 64))'
  yarn = schemes.YaRN(4.0, 1_048_576, ramp='rotations', truncate=False)
  shown = "YaRN(4, 1048576, ramp='rotations', truncate=False)"
  assert str(yarn) == shown
  assert name(yarn, rotated=4, pairing='interleaved') == (
    f"RoPE({shown}, rotated=4, pairing='interleaved')"
  )
  longrope = schemes.LongRoPE((1.0, 1.5), (1.0, 2.5), 64, 4)
  assert str(longrope) == 'LongRoPE((1, 1.5), (1, 2.5), 64, 4)'
  assert name(schemes.Proportional(0.5)) == 'RoPE(Proportional(0.5))'
  assert name(schemes.DroPE()) == 'RoPE(DroPE())'
  assert str(schemes.xPos(centre=9.0)) == 'xPos(centre=9)'


def rope(law=schemes.Law(), width=8, **fields):  # noqa: B008
  return schemes.RoPE(law, **fields).inverse_frequencies(width)


@pytest.mark.parametrize(
  'make, sentence',
  [
    (lambda: schemes.NTKByParts(0, 64), 'factor of NTKByParts .* got 0'),
    (lambda: schemes.NTKByParts(4, -1), 'train_length of NTKByParts .* got -1'),
    (lambda: schemes.NTKByParts(4, 64, 8, 2), 'at least alpha=8 .* got 2'),
    (lambda: schemes.Llama3(4, 64, 4, 1), 'at least low=4 .* got 1'),
    (lambda: schemes.Llama3(4, 64, 0, 1), 'low of Llama3 .* got 0'),
    (lambda: schemes.YaRN(4, 64, 1, 32), 'least beta_slow=32 .* got 1'),
    (lambda: schemes.YaRN(4, 64, ramp='indx'), "'indx' .did you mean index"),
    (lambda: schemes.YaRN(4, 64, attention_factor=0), 'attention_factor .* 0'),
    (lambda: schemes.YaRN(4, 64, mscale=-1), 'mscale of YaRN .* got -1'),
    (lambda: rope(schemes.YaRN(4, 64), base=1.0), 'above 1, got 1: at 1 all'),
    (lambda: schemes.RoPE(base=0.5), 'base of RoPE must be above 1, got 0.5'),
    (lambda: schemes.DynamicNTK(4, 0), 'train_length of DynamicNTK .* got 0'),
    (lambda: rope(schemes.DynamicNTK(4, 8), 2), 'DynamicNTK .* got 2'),
    (lambda: schemes.Proportional(1.5), 'share .* at most 1, got 1.5'),
    (lambda: schemes.LongRoPE((1, 0), (1, 1), 9, 4), 'short .* got 0'),
    (lambda: schemes.LongRoPE((1,), (1,), 1, 4), 'at least 2, got 1'),
    (
      lambda: rope(schemes.LongRoPE((1, 1, 1), (1, 1, 1), 9, 4)),
      'has 3 factors but a rotated width of 8 has 4 pairs',
    ),
    (
      lambda: rope(schemes.LongRoPE((1,) * 4, (1,) * 5, 9, 4)),
      'long of LongRoPE has 5 factors .* 4 pairs',
    ),
    (lambda: schemes.RoPE(rotated=3), 'rotated of RoPE .* even .* got 3'),
    (lambda: schemes.RoPE(rotated=0.5), 'rotated of RoPE .* an int, got 0.5'),
    (lambda: rope(rotated=10), 'rotated of RoPE is 10 but the head width is 8'),
    (lambda: schemes.RoPE(pairing='halves'), "'halves' .did you mean half"),
    (lambda: schemes.xPos(schemes.ALiBi()), 'rope of xPos .* got ALiBi'),
    (lambda: schemes.xPos(scale_base=0), 'scale_base of xPos .* got 0'),
    (lambda: schemes.xPos(centre=-1), 'centre of xPos .* got -1'),
    (
      lambda: schemes.xPos().check(cases.DIMS, 32_768),
      'holds 26157 positions in float32 but a length of 32768',
    ),
  ],
)
def test_bad_input_is_named(make, sentence):
  with pytest.raises(ValueError, match=sentence):
    make()


def test_lists_become_tuples():
  law = schemes.LongRoPE([1.0, 2.0], [1.0, 4.0], 64, 4)
  scheme = schemes.RoPE(law)
  again = schemes.Scheme.from_dict(json.loads(json.dumps(scheme.to_dict())))
  assert again == scheme and hash(again) == hash(scheme)


def test_a_cache_holds_keys_without_the_temperature():
  scheme = schemes.RoPE(schemes.YaRN(4, 64, attention_factor=3.0))
  (k,) = cases.queries(1)
  at = jnp.arange(cases.LENGTH)[None]
  cache = cache_lib.empty_cache(scheme, cases.DIMS, *k.shape[:2], jnp.float32)
  keys = placed.place(scheme, {}, 'k', k, at, at)
  cache = cache_lib.extend(cache, keys, placed.heads_first(k))
  norm = lambda x: np.linalg.norm(x, axis=-1)
  np.testing.assert_allclose(
    norm(cache.keys.x_BxHxLxE), norm(k.swapaxes(1, 2)), rtol=1e-6
  )
