"""A stretched model still finds facts but mis-orders them: what is fixed first?

Question: a decoder trained with RoPE was stretched 8 times by scaling the base
of RoPE and adding a bias to attention: variant A a fixed linear penalty of
distance (ALiBi), variant B a learned bias in buckets (T5). Both pass at short
range. At long range, which one change is the best first fix: to remove the
bias and keep the scaled base, to keep the bias and revert the base, or to keep
both and scale RoPE in another way (interpolation, by parts, YaRN)? And is what
went wrong one of order or of retrieval?

Every cell starts from the same trained weights, with the same seeds, data and
evaluation examples, zero-shot and after the same short adaptation.

Command: posexp run experiments/study_regression.py
"""

import functools

import posexp
from posexp import lengths, schemes, studies

QUESTION = (
  'A decoder that was trained with RoPE is stretched {factor} times, from '
  '{trained:,} to {target:,} tokens, by scaling the base of RoPE (NTK) and '
  'adding a bias to attention: variant A a fixed linear penalty of distance '
  '(ALiBi), variant B a learned bias in buckets (T5). Which one change is the '
  'best first fix, which of the two did the harm, and is it one of order or '
  'of retrieval?'
)

# The bases: RoPE's own, and the one under which as few pairs as in a model of
# 4,096 tokens never complete a period.
BASES = {
  'base 10,000': 10000.0,
  'base matched to 4,096 tokens': schemes.matched(4096),
}

SMALL = (
  'At the matched base as many pairs of a rotation complete a period within '
  'the trained length as in a model of 4,096 tokens; at base 10,000 far fewer '
  'do. What is seen at the matched base is the nearer to a full model.',
  'That one change does more harm than another, and whether errors are of '
  'order or of retrieval, is expected to carry over where both bases agree.',
  'The size of an effect is not: three layers, trained on five synthetic '
  'tasks, have no slack. With 2 heads the flattest slope of ALiBi is 1/256 a '
  'token, which is 1 nat over 256 tokens and would be 128 over 32,768.',
  'Latency is measured at the length that stands beside it and not at the '
  'target of the small size.',
)

UNTESTED = (
  'Text: perplexity cannot certify a retrofit, and facts in text are not '
  'balanced as these are.',
  'A bias that is warmed in, other slopes, adaptation of the positional '
  'parameters alone, other lengths and longer adaptation: each is one field of '
  'the configuration.',
  'Changes made after the deployed model was adapted: every option starts from '
  'the trained model, so that all have spent the same.',
  'Larger models, other seeds of the evaluation examples, and decoding freely '
  'instead of with the right answers before.',
)

SIZES = {
  'small': studies.Size(
    task=studies.suite(
      symbols=12,
      queries=4,
      clauses=4,
      pairs=6,
      names=8,
      count=8,
      weights=(1.3, 0.6, 2.2, 1.5, 0.7),
    ),
    model=posexp.Model(layers=3, heads=2, feedforward=128),
    train=posexp.Train(
      length=32, steps=5500, batch=64, learning_rate=3e-3, checkpoint_every=1000
    ),
    adapt=posexp.Train(
      length=256,
      lengths=lengths.Uniform(32, 256, rungs=2),
      steps=200,
      batch=8,
      learning_rate=2e-3,
      warmup=15,
    ),
    stands_for=4096,
    factor=8,
    seeds=(0, 1, 2, 3),
    tokens=2**16,
    timed=8192,
    minutes=3.0,
    transfers=SMALL,
  ),
  'full': studies.Size(
    task=studies.suite(
      symbols=512, queries=64, clauses=32, pairs=64, names=256, count=128
    ),
    model=posexp.Model(layers=8, width=512, heads=8, compute='bfloat16'),
    train=posexp.Train(
      length=4096, steps=50000, batch=32, learning_rate=1e-3, warmup=1000
    ),
    adapt=posexp.Train(
      length=32768,
      lengths=lengths.Uniform(4096, 32768, rungs=2),
      steps=400,
      batch=4,
      learning_rate=3e-4,
      warmup=40,
    ),
    stands_for=4096,
    factor=8,
    seeds=(0, 1, 2, 3, 4, 5),
    tokens=2**22,
    timed=32768,
    minutes=20.0,
  ),
}


def study(size):
  """The plan of a size."""
  of, bases = SIZES[size], BASES
  if size == 'full':  # The matched base is 10,000 there.
    bases = {'base 10,000': BASES['base 10,000']}
  parts = [p for name, base in bases.items() for p in cells(of, name, base)]
  return studies.planned(
    parts,
    of,
    kind='regression',
    size=size,
    question=QUESTION.format(
      stands_for=4096, factor=of.factor, trained=of.trained, target=of.target
    ),
    command=f'posexp run experiments/study_regression.py --size={size}',
    untested=UNTESTED,
  )


def cells(size, regime, base):
  """All that is changed of the models of a base, zero-shot and adapted."""
  plain = schemes.RoPE(base=base)
  root, laws = size.root(plain), studies.laws(size)
  stretched = {name: schemes.RoPE(law, base) for name, law in laws.items()}
  scaled = stretched.pop('base scaling')
  make = functools.partial(studies.retrofits, root, size, regime)
  yield from make('root', plain)
  yield from make('base scaling', scaled)
  biases = {'A': schemes.ALiBi(), 'B': studies.learned_bias(size)}
  for variant, bias in biases.items():
    yield from make('deployed', scaled + bias, variant)
    yield from make('bias', plain + bias, variant)
    for option, scheme in stretched.items():
      yield from make(option, scheme + bias, variant)
