"""Training: paired seeds, exact resumption, divergence, the objective."""

import dataclasses
import functools
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from posexp import schemes, tasks
from posexp.cost import flop_count
from posexp.evaluation import evaluate
from posexp.models import mesh, transformer
from posexp.runs import config
from posexp.training import checkpoint, optimizer, train_step
from tests import small


def trained(run, chunk=train_step.CHUNK):
  """The final state of a run, on the host, without any file."""
  on = mesh.mesh(len(run.seeds), run.train.batch)
  start, advance = train_step.programs(run, on, chunk)
  members = train_step.members([run], on)
  state, losses = start(members), []
  for first in range(0, run.train.steps, chunk):
    state, loss_SxC = advance(state, members, np.int32(first))
    losses.append(train_step.busy(run, loss_SxC))
  return train_step.busy(run, state), np.concatenate(losses, axis=1)


def assert_same_bits(a, b):
  for (path, x), y in zip(
    jax.tree_util.tree_leaves_with_path(a), jax.tree.leaves(b), strict=True
  ):
    np.testing.assert_array_equal(x, y, err_msg=jax.tree_util.keystr(path))


def test_schemes_see_the_same_batches_in_the_same_order(monkeypatch):
  weights = np.random.default_rng(0).integers(0, 999, size=(8, 12))

  def fingerprint(net, params, batch, asked=None, key=None):
    del net, params, asked, key
    total = jnp.sum(batch.tokens_BxL * weights).astype(jnp.float32)
    return total, jnp.float32(1)

  monkeypatch.setattr(train_step, 'loss', fingerprint)
  monkeypatch.setattr(train_step, 'micro_batch', lambda batch, *_: batch)
  task = small.run().task

  def batch_of(seed, step):
    key = jax.random.fold_in(jax.random.key(seed), train_step.DATA)
    key = jax.random.fold_in(key, step)
    tokens_BxL = task.sample(key, length=12, batch=8).tokens_BxL
    return jnp.sum(tokens_BxL * weights)

  of_seed = jax.vmap(batch_of, in_axes=(None, 0))
  of_all = jax.jit(jax.vmap(of_seed, in_axes=(0, None)))
  wanted_SxC = of_all(np.array(small.run().seeds), np.arange(30))
  # Without parameters, with some of a layer and of the input, and with a draw.
  for scheme in (
    schemes.RoPE(),
    schemes.Learned(64) + schemes.FIRE(hidden=4),
    schemes.Randomize(schemes.RoPE()) + schemes.KERPLE(),
  ):
    _, losses_SxC = trained(small.run(scheme=scheme))
    np.testing.assert_array_equal(losses_SxC[:, :30], wanted_SxC)


def test_schemes_share_content_initialisation():
  seen = {}
  for scheme in (schemes.NoPE(), schemes.RoPE(), schemes.T5()):
    run = small.run(scheme=scheme)
    params = train_step.initial_params(run, jnp.uint32(3))
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
      name = jax.tree_util.keystr(path)
      if transformer.POSITION not in name:
        np.testing.assert_array_equal(seen.setdefault(name, leaf), leaf)
  assert len(seen) > 8


def test_every_seed_and_every_step_has_its_own_data(monkeypatch):
  weights = train_step.initial_params
  same = lambda run, seed: weights(run, jnp.uint32(0))
  monkeypatch.setattr(train_step, 'initial_params', same)
  still = small.train_config(learning_rate=1e-20)
  _, losses = trained(small.run(train=still))
  assert len(np.unique(losses[:, :30])) == 2 * 30


def test_every_seed_has_its_own_initial_weights():
  one, two = (
    train_step.initial_params(small.run(), jnp.uint32(n)) for n in (0, 1)
  )
  assert not np.isclose(one['embedding'], two['embedding']).any()


@pytest.mark.parametrize(
  ('seeds', 'cpu', 'seed_and_data'),
  [((3,), True, (2, 1)), ((3, 5, 9), False, (1, 2)), ((3, 5), False, (2, 1))],
)
def test_a_step_follows_the_mean_gradient_however_it_is_split(
  monkeypatch, seeds, cpu, seed_and_data
):
  monkeypatch.setattr(optimizer, 'optimiser', lambda *_: optax.sgd(1.0))
  monkeypatch.setattr(mesh, 'on_cpu', lambda _: cpu)
  run = small.run(seeds=seeds, train=small.train_config(steps=1, warmup=0))
  assert mesh.mesh(len(seeds), 8).devices.shape == seed_and_data
  state, losses = trained(run)

  @jax.jit
  def of_seed(seed):
    key = jax.random.fold_in(jax.random.key(seed), train_step.DATA)
    batch = run.task.sample(jax.random.fold_in(key, 0), length=12, batch=8)
    params = train_step.initial_params(run, seed)
    found = train_step.gradient(
      transformer.of(run), params, batch, None, micro=8
    )
    return params, *found

  for n, seed in enumerate(seeds):
    params, total, count, grads = of_seed(jnp.uint32(seed))
    np.testing.assert_allclose(losses[n, 0], total / count, rtol=1e-5)
    trees = map(jax.tree.leaves, (params, state.params, grads))
    for old, new, g in zip(*trees):
      # float32 sums in another order; gradients here are of order one.
      np.testing.assert_allclose(old - new[n], g / count, rtol=0, atol=1e-5)


def test_a_batch_is_done_in_parts_where_asked(monkeypatch):
  monkeypatch.setattr(optimizer, 'optimiser', lambda *_: optax.sgd(1.0))
  monkeypatch.setattr(mesh, 'on_cpu', lambda _: False)
  sizes, loss = [], train_step.loss

  def seen(net, params, batch, *rest):
    sizes.append(len(batch.tokens_BxL))
    return loss(net, params, batch, *rest)

  monkeypatch.setattr(train_step, 'loss', seen)

  def after(number):
    changes = {'steps': 1, 'warmup': 0, 'micro_batch': number}
    state, _ = trained(small.run(train=small.train_config(**changes)))
    return state.params, sizes.pop()

  (whole, everything), (parts, part) = after(None), after(2)
  assert everything == 8 and part == 2
  for x, y in zip(jax.tree.leaves(parts), jax.tree.leaves(whole)):
    # float32 sums in another order; gradients here are of order one.
    np.testing.assert_allclose(x, y, rtol=0, atol=1e-5)


def test_a_part_is_a_divisor_of_what_a_device_has():
  on = mesh.mesh(2, 8)
  parts = functools.partial(train_step.micro_batch, length=64, devices=on)
  assert [parts(n) for n in (64, 12, 7)] == [8, 6, 7]
  assert [parts(n, most=16) for n in (64, 24, 8)] == [16, 12, 8]


def test_the_loss_is_the_cross_entropy_of_the_targets_alone():
  run = small.run(task=tasks.Copy(symbols=16), scheme=schemes.ALiBi())
  batch = run.task.sample(jax.random.key(1), length=12, batch=3)

  @jax.jit
  def losses_and_logits(seed):
    params, net = train_step.initial_params(run, seed), transformer.of(run)
    logits = transformer.predict(net, params, batch.tokens_BxL)
    return *train_step.loss(net, params, batch), logits

  total, count, logits = losses_and_logits(jnp.uint32(0))
  logits = np.asarray(logits, np.float64)
  expected, number = 0.0, 0
  for b in range(3):
    for t in range(1, 12):
      if batch.targets_BxL[b, t]:
        row = logits[b, t - 1]
        right = row[int(batch.tokens_BxL[b, t])]
        expected -= right - np.log(np.exp(row).sum())
        number += 1
  assert int(count) == number > 0
  # float32 sums of some tens of numbers of order one.
  np.testing.assert_allclose(float(total), expected, rtol=1e-5)


def test_a_small_run_learns():
  run = small.run(
    task=tasks.Copy(symbols=4, distinct=False, eos=False),
    train=small.train_config(length=9, steps=300, batch=32, learning_rate=1e-2),
    evaluate=config.Evaluate(lengths=(9,)),
    seeds=(0,),
  )
  _, losses = trained(run)
  # Uniform guessing costs ln 4 = 1.39 nats a target.
  assert losses[0, :5].mean() > 1.3
  assert losses[0, 280:300].mean() < 0.3


def test_divergence_is_recorded_with_its_step_seed_by_seed():
  wild = small.train_config(learning_rate=1e30, clip=1e30, warmup=0, decay=0.0)
  state, losses = trained(small.run(train=wild))
  for seed in range(2):
    step = int(state.diverged_S[seed])
    assert step >= 0
    assert np.isfinite(losses[seed, :step]).all()
    assert not np.isfinite(losses[seed, step])
  calm, _ = trained(small.run())
  assert calm.diverged_S.tolist() == [-1, -1]


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path):
  state, _ = trained(small.run())
  told = []
  store = checkpoint.Checkpoints(
    tmp_path / 'c', digest='ab' * 8, report=told.append
  )
  assert store.latest(state) is None
  for step in (10, 20, 30):
    store.save(step, state)
  assert store.steps() == [30, 20]  # One to use, one in case it is damaged.
  step, back = store.latest(jax.tree.map(np.zeros_like, state))
  assert step == 30 and not told
  assert_same_bits(back, state)


@pytest.mark.parametrize('damage', ['truncate', 'foreign'])
def test_a_damaged_checkpoint_is_named_left_and_passed_over(tmp_path, damage):
  tree = {'x': np.arange(64, dtype=np.float32)}
  told = []
  mine = checkpoint.Checkpoints(tmp_path, digest='ab' * 8, report=told.append)
  other = checkpoint.Checkpoints(tmp_path, digest='cd' * 8, report=told.append)
  mine.save(10, tree)
  (other if damage == 'foreign' else mine).save(20, tree)
  if damage == 'truncate':
    files = [p for p in (tmp_path / 'step_00000020').rglob('*') if p.is_file()]
    for path in files:
      path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
  step, back = mine.latest(tree)
  assert step == 10
  np.testing.assert_array_equal(back['x'], tree['x'])
  (sentence,) = told
  assert str(tmp_path / 'step_00000020') in sentence
  assert (tmp_path / 'step_00000020').is_dir()
  mine.save(20, {'x': tree['x'] + 1})
  assert mine.steps() == [20, 10]
  assert mine.latest(tree)[1]['x'][0] == 1
  assert (tmp_path / 'step_00000020.unreadable-1').is_dir()


def test_what_was_just_saved_stays_and_each_unreadable_one_has_a_name(tmp_path):
  """Two later steps cannot be read, and the run begins again below them."""
  tree, told = {'x': np.arange(4, dtype=np.float32)}, []
  store = checkpoint.Checkpoints(tmp_path, digest='ab' * 8, report=told.append)
  for step in (1000, 1500):
    (tmp_path / f'step_{step:08d}').mkdir()
  assert store.latest(tree) is None and len(told) == 2
  store.save(500, tree)
  assert store.steps() == [1500, 1000, 500]
  assert store.latest(tree)[0] == 500
  store.save(1000, tree)
  assert store.steps() == [1500, 1000, 500]
  # The one of this run is damaged, too.
  shutil.rmtree(tmp_path / 'step_00001000')
  (tmp_path / 'step_00001000').mkdir()
  assert store.latest(tree)[0] == 500
  store.save(1000, tree)
  aside = {path.name for path in tmp_path.glob('*unreadable*')}
  assert aside == {f'step_00001000.unreadable-{n}' for n in (1, 2)}
  store.save(1500, tree)
  assert store.steps() == [1500, 1000]
  assert store.latest(tree)[0] == 1500


def test_two_processes_may_save_one_step_at_once(tmp_path, monkeypatch):
  """As where a lock was lost: the one that comes second leaves the first's."""
  tree = {'x': np.arange(4, dtype=np.float32)}
  first, second = (
    checkpoint.Checkpoints(tmp_path, digest='ab' * 8, report=pytest.fail)
    for _ in range(2)
  )
  move = checkpoint.Checkpoints._move_into_place

  def after_the_second(self, saved):
    monkeypatch.undo()
    second.save(10, tree)
    stamp = (tmp_path / 'step_00000010').stat().st_ino
    move(self, saved)
    assert (tmp_path / 'step_00000010').stat().st_ino == stamp

  monkeypatch.setattr(
    checkpoint.Checkpoints, '_move_into_place', after_the_second
  )
  first.save(10, tree)
  assert first.latest(tree)[0] == 10
  assert [path.name for path in tmp_path.iterdir()] == ['step_00000010']


@pytest.mark.parametrize(
  'name', ['lr[1]', 'a\\b', 'a*b?', 'gs:', 'ü 😀\n', '\udcff', '~']
)
def test_any_path_that_the_system_allows_keeps_weights(tmp_path, name):
  tree, told = {'x': np.arange(64, dtype=np.float32)}, []
  directory = tmp_path / name / 'checkpoints'
  # Its name is what `a*b?` would match.
  (tmp_path / 'a_b_').mkdir()
  store = checkpoint.Checkpoints(directory, digest='ab' * 8, report=told.append)
  store.save(10, tree)
  step, back = store.latest(jax.tree.map(np.zeros_like, tree))
  assert step == 10 and not told
  np.testing.assert_array_equal(back['x'], tree['x'])
  assert [path.name for path in directory.iterdir()] == ['step_00000010']


def test_bad_configurations_are_sentences():
  with pytest.raises(ValueError, match='width=20 and heads=8: try width=24'):
    config.Model(width=20, heads=8)
  with pytest.raises(ValueError, match=r"'relo' \(did you mean relu"):
    config.Model(activation='relo')
  with pytest.raises(ValueError, match=r'head width must be even.*got 5'):
    small.run(model=config.Model(width=10, heads=2))
  with pytest.raises(ValueError, match=r'Learned has 16 rows.*length of 24'):
    small.run(scheme=schemes.Learned(rows=16))
  with pytest.raises(ValueError, match='got 4'):
    small.run(evaluate=config.Evaluate(lengths=(4,)))
  with pytest.raises(ValueError, match='0 but the run has no parent'):
    small.run(train=small.train_config(steps=0))
  with pytest.raises(ValueError, match="keeps its parent's model"):
    small.run().retrofit(schemes.NoPE(), model=config.Model(width=32))
  with pytest.raises(ValueError, match="keeps its parent's seeds"):
    small.run().retrofit(schemes.NoPE(), seeds=(3,))
  with pytest.raises(ValueError, match=r'67 token ids where .* on 24,'):
    small.run().on(tasks.Copy())
  with pytest.raises(ValueError, match='clip of Train must be above 0, got 0'):
    small.train_config(clip=0)
  sentence = r'micro_batch of Train must divide batch=8, got 6: use .*=2'
  with pytest.raises(ValueError, match=sentence):
    small.train_config(micro_batch=6)
  with pytest.raises(ValueError, match=r'divide batch=8, got 16: use .*=8'):
    small.train_config(micro_batch=16)
  with pytest.raises(ValueError, match='different numbers'):
    small.run(seeds=(1, 1))


def test_a_run_survives_json_and_its_digest_tells_runs_apart():
  run = small.run().retrofit(schemes.RoPE(schemes.NTK(4)) + schemes.T5())
  back = config.Run.from_dict(run.to_dict())
  assert back == run and back.digest == run.digest
  others = [
    run.parent,
    dataclasses.replace(run.parent, seeds=(3, 6)),
    run.parent.retrofit(schemes.RoPE(schemes.NTK(5)) + schemes.T5()),
  ]
  assert len({run.digest, *(o.digest for o in others)}) == 4


def test_a_digest_follows_the_revision(monkeypatch):
  before = small.run().digest
  monkeypatch.setattr(config, 'REVISION', config.REVISION + 1)
  assert small.run().digest != before


def test_the_trained_length_is_always_evaluated():
  run = small.run(evaluate=config.Evaluate(lengths=(24, 16)))
  assert run.lengths == (12, 16, 24)


@pytest.mark.parametrize(
  'task, bos', [(tasks.Ordering(), True), (tasks.Copy(), False)], ids=str
)
def test_predicting_only_what_is_asked_changes_no_gradient(task, bos):
  length = 64
  run = small.run(
    task=task,
    scheme=schemes.RoPE() + schemes.T5(),
    model=config.Model(layers=2, width=16, heads=2, bos=bos),
    train=small.train_config(length=length),
    evaluate=config.Evaluate(lengths=(length,)),
  )
  batch = evaluate.examples(task, length, 4)
  asked = tuple(task.asked(length))
  params = jax.jit(train_step.initial_params, static_argnums=0)(
    run, jnp.uint32(1)
  )

  @functools.partial(jax.jit, static_argnums=(0, 1))
  def gradient(asked, micro):
    return train_step.gradient(transformer.of(run), params, batch, asked, micro)

  everywhere = gradient(None, 4)
  for other in (gradient(asked, 4), gradient(asked, 1)):
    for x, y in zip(jax.tree.leaves(everywhere), jax.tree.leaves(other)):
      # float32 sums in another order; gradients here are of order one.
      np.testing.assert_allclose(x, y, rtol=2e-4, atol=2e-5)


def test_arithmetic_is_counted_as_the_compiler_counts_it():
  run = small.run(
    scheme=schemes.NoPE(),
    model=config.Model(layers=3, width=64, heads=4),
    train=small.train_config(length=64),
    evaluate=config.Evaluate(lengths=(64,)),
  )
  params = train_step.initial_params(run, jnp.uint32(0))
  tokens = jnp.zeros((1, 64), jnp.int32)
  for asked in (None, (20, 40)):
    forward = jax.jit(
      lambda t, asked=asked: transformer.predict(
        transformer.of(run), params, t, asked
      )
    )
    cost = forward.lower(tokens).compile().cost_analysis()['flops']
    mine = flop_count.forward_flops(run, 64, asked and len(asked))
    # The compiler counts norms, softmax and activations too: a few percent.
    assert mine < cost < 1.12 * mine


@pytest.mark.parametrize('window', [None, 100])
def test_attention_in_blocks_is_counted_by_the_keys_that_are_seen(window):
  length, shape = 1024, {'layers': 2, 'width': 16, 'heads': 2}
  flops = [
    flop_count.forward_flops(
      small.run(model=config.Model(**shape, window=window, block=block)), length
    )
    for block in (None, 'auto')
  ]
  seen = [min(i, window or i) for i in range(1, length + 1)]
  # Two products, and a multiplication and an addition in each.
  spared = 2 * 4 * 16 * (length**2 - sum(seen))
  # A triangle has its diagonal, and a window is not yet full at the start.
  assert flops[0] - flops[1] == pytest.approx(spared, rel=0.02)
