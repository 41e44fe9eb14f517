"""At which learning rate a run is trained: its own, or the one trials chose."""

import pathlib
from typing import Any, NamedTuple

from posexp.results import records
from posexp.runs import config


class Choice(NamedTuple):
  """The rate of a tuned run, and why.

  Attributes:
    rate: the peak learning rate that was chosen.
    tried: the accuracy on the examples of the gate, by rate and seed; 0 for a
      seed that diverged.
    trials: the digests of the trials, by rate.
  """

  rate: float
  tried: dict[str, dict[str, float]]
  trials: dict[str, str]

  def to_dict(self) -> dict[str, Any]:
    """Return what is recorded."""
    return self._asdict()


def of(run: config.Run, workdir: pathlib.Path) -> float:
  """Return the peak learning rate of a run, whose trials have finished."""
  if run.tuning is None:
    return run.train.learning_rate
  return choose(run, workdir).rate


def choose(run: config.Run, workdir: pathlib.Path) -> Choice:
  """Return the rate that the trials of a tuned run choose.

  They are immutable: a run that was interrupted goes on at the same rate.

  Raises:
    DamagedRecord: if a trial has no record, or one that cannot be read.
  """
  assert run.tuning is not None
  accuracy: dict[float, dict[str, float]] = {}
  for trial in run.trials:
    record = records.read(workdir, trial.digest)
    if record is None:
      raise records.DamagedRecord(
        f'{trial.name} has no record in {workdir}: run it first, in the same '
        'work directory'
      )
    accuracy[trial.train.learning_rate] = _accuracy(record)
  rate = run.tuning.best(
    {r: by_seed.values() for r, by_seed in accuracy.items()}
  )
  return Choice(
    rate,
    {str(rate): by_seed for rate, by_seed in accuracy.items()},
    {str(t.train.learning_rate): t.digest for t in run.trials},
  )


def _accuracy(record: dict[str, Any]) -> dict[str, float]:
  """Return what each seed of a trial scored, 0 where it diverged."""
  return {
    seed: 0.0 if record['diverged'][seed] >= 0 else accuracy or 0.0
    for seed, accuracy in record['learned'].items()
  }
