"""Biases from a small network that reads the distance."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.schemes import base, bias, trained_length


@dataclasses.dataclass(frozen=True)
class FIRE(base.Scheme):
  """Add a network's output for the distance relative to the query's position.

    z_ij + f_h(psi(i - j) / psi(max(L, i)))
    psi(x) = ln(|c| x + 1),  L = |m| threshold

  Functional interpolation: c (initially 0.1) and m (initially 1) are learned
  per layer; f is a network 1 - hidden - heads with a ReLU, initially uniform
  within 1 / sqrt(inputs), as in the authors' listing, whose 1e-6 is added to
  the denominator too. The ratio is 0 for a query's own token and 1 for token 0
  of any query past L, at every length: the maximum, not the minimum. The bias
  depends on i itself, so the scheme is not relative. Memory is hidden x Q x K
  numbers a layer, of a block where attention is in blocks.

  Source: Li et al. 2023, arXiv 2310.04418, section 3 and the listing in the
  appendix.
  Use: for lengths well beyond training.
  Fails: all tokens move as the query does, so an exact offset is not kept; with
  a threshold at or above the trained length the interpolation is never trained.
  Golden: mcleish7/arithmetic.

  Attributes:
    hidden: width of the network; at least 1.
    threshold: the initial L, in tokens, above 0: well below the trained length
      (the paper has 512 for 2,048, here 16 suits 64), as `share(0.25)` says.

  >>> params = FIRE(hidden=1).init_layer(jax.random.key(0), base.Dims(2, 1, 2))
  >>> params |= {k: jnp.ones_like(v) for k, v in params.items() if k != 'c'}
  >>> params |= {'in_bias_W': jnp.zeros(1), 'out_bias_H': jnp.zeros(1)}
  >>> head = base.Head(jnp.array(0), 1)
  >>> at = jnp.array([16.0, 40.0, 40.0])
  >>> key_at = jnp.array([0.0, 0.0, 40.0])
  >>> FIRE(hidden=1).bias(params, head, at, key_at).round(4).tolist()
  [1.0, 1.0, 0.0]
  """

  relative = False
  hidden: int = component.field(32, at_least=1)
  threshold: trained_length.Number = trained_length.positive(16.0)

  def init_layer(self, key, dims):
    network = _init(self.own_key(key), self.hidden, 1, dims.heads)
    return {'c': jnp.float32(0.1), 'multiplier': jnp.float32(1.0), **network}

  def neutral(self, params):
    return _silent(params)

  def bias(self, params, head, q_at, k_at):
    slope = jnp.abs(params['c'].astype(jnp.float32))
    threshold = trained_length.number(self, 'threshold')
    least = jnp.abs(params['multiplier'].astype(jnp.float32)) * threshold

    def psi(x):
      return jnp.log1p(slope * x)

    top = jnp.maximum(q_at.astype(jnp.float32), least)
    share = psi(bias.distance(q_at, k_at)) / (psi(top) + 1e-6)
    return _network(params, head, share, 1, jax.nn.relu)


@dataclasses.dataclass(frozen=True)
class DynamicBias(base.Scheme):
  """Add a network's output for the distance to each logit.

    z_ij + f_h(x),  n = i - j
    x = ln(1 + n) / ln(1 + unit)  if `log`, else  n / unit

  f is a network 1 - hidden - .. - heads with SiLU after each of `depth` hidden
  layers, initially uniform within 1 / sqrt(inputs), per layer. Memory is
  depth x hidden x Q x K numbers a layer, of a block where attention is in
  blocks.

  Source: Wang et al. 2021 (CrossFormer), arXiv 2108.00154, there with two
  offsets of an image, layer norms and ReLU; the logarithm is that of Liu et al.
  2021 (Swin V2), arXiv 2111.09883; one dimension, SiLU and both choices as in
  x-transformers' `DynamicPositionBias`.
  Use: to let the data choose the shape of a bias, with `log` beyond the
  trained length.
  Fails: nothing holds f past the trained distances, where it goes on as a line
  in x: far off with `log=False`.
  Golden: lucidrains/x-transformers.

  Attributes:
    log: whether the network reads the logarithm of the distance.
    hidden: width of each hidden layer; at least 1.
    depth: number of hidden layers; at least 1.
    unit: the distance that is read as 1, in tokens, above 0; the trained
      length is a good one.

  >>> params = DynamicBias().init_layer(jax.random.key(0), base.Dims(2, 1, 2))
  >>> params = DynamicBias().neutral(params)
  >>> head = base.Head(jnp.array(0), 1)
  >>> at = jnp.array([0.0, 9.0])
  >>> DynamicBias().bias(params, head, at, jnp.zeros(2)).tolist()
  [0.0, 0.0]
  """

  computed = {'_unit': ('unit',)}
  log: bool = True
  hidden: int = component.field(32, at_least=1)
  depth: int = component.field(1, at_least=1)
  unit: float = trained_length.positive(64.0)

  def init_layer(self, key, dims):
    return _init(self.own_key(key), self.hidden, self.depth, dims.heads)

  def neutral(self, params):
    return _silent(params)

  def _unit(self) -> float:
    return float(np.log1p(self.unit)) if self.log else self.unit

  def bias(self, params, head, q_at, k_at):
    n = bias.distance(q_at, k_at)
    x = (jnp.log1p(n) if self.log else n) / self._unit()
    return _network(params, head, x, self.depth, jax.nn.silu)


def _init(key: jax.Array, hidden: int, depth: int, heads: int) -> base.Params:
  """Return a network 1 - hidden - .. - heads, uniform within 1/sqrt(inputs)."""

  def layer(n, inputs, *outputs):
    bound = inputs**-0.5
    keys = jax.random.split(jax.random.fold_in(key, n))
    shapes = outputs, outputs[-1:]

    def draw(k, shape):
      return jax.random.uniform(k, shape, minval=-bound, maxval=bound)

    return [draw(k, shape) for k, shape in zip(keys, shapes)]

  params = dict(zip(('in_W', 'in_bias_W'), layer(0, 1, hidden)))
  for n in range(1, depth):
    names = f'hidden_{n}_WxW', f'hidden_{n}_bias_W'
    params |= zip(names, layer(n, hidden, hidden, hidden))
  names = 'out_WxH', 'out_bias_H'
  return params | dict(zip(names, layer(depth, hidden, hidden, heads)))


def _silent(params: base.Params) -> base.Params:
  """Return the network with an output of zero, its last layer free to learn."""
  last = {k: jnp.zeros_like(params[k]) for k in ('out_WxH', 'out_bias_H')}
  return {**params, **last}


def _network(
  params: base.Params,
  head: base.Head,
  x: jax.Array,
  depth: int,
  activation: Callable[[jax.Array], jax.Array],
) -> jax.Array:
  """Return the network's output for some heads, elementwise in x."""

  def get(name):
    return params[name].astype(jnp.float32)

  def wide(name):
    return get(name).reshape(*(1,) * x.ndim, -1)

  # Products must not fall to the few digits that accelerators default to.
  best = jax.lax.Precision.HIGHEST
  h = activation(x[..., None] * wide('in_W') + wide('in_bias_W'))
  for n in range(1, depth):
    h = jnp.einsum('...v,vw->...w', h, get(f'hidden_{n}_WxW'), precision=best)
    h = activation(h + wide(f'hidden_{n}_bias_W'))
  out = get('out_WxH').T[head.index]
  total = jnp.einsum('...w,...w->...', h, out, precision=best)
  return total + get('out_bias_H')[head.index]
