"""The speed of a training step, scheme by scheme, against the machine's own."""

import dataclasses
import functools
import statistics
import sys
import time
from collections.abc import Sequence

import jax
import numpy as np
import tqdm

from posexp import schemes, tasks
from posexp.cost import flop_count, paired_timing
from posexp.models import mesh
from posexp.runs import config
from posexp.training import train_step

# A step of this many tokens: four seeds of 64 sequences of 41.
SEEDS, BATCH, LENGTH = (0, 1, 2, 3), 64, 41
CHUNK, ROUNDS = 20, 7


@dataclasses.dataclass(frozen=True)
class Everywhere(tasks.Copy):
  """Copy without saying where its answers stand, so that all tokens count."""

  def asked(self, length):
    del length


def step_run(scheme: schemes.Scheme) -> config.Run:
  """Return the run whose training step is timed."""
  return config.Run(
    task=tasks.Copy(symbols=61),  # With three special ones: 64 token ids.
    scheme=scheme,
    model=config.Model(),
    train=config.Train(length=LENGTH, steps=10**6, batch=BATCH),
    evaluate=config.Evaluate(lengths=(LENGTH,)),
    seeds=SEEDS,
  )


class Trainer:
  """A compiled training program that does a chunk of steps when called."""

  def __init__(self, run: config.Run, chunk: int = CHUNK):
    self.run, self._chunk = run, chunk
    self._on = mesh.mesh(len(run.seeds), run.train.batch)
    start, self._advance = train_step.programs(run, self._on, chunk)
    self._members = train_step.members([run], self._on)
    self._state = start(self._members)
    self()

  def __call__(self) -> float:
    """Return the tokens per second of a chunk."""
    begun = time.perf_counter()
    self._state, losses = self._advance(self._state, self._members, np.int32(0))
    jax.block_until_ready(losses)
    train_config = self.run.train
    tokens = len(self.run.seeds) * train_config.batch * train_config.length
    return self._chunk * tokens / (time.perf_counter() - begun)


def one_of_each() -> tuple[schemes.Scheme, ...]:
  """Return the first scheme of each class of the catalogue.

  A frequency law costs what RoPE does, as its angles are given to the program.
  """
  kinds: dict[type, schemes.Scheme] = {}
  for scheme in schemes.CATALOGUE:
    kinds.setdefault(type(scheme), scheme)
  return tuple(kinds.values())


def table(catalogue: tuple[schemes.Scheme, ...] | None = None) -> str:
  """Return interleaved timings: each scheme and the matmul once a round.

  Medians over rounds; the ratio is to NoPE in the same round, with the least
  and the greatest of the rounds; the share is of the float32 matmul rate.
  """
  mesh.use_all_cores()
  catalogue = one_of_each() if catalogue is None else catalogue
  trainers = [
    Trainer(step_run(s), CHUNK // 2)
    for s in tqdm.tqdm(catalogue, desc='compiling', file=sys.stderr)
  ]
  rate_now = functools.partial(flop_count.matmul_rate, 1024, repeats=3)
  turns = paired_timing.in_turns((rate_now, *trainers), ROUNDS)
  rounds = list(tqdm.tqdm(turns, 'timing', ROUNDS, file=sys.stderr))
  rate = statistics.median(row[0] for row in rounds)
  lines = [
    f'training step: {len(SEEDS)} seeds, batch {BATCH}, {LENGTH} tokens, '
    f'3 layers of width 64, on {len(jax.devices())} x '
    f'{jax.devices()[0].device_kind}; matmul rate {rate / 1e9:.0f} GFLOP/s',
    f'{"scheme":34}{"tokens/s":>10}{"of matmul":>11}  ratio to '
    f'{catalogue[0]} (least, greatest of {ROUNDS} rounds)',
  ]
  for n, scheme in enumerate(catalogue):
    speed = statistics.median(row[1 + n] for row in rounds)
    ratios = [row[1 + n] / row[1] for row in rounds]
    flops = flop_count.train_flops(trainers[n].run) / (BATCH * LENGTH)
    lines.append(
      f'{scheme!s:34}{speed:>10,.0f}{speed * flops / rate:>11.1%}'
      f'  {spread(ratios)}'
    )
  return '\n'.join(lines)


def spread(ratios: Sequence[float], digits: int = 2) -> str:
  """Write the median over rounds, with the least and the greatest.

  >>> spread([1.5, 1.0, 3.0])
  '1.50 (1.00, 3.00)'
  """
  numbers = statistics.median(ratios), min(ratios), max(ratios)
  middle, least, greatest = (f'{number:.{digits}f}' for number in numbers)
  return f'{middle} ({least}, {greatest})'
