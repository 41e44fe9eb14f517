"""Does a model that was trained short still know what came first, far beyond?

Question: NoPE, RoPE and ALiBi learn to say which of two events came first at
one length. What is left of it at 1.5, 2 and 4 times that length? And if the
RoPE models are stretched without further training, by interpolating positions
(Linear) or by scaling the base (NTK), which errors do they make: are events
lost, or found and mis-ordered?

Command: posexp run experiments/quickstart.py
"""

import posexp
from posexp import schemes, tasks
from posexp.plots import experiment

TRAINED = 32
LENGTHS = (32, 48, 64, 128)
# Each scheme is compared with RoPE, and each retrofit with the RoPE models that
# it was made from, at twice the trained length and at the longest.
BASELINE, TARGET = schemes.RoPE(), 64


def grid():
  """Three schemes trained, and two retrofits of the RoPE models."""
  task = tasks.Ordering(symbols=16, queries=4, filler=4)
  train = posexp.Train(length=TRAINED, steps=1600, learning_rate=3e-3)
  for scheme in (schemes.NoPE(), schemes.RoPE(), schemes.ALiBi()):
    run = posexp.Run(
      task=task,
      scheme=scheme,
      model=posexp.Model(layers=2),
      train=train,
      evaluate=posexp.Evaluate(lengths=LENGTHS, examples=512),
      seeds=(0, 1, 2, 3, 4),
    )
    yield run
    if scheme == schemes.RoPE():
      yield run.retrofit(schemes.RoPE(schemes.Linear(4)))
      yield run.retrofit(schemes.RoPE(schemes.NTK(4)))


def figure(results, directory):
  """Accuracy by length, and the errors split into order and retrieval."""
  return experiment.overview(results, directory, name='quickstart')
