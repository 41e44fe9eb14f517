"""Retrofit: trained weights under another positional scheme."""

import functools
from typing import Any, NamedTuple

import jax
import numpy as np

from posexp import schemes
from posexp.models import transformer
from posexp.runs import config
from posexp.training import train_step


class Transfer(NamedTuple):
  """Parameters for the new scheme, and what became of the old ones.

  Attributes:
    params: the model's parameters under the new scheme.
    kept: paths of positional parameters taken over from the parent.
    new: paths that the parent lacks; they start at their neutral value, and
      where that is drawn, as in a run from scratch with the same seed.
    dropped: paths that the new scheme has no use for.
  """

  params: Any
  kept: tuple[str, ...]
  new: tuple[str, ...]
  dropped: tuple[str, ...]

  def to_dict(self) -> dict[str, list[str]]:
    """Return what is recorded of a transfer: all but the parameters."""
    return {n: list(getattr(self, n)) for n in ('kept', 'new', 'dropped')}


def transfer(parent: config.Run, child: config.Run, params: Any) -> Transfer:
  """Move a parent's trained parameters to a child's scheme.

  All that is not positional is kept as it is. The terms of the two schemes
  are matched by class, in order, inside sums and wrappers; parameters of
  another shape count as dropped and new.

  Args:
    parent: the run that was trained.
    child: the retrofit, of the same model.
    params: the parent's parameters, with the seeds as first axis.
  """
  scheme = child.trained_scheme
  initial = _initial(child) if scheme.learns() else {}
  paths: dict[str, list[str]] = {'kept': [], 'new': [], 'dropped': []}
  content = _without_position(params)
  places = [()] if child.model.share_position else _blocks(params)
  by_layer = [(*place, transformer.POSITION) for place in places]
  for path in [(transformer.POSITION_INPUT,), *by_layer]:
    neutral = _get(initial, path)
    neutral = jax.vmap(scheme.neutral)(neutral) if neutral else neutral
    old = _get(params, path)
    moved = _match(parent.scheme, old, scheme, neutral, path, paths)
    if jax.tree.leaves(moved):
      _set(content, path, moved)
  return Transfer(content, **{k: tuple(v) for k, v in paths.items()})


def _initial(run: config.Run) -> Any:
  """Return what training from scratch starts from, seed by seed."""
  init = jax.vmap(functools.partial(train_step.initial_params, run))
  return jax.jit(init)(np.asarray(run.seeds, np.uint32))


def _match(
  old: schemes.Scheme,
  old_params: schemes.Params,
  new: schemes.Scheme,
  new_params: schemes.Params,
  place: tuple[str, ...],
  paths: dict[str, list[str]],
) -> schemes.Params:
  """Return a place's new parameters, from the old ones where they fit.

  What became of each is added to `paths`.
  """

  def path(atom: schemes.Scheme) -> str:
    return '/'.join((*place, type(atom).__name__))

  left = [(path(a), p) for a, p in zip(old.atoms, old.flatten(old_params)) if p]
  moved = []
  for atom, params in zip(new.atoms, new.flatten(new_params)):
    fits = [name == path(atom) and _alike(p, params) for name, p in left]
    if params and any(fits):
      params = left.pop(fits.index(True))[1]
      paths['kept'].append(path(atom))
    elif params:
      paths['new'].append(path(atom))
    moved.append(params)
  paths['dropped'] += [name for name, _ in left]
  return new.unflatten(tuple(moved))


def _alike(a: Any, b: Any) -> bool:
  """Return whether two trees have the same structure and shapes."""
  return jax.tree.map(np.shape, a) == jax.tree.map(np.shape, b)


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
