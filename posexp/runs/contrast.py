"""A comparison that an experiment plans: two runs, a length and a measure."""

import dataclasses

from posexp import component
from posexp.results import plans
from posexp.runs import config


@dataclasses.dataclass(frozen=True)
class Contrast(component.Component):
  """A question that an experiment asks: is a run better than another one?

  An experiment file that defines `contrasts(runs)` yields these, and they are
  what can be claimed of its results: the fewer there are, the fewer seeds each
  of them needs.

  Attributes:
    run: the run that is asked about.
    against: what it is compared with: the same task at the same trained length.
    length: at which both are compared, in tokens; None is the longest at which
      both are evaluated.
    measure: 'token' (targets that are right), 'exact' (sequences that are right
      as a whole), 'order' or 'retrieval' (errors), or 'nats' (minus the
      log-probability of a target).

  Raises:
    UserError: for a run against itself, runs of two questions, or a length at
      which one of them is not evaluated.

  >>> from posexp import schemes, tasks
  >>> rope = config.Run(task=tasks.Ordering(filler=8), scheme=schemes.RoPE())
  >>> ntk = rope.retrofit(schemes.RoPE(schemes.NTK(4)))
  >>> Contrast(ntk, rope, measure='order').length
  256
  """

  run: config.Run
  against: config.Run
  length: int | None = None
  measure: str = component.field('token', one_of=plans.MEASURES)

  def __post_init__(self):
    super().__post_init__()
    if self.run == self.against:
      raise component.UserError(
        f'a Contrast is of two runs, got {self.run.name} against itself: give '
        'another run'
      )
    questions = [(str(r.task), r.trained_length) for r in self.both]
    if questions[0] != questions[1]:
      one, other = (f'{task}, trained at {n}' for task, n in questions)
      raise component.UserError(
        f'a Contrast is of runs of one task at one trained length, got {one}, '
        f'against {other}: compare runs that answer the same question'
      )
    common = sorted(set(self.run.lengths) & set(self.against.lengths))
    if self.length is None and common:
      object.__setattr__(self, 'length', common[-1])
    if self.length not in common:
      lengths = ', '.join(map(str, common)) or 'none'
      raise component.UserError(
        f'length of the Contrast of {self.run.name} and {self.against.name} '
        f'must be one at which both are evaluated ({lengths}), got '
        f'{self.length}: add it to the lengths of Evaluate'
      )

  @property
  def both(self) -> tuple[config.Run, config.Run]:
    """Return the two runs."""
    return self.run, self.against

  def plan(self) -> plans.Contrast:
    """Return what is written down of it, without the runs."""
    run, against = map(candidate, self.both)
    assert self.length is not None
    return plans.Contrast(
      run.task,
      run.trained_length,
      run.digest,
      against.digest,
      self.length,
      self.measure,
      run.label,
      against.label,
    )


def candidate(run: config.Run) -> plans.Candidate:
  """Return what a run is to the default plan."""
  parent = run.parent
  again = (
    parent is not None
    and not run.train.steps
    and (run.scheme, run.task) == (parent.scheme, parent.task)
  )
  return plans.Candidate(
    digest=run.digest,
    label=run.name.split(': ', 1)[-1],
    task=str(run.task),
    trained_length=run.trained_length,
    lengths=run.lengths,
    parent=parent.digest if parent else None,
    again=again,
    tuned=run.root.tuning is not None,
  )
