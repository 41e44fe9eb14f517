"""The transformer. The only file that imports flax."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from posexp import attention, config, schemes

Array = jax.Array

# The names under which a scheme's parameters are kept: those of a layer (or
# shared by all), and those of the input.
POSITION, POSITION_INPUT = 'position', 'position_input'

_ACTIVATIONS = {
  'relu': nn.relu,
  'gelu': nn.gelu,
  'relu2': lambda x: jnp.square(nn.relu(x)),
}


class Transformer(nn.Module):
  """A decoder-only transformer under a positional scheme.

  Attributes:
    shape: layers, widths and options.
    scheme: what position does.
    vocabulary: number of token ids of the task; BOS, if any, is one more.
  """

  shape: config.Model
  scheme: schemes.Scheme
  vocabulary: int

  @nn.compact
  def __call__(
    self,
    tokens_BxL: Array,
    cache: tuple[attention.Cache, ...] | None = None,
    start: Array | int = 0,
    key: Array | None = None,
  ) -> tuple[Array, tuple[attention.Cache, ...] | None]:
    """Logits for the token after each token, B x L x V, float32.

    Args:
      tokens_BxL: token ids.
      cache: one `attention.Cache` a layer, to decode from; None attends within
        the tokens alone.
      start: the index of the first token.
      key: for schemes that draw their positions.

    Returns:
      The logits and the extended cache (None without one).
    """
    shape, scheme = self.shape, self.scheme
    length = tokens_BxL.shape[1]
    scheme.check(shape.dims, length if cache is None else slots(cache))
    rows = self.vocabulary + shape.bos
    table = self.param(
      'embedding', nn.initializers.normal(1.0), (rows, shape.width)
    )
    # Before anything positional: Flax draws a module's parameters in order,
    # and those of the content must not depend on what a scheme learns.
    if shape.tied:
      unembed = table[: self.vocabulary].T / math.sqrt(shape.width)
    else:
      unembed = self.param(
        'unembedding', _normal(1.0), (shape.width, self.vocabulary)
      )
    dtype = jnp.dtype(shape.compute)
    x_BxLxD = table.astype(dtype)[tokens_BxL]
    index_1xL = start + jnp.arange(length, dtype=jnp.int32)[None]
    at = scheme.remap(index_1xL, key)
    x_BxLxD = scheme.embed(
      self._positional(POSITION_INPUT, scheme.init_input), x_BxLxD, at
    )
    shared = (
      self._positional(POSITION, scheme.init_layer)
      if shape.share_position
      else None
    )
    caches = []
    for n in range(shape.layers):
      block = Block(shape, scheme, name=f'block_{n}')
      x_BxLxD, one = block(
        x_BxLxD, at, index_1xL, shared, None if cache is None else cache[n]
      )
      caches.append(one)
    x_BxLxD = RMSNorm(name='norm')(x_BxLxD)
    logits_TxV = jnp.einsum(
      'td,dv->tv',
      x_BxLxD.reshape(-1, shape.width),
      unembed.astype(dtype),
      preferred_element_type=jnp.float32,
    )
    logits_BxLxV = logits_TxV.reshape(*tokens_BxL.shape, -1)
    return logits_BxLxV, None if cache is None else tuple(caches)

  def _positional(self, name: str, init: Any) -> schemes.Params:
    return positional(self, name, init, self.shape.dims)


class Block(nn.Module):
  """Attention and an MLP, each behind an RMSNorm and added to the stream."""

  shape: config.Model
  scheme: schemes.Scheme

  @nn.compact
  def __call__(self, x_BxLxD, at, index_1xL, params, cache):
    shape, scheme = self.shape, self.scheme
    if params is None:
      params = positional(self, POSITION, scheme.init_layer, shape.dims)
    # Matrix products see one long axis of tokens T: B x L costs a fifth more.
    tokens = x_BxLxD.shape[:2]
    h_BxLxD = RMSNorm(name='norm_attention')(x_BxLxD)
    at = scheme.locate(params, h_BxLxD, at)
    h_TxD = h_BxLxD.reshape(-1, shape.width)
    qkv_TxD = _Linear(3 * shape.width, name='qkv')(h_TxD)
    q, k, v = (
      x_TxD.reshape(*tokens, shape.heads, -1)
      for x_TxD in jnp.split(qkv_TxD, 3, axis=-1)
    )
    q = scheme.rotate(params, q, at, 'q')
    k = scheme.rotate(params, k, at, 'k')
    k_at, k_index_1xK = at, index_1xL
    if cache is not None:
      cache = attention.extend(cache, k, v, at, index_1xL)
      k, v, k_at, k_index_1xK = cache
    mixed_BxLxHxE = attention.core(
      scheme,
      params,
      q,
      k,
      v,
      at,
      k_at,
      index_1xL,
      k_index_1xK,
      1 / math.sqrt(shape.head_width),
    )
    # Residual branches start small, so that depth does not scale the stream.
    gain = 1 / (2 * shape.layers)
    out = _Linear(shape.width, gain, name='out')
    mixed_TxD = out(mixed_BxLxHxE.reshape(-1, shape.width))
    x_BxLxD = x_BxLxD + mixed_TxD.reshape(x_BxLxD.shape)
    h_BxLxD = RMSNorm(name='norm_mlp')(x_BxLxD)
    hidden_TxF = self._hidden(h_BxLxD.reshape(-1, shape.width))
    down_TxD = _Linear(shape.width, gain, name='down')(hidden_TxF)
    return x_BxLxD + down_TxD.reshape(x_BxLxD.shape), cache

  def _hidden(self, h_TxD):
    hidden = self.shape.feedforward or 4 * self.shape.width
    up_TxF = _Linear(hidden, name='up')(h_TxD)
    if self.shape.activation == 'swiglu':
      return nn.silu(_Linear(hidden, name='gate')(h_TxD)) * up_TxF
    return _ACTIVATIONS[self.shape.activation](up_TxF)


class RMSNorm(nn.Module):
  """x / sqrt(mean(x^2) + 1e-6) * g, in float32, over the last axis."""

  @nn.compact
  def __call__(self, x):
    gain_D = self.param('scale', nn.initializers.ones, (x.shape[-1],))
    wide = x.astype(jnp.float32)
    mean = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
    gain = gain_D.reshape((1,) * (x.ndim - 1) + (-1,))
    return (wide * jax.lax.rsqrt(mean + 1e-6) * gain).astype(x.dtype)


class _Linear(nn.Module):
  """A matrix product without bias, in the dtype of its input.

  Its kernel is kept in x out, or out x in if that is the wider side: on a CPU
  the gradient of a kernel with more rows than columns takes twice as long.
  """

  width: int
  gain: float = 1.0

  @nn.compact
  def __call__(self, x_TxD):
    depth = x_TxD.shape[-1]
    if depth > self.width:
      init = nn.initializers.variance_scaling(
        self.gain, 'fan_in', 'normal', in_axis=1, out_axis=0
      )
      kernel_ExD = self.param('kernel', init, (self.width, depth))
      return jnp.einsum('td,ed->te', x_TxD, kernel_ExD.astype(x_TxD.dtype))
    kernel_DxE = self.param('kernel', _normal(self.gain), (depth, self.width))
    return x_TxD @ kernel_DxE.astype(x_TxD.dtype)


def positional(
  module: nn.Module, name: str, init: Any, dims: schemes.Dims
) -> schemes.Params:
  """A scheme's parameters, kept only where it learns some."""
  # Shapes alone decide, so that a scheme without parameters leaves no trace
  # and all schemes share the initialisation of everything else.
  if not jax.tree.leaves(jax.eval_shape(lambda: init(jax.random.key(0), dims))):
    return {}
  return module.param(name, init, dims)


def _normal(gain: float) -> Any:
  return nn.initializers.variance_scaling(gain, 'fan_in', 'normal')


def slots(cache: tuple[attention.Cache, ...]) -> int:
  """How many tokens a cache can hold."""
  return cache[0].index_1xM.shape[1]


def inputs(net: Transformer, tokens_BxL: Array) -> Array:
  """What the model reads to predict the tokens: BOS, if any, and no last."""
  if not net.shape.bos:
    return tokens_BxL[:, :-1]
  bos_Bx1 = jnp.full((tokens_BxL.shape[0], 1), net.vocabulary, jnp.int32)
  return jnp.concatenate([bos_Bx1, tokens_BxL[:, :-1]], axis=1)


def predict(net: Transformer, params: Any, tokens_BxL: Array) -> Array:
  """Logits B x L-1 x V of tokens[:, 1:], each from the tokens before it."""
  logits_BxLxV, _ = net.apply({'params': params}, inputs(net, tokens_BxL))
  return logits_BxLxV[:, int(net.shape.bos) :]


def empty_cache(
  net: Transformer, batch: int, length: int
) -> tuple[attention.Cache, ...]:
  """A cache for `length` tokens, one `attention.Cache` a layer."""
  shape = net.shape
  size = (batch, length, shape.heads, shape.head_width)
  one = attention.empty_cache(net.scheme, size, jnp.dtype(shape.compute))
  return (one,) * shape.layers


def of(run: config.Run) -> Transformer:
  """The model of a run."""
  return Transformer(run.model, run.scheme, run.task.vocabulary)


def shapes(net: Transformer) -> Any:
  """The shapes of one seed's parameters, without computing any."""
  tokens = jax.ShapeDtypeStruct((1, 2), jnp.int32)
  return jax.eval_shape(net.init, jax.random.key(0), tokens)['params']
