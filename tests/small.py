"""A run small enough to train in a test, and how to run it."""

import dataclasses
import pathlib

from posexp import schemes, tasks
from posexp.launch import grid, scheduler
from posexp.results import progress
from posexp.runs import config

# What makes a run of an experiment file small, for --set.
FEW = (
  'train.steps=3',
  'train.warmup=1',
  'train.batch=4',
  'evaluate.examples=4',
  'seeds=0',
)
# A test that fails should say so at once.
RETRIES = 0


def run(**changes) -> config.Run:
  """One layer, a few steps; `changes` are fields of the run.

  Attention is not looked at: that compiles as long as all else together.
  """
  base = config.Run(
    task=tasks.Ordering(symbols=16, queries=1, filler=4),
    scheme=schemes.RoPE(),
    model=config.Model(layers=1, width=16, heads=2),
    train=config.Train(
      length=12, steps=30, batch=8, warmup=5, checkpoint_every=10
    ),
    evaluate=config.Evaluate(lengths=(12, 24), examples=16, diagnose='none'),
    seeds=(3, 5),
  )
  return dataclasses.replace(base, **changes)


def train_config(**changes) -> config.Train:
  """The small run's training with some fields changed."""
  return dataclasses.replace(run().train, **changes)


def execute(workdir: pathlib.Path, *runs: config.Run) -> dict[str, str]:
  """Runs a grid quietly and returns its failures."""
  workdir.mkdir(parents=True, exist_ok=True)
  with progress.Progress(1.0, workdir / 'log.txt') as tell:
    launch = scheduler.Launch(grid.plan(runs), workdir, tell, retries=RETRIES)
    return scheduler.execute(launch)
