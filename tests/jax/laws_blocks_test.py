"""Law 10, which is about rounding: with programs as users have them."""

import functools

import jax
import numpy as np
import pytest

from tests import cases

pytestmark = pytest.mark.optimised


@cases.every_model
def test_10_blockwise_equals_dense(scheme):
  if not scheme.blockwise:
    pytest.skip('the scheme changes whole rows of logits')
  params, arrays = cases.layer_params(scheme), cases.queries(4)
  run = functools.partial(cases.value_and_grads, scheme, params, arrays)
  # The same float32 sums in another order; a gradient of a bias sums 46 rows.
  close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
  jax.tree.map(close, run(5), run(None))
