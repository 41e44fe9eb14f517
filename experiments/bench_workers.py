"""What workers and packed seeds gain over plain training.

The same runs twice, in turns: by plain training, one device and one seed at a
time in one process, and by two workers, each run with all of its seeds in one
program. Nothing is shared: each has a work directory and a cache of compiled
programs of its own, so that compiling counts, too.

Command: python experiments/bench_workers.py
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

from posexp.cost import paired_timing

FILE = """
import posexp
from posexp import schemes, tasks

def grid():
  for scheme in (schemes.RoPE(), schemes.ALiBi(), schemes.T5(), schemes.NoPE()):
    for seeds in {seeds}:
      yield posexp.Run(
        task=tasks.Ordering(symbols=16, queries=4, filler=4),
        scheme=scheme,
        model=posexp.Model(layers=2),
        train=posexp.Train(length=32, steps={steps}, learning_rate=3e-3),
        evaluate=posexp.Evaluate(lengths=(32, 64, 128), examples=512),
        seeds=seeds,
      )
"""
SEEDS = (0, 1, 2, 3)
ALONE = {'XLA_FLAGS': '--xla_force_host_platform_device_count=1'}


def seconds(
  name: str, seeds: str, steps: int, *flags: str, **variables
) -> float:
  """How long one grid takes, from the command to its table."""
  with tempfile.TemporaryDirectory() as folder:
    file = pathlib.Path(folder) / f'{name}.py'
    file.write_text(FILE.format(seeds=seeds, steps=steps))
    cache = {'JAX_COMPILATION_CACHE_DIR': f'{folder}/cache'}
    words = ['-m', 'posexp', 'run', str(file), f'--workdir={folder}/work']
    begun = time.monotonic()
    subprocess.run(
      [sys.executable, *words, *flags],
      env={**os.environ, **cache, **variables},
      check=True,
      capture_output=True,
    )
    return time.monotonic() - begun


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--rounds', type=int, default=2)
  parser.add_argument('--steps', type=int, default=600)
  given = parser.parse_args()
  each = str([(seed,) for seed in SEEDS])
  turns = [
    lambda: seconds('plain', each, given.steps, **ALONE),
    lambda: seconds('packed', str([SEEDS]), given.steps, '--workers=2'),
  ]
  rows = []
  for row in paired_timing.in_turns(turns, given.rounds):
    rows.append(row)
    print(f'plain {row[0]:.0f} s, two workers {row[1]:.0f} s', flush=True)
  ratios = sorted(plain / packed for plain, packed in rows)
  print(
    f'4 runs of 4 seeds: two workers are {np.median(ratios):.2f} times as fast '
    f'(from {ratios[0]:.2f} to {ratios[-1]:.2f} in {len(ratios)} rounds)'
  )


if __name__ == '__main__':
  main()
