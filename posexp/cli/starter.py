"""Which bias keeps the order of events beyond the trained length?

A starter: change the question, the schemes and the task. Every run sees the
same data, initialisation and evaluation examples, paired by seed.

Command: posexp run THIS_FILE
"""

import dataclasses

import jax
import jax.numpy as jnp

import posexp
from posexp import schemes, tasks
from posexp.plots import experiment

TRAINED = 32  # Tokens in a training sequence.


@dataclasses.dataclass(frozen=True)
class SquareRoot(schemes.Scheme):
  """A scheme of your own: z - strength * sqrt(i - j)."""

  strength: float = 0.5

  def bias(
    self,
    params: schemes.Params,
    head: schemes.Head,
    q_at: schemes.At,
    k_at: schemes.At,
  ) -> jax.Array:
    distance = jnp.maximum(q_at - k_at, 0).astype(jnp.float32)
    return -self.strength * jnp.sqrt(distance)


def grid():
  """Yield two trained models, and each without its bias (zero-shot)."""
  for scheme in (schemes.ALiBi(), SquareRoot()):
    run = posexp.Run(
      task=tasks.Ordering(symbols=16, queries=4, filler=4),
      scheme=scheme,
      model=posexp.Model(layers=2, width=64, heads=4),
      train=posexp.Train(length=TRAINED, steps=1600, learning_rate=3e-3),
      evaluate=posexp.Evaluate(lengths=(TRAINED, 2 * TRAINED, 4 * TRAINED)),
      seeds=(0, 1, 2, 3, 4),
    )
    yield run
    yield run.retrofit(schemes.NoPE())


def figure(results, directory):
  """Draw accuracy by length; called when all runs are done."""
  return experiment.overview(results, directory)
