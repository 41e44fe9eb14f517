"""How every matrix is multiplied, in the programs that are compiled."""

import base64
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import posexp
from posexp import schemes
from posexp.attention import precision
from posexp.evaluation import evaluate
from posexp.models import environment, generation, mesh, transformer
from posexp.runs import config
from posexp.training import train_step
from tests import small

# Of what a controlled comparison rests on: counts, cumulated gates, q.k alone,
# with slopes and with a table. The first is dense, the others are in blocks.
SCHEMES = (
  schemes.CoPE(positions=8),
  schemes.RoPE() + schemes.Forgetting(),
  schemes.RoPE(),
  schemes.ALiBi(),
  schemes.T5(),
)
WANTED = {'float32': {'HIGHEST'}, 'bfloat16': {'DEFAULT'}}
LENGTH = 12
# What Mosaic is given, in a program for a TPU.
BODY = r'body\\22: \\22([A-Za-z0-9+/=]+)'


def run_of(scheme, compute):
  block = 4 if scheme.blockwise else None
  model = config.Model(
    layers=2, width=16, heads=2, block=block, compute=compute
  )
  return small.run(scheme=scheme, model=model)


def precisions(traced):
  """How the products of a program are computed, each once."""
  text = traced.lower().as_text()
  found = re.findall(
    r'stablehlo.dot_general.*precision = \[(\w+), (\w+)\]', text
  )
  assert len(found) == text.count('stablehlo.dot_general') > 8
  return {name for pair in found for name in pair}


def training(run):
  on = mesh.mesh(len(run.seeds), run.train.batch)
  start, advance = train_step.programs(run, on, chunk=1)
  members = train_step.members([run], on)
  state = jax.eval_shape(start, members)
  return advance.trace(state, members, np.int32(0))


def of_model(run):
  """The model, shapes of the seeds' parameters and of eight sequences."""
  net = transformer.of(run, LENGTH)
  seeds = mesh.rounds(mesh.mesh(2, 8), 2)
  params = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct((seeds, *x.shape), x.dtype),
    transformer.shapes(net),
  )
  return net, params, jax.ShapeDtypeStruct((8, LENGTH), jnp.int32)


def evaluation(run):
  net, params, tokens_BxL = of_model(run)
  on, (form, numbers) = mesh.mesh(2, 8), transformer.take(net)
  program = evaluate.predictor(form, on, LENGTH, 2, at_once=8)
  numbers = evaluate.each(numbers, params, on)
  return program.trace(
    params, numbers, tokens_BxL, jax.ShapeDtypeStruct((8,), np.uint32)
  )


def decoding(run):
  net, params, tokens_BxL = of_model(run)
  one_seed = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), params
  )
  program = functools.partial(generation.generate, net, tokens=3)
  return jax.jit(lambda params, t: program(params, t)).trace(
    one_seed, tokens_BxL
  )


@pytest.mark.parametrize('program', [training, evaluation, decoding])
@pytest.mark.parametrize('scheme', SCHEMES, ids=str)
def test_all_products_are_as_precise_as_compute_says(scheme, program):
  for compute, wanted in WANTED.items():
    # As runs are computed, whatever the user has set.
    with jax.default_matmul_precision('bfloat16'), environment.fixed():
      assert precisions(program(run_of(scheme, compute))) == wanted


@pytest.mark.parametrize('outside', [None, 'bfloat16', 'highest'])
@pytest.mark.parametrize('compute', WANTED)
def test_a_model_knows_its_own_precision(compute, outside):
  net, params, tokens_BxL = of_model(run_of(schemes.T5(), compute))
  tokens = jnp.zeros(tokens_BxL.shape, tokens_BxL.dtype)

  def loss(params):
    return jnp.square(transformer.predict(net, params, tokens)).sum()

  params = jax.tree.map(lambda x: jnp.zeros(x.shape[1:], x.dtype), params)
  with jax.default_matmul_precision(outside):
    traced = jax.jit(jax.grad(loss)).trace(params)
    assert precisions(traced) == WANTED[compute]


@pytest.mark.parametrize('implementation', ['xla', 'pallas'])
def test_attention_of_float32_is_float32_unless_a_user_says_otherwise(
  implementation,
):
  def products(dtype):
    """Of attention and its gradients, those in a kernel too."""
    x = jnp.ones((1, 32, 2, 16), dtype)
    grad = jax.grad(
      lambda x: posexp.attend(
        schemes.ALiBi(), {}, x, x, x, 16, implementation=implementation
      ).sum()
    )
    text = str(jax.make_jaxpr(grad)(x))
    assert text.count('dot_general[') > 6
    found = re.findall(r'precision=\(Precision\.(\w+), Precision\.(\w+)', text)
    assert len(found) == text.count('dot_general[')
    return {name for pair in found for name in pair}

  assert products(jnp.float32) == {'HIGHEST'}
  assert products(jnp.bfloat16) == {'DEFAULT'}
  with jax.default_matmul_precision('high'):
    assert products(jnp.float32) == {'HIGH'}


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_the_kernel_of_a_tpu_is_told(dtype, monkeypatch):
  # As on a machine that has one. Triton's form of a kernel is not to be read.
  monkeypatch.setattr(jax, 'default_backend', lambda: 'tpu')
  x = jax.ShapeDtypeStruct((1, 64, 2, 16), dtype)
  grad = jax.grad(
    lambda x: posexp.attend(
      schemes.ALiBi(), {}, x, x, x, 16, implementation='pallas'
    ).sum()
  )
  lowered = jax.jit(grad).trace(x).lower(lowering_platforms=('tpu',))
  kernels = [base64.b64decode(b) for b in re.findall(BODY, lowered.as_text())]
  assert len(kernels) >= 3
  for kernel in kernels:
    exact = b'contract_precision<fp32>' in kernel
    assert exact is (dtype == jnp.float32)


def test_what_is_fixed_is_float32():
  assert precision.now() is None
  with jax.default_matmul_precision('bfloat16'), environment.fixed():
    assert precision.now() == precision.of(jnp.float32) == 'highest'
