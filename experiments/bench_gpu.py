"""Does posexp keep its laws on a GPU, and how fast is it there?

What is measured, in this order, is in SECTIONS. Each section has a process of
its own, a limit and at most the minutes that are left; each result is in
`results.json` as soon as there is one, and a second call measures only what is
missing. So a machine that is lent for a few minutes is enough, or two of them.

  rates       a large matrix product: float32, TF32 and bfloat16
  laws        attention against float64 sums over all pairs, in float32, with
              the device's default and in bfloat16; blocks, kernel and cuDNN
              against dense attention, gradients too; causality; decoding;
              seeds that are trained together
  large       a training step at width 1,024
  packed      a training step at width 64, 1 to 64 seeds in one program
  attention   4,096 to 32,768 tokens: kernel, blocks, cuDNN, dense
  decode      a token after 32,768
  quickstart  experiments/quickstart.py from end to end

Programs of one section take turns where they are compared, compilation is left
out, and a ratio is taken round by round; numbers are medians. What does not fit
into memory is reported as that. A share of peak is that of FLOPs counted by
`posexp.cost.flop_count` over the peak that the maker publishes.

Command: make gpu-check
"""

import argparse
import dataclasses
import functools
import os
import pathlib
import statistics
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

import posexp
from posexp import schemes
from posexp.cli import main as command_line
from posexp.cost import (
  bench,
  flop_count,
  paired_timing,
  peaks,
  programs,
  sections,
)
from posexp.inspect import device_laws
from posexp.models import environment, mesh

ARITHMETIC = 'bfloat16', 'tensorfloat32', 'float32'
# What the project aims at on an H200.
AIMS = {'large': 0.5, 'packed': 1.0, 'attention': 1.3}
QUICKSTART = pathlib.Path(__file__).with_name('quickstart.py')
FORWARD, BACKWARD = 'forward', 'forward and backward'
# What all attention is compared with.
FIRST = 'cuDNN, no bias'

LAWS = device_laws.Sizes()


@dataclasses.dataclass(frozen=True)
class Sizes:
  """What is measured; the defaults are for one GPU of a data center."""

  matmul: int = 8192
  laws: device_laws.Sizes = LAWS
  # Of the large model, and of how many sequences a step may be.
  layers: int = 12
  width: int = 1024
  heads: int = 16
  length: int = 2048
  batches: tuple[int, ...] = (8, 4, 2, 1)
  chunk: int = 10
  # Of the small model.
  small_layers: int = 3
  seeds: tuple[int, ...] = (1, 8, 64)
  # Tokens of attention, and in the cache.
  lengths: tuple[int, ...] = (4096, 16_384, 32_768)
  cached: int = 32_768
  cached_layers: int = 4
  rounds: int = 7
  quickstart: tuple[str, ...] = ()


FULL = Sizes()
# To try the script on a CPU; its numbers say nothing.
TINY = Sizes(
  matmul=64,
  laws=device_laws.Sizes(tokens=40, block=16, decoded=6, steps=3),
  layers=1,
  width=32,
  heads=2,
  length=48,
  batches=(2,),
  chunk=2,
  small_layers=1,
  seeds=(1, 2),
  lengths=(160,),
  cached=64,
  cached_layers=1,
  rounds=2,
  quickstart=(
    *('--only=NoPE', '--seeds=0', '--set=train.steps=3', '--set=train.batch=4'),
    *('--set=train.warmup=1', '--set=evaluate.examples=4'),
    *('--set=evaluate.lengths=32,64', '--set=evaluate.diagnose=none'),
  ),
)


def share(flops_per_second, arithmetic, devices=1):
  """Of the peak that is published, 'unknown' where none is."""
  most = peaks.peak(jax.devices()[0].device_kind, arithmetic)
  return flops_per_second / (devices * most) if most else 'unknown'


def rates(sizes, _):
  """Cases: the rate of a matrix product, FLOP/s of all devices together."""

  def rate(dtype, precision, kind):
    found = flop_count.matmul_rate(sizes.matmul, 5, dtype, precision)
    devices = jax.local_device_count()
    return {'FLOP/s': found, 'share of peak': share(found, kind, devices)}

  for kind in ARITHMETIC:
    dtype = 'bfloat16' if kind == 'bfloat16' else 'float32'
    precision = {'float32': 'highest'}.get(kind, 'default')
    yield kind, functools.partial(rate, dtype, precision, kind)


def laws(sizes, _):
  """Cases: laws that must hold on any device."""
  return device_laws.cases(sizes.laws)


def wide(sizes, layers):
  """The shape of a model that fills a GPU."""
  return posexp.Model(
    layers=layers, width=sizes.width, heads=sizes.heads, compute='bfloat16'
  )


def large(sizes, _):
  """Cases: a training step of a model that fills a GPU."""
  model = wide(sizes, sizes.layers)

  def step():
    for batch in sizes.batches:
      run = posexp.Run(
        task=bench.Everywhere(symbols=61, distinct=False),
        scheme=schemes.RoPE(),
        model=model,
        train=posexp.Train(length=sizes.length, steps=10**6, batch=batch),
        evaluate=posexp.Evaluate(lengths=(sizes.length,)),
        seeds=(0,),
      )
      try:
        trainer = bench.Trainer(run, sizes.chunk)
        rounds = [[trainer()] for _ in range(sizes.rounds)]
      except jax.errors.JaxRuntimeError as error:
        if not sections.out_of_memory(error) or batch == sizes.batches[-1]:
          raise
        continue
      return {'batch': batch, **speed(run, rounds, 0)}

  yield f'width {sizes.width}, {sizes.length} tokens, bfloat16', step


def speed(run, rounds, column):
  """Tokens/s, with the least and the greatest, and the share of peak."""
  speeds = [row[column] for row in rounds]
  tokens = statistics.median(speeds)
  flops = flop_count.train_flops(run) / (run.train.batch * run.train.length)
  devices = mesh.mesh(len(run.seeds), run.train.batch).size
  return {
    'tokens/s': tokens,
    'least': min(speeds),
    'greatest': max(speeds),
    'share of peak': share(tokens * flops, run.model.compute, devices),
  }


def packed(sizes, _):
  """Cases: one, a few and many seeds of a small model in one program."""

  def steps():
    base = bench.step_run(schemes.RoPE())
    model = dataclasses.replace(base.model, layers=sizes.small_layers)
    runs = [
      dataclasses.replace(base, model=model, seeds=tuple(range(number)))
      for number in sizes.seeds
    ]
    trainers = [bench.Trainer(run, sizes.chunk) for run in runs]
    rounds = list(paired_timing.in_turns(trainers, sizes.rounds))
    found = {
      f'{number} seeds': speed(run, rounds, n)
      for n, (number, run) in enumerate(zip(sizes.seeds, runs))
    }
    gains = [row[-1] / row[0] / sizes.seeds[-1] for row in rounds]
    return found | {'of linear': statistics.median(gains)}

  yield 'width 64, float32', steps


class Timed:
  """A compiled program on its arguments; a call returns seconds."""

  def __init__(self, run, *args):
    self._args, self._compiled = args, jax.jit(run).lower(*args).compile()
    need = programs.analysis(self._compiled)['memory'] / 2**30
    free = programs.free_bytes() / 2**30
    if need > free:
      raise MemoryError(f'{need:.3g} GiB are needed and {free:.3g} are free')

  def __call__(self, times=1):
    begun = time.perf_counter()
    for _ in range(times):
      out = self._compiled(*self._args)
    jax.block_until_ready(out)
    return (time.perf_counter() - begun) / times


def in_turns(makers, sizes):
  """Seconds of each program, and its ratio to the first, round by round."""
  timed, found = {}, {}
  for name, make in makers.items():
    if unfit := device_laws.unserved(name):
      found[name] = unfit
      continue
    try:
      program = make()
      program()  # Memory is taken only now.
      timed[name] = program
    except Exception as error:  # The others are measured all the same.
      found[name] = sections.problem(error)
  if timed:
    calls, _ = programs.repetitions(list(timed.values()))
    each = [functools.partial(program, calls) for program in timed.values()]
    rounds = np.array(list(paired_timing.in_turns(each, sizes.rounds)))
    for n, name in enumerate(timed):
      ratios = rounds[:, n] / rounds[:, 0]
      found[name] = {
        'seconds': float(np.median(rounds[:, n])),
        f'ratio to {next(iter(timed))}': float(np.median(ratios)),
        'least': float(ratios.min()),
        'greatest': float(ratios.max()),
      }
  return found


def attention(sizes, _):
  """Cases: attention of one sequence of bfloat16, by length."""
  width = sizes.width // sizes.heads
  ways = {
    FIRST: (schemes.NoPE(), {'block': 'auto'}),
    'kernel, no bias': (schemes.NoPE(), {'implementation': 'pallas'}),
    'kernel, ALiBi': (schemes.ALiBi(), {'implementation': 'pallas'}),
    'blocks, ALiBi': (
      schemes.ALiBi(),
      {'block': 'auto', 'implementation': 'xla'},
    ),
    'dense, ALiBi': (schemes.ALiBi(), {'block': None}),
  }

  def make(scheme, how, passes, arrays):
    def forward(q, k, v):
      return posexp.attend(scheme, {}, q, k, v, **how)

    def loss(*arrays):
      return jnp.sum(jnp.square(forward(*arrays).astype(jnp.float32)))

    grad = jax.grad(loss, argnums=(0, 1, 2))
    return Timed(forward if passes == FORWARD else grad, *arrays)

  def case(length, passes):
    shape = 1, length, sizes.heads, width
    arrays = [
      jax.random.normal(jax.random.key(n), shape, jnp.bfloat16)
      for n in range(3)
    ]
    makers = {
      name: functools.partial(make, *way, passes, arrays)
      for name, way in ways.items()
    }
    return in_turns(makers, sizes)

  for passes in (BACKWARD, FORWARD):
    for length in sizes.lengths:
      name = f'{length} tokens, {passes}'
      yield name, functools.partial(case, length, passes)


def decode(sizes, _):
  """Cases: the next token from a full cache, by scheme."""
  model = wide(sizes, sizes.cached_layers)

  def make(scheme):
    run = programs.run_of(scheme, model, sizes.cached)
    program = programs.Program('decode', run)
    program.start()
    return program

  def case():
    compared = schemes.RoPE(), schemes.ALiBi(), schemes.T5()
    makers = {str(s): functools.partial(make, s) for s in compared}
    return in_turns(makers, sizes)

  yield f'{sizes.cached_layers} layers, {sizes.cached} tokens', case


def quickstart(sizes, results):
  """Cases: the quickstart, which goes on where it was stopped."""
  workdir = results.path.parent / 'quickstart'

  def whole():
    words = 'posexp', 'run', str(QUICKSTART), f'--workdir={workdir}'
    begun = time.perf_counter()
    code = command_line.main([*words, *sizes.quickstart])
    seconds = time.perf_counter() - begun
    if code:
      raise RuntimeError(f'posexp run ended with {code}')
    table = posexp.load(workdir)
    seeds = table.drop_duplicates(['digest', 'seed'])
    return {
      'seconds': seconds,
      'runs': int(table.digest.nunique()),
      'seeds': len(seeds),
      'seeds that learned': int(seeds.admitted.sum()),
    }

  yield 'from end to end', whole


# By value; the seconds that each may take, its start and compilation included.
SECTIONS = {
  'rates': (rates, 60),
  'laws': (laws, 150),
  'large': (large, 120),
  'packed': (packed, 100),
  'attention': (attention, 150),
  'decode': (decode, 90),
  'quickstart': (quickstart, 420),
}


def begin(sizes, results):
  """Write down whose results they are; refuse a CPU, or another machine."""
  device = environment.device(mesh.mesh(1, 1))
  if device['platform'] == 'cpu' and sizes == FULL:
    raise posexp.UserError(
      'JAX has found no GPU: install jax[cuda12], as `make gpu-check` does, or '
      'try the script with --tiny'
    )
  results.belong(
    {
      'device': device['kind'],
      'versions': environment.versions(),
      'tiny': sizes == TINY,
    }
  )


def finish(results):
  """Prints what the project aims at beside what was measured."""

  def cases(name):
    return results.section(name)['cases']

  laws_found = [c for c in cases('laws').values() if 'holds' in c]
  print(f'\n{results.body.get("device")}: {results.path}')
  held = sum(c['holds'] for c in laws_found)
  print(f'laws that hold: {held} of {len(laws_found)}')
  for case, found in cases('large').items():
    print(f'{case}: {sections.told(found)} (aim: {AIMS["large"]} of peak)')
  for case, found in cases('packed').items():
    of_linear = found.get('of linear', found)
    print(
      f'{case}: {sections.told(of_linear)} of linear (aim: {AIMS["packed"]})'
    )
  for case, found in cases('attention').items():
    ratios = [
      f'{way} {sections.told(result.get(f"ratio to {FIRST}", "unknown"))}'
      for way, result in found.items()
      if 'seconds' in result and way != FIRST
    ]
    aim = f'(aim for ALiBi at 16,384: {AIMS["attention"]})'
    print(f'{case}, ratio to {FIRST}: {", ".join(ratios)} {aim}')
  for case, found in cases('quickstart').items():
    print(f'quickstart {case}: {sections.told(found)}')


def measure(section, sizes, results):
  """Measure a section, in the process that is its own."""
  mesh.use_all_cores()
  mesh.cache_compilations()
  try:
    begin(sizes, results)
  except posexp.UserError as error:
    print(f'bench_gpu: {error}', file=sys.stderr)
    return sections.REFUSED
  cases, _ = SECTIONS[section]
  return sections.measure(section, cases(sizes, results), results)


def main():
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--workdir', default='runs/gpu-check')
  parser.add_argument('--minutes', type=float, default=8.0)
  parser.add_argument('--tiny', action='store_true', help='to try it on a CPU')
  parser.add_argument('--section', choices=SECTIONS, help='only this one')
  given = parser.parse_args()
  results = sections.Results(given.workdir)
  if given.section:
    return measure(given.section, TINY if given.tiny else FULL, results)

  def command(section):
    words = f'--section={section}', f'--workdir={given.workdir}'
    return [sys.executable, __file__, *words, *['--tiny'] * given.tiny]

  # A section is alone on the device: it may have nearly all memory.
  os.environ.setdefault('XLA_PYTHON_CLIENT_MEM_FRACTION', '0.92')
  limits = {name: limit for name, (_, limit) in SECTIONS.items()}
  code = sections.run(limits, results, given.minutes, command)
  if code != sections.REFUSED:
    finish(results)
  return code


if __name__ == '__main__':
  sys.exit(main())
