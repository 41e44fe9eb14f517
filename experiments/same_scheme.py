"""Is a scheme that stands under two names ranked? It must not be.

Question: do the statistics find a difference where there is none? Each scheme
here is trained under two names that are the same up to the order of its parts:
RoPE whose pairs are halves or neighbours of a head's dimensions, and ALiBi
whose heads have their slopes in either order. Weights are drawn alike for all
dimensions and heads, so that a scheme and its twin have the same distribution
of results over seeds, and no seed has the same result in both.

Command: posexp run experiments/same_scheme.py
"""

import dataclasses

import numpy as np

import posexp
from posexp import schemes, tasks

TRAINED = 32
LENGTHS = (TRAINED, 2 * TRAINED, 4 * TRAINED)
SEEDS = tuple(range(8))


@dataclasses.dataclass(frozen=True)
class ReversedALiBi(schemes.ALiBi):
  """ALiBi whose first head has the flattest slope, the last the steepest."""

  def slopes(self, heads: int) -> np.ndarray:
    return super().slopes(heads)[::-1].copy()


# Each scheme, and the same under another name.
TWINS = (
  (schemes.RoPE(), schemes.RoPE(pairing='interleaved')),
  (schemes.ALiBi(), ReversedALiBi()),
)


def grid():
  """Yield both twins of each scheme, as the quickstart trains them."""
  for scheme in (scheme for twins in TWINS for scheme in twins):
    yield posexp.Run(
      task=tasks.Ordering(symbols=16, queries=4, filler=4),
      scheme=scheme,
      model=posexp.Model(layers=2),
      train=posexp.Train(length=TRAINED, steps=1600, learning_rate=3e-3),
      evaluate=posexp.Evaluate(lengths=LENGTHS, diagnose='none'),
      seeds=SEEDS,
    )


def contrasts(runs):
  """Yield each scheme against its twin, beyond the trained length."""
  by_scheme = {run.scheme: run for run in runs}
  for one, other in TWINS:
    for length in LENGTHS[1:]:
      yield posexp.Contrast(by_scheme[other], by_scheme[one], length)
