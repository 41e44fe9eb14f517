"""What the scaling of a rotation does to its pairs, in numbers."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component, schemes
from posexp.results.explanations import Equality, Rotation


def rotations(scheme, dims, lengths: tuple[int, int]):
  """The rotations inside a scheme, and its positions."""
  target = lengths[1]
  at = scheme.remap(jnp.arange(target, dtype=jnp.int32)[None], None)
  leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(at)]
  # Each scheme inside has positions of its own; their speed scales periods.
  rates = [1.0] * len(scheme.atoms)
  if len(leaves) == len(rates) and all(leaf.ndim == 2 for leaf in leaves):
    rates = [(leaf[0, -1] - leaf[0, 0]) / (target - 1) for leaf in leaves]
  found = []
  for atom, rate in zip(scheme.atoms, rates):
    fields = [getattr(atom, f.name) for f in dataclasses.fields(atom)]
    for rope in (atom, *fields):
      if isinstance(rope, schemes.Scheme) and hasattr(
        rope, 'inverse_frequencies'
      ):
        found.append(_rotation(str(atom), rope, rate, dims, lengths))
  return tuple(found), at


def _rotation(name, rope, rate: float, dims, lengths) -> Rotation:
  before = plain(rope)
  theta_K = before.inverse_frequencies(dims.head_width)
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
  checks = []
  for n in sorted({1, *(length - 1 for length in lengths)}):
    far = lambda r_K, n=n: _apart(rope, before, rate * n, r_K * n, dims)
    shared_K = np.full_like(ratio_K, 1 / rotation.factor)
    ones_K = np.ones_like(ratio_K)
    checks.append(Equality(n, far(ratio_K), far(shared_K), far(ones_K)))
  return rotation._replace(equalities=tuple(checks))


def _apart(rope, before, here: float, there_K: np.ndarray, dims) -> float:
  """max |R'(here) x - R(there_k) x|, each pair k at a position of its own."""
  width = dims.head_width
  x_BxKxHxE = jax.random.normal(jax.random.key(2), (64, 1, 1, width))
  scaled = rope.rotate({}, x_BxKxHxE, jnp.full((1, 1), here, jnp.float32), 'k')
  x_BxKxHxE = jnp.broadcast_to(x_BxKxHxE, (64, len(there_K), 1, width))
  at_1xK = jnp.asarray(there_K, jnp.float32)[None]
  every = np.asarray(before.rotate({}, x_BxKxHxE, at_1xK, 'k'))
  pair_E = _pairs(before, width)
  plain = every[:, pair_E, 0, np.arange(width)]
  return float(np.abs(np.asarray(scaled)[:, 0, 0] - plain).max())


def _pairs(rope, width: int) -> np.ndarray:
  """The pair that each dimension is in, found from what a step does to it."""
  one = jnp.eye(width)[:, None, None]
  theta_K = rope.inverse_frequencies(width)
  step = 1 / theta_K.max()  # No pair turns by more than a radian.
  at_1x1 = jnp.full((1, 1), step, jnp.float32)
  turned = np.asarray(rope.rotate({}, one, at_1x1, 'k'))[:, 0, 0]
  sine_E = np.abs(turned * (1 - np.eye(width))).max(1)
  # A dimension that does not rotate is the same at any position.
  apart = np.log(np.maximum(sine_E, 1e-30))[:, None] - np.log(
    np.sin(step * theta_K)
  )
  return np.abs(apart).argmin(1)


def plain(part: Any) -> Any:
  """The same component with its frequency laws unscaled."""
  if isinstance(part, schemes.Law):
    return schemes.Law()
  if isinstance(part, tuple):
    return tuple(map(plain, part))
  if not isinstance(part, component.Component):
    return part
  fields = dataclasses.fields(part)  # type: ignore[arg-type]
  inner = {f.name: plain(getattr(part, f.name)) for f in fields}
  return dataclasses.replace(part, **inner)  # type: ignore[type-var]
