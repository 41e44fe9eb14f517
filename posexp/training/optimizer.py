"""AdamW, whose learning rate and decay a program may be given."""

import functools
import operator
from typing import Any, NamedTuple

import jax
import optax

from posexp.models import blocks, transformer
from posexp.runs import config

Array = jax.Array
Params = Any


class Member(NamedTuple):
  """What a program is given of a run and a seed, M as first axis of all.

  The rest is the same for all that are trained at once, see `stacking.Stem`.

  Attributes:
    seed: fixes initialisation and data, uint32.
    learning_rate: the peak.
    decay: of weights.
    warm_in: steps over which added biases grow, 0 for none.
    numbers: of the scheme, for each form of the stem.
  """

  seed: Array
  learning_rate: Array
  decay: Array
  warm_in: Array
  numbers: Any


def positional(params: Params) -> Params:
  """Return which parameters are those of position, a tree of booleans."""
  return jax.tree_util.tree_map_with_path(
    lambda path, _: transformer.is_positional(path), params
  )


def _not_positional(params: Params) -> Params:
  return jax.tree.map(operator.not_, positional(params))


def decayed(train: config.Train, params: Params) -> Params:
  """Return which parameters decay, a tree of booleans.

  Of those of content the matrices, as is usual: not the gains of norms. Of
  those of position all or none, as `decay_position` says: by their shape, a
  scheme that learns a table would be held back and one that learns a number a
  head would not.
  """

  def of(path: Any, value: Array) -> bool:
    if transformer.is_positional(path):
      return train.decay_position
    return value.ndim - blocks.is_stacked(path) > 1

  return jax.tree_util.tree_map_with_path(of, params)


def optimiser(
  train: config.Train, member: Member | None = None
) -> optax.GradientTransformation:
  """Build AdamW with warm-up, cosine decay to zero, and clipping.

  With `only='position'` of `train` all other parameters stay as they are. What
  decays, see `decayed`.

  Args:
    train: how a run is trained.
    member: has the `stacking.NUMBERS` in place of `train`, where they are given
      to the program.
  """
  numbers = train if member is None else member
  # Optax has this in one piece, for a rate that is known when it is compiled.
  rate = optax.join_schedules(
    [
      optax.linear_schedule(0.0, numbers.learning_rate, train.warmup),
      optax.cosine_decay_schedule(
        numbers.learning_rate, max(train.steps - train.warmup, 1)
      ),
    ],
    [train.warmup],
  )
  adamw = optax.chain(
    optax.clip_by_global_norm(train.clip),
    optax.adamw(
      rate,
      b2=train.beta2,
      weight_decay=numbers.decay,
      mask=functools.partial(decayed, train),
    ),
  )
  if train.only == 'all':
    return adamw
  return optax.chain(
    optax.masked(adamw, positional),
    optax.masked(optax.set_to_zero(), _not_positional),
  )


def update(
  train: config.Train,
  params: Params,
  optimiser_state: Any,
  grads: Params,
  member: Member | None = None,
) -> tuple[Params, Any]:
  """Return the parameters and the optimiser's state after a mean gradient."""
  # Optax raises floats to integer counts, which strict callers forbid.
  with jax.numpy_dtype_promotion('standard'):
    updates, optimiser_state = optimiser(train, member).update(
      grads, optimiser_state, params
    )
  return optax.apply_updates(params, updates), optimiser_state
