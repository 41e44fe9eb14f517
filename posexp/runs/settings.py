"""Parts of a run besides task and scheme: shape, training, evaluation."""

import dataclasses

from posexp import component, schemes
from posexp.attention import dispatch
from posexp.runs import length_schedule as rules

ACTIVATIONS = ('relu', 'gelu', 'relu2', 'swiglu')
COMPUTE = ('float32', 'bfloat16')
TRAINED = ('all', 'position')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model(component.Component):
  """A decoder-only transformer with pre-RMSNorm.

  Attributes:
    layers: number of blocks.
    width: model width D; heads must divide it.
    heads: attention heads H.
    feedforward: width F of the MLP; None is 4 D.
    activation: 'relu', 'gelu', 'relu2' (squared ReLU) or 'swiglu'.
    tied: whether the output projection is the embedding table.
    bos: whether a learned token is put before every sequence.
    share_position: whether all layers share one set of positional parameters.
    compute: 'float32' or 'bfloat16'; softmax and norms are float32 in both.
    window: how many tokens a token sees, itself among them; None is all.
    block: how attention is computed, as in `attend`: 'auto' by the length and
      the scheme, None dense, or so many tokens in a block. The same numbers
      up to rounding.
    implementation: None for the library's choice, 'xla', or 'pallas' for one
      fused kernel, as in `attend`. It is interpreted on a CPU, which is slow
      and for tests, and has not been measured on a GPU or TPU. With a cache,
      to prefill or decode, 'pallas' is 'xla'.

  >>> Model(width=64, heads=4).head_width
  16
  """

  layers: int = 3
  width: int = 64
  heads: int = 4
  feedforward: int | None = None
  activation: str = 'relu'
  tied: bool = False
  bos: bool = True
  share_position: bool = False
  compute: str = 'float32'
  window: int | None = None
  block: int | str | None = 'auto'
  implementation: str | None = None

  def __post_init__(self):
    for name in ('layers', 'width', 'heads', 'feedforward', 'window'):
      component.at_least(f'{name} of Model', getattr(self, name), 1)
    component.one_of('activation of Model', self.activation, ACTIVATIONS)
    component.one_of('compute of Model', self.compute, COMPUTE)
    dispatch.check_block('block of Model', self.block)
    dispatch.check_implementation(
      'implementation of Model', self.implementation
    )
    if self.width % self.heads:
      wider = self.heads * (self.width // self.heads + 1)
      raise component.UserError(
        f'width must be divisible by heads, got width={self.width} and '
        f'heads={self.heads}: try width={wider}'
      )

  @property
  def head_width(self) -> int:
    return self.width // self.heads

  @property
  def dims(self) -> schemes.Dims:
    return schemes.Dims(self.width, self.heads, self.head_width)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train(component.Component):
  """How a run is trained: AdamW, linear warm-up, cosine decay to 0, clipping.

  Attributes:
    length: tokens in a training sequence, the context; the longest of them
      where they differ.
    steps: optimiser steps; 0 evaluates a parent's weights as they are.
    batch: sequences in a step, for each seed.
    learning_rate: the peak.
    warmup: steps of linear warm-up.
    decay: weight decay, on matrices only.
    beta2: AdamW's second moment rate.
    clip: the largest global norm of a gradient.
    checkpoint_every: steps between checkpoints; also the longest stretch that
      an interruption can cost.
    lengths: a rule for which steps are trained at which length, its longest
      being `length`, see `posexp.runs.length_schedule`; None is `length` at
      every step.
    only: which parameters change, 'all' or, in an adaptation, those of
      'position'.
    warm_in: steps of an adaptation in which the strength of the biases that it
      adds grows linearly to 1; 0 adds them at once.
  """

  length: int = 64
  steps: int = 2000
  batch: int = 64
  learning_rate: float = 1e-3
  warmup: int = 100
  decay: float = 0.01
  beta2: float = 0.98
  clip: float = 1.0
  checkpoint_every: int = 500
  lengths: rules.Rule | None = None
  only: str = 'all'
  warm_in: int = 0

  def __post_init__(self):
    component.one_of('only of Train', self.only, TRAINED)
    component.at_least('length of Train', self.length, 2)
    for name in ('steps', 'warmup', 'decay', 'warm_in'):
      component.at_least(f'{name} of Train', getattr(self, name), 0)
    for name in ('batch', 'checkpoint_every'):
      component.at_least(f'{name} of Train', getattr(self, name), 1)
    for name in ('learning_rate', 'clip'):
      if not getattr(self, name) > 0:
        raise component.UserError(
          f'{name} of Train must be above 0, got {getattr(self, name)}'
        )
    if not 0 < self.beta2 < 1:
      raise component.UserError(
        f'beta2 of Train must lie between 0 and 1, got {self.beta2}'
      )
    if self.warm_in > self.steps:
      raise component.UserError(
        f'warm_in of Train must be at most its {self.steps} steps, got '
        f'{self.warm_in}: a bias must have its full strength at the end'
      )
    if self.rungs[-1] != self.length:
      raise component.UserError(
        f'length of Train must be the longest of {self.lengths}, got '
        f'{self.length}: use length={self.rungs[-1]}, or another high'
      )
    if not self.shares[-1]:
      raise component.UserError(
        f'steps of Train must reach length {self.length} under {self.lengths}, '
        f'got {self.steps}: train for more steps, or use a rule that gets '
        'there earlier'
      )

  @property
  def rungs(self) -> tuple[int, ...]:
    """The lengths trained at, shortest first."""
    return (self.length,) if self.lengths is None else self.lengths.values

  @property
  def tokens(self) -> int:
    """The tokens of all steps of a seed, as many as are to be expected."""
    mean = sum(n * share for n, share in zip(self.rungs, self.shares))
    return round(self.steps * self.batch * mean)

  @property
  def shares(self) -> tuple[float, ...]:
    """The expected share of the steps that each of `rungs` has."""
    if self.lengths is None or not self.steps:
      return (0.0,) * (len(self.rungs) - 1) + (1.0,)
    return self.lengths.shares(self.steps)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate(component.Component):
  """Where a run is evaluated, on examples that are the same for every scheme.

  Attributes:
    lengths: tokens in the evaluated sequences, shortest first.
    examples: sequences at each length.
    tokens: so many at each length at least, so that a shorter length has more
      sequences; 0 for `examples` at all.
    window: tokens that the model sees at once, as a sliding window that moves
      by half of itself: a target past the first window is predicted from at
      least half a window. None is all that stand before it.
  """

  lengths: tuple[int, ...] = (64, 128, 256)
  examples: int = 512
  tokens: int = 0
  window: int | None = None

  def __post_init__(self):
    object.__setattr__(self, 'lengths', tuple(sorted(set(self.lengths))))
    if not self.lengths:
      raise component.UserError(
        'lengths of Evaluate is empty: give at least one length'
      )
    for length in self.lengths:
      component.at_least('lengths of Evaluate', length, 2)
    component.at_least('examples of Evaluate', self.examples, 1)
    component.at_least('tokens of Evaluate', self.tokens, 0)
    component.at_least('window of Evaluate', self.window, 2)

  def number(self, length: int) -> int:
    """How many sequences there are at a length.

    >>> [Evaluate(examples=16, tokens=4096).number(n) for n in (64, 100, 512)]
    [64, 41, 16]
    """
    return max(self.examples, -(-self.tokens // length))
