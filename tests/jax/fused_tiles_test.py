"""Functions on tiles are the same functions on whole arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from posexp.attention.kernel import hooks, tiles
from posexp.attention.kernel.tiles import COLUMN, HEAD, ROW
from tests import cases

HEADS, ROWS, COLUMNS, TABLE = 3, 8, 5, 4
NAMES = {
  'table_NxH': (None, HEAD),
  'slope_H': (HEAD,),
  'weight_WxV': (None, None),
}
OUT = (None, HEAD, ROW, COLUMN)
WAVES = np.float32(0.7) ** np.arange(6, dtype=np.float32)


def distance(q_at, k_at):
  return jnp.abs(q_at - k_at)


def row(q_at, k_at):
  return jnp.minimum(distance(q_at, k_at), TABLE - 1).astype(jnp.int32)


# Biases unlike those of the catalogue: f(params, head, q_at, k_at).
FUNCTIONS = {
  'a table that is computed': lambda p, h, q, k: jnp.exp(p['table_NxH'])[
    row(q, k), h
  ],
  'a table that is shifted': lambda p, h, q, k: jnp.concatenate(
    [jnp.zeros((1, HEADS)), p['table_NxH'][:-1]]
  )[row(q, k), h],
  'a table of numbers': lambda p, h, q, k: jnp.asarray(WAVES)[row(q, k)],
  'slopes without an index': lambda p, h, q, k: (
    jnp.asarray(WAVES[:HEADS]).reshape(1, -1, 1, 1) * distance(q, k)
  ),
  'learned slopes without an index': lambda p, h, q, k: (
    p['slope_H'].reshape(1, -1, 1, 1) * distance(q, k)
  ),
  'a network of two axes': lambda p, h, q, k: jnp.einsum(
    '...w,wv->...', jnp.sin(distance(q, k)[..., None]), p['weight_WxV']
  ),
  'the mean of hidden units': lambda p, h, q, k: jnp.mean(
    jnp.sin(
      distance(q, k)[..., None] * p['weight_WxV'].reshape(1, 1, 1, 1, -1)
    ),
    -1,
  ),
  'the head as a number': lambda p, h, q, k: (
    jnp.exp(-(1.0 + h.astype(jnp.float32))) * q - k
  ),
}


def arguments():
  shapes = (TABLE, HEADS), (HEADS,), (1, 2)
  params = {
    name: cases.normal(n, *shape)
    for n, (name, shape) in enumerate(zip(NAMES, shapes))
  }
  q_at = 2 * cases.normal(3, 1, 1, ROWS, 1)
  k_at = 2 * cases.normal(4, 1, 1, 1, COLUMNS)
  head = jnp.arange(HEADS).reshape(1, HEADS, 1, 1)
  return params, head, q_at, k_at


def leaves():
  """The names of the axes of each leaf of the arguments."""
  params = {f'p{n}': NAMES[name] for n, name in enumerate(sorted(NAMES))}
  head, row = (None, HEAD, None, None), (None, None, ROW, None)
  return {**params, 'head': head, 'q0': row, 'k0': OUT}


def entries(x, names, head):
  """What the program of a head has of an array: rows x columns, in order."""
  found = []
  for place in np.ndindex(*(1 if m else n for n, m in zip(x.shape, names))):
    cut = {None: None, HEAD: head, ROW: slice(None), COLUMN: slice(None)}
    one = x[tuple(n if m is None else cut[m] for n, m in zip(place, names))]
    shape = [1, 1]
    for n, name in zip(x.shape, names):
      if name in tiles.AXIS and n > 1:
        shape[tiles.AXIS[name]] = n
    found.append(one.reshape(shape))
  return found


def run(fn):
  """Values and gradients on tiles, head by head, and of whole arrays."""
  args = arguments()
  whole = lambda *args: jnp.broadcast_to(
    fn(*args).astype(jnp.float32), (1, HEADS, ROWS, COLUMNS)
  )
  shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), args)
  on_tiles = hooks.traced(whole, shapes, leaves(), OUT)
  weight = cases.normal(5, 1, HEADS, ROWS, COLUMNS)

  def by_head(head):
    index = jnp.full((1, 1), head, jnp.int32)
    program = tiles.Program(index)
    given = {
      n: entries(x, names, head)
      for (n, names), x in zip(leaves().items(), jax.tree.leaves(args))
    }
    # That of the head must be the same object.
    given['head'] = [index]
    grads = on_tiles.pull(program, given, weight[0, head], on_tiles.learns)
    return on_tiles(program, given), grads

  def loss(*args):
    values = whole(*args)
    return (weight * values).sum(), values[0]

  grad = jax.jit(jax.grad(loss, argnums=(0, 2, 3), has_aux=True))
  grads, values = grad(*args)
  found = list(map(jax.jit(by_head), range(HEADS)))
  return found, values, jax.tree.leaves(grads), on_tiles


@pytest.mark.parametrize('name', FUNCTIONS)
def test_a_function_on_tiles(name):
  found, values, grads, on_tiles = run(FUNCTIONS[name])
  close = lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)
  learned = [n for n in on_tiles.leaves if n != 'head']
  assert on_tiles.learns <= set(learned)
  for head, (value, _) in enumerate(found):
    close(value, values[head])
  for n, grad in zip(learned, grads):
    if n not in on_tiles.learns:
      assert not np.any(grad)
      continue
    names = hooks.as_matrix(on_tiles.names[n])
    parts = [g[n] for _, g in found]
    if HEAD in names and grad.shape[names.index(HEAD)] > 1:
      for head, part in enumerate(parts):
        jax.tree.map(close, part, entries(grad, names, head))
    else:
      total = jax.tree.map(lambda *x: sum(x), *parts)
      jax.tree.map(close, total, entries(grad, names, 0))


@pytest.mark.parametrize(
  'what, fn',
  [
    ('cumsum', lambda p, h, q, k: jnp.cumsum(q - k, -1)),
    ('a sum over heads', lambda p, h, q, k: p['slope_H'].sum() * (q - k)),
    (
      'a look-up of another head',
      lambda p, h, q, k: p['slope_H'][jnp.minimum(h + 1, HEADS - 1)] * (q - k),
    ),
    (
      'a look-up of this kind',
      lambda p, h, q, k: p['table_NxH'].at[row(q, k), h].get(mode='fill'),
    ),
  ],
)
def test_what_has_no_rule_is_a_sentence(what, fn):
  with pytest.raises(ValueError, match=f'no rule for {what} in a scheme: use'):
    run(fn)
