"""What a run is: frozen dataclasses that are complete, hashed and saved."""

import dataclasses
import hashlib
import json
from typing import Any

from posexp import choice, component, schemes, tasks
from posexp import lengths as rules

ACTIVATIONS = ('relu', 'gelu', 'relu2', 'swiglu')
COMPUTE = ('float32', 'bfloat16')

# Part of every digest: raise it when the same config gives other numbers.
REVISION = 1


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
    choice.check_block('block of Model', self.block)
    choice.check_implementation('implementation of Model', self.implementation)
    if self.width % self.heads:
      wider = self.heads * (self.width // self.heads + 1)
      raise ValueError(
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
      being `length`, see `posexp.lengths`; None is `length` at every step.
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

  def __post_init__(self):
    component.at_least('length of Train', self.length, 2)
    for name in ('steps', 'warmup', 'decay'):
      component.at_least(f'{name} of Train', getattr(self, name), 0)
    for name in ('batch', 'checkpoint_every'):
      component.at_least(f'{name} of Train', getattr(self, name), 1)
    for name in ('learning_rate', 'clip'):
      if not getattr(self, name) > 0:
        raise ValueError(
          f'{name} of Train must be above 0, got {getattr(self, name)}'
        )
    if not 0 < self.beta2 < 1:
      raise ValueError(
        f'beta2 of Train must lie between 0 and 1, got {self.beta2}'
      )
    if self.rungs[-1] != self.length:
      raise ValueError(
        f'length of Train must be the longest of {self.lengths}, got '
        f'{self.length}: use length={self.rungs[-1]}, or another high'
      )
    if not self.shares[-1]:
      raise ValueError(
        f'steps of Train must reach length {self.length} under {self.lengths}, '
        f'got {self.steps}: train for more steps, or use a rule that gets '
        'there earlier'
      )

  @property
  def rungs(self) -> tuple[int, ...]:
    """The lengths trained at, shortest first."""
    return (self.length,) if self.lengths is None else self.lengths.values

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
    window: tokens that the model sees at once, as a sliding window that moves
      by half of itself: a target past the first window is predicted from at
      least half a window. None is all that stand before it.
  """

  lengths: tuple[int, ...] = (64, 128, 256)
  examples: int = 512
  window: int | None = None

  def __post_init__(self):
    object.__setattr__(self, 'lengths', tuple(sorted(set(self.lengths))))
    if not self.lengths:
      raise ValueError('lengths of Evaluate is empty: give at least one length')
    for length in self.lengths:
      component.at_least('lengths of Evaluate', length, 2)
    component.at_least('examples of Evaluate', self.examples, 1)
    component.at_least('window of Evaluate', self.window, 2)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run(component.Component):
  """One cell of an experiment: a task, a scheme and the seeds it is run with.

  With a parent, the weights are the parent's, evaluated under another scheme (a
  retrofit) or on another arm of the task. Everything is checked here, before
  any compute.

  Attributes:
    task: what is asked of the model.
    scheme: what position does to it.
    model: its shape.
    train: how it is trained; with a parent, how it is adapted (0 steps).
    evaluate: where it is evaluated.
    seeds: each fixes initialisation and training data; paired across runs.
    parent: the run whose trained weights this one takes over.

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
  seeds: tuple[int, ...] = (0, 1, 2)
  parent: 'Run | None' = None

  def __post_init__(self):
    object.__setattr__(self, 'seeds', tuple(self.seeds))
    if not self.seeds or len(set(self.seeds)) < len(self.seeds):
      raise ValueError(
        f'seeds of Run must be one or more different numbers, got {self.seeds}'
      )
    for seed in self.seeds:
      component.at_least('seeds of Run', seed, 0)
    trained = self.train.rungs if self.train.steps else ()
    for length in sorted({*trained, *self.lengths}):
      self.task.check(length)
    for length in reversed(self.lengths):
      tokens = self.context(length) - 1 + self.model.bos
      self.evaluated_scheme(length).check(self.model.dims, tokens)
    tokens = self.train.length - 1 + self.model.bos
    self.trained_scheme.check(self.model.dims, tokens)
    how = self.model.block, self.model.implementation
    choice.check_scheme(self.scheme, *how)
    self._check_parent()

  def _check_parent(self):
    if self.parent is None:
      if self.train.steps == 0:
        raise ValueError(
          'steps of Train is 0 but the run has no parent: train it, or give '
          'the run whose weights it takes over'
        )
      return
    for name in ('model', 'seeds'):
      mine, theirs = getattr(self, name), getattr(self.parent, name)
      if mine != theirs:
        raise ValueError(
          f"a retrofit keeps its parent's {name}, got {mine} where the "
          f'parent has {theirs}'
        )
    mine, theirs = self.task.vocabulary, self.parent.task.vocabulary
    if mine != theirs:
      raise ValueError(
        f'{self.task} has {mine} token ids where the model was trained on '
        f'{theirs}, those of {self.parent.task}: choose its fields so that the '
        'vocabularies agree'
      )
    if self.train.steps:
      raise ValueError(
        f'a retrofit is zero-shot, got {self.train.steps} steps: use '
        'Train(steps=0)'
      )

  @property
  def lengths(self) -> tuple[int, ...]:
    """Where the run is evaluated: at the trained length too.

    But for another task than its parent's: what counts is whether the parent
    learned its own, and this one may not exist at that length. Nor for its
    parent's own scheme, under which the parent was evaluated there.
    """
    parent = self.parent
    if parent and (self.task != parent.task or self.scheme == parent.scheme):
      return self.evaluate.lengths
    return tuple(sorted({self.train.length, *self.evaluate.lengths}))

  def context(self, length: int) -> int:
    """How many tokens the model sees at once when evaluated at a length."""
    return min(length, self.evaluate.window or length)

  @property
  def trained_scheme(self) -> schemes.Scheme:
    """The scheme as training uses it."""
    length = self.train.length
    return self.scheme.trained_at(length).for_length(length)

  def evaluated_scheme(self, length: int) -> schemes.Scheme:
    """The scheme as an evaluation at a length uses it."""
    scheme = self.scheme.trained_at(self.train.length)
    return scheme.evaluated().for_length(self.context(length))

  @property
  def name(self) -> str:
    """The run in a few words, for tables and progress."""
    trail = [str(self.scheme)]
    task, ancestor = type(self.task).__name__, self.parent
    while ancestor is not None:
      if ancestor.task != self.task:
        task = str(self.task)
      if str(ancestor.scheme) != trail[0]:
        trail.insert(0, str(ancestor.scheme))
      ancestor = ancestor.parent
    window = self.evaluate.window
    ending = f' in windows of {window}' if window else ''
    return f'{task}: {" -> ".join(trail)}{ending}'

  @property
  def digest(self) -> str:
    """Sixteen hexadecimal digits that name this whole configuration."""
    return digest(self.to_dict())

  def retrofit(self, scheme: schemes.Scheme, **changes: Any) -> 'Run':
    """This run's trained weights under another scheme, zero-shot."""
    changes.setdefault('train', dataclasses.replace(self.train, steps=0))
    return dataclasses.replace(self, scheme=scheme, parent=self, **changes)

  def on(self, task: tasks.Task, **changes: Any) -> 'Run':
    """This run's trained weights on another task of the same vocabulary.

    Another arm of the task, say: other gaps, another density, a later start.
    It is evaluated at the lengths of `evaluate` and at no other.
    """
    return self.retrofit(self.scheme, task=task, **changes)


def digest(config: dict[str, Any]) -> str:
  """The name of a configuration given as plain values."""
  text = json.dumps([REVISION, config], sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:16]
