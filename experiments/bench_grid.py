"""What a grid of thousands of runs costs beside the runs themselves.

In place of training, each run writes a record like that of a real one: three
seeds, four lengths, losses, diagnostics. So what is timed is planning, claims,
records and tables. The aim is that of a person who waits: 10,000 finished runs
skipped in 5 s, and their table there in 3 s.

Command: python experiments/bench_grid.py
"""

import argparse
import dataclasses
import pathlib
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import posexp
from posexp import schemes, tasks
from posexp.launch import grid, job, launcher, status
from posexp.results import records


def runs(number: int) -> tuple[posexp.Run, ...]:
  """So many roots that differ in their learning rates."""
  one = posexp.Run(
    task=tasks.Ordering(symbols=16, queries=1, filler=4),
    scheme=schemes.RoPE(),
    model=posexp.Model(layers=1, width=16, heads=2),
    train=posexp.Train(length=12, steps=30, batch=8, warmup=3),
    evaluate=posexp.Evaluate(lengths=(12, 16, 20, 24), examples=64),
    seeds=(0, 1, 2),
  )
  return grid.plan(
    dataclasses.replace(
      one, train=dataclasses.replace(one.train, learning_rate=1e-3 * 1.001**n)
    )
    for n in range(number)
  )


def template(run: posexp.Run) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
  """The record and the outcomes of a run that is really computed."""
  kept = []
  write = records.write

  def keep(workdir, record, outcomes):
    kept.append((record, outcomes))
    return write(workdir, record, outcomes)

  with tempfile.TemporaryDirectory() as folder:
    workdir = pathlib.Path(folder)
    records.write = keep
    try:
      assert launcher.execute([run], workdir, launcher.ExecutorConfig()) == 0
    finally:
      records.write = write
  return kept[0]


def timed(what: str, work: Callable[[], Any], number: int) -> Any:
  begun = time.monotonic()
  found = work()
  seconds = time.monotonic() - begun
  print(
    f'{what:44} {seconds:8.2f} s {1e3 * seconds / number:8.3f} ms a run',
    flush=True,
  )
  return found


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--runs', type=int, default=10_000)
  number = parser.parse_args().runs
  record, outcomes = template(runs(1)[0])

  def trivial(run, *_):
    body = {'digest': run.digest, 'name': run.name, 'config': run.to_dict()}
    return record | body, outcomes

  def keep(run, workdir, tell, computed):
    records.write(workdir, *computed)

  job.compute, job.keep = trivial, keep
  with tempfile.TemporaryDirectory() as folder:
    workdir = pathlib.Path(folder)
    every = timed('construct the runs', lambda: runs(number), number)
    executor = launcher.ExecutorConfig()

    def launch():
      return launcher.execute(every, workdir, executor)

    timed('launch: claim, record, outcomes', launch, number)
    timed('launch again: all is finished', launch, number)
    timed('posexp status', lambda: status.text(workdir), number)
    table = timed('load the table', lambda: records.load(workdir), number)
    files = [path for path in workdir.rglob('*') if path.is_file()]
    size = sum(path.stat().st_size for path in files)
  print(
    f'{len(table):,} rows; {len(files) / number:.1f} files and '
    f'{size / number / 1024:.1f} KiB a run'
  )


if __name__ == '__main__':
  main()
