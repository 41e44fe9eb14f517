"""Laws that any device must keep, checked where the programs run.

Tests check all laws of all schemes, on a CPU. Here are those that another
device could break: by products of fewer digits, by kernels of its own, by sums
in another order. What is compared with is written anew, in float64 on the host.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from posexp import schemes, tasks
from posexp.attention import attend, cudnn, precision
from posexp.models import mesh, transformer
from posexp.runs import config
from posexp.training import train_step

# The largest error, as a share of the largest number: four times what it is on
# a CPU. Of float32 that is of a clock of some hundred nats, 8e-6, where numbers
# that are rounded to TF32 are off by 3e-4. Of bfloat16 it is 4e-3.
BOUNDS = {'float32': 3e-5, 'bfloat16': 0.02}
# Of losses after some steps, of which each adds to the errors of those before.
STEPS_BOUND = 1e-4
HEADS, HEAD_WIDTH = 2, 64
DIMS = schemes.Dims(HEADS * HEAD_WIDTH, HEADS, HEAD_WIDTH)
BOTH = schemes.RoPE() + schemes.T5()
# Ways of attention that are compared with the dense one: the scheme, arguments
# of `attend`, and dtypes.
WAYS: dict[str, tuple[schemes.Scheme, dict[str, Any], tuple[str, ...]]] = {
  'blocks': (BOTH, {'implementation': 'xla'}, ('float32', 'bfloat16')),
  'kernel': (BOTH, {'implementation': 'pallas'}, ('float32', 'bfloat16')),
  'cuDNN': (schemes.RoPE(), {'block': 'auto'}, ('bfloat16',)),
}

Case = tuple[str, Callable[[], dict[str, Any]]]


@dataclasses.dataclass(frozen=True)
class Sizes:
  """How much is computed.

  Attributes:
    tokens: of attention.
    block: tokens in a block, and in a tile of the kernel.
    decoded: tokens that are decoded.
    steps: of training, for the law of seeds.
  """

  tokens: int = 384
  block: int = 64
  decoded: int = 64
  steps: int = 20


def cases(sizes: Sizes) -> Iterator[Case]:
  """Yield each law by name, and what checks it.

  That says whether the law `holds`, with which `error` and up to which `bound`;
  of `precision` also how large the error would be by the device's default.
  """
  for scheme in REFERENCES:
    for dtype in BOUNDS:
      check = functools.partial(_reference, sizes, scheme, dtype)
      yield f'{scheme} is float64, {dtype}', check
  for way, (_, _, dtypes) in WAYS.items():
    for dtype in dtypes:
      yield (
        f'{way} is dense, {dtype}',
        functools.partial(_dense, sizes, way, dtype),
      )
  for way in ('dense', *WAYS):
    yield f'{way} is causal', functools.partial(_causal, sizes, way)
  for scheme in (schemes.RoPE(), schemes.ALiBi(), schemes.Forgetting()):
    check = functools.partial(_decoding, sizes, scheme)
    yield f'{scheme} decodes as it reads', check
  yield 'a seed is the same among others', functools.partial(_seeds, sizes)


def unserved(way: str) -> dict[str, Any] | None:
  """Return what is recorded of a way that this machine has not."""
  if way.startswith('cuDNN') and cudnn.capability() < cudnn.CAPABILITY:
    return {'not here': f'needs compute capability {cudnn.CAPABILITY}'}
  return None


# The definitions, for L x H x E of one sequence in float64.


def _attention(q, k, v, bias_HxLxL=0.0, change=lambda z: z):
  z = np.einsum('ihe,jhe->hij', q, k) / math.sqrt(q.shape[-1]) + bias_HxLxL
  seen = np.tri(len(q), dtype=bool)
  z = np.where(seen, change(z), -np.inf)
  weights = np.exp(z - z.max(-1, keepdims=True))
  weights /= weights.sum(-1, keepdims=True)
  return np.einsum('hij,jhe->ihe', weights, v)


def _rotated(x_LxHxE):
  """Pairs are the two halves of a head."""
  length, _, width = x_LxHxE.shape
  theta = 10_000.0 ** (-np.arange(width // 2) / (width // 2))
  angle = np.arange(length)[:, None, None] * theta
  a, b = np.split(x_LxHxE, 2, -1)
  cos, sin = np.cos(angle), np.sin(angle)
  return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


def _slopes(length, heads):
  back = np.arange(length)[:, None] - np.arange(length)
  slope = 2.0 ** (-8 * np.arange(1, heads + 1) / heads)
  return -slope[:, None, None] * back


def _forgotten(x_LxD, params):
  """Logarithms of the gates after a key, up to the query."""
  gate = x_LxD @ params['w_DxH'] + params['b_H']
  clock_HxL = -np.log1p(np.exp(-gate)).cumsum(0).T
  return clock_HxL[:, :, None] - clock_HxL[:, None, :]


def _counted(q, params):
  """Between the two rows of the table that a count is between."""
  table_PxE = params['e_PxE']
  rows_HxLxP = np.einsum('ihe,pe->hip', q, table_PxE) / math.sqrt(q.shape[-1])

  def change(z):
    gate = np.tri(len(q)) / (1 + np.exp(-z))
    count = np.flip(np.flip(gate, -1).cumsum(-1), -1)
    count = np.minimum(count, len(table_PxE) - 1)
    low = np.floor(count).astype(int)
    high = np.minimum(low + 1, len(table_PxE) - 1)
    below, above = (np.take_along_axis(rows_HxLxP, n, -1) for n in (low, high))
    return z + below + (count - low) * (above - below)

  return change


REFERENCES: dict[schemes.Scheme, Callable[..., np.ndarray]] = {
  schemes.NoPE(): lambda q, k, v, x, p: _attention(q, k, v),
  schemes.RoPE(): lambda q, k, v, x, p: _attention(_rotated(q), _rotated(k), v),
  schemes.ALiBi(): lambda q, k, v, x, p: _attention(
    q, k, v, _slopes(*q.shape[:2])
  ),
  schemes.Forgetting(): lambda q, k, v, x, p: _attention(
    q, k, v, _forgotten(x, p)
  ),
  schemes.CoPE(positions=16): lambda q, k, v, x, p: _attention(
    q, k, v, change=_counted(q, p)
  ),
}


def _inputs(sizes: Sizes, dtype: str) -> list[jax.Array]:
  """Queries, keys, values and content of one sequence."""
  rng, length = np.random.default_rng(0), sizes.tokens
  shapes = [(1, length, HEADS, HEAD_WIDTH)] * 3 + [(1, length, DIMS.width)]
  return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


def _params(scheme: schemes.Scheme) -> schemes.Params:
  """Parameters that are not those a scheme starts from, which may be zero."""
  rng = np.random.default_rng(1)
  return jax.tree.map(
    lambda x: jnp.asarray(0.1 * rng.normal(size=x.shape), x.dtype),
    scheme.init_layer(jax.random.key(0), DIMS),
  )


def _wide(tree):
  return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


def _difference(found, expected) -> float:
  """The largest difference, as a share of the largest number of the tree."""
  pairs = zip(*map(jax.tree.leaves, map(_wide, (found, expected))), strict=True)
  off, most = zip(*((np.abs(a - b).max(), np.abs(b).max()) for a, b in pairs))
  return float(max(off) / max(most))


def _judged(bound: float, error: float, **more: Any) -> dict[str, Any]:
  """What is no number is no error that is small enough."""
  return {'holds': error <= bound, 'error': error, 'bound': bound, **more}


def _reference(sizes: Sizes, scheme: schemes.Scheme, dtype: str):
  arrays, params = _inputs(sizes, dtype), _params(scheme)
  # Of the numbers that the device is given, after they were rounded.
  exact = [x[0] for x in _wide(arrays)]
  expected = REFERENCES[scheme](*exact, _wide(params))
  content = arrays[3] if 'locate' in scheme.hooks() else None
  run = functools.partial(attend.attend, scheme, x_BxLxD=content)
  with jax.default_matmul_precision('default'):
    default = _difference(jax.jit(run)(params, *arrays[:3])[0], expected)
  error = _difference(jax.jit(run)(params, *arrays[:3])[0], expected)
  more = {'precision': precision.of(dtype), 'error by default': default}
  return _judged(BOUNDS[dtype], error, **more)


def _dense(sizes: Sizes, way: str, dtype: str):
  if unfit := unserved(way):
    return unfit
  scheme, how, _ = WAYS[way]
  params, arrays = _params(scheme), _inputs(sizes, dtype)[:3]

  def passes(arrays, how):
    def loss(params, *arrays):
      out = attend.attend(scheme, params, *arrays, **how)
      return jnp.sum(jnp.sin(out.astype(jnp.float32))), out

    grad = jax.grad(loss, argnums=(0, 1, 2, 3), has_aux=True)
    return jax.jit(grad)(params, *arrays)

  grads, out = passes(arrays, {'block': sizes.block, **how})
  in_float32 = [x.astype(jnp.float32) for x in arrays]
  dense_grads, dense_out = passes(in_float32, {})
  values = _difference(out, dense_out)
  gradients = _difference(grads, dense_grads)
  more = {'values': values, 'gradients': gradients}
  return _judged(BOUNDS[dtype], max(values, gradients), **more)


def _causal(sizes: Sizes, way: str):
  if unfit := unserved(way):
    return unfit
  scheme, how, dtypes = WAYS.get(way, (BOTH, {'block': None}, ('float32',)))
  how = {'block': sizes.block, **how}
  params, half = _params(scheme), sizes.tokens // 2

  def early(*arrays):
    out = attend.attend(scheme, params, *arrays, **how)
    return jnp.sum(jnp.sin(out[:, :half].astype(jnp.float32)))

  arrays = _inputs(sizes, dtypes[-1])[:3]
  grads = jax.jit(jax.grad(early, argnums=(0, 1, 2)))(*arrays)
  later = max(float(jnp.abs(g[:, half:]).max()) for g in grads)
  before = min(float(jnp.abs(g[:, :half]).max()) for g in grads)
  return {'holds': later == 0 < before, 'error': later, 'bound': 0.0}


def _decoding(sizes: Sizes, scheme: schemes.Scheme):
  shape = config.Model(layers=2, width=DIMS.width, heads=HEADS)
  net = transformer.Transformer(shape, scheme, 64)
  rng, number = np.random.default_rng(0), sizes.decoded
  token_LxB = rng.integers(0, 64, (number, 2)).astype(np.int32)
  params = jax.jit(net.init)(jax.random.key(0), token_LxB.T)['params']

  def read(cache, given):
    token_B, index = given
    logits_Bx1xV, cache = net.apply(
      {'params': params}, token_B[:, None], cache=cache, start=index
    )
    return cache, logits_Bx1xV[:, 0]

  @jax.jit
  def both():
    cache = transformer.empty_cache(net, 2, number)
    each = jnp.asarray(token_LxB), jnp.arange(number)
    _, decoded_LxBxV = jax.lax.scan(read, cache, each)
    whole_BxLxV, _ = net.apply({'params': params}, token_LxB.T)
    return decoded_LxBxV, whole_BxLxV.swapaxes(0, 1)

  return _judged(BOUNDS['float32'], _difference(*both()))


def _seeds(sizes: Sizes):
  def losses(*seeds):
    run = config.Run(
      task=tasks.Copy(symbols=16),
      scheme=BOTH,
      model=config.Model(layers=1),
      train=config.Train(length=16, steps=1000, batch=16),
      evaluate=config.Evaluate(lengths=(16,)),
      seeds=seeds,
    )
    on = mesh.mesh(len(seeds), run.train.batch)
    start, advance = train_step.programs(run, on, sizes.steps)
    members = train_step.members([run], on)
    _, loss_MxC = advance(start(members), members, np.int32(0))
    return mesh.fetch(loss_MxC)[0]

  # On an accelerator sums are in another order.
  return _judged(STEPS_BOUND, _difference(losses(0, 1, 2, 3), losses(0)))
