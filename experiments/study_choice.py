"""Extending a context four times: which retrofit, and what does it cost?

Question: a decoder trained with RoPE is to serve four times its context after
at most a short adaptation. Short range must be kept, nothing may collapse up
to the target, inference must not get slower, and nothing that is learned may
be looked up per token and grow with the context. Candidates: RoPE with its base
scaled, at all lengths or by as much as a length asks for (dynamic NTK), linear
interpolation, YaRN, ALiBi, T5's bias, and compositions.

Every cell starts from the same trained weights, with the same seeds, data and
evaluation examples, zero-shot and after the same short adaptation.

Command: posexp run experiments/study_choice.py
"""

import functools

from posexp import schemes
from posexp.launch import study_runs, study_sizes

QUESTION = (
  'A decoder that was trained with RoPE at {trained:,} tokens is to serve '
  '{target:,}, {factor} times as many, after at most a short adaptation. Which '
  'retrofit keeps short range, does not collapse up to the target, is no '
  'slower, and learns nothing that is looked up per token and grows with the '
  'context?'
)

# The base under which as few pairs as in a model of 2,048 tokens never
# complete a period.
REGIME, BASE = 'base matched to 2,048 tokens', schemes.matched(2048)

SMALL = (
  'Which pairs of a rotation turn within the trained length is that of a model '
  'of 2,048 tokens.',
  'That a candidate loses short range or collapses is expected to carry over; '
  'by how much one is better than another is not, and neither is a tie, which '
  'may be broken by a larger model.',
  'With 2 heads the flattest slope of ALiBi is 1/256 a token: half a nat over '
  '128 tokens, and 32 over 8,192.',
  'Latency and look-ups do not depend on what was learned and carry over for '
  'this shape of model on this machine.',
)

UNTESTED = (
  'Text: perplexity cannot certify a retrofit, and facts in text are not '
  'balanced as these are.',
  'A bias that is warmed in, other slopes, adaptation of the positional '
  'parameters alone, other lengths and longer adaptation: each is one field of '
  'the configuration.',
  'A request that outgrows the length that it was begun at: dynamic NTK must '
  'then make its cached keys again. Here each is served at one scale, that of '
  'its whole length.',
  'Attention by a fused kernel, where a bias may force another one.',
  'Larger models, other seeds of the evaluation examples, and decoding freely '
  'instead of with the right answers before.',
)

# As many tokens of short sequences as of long ones, in more steps: half of the
# sequences each, for fewer steps, does not bring short range back.
ADAPT, EXPONENT = 1000, 1.0

SIZES = {
  'small': study_sizes.small(
    factor=4,
    stands_for=2048,
    steps=8000,
    seeds=(0, 1, 2, 3, 4, 5),
    transfers=SMALL,
    tokens=2**17,  # An eighth of 32 tokens is 4: few answers are that near.
    adapt=ADAPT,
    exponent=EXPONENT,
  ),
  'full': study_sizes.full(
    factor=4,
    trained=2048,
    seeds=(0, 1, 2, 3, 4, 5),
    adapt=ADAPT,
    exponent=EXPONENT,
  ),
}


def study(size):
  """The plan of a size."""
  of = SIZES[size]
  return study_runs.planned(
    cells(of),
    of,
    kind='choice',
    size=size,
    question=QUESTION.format(
      factor=of.factor, trained=of.trained, target=of.target
    ),
    command=f'posexp run experiments/study_choice.py --size={size}',
    untested=UNTESTED,
  )


def cells(size):
  """The candidates, zero-shot and adapted."""
  plain = schemes.RoPE(base=BASE)
  root, laws = size.root(plain), study_sizes.laws(size)
  scaled, linear, yarn = (
    schemes.RoPE(laws[name], BASE)
    for name in ('base scaling', 'interpolation', 'YaRN')
  )
  dynamic = schemes.RoPE(schemes.DynamicNTK(1.0, size.trained), BASE)
  alibi, table = schemes.ALiBi(), study_sizes.learned_bias(size)
  make = functools.partial(study_runs.retrofits, root, size, REGIME)
  yield from make('no change', plain)
  yield from make('base scaling', scaled)
  yield from make('dynamic NTK', dynamic)
  yield from make('interpolation', linear)
  yield from make('YaRN', yarn)
  yield from make('ALiBi', plain + alibi)
  yield from make('T5', plain + table)
  yield from make('base scaling + ALiBi', scaled + alibi)
  yield from make('YaRN + ALiBi', yarn + alibi)
