"""Retrofit: trained weights under another positional scheme."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from posexp import schemes
from posexp.models import transformer
from posexp.runs import config


class Transfer(NamedTuple):
  """Parameters for the new scheme, and what became of the old ones.

  Attributes:
    params: the model's parameters under the new scheme.
    kept: paths of positional parameters taken over from the parent.
    new: paths that the parent lacks; they start at their neutral value.
    dropped: paths that the new scheme has no use for.
  """

  params: Any
  kept: tuple[str, ...]
  new: tuple[str, ...]
  dropped: tuple[str, ...]

  def to_dict(self) -> dict[str, list[str]]:
    """What is recorded of a transfer: everything but the parameters."""
    return {n: list(getattr(self, n)) for n in ('kept', 'new', 'dropped')}


def transfer(parent: config.Run, child: config.Run, params: Any) -> Transfer:
  """Moves a parent's trained parameters to a child's scheme.

  All that is not positional is kept as it is. The terms of the two schemes
  are matched by class, in order, inside sums and wrappers; parameters of
  another shape count as dropped and new.

  Args:
    parent: the run that was trained.
    child: the retrofit, of the same model.
    params: the parent's parameters, with the seeds as first axis.
  """
  scheme = child.trained_scheme
  seeds = jax.tree.leaves(params)[0].shape[0]
  found = {'kept': [], 'new': [], 'dropped': []}  # type: ignore[var-annotated]
  content = _without_position(params)
  places = [()] if child.model.share_position else _blocks(params)
  inits: list[tuple[tuple[str, ...], Callable[..., schemes.Params]]] = [
    ((transformer.POSITION_INPUT,), scheme.init_input),
    *(((*p, transformer.POSITION), scheme.init_layer) for p in places),
  ]
  for path, init in inits:
    neutral = init(jax.random.key(0), child.model.dims)
    neutral = scheme.neutral(neutral) if neutral else neutral
    neutral = jax.tree.map(
      lambda x: jnp.broadcast_to(x[None], (seeds, *x.shape)), neutral
    )
    own = _match(
      parent.scheme, _get(params, path), scheme, neutral, path, found
    )
    if jax.tree.leaves(own):
      _set(content, path, own)
  return Transfer(content, **{k: tuple(v) for k, v in found.items()})


def _match(
  old: schemes.Scheme,
  old_params: schemes.Params,
  new: schemes.Scheme,
  new_params: schemes.Params,
  path: tuple[str, ...],
  found: dict[str, list[str]],
) -> schemes.Params:
  """The new scheme's parameters at one place, the old one's where they fit."""
  left = [
    (type(atom).__name__, p)
    for atom, p in zip(old.atoms, old.flatten(old_params))
    if p
  ]
  result = []
  for atom, mine in zip(new.atoms, new.flatten(new_params)):
    name = type(atom).__name__
    fits = [n == name and _alike(p, mine) for n, p in left]
    if mine and any(fits):
      result.append(left.pop(fits.index(True))[1])
      found['kept'].append('/'.join((*path, name)))
    else:
      result.append(mine)
      if mine:
        found['new'].append('/'.join((*path, name)))
  found['dropped'] += ['/'.join((*path, name)) for name, _ in left]
  return new.unflatten(tuple(result))


def _alike(a: Any, b: Any) -> bool:
  shapes_of = lambda tree: jax.tree.map(lambda x: x.shape, tree)
  return shapes_of(a) == shapes_of(b)


def _blocks(params: Any) -> list[tuple[str, ...]]:
  names = [name for name in params if name.startswith('block_')]
  return [(n,) for n in sorted(names, key=lambda n: int(n.split('_')[1]))]


def _without_position(params: Any) -> Any:
  if not isinstance(params, dict):
    return params
  return {
    name: _without_position(value)
    for name, value in params.items()
    if name not in (transformer.POSITION, transformer.POSITION_INPUT)
  }


def _get(params: Any, path: tuple[str, ...]) -> schemes.Params:
  for name in path:
    params = params.get(name, {})
  return params


def _set(params: Any, path: tuple[str, ...], value: schemes.Params) -> None:
  *parents, last = path
  for name in parents:
    params = params[name]
  params[last] = value
