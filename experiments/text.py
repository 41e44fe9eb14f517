"""Does text at hand help a model beyond the length that it was trained at?

Question: NoPE, RoPE, ALiBi and T5 learn to predict the next byte of Python
source, 128 bytes at a time. How well do they predict a byte that has 128 to
2,047 bytes before it, on documents held out? And is that better than showing
them no more than 128 bytes at once, in a sliding window?

Perplexity says what a model makes of all of text at once. It cannot certify a
retrofit: a byte is mostly told by the few before it, so a model that lost
everything far away may lose little here. Read it beside the tasks.

All runs are evaluated on the same bytes, so bumps that all lines share are of
the text, and only differences between lines are of the schemes.

Command: posexp run experiments/text.py
"""

import posexp
from posexp import datasets, perplexity, schemes

TRAINED = 128
LENGTHS = (128, 256, 512, 1024, 2048)


def grid():
  """Four schemes trained, and each in windows of the trained length."""
  for scheme in (
    schemes.NoPE(),
    schemes.RoPE(),
    schemes.ALiBi(),
    schemes.T5(buckets=32, max_distance=TRAINED),
  ):
    run = posexp.Run(
      task=datasets.Text(),
      scheme=scheme,
      model=posexp.Model(layers=2),
      train=posexp.Train(
        length=TRAINED, steps=800, batch=16, learning_rate=3e-3
      ),
      evaluate=posexp.Evaluate(lengths=LENGTHS, examples=64),
      seeds=(0, 1, 2, 3),
    )
    yield run
    windows = posexp.Evaluate(lengths=LENGTHS, examples=64, window=TRAINED)
    yield run.retrofit(scheme, evaluate=windows)


def figure(results, directory):
  """Perplexity by place in the longest sequences, and by length."""
  return perplexity.overview(results, directory, name='text')
