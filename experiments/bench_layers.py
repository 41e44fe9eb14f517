"""What does depth cost: the blocks one by one, in a loop, and computed twice?

A training step of one sequence of 512 tokens, width 64, 4 heads, RoPE; the
blocks one after another in the program, or as one program in a loop, which is
how models of many layers are trained. Compiling is timed from Python to the
machine's code, of the step and of the initial parameters. Steps take turns, and
their ratio is taken round by round. Memory is XLA's plan for a step, of which
parameters and optimizer's state are the argument; that of a part of 16
sequences tells what `remat` saves.

Command: python experiments/bench_layers.py
"""

import functools
import time

import jax
import numpy as np

import posexp
from posexp import schemes
from posexp.cost import bench, paired_timing, programs
from posexp.models import blocks, initial, transformer
from posexp.training import train_step

DEPTHS = 4, 8, 12, 24
LENGTH, SEQUENCES, ROUNDS = 512, 16, 9
MIB = 2**20


def run_of(layers, looped, remat=False):
  """A run, whose programs are then made in one of the two ways."""
  blocks.SCANNED_FROM = 1 if looped else layers + 1
  shape = posexp.Model(layers=layers, remat=remat)
  return programs.run_of(schemes.RoPE(), shape, LENGTH)


def timed(make):
  """What a function gives, and how many seconds it takes."""
  begun = time.perf_counter()
  return make(), time.perf_counter() - begun


def drawn(layers, looped):
  """How many seconds the initial parameters take to compile."""
  draw = functools.partial(
    initial.params, transformer.of(run_of(layers, looped))
  )
  return timed(jax.jit(draw).lower(jax.random.key(0)).compile)[1]


def step(layers, looped, remat=False):
  """A compiled step, and how many seconds that takes."""
  run = run_of(layers, looped, remat)
  program, seconds = timed(lambda: programs.Program('train', run))
  program.start()
  return program, seconds


def planned(looped, remat):
  """MiB of a gradient of many sequences beside its arguments and results."""
  run = run_of(DEPTHS[-1], looped, remat)
  net = transformer.of(run)
  params = jax.eval_shape(blocks.stacked, transformer.shapes(net))
  batch = jax.eval_shape(
    lambda: run.task.sample(jax.random.key(0), length=LENGTH, batch=SEQUENCES)
  )

  def gradient(params, batch):
    return train_step.gradient(net, params, batch, None, SEQUENCES)

  compiled = jax.jit(gradient).lower(params, batch).compile()
  return programs.analysis(compiled)['temporary'] / MIB


def main():
  print(f'{jax.devices()[0].device_kind}, JAX {jax.__version__}')
  print('layers  draws  in a loop  step  in a loop  time in a loop / apart')
  for layers in DEPTHS:
    draws = [drawn(layers, looped) for looped in (False, True)]
    steps, seconds = zip(*(step(layers, looped) for looped in (False, True)))
    times = np.array(list(paired_timing.in_turns(steps, ROUNDS)))
    cells = [f'{s:8.1f} s' for pair in (draws, seconds) for s in pair]
    ratio = bench.spread(times[:, 1] / times[:, 0])
    print(f'{layers:>6}', *cells, ratio, flush=True)
  again, plain = (step(DEPTHS[-1], True, r)[0] for r in (True, False))
  times = np.array(list(paired_timing.in_turns((again, plain), ROUNDS)))
  print('time with remat / without', bench.spread(times[:, 0] / times[:, 1]))
  for label, *how in (
    ('apart', False, False),
    ('in a loop', True, False),
    ('in a loop with remat', True, True),
  ):
    print(f'{label}: {planned(*how):,.0f} MiB', flush=True)


if __name__ == '__main__':
  main()
