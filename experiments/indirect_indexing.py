"""Which token stands k places left of this one: who can point that exactly?

Question: PoPE's authors report that RoPE answers such questions (indirect
indexing) in 11 of 100 cases and PoPE in 95 (arXiv 2509.10534), because RoPE
mixes what is looked for with where it is. Does that show in a small model on
LookupLeft? Models with RoPE, RoPE at the base that a model of 4,096 tokens has
(relative to the trained length), ALiBi, NoPE and PoPE learn it at one length,
and are evaluated at one and a half, two and four times that length: the same
offsets from an anchor, further away from the question.

Command: posexp run experiments/indirect_indexing.py
"""

import posexp
from posexp import figures, schemes, tasks

TRAINED = 24


def grid():
  """Five schemes on the same questions."""
  for scheme in (
    schemes.RoPE(),
    schemes.RoPE(base=schemes.matched(4096)),
    schemes.ALiBi(),
    schemes.NoPE(),
    schemes.PoPE(),
  ):
    yield posexp.Run(
      task=tasks.LookupLeft(symbols=8, queries=2, offsets=(1, 2), most=4),
      scheme=scheme,
      model=posexp.Model(layers=2),
      train=posexp.Train(length=TRAINED, steps=3500, learning_rate=3e-3),
      evaluate=posexp.Evaluate(lengths=(TRAINED, 36, 48, 96)),
      seeds=(0, 1, 2, 3),
    )


def figure(results, directory):
  """Accuracy by length, and the errors split into order and retrieval."""
  return figures.overview(results, directory, name='indirect_indexing')
