"""What the scaling of a rotation does to its pairs, in numbers."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component, schemes
from posexp.results.explanations import Equality, Rotation
from posexp.schemes import divided


def rotations(scheme, dims, lengths: tuple[int, int]):
  """Return the rotations inside a scheme, and its positions.

  Args:
    scheme: any scheme, resolved.
    dims: the sizes of the model.
    lengths: the trained length and the target.
  """
  target = lengths[1]
  at = scheme.remap(jnp.arange(target, dtype=jnp.int32)[None], None)
  # Positions that are divided are one array, whatever they consist of.
  arrays = jax.tree.leaves(at, is_leaf=divided.is_array)
  leaves = [np.asarray(array, np.float64) for array in arrays]
  # Each scheme inside has positions of its own; their speed scales periods.
  rates = [1.0] * len(scheme.atoms)
  if len(leaves) == len(rates) and all(leaf.ndim == 2 for leaf in leaves):
    rates = [(leaf[0, -1] - leaf[0, 0]) / (target - 1) for leaf in leaves]
  described = [
    _rotation(str(atom), rope, rate, dims, lengths)
    for atom, rate in zip(scheme.atoms, rates)
    for rope in _rotating(atom)
  ]
  return tuple(described), at


def _rotating(atom: schemes.Scheme) -> Iterator[Any]:
  """Yield a scheme and those in its fields that have frequencies."""
  fields = [getattr(atom, field.name) for field in dataclasses.fields(atom)]
  for part in (atom, *fields):
    if isinstance(part, schemes.Scheme) and hasattr(
      part, 'inverse_frequencies'
    ):
      yield part


def _rotation(name, rope, rate: float, dims, lengths) -> Rotation:
  unscaled = plain(rope)
  theta_K = unscaled.inverse_frequencies(dims.head_width)
  scaled_K = rate * rope.inverse_frequencies(dims.head_width)
  with np.errstate(divide='ignore'):
    periods = 2 * np.pi / theta_K, 2 * np.pi / scaled_K
    factor = getattr(getattr(rope, 'frequencies', None), 'factor', 1.0) / rate
  temperature = getattr(rope, 'temperature', 1.0)
  rotation = Rotation(name, *periods, float(factor), temperature, ())
  # Only of a rotation without parameters are the angles all there is.
  if not rotation.scaled or not hasattr(rope, 'frequencies'):
    return rotation
  ratio_K = scaled_K / theta_K
  shared_K = np.full_like(ratio_K, 1 / rotation.factor)
  equalities = []
  for n in sorted({1, *(length - 1 for length in lengths)}):
    errors = (
      _error(rope, unscaled, rate * n, n * r_K, dims.head_width)
      for r_K in (ratio_K, shared_K, np.ones_like(ratio_K))
    )
    equalities.append(Equality(n, *errors))
  return rotation._replace(equalities=tuple(equalities))


def _error(rope, unscaled, at: float, at_K: np.ndarray, width: int) -> float:
  """Return max |R'(at) x - R(at_k) x|, each pair k at a position of its own."""
  x_BxLxHxE = jax.random.normal(jax.random.key(2), (64, 1, 1, width))
  at_1x1 = jnp.full((1, 1), at, jnp.float32)
  scaled = np.asarray(rope.rotate({}, x_BxLxHxE, at_1x1, 'k'))[:, 0, 0]
  # Every token at the position of every pair, of which each keeps its own.
  x_BxKxHxE = jnp.broadcast_to(x_BxLxHxE, (64, len(at_K), 1, width))
  at_1xK = jnp.asarray(at_K, jnp.float32)[None]
  every = np.asarray(unscaled.rotate({}, x_BxKxHxE, at_1xK, 'k'))
  rotated = every[:, _pairs(unscaled, width), 0, np.arange(width)]
  return float(np.abs(scaled - rotated).max())


def _pairs(rope, width: int) -> np.ndarray:
  """Return the pair of each dimension, from what a small step does to it."""
  basis = jnp.eye(width)[:, None, None]
  theta_K = rope.inverse_frequencies(width)
  step = 1 / theta_K.max()  # No pair turns by more than a radian.
  at_1x1 = jnp.full((1, 1), step, jnp.float32)
  turned = np.asarray(rope.rotate({}, basis, at_1x1, 'k'))[:, 0, 0]
  sine_E = np.abs(turned * (1 - np.eye(width))).max(1)
  # A dimension that does not rotate is the same at any position.
  apart = np.log(np.maximum(sine_E, 1e-30))[:, None] - np.log(
    np.sin(step * theta_K)
  )
  return np.abs(apart).argmin(1)


def plain(part: Any) -> Any:
  """Return the same component with its frequency laws unscaled."""
  if isinstance(part, schemes.Law):
    return schemes.Law()
  if isinstance(part, tuple):
    return tuple(map(plain, part))
  if not isinstance(part, component.Component):
    return part
  fields = dataclasses.fields(part)  # type: ignore[arg-type]
  unscaled = {field.name: plain(getattr(part, field.name)) for field in fields}
  return dataclasses.replace(part, **unscaled)  # type: ignore[type-var]
