"""What the laws run over: schemes, sizes and random parameters.

Laws of a scheme's functions run without jit: operations on tiny arrays compile
once for all schemes. What has loops, gradients or a whole model is one program
a scheme, since each of its operations takes longer than its share of that.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import posexp
from posexp import schemes
from posexp.attention import placed
from posexp.cost import bench
from posexp.models import transformer as transformer_lib

CASES = (
  *schemes.CATALOGUE,
  schemes.RoPE(schemes.NTK(4)) + schemes.ALiBi(),
  schemes.RoPE(schemes.NTK(4)) + schemes.T5(),
  schemes.Interpolate(schemes.RoPE(), 4) + schemes.ALiBi(),
  schemes.Interpolate(schemes.RoPE() + schemes.ALiBi(), 4),
  schemes.RoPE(schemes.YaRN(4, 64)) + schemes.FIRE(hidden=4),
  schemes.Sinusoidal() + schemes.KERPLE(),
  schemes.xPos() + schemes.PerOffset(16),
  schemes.RoPE() + schemes.Forgetting(),
  schemes.ALiBi() + schemes.StickBreaking(remainder=True),
  schemes.RoPE() + schemes.CoPE(positions=8, scaled=False),
  schemes.PoPE() + schemes.ALiBi(),
  schemes.RoPE() + schemes.LogLength(train_length=8),
  schemes.Interpolate(schemes.PoPE() + schemes.LogLength(train_length=8), 4),
)
# Longer than T5's exact buckets and a multiple of no block size used here.
LENGTH = 23
SHAPE = posexp.Model(layers=2, width=16, heads=2, feedforward=16)
DIMS = SHAPE.dims


every_scheme = pytest.mark.parametrize('scheme', CASES, ids=str)

# For laws that compile a whole model: one scheme of each class, and one
# composition of each kind of hook; the rest, which differ in constants, with
# `pytest -m slow`.
_COMPOSED = (
  schemes.RoPE(schemes.NTK(4)) + schemes.T5(),
  schemes.RoPE() + schemes.Forgetting(),
  schemes.RoPE() + schemes.CoPE(positions=8, scaled=False),
  schemes.Interpolate(schemes.PoPE() + schemes.LogLength(train_length=8), 4),
)


def models(first):
  """Every scheme, but with `-m slow` alone those that are not in `first`."""
  every = [
    pytest.param(s, marks=() if s in first else pytest.mark.slow) for s in CASES
  ]
  return pytest.mark.parametrize('scheme', every, ids=str)


_FIRST = *bench.one_of_each(), *_COMPOSED
every_model = models(_FIRST)
# For laws of what is drawn.
every_random_model = models([s for s in _FIRST if s.draws or s.learns()])


def normal(seed, *shape):
  return jax.random.normal(jax.random.key(seed), shape)


def randomised(params, seed=1):
  """The same tree with every leaf drawn from a normal distribution."""
  leaves, tree = jax.tree.flatten(params)
  keys = jax.random.split(jax.random.key(seed), len(leaves) + 1)
  drawn = [jax.random.normal(k, x.shape) for k, x in zip(keys, leaves)]
  return jax.tree.unflatten(tree, drawn)


def layer_params(scheme, seed=1):
  return randomised(scheme.init_layer(jax.random.key(0), DIMS), seed)


def input_params(scheme, seed=2):
  return randomised(scheme.init_input(jax.random.key(0), DIMS), seed)


def tokens_at(scheme, index=None, params=None):
  """Positions of tokens with random content."""
  params = layer_params(scheme) if params is None else params
  index = jnp.arange(LENGTH)[None] if index is None else index
  at = scheme.remap(index, jax.random.key(3))
  content = normal(4, 1, index.shape[1], DIMS.width)
  return scheme.locate(params, content, at, None)


def queries(count=3):
  """So many arrays of random numbers, B x L x H x E."""
  shape = (2, LENGTH, DIMS.heads, DIMS.head_width)
  return tuple(normal(n, *shape) for n in range(count))


def stream():
  """A random input, B x L x D."""
  return normal(6, 2, LENGTH, DIMS.width)


def float64(tree):
  return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


def value_and_grads(scheme, params, arrays, block, content=None):
  """Attention and the gradients of a random projection w of its output.

  Those of the parameters, of queries, keys and values and of the content.
  """
  content = stream() if content is None else content
  return _value_and_grads(scheme, params, arrays, block, content)


@functools.partial(jax.jit, static_argnums=(0, 3))
def _value_and_grads(scheme, params, arrays, block, content):
  *qkv, w = arrays

  def loss(*args):
    out = posexp.attend(scheme, *args[:4], block, args[4])
    return jnp.sum(w * out), out

  grad = jax.grad(loss, argnums=tuple(range(5)), has_aux=True)
  return grad(params, *qkv, content[:, : w.shape[1]])


def take(at, order):
  return jax.tree.map(lambda x: x[:, jnp.asarray(order)], at)


def bias_of(scheme, params, q_at, k_at, index=None):
  """The bias for all pairs and the heads asked for, B x H x Q x K."""
  index = jnp.arange(DIMS.heads) if index is None else jnp.asarray(index)
  q_at, k_at = jax.tree.map(placed.heads_first, (q_at, k_at))
  pick = lambda x: x if x.shape[1] == 1 else x[:, index]
  q_at, k_at = jax.tree.map(pick, (q_at, k_at))
  shape = [jax.tree.leaves(at)[0].shape[2] for at in (q_at, k_at)]
  k_at = jax.tree.map(lambda x: x.swapaxes(2, 3), k_at)
  head = schemes.Head(index.reshape(1, -1, 1, 1), DIMS.heads)
  bias = scheme.bias(params, head, q_at, k_at)
  return np.broadcast_to(np.asarray(bias), (1, len(index), *shape))


@functools.cache
def transformer(scheme):
  """A tiny model and its variables, with random positional parameters."""
  net = transformer_lib.Transformer(SHAPE, scheme, vocabulary=LENGTH)
  tokens = jnp.arange(LENGTH)[None]
  params = dict(net.init(jax.random.key(0), tokens)['params'])
  for name, value in params.items():
    if name == transformer_lib.POSITION_INPUT:
      params[name] = randomised(value)
    elif transformer_lib.POSITION in getattr(value, 'keys', tuple)():
      drawn = randomised(value[transformer_lib.POSITION])
      params[name] = {**value, transformer_lib.POSITION: drawn}
  return net, {'params': params}
