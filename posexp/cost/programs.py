"""The programs whose cost is measured: a training step, prefill and decoding.

Each is compiled on its own for one scheme and one length, batch 1, and is a
function of what stays and of what it carries: `program(fixed, carried)` gives
what it carries on, in the same memory, and a result.
"""

import functools
import hashlib
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component, schemes, tasks
from posexp.cost import rss
from posexp.models import blocks, initial, memory, mesh, transformer
from posexp.runs import config
from posexp.training import optimizer, train_step

# The least that a timing should last, in seconds, so that the clock and the
# call weigh nothing.
LEAST = 0.02

# Three of the symbols are special ones: 64 token ids.
TASK = tasks.Copy(symbols=61, distinct=False)


def run_of(
  scheme: schemes.Scheme, shape: config.Model, length: int
) -> config.Run:
  """Return the run whose programs are measured at a length.

  Raises:
    UserError: a sentence, if the scheme does not serve that length.
  """
  return config.Run(
    task=TASK,
    scheme=scheme,
    model=shape,
    train=config.Train(length=length, steps=10**6, batch=1),
    evaluate=config.Evaluate(lengths=(length,)),
    seeds=(0,),
  )


class Work(NamedTuple):
  """A program that is not yet compiled.

  Attributes:
    form: of the model, all that the program depends on but for the shapes of
      its arguments.
    program: (fixed, carried) -> (carried, result).
    arguments: (fixed, carried) from the model's parameters.
  """

  form: transformer.Transformer
  program: Callable[[Any, Any], tuple[Any, Any]]
  arguments: Callable[[Any], tuple[Any, Any]]


def training(run: config.Run) -> Work:
  """Return a training step: forward, backward and AdamW; all tokens count."""
  form, numbers = transformer.take(transformer.of(run))

  def step(fixed, carried):
    given, tokens_1xL = fixed
    net, (params, state) = transformer.fill(form, given), carried
    every = jnp.ones(tokens_1xL.shape, bool)
    batch = tasks.Batch(tokens_1xL, every, ~every, tokens_1xL[..., None], {})
    key = jax.random.key(0) if net.scheme.draws else None
    total, count, grads = train_step.gradient(net, params, batch, None, 1, key)
    grads = jax.tree.map(lambda g: g / count, grads)
    return optimizer.update(run.train, params, state, grads), total / count

  def arguments(params):
    params = blocks.stacked(params)  # As training has them.
    state = jax.eval_shape(optimizer.optimiser(run.train).init, params)
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), state)
    return (numbers, _tokens(run, run.train.length)), (params, zeros)

  return Work(form, step, arguments)


def prefill(run: config.Run) -> Work:
  """Return the forward pass of all tokens into a cache, with all logits."""
  net, length = _served(run), run.train.length
  form, numbers = transformer.take(net)

  def fill(fixed, cache):
    given, params, tokens_1xL = fixed
    net = transformer.fill(form, given)
    logits, cache = net.apply({'params': params}, tokens_1xL, cache=cache)
    return cache, logits

  def arguments(params):
    return (numbers, params, _tokens(run, length)), _full_cache(net, length)

  return Work(form, fill, arguments)


def decode(run: config.Run) -> Work:
  """Return the decoding of the last token, all others being in the cache.

  The most likely token goes in again, at the same place, so that every call
  does the same.
  """
  net, length = _served(run), run.train.length
  form, numbers = transformer.take(net)

  def next_token(fixed, carried):
    given, params, place = fixed
    net, (token_1x1, cache) = transformer.fill(form, given), carried
    logits, cache = net.apply(
      {'params': params}, token_1x1, cache=cache, start=place
    )
    next_1x1 = jnp.argmax(logits, axis=-1).astype(jnp.int32)
    return (next_1x1, cache), next_1x1

  def arguments(params):
    carried = _tokens(run, 1), _full_cache(net, length)
    return (numbers, params, np.int32(length - 1)), carried

  return Work(form, next_token, arguments)


# By the name that a user writes, the cheapest first.
PROGRAMS = {'decode': decode, 'prefill': prefill, 'train': training}


def lowered(work: Work, run: config.Run) -> Any:
  """Return a program as JAX hands it to the compiler."""
  shapes = jax.eval_shape(
    work.arguments, transformer.shapes(transformer.of(run))
  )
  return jax.jit(work.program, donate_argnums=1).lower(*shapes)


class Program:
  """A compiled program, and what it carries from call to call.

  Attributes:
    analysis: what XLA says of the program, see the function.
  """

  def __init__(self, quantity: str, run: config.Run):
    self._run, self._work = run, PROGRAMS[quantity](run)
    self._compiled = lowered(self._work, run).compile()
    self.analysis = {
      'program': program_of(quantity, run),
      **analysis(self._compiled),
    }

  def start(self) -> None:
    """Make the arguments; nothing of their size is allocated before."""
    arguments = self._work.arguments(_initial(self._run))
    self._fixed, self._carried = jax.device_put(arguments)

  def __call__(self, times: int = 1) -> float:
    """Return seconds a call, of `times` in a row."""
    begun = time.perf_counter()
    for _ in range(times):
      self._carried, out = self._compiled(self._fixed, self._carried)
    jax.block_until_ready((self._carried, out))
    return (time.perf_counter() - begun) / times


def analysis(compiled: Any) -> dict[str, Any]:
  """Return what XLA says of a compiled program.

  flops (transcendentals among them) and bytes_accessed are of one call, None
  where XLA does not say; it counts the body of a loop once, however often it
  runs, and `loops` says whether there is one. argument, output, temporary and
  donated are bytes, and memory their sum, what is donated counted once.
  """
  cost, plan = compiled.cost_analysis() or {}, compiled.memory_analysis()
  argument, output, temporary, donated = (
    int(getattr(plan, f'{name}_size_in_bytes', 0))
    for name in ('argument', 'output', 'temp', 'alias')
  )
  return {
    'flops': flops(cost),
    'bytes_accessed': cost.get('bytes accessed'),
    'loops': ' while(' in compiled.as_text(),
    'argument': argument,
    'output': output,
    'temporary': temporary,
    'donated': donated,
    'memory': argument + output + temporary - donated,
  }


def program_of(quantity: str, run: config.Run) -> str:
  """Return a digest of what a program depends on, shapes and all.

  Two schemes of one form have the same program, whose numbers are arguments.

  >>> from posexp import schemes
  >>> def digest(scheme):
  ...   return program_of('decode', run_of(scheme, config.Model(), 64))
  >>> scaled = schemes.RoPE(schemes.YaRN(4, 64))
  >>> digest(schemes.RoPE()) == digest(scaled) != digest(schemes.ALiBi())
  True
  """
  form, length = PROGRAMS[quantity](run).form, run.train.length
  depends = quantity, length, form, component.code(form)
  return hashlib.sha256(repr(depends).encode()).hexdigest()[:16]


def flops(cost: dict[str, float] | None) -> float | None:
  """Return the operations that XLA counted, transcendentals among them."""
  cost = cost or {}
  operations = cost.get('flops')
  return operations and operations + cost.get('transcendentals', 0.0)


def repetitions(
  timed: Sequence[Callable[[int], float]], least: float = LEAST
) -> tuple[int, list[float]]:
  """Return how many calls make a timing, and seconds of one call of each.

  So many that the quickest lasts `least` seconds.
  """
  single = [call(1) for call in timed]
  quickest, times = min(single), 1
  while quickest * times < least:
    times = math.ceil(1.1 * least / quickest)
    quickest = min(quickest, timed[int(np.argmin(single))](times))
  return times, single


def free_bytes() -> float:
  """Return the memory that the default device has free."""
  device = jax.devices()[0]
  stats = {} if mesh.on_cpu(device) else device.memory_stats() or {}
  if 'bytes_limit' in stats:
    return stats['bytes_limit'] - stats['bytes_in_use']
  free = 1024.0 * rss.numbers('/proc/meminfo').get('MemAvailable', math.inf)
  return min(free, memory.of_machine())


def resident(quantity: str, run: config.Run) -> int | None:
  """Return the memory that a program holds; call it in a process of its own.

  On a CPU the most that the process held in two calls, over what it held once
  the program was compiled (over what it held before that, on systems that do
  not forget a peak); on an accelerator the device's peak.

  Returns:
    Bytes; None where the program does not fit, or the device does not say.
  """
  start = rss.now()
  program = Program(quantity, run)
  if program.analysis['memory'] > free_bytes():
    return None
  _initial(run)  # Compiled too.
  compiled = rss.now()
  program.start()
  forgot = rss.forget_peak()
  program(2)
  device = jax.devices()[0]
  if not mesh.on_cpu(device):
    return (device.memory_stats() or {}).get('peak_bytes_in_use')
  return rss.now().peak - (compiled.now if forgot else start.peak)


def _served(run: config.Run) -> transformer.Transformer:
  """Return the model as it answers at the length that it was trained at."""
  scheme = run.evaluated_scheme(run.train.length)
  return transformer.Transformer(run.model, scheme, run.task.vocabulary)


def _initial(run: config.Run) -> Any:
  """Return initial parameters, on the host."""
  return _initialised(run.model, run.trained_scheme, run.task.vocabulary)


@component.cached(maxsize=32)
def _initialised(
  shape: config.Model, scheme: schemes.Scheme, vocabulary: int
) -> Any:
  net = transformer.Transformer(shape, scheme, vocabulary)
  draw = jax.jit(functools.partial(initial.params, net))
  return blocks.unstacked(jax.device_get(draw(jax.random.key(0))))


def _tokens(run: config.Run, length: int) -> np.ndarray:
  """Return tokens; which they are changes no cost."""
  rng = np.random.default_rng(0)
  return rng.integers(0, run.task.vocabulary, (1, length)).astype(np.int32)


def _full_cache(net: transformer.Transformer, slots: int) -> Any:
  """Return a cache of so many tokens: random values, with true indices."""
  rng = np.random.default_rng(0)

  def full(like):
    if jnp.issubdtype(like.dtype, jnp.floating):
      return rng.normal(size=like.shape).astype(like.dtype)
    count = np.arange(slots).reshape(1, slots, *(1,) * (like.ndim - 2))
    return np.broadcast_to(count, like.shape).astype(like.dtype)

  return jax.tree.map(
    full, jax.eval_shape(lambda: transformer.empty_cache(net, 1, slots))
  )
