"""Adaptation: a retrofit that is trained on, whole or its position alone."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from posexp import schemes, tasks
from posexp.claims import intervals
from posexp.evaluation import evaluate
from posexp.launch import job, longrope_search, scheduler
from posexp.models import transformer
from posexp.results import progress, records
from posexp.runs import config, diff, length_schedule, stacking
from posexp.training import (
  bias_warmup,
  optimizer,
  restore,
  retrofit,
  train_step,
)
from tests import small

ROOT = small.run(
  train=small.train_config(steps=6, warmup=2),
  evaluate=config.Evaluate(lengths=(12,), examples=16, diagnose='none'),
)
SHORT = small.train_config(steps=4, warmup=1, length=20, checkpoint_every=2)
BOTH = schemes.RoPE(schemes.NTK(2)) + schemes.T5(buckets=4, max_distance=8)


def weights(run, workdir):
  with progress.Progress(1.0, workdir / 'log.txt') as tell:
    return job.weights(run, workdir, tell)


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  """With the root trained, and adapted in four ways."""
  path = tmp_path_factory.mktemp('adapted')
  assert not small.execute(path, *ADAPTED)
  return path


ONLY = dataclasses.replace(SHORT, only='position')
WARM = dataclasses.replace(SHORT, warm_in=3)
ADAPTED = tuple(ROOT.retrofit(BOTH, train=how) for how in (SHORT, ONLY, WARM))


def by_hand(run, params, seed, warm=lambda scheme, number: scheme):
  """The steps of an adaptation, one after another, from the parent's weights.

  AdamW of optax on the parameters that change, and on no others.
  """
  flat, tree = jax.tree.flatten_with_path(params)
  free = [run.train.only == 'all' or 'position' in str(p) for p, _ in flat]
  values = [jnp.asarray(x) for _, x in flat]
  rate = optax.warmup_cosine_decay_schedule(
    0.0, run.train.learning_rate, run.train.warmup, run.train.steps
  )
  rule = optax.chain(
    optax.clip_by_global_norm(run.train.clip),
    optax.adamw(
      rate,
      b2=run.train.beta2,
      weight_decay=run.train.decay,
      mask=[
        x.ndim > 1 and 'position' not in str(path)
        for (path, x), f in zip(flat, free)
        if f
      ],
    ),
  )
  mine = [x for x, f in zip(values, free) if f]
  state = rule.init(mine)
  key = jax.random.fold_in(jax.random.key(jnp.uint32(seed)), train_step.DATA)
  for number in range(run.train.steps):
    # The parent did six steps.
    batch = run.task.sample(
      jax.random.fold_in(key, 6 + number),
      length=run.train.length,
      batch=run.train.batch,
    )
    scheme = warm(run.trained_scheme, number)
    net = transformer.Transformer(run.model, scheme, run.task.vocabulary)

    def mean(mine, net=net, batch=batch):
      left = iter(mine)
      own = [next(left) if f else x for x, f in zip(values, free)]
      total, count = train_step.loss(net, jax.tree.unflatten(tree, own), batch)
      return total / count

    with jax.numpy_dtype_promotion('standard'):
      updates, state = rule.update(jax.jit(jax.grad(mean))(mine), state, mine)
    mine = optax.apply_updates(mine, updates)
  left = iter(mine)
  own = [next(left) if f else x for x, f in zip(values, free)]
  return jax.tree.unflatten(tree, own)


def moved(run, workdir):
  """The weights that an adaptation starts from, one tree a seed."""
  start = retrofit.transfer(ROOT, run, weights(ROOT, workdir)).params
  return [jax.tree.map(lambda x, n=n: x[n], start) for n in range(2)]


@pytest.mark.parametrize('run', ADAPTED[:2], ids=('all', 'position'))
def test_an_adaptation_is_the_steps_by_hand(run, workdir):
  got = weights(run, workdir)
  for n, (seed, start) in enumerate(zip(run.seeds, moved(run, workdir))):
    expected = by_hand(run, start, seed)
    for path, x in jax.tree.leaves_with_path(expected):
      mine = functools.reduce(lambda t, k: t[k.key], path, got)[n]
      np.testing.assert_allclose(mine, x, rtol=2e-4, atol=2e-5)


def test_with_position_only_content_stays_to_the_bit(workdir):
  run = ADAPTED[1]
  got = weights(run, workdir)
  for n, start in enumerate(moved(run, workdir)):
    for path, x in jax.tree.leaves_with_path(start):
      mine = functools.reduce(lambda t, k: t[k.key], path, got)[n]
      same = np.array_equal(mine, x)
      assert same == ('position' not in str(path)), path


def test_a_bias_that_is_warmed_in_is_a_weaker_one():
  """With slopes m / 4 at the first of four steps, and whole at the last."""
  run = ROOT.retrofit(
    schemes.RoPE() + schemes.ALiBi(),
    train=dataclasses.replace(SHORT, warm_in=4),
  )
  batch = evaluate.examples(run.task, 20, 4)
  params = jax.jit(train_step.initial_params, static_argnums=0)(
    run, jnp.uint32(1)
  )
  params.pop(transformer.POSITION, None)

  @functools.partial(jax.jit, static_argnums=0)
  def gradient(net, number=None):
    def given(p):
      if number is None:
        return p
      strength = bias_warmup.strength(jnp.float32(4), number)
      return bias_warmup.params_of(run.model, p, strength)

    return train_step.gradient(net, params, batch, None, 4, None, given)

  weaker = {0: 4.0, 1: 2.0, 3: 1.0, 9: 1.0}
  for number, factor in weaker.items():
    scheme = schemes.RoPE() + schemes.Interpolate(schemes.ALiBi(), factor)
    net = transformer.Transformer(run.model, scheme, run.task.vocabulary)
    expected = jax.tree.leaves(gradient(net))
    faded = net.clone(scheme=bias_warmup.Faded(run.trained_scheme, (1,)))
    mine = jax.tree.leaves(gradient(faded, jnp.int32(number)))
    for x, y in zip(mine, expected, strict=True):
      np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)


def test_a_learned_bias_is_warmed_in_from_its_place_in_a_sum(workdir):
  """Table entries of a faded term are learned as if they were weaker."""
  run = ADAPTED[2]
  got, whole = (weights(r, workdir) for r in (run, ADAPTED[0]))
  table = lambda params: params['block_0']['position']['T5']['table_NxH']
  assert not np.array_equal(table(got), table(whole))
  # That its bias is warmed in is a number that the program is given.
  assert stacking.split(run)[0] == stacking.split(ADAPTED[0])[0]
  assert table(got).shape == table(whole).shape == (2, 4, 2)
  (stem, _) = stacking.split(run)
  assert stem.added == (1,)
  scheme = bias_warmup.Faded(run.trained_scheme, stem.added)
  head = schemes.Head(jnp.zeros((1, 1, 1, 1), jnp.int32), 2)
  at = (jnp.arange(3, dtype=jnp.int32)[None],) * 2
  own = jax.tree.map(lambda x: x[0], got['block_0']['position'])
  turn = lambda axis: tuple(jnp.expand_dims(x, (1, axis)) for x in at)
  q_at, k_at = turn(3), turn(2)
  plain = scheme.scheme.bias(own, head, q_at, k_at)
  half = scheme.bias(
    bias_warmup.within(own, jnp.float32(0.5)), head, q_at, k_at
  )
  np.testing.assert_allclose(half, plain / 2, rtol=1e-6)


def test_the_record_says_what_was_changed_and_spent(workdir):
  record = records.whole(workdir, ADAPTED[1].digest)
  root = records.read(workdir, ROOT.digest)
  assert record['trained_length'] == 12
  assert record['tokens'] == 4 * 8 * 20
  assert record['changes'] == [
    'frequencies of RoPE: Law() -> NTK(2)',
    'adds T5(buckets=4, max_distance=8)',
    'adapted: 4 steps at 20, position only',
  ]
  assert record['learned'] == root['learned']
  assert record['config']['train']['learning_rate'] == 1e-3
  assert len(record['losses'][0]) == 1
  table = records.load(workdir, [run.digest for run in ADAPTED])
  assert set(table['length']) == {12}
  assert set(table['ratio']) == {1.0}
  assert set(table['steps']) == {4}
  labels = intervals.labels(table)
  assert len(set(labels.values())) == 3
  assert labels[ADAPTED[2].digest] == (
    'RoPE() -> RoPE(NTK(2)) + T5(buckets=4, max_distance=8) '
    '[4 steps at 20, bias warmed in over 3]'
  )


@pytest.mark.usefixtures('own_programs')
def test_an_interrupted_adaptation_ends_bit_identical(tmp_path, workdir):
  class Stop(Exception):
    pass

  run, path = ADAPTED[0], tmp_path / 'cut'
  assert not small.execute(path, ROOT)
  made = restore.checkpoints

  def cut(*args):
    store = made(*args)
    save = store.save

    def once(step, tree):
      save(step, tree)
      if step == 2:
        raise Stop('pulled the plug')

    store.save = once
    return store

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(train_step, 'CHUNK', 2)
    patch.setattr(restore, 'checkpoints', cut)
    assert small.execute(path, run) == {run.digest: 'Stop: pulled the plug'}
    patch.setattr(restore, 'checkpoints', made)
    assert not small.execute(path, run)
  assert 'resumed' in (path / 'log.txt').read_text()
  one, other = weights(run, path), weights(run, workdir)
  jax.tree.map(np.testing.assert_array_equal, one, other)


def test_adaptations_of_adaptations_and_mixed_lengths():
  mixed = dataclasses.replace(
    SHORT, length=24, lengths=length_schedule.Uniform(12, 24, rungs=2)
  )
  first = ROOT.retrofit(BOTH, train=mixed)
  second = first.without(schemes.T5, train=SHORT)
  assert first.train.tokens == 4 * 8 * 18
  assert (first.steps_before, second.steps_before) == (6, 10)
  assert second.root == ROOT and second.trained_length == 12
  assert second.scheme == schemes.RoPE(schemes.NTK(2))
  assert second.changes == (
    'removes T5(buckets=4, max_distance=8)',
    'adapted: 4 steps at 20',
  )
  assert first.name.endswith('[4 steps at 12 to 24]')
  assert ROOT.changes == ()
  arm = dataclasses.replace(ROOT.task, filler=3, symbols=17)
  assert ROOT.on(arm).changes == (f'task: {ROOT.task} -> {arm}',)


def test_an_adapted_run_is_evaluated_again_under_its_name():
  run = ADAPTED[0]
  where = config.Evaluate(lengths=(48,))
  again = run.retrofit(run.scheme, evaluate=where)
  assert again.name == run.name and again.lengths == (48,)
  assert again.changes == () and again.steps_before == 10
  other = run.retrofit(schemes.RoPE(), evaluate=where)
  assert other.name == f'{run.name} -> RoPE()'


def test_a_search_of_factors_is_beyond_what_the_root_was_trained_at():
  run = ROOT.retrofit(schemes.RoPE(), train=SHORT)
  longrope_search.check(run, 16)
  with pytest.raises(ValueError, match='above the trained 12, got 12'):
    longrope_search.check(run, 12)


def test_a_frozen_optimiser_has_no_state_for_content():
  run = ADAPTED[1]
  params = jax.eval_shape(
    functools.partial(train_step.initial_params, run), jnp.uint32(0)
  )
  state = jax.eval_shape(optimizer.optimiser(run.train).init, params)
  sizes = {x.size for x in jax.tree.leaves(state)}
  assert sizes == {1, 4 * 2}


def test_an_adaptation_starts_from_the_weights_that_were_moved(workdir):
  run = ADAPTED[0]
  state = train_step.from_weights(
    run, retrofit.transfer(ROOT, run, weights(ROOT, workdir)).params
  )
  busy = train_step.busy(run, state)
  assert busy.diverged_S.tolist() == [-1, -1]
  for n, start in enumerate(moved(run, workdir)):
    mine = jax.tree.map(lambda x, n=n: x[n], busy.params)
    jax.tree.map(np.testing.assert_array_equal, mine, start)


def test_a_retrofit_without_its_parent_is_a_sentence(tmp_path):
  run = ROOT.retrofit(schemes.NoPE())
  tmp_path.mkdir(exist_ok=True)
  with progress.Progress(1.0, tmp_path / 'log.txt') as tell:
    launch = scheduler.Launch([run], tmp_path, tell)
    (sentence,) = scheduler.execute(launch).values()
  assert sentence.startswith('its parent Ordering: RoPE() has no record in')
  assert 'run the parent first' in sentence


def test_an_undertrained_parent_is_told(workdir):
  log = (workdir / 'log.txt').read_text()
  assert log.count('no seed of the trained run learned the task (best 0.') == 3


def test_bad_adaptations_are_sentences():
  with pytest.raises(ValueError, match=r'RoPE\(\) has learned nothing'):
    ROOT.retrofit(schemes.RoPE(), train=ONLY)
  with pytest.raises(ValueError, match="only='position' of Train is for the"):
    small.run(train=small.train_config(only='position'))
  with pytest.raises(ValueError, match='warm_in=3 of Train is for the'):
    small.run(train=small.train_config(warm_in=3))
  with pytest.raises(ValueError, match=r'adds none to RoPE\(\): use warm_in=0'):
    ROOT.retrofit(schemes.RoPE(schemes.NTK(2)), train=WARM)
  with pytest.raises(ValueError, match='at most steps=4, got 5'):
    dataclasses.replace(SHORT, warm_in=5)
  with pytest.raises(ValueError, match="'positions' \\(did you mean position"):
    dataclasses.replace(SHORT, only='positions')
  with pytest.raises(ValueError, match=r'no ALiBi to remove: it has RoPE\(\)'):
    ROOT.without(schemes.ALiBi)
  with pytest.raises(ValueError, match=r'has no T5 to remove: .* no term'):
    diff.without(schemes.NoPE(), schemes.T5)
  wide = dataclasses.replace(ROOT.model, heads=4)
  with pytest.raises(ValueError, match="keeps its parent's model"):
    ROOT.retrofit(schemes.RoPE(), model=wide)
  with pytest.raises(ValueError, match='length must be at least'):
    ROOT.retrofit(schemes.RoPE(), train=dataclasses.replace(SHORT, length=4))
  assert isinstance(ROOT.task, tasks.Ordering)
  assert config.Train().tokens == 2000 * 64 * 64
