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

from posexp import schemes
from posexp.launch import study_runs, study_sizes

QUESTION = (
  'A decoder that was trained with RoPE is stretched {factor} times, from '
  '{trained:,} to {target:,} tokens, by scaling the base of RoPE (NTK) and '
  'adding a bias to attention: variant A a fixed linear penalty of distance '
  '(ALiBi), variant B a learned bias in buckets (T5). Which one change is the '
  'best first fix, which of the two did the harm, and is it one of order or '
  'of retrieval?'
)

# The bases: the one under which as few pairs as in a model of 4,096 tokens
# never complete a period, and RoPE's own, which in a full model is that one.
PLAIN = 'base 10,000'
BASES = {
  'base matched to 4,096 tokens': schemes.matched(4096),
  PLAIN: 10000.0,
}
# With fewer some seeds stay on a plateau in recall or attachment.
STEPS = 8000

SMALL = (
  'At the matched base as many pairs of a rotation complete a period within '
  'the trained length as in a model of 4,096 tokens; at base 10,000 far fewer '
  'do. What is seen at the matched base is the nearer to a full model.',
  'That one change does more harm than another, and whether errors are of '
  'order or of retrieval, is expected to carry over where both bases agree.',
  'The size of an effect is not: four layers, trained on five synthetic '
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

SEEDS = {'small': (0, 1, 2, 3, 4, 5), 'full': (0, 1, 2, 3, 4, 5)}
SIZES = tuple(SEEDS)


def study(size):
  """The plan of a size."""
  parts = []
  for regime, base in BASES.items():
    if size == 'full' and regime != PLAIN:  # There both are the same.
      continue
    of = study_sizes.full(factor=8, trained=4096, seeds=SEEDS[size])
    if size == 'small':
      of = study_sizes.small(
        factor=8,
        stands_for=4096,
        steps=STEPS,
        adapt=500,
        exponent=1.0,  # As many tokens of short sequences as of long ones.
        seeds=SEEDS[size],
        transfers=SMALL,
      )
    parts += cells(of, regime, base)
  return study_runs.planned(
    parts,
    of,
    kind='regression',
    size=size,
    question=QUESTION.format(
      factor=of.factor, trained=of.trained, target=of.target
    ),
    command=f'posexp run experiments/study_regression.py --size={size}',
    untested=UNTESTED,
  )


def cells(size, regime, base):
  """All that is changed of the models of a base, zero-shot and adapted."""
  plain = schemes.RoPE(base=base)
  root, laws = size.root(plain), study_sizes.laws(size)
  stretched = {name: schemes.RoPE(law, base) for name, law in laws.items()}
  scaled = stretched.pop('base scaling')
  make = functools.partial(study_runs.retrofits, root, size, regime)
  yield from make('root', plain)
  yield from make('base scaling', scaled)
  options = {'deployed': scaled, 'bias': plain, **stretched}
  for option, scheme in options.items():
    yield from make(option, scheme + schemes.ALiBi(), 'A')
  table = study_sizes.learned_bias(size)
  for option, scheme in options.items():
    yield from make(option, scheme + table, 'B', inert=scheme)
