"""What the laws of tasks run over (a line a task), and how it is drawn."""

import functools
import math
import re

import jax
import numpy as np
import pytest

from posexp import tasks

# (task, length): odd and even lengths, dense and sparse, with and without EOS.
TABLE = {
  'ordering': (tasks.Ordering(symbols=32, queries=4), 32),
  'ordering spread': (tasks.Ordering(symbols=12, queries=4, filler=5), 32),
  'ordering single': (tasks.Ordering(symbols=4, queries=1), 8),
  'presence': (tasks.Presence(symbols=32, queries=4), 32),
  'presence spread': (tasks.Presence(symbols=12, queries=4, filler=5), 32),
  'copy': (tasks.Copy(symbols=16), 32),
  'copy repeats': (tasks.Copy(symbols=4, distinct=False), 31),
  'copy no eos': (tasks.Copy(symbols=16, eos=False), 32),
  'reverse': (tasks.Reverse(symbols=16), 32),
  'reverse repeats': (tasks.Reverse(symbols=4, distinct=False, eos=False), 31),
  'selective copy': (tasks.SelectiveCopy(symbols=6, count=4), 32),
  'selective no eos': (tasks.SelectiveCopy(symbols=6, count=9, eos=False), 31),
  'recall': (tasks.Recall(keys=9, values=6, filler=5, pairs=7), 32),
  'recall power': (tasks.Recall(values=6, filler=5, gaps='power'), 32),
  'first wins': (tasks.FirstWins(values=6, filler=5, queries=2), 32),
  'last wins': (tasks.LastWins(values=6, filler=5, queries=2), 32),
  'needle': (tasks.Needle(values=6, filler=5, needles=4), 32),
  'tracking': (tasks.VariableTracking(values=6, filler=5, chains=2), 32),
  'flip-flop': (tasks.FlipFlop(), 32),
  'flip-flop last': (tasks.FlipFlop(ignore=0.1, every=False), 32),
  'attachment': (tasks.Attachment(symbols=8, queries=2, distractors=2), 32),
  'lookup left': (tasks.LookupLeft(symbols=8, queries=3), 32),
  'lookup right': (tasks.LookupRight(symbols=8, queries=3), 32),
  'index lookup': (tasks.IndexLookup(symbols=8, queries=4, high=20), 32),
  'sort': (tasks.Sort(symbols=24), 32),
  'sort no eos': (tasks.Sort(symbols=24, eos=False), 32),
  'repeat token': (tasks.RepeatToken(symbols=4), 32),
  'count': (tasks.Count(), 32),
  'majority': (tasks.Majority(queries=2), 32),
  'parity': (tasks.Parity(), 32),
  'addition': (tasks.Addition(), 17),
  'addition reverse': (tasks.Addition(reverse=True), 32),
  'addition short': (tasks.Addition(eos=False), 6),
  'dyck': (tasks.Dyck(), 32),
  'dyck shallow': (tasks.Dyck(kinds=3, depth=3, unclosed=2), 24),
  'start': (tasks.Start(tasks.Ordering(symbols=4, queries=1), 1, 4), 12),
  'start fixed': (tasks.Start(tasks.Copy(symbols=16, eos=False), 3, 3), 32),
  'mixture': (
    tasks.Mixture(
      (tasks.Addition(eos=False), tasks.Ordering(symbols=12, queries=2)), (1, 2)
    ),
    19,
  ),
}
each = pytest.mark.parametrize('task, length', TABLE.values(), ids=TABLE.keys())


# Integers do not change with the optimizer; unoptimized they compile sooner.
QUICK = {'xla_backend_optimization_level': 0}


@functools.cache
def jitted(task):
  return jax.jit(
    task.sample, static_argnames=('length', 'batch'), compiler_options=QUICK
  )


def draw(task, length, batch=64, seed=0):
  drawn = jitted(task)(jax.random.key(seed), length=length, batch=batch)
  return jax.tree.map(np.asarray, drawn)


def draws(task, length):
  """A batch of 1,024, from the program that draws 64."""
  batches = [draw(task, length, seed=seed) for seed in range(16)]
  return jax.tree.map(lambda *x: np.concatenate(x), *batches)


def many(name):
  """4,096 answers or more to a task of the table."""
  task, length = TABLE[name]
  return task, length, draws(task, length)


@functools.cache
def scores(task, length):
  """The share of right answers of each answerer, and one sigma of it."""
  batch = draws(task, length)
  asked_BxL = batch.targets_BxL & ~batch.ends_BxL
  rng = np.random.default_rng(0)
  guesses = task.guesses(rng, batch.tokens_BxL, asked_BxL)
  hits = {
    name: (said_BxL == batch.tokens_BxL)[asked_BxL].mean()
    for name, said_BxL in guesses.items()
  }
  # Answers of one sequence may hang together, so sequences are counted.
  return hits, 0.5 / math.sqrt(len(batch.tokens_BxL))


def assert_bad_fields(kind, values, sentence):
  """Refused: 'symbols must be' stands for 'symbols of KIND must be'."""
  label = rf'\1 of {kind.__name__} \2'
  sentence = re.sub(r'^(\w+) (must|cannot)', label, sentence)
  with pytest.raises(ValueError, match=sentence):
    kind(**values)


def assert_exists(task, length):
  task.check(length)
  shapes = jax.eval_shape(
    lambda key: task.sample(key, length=length, batch=2), jax.random.key(0)
  )
  assert shapes.tokens_BxL.shape == (2, length)
  assert shapes.tokens_BxL.dtype == np.int32


def assert_refused(task, length, sentence):
  with pytest.raises(ValueError, match=sentence):
    task.check(length)
  with pytest.raises(ValueError, match=sentence):
    task.sample(jax.random.key(0), length=length, batch=1)


def assert_shortest(task, length, sentence):
  """A length works, and one less is refused in a sentence."""
  assert_exists(task, length)
  assert_refused(task, length - 1, sentence)
