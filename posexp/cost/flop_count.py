"""What a run costs: arithmetic on paper, and the machine's own rate."""

import time

import jax
import jax.numpy as jnp

from posexp.attention import dispatch
from posexp.evaluation import diagnostics, evaluate, strided
from posexp.models import transformer
from posexp.runs import config

# The share of the machine's matmul rate that training small models reaches;
# only for the estimate that `--dry_run` prints. `posexp bench` measures it.
TYPICAL_SHARE = 0.25

# The arithmetic of runs by their digests: it is asked for again and again, and
# a run's hash is as slow to make.
_known: dict[str, float] = {}


def parameters(run: config.Run) -> dict[str, int]:
  """Return how many parameters a seed has: total and positional."""
  net = transformer.of(run)
  return {
    'total': sum(
      leaf.size for leaf in jax.tree.leaves(transformer.shapes(net))
    ),
    'positional': sum(leaf.size for leaf in positional(net)),
  }


def positional(net: transformer.Transformer) -> list[jax.ShapeDtypeStruct]:
  """Return the shapes of what a model's scheme learns, in all layers."""
  leaves = jax.tree_util.tree_leaves_with_path(transformer.shapes(net))
  return [leaf for path, leaf in leaves if transformer.is_positional(path)]


def forward_flops(
  run: config.Run, length: int, asked: int | None = None
) -> float:
  """Count multiplications and additions of one sequence's forward pass.

  A layer costs 4 D^2 L for keys and values and, for each of the Q tokens that
  go on, 4 D^2 + 2 c D F + 4 D K (c = 2 or 3 matrices in the MLP). Attention to
  K = L tokens is counted dense, the mask not subtracted; in blocks, those that
  no query sees are left out, so K is L / 2, or the window. Q is L, but `asked`
  in the last layer and in the output, which costs 2 D V Q.
  """
  shape = run.model
  hidden = shape.feedforward or 4 * shape.width
  matrices = 3 if shape.activation == 'swiglu' else 2
  seen: float = length
  if not dispatch.dense(
    run.scheme, shape.block, length, length, shape.implementation
  ):
    seen = min(length / 2, shape.window or length)
  keys = 4 * shape.width**2 * length
  token = 4 * shape.width * (shape.width + seen)
  token += 2 * matrices * shape.width * hidden
  last = length if asked is None else asked
  layers = shape.layers * keys + token * ((shape.layers - 1) * length + last)
  return layers + 2 * shape.width * run.task.vocabulary * last


def train_flops(run: config.Run) -> float:
  """Count an optimiser step of one seed as three forward passes.

  Where the steps differ in length, what one costs on average.
  """
  total = 0.0
  for length, share in zip(run.train.rungs, run.train.shares):
    asked = run.task.asked(length) if share else None
    tokens = None if asked is None else len(asked)
    total += share * forward_flops(run, length, tokens)
  return 3 * run.train.batch * total


def evaluate_flops(run: config.Run, length: int) -> float:
  """Count the evaluation of one seed at a length."""
  context = run.context(length)
  number = run.evaluate.number(length) * strided.number(length, context)
  place_T = evaluate.asked(run, length)
  asked = None if place_T is None else len(place_T)
  return number * forward_flops(run, context, asked)


def gate_flops(run: config.Run) -> float:
  """Count the look at whether one seed learned the task; 0 of a retrofit."""
  return 0.0 if run.parent else evaluate_flops(run, run.trained_length)


def diagnose_flops(run: config.Run, length: int) -> float:
  """Count the look at one seed's attention, up to its last weights."""
  forward = forward_flops(run, run.context(length), diagnostics.QUERIES)
  return diagnostics.sequences(run, length) * forward


def run_flops(run: config.Run) -> float:
  """Count a whole run: all steps, all lengths, all seeds."""
  if run.digest not in _known:
    flops = run.train.steps * train_flops(run)
    flops += sum(evaluate_flops(run, length) for length in run.lengths)
    flops += gate_flops(run)
    flops += sum(diagnose_flops(run, length) for length in run.diagnosed)
    _known[run.digest] = flops * len(run.seeds)
  return _known[run.digest]


def matmul_rate(
  size: int = 2048,
  repeats: int = 5,
  dtype: str = 'float32',
  precision: str = 'highest',
) -> float:
  """Measure the matmul rate of all devices together, in FLOP/s.

  The best of a few timings of a square product on every device at once, by
  default one that is float32 on every device.
  """
  devices = jax.local_devices()
  multiply = jax.jit(lambda x: jnp.matmul(x, x, precision=precision))
  blocks = [jax.device_put(jnp.ones((size, size), dtype), d) for d in devices]
  jax.block_until_ready([multiply(x) for x in blocks])
  best = float('inf')
  for _ in range(repeats):
    start = time.perf_counter()
    jax.block_until_ready([multiply(x) for x in blocks])
    best = min(best, time.perf_counter() - start)
  return len(devices) * 2.0 * size**3 / best
