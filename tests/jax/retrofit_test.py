"""Retrofit: what is kept, new and dropped, and that it is the same weights."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from posexp import schemes, tasks
from posexp.models import transformer
from posexp.runs import config
from posexp.training import retrofit, train_step
from tests import small


def params_of(run):
  """Initial parameters with a seed axis, positional ones not at zero."""
  one = train_step.initial_params(run, jnp.uint32(0))
  number = itertools.count()
  spread = lambda x: (
    0.001 * next(number)
    + np.stack(
      [
        np.asarray(x) + 0.1 * n + 0.01 * np.arange(x.size).reshape(x.shape)
        for n in range(2)
      ]
    ).astype(np.float32)
  )
  return jax.tree.map(spread, one)


def moved(old, new, **shape):
  shape = config.Model(layers=2, width=16, heads=2, **shape)
  parent = small.run(scheme=old, model=shape)
  child = parent.retrofit(new)
  params = params_of(parent)
  return params, retrofit.transfer(parent, child, params), child


def test_content_is_kept_and_the_result_fits_the_new_model():
  params, transfer, child = moved(
    schemes.Learned(rows=32), schemes.RoPE(schemes.NTK(2)) + schemes.T5()
  )
  wanted = transformer.shapes(transformer.of(child))
  assert jax.tree.structure(transfer.params) == jax.tree.structure(wanted)
  for path, leaf in jax.tree_util.tree_leaves_with_path(transfer.params):
    name = jax.tree_util.keystr(path)
    if transformer.POSITION not in name:
      old = params
      for entry in path:
        old = old[entry.key]
      np.testing.assert_array_equal(leaf, old)
    else:
      assert not np.any(leaf)  # A T5 table starts at zero.
  assert transfer.new == ('block_0/position/T5', 'block_1/position/T5')
  assert transfer.dropped == ('position_input/Learned',)
  assert transfer.kept == ()


@pytest.mark.parametrize(
  'new',
  [
    schemes.T5() + schemes.RoPE(),
    schemes.RoPE(schemes.Linear(2)) + schemes.T5(),
    schemes.Interpolate(schemes.T5(), 2),
    schemes.ALiBi() + schemes.Interpolate(schemes.RoPE() + schemes.T5(), 2),
  ],
  ids=str,
)
def test_a_trained_table_follows_its_scheme_into_sums_and_wrappers(new):
  params, transfer, child = moved(schemes.RoPE() + schemes.T5(), new)
  assert transfer.kept == ('block_0/position/T5', 'block_1/position/T5')
  assert transfer.new == transfer.dropped == ()
  for n in range(2):
    before = params[f'block_{n}']['position']
    after = transfer.params[f'block_{n}']['position']
    np.testing.assert_array_equal(
      jax.tree.leaves(after)[0], jax.tree.leaves(before)[0]
    )
  wanted = transformer.shapes(transformer.of(child))
  assert jax.tree.structure(transfer.params) == jax.tree.structure(wanted)


def test_a_table_of_another_size_is_dropped_and_new():
  _, transfer, _ = moved(schemes.T5(buckets=8), schemes.T5(buckets=16))
  assert transfer.kept == ()
  assert len(transfer.new) == len(transfer.dropped) == 2
  _, shared, _ = moved(
    schemes.T5(buckets=8), schemes.T5(buckets=16), share_position=True
  )
  assert shared.new == shared.dropped == ('position/T5',)


def test_schemes_of_one_class_are_matched_in_order_and_once():
  one, two = schemes.T5(), schemes.T5() + schemes.T5()
  params, fewer, _ = moved(two, one)
  assert len(fewer.kept) == len(fewer.dropped) == 2 and not fewer.new
  np.testing.assert_array_equal(
    fewer.params['block_0']['position']['table_NxH'],
    params['block_0']['position']['T5']['table_NxH'],
  )
  _, more, _ = moved(one, two)
  assert len(more.kept) == len(more.new) == 2 and not more.dropped
  assert not np.any(more.params['block_0']['position']['T5_1']['table_NxH'])


def test_a_table_of_the_input_is_kept_too():
  old = schemes.Learned(rows=32)
  params, transfer, _ = moved(old, schemes.RoPE() + old)
  assert transfer.kept == ('position_input/Learned',)
  np.testing.assert_array_equal(
    jax.tree.leaves(transfer.params['position_input']),
    jax.tree.leaves(params['position_input']),
  )


def test_what_is_added_is_drawn_seed_by_seed_and_layer_by_layer():
  new = schemes.KERPLE() + schemes.RoPE()
  _, transfer, child = moved(schemes.RoPE(), new)
  added = []
  for n, seed in enumerate(child.seeds):
    scratch = train_step.initial_params(
      small.run(scheme=new, model=child.model), jnp.uint32(seed)
    )
    for block in ('block_0', 'block_1'):
      found = transfer.params[block]['position']['KERPLE']
      wanted = scratch[block]['position']['KERPLE']
      np.testing.assert_array_equal(found['a_H'][n], wanted['a_H'])
      assert not np.any(found['p_H'])  # The strength of the bias.
      added += np.asarray(found['a_H'][n]).tolist()
  assert len(set(added)) == len(child.seeds) * 2 * 2


@pytest.mark.parametrize(
  'added', [schemes.T5(), schemes.Learned(rows=32)], ids=str
)
def test_what_is_added_changes_nothing_until_it_is_trained(added):
  old = schemes.RoPE()
  params, transfer, child = moved(old, old + added)
  first = lambda tree: jax.tree.map(lambda x: jnp.asarray(x[0]), tree)
  tokens = jnp.arange(12, dtype=jnp.int32)[None]
  before = transformer.predict(
    transformer.of(child.parent), first(params), tokens
  )
  after = transformer.predict(
    transformer.of(child), first(transfer.params), tokens
  )
  np.testing.assert_array_equal(before, after)


def test_trained_weights_on_another_arm_of_the_task():
  run = small.run()
  twin = tasks.Presence(symbols=16, queries=1, filler=4)
  other = run.on(twin)
  assert other.name == f'{twin}: RoPE()'
  assert other.retrofit(schemes.NoPE()).name == f'{twin}: RoPE() -> NoPE()'
  assert run.retrofit(schemes.NoPE()).name == 'Ordering: RoPE() -> NoPE()'
  params = train_step.initial_params(run, np.uint32(0))
  moved = retrofit.transfer(run, other, params)
  jax.tree.map(np.testing.assert_array_equal, moved.params, params)
