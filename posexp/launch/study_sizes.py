"""The sizes of studies: models, tasks and adaptation, small and full."""

from typing import Any, NamedTuple

from posexp import schemes, tasks
from posexp.runs import config, length_schedule


class Size(NamedTuple):
  """How large a study is.

  Attributes:
    task: what is asked, see `suite`.
    model: the shape of every model.
    train: how the roots are trained; its length is the trained length.
    adapt: how a retrofit is adapted, the same for all.
    factor: by how much the context is stretched.
    stands_for: the trained length of the model that it stands for.
    seeds: of every run.
    tokens: evaluated at each length.
    timed: the length at which latency is measured, in tokens.
    minutes: that the timings may take.
    transfers: what carries over to another size and what may not.
  """

  task: tasks.Mixture
  model: config.Model
  train: config.Train
  adapt: config.Train
  factor: int
  stands_for: int
  seeds: tuple[int, ...]
  tokens: int
  timed: int
  minutes: float
  transfers: tuple[str, ...] = ()

  @property
  def trained(self) -> int:
    return self.train.length

  @property
  def target(self) -> int:
    return self.factor * self.trained

  def root(self, scheme: schemes.Scheme) -> config.Run:
    """Return a run that is trained from nothing, evaluated up to the target."""
    lengths = self.trained, self.target // 2, self.target
    return config.Run(
      task=self.task,
      scheme=scheme,
      model=self.model,
      train=self.train,
      evaluate=config.Evaluate(lengths=lengths, examples=1, tokens=self.tokens),
      seeds=self.seeds,
    )


# The tasks of a suite, by their index in the mixture.
TASKS = ('ordering', 'presence', 'attachment', 'recall', 'copy')


def suite(
  *,
  symbols: int,
  queries: int,
  clauses: int,
  pairs: int,
  names: int,
  count: int,
  weights: tuple[float, ...] | None = None,
) -> tasks.Mixture:
  """Mix five tasks in one model: order, retrieval, binding, recall, copying.

  Ordering and its twin presence; attachment; recall; selective copy, as a copy
  of all tokens would ask for another number of answers at each length. The
  number of facts stays, and filler makes a sequence longer.

  Args:
    symbols: events of ordering and presence.
    queries: questions about them in a sequence.
    clauses: of attachment, each asked about.
    pairs: of recall, each asked about.
    names: keys of recall, and values, to choose from.
    count: tokens to copy.
    weights: how often each task is drawn, relative to each other.
  """
  twins = {'symbols': symbols, 'queries': queries, 'filler': 4}
  return tasks.Mixture(
    (
      tasks.Ordering(**twins),
      tasks.Presence(**twins),
      tasks.Attachment(2 * clauses, clauses, distractors=0, filler=4),
      tasks.Recall(pairs, names, 4, keys=names, pairs=pairs),
      tasks.SelectiveCopy(count=count),
    ),
    weights,
  )


# Few symbols, and most sequences of what is learned last: all five are quick to
# learn at either base. Every fact is asked about; among others that are not, 13
# of 14 seeds stayed at a guess in attachment for 5,000 steps or more.
SMALL = suite(
  symbols=12,
  queries=4,
  clauses=2,
  pairs=6,
  names=8,
  count=8,
  weights=(1.0, 0.5, 3.4, 2.2, 0.6),
)


def laws(size: Size) -> dict[str, schemes.Law]:
  """Return the ways to scale a rotation to the target, by their names.

  Where a pair is kept or interpolated is matched to the model that it stands
  for, as in a short context no pair turns 32 times.
  """
  factor, trained = float(size.factor), size.trained
  fast = schemes.matched(size.stands_for, 32.0)
  return {
    'base scaling': schemes.NTK(factor),
    'interpolation': schemes.Linear(factor),
    'by parts': schemes.NTKByParts(factor, trained, beta=fast),
    'YaRN': schemes.YaRN(factor, trained, beta_fast=fast),
  }


def learned_bias(size: Size) -> schemes.T5:
  """Return T5's table with a last bucket that begins at the target."""
  return schemes.T5(buckets=32, max_distance=size.target)


def small(
  *, factor: int, steps: int, adapt: int, exponent: float = 0.0, **fields: Any
) -> Size:
  """Return a size for two cores: 32 tokens, stretched by a factor.

  Dense bodies and wide heads, as `SMALL`, are what makes all five tasks quick
  to learn.

  Args:
    factor: by how much.
    steps: of the roots' training.
    adapt: steps of an adaptation.
    exponent: of an adaptation's lengths, see `length_schedule.PowerLaw`.
    **fields: of `Size`: stands_for, seeds, and others in the place of these.
  """
  train = config.Train(
    length=32, steps=steps, batch=64, learning_rate=2e-3, checkpoint_every=1000
  )
  defaults: dict[str, Any] = {
    'task': SMALL,
    'model': config.Model(layers=4, heads=2, feedforward=128),
    'train': train,
    'adapt': _adaptation(32, factor, adapt, exponent, 2**11, 2e-3),
    'tokens': 2**16,
    'timed': 8192,
    'minutes': 3.0,
  }
  return Size(factor=factor, **defaults | fields)


def full(
  *,
  factor: int,
  trained: int,
  adapt: int = 400,
  exponent: float = 0.0,
  **fields: Any,
) -> Size:
  """Return a size for accelerators; the arguments are those of `small`."""
  task = suite(
    symbols=trained // 8,
    queries=trained // 64,
    clauses=trained // 128,
    pairs=trained // 64,
    names=trained // 16,
    count=trained // 32,
  )
  train = config.Train(
    length=trained, steps=50000, batch=32, learning_rate=1e-3, warmup=1000
  )
  defaults: dict[str, Any] = {
    'task': task,
    'model': config.Model(layers=8, width=512, heads=8, compute='bfloat16'),
    'train': train,
    'adapt': _adaptation(trained, factor, adapt, exponent, 2**17, 3e-4),
    'stands_for': trained,
    'tokens': 2**22,
    'timed': factor * trained,
    'minutes': 20.0,
  }
  return Size(factor=factor, **defaults | fields)


def _adaptation(
  trained: int,
  factor: int,
  steps: int,
  exponent: float,
  tokens: int,
  learning_rate: float,
) -> config.Train:
  """Return steps of so many tokens, at the trained length and the target."""
  target = factor * trained
  return config.Train(
    length=target,
    lengths=length_schedule.PowerLaw(trained, target, exponent, rungs=2),
    steps=steps,
    batch=tokens // target,
    learning_rate=learning_rate,
    warmup=steps // 10,
  )
