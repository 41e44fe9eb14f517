"""Which lengths a run trains at: the rules, and what training makes of them."""

import collections
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from posexp import schemes, tasks
from posexp.cost import flop_count
from posexp.models import mesh, transformer
from posexp.runs import config, length_schedule, stacking
from posexp.training import train_step
from tests import small
from tests.jax.tasks_balance_test import chi_square
from tests.jax.train_test import trained

STEPS = 4096


def rungs(rule, steps=STEPS):
  """The rung of each step."""
  each = jax.jit(jax.vmap(rule.rung))
  return np.asarray(each(jnp.arange(steps, dtype=jnp.int32)))


def ruled(rule, **changes):
  """The small run, trained at the lengths of a rule."""
  return small.run(
    train=small.train_config(length=rule.high, lengths=rule, **changes),
    evaluate=config.Evaluate(lengths=(rule.high,), diagnose='none'),
  )


@pytest.mark.parametrize(
  'rule, share_of_length',
  [
    (length_schedule.Uniform(8, 32), lambda n: 1),
    (length_schedule.PowerLaw(8, 32), lambda n: 1 / n),
    (length_schedule.PowerLaw(8, 12, exponent=-2.0, rungs=3), lambda n: n * n),
  ],
  ids=['uniform', 'power law', 'rising'],
)
def test_drawn_rungs_are_as_frequent_as_the_rule_says(rule, share_of_length):
  share = np.array([share_of_length(n) for n in rule.values])
  share = share / share.sum()
  np.testing.assert_allclose(rule.shares(10), share, rtol=1e-12)
  drawn = rungs(rule)
  counts = np.bincount(drawn, minlength=len(share))
  assert chi_square(counts, STEPS * share) < 5
  # One step says nothing of the next.
  pairs = np.bincount(
    len(share) * drawn[:-1] + drawn[1:], minlength=len(share) ** 2
  )
  assert chi_square(pairs, (STEPS - 1) * np.outer(share, share).ravel()) < 5


@pytest.mark.parametrize('steps, count', [(30, 4), (31, 4), (2, 4), (1, 2)])
def test_a_ramp_rises_evenly(steps, count):
  rule = length_schedule.Ramp(8, 32, steps=steps, rungs=count)
  expected = [min(n * (count - 1) // steps, count - 1) for n in range(50)]
  assert rungs(rule, 50).tolist() == expected
  for total in (1, 20, 50):
    held = collections.Counter(expected[:total])
    np.testing.assert_allclose(
      rule.shares(total), [held[n] / total for n in range(count)], atol=1e-12
    )


def test_a_steep_law_is_all_of_one_length():
  for exponent, share in ((400.0, (1, 0, 0, 0)), (-400.0, (0, 0, 0, 1))):
    rule = length_schedule.PowerLaw(2, 512, exponent=exponent)
    np.testing.assert_allclose(rule.shares(10), share, atol=1e-9)
    assert set(rungs(rule, 50).tolist()) == {share.index(1)}


def test_rungs_are_even_and_end_at_both_ends():
  assert length_schedule.Uniform(8, 32).values == (8, 16, 24, 32)
  assert length_schedule.Ramp(10, 13, steps=5, rungs=9).values == (
    10,
    11,
    12,
    13,
  )
  assert length_schedule.PowerLaw(64, 64).values == (64,)


def test_every_seed_trains_at_the_length_of_its_step():
  # Weights that stand still, so that each loss can be had again by itself;
  # calls of 5 steps, the first of which ends within the ramp.
  rule = length_schedule.Ramp(8, 12, steps=7, rungs=2)
  run = ruled(rule, learning_rate=1e-20, steps=9, warmup=0)
  _, losses = trained(run, chunk=5)
  net, index = transformer.of(run), rungs(rule, 9).tolist()
  assert index == 7 * [0] + 2 * [1]

  def loss(params, key, length):
    batch = run.task.sample(key, length=length, batch=8)
    total, count = train_step.loss(net, params, batch)
    return total / count

  loss = jax.jit(loss, static_argnames='length')
  for n, seed in enumerate(run.seeds):
    params = train_step.initial_params(run, jnp.uint32(seed))
    key = jax.random.fold_in(jax.random.key(seed), train_step.DATA)
    for step in range(9):
      again = loss(
        params, jax.random.fold_in(key, step), length=rule.values[index[step]]
      )
      # float32 sums in another order.
      np.testing.assert_allclose(losses[n, step], again, rtol=1e-5)


def test_a_scheme_that_depends_on_the_length_is_that_of_each_step():
  """The gradient at each length is that of what the scheme is there."""
  dynamic = schemes.RoPE(schemes.DynamicNTK(1, 12), base=100.0)
  plain, twice = schemes.RoPE(base=100.0), schemes.RoPE(schemes.NTK(2), 100.0)
  mine = ruled(length_schedule.Uniform(12, 24, rungs=2))
  on = mesh.mesh(len(mine.seeds), mine.train.batch)
  params = jax.jit(train_step.initial_params, static_argnums=0)(
    mine, jnp.uint32(3)
  )

  def gradient(scheme, length):
    run = dataclasses.replace(mine, scheme=scheme)
    member = jax.tree.map(
      lambda x: x[0], mesh.fetch(train_step.members([run], on))
    )
    one = functools.partial(
      train_step.gradient_at, stacking.split(run)[0], on, length
    )
    mapped = jax.shard_map(
      one,
      mesh=on,
      in_specs=PartitionSpec(),
      out_specs=PartitionSpec(),
      check_vma=False,
    )
    found = jax.jit(mapped)(params, member, jnp.int32(0))
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(found)])

  for length, static, other in ((12, plain, twice), (24, twice, plain)):
    found = gradient(dynamic, length)
    np.testing.assert_array_equal(found, gradient(static, length))
    assert not np.array_equal(found, gradient(other, length))


def lowered(run):
  """The program that advances a run, as text."""
  on = mesh.mesh(len(run.seeds), run.train.batch)
  start, advance = train_step.programs(run, on, chunk=2)
  members = train_step.members([run], on)
  state = jax.eval_shape(start, members)
  return advance.lower(state, members, np.int32(0)).as_text()


def test_one_rung_is_the_program_of_a_fixed_length():
  # And so the same bits; that other lengths are another program shows that
  # the text tells.
  fixed = lowered(small.run(evaluate=config.Evaluate(lengths=(12,))))
  assert lowered(ruled(length_schedule.Uniform(12, 12))) == fixed
  assert lowered(ruled(length_schedule.Uniform(10, 12, rungs=2))) != fixed


def test_all_seeds_at_once_still_compute_one_rung(monkeypatch):
  # A switch over an index that differs by seed would compute every branch.
  monkeypatch.setattr(mesh, 'on_cpu', lambda _: False)
  run = ruled(length_schedule.Uniform(8, 16, rungs=3))
  on = mesh.mesh(len(run.seeds), run.train.batch)
  start, advance = train_step.programs(run, on, chunk=2)
  members = train_step.members([run], on)
  state = jax.eval_shape(start, members)
  traced = jax.make_jaxpr(advance)(state, members, np.int32(0))
  assert 3 in set(branches(traced.jaxpr))


def branches(jaxpr):
  """How many branches each switch in a program has, at any depth."""
  for equation in jaxpr.eqns:
    if equation.primitive.name == 'cond':
      yield len(equation.params['branches'])
    for inner in jax.tree.leaves(
      list(equation.params.values()), is_leaf=lambda x: hasattr(x, 'eqns')
    ):
      inner = getattr(inner, 'jaxpr', inner)
      if hasattr(inner, 'eqns'):
        yield from branches(inner)


def test_the_arithmetic_of_a_step_is_that_of_its_lengths():
  run = ruled(length_schedule.Ramp(8, 16, steps=20, rungs=3), steps=40)
  # Of 40 steps 10 at 8 tokens, 10 at 12 and 20 at 16, with one answer each.
  expected = sum(
    share * 3 * 8 * flop_count.forward_flops(run, length, 1)
    for length, share in ((8, 0.25), (12, 0.25), (16, 0.5))
  )
  assert flop_count.train_flops(run) == pytest.approx(expected)
  fixed = small.run()
  expected = 3 * 8 * flop_count.forward_flops(fixed, 12, 1)
  assert flop_count.train_flops(fixed) == expected


def test_rules_are_part_of_the_config():
  run = ruled(length_schedule.Ramp(8, 12, steps=10))
  back = config.Run.from_dict(run.to_dict())
  assert back == run and back.train.lengths == length_schedule.Ramp(
    8, 12, steps=10
  )
  fixed = small.run(evaluate=config.Evaluate(lengths=(12,)))
  assert run.digest != fixed.digest
  assert run.train.rungs == (8, 9, 11, 12) and fixed.train.rungs == (12,)
  assert fixed.train.shares == (1.0,)


def test_a_child_is_not_held_to_the_lengths_of_training():
  # The short rungs are the parent's; a later start does not fit into them.
  plain = tasks.Ordering(symbols=4, queries=1, filler=4)
  run = ruled(length_schedule.Uniform(12, 48))
  run = dataclasses.replace(run, task=tasks.Start(plain, 0, 4))
  later = run.on(tasks.Start(plain, 32, 32))
  assert later.train.shares == (0, 0, 0, 1)
  # Nor to the trained length itself, where this one would not fit.
  much = config.Evaluate(lengths=(80,))
  later = run.on(tasks.Start(plain, 64, 64), evaluate=much)
  assert later.lengths == (80,) and run.lengths[-1] == 48


BAD = [
  (length_schedule.Uniform, (1, 8), 'low of Uniform must be at least 2, got 1'),
  (
    length_schedule.PowerLaw,
    (16, 8),
    'high of PowerLaw must be at least low=16, got 8: it is the longest',
  ),
  (
    length_schedule.Uniform,
    (8, 16, 1),
    'rungs of Uniform must be at least 2, got 1:',
  ),
  (
    length_schedule.PowerLaw,
    (8, 16, float('inf')),
    'exponent of PowerLaw must be finite, got inf: use low=high',
  ),
  (
    length_schedule.Uniform,
    (8, 16.5),
    'high of Uniform must be an int, got 16.5 .float.: write a whole number',
  ),
  (
    length_schedule.Uniform,
    (8, 16, None),
    'rungs of Uniform must be an int, got None',
  ),
  (
    length_schedule.Ramp,
    (8, 16, 1e3),
    'steps of Ramp must be an int, got 1000.0',
  ),
  (
    length_schedule.Ramp,
    (8, 16, 0),
    'steps of Ramp must be at least 1, got 0: with',
  ),
]


@pytest.mark.parametrize('kind, values, sentence', BAD)
def test_bad_rules_are_sentences(kind, values, sentence):
  with pytest.raises(ValueError, match=sentence):
    kind(*values)


def test_bad_lengths_are_sentences():
  with pytest.raises(
    ValueError,
    match=r'length of Train must be the longest of Uniform\(low=8, high=16\), '
    'got 12: use length=16, or another high',
  ):
    small.train_config(lengths=length_schedule.Uniform(8, 16))
  with pytest.raises(
    ValueError,
    match=r'steps of Train must reach length 16 under Ramp\(.*steps=30\), got '
    '30: train for more steps',
  ):
    ruled(length_schedule.Ramp(8, 16, steps=30), steps=30)
  with pytest.raises(ValueError, match='length must be at least 8, got 4: a'):
    ruled(length_schedule.Uniform(4, 16))
