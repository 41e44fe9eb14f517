"""The transformer. The only file that imports flax."""

import contextvars
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from posexp import component, schemes
from posexp.attention import attend, placed, precision
from posexp.attention import cache as cache_lib
from posexp.models import blocks
from posexp.runs import config

Array = jax.Array

# The names under which a scheme's parameters are kept: those of a layer (or
# shared by all), and those of the input.
POSITION, POSITION_INPUT = 'position', 'position_input'

# The name under which a block shows what attention works on, if asked.
SEEN = 'attention'

_ACTIVATIONS = {
  'relu': nn.relu,
  'gelu': nn.gelu,
  'relu2': lambda x: jnp.square(nn.relu(x)),
}


def _in_its_precision(call):
  """Multiply as the model's `compute` says, whatever is set outside."""

  @functools.wraps(call)
  def within(self, *args, **kwargs):
    with jax.default_matmul_precision(precision.of(self.shape.compute)):
      return call(self, *args, **kwargs)

  return within


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
  @_in_its_precision
  def __call__(
    self,
    tokens_BxL: Array,
    cache: tuple[cache_lib.Cache, ...] | None = None,
    start: Array | int = 0,
    key: Array | None = None,
    rows: Array | tuple[int, ...] | None = None,
  ) -> tuple[Array, tuple[cache_lib.Cache, ...] | None]:
    """Logits for the token after each token, B x L x V, float32.

    Args:
      tokens_BxL: token ids.
      cache: one `cache.Cache` a layer, to decode from; None attends within
        the tokens alone.
      start: the index of the first token.
      key: for schemes that draw their positions.
      rows: the places whose logits are wanted, all by default; the last block
        is computed for them alone.

    Returns:
      The logits and the extended cache (None without one).
    """
    shape, scheme = self.shape, self.scheme
    length = tokens_BxL.shape[1]
    if not schemes.is_filled(scheme):  # What is filled was checked before.
      scheme.check(shape.dims, length if cache is None else slots(cache))
    if cache is not None:
      check_decodes(scheme)
    table, unembed = self._tables()
    dtype = jnp.dtype(shape.compute)
    x_BxLxD = table.astype(dtype)[tokens_BxL]
    index_1xL = start + jnp.arange(length, dtype=jnp.int32)[None]
    at = scheme.remap(index_1xL, key)
    of_input = positional(self, POSITION_INPUT, scheme.init_input, shape.dims)
    x_BxLxD = scheme.embed(of_input, x_BxLxD, at)
    shared = None
    if shape.share_position:
      shared = positional(self, POSITION, scheme.init_layer, shape.dims)
    caches, first = [], 0
    if cache is None and self._loops():
      first = shape.layers - 1
      x_BxLxD = self._through(x_BxLxD, at, index_1xL, shared)
    for n in range(first, shape.layers):
      layer_cache = None if cache is None else cache[n]
      asked = rows if n == shape.layers - 1 else None
      block = Block(shape, scheme, name=blocks.name(n))
      x_BxLxD, layer_cache = block(
        x_BxLxD, at, index_1xL, shared, layer_cache, asked
      )
      caches.append(layer_cache)
    h_BxLxD = RMSNorm(name='norm')(x_BxLxD)
    logits_BxLxV = jnp.einsum(
      'td,dv->tv',
      _flat(h_BxLxD),
      unembed.astype(dtype),
      preferred_element_type=jnp.float32,
    ).reshape(*h_BxLxD.shape[:2], -1)
    return logits_BxLxV, None if cache is None else tuple(caches)

  def _loops(self) -> bool:
    """Return whether all blocks but the last are one program in a loop.

    Not where they make parameters or show what attention works on.
    """
    shape = self.shape
    # Without a loop compilers share what is to be computed a second time.
    wanted = shape.layers >= blocks.SCANNED_FROM or shape.remat
    shown = self.is_mutable_collection('intermediates')
    return wanted and shape.layers > 1 and not (shown or self.is_initializing())

  def _through(self, x_BxLxD: Array, *given: Any) -> Array:
    """Return the stream after all blocks but the last, given the same."""
    block = Block(self.shape, self.scheme, parent=None)

    def through(x_BxLxD, params):
      return block.apply({'params': params}, x_BxLxD, *given, None)[0], None

    if self.shape.remat:
      through = jax.checkpoint(through, prevent_cse=False)
    return jax.lax.scan(through, x_BxLxD, self._stacked())[0]

  def _stacked(self) -> Any:
    """Return the parameters of all blocks but the last, however they came."""
    if self.has_variable('params', blocks.STACKED):
      return self.get_variable('params', blocks.STACKED)
    names = map(blocks.name, range(self.shape.layers - 1))
    return blocks.stack([self.get_variable('params', name) for name in names])

  def _tables(self) -> tuple[Array, Array]:
    """Return the embedding and the output projection.

    Made before anything positional: Flax draws a module's parameters in
    order, and the content's must not depend on what a scheme learns.
    """
    width, entries = self.shape.width, self.vocabulary + self.shape.bos
    embed = nn.initializers.normal(1.0)
    table = _param(self, 'embedding', embed, (entries, width))
    if self.shape.tied:
      return table, table[: self.vocabulary].T / math.sqrt(width)
    size = (width, self.vocabulary)
    return table, _param(self, 'unembedding', _normal(1.0), size)


class Block(nn.Module):
  """Attention and an MLP, each behind an RMSNorm and added to the stream.

  With `rows`, only those tokens go on, though they attend to all.
  """

  shape: config.Model
  scheme: schemes.Scheme

  @nn.compact
  def __call__(self, x_BxLxD, at, index_1xL, params, cache, rows=None):
    shape, scheme = self.shape, self.scheme
    if params is None:
      params = positional(self, POSITION, scheme.init_layer, shape.dims)
    batch, length = x_BxLxD.shape[:2]
    h_BxLxD = RMSNorm(name='norm_attention')(x_BxLxD)
    before = None
    if cache is not None:
      before = cache_lib.before(cache, index_1xL[0, 0])
    at = scheme.locate(params, h_BxLxD, at, before)
    # Matrix products see one long axis of tokens T, which XLA does faster.
    kv_TxD = _Linear(2 * shape.width, name='key_value')(_flat(h_BxLxD))
    k_BxLxHxE, v_BxLxHxE = (
      x_TxD.reshape(batch, length, shape.heads, -1)
      for x_TxD in jnp.split(kv_TxD, 2, axis=-1)
    )
    q_at, q_index_1xQ = at, index_1xL
    if rows is not None:

      def keep(x):
        return x[:, jnp.asarray(rows)]

      x_BxLxD, h_BxLxD = keep(x_BxLxD), keep(h_BxLxD)
      q_at, q_index_1xQ = jax.tree.map(keep, at), keep(index_1xL)
    q_TxD = _Linear(shape.width, name='query')(_flat(h_BxLxD))
    q_BxQxHxE = q_TxD.reshape(batch, -1, shape.heads, shape.head_width)
    place = functools.partial(placed.place, scheme, params)
    queries = place('q', q_BxQxHxE, q_at, q_index_1xQ)
    keys = place('k', k_BxLxHxE, at, index_1xL)
    v_BxHxLxE = placed.heads_first(v_BxLxHxE)
    implementation = shape.implementation
    if cache is not None:
      cache = cache_lib.extend(cache, keys, v_BxHxLxE)
      keys, v_BxHxLxE = cache
      # The kernel is for whole sequences.
      implementation = implementation and 'xla'
    if not self.is_initializing():
      # Kept for those who look at attention, and for nobody else.
      self.sow('intermediates', SEEN, (params, queries, keys))
    mixed_BxQxHxE = attend.attend_placed(
      scheme,
      params,
      queries,
      keys,
      v_BxHxLxE,
      block=shape.block,
      window=shape.window,
      whole=rows is None,
      implementation=implementation,
    )
    return self._transform(x_BxLxD, mixed_BxQxHxE), cache

  def _transform(self, x_BxQxD, mixed_BxQxHxE):
    """Return the residual stream after attention's output and the MLP."""
    shape = self.shape
    # Residual branches start small, so that depth does not scale the stream.
    gain = 1 / (2 * shape.layers)
    out = _Linear(shape.width, gain, name='out')
    mixed_TxD = out(mixed_BxQxHxE.reshape(-1, shape.width))
    x_BxQxD = x_BxQxD + mixed_TxD.reshape(x_BxQxD.shape)
    h_BxQxD = RMSNorm(name='norm_mlp')(x_BxQxD)
    hidden_TxF = self._hidden(_flat(h_BxQxD))
    down_TxD = _Linear(shape.width, gain, turned=True, name='down')(hidden_TxF)
    return x_BxQxD + down_TxD.reshape(x_BxQxD.shape)

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
    gain_D = _param(self, 'scale', nn.initializers.ones, (x.shape[-1],))
    wide = x.astype(jnp.float32)
    mean = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
    gain = gain_D.reshape((1,) * (x.ndim - 1) + (-1,))
    return (wide * jax.lax.rsqrt(mean + 1e-6) * gain).astype(x.dtype)


class _Linear(nn.Module):
  """A matrix product without bias, in the dtype of its input.

  The kernel is in x out; out x in with `turned`, for a product that narrows:
  on a CPU the gradient of a tall kernel is slower than that of a wide one.
  """

  width: int
  gain: float = 1.0
  turned: bool = False

  @nn.compact
  def __call__(self, x_TxD):
    depth = x_TxD.shape[-1]
    if self.turned:
      init = nn.initializers.variance_scaling(
        self.gain, 'fan_in', 'normal', in_axis=1, out_axis=0
      )
      kernel_ExD = _param(self, 'kernel', init, (self.width, depth))
      return jnp.einsum('td,ed->te', x_TxD, kernel_ExD.astype(x_TxD.dtype))
    size = depth, self.width
    kernel_DxE = _param(self, 'kernel', _normal(self.gain), size)
    return x_TxD @ kernel_DxE.astype(x_TxD.dtype)


def positional(
  module: nn.Module, name: str, init: Any, dims: schemes.Dims
) -> schemes.Params:
  """Return a scheme's parameters, kept only where it learns some."""
  # Shapes alone decide, so that a scheme without parameters leaves no trace
  # and all schemes share the initialisation of everything else.
  if not jax.tree.leaves(jax.eval_shape(lambda: init(jax.random.key(0), dims))):
    return {}
  return _param(module, name, init, dims)


class Drawn(NamedTuple):
  """How a parameter is drawn.

  Attributes:
    init: from a key to its value.
    suffix: what Flax makes the key of, beside that of the model: the path of
      the module, and the number of the draw in it.
  """

  init: Callable[[Array], Any]
  suffix: tuple[str | int, ...]


# Where `draws` collects them, by path.
_collected: contextvars.ContextVar[dict[tuple[str, ...], Drawn] | None]
_collected = contextvars.ContextVar('_collected', default=None)


def _param(module: nn.Module, name: str, init: Any, *args: Any) -> Any:
  """Return a parameter of a module, drawn if it has none yet."""
  collected = _collected.get()
  if collected is not None and module.scope is not None:
    number = module.scope.rng_counters.get('params', 0) + 1
    collected[(*module.path, name)] = Drawn(
      lambda key: init(key, *args), (*module.path, number)
    )
  return module.param(name, init, *args)


def draws(net: Transformer) -> dict[tuple[str, ...], Drawn]:
  """Return how each parameter of a model is drawn, by its path."""
  collected: dict[tuple[str, ...], Drawn] = {}
  token = _collected.set(collected)
  try:
    shapes(net)
  finally:
    _collected.reset(token)
  return collected


def is_positional(path: tuple[Any, ...]) -> bool:
  """Return whether a leaf of the parameters is of position, by its path."""
  return any(key.key in (POSITION, POSITION_INPUT) for key in path)


def _flat(x_BxLxD: Array) -> Array:
  return x_BxLxD.reshape(-1, x_BxLxD.shape[-1])


def _normal(gain: float) -> Any:
  return nn.initializers.variance_scaling(gain, 'fan_in', 'normal')


def slots(cache: tuple[cache_lib.Cache, ...]) -> int:
  """Return how many tokens a cache can hold."""
  return cache[0].v_BxHxMxE.shape[2]


def inputs(net: Transformer, tokens_BxL: Array) -> Array:
  """Return what the model reads to predict the tokens: BOS, and no last."""
  if not net.shape.bos:
    return tokens_BxL[:, :-1]
  bos_Bx1 = jnp.full((tokens_BxL.shape[0], 1), net.vocabulary, jnp.int32)
  return jnp.concatenate([bos_Bx1, tokens_BxL[:, :-1]], axis=1)


def predict(
  net: Transformer,
  params: Any,
  tokens_BxL: Array,
  asked: Array | tuple[int, ...] | None = None,
  key: Array | None = None,
) -> Array:
  """Logits of tokens, each from the tokens before it.

  Args:
    net: the model.
    params: of one seed.
    tokens_BxL: whole sequences.
    asked: which tokens to predict, from 1 on; all but the first by default.
    key: for schemes that draw their positions; all sequences share the draw.

  Returns:
    B x len(asked) x V, float32.
  """
  bos = int(net.shape.bos)
  rows = None if asked is None else jnp.asarray(asked) - 1 + bos
  tokens_BxL = inputs(net, tokens_BxL)
  logits, _ = net.apply({'params': params}, tokens_BxL, key=key, rows=rows)
  return logits[:, bos:] if asked is None else logits


def empty_cache(
  net: Transformer, batch: int, length: int
) -> tuple[cache_lib.Cache, ...]:
  """Return a cache for `length` tokens, one `cache.Cache` a layer."""
  dims, dtype = net.shape.dims, jnp.dtype(net.shape.compute)
  of_layer = cache_lib.empty_cache(net.scheme, dims, batch, length, dtype)
  return (of_layer,) * net.shape.layers


def of(run: config.Run, length: int | None = None) -> Transformer:
  """Return the model of a run as trained at a length, or at its longest."""
  scheme = run.trained_scheme_at(length or run.train.length)
  return Transformer(run.model, scheme, run.task.vocabulary)


def check_decodes(scheme: schemes.Scheme) -> None:
  """Raise a `UserError` where token by token is not the whole."""
  if not scheme.decodes:
    raise component.UserError(
      f'{scheme} cannot decode, since a weight depends on more than the query '
      'and the keys before it: give whole sequences and no cache'
    )


def take(net: Transformer) -> tuple[Transformer, schemes.Numbers]:
  """Return a model of the form of a scheme, and the scheme's numbers.

  A program is made for the former and given the latter, which `fill` puts back.
  """
  shape = net.shape
  form, numbers = schemes.take(net.scheme, shape.dims, shape.compute)
  return net.clone(scheme=form), numbers


def fill(net: Transformer, numbers: schemes.Numbers) -> Transformer:
  """Return the model of the scheme that has these numbers."""
  return net.clone(scheme=schemes.fill(net.scheme, numbers))


def shapes(net: Transformer) -> Any:
  """Return the shapes of one seed's parameters, without computing any."""
  tokens = jax.ShapeDtypeStruct((1, 2), jnp.int32)
  return jax.eval_shape(net.init, jax.random.key(0), tokens)['params']
