"""The transformer: shapes, initial values, a float64 twin and decoding."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import posexp
from posexp import schemes
from posexp.attention import cache as cache_lib
from posexp.models import transformer
from posexp.runs import config
from tests import references, small

SMALL = posexp.Model(layers=2, width=16, heads=2, feedforward=12)
VOCABULARY, LENGTH = 11, 9


def tokens(batch=2, length=LENGTH):
  return jax.random.randint(jax.random.key(1), (batch, length), 0, VOCABULARY)


def build(scheme=None, shape=SMALL):
  net = transformer.Transformer(shape, scheme or schemes.NoPE(), VOCABULARY)
  return net, net.init(jax.random.key(0), tokens())['params']


def names(params):
  paths = jax.tree_util.tree_flatten_with_path(params)[0]
  return {'/'.join(str(k.key) for k in path): x.shape for path, x in paths}


LAYER = {
  'norm_attention/scale': (16,),
  'query/kernel': (16, 16),
  'key_value/kernel': (16, 32),
  'out/kernel': (16, 16),
  'norm_mlp/scale': (16,),
  'up/kernel': (16, 12),
  'down/kernel': (16, 12),
}
PLAIN = {
  'embedding': (VOCABULARY + 1, 16),
  'norm/scale': (16,),
  'unembedding': (16, VOCABULARY),
  **{f'block_{n}/{k}': v for n in range(2) for k, v in LAYER.items()},
}


@pytest.mark.parametrize(
  'changes, added, removed',
  [
    ({}, {}, ()),
    ({'activation': 'gelu'}, {}, ()),
    ({'activation': 'relu2'}, {}, ()),
    (
      {'activation': 'swiglu'},
      {f'block_{n}/gate/kernel': (16, 12) for n in range(2)},
      (),
    ),
    ({'tied': True}, {}, ('unembedding',)),
    ({'bos': False}, {'embedding': (VOCABULARY, 16)}, ()),
    ({'compute': 'bfloat16'}, {}, ()),
    (
      {'feedforward': None},
      {
        f'block_{n}/{k}': v
        for n in range(2)
        for k, v in (('up/kernel', (16, 64)), ('down/kernel', (16, 64)))
      },
      (),
    ),
  ],
  ids=str,
)
def test_options(changes, added, removed):
  net, params = build(shape=dataclasses.replace(SMALL, **changes))
  expected = {k: v for k, v in {**PLAIN, **added}.items() if k not in removed}
  assert names(params) == expected
  assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype('float32')}

  @jax.jit
  @jax.grad
  def gradient(params):
    logits, cache = net.apply({'params': params}, tokens())
    assert cache is None and logits.dtype == jnp.float32
    assert logits.shape == (2, LENGTH, VOCABULARY)
    return jnp.sum(jnp.square(logits))

  grads = gradient(params)
  assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
  # Every parameter takes part, whatever the option.
  assert all(np.abs(g).max() > 0 for g in jax.tree.leaves(grads))


def test_bfloat16_is_near_float32():
  net, params = build(schemes.RoPE())
  half = net.clone(shape=dataclasses.replace(SMALL, compute='bfloat16'))
  wide, narrow = (m.apply({'params': params}, tokens())[0] for m in (net, half))
  # Eight bits of mantissa through two layers, relative to the largest logit.
  assert 0 < np.abs(wide - narrow).max() < 0.03 * np.abs(wide).max()


@pytest.mark.parametrize('scheme', schemes.CATALOGUE, ids=str)
def test_content_starts_the_same_under_every_scheme(scheme):
  _, plain = build()
  _, params = build(scheme)
  content = {
    k: x
    for k, x in jax.tree_util.tree_flatten_with_path(params)[0]
    if not any(str(part.key).startswith('position') for part in k)
  }
  expected = dict(jax.tree_util.tree_flatten_with_path(plain)[0])
  assert content.keys() == expected.keys()
  for path, x in content.items():
    np.testing.assert_array_equal(x, expected[path])


def test_positional_parameters_per_layer_or_shared():
  both = schemes.T5(buckets=8, max_distance=20) + schemes.Learned(20)
  added = lambda shape: {
    k: v for k, v in names(build(both, shape)[1]).items() if k not in PLAIN
  }
  table = {'position_input/Learned/table_RxD': (20, 16)}
  assert added(SMALL) == {
    **table,
    'block_0/position/T5/table_NxH': (8, 2),
    'block_1/position/T5/table_NxH': (8, 2),
  }
  shared = dataclasses.replace(SMALL, share_position=True)
  assert added(shared) == {**table, 'position/T5/table_NxH': (8, 2)}


def test_a_shared_table_acts_in_every_layer():
  scheme, drawn = schemes.T5(), jax.random.normal(jax.random.key(5), (32, 2))
  net, params = build(scheme)
  shared, common = build(
    scheme, dataclasses.replace(SMALL, share_position=True)
  )
  for n in range(2):
    params[f'block_{n}']['position']['table_NxH'] = drawn
  common['position']['table_NxH'] = drawn
  np.testing.assert_array_equal(
    net.apply({'params': params}, tokens())[0],
    shared.apply({'params': common}, tokens())[0],
  )


def test_bos_is_an_id_of_its_own_and_the_last_token_is_not_read():
  net, _ = build()
  read = np.asarray(transformer.inputs(net, tokens()))
  assert (read[:, 0] == VOCABULARY).all()
  np.testing.assert_array_equal(read[:, 1:], tokens()[:, :-1])
  bare = net.clone(shape=dataclasses.replace(SMALL, bos=False))
  np.testing.assert_array_equal(
    transformer.inputs(bare, tokens()), tokens()[:, :-1]
  )


@pytest.mark.parametrize('bos', [True, False])
def test_logits_that_are_asked_for_are_those_of_their_places(bos):
  net, params = build(schemes.RoPE(), dataclasses.replace(SMALL, bos=bos))
  whole = transformer.predict(net, params, tokens())
  some = transformer.predict(net, params, tokens(), (1, 4, LENGTH - 1))
  places = np.array([0, 3, LENGTH - 2])
  # Float32 products of another shape, logits of a few units.
  np.testing.assert_allclose(some, whole[:, places], rtol=0, atol=1e-5)


def test_initial_scales():
  shape = posexp.Model(layers=3, width=128, heads=2, feedforward=256)
  net = transformer.Transformer(shape, schemes.NoPE(), 200)
  params = net.init(jax.random.key(0), tokens())['params']
  block = params['block_1']
  for x, deviation in (
    (params['embedding'], 1),
    (params['unembedding'], 128**-0.5),
    *((block[n]['kernel'], 128**-0.5) for n in ('query', 'key_value', 'up')),
    (block['out']['kernel'], (2 * 3 * 128) ** -0.5),
    (block['down']['kernel'], (2 * 3 * 256) ** -0.5),
  ):
    # Ten thousand draws and more: a hundredth is one standard error.
    assert abs(np.std(x) / deviation - 1) < 0.05


def hidden(activation, block, h):
  up = h @ block['up']['kernel']
  if activation == 'swiglu':  # arXiv 2002.05202, equation 6.
    gate = h @ block['gate']['kernel']
    return gate / (1 + np.exp(-gate)) * up
  if activation == 'gelu':  # arXiv 1606.08415, the approximation by tanh.
    cubic = math.sqrt(2 / math.pi) * (up + 0.044715 * up**3)
    return up / 2 * (1 + np.tanh(cubic))
  return np.maximum(up, 0) ** (2 if activation == 'relu2' else 1)


def forward(scheme, activation, params, tokens_L):
  """The model again, one sequence in float64 NumPy: pre-norm."""

  def norm(x, p):
    # arXiv 1910.07467, equation 4, with the usual constant under the root.
    mean = (x**2).mean(-1, keepdims=True)
    return x / np.sqrt(mean + 1e-6) * p['scale']

  x = params['embedding'][tokens_L]
  for n in range(SMALL.layers):
    block = params[f'block_{n}']
    h = norm(x, block['norm_attention'])
    key_value = np.split(block['key_value']['kernel'], 2, axis=1)
    kernels = (block['query']['kernel'], *key_value)
    q, k, v = ((h @ w).reshape(1, len(x), 2, 8) for w in kernels)
    mixed = references.attend(scheme, {}, q, k, v).reshape(x.shape)
    x = x + mixed @ block['out']['kernel']
    h = hidden(activation, block, norm(x, block['norm_mlp']))
    x = x + h @ block['down']['kernel'].T
  return norm(x, params['norm']) @ params['unembedding']


@pytest.mark.parametrize(
  ('scheme', 'activation'),
  [
    (schemes.RoPE(), 'relu'),
    *((schemes.NoPE(), activation) for activation in config.ACTIVATIONS),
  ],
  ids=str,
)
def test_forward_is_that_of_a_float64_twin(scheme, activation):
  shape = dataclasses.replace(SMALL, activation=activation)
  net, params = build(scheme, shape)
  # Gains of one would hide a norm that is left out.
  params = jax.tree.map(
    lambda x: x + jax.random.normal(jax.random.key(x.size), x.shape) / 4, params
  )
  logits, _ = net.apply({'params': params}, tokens())
  wide = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
  twin = lambda t: forward(scheme, activation, wide, np.asarray(t))
  expected = np.stack([twin(t) for t in tokens()])
  # Logits of a few units after a dozen float32 products in a row.
  np.testing.assert_allclose(logits, expected, rtol=0, atol=5e-5)


def test_tied_logits_are_products_with_the_embedding():
  net, params = build(shape=dataclasses.replace(SMALL, tied=True))
  untied, free = build()
  free = {**params, 'unembedding': params['embedding'][:VOCABULARY].T / 4}
  np.testing.assert_allclose(
    net.apply({'params': params}, tokens())[0],
    untied.apply({'params': free}, tokens())[0],
    rtol=1e-6,
    atol=1e-6,
  )
  assert math.sqrt(SMALL.width) == 4


def caches(scheme, size, batch=2, dtype='float32'):
  one = cache_lib.empty_cache(
    scheme, schemes.Dims(16, 2, 8), batch, size, jnp.dtype(dtype)
  )
  return (one,) * SMALL.layers


@pytest.mark.parametrize('changes', [{}, {'window': 3}, {'block': 4}], ids=str)
def test_prefill_in_chunks(changes):
  scheme = schemes.RoPE(schemes.NTK(4)) + schemes.T5() + schemes.Sinusoidal()
  net, params = build(scheme, shape=dataclasses.replace(SMALL, **changes))
  whole, _ = net.apply({'params': params}, tokens())
  cache, start = caches(scheme, LENGTH + 3), 0
  for end in (4, 5, LENGTH):
    chunk = tokens()[:, start:end]
    logits, cache = net.apply({'params': params}, chunk, cache, start)
    # Float32 sums over as many slots as the cache has, in another order.
    np.testing.assert_allclose(logits, whole[:, start:end], rtol=0, atol=1e-5)
    start = end


def test_a_window_cuts_off_what_lies_before_it():
  shape = dataclasses.replace(SMALL, window=3, bos=False)
  net, params = build(schemes.ALiBi(), shape=shape)
  rows_BxL = tokens()
  changed = rows_BxL.at[:, 0].set((rows_BxL[:, 0] + 1) % VOCABULARY)
  before, after = (
    net.apply({'params': params}, x)[0] for x in (rows_BxL, changed)
  )
  moved_L = np.abs(before - after).max((0, 2)) > 0
  # Two tokens further with each of the two layers, and no more.
  assert moved_L.tolist() == [n < 5 for n in range(LENGTH)]


@pytest.mark.parametrize(
  'make, sentence',
  [
    (lambda: posexp.Model(block=0), "block of Model must be None, 'auto' or"),
    (
      lambda: posexp.Model(block=True),
      r"must be an int, got True \(bool\): use 'auto'",
    ),
    (lambda: posexp.Model(window=0), 'window of Model must be at least 1'),
    (
      lambda: small.run(
        scheme=schemes.CoPE(positions=8),
        model=posexp.Model(layers=1, width=16, heads=2, block=64),
      ),
      'has no blockwise attention, got block=64: use block=None',
    ),
  ],
)
def test_attention_that_cannot_be_is_told_before_a_run(make, sentence):
  with pytest.raises(ValueError, match=sentence):
    make()


def test_decoding_past_the_cache_is_seen():
  net, params = build(schemes.RoPE())
  cache, step = caches(schemes.RoPE(), 3), jax.jit(net.apply)
  for t in range(4):
    one = tokens()[:, t : t + 1]
    logits, cache = step({'params': params}, one, cache, jnp.int32(t))
    assert np.isfinite(logits).all() == (t < 3)
  with pytest.raises(ValueError, match='3 slots but 5 tokens'):
    net.apply({'params': params}, tokens()[:, :5], cache)


def test_a_cache_longer_than_the_table_is_refused():
  scheme = schemes.Learned(8)
  net = transformer.Transformer(SMALL, scheme, VOCABULARY)
  params = net.init(jax.random.key(0), tokens(length=8))['params']
  with pytest.raises(ValueError, match='8 rows but a length of 9'):
    net.apply({'params': params}, tokens()[:, :1], caches(scheme, 9))
