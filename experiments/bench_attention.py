"""What does attention cost at long range, block by block and dense?

One sequence, 4 heads of width 16, causal, float32, in one process on the
default device. Block by block and dense alternate, compilation is left out,
and a ratio is taken round by round. Memory is resident memory over that of the
bare import, each case in a fresh process of its own.

The last table is the largest difference between the two over all schemes that
have blocks, values and gradients apart, relative to the largest number.

Command: python experiments/bench_attention.py
"""

import pathlib
import statistics
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

import posexp
from posexp import bench, schemes

HEADS, WIDTH = 4, 16
DIMS = schemes.Dims(HEADS * WIDTH, HEADS, WIDTH)
BOTH = schemes.RoPE() + schemes.T5()
FORWARD, BACKWARD = 'forward', 'forward and backward'

# What is timed: a pass, a scheme, and lengths with the rounds of each; 0 where
# the dense logits are too large for a small machine.
TIMED = (
  (FORWARD, schemes.ALiBi(), {4096: 7, 16_384: 3, 32_768: 0}),
  (BACKWARD, BOTH, {4096: 5, 8192: 3, 16_384: 0}),
)
SIZES = (31, 64, 123, 512)
# No multiple of any size, and longer than most.
LENGTH = 200


def arrays(length, dtype=jnp.float32):
  """Queries, keys and values."""
  shape = 1, length, HEADS, WIDTH
  draw = lambda n: jax.random.normal(jax.random.key(n), shape).astype(dtype)
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
  jax.block_until_ready(run(params_of(scheme), *arrays(int(length))))
  print(peak() - before)


def time_case(number):
  """Prints the times, ratios and memory of one kind of pass."""
  kind, scheme, lengths = TIMED[number]
  print(f'\n{kind}, {scheme}, 1 x {HEADS} heads x width {WIDTH}')
  print(
    f'{"tokens":>8}{"blocks":>10}{"dense":>11}  {"ratio (least, greatest)":26}'
    f'{"memory":>9}{"dense":>11}'
  )
  for length, rounds in lengths.items():
    args = params_of(scheme), *arrays(length)
    ours, dense = (program(kind, scheme, b) for b in ('auto', None))
    seconds(ours, *args)
    if rounds:
      seconds(dense, *args)
    times = [
      (seconds(ours, *args), seconds(dense, *args) if rounds else np.nan)
      for _ in range(rounds or 3)
    ]
    mine, theirs = (statistics.median(t) for t in zip(*times))
    ratios = [b / a for a, b in times]
    shown = f'{statistics.median(ratios):.1f} ({min(ratios):.1f}, '
    shown += f'{max(ratios):.1f})'
    memory = [f'{resident(number, length, "auto"):,.0f} MiB', '']
    if rounds:
      memory[1] = f'{resident(number, length, "dense"):,.0f} MiB'
    print(
      f'{length:>8,}{1e3 * mine:>7,.0f} ms'
      + (f'{1e3 * theirs:>8,.0f} ms  {shown:26}' if rounds else ' ' * 39)
      + f'{memory[0]:>9}{memory[1]:>11}',
      flush=True,
    )


def difference(found, dense) -> float:
  """The largest difference, relative to the largest number of the tree."""
  # Of all leaves: what adds the same to all logits has a gradient of 0.
  wide = lambda tree: [np.asarray(x, np.float64) for x in jax.tree.leaves(tree)]
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
  device = jax.devices()[0]
  print(f'{device.device_kind}, JAX {jax.__version__}')
  for number in range(len(TIMED)):
    time_case(number)
  agreement()


if __name__ == '__main__':
  one_case(*sys.argv[1:]) if len(sys.argv) > 1 else main()
