"""Evaluation examples: how they are drawn, and what is hashed of them."""

import collections
import concurrent.futures
import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np

from posexp import component, tasks

# The root of all evaluation keys; training keys come from seeds, which are
# unsigned, by another path (`train.DATA`), so that the folds never meet.
FOLD = 0x0E7A1
# That of the examples that decide which seeds learned the task: others, so that
# no accuracy on the examples of evaluation is cut at the gate.
GATE_FOLD = 0x06A7E
# Those that draw from data that a task holds out.
HELD_OUT = FOLD, GATE_FOLD
# Examples drawn with one key: part of what defines the examples.
DRAW = 64
# How many examples a frozen set holds.
NUMBER = 512


@dataclasses.dataclass(frozen=True)
class Set:
  """The evaluation examples of a task at a length.

  Attributes:
    task: whose sequences they are.
    length: tokens in a sequence.

  >>> Set(tasks.Ordering(), 64).name
  'ordering_c68dda92_64'
  """

  task: tasks.Task
  length: int

  @property
  def name(self) -> str:
    """The class, eight digits that stand for all of its fields, the length."""
    kind = re.sub('(?<=[a-z0-9])(?=[A-Z])', '_', type(self.task).__name__)
    return f'{kind.lower()}_{word(self.task):08x}_{self.length}'

  def __str__(self) -> str:
    return f'{self.task} at {self.length}'


def word(task: tasks.Task) -> int:
  """Return the 32 bits that stand for a task's configuration in a key."""
  text = json.dumps(task.to_dict(), sort_keys=True)
  return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)


def draw(eval_set: Set, number: int = NUMBER, fold: int = FOLD) -> tasks.Batch:
  """Draw examples, as NumPy arrays.

  Example i is example i % 64 of the batch that the task samples with

  ```
  fold_in(fold_in(fold_in(key(fold), word(task)), length), i // 64)
  ```

  so the first n are the same however many are drawn. Only the folds of
  evaluation and of the gate draw from data that a task holds out. The
  generator is Threefry, whatever JAX is configured to use, and a task draws
  integers only, so that the examples depend on no version of JAX, device or
  machine.

  Args:
    eval_set: the task and the length.
    number: how many examples.
    fold: the root of the keys. What is chosen by its score must be chosen on
      examples of another fold.
  """
  task = eval_set.task.evaluated() if fold in HELD_OUT else eval_set.task
  sample = _sampler(task)
  with jax.threefry_partitionable(True):
    key = jax.random.key(fold, impl='threefry2x32')
    for part in (word(eval_set.task), eval_set.length):
      key = jax.random.fold_in(key, np.uint32(part))
    batches = [
      jax.device_get(
        sample(jax.random.fold_in(key, n), length=eval_set.length, batch=DRAW)
      )
      for n in range(-(-number // DRAW))
    ]
  return jax.tree.map(lambda *x: np.concatenate(x)[:number], *batches)


@component.cached(maxsize=16)  # Two folds of a run, one compilation.
def _sampler(task: tasks.Task) -> Callable[..., tasks.Batch]:
  # A CPU takes half as long to compile what need not be fast.
  on_cpu = jax.default_backend() == 'cpu'
  return jax.jit(
    task.sample,
    static_argnames=('length', 'batch'),
    compiler_options={'xla_backend_optimization_level': 0} if on_cpu else None,
  )


def draw_each(sets: Iterable[Set]) -> Iterator[tuple[Set, tasks.Batch]]:
  """Yield each set with its examples, and draw the next ones meanwhile.

  Most of a draw is compilation, which releases Python's lock.
  """
  workers = min(4, os.cpu_count() or 1)
  waiting: collections.deque = collections.deque()
  with concurrent.futures.ThreadPoolExecutor(workers) as pool:
    try:
      for eval_set in sets:
        waiting.append((eval_set, pool.submit(draw, eval_set)))
        if len(waiting) > workers:
          ready, drawn = waiting.popleft()
          yield ready, drawn.result()
      for ready, drawn in waiting:
        yield ready, drawn.result()
    finally:
      pool.shutdown(cancel_futures=True)


def first(batch: tasks.Batch, number: int) -> tasks.Batch:
  """Return the first examples of a batch."""
  return jax.tree.map(lambda x: x[:number], batch)


def fields(batch: tasks.Batch) -> dict[str, Any]:
  """Return the arrays of a batch by name, the strata as 'strata/NAME', sorted.

  >>> list(fields(draw(Set(tasks.Ordering(), 64), 1)))[:4]
  ['ends', 'foils', 'strata/distance', 'strata/gap']
  """
  arrays = {
    'tokens': batch.tokens_BxL,
    'targets': batch.targets_BxL,
    'ends': batch.ends_BxL,
    'foils': batch.foils_BxLxC,
    **{f'strata/{name}': values for name, values in batch.strata.items()},
  }
  return dict(sorted(arrays.items()))


def digest(batch: tasks.Batch) -> str:
  """Return the SHA-256 of the examples themselves, whatever file they lie in.

  Of each array of `fields`, in that order: a line of UTF-8 with its name, its
  dtype as NumPy writes it ('<i4', '|b1') and its shape, then its bytes in C
  order, least significant first.
  """
  total = hashlib.sha256()
  for name, values in fields(batch).items():
    array = np.asarray(values)
    plain = np.ascontiguousarray(array, array.dtype.newbyteorder('<'))
    total.update(f'{name} {plain.dtype.str} {plain.shape}\n'.encode())
    total.update(plain.data)
  return total.hexdigest()
