"""What in a scheme grows with the context: found out, not looked up.

Four questions, each answered by asking the scheme or by what XLA says of the
program that decodes a token: must parameters be added for a longer context, is
there work for every cached token, does that work use something learned, and is
there more state for every cached token than keys and values.
"""

import bisect
import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component, schemes
from posexp.attention import placed
from posexp.cost import flop_count, programs
from posexp.models import transformer
from posexp.runs import config

# No context is longer; a scheme that serves it has no limit.
LONGEST = 2**24
# The longest cache at which the arithmetic of decoding is analysed, in tokens:
# XLA compiles short ones in other ways.
ANALYSED = 4096
# How many keys are asked whether something learned is in their logit.
KEYS = 32
# Of the models whose shapes are asked; nothing depends on it.
VOCABULARY = 2


@dataclasses.dataclass(frozen=True)
class Growth:
  """What grows with the context, for each token more of it.

  Attributes:
    scheme: as it serves a context of the length that was asked for.
    limit: the longest context that it serves, None if there is none.
    parameters: numbers that must be learned for each token of context.
    operations: of XLA, for each cached token, decoded token and layer, over
      those of NoPE; NaN where XLA does not count.
    share: the same as a share of what NoPE does for each cached token.
    learned: how something learned enters the logit of a cached token: '',
      'looked up' in a table as it is, or 'computed' with.
    state: bytes for each cached token and layer, over those of NoPE.
    again: whether cached keys must be made again when the context grows.
  """

  scheme: schemes.Scheme
  limit: int | None
  parameters: float
  operations: float
  share: float
  learned: str
  state: float
  again: bool

  @property
  def sentence(self) -> str:
    """What a team that serves the model should know, in one sentence."""
    parts = [self._parameters(), self._work()]
    if self.again:
      parts.append('cached keys are made again when it grows')
    if self.state > 0:
      parts.append(
        f'{self.state:g} bytes more for every cached token and layer'
      )
    return '; '.join(filter(None, parts)) or f'nothing: {self._why()}'

  def to_dict(self) -> dict[str, Any]:
    """Return plain values and the sentence; None for what is not counted."""
    values = {
      name: None if isinstance(value, float) and math.isnan(value) else value
      for name, value in vars(self).items()
    }
    return values | {'scheme': str(self.scheme), 'sentence': self.sentence}

  def _parameters(self) -> str:
    if self.parameters:
      some = f'{self.parameters:g} parameters for every token of context'
      return f'{some}, {self.limit:,} tokens at most'
    return f'a context of {self.limit:,} tokens at most' if self.limit else ''

  def _work(self) -> str:
    works = self.operations > 0
    if math.isnan(self.operations):
      works = bool({'bias', 'rescore'} & set(self.scheme.hooks()))
    if not works and not self.learned:
      return ''
    kind = {
      'looked up': 'a learned value is looked up for every cached key',
      'computed': 'a learned function is computed for every cached key',
      '': 'arithmetic for every cached key, nothing learned',
    }[self.learned]
    if not self.scheme.blockwise:
      how = ' by something learned' if self.learned else ', nothing learned'
      kind = f'whole rows of logits are changed{how}'
    work = kind
    if not math.isnan(self.operations):
      much = f'{self.operations:.3g} operations a layer and key'
      work += f" ({much}, {self.share:+.0%} on attention's own)"
    if not self.scheme.blockwise:
      work += '; training and prefill hold all logits at once'
    return work

  def _why(self) -> str:
    hooks = self.scheme.hooks()
    if 'rotate' in hooks:
      if self.scheme.factor_only:
        return 'queries are scaled, and keys cached as they are'
      return 'keys are cached rotated'
    if 'embed' in hooks:
      return 'position is added to a token once'
    return 'there is no position' if not hooks else 'all is done once'


def growth(scheme: schemes.Scheme, shape: config.Model, length: int) -> Growth:
  """Return what grows with the context, around a length that is served."""
  scheme = scheme.trained_at(length)
  dims, served = shape.dims, _at(scheme, length)
  limit = _limit(scheme, dims, length)
  slots = min(limit or ANALYSED, ANALYSED)
  # Running sums along a row are quadratic as lowered; a compiler knows better.
  compiled = not served.blockwise
  slope = _slope(served, shape, slots, compiled)
  plain = _slope(schemes.NoPE(), shape, slots, compiled)
  twice = 2 * length
  return Growth(
    scheme=served,
    limit=limit,
    parameters=_rows(served, shape, limit),
    operations=slope - plain,
    share=(slope - plain) / plain,
    learned=_learned(served, dims),
    state=_state(served, shape) - _state(schemes.NoPE(), shape),
    again=_serves(scheme, dims, twice) and served != _at(scheme, twice),
  )


def _at(scheme: schemes.Scheme, length: int) -> schemes.Scheme:
  """Return the scheme that serves a context."""
  return scheme.evaluated().for_length(length)


def _serves(scheme: schemes.Scheme, dims: schemes.Dims, length: int) -> bool:
  try:
    _at(scheme, length).check(dims, length)
  except ValueError:
    return False
  return True


def _limit(
  scheme: schemes.Scheme, dims: schemes.Dims, served: int
) -> int | None:
  """Return the longest context that a scheme serves, given one that it does."""
  if _serves(scheme, dims, LONGEST):
    return None
  return served + bisect.bisect(
    range(served + 1, LONGEST),
    False,
    key=lambda length: not _serves(scheme, dims, length),
  )


def _rows(
  scheme: schemes.Scheme, shape: config.Model, limit: int | None
) -> float:
  """Return numbers learned for each token of the longest context.

  Of all layers; they are in tables whose last row is that of its last token.
  """
  used = {} if limit is None else scheme.trained_features(shape.dims, limit)
  if 'rows' not in used:
    return 0.0
  last = int(used['rows'].max())
  net = transformer.Transformer(shape, scheme, VOCABULARY)
  return sum(
    x.size / limit for x in flop_count.positional(net) if last + 1 in x.shape
  )


@component.cached(maxsize=64)
def _slope(
  scheme: schemes.Scheme, shape: config.Model, slots: int, compiled: bool
) -> float:
  """Return operations for each cached token in decoding one, of a layer.

  Attention is dense here, since XLA counts the body of a loop once. As lowered
  every operation counts as it is written; compiled, some count twice, where
  the compiler would rather do them again than keep them.
  """
  one_layer = dataclasses.replace(shape, layers=1, block=None)
  counts: list[float] = []
  for length in (slots // 2, slots):
    run = programs.run_of(scheme, one_layer, length)
    program = programs.lowered(programs.decode(run), run)
    program = program.compile() if compiled else program
    operations = programs.flops(program.cost_analysis())
    counts.append(math.nan if operations is None else operations)
  return (counts[1] - counts[0]) / (slots - slots // 2)


def _state(scheme: schemes.Scheme, shape: config.Model) -> float:
  """Return bytes of a layer's cache for each token."""
  net = transformer.Transformer(shape, scheme, VOCABULARY)
  layer = jax.eval_shape(lambda: transformer.empty_cache(net, 1, KEYS))[0]
  leaves = jax.tree.leaves(layer)
  return sum(x.size * x.dtype.itemsize for x in leaves) / KEYS


def _learned(scheme: schemes.Scheme, dims: schemes.Dims) -> str:
  """Return how something learned enters the logits of cached keys.

  By the derivatives of a row of logits with respect to the parameters, what is
  cached being held fixed: none, one that is 1 for each key, or others.
  """
  key = jax.random.key(0)
  params = scheme.init_layer(key, dims)
  if not jax.tree.leaves(params):
    return ''
  index_1xK = jnp.arange(KEYS, dtype=jnp.int32)[None]
  shape = 1, KEYS, dims.heads, dims.head_width
  x_1xKxHxE = jax.random.normal(key, shape)
  x_1xKxD = x_1xKxHxE.reshape(1, KEYS, dims.width)
  at = scheme.locate(params, x_1xKxD, scheme.remap(index_1xK, None), None)

  def row(params):
    query, q_at = jax.tree.map(lambda x: x[:, -1:], (x_1xKxHxE, at))
    queries = placed.Placed(placed.heads_first(query), q_at, index_1xK[:, -1:])
    keys = placed.Placed(placed.heads_first(x_1xKxHxE), at, index_1xK)
    logits_1xHx1xK = placed.logits(scheme, params, queries, keys)
    if not scheme.blockwise:
      logits_1xHx1xK = scheme.rescore(params, logits_1xHx1xK, query, q_at, at)
    return logits_1xHx1xK[0, 0, 0]

  slopes = jax.tree.leaves(jax.jit(jax.jacrev(row))(params))
  slopes_KxP = np.concatenate([np.reshape(x, (KEYS, -1)) for x in slopes], 1)
  if not slopes_KxP.any():
    return ''
  whole = np.isin(slopes_KxP, (0, 1)).all() and (slopes_KxP.sum(1) == 1).all()
  return 'looked up' if whole else 'computed'
