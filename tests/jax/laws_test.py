"""Laws 1 to 6 and 10 of the twelve, over the catalogue and compositions.

A scheme that is added to `schemes.CATALOGUE` goes through all of them.
Learned parameters are random, never the zeros that some of them start from.
"""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import posexp
from posexp import schemes
from posexp.attention import placed
from tests import cases, references


@cases.every_scheme
def test_1_elementwise(scheme):
  params, at = cases.layer_params(scheme), cases.tokens_at(scheme)
  whole = cases.bias_of(scheme, params, at, at)
  # A network's product rounds differently with the shape: 2e-6 is a few units
  # in the last place of a bias of a few nats.
  close = functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=2e-6)
  # Blocks of one, of a few, and in an order that no length could explain.
  for rows, columns in (([7], [3]), ([22, 0, 5], [8, 8, 21, 1])):
    some = cases.take(at, rows), cases.take(at, columns)
    block = cases.bias_of(scheme, params, *some)
    close(block, whole[:, :, rows][..., columns])
  one_head = cases.bias_of(scheme, params, at, at, index=[1])
  close(one_head, whole[:, [1]])


@cases.every_scheme
def test_2_token_local(scheme):
  at, order = cases.tokens_at(scheme), jnp.array([9, 2, 2, 17])
  params, (x,) = cases.layer_params(scheme), cases.queries(1)
  # Rounding may differ with the shape: 1e-6 is a few units in the last place.
  close = functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-6)
  for side in ('q', 'k'):
    whole = scheme.rotate(params, x, at, side)
    some = scheme.rotate(params, x[:, order], cases.take(at, order), side)
    close(some, whole[:, order])
  params, x = cases.input_params(scheme), cases.stream()
  at = scheme.remap(jnp.arange(cases.LENGTH)[None], jax.random.key(3))
  whole = scheme.embed(params, x, at)
  some = scheme.embed(params, x[:, order], cases.take(at, order))
  close(some, whole[:, order])


@cases.every_scheme
def test_3_finite_everywhere(scheme):
  # All pairs, so keys after the query too, near and a long way off.
  index = jnp.array([[0, 1, 2, 15, 16, 17, 128, 4096, 100_000]])
  at = cases.tokens_at(scheme, index)
  at = jax.tree.map(lambda x: x.astype(jnp.float32), at)
  head = schemes.Head(jnp.arange(2).reshape(1, 2, 1, 1), 2)

  def total(params, q_at, k_at, q, inputs, x):
    rows, columns = jax.tree.map(placed.heads_first, (q_at, k_at))
    columns = jax.tree.map(lambda x: x.swapaxes(2, 3), columns)
    bias = jnp.asarray(scheme.bias(params, head, rows, columns))
    rotated = scheme.rotate(params, q, q_at, 'q')
    # A table ends; its far positions are law 11's.
    x = scheme.embed(
      inputs, x, scheme.remap(jnp.arange(cases.LENGTH)[None], None)
    )
    return jnp.sum(bias) + jnp.sum(rotated) + jnp.sum(x)

  params, q = cases.layer_params(scheme), cases.normal(5, 1, 9, 2, 8)
  args = params, at, at, q, cases.input_params(scheme), cases.stream()
  out = jax.value_and_grad(total, argnums=tuple(range(6)))(*args)
  for leaf in jax.tree.leaves(out):
    assert np.isfinite(leaf).all()


@cases.every_scheme
def test_3_attention_is_finite_where_logits_are_large(scheme):
  large = [100 * x for x in cases.queries(4)]
  params, content = cases.layer_params(scheme), 100 * cases.stream()
  found = cases.value_and_grads(scheme, params, large, None, content)
  for leaf in jax.tree.leaves(found):
    assert np.isfinite(leaf).all()


@cases.every_scheme
def test_4_monoid(scheme):
  assert schemes.NoPE() + scheme == scheme == scheme + schemes.NoPE()
  for a in cases.CASES:
    for b in (schemes.ALiBi(), schemes.NoPE(), schemes.T5() + schemes.RoPE()):
      assert added(added(scheme, a), b) == added(scheme, added(a, b))


class Refused(str):
  """The sentence of a sum that is refused, and so is every larger one."""

  def __eq__(self, other):
    return isinstance(other, Refused)

  __hash__ = str.__hash__


def added(a, b):
  if isinstance(a, Refused) or isinstance(b, Refused):
    return Refused()
  try:
    return a + b
  except ValueError as error:
    return Refused(error)


def joined(both, terms, params):
  """The parameters of a sum, from those of its terms."""
  flat = [
    own
    for term, tree in zip(terms, params)
    for atom, own in zip(term.atoms, term.flatten(tree))
    if atom != schemes.NoPE()  # The unit leaves a sum.
  ]
  return both.unflatten(tuple(flat))


@cases.every_scheme
@pytest.mark.parametrize(
  'other',
  [schemes.T5(buckets=8, max_distance=20), schemes.RoPE(), schemes.Learned(64)],
  ids=str,
)
def test_4_composition_applies_both(scheme, other):
  both, index = added(scheme, other), jnp.arange(cases.LENGTH)[None]
  if isinstance(both, Refused):
    pytest.skip(both)
  params = cases.layer_params(scheme, 1), cases.layer_params(other, 2)
  joint = joined(both, (scheme, other), params)
  at, first, second = (
    cases.tokens_at(s, params=p)
    for s, p in ((both, joint), (scheme, params[0]), (other, params[1]))
  )
  np.testing.assert_array_equal(
    cases.bias_of(both, joint, at, at),
    cases.bias_of(scheme, params[0], first, first)
    + cases.bias_of(other, params[1], second, second),
  )
  (q,) = cases.queries(1)
  inner = scheme.rotate(params[0], q, first, 'q')
  np.testing.assert_array_equal(
    both.rotate(joint, q, at, 'q'), other.rotate(params[1], inner, second, 'q')
  )
  inputs = cases.input_params(scheme, 1), cases.input_params(other, 2)
  joint = joined(both, (scheme, other), inputs)
  x, at = cases.stream(), both.remap(index, None)
  inner = scheme.embed(inputs[0], x, scheme.remap(index, None))
  np.testing.assert_array_equal(
    both.embed(joint, x, at),
    other.embed(inputs[1], inner, other.remap(index, None)),
  )


@cases.every_scheme
def test_5_stateless(scheme):
  before = repr(vars(scheme))
  written = json.loads(json.dumps(scheme.to_dict()))
  again = schemes.Scheme.from_dict(written)
  assert again == scheme and hash(again) == hash(scheme)
  assert again.to_dict() == scheme.to_dict()
  with pytest.raises(dataclasses.FrozenInstanceError):
    scheme.anything = 1
  params, arrays = (
    cases.layer_params(scheme),
    (*cases.queries(), cases.stream()),
  )
  attend = lambda s, q, k, v, x: posexp.attend(s, params, q, k, v, None, x)
  whole = attend(scheme, *arrays)
  assert repr(vars(scheme)) == before
  # Nothing else goes by the length: a shorter sequence is the same, shorter.
  again = again.for_length(cases.LENGTH)
  short = attend(again, *(x[:, :9] for x in arrays))
  # A logit of up to 32 nats, as Sandwich has, is off by 2e-6 in float32.
  np.testing.assert_allclose(short, whole[:, :9], rtol=0, atol=5e-6)


@cases.every_scheme
def test_6_reference(scheme):
  args = cases.layer_params(scheme), *cases.queries()
  x = cases.stream()
  used = scheme.for_length(cases.LENGTH)
  expected = references.attend(used, *cases.float64((*args, x)))
  # Float32 rounding of logits of a few units, weighing values of unit size.
  close = functools.partial(np.testing.assert_allclose, rtol=0, atol=5e-6)
  close(posexp.attend(scheme, *args, None, x), expected)
  args = cases.input_params(scheme), cases.stream()
  at = scheme.remap(jnp.arange(cases.LENGTH)[None], None)
  expected = references.embed(scheme, *cases.float64(args))
  close(scheme.embed(*args, at), expected)


def test_6_a_scheme_without_a_reference_is_told_so():
  @dataclasses.dataclass(frozen=True)
  class Unheard(schemes.Scheme):
    pass

  with pytest.raises(LookupError, match='scheme Unheard: transcribe it'):
    references.attend(Unheard(), {}, *(np.zeros((1, 2, 2, 4)),) * 4)
