"""What does attention cost at long range, block by block and dense?

One sequence, 4 heads of width 16, causal, float32, in one process. Blocks have
the heads spread over the devices, which on a CPU are its cores, as in all
commands of posexp. Dense attention is timed twice: as JAX does by default, on
one device that has all cores to itself, and spread like the blocks. All take
turns, compilation is left out, and a ratio is taken round by round. Memory is
resident memory over that of the bare import, in a fresh process for each case.

The last table is the largest difference between the two over all schemes that
have blocks, values and gradients apart, relative to the largest number.

Command: python experiments/bench_attention.py
"""

import functools
import pathlib
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

import posexp
from posexp import schemes
from posexp.cost import bench, paired_timing
from posexp.models import mesh

HEADS, WIDTH = 4, 16
DIMS = schemes.Dims(HEADS * WIDTH, HEADS, WIDTH)
BOTH = schemes.RoPE() + schemes.T5()
FORWARD, BACKWARD = 'forward', 'forward and backward'

# What is timed: a pass, a scheme, and lengths with the rounds of each; 0 where
# the dense logits are too large for a small machine.
TIMED = (
  (FORWARD, schemes.ALiBi(), {4096: 9, 16_384: 7, 32_768: 0}),
  (BACKWARD, BOTH, {4096: 7, 8192: 5, 16_384: 0}),
)
HEADINGS = (
  *('tokens', 'blocks', 'dense', 'ratio (least, greatest)'),
  *('dense, spread', 'ratio', 'memory', 'dense'),
)
SIZES = (31, 64, 123, 512)
# No multiple of any size, and longer than most.
LENGTH = 200


def arrays(length, dtype=jnp.float32):
  """Queries, keys and values."""
  shape = 1, length, HEADS, WIDTH

  def draw(n):
    return jax.random.normal(jax.random.key(n), shape).astype(dtype)

  return tuple(map(draw, range(3)))


def params_of(scheme):
  """Parameters that are not those a scheme starts from, which may be zero."""
  params = scheme.init_layer(jax.random.key(0), DIMS)
  leaves, tree = jax.tree.flatten(params)
  keys = jax.random.split(jax.random.key(1), len(leaves) + 1)
  drawn = [jax.random.normal(k, x.shape) for k, x in zip(keys, leaves)]
  return jax.tree.unflatten(tree, drawn)


def program(kind, scheme, block):
  """A pass as a jitted function of params, q, k and v."""

  def attend(params, q, k, v):
    content = None
    if 'locate' in scheme.hooks():
      content = q.reshape(*q.shape[:2], -1)
    return posexp.attend(scheme, params, q, k, v, block, content)

  def loss(*args):
    out = attend(*args)
    return jnp.sum(jnp.square(out.astype(jnp.float32))), out

  if kind == FORWARD:
    return jax.jit(attend)
  return jax.jit(jax.grad(loss, argnums=(0, 1, 2, 3), has_aux=True))


def seconds(run, *args):
  """How long one call takes."""
  # What dense attention gave back is still being cleared for a moment.
  time.sleep(0.5)
  begun = time.perf_counter()
  jax.block_until_ready(run(*args))
  return time.perf_counter() - begun


def peak() -> float:
  """The largest resident memory of this process so far, in MiB; Linux only."""
  # Not getrusage, whose peak a process has from the one that started it.
  status = pathlib.Path('/proc/self/status').read_text()
  return int(status.split('VmHWM:')[1].split()[0]) / 1024


def resident(number: int, length: int, block: str) -> float:
  """The resident memory that a case takes in a process of its own, MiB."""
  command = [sys.executable, __file__, str(number), str(length), block]
  done = subprocess.run(command, capture_output=True, text=True, check=True)
  return float(done.stdout.split()[-1])


def one_case(number, length, block):
  """Prints what `resident` reads."""
  before = peak()
  kind, scheme, _ = TIMED[int(number)]
  run = program(kind, scheme, None if block == 'dense' else block)
  qkv = arrays(int(length))
  if block != 'dense':
    qkv = jax.device_put(qkv, mesh.by_head(HEADS))
  jax.block_until_ready(run(params_of(scheme), *qkv))
  print(peak() - before)


def time_case(number):
  """Prints the times, ratios and memory of one kind of pass."""
  kind, scheme, lengths = TIMED[number]
  print(f'\n{kind}, {scheme}, 1 x {HEADS} heads x width {WIDTH}')
  show(*HEADINGS)
  for length, rounds in lengths.items():
    params, qkv = params_of(scheme), arrays(length)
    spread = jax.device_put(qkv, mesh.by_head(HEADS))
    blocks, dense = (program(kind, scheme, b) for b in ('auto', None))
    calls = [functools.partial(seconds, blocks, params, *spread)]
    memory = [resident(number, length, 'auto')]
    if rounds:
      calls.append(functools.partial(seconds, dense, params, *qkv))
      calls.append(functools.partial(seconds, dense, params, *spread))
      memory.append(resident(number, length, 'dense'))
    next(paired_timing.in_turns(calls, 1))  # Compiles.
    times = np.array(list(paired_timing.in_turns(calls, rounds or 3)))
    medians = [f'{1e3 * t:,.0f} ms' for t in np.median(times, axis=0)]
    cells = [''] * 4
    if rounds:
      ratios = [bench.spread(t / times[:, 0], digits=1) for t in times.T[1:]]
      cells = [medians[1], ratios[0], medians[2], ratios[1]]
    show(f'{length:,}', medians[0], *cells, *(f'{m:,.0f} MiB' for m in memory))


def show(*cells):
  """Prints a row of the table."""
  widths = 8, 11, 11, 25, 15, 18, 11, 13
  print(*(f'{c:>{w}}' for c, w in zip(cells, widths)), sep='', flush=True)


def difference(found, dense) -> float:
  """The largest difference, relative to the largest number of the tree."""

  # Of all leaves: what adds the same to all logits has a gradient of 0.
  def wide(tree):
    return [np.asarray(x, np.float64) for x in jax.tree.leaves(tree)]

  found, dense = wide(found), wide(dense)
  off = max(np.abs(a - b).max() for a, b in zip(found, dense, strict=True))
  return off / max(np.abs(x).max() for x in dense)


def agreement():
  """Prints how far block by block is from dense, over all schemes."""
  every = [s for s in bench.one_of_each() if s.blockwise] + [BOTH]
  print(f'\nlargest relative difference over {len(every)} schemes')
  print(
    f'{"tokens":>8}{"block":>7}  {"dtype":10}{"values":>9}{"gradients":>11}'
  )
  rows = [(LENGTH, size, jnp.float32) for size in SIZES]
  rows += [(1, 64, jnp.float32), (LENGTH, 64, jnp.bfloat16)]
  for length, size, dtype in rows:
    worst = np.zeros(2)
    for scheme in every:
      args = params_of(scheme), *arrays(length, dtype)
      (grads, out), (d_grads, d_out) = (
        program(BACKWARD, scheme, block)(*args) for block in (size, None)
      )
      found = difference(out, d_out), difference(grads, d_grads)
      worst = np.maximum(worst, found)
    print(
      f'{length:>8}{size:>7}  {jnp.dtype(dtype).name:10}{worst[0]:>9.0e}'
      f'{worst[1]:>11.0e}',
      flush=True,
    )


def main():
  devices = jax.devices()
  print(f'{len(devices)} x {devices[0].device_kind}, JAX {jax.__version__}')
  for number in range(len(TIMED)):
    time_case(number)
  agreement()


if __name__ == '__main__':
  mesh.use_all_cores()
  one_case(*sys.argv[1:]) if len(sys.argv) > 1 else main()
