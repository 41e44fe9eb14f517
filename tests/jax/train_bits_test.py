"""Bits of training that must agree, in programs as users have them."""

import jax
import numpy as np
import pytest

from tests import small
from tests.jax.train_test import assert_same_bits, trained

pytestmark = pytest.mark.optimised


def test_a_seed_is_the_same_bits_alone_and_among_others():
  # On two devices five seeds are three rounds, the last half idle.
  seeds = (3, 5, 9, 2, 8)
  together, losses = trained(small.run(seeds=seeds))
  for n, seed in enumerate(seeds[1:4], start=1):
    alone, loss = trained(small.run(seeds=(seed,)))
    assert_same_bits(
      jax.tree.map(lambda x, n=n: x[n], together),
      jax.tree.map(lambda x: x[0], alone),
    )
    np.testing.assert_array_equal(losses[n], loss[0])


def test_the_bits_do_not_depend_on_how_many_steps_a_call_does():
  one, losses = trained(small.run(), chunk=50)
  two, losses_7 = trained(small.run(), chunk=7)
  assert_same_bits(one, two)
  np.testing.assert_array_equal(losses[:, :30], losses_7[:, :30])
  assert np.isnan(losses[:, 30:]).all()
