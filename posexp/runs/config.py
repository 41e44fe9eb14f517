"""What a run is: frozen dataclasses that are complete, hashed and saved."""

import dataclasses
import functools
import hashlib
import json
from typing import Any

from posexp import component, schemes, tasks
from posexp.attention import dispatch
from posexp.runs import diff
from posexp.runs.settings import Evaluate, Model, Train

__all__ = ['REVISION', 'Evaluate', 'Model', 'Run', 'Train', 'digest']

# Part of every digest: raise it when the same config gives other numbers.
REVISION = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run(component.Component):
  """One cell of an experiment: a task, a scheme and the seeds it is run with.

  With a parent, the weights are the parent's, evaluated under another scheme (a
  retrofit), adapted to it first or not, or on another arm of the task.
  Everything is checked here, before any compute.

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
      raise component.UserError(
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
    dispatch.check_scheme(self.scheme, *how)
    self._check_parent()

  def _check_parent(self):
    parent = self.parent
    if parent is None:
      self._check_root()
      return
    for name in ('model', 'seeds'):
      mine, theirs = getattr(self, name), getattr(parent, name)
      if mine != theirs:
        raise component.UserError(
          f"a retrofit keeps its parent's {name}, got {mine} where the "
          f'parent has {theirs}'
        )
    mine, theirs = self.task.vocabulary, parent.task.vocabulary
    if mine != theirs:
      raise component.UserError(
        f'{self.task} has {mine} token ids where the model was trained on '
        f'{theirs}, those of {parent.task}: choose its fields so that the '
        'vocabularies agree'
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
    for name, free in (('only', 'all'), ('warm_in', 0)):
      if getattr(self.train, name) != free:
        raise component.UserError(
          f'{name}={getattr(self.train, name)!r} of Train is for the '
          f'adaptation of a parent, and the run has none: use {name}={free!r}'
        )

  @property
  def lengths(self) -> tuple[int, ...]:
    """Where the run is evaluated: at the trained length too.

    But for another task than its parent's: what counts is whether the parent
    learned its own, and this one may not exist at that length. Nor for its
    parent's own scheme, under which the parent was evaluated there.
    """
    parent = self.parent
    if self._evaluates() or (parent and self.task != parent.task):
      return self.evaluate.lengths
    return tuple(sorted({self.trained_length, *self.evaluate.lengths}))

  @property
  def root(self) -> 'Run':
    """The run that was trained from nothing."""
    return self if self.parent is None else self.parent.root

  @property
  def trained_length(self) -> int:
    """The length that the model was trained at before it was changed."""
    return self.root.train.length

  @property
  def changes(self) -> tuple[str, ...]:
    """What this run changes of its parent, a phrase a change."""
    if self.parent is None:
      return ()
    found = diff.of_schemes(self.parent.scheme, self.scheme)
    if self.task != self.parent.task:
      found += (f'task: {self.parent.task} -> {self.task}',)
    return found + (
      (f'adapted: {self._adapted()}',) if self.train.steps else ()
    )

  @property
  def steps_before(self) -> int:
    """How many steps its weights had behind them at its first."""
    parent = self.parent
    return parent.steps_before + parent.train.steps if parent else 0

  def context(self, length: int) -> int:
    """How many tokens the model sees at once when evaluated at a length."""
    return min(length, self.evaluate.window or length)

  @property
  def trained_scheme(self) -> schemes.Scheme:
    """The scheme as training uses it, at its longest length."""
    return self.trained_scheme_at(self.train.length)

  def trained_scheme_at(self, length: int) -> schemes.Scheme:
    """The scheme as a step of training at a length uses it."""
    return self.scheme.trained_at(self.trained_length).for_length(length)

  def evaluated_scheme(self, length: int) -> schemes.Scheme:
    """The scheme as an evaluation at a length uses it."""
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
    """Whether this is no more than its parent, evaluated again."""
    parent = self.parent
    same = parent is not None and self.scheme == parent.scheme
    return same and not self.train.steps

  def _stage(self) -> str:
    """The scheme, with the adaptation to it if there was one."""
    if self.parent and self._evaluates():
      return self.parent._stage()
    if self.parent is None or not self.train.steps:
      return str(self.scheme)
    return f'{self.scheme} [{self._adapted()}]'

  def _adapted(self) -> str:
    train, rungs = self.train, self.train.rungs
    at = str(rungs[0]) if len(rungs) == 1 else f'{rungs[0]} to {rungs[-1]}'
    only = '' if train.only == 'all' else f', {train.only} only'
    warm = f', bias warmed in over {train.warm_in}' if train.warm_in else ''
    return f'{train.steps} steps at {at}{only}{warm}'

  @functools.cached_property
  def digest(self) -> str:
    """Sixteen hexadecimal digits that name this whole configuration."""
    return digest(self.to_dict())

  def retrofit(self, scheme: schemes.Scheme, **changed: Any) -> 'Run':
    """This run's trained weights under another scheme.

    Zero-shot, unless `train` says how they are adapted to it: its steps follow
    those that the weights have behind them, with data that they have not seen.

    >>> from posexp import schemes, tasks
    >>> run = Run(task=tasks.Ordering(filler=8), scheme=schemes.RoPE())
    >>> short = dataclasses.replace(run.train, steps=100, length=128)
    >>> print(run.retrofit(schemes.RoPE(schemes.NTK(4)), train=short).name)
    Ordering: RoPE() -> RoPE(NTK(4)) [100 steps at 128]
    """
    still = dataclasses.replace(self.train, steps=0, only='all', warm_in=0)
    changed = {'train': still, **changed}
    return dataclasses.replace(self, scheme=scheme, parent=self, **changed)

  def without(self, kind: type[schemes.Scheme], **changed: Any) -> 'Run':
    """This run's trained weights without the terms of a class.

    Raises:
      UserError: if its scheme has none.
    """
    return self.retrofit(diff.without(self.scheme, kind), **changed)

  def on(self, task: tasks.Task, **changed: Any) -> 'Run':
    """This run's trained weights on another task of the same vocabulary.

    Another arm of the task, say: other gaps, another density, a later start.
    It is evaluated at the lengths of `evaluate` and at no other.
    """
    return self.retrofit(self.scheme, task=task, **changed)


def digest(config: dict[str, Any]) -> str:
  """The name of a configuration given as plain values."""
  text = json.dumps([REVISION, config], sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:16]
