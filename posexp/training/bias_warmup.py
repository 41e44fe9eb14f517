"""Warm-in: a bias that is added to a trained model grows to its strength."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from posexp import schemes
from posexp.models import blocks, transformer
from posexp.runs import config
from posexp.schemes import wrappers

Array = jax.Array

# The name of the strength beside the parameters of the scheme itself.
STRENGTH = 'warm_in_strength'


@dataclasses.dataclass(frozen=True)
class Faded(wrappers.Wrapper):
  """A scheme with the biases of some terms multiplied by a strength.

  z = q.k / sqrt(E) + sum_t b_t w_t, w_t the strength for a faded term and 1 for
  any other. The strength is a parameter, so that one program serves all steps;
  it is given, and never learned.

  Attributes:
    faded: the places in `parts` of the terms.
  """

  faded: tuple[int, ...]

  def hooks(self):
    return self.scheme.hooks()

  def init_layer(self, key, dims):
    return within(self.scheme.init_layer(key, dims), jnp.ones(()))

  def bias(self, params, head, q_at, k_at):
    strength = params[STRENGTH]
    total: jax.Array | float = 0.0
    for n, bias in enumerate(self.scheme.biases(params, head, q_at, k_at)):
      total = total + (strength * bias if n in self.faded else bias)
    return total


def within(params: schemes.Params, strength: Array) -> schemes.Params:
  """Return the parameters of a faded scheme from those of the scheme."""
  return {**params, STRENGTH: strength}


def strength(warm_in: Array, number: Array) -> Array:
  """Return the strength of added biases at a step of an adaptation, from 0.

  (number + 1) / warm_in, at most 1; 1 where nothing is warmed in.
  """
  step = number.astype(jnp.float32) + 1.0
  return jnp.minimum(step / jnp.maximum(warm_in, 1.0), 1.0)


def params_of(shape: config.Model, params: Any, strength: Array) -> Any:
  """Return the parameters of a model with a `Faded` scheme."""

  def fade(layer):
    position = within(layer.get(transformer.POSITION, {}), strength)
    return {**layer, transformer.POSITION: position}

  if shape.share_position:
    return fade(params)
  return blocks.each(fade, params)
