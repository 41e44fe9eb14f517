"""What a run is: frozen dataclasses that are complete, hashed and saved."""

import dataclasses
import functools
import hashlib
import json
import math
from typing import Any

from posexp import component, schemes, tasks
from posexp.attention import attend, dispatch
from posexp.results import plans
from posexp.runs import diff, length_schedule
from posexp.runs import tuning as tuning_lib

# Part of every digest: raise it when the same config gives other numbers, as
# with another default, since fields at their default are no part of a digest.
REVISION = 5

# The largest index of a token.
INDEX = 2**31 - 1

# The smallest normal and the largest number of float32.
FLOAT32 = 1.1754944e-38, 3.4028234e38

ACTIVATIONS = ('relu', 'gelu', 'relu2', 'swiglu')
COMPUTE = ('float32', 'bfloat16')
TRAINED = ('all', 'position')
DIAGNOSED = ('ends', 'all', 'none')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model(component.Component):
  """The shape of a model: a decoder-only transformer with pre-RMSNorm.

  Attributes:
    layers: the number of layers, attention and MLP each.
    width: model width D; heads must divide it.
    heads: attention heads H.
    feedforward: width F of the MLP; None is 4 D.
    activation: 'relu', 'gelu', 'relu2' (squared ReLU) or 'swiglu'.
    tied: whether the output projection is the embedding table.
    bos: whether a learned token is put before every sequence.
    share_position: whether all layers share one set of positional parameters.
    compute: 'float32' or 'bfloat16'; softmax and norms are float32 in both.
      With 'float32' products of matrices are that on every device, whose
      default may be less.
    window: how many tokens a token attends to, itself included; None is all.
    block: how attention is computed, as in `attend`: 'auto' by the length and
      the scheme, None dense, or in blocks of so many tokens. The numbers are
      the same up to rounding.
    implementation: None for the library's choice, 'xla', or 'pallas' for one
      fused kernel, as in `attend`. It is interpreted on a CPU, which is slow
      and for tests, and has not been measured on a GPU or TPU. With a cache,
      to prefill or decode, 'pallas' is 'xla', and so is a last layer under a
      bias where only some tokens are asked for.
    remat: whether training computes the inside of each block but the last a
      second time, for its gradient, rather than keep it: of a block it then
      keeps the input alone. The numbers are the same up to rounding.

  >>> Model(width=64, heads=4).head_width
  16
  """

  layers: int = component.field(3, at_least=1)
  width: int = component.field(64, at_least=1)
  heads: int = component.field(4, at_least=1)
  feedforward: int | None = component.field(None, at_least=1)
  activation: str = component.field('relu', one_of=ACTIVATIONS)
  tied: bool = False
  bos: bool = True
  share_position: bool = False
  compute: str = component.field('float32', one_of=COMPUTE)
  window: int | None = component.field(None, at_least=1)
  block: int | str | None = component.field(
    'auto', remedy="use 'auto', None, or a number of tokens"
  )
  implementation: str | None = None
  remat: bool = False

  def __post_init__(self):
    super().__post_init__()
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
    length: tokens in a training sequence, the context; the longest where they
      differ.
    steps: optimizer steps; 0 evaluates a parent's weights as they are.
    batch: sequences in a step, for each seed.
    learning_rate: the peak.
    warmup: steps of linear warm-up, fewer than `steps`.
    decay: weight decay, on matrices that are not of position only.
    beta2: AdamW's second moment rate.
    clip: the largest global norm of a gradient.
    checkpoint_every: steps between checkpoints; also the longest stretch that
      an interruption can cost.
    lengths: the rule that gives a step its length, of which `length` is the
      longest, see `posexp.runs.length_schedule`; None is `length` at every
      step.
    only: which parameters change, 'all' or, in an adaptation, those of
      'position'.
    warm_in: steps of an adaptation over which the biases that it adds grow
      linearly to their full strength; 0 adds them at once.
    decay_position: whether all that a scheme learns decays too, vectors as well
      as tables. It pulls a learned bias to 0, whatever the scheme would learn.
    micro_batch: the most sequences of a step that a device does at a time, a
      divisor of `batch`; gradients are summed over the parts, so that memory
      is that of one. None is all of them on an accelerator, and on a CPU those
      of some 512 tokens. The numbers are the same up to rounding.
  """

  length: int = component.field(64, at_least=2, at_most=INDEX)
  steps: int = component.field(2000, at_least=0, at_most=INDEX)
  batch: int = component.field(64, at_least=1)
  learning_rate: float = component.field(1e-3, above=0)
  warmup: int = component.field(100, at_least=0)
  decay: float = component.field(0.01, at_least=0)
  beta2: float = component.field(0.98, above=0, below=1)
  clip: float = component.field(1.0, above=0)
  checkpoint_every: int = component.field(500, at_least=1)
  lengths: length_schedule.Rule | None = None
  only: str = component.field('all', one_of=TRAINED)
  warm_in: int = component.field(
    0,
    at_least=0,
    at_most='steps',
    remedy='a bias must have its full strength at the end',
  )
  decay_position: bool = False
  micro_batch: int | None = component.field(None, at_least=1)

  def __post_init__(self):
    super().__post_init__()
    if self.micro_batch and self.batch % self.micro_batch:
      divisor = math.gcd(self.batch, self.micro_batch)
      raise component.UserError(
        f'micro_batch of Train must divide batch={self.batch}, got '
        f'{self.micro_batch}: use micro_batch={divisor}'
      )
    if 0 < self.steps <= self.warmup:
      raise component.UserError(
        f'warmup of Train must be below steps={self.steps}, got '
        f'{self.warmup}, so that the rate reaches its peak and decays: use '
        f'warmup={self.steps // 10}'
      )
    for name in ('learning_rate', 'decay', 'clip'):
      value = getattr(self, name)
      if value and not FLOAT32[0] <= value <= FLOAT32[1]:
        raise component.UserError(
          f'{name} of Train becomes a float32, which has no {value:g}: '
          f'use a number from {FLOAT32[0]:.1e} to {FLOAT32[1]:.1e}'
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
    """The expected number of tokens that a seed is trained on."""
    mean = sum(n * share for n, share in zip(self.rungs, self.shares))
    return round(self.steps * self.batch * mean)

  @property
  def shares(self) -> tuple[float, ...]:
    """The expected share of the steps at each of `rungs`."""
    if self.lengths is None or not self.steps:
      return (0.0,) * (len(self.rungs) - 1) + (1.0,)
    return self.lengths.shares(self.steps)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate(component.Component):
  """Where a run is evaluated, on examples that are the same for every scheme.

  Attributes:
    lengths: tokens in the evaluated sequences, shortest first.
    examples: the least number of sequences at each length.
    tokens: the least number of tokens at each length, so that a shorter length
      has more sequences.
    window: tokens that the model sees at once, as a sliding window that moves
      by half of itself, so that a target past the first window is predicted
      from at least half a window. None is all tokens before it.
    diagnose: at which lengths attention is looked at: 'ends', the trained
      length and the longest; 'all'; or 'none'. A look is a program of its own.
  """

  lengths: tuple[int, ...] = component.field(
    (64, 128, 256), each=True, at_least=2, at_most=INDEX
  )
  examples: int = component.field(512, at_least=1)
  tokens: int = component.field(0, at_least=0)
  window: int | None = component.field(None, at_least=2)
  diagnose: str = component.field('ends', one_of=DIAGNOSED)

  def __post_init__(self):
    super().__post_init__()
    object.__setattr__(self, 'lengths', tuple(sorted(set(self.lengths))))
    if not self.lengths:
      raise component.UserError(
        'lengths of Evaluate is empty: give at least one length'
      )

  def number(self, length: int) -> int:
    """Return how many sequences there are at a length.

    >>> [Evaluate(examples=16, tokens=4096).number(n) for n in (64, 100, 512)]
    [64, 41, 16]
    """
    return max(self.examples, -(-self.tokens // length))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run(component.Component):
  """One cell of an experiment: a model with a scheme, trained on a task.

  A root run is trained from scratch. A run with a parent takes over the
  parent's trained weights, and evaluates them under another scheme (a
  retrofit), after an adaptation to it or zero-shot, or on another arm of the
  task. Everything is checked here, before any compute.

  Attributes:
    task: the task that the model is trained on.
    scheme: what position does to attention.
    model: the shape of the model.
    train: how it is trained; with a parent, how it is adapted, 0 steps for
      zero-shot.
    evaluate: the lengths and the number of examples of the evaluation.
    seeds: each fixes initialisation and training data; paired across runs.
    parent: the run whose trained weights this one takes over.
    tuning: how its learning rate is chosen, see `posexp.tuned`; None trains at
      that of `train`.
    trial: whether it only tells which learning rate a tuned run takes, and is
      in no table.

  >>> from posexp import schemes, tasks
  >>> run = Run(task=tasks.Ordering(filler=8), scheme=schemes.RoPE())
  >>> print(run.retrofit(schemes.RoPE(schemes.NTK(4))).name)
  Ordering: RoPE() -> RoPE(NTK(4))
  """

  task: tasks.Task
  scheme: schemes.Scheme
  model: Model = Model()
  train: Train = Train()
  evaluate: Evaluate = Evaluate()
  seeds: tuple[int, ...] = component.field(
    (0, 1, 2),
    each=True,
    at_least=0,
    at_most=tuning_lib.LARGEST,
    remedy='write numbers of 32 bits, as (0, 1, 2)',
  )
  parent: 'Run | None' = None
  tuning: tuning_lib.Tuning | None = None
  trial: bool = False

  def __post_init__(self):
    super().__post_init__()
    tuning_lib.check_seeds(self)
    trained = self.train.rungs if self.train.steps else ()
    for length in sorted({*trained, *self.lengths}):
      self.task.check(length)
    for length in reversed(self.lengths):
      tokens = self.context(length) - 1 + self.model.bos
      self.evaluated_scheme(length).check(self.model.dims, tokens)
    tokens = self.train.length - 1 + self.model.bos
    self.trained_scheme.check(self.model.dims, tokens)
    how = self.model.block, self.model.implementation
    dispatch.check_scheme(self.scheme, *how)
    if self.model.remat:
      attend.check_remat(self.trained_scheme, self.model.dims)
    self._check_parent()
    tuning_lib.check(self)

  def _check_parent(self):
    parent = self.parent
    if parent is None:
      self._check_root()
      return
    for name in ('model', 'seeds'):
      value, of_parent = getattr(self, name), getattr(parent, name)
      if value != of_parent:
        raise component.UserError(
          f"a retrofit keeps its parent's {name}, got {value} where the "
          f'parent has {of_parent}'
        )
    if self.task.vocabulary != parent.task.vocabulary:
      raise component.UserError(
        f'{self.task} has {self.task.vocabulary} token ids where the model was '
        f'trained on {parent.task.vocabulary}, those of {parent.task}: choose '
        'its fields so that the vocabularies agree'
      )
    if self.train.only != 'all' and not self.scheme.learns():
      raise component.UserError(
        f'{self.scheme} has learned nothing that could be adapted alone, got '
        f"only={self.train.only!r}: use only='all'"
      )
    added = diff.added_biases(parent.scheme, self.scheme)
    if self.train.warm_in and not added:
      raise component.UserError(
        f'warm_in={self.train.warm_in} of Train is for a bias that an '
        f'adaptation adds, and {self.scheme} adds none to {parent.scheme}: use '
        'warm_in=0'
      )

  def _check_root(self):
    if self.train.steps == 0:
      raise component.UserError(
        'steps of Train is 0 but the run has no parent: train it, or give '
        'the run whose weights it takes over'
      )
    for name, default in (('only', 'all'), ('warm_in', 0)):
      if getattr(self.train, name) != default:
        raise component.UserError(
          f'{name}={getattr(self.train, name)!r} of Train is for the '
          'adaptation of a parent, and the run has none: use '
          f'{name}={default!r}'
        )

  @functools.cached_property
  def trials(self) -> tuple['Run', ...]:
    """The runs that choose its learning rate; none where it is not tuned."""
    return tuning_lib.trials(self)

  @property
  def before(self) -> tuple['Run', ...]:
    """The runs that must have finished before it: its parent, or its trials."""
    return self.trials if self.parent is None else (self.parent,)

  @property
  def lengths(self) -> tuple[int, ...]:
    """The lengths of the evaluation, the trained length among them.

    Without the trained length on another task than the parent's, which may not
    exist at that length (what counts is whether the parent learned its own),
    and under the parent's own scheme, which the parent was evaluated with.
    """
    parent = self.parent
    if self._evaluates() or (parent and self.task != parent.task):
      return self.evaluate.lengths
    return tuple(sorted({self.trained_length, *self.evaluate.lengths}))

  @property
  def diagnosed(self) -> tuple[int, ...]:
    """The lengths at which attention is looked at, see `Evaluate`."""
    ends = {self.trained_length, max(self.lengths)}
    return {
      'all': self.lengths,
      'ends': tuple(sorted(ends.intersection(self.lengths))),
      'none': (),
    }[self.evaluate.diagnose]

  @property
  def root(self) -> 'Run':
    """The run at the start of the line of parents, trained from scratch."""
    return self if self.parent is None else self.parent.root

  @property
  def trained_length(self) -> int:
    """The length that the root run was trained at."""
    return self.root.train.length

  @property
  def changes(self) -> tuple[str, ...]:
    """What this run changes of its parent, a phrase for each change."""
    if self.parent is None:
      return ()
    phrases = diff.of_schemes(self.parent.scheme, self.scheme)
    if self.task != self.parent.task:
      phrases += (f'task: {self.parent.task} -> {self.task}',)
    if self.train.steps:
      phrases += (f'adapted: {self._adapted()}',)
    return phrases

  @property
  def steps_before(self) -> int:
    """The steps of training that its parents have given the weights."""
    parent = self.parent
    return parent.steps_before + parent.train.steps if parent else 0

  def context(self, length: int) -> int:
    """Return the tokens that the model sees at once at an evaluated length."""
    return min(length, self.evaluate.window or length)

  @property
  def trained_scheme(self) -> schemes.Scheme:
    """The scheme as training uses it, at its longest length."""
    return self.trained_scheme_at(self.train.length)

  def trained_scheme_at(self, length: int) -> schemes.Scheme:
    """Return the scheme as a step of training at a length uses it."""
    return self.scheme.trained_at(self.trained_length).for_length(length)

  def evaluated_scheme(self, length: int) -> schemes.Scheme:
    """Return the scheme as an evaluation at a length uses it."""
    scheme = self.scheme.trained_at(self.trained_length)
    return scheme.evaluated().for_length(self.context(length))

  @property
  def name(self) -> str:
    """The run in a few words, for tables and progress."""
    trail = [self._stage()]
    task, ancestor = type(self.task).__name__, self.parent
    while ancestor is not None:
      if ancestor.task != self.task:
        task = str(self.task)
      if ancestor._stage() != trail[0]:
        trail.insert(0, ancestor._stage())
      ancestor = ancestor.parent
    window = self.evaluate.window
    ending = f' in windows of {window}' if window else ''
    return f'{task}: {" -> ".join(trail)}{ending}'

  def _evaluates(self) -> bool:
    """Return whether this is its parent, evaluated again."""
    parent = self.parent
    same = parent is not None and self.scheme == parent.scheme
    return same and not self.train.steps

  def _stage(self) -> str:
    """Return the scheme, with the adaptation to it if there was one."""
    if self.parent and self._evaluates():
      return self.parent._stage()
    if self.parent is None:
      return f'{self.scheme}{self._rate()}'
    if not self.train.steps:
      return str(self.scheme)
    return f'{self.scheme} [{self._adapted()}]'

  def _rate(self) -> str:
    if self.trial:
      return f' [trial at {self.train.learning_rate:g}]'
    return plans.TUNED if self.tuning else ''

  def _adapted(self) -> str:
    train, rungs = self.train, self.train.rungs
    at = str(rungs[0]) if len(rungs) == 1 else f'{rungs[0]} to {rungs[-1]}'
    only = '' if train.only == 'all' else f', {train.only} only'
    warm = f', bias warmed in over {train.warm_in}' if train.warm_in else ''
    return f'{train.steps} steps at {at}{only}{warm}'

  def identity(self) -> dict[str, Any]:
    """Return what tells it apart, with the lengths that it is evaluated at.

    The trained length is one of them, whether it was written or not.
    """
    if self.evaluate.lengths == self.lengths:
      return super().identity()
    evaluate = dataclasses.replace(self.evaluate, lengths=self.lengths)
    return dataclasses.replace(self, evaluate=evaluate).identity()

  @functools.cached_property
  def digest(self) -> str:
    """Sixteen hexadecimal digits that stand for the whole configuration."""
    text = json.dumps([REVISION, self.identity()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]

  def retrofit(self, scheme: schemes.Scheme, **changed: Any) -> 'Run':
    """Return a run of these trained weights under another scheme.

    Zero-shot, unless `train` says how they are adapted to it: its steps follow
    those of the training, on data that the weights have not seen.

    >>> from posexp import schemes, tasks
    >>> run = Run(task=tasks.Ordering(filler=8), scheme=schemes.RoPE())
    >>> short = Train(steps=100, warmup=10, length=128)
    >>> print(run.retrofit(schemes.RoPE(schemes.NTK(4)), train=short).name)
    Ordering: RoPE() -> RoPE(NTK(4)) [100 steps at 128]
    """
    zero_shot = dataclasses.replace(self.train, steps=0, only='all', warm_in=0)
    defaults = {'train': zero_shot, 'tuning': None, 'trial': False}
    changed = {'scheme': scheme, 'parent': self, **defaults, **changed}
    return dataclasses.replace(self, **changed)

  def without(self, kind: type[schemes.Scheme], **changed: Any) -> 'Run':
    """Return a run of these trained weights without the terms of a class.

    Raises:
      UserError: if its scheme has none.
    """
    return self.retrofit(diff.without(self.scheme, kind), **changed)

  def on(self, task: tasks.Task, **changed: Any) -> 'Run':
    """Return a run of these trained weights on a task of the same vocabulary.

    For example another arm of the task: other gaps, another density, a later
    start. It is evaluated at the lengths of `evaluate` and at no other.
    """
    return self.retrofit(self.scheme, task=task, **changed)
