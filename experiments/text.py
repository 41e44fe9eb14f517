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

Result: no, under no scheme does text that is further back than what was trained
help. RoPE predicts best at 128 bytes and collapses soonest beyond; NoPE and T5
get worse more slowly; ALiBi holds, to the digit of its own window. So a sliding
window of the trained length is the better of the two for all but ALiBi, for
which it changes nothing, and best of all is RoPE in its window.

| perplexity, all targets | 128 | 256 | 512 | 1,024 | 2,048 |
|---|---|---|---|---|---|
| NoPE | 9.38 | 9.66 | 9.65 | 10.20 | 11.84 |
| NoPE in windows of 128 | 9.38 | 9.27 | 8.41 | 8.08 | 9.02 |
| RoPE | 6.00 | 7.53 | 12.06 | 16.70 | 21.62 |
| RoPE in windows of 128 | 6.00 | 5.50 | 5.12 | 4.86 | 5.38 |
| ALiBi | 6.74 | 6.22 | 5.74 | 5.48 | 6.12 |
| ALiBi in windows of 128 | 6.74 | 6.22 | 5.72 | 5.46 | 6.09 |
| T5 | 7.75 | 7.83 | 8.42 | 9.33 | 11.56 |
| T5 in windows of 128 | 7.75 | 7.33 | 6.73 | 6.46 | 7.24 |

Geometric means over four seeds, all of them admitted (.377 right, by bigrams,
is what it takes; the worst has .398); the table that is printed has intervals.
Compare down a column: each length has text of its own. The source is that of
CPython 3.11.7. It took 30 minutes on two CPU cores that had other work to do.
"""

import posexp
from posexp import data, schemes
from posexp.plots import perplexity

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
      task=data.Text(),
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
