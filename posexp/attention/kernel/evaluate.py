"""A traced function evaluated on tiles, operation by operation."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax.extend import core

from posexp.attention.kernel import lookups, rules, tiles
from posexp.attention.kernel.tiles import Program, Tile

CALLS = {'jit': 'jaxpr', 'custom_jvp_call': 'call_jaxpr'}
SAME = {'device_put', 'stop_gradient'}
# More than the catalogue has need of: for schemes of one's own.
_NAMES = (
  'abs add add_any and ceil clamp convert_element_type cos div eq erf exp exp2 '
  'expm1 floor ge gt integer_pow is_finite le log log1p logistic lt max min '
  'mul ne neg not or pow rem round rsqrt select_n sign sin sqrt square sub '
  'tanh xor'
)
ELEMENTWISE = frozenset(_NAMES.split())


def used(closed: core.ClosedJaxpr, wanted: Sequence[bool]) -> list[bool]:
  """Which arguments the wanted results depend on."""
  needed = _live(closed.jaxpr, wanted)[1]
  return [v in needed for v in closed.jaxpr.invars]


def evaluate(
  program: Program,
  closed: core.ClosedJaxpr,
  args: Sequence[Tile],
  wanted: Sequence[bool],
) -> list[Any]:
  """The results of a traced function on tiles; None for those not wanted.

  Raises:
    UserError: if the function does what no rule here is for.
  """
  jaxpr = closed.jaxpr
  env = dict(zip(jaxpr.constvars, map(tiles.constant, closed.consts)))
  env.update(zip(jaxpr.invars, args))

  def read(atom: Any) -> Tile:
    if hasattr(atom, 'val'):  # A number in the text of the function.
      return tiles.constant(np.asarray(atom.val, atom.aval.dtype))
    return env[atom]

  for eqn, needed in _live(jaxpr, wanted)[0]:
    operands = [read(a) for a in eqn.invars]
    env.update(zip(eqn.outvars, _apply(program, eqn, operands, needed)))
  return [read(a) if w else None for a, w in zip(jaxpr.outvars, wanted)]


def _live(jaxpr, wanted):
  """The operations that matter, with which of their results do; their inputs.

  What a gradient does not need of the values before it is left out.
  """
  wants = zip(jaxpr.outvars, wanted)
  needed = {v for v, w in wants if w and isinstance(v, core.Var)}
  found = []
  for eqn in reversed(jaxpr.eqns):
    flags = [v in needed for v in eqn.outvars]
    if any(flags):
      needed |= {v for v in eqn.invars if isinstance(v, core.Var)}
      found.append((eqn, flags))
  return found[::-1], needed


def _apply(program, eqn, operands, needed):
  name = eqn.primitive.name
  if name in CALLS:
    return evaluate(program, eqn.params[CALLS[name]], operands, needed)
  if name in SAME:
    return operands
  if name in ELEMENTWISE:
    return [_elementwise(program, eqn, operands)]
  if name not in RULES:
    raise tiles.refusal(name)
  out = RULES[name](program, eqn, *operands)
  return out if isinstance(out, list) else [out]


def _elementwise(program, eqn, operands):
  shape = _out(eqn).shape
  operands = [x if x.shape else rules.broadcast(x, shape, ()) for x in operands]
  return tiles.combine(program, functools.partial(_one, program, eqn), operands)


def _one(program, eqn, *entries):
  name, first = eqn.primitive.name, entries[0]
  # An index is looked at for being negative before it is used; that of the
  # head must stay recognisable.
  if name == 'lt' and first is program.head and tiles.is_zero(entries[1]):
    return np.bool_(False)
  if name == 'select_n' and tiles.is_number(first):
    return entries[1 + int(first)]
  if name == 'convert_element_type' and first.dtype == _out(eqn).dtype:
    return first
  return eqn.primitive.bind(*tiles.alike(*entries), **eqn.params)


def _out(eqn) -> Any:
  return eqn.outvars[0].aval


def _concatenate(program, eqn, *parts):
  d = eqn.params['dimension']
  return rules.concatenate(program, parts, d, _out(eqn).dtype)


def _pad(_, eqn, x, value):
  widths = eqn.params['padding_config']
  if not tiles.is_zero(value.planes.item()) or min(min(w) for w in widths) < 0:
    raise tiles.refusal('padding but with zeros')
  for d, (low, _, between) in enumerate(widths):
    size, dtype = _out(eqn).shape[d], _out(eqn).dtype
    x = rules.embed(x, d, int(low), int(between) + 1, size, dtype)
  return x


def _slice(_, eqn, x):
  starts = eqn.params['start_indices']
  steps = eqn.params['strides'] or (1,) * len(starts)
  for d, (start, step) in enumerate(zip(starts, steps)):
    x = rules.take(x, d, start, step, _out(eqn).shape[d])
  return x


def _split(_, eqn, x):
  d, sizes = eqn.params['axis'], [int(n) for n in eqn.params['sizes']]
  starts = np.cumsum([0, *sizes[:-1]])
  return [rules.take(x, d, int(a), 1, n) for a, n in zip(starts, sizes)]


def _stack(program, eqn, *parts):
  d = eqn.params['axis']
  inserted = [rules.insert(p, d) for p in parts]
  return rules.concatenate(program, inserted, d, _out(eqn).dtype)


def _unstack(_, eqn, x):
  d = eqn.params['axis']
  return [rules.drop(x, d, k) for k in range(x.shape[d])]


RULES: dict[str, Callable] = {
  'broadcast_in_dim': lambda _, eqn, x: rules.broadcast(
    x, _out(eqn).shape, eqn.params['broadcast_dimensions']
  ),
  'concatenate': _concatenate,
  'dot_general': rules.dot_general,
  'gather': lookups.gather,
  'pad': _pad,
  'reduce_sum': lambda program, eqn, x: rules.reduce_sum(
    program, x, eqn.params['axes']
  ),
  'reshape': rules.reshape,
  'scatter-add': lookups.scatter_add,
  'slice': _slice,
  'split': _split,
  'squeeze': rules.reshape,
  'stack': _stack,
  'transpose': lambda _, eqn, x: rules.transpose(x, eqn.params['permutation']),
  'unstack': _unstack,
}
