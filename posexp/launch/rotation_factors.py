"""The loss of a trained run as a function of the factors of its rotation."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from posexp import component, schemes, tasks
from posexp.evaluation import evaluate
from posexp.models import memory, mesh, transformer
from posexp.runs import config
from posexp.training import train_step

# The root of the keys of the examples that factors are chosen on; those that
# they are judged on come from `evaluate.FOLD`.
FOLD = 0x5EA2C


class Objective:
  """The loss of a trained run at a length as a function of the factors.

  The mean over the run's seeds of the mean cross-entropy of the targets, in
  nats, on examples that no evaluation uses. All factors share one program.

  Args:
    run: a run whose scheme is an unscaled RoPE, alone or in a sum.
    params: its trained parameters, with the seeds as first axis.
    length: tokens in a sequence, more than the run was trained with.
    examples: how many sequences.
    attention_factor: of the law.

  Attributes:
    factor: s, the length over the trained length.
  """

  def __init__(
    self,
    run: config.Run,
    params: Any,
    length: int,
    *,
    examples: int = 64,
    attention_factor: float | None = None,
  ):
    component.at_least('examples of a search', examples, 1)
    check(run, length)
    self.run, self.factor = run, length / run.trained_length
    self._attention_factor = attention_factor
    scheme = run.evaluated_scheme(length)
    (self._rope,) = (p for p in scheme.parts if type(p) is schemes.RoPE)
    pairs = self._rope.inverse_frequencies(run.model.head_width).size
    law = self.law(np.ones(pairs))
    free = with_rope(
      scheme,
      lambda rope: _Free(dataclasses.replace(rope, frequencies=law), pairs),
    )
    free.check(run.model.dims, length - 1 + run.model.bos)
    devices = mesh.mesh(len(run.seeds), examples)
    self._params = mesh.pad_seeds(params, devices, len(run.seeds))
    self._batch = evaluate.examples(run.task, length, examples, FOLD)
    self._program = _program(run, scheme, free, length, devices)

  @property
  def compilations(self) -> int:
    return self._program._cache_size()  # type: ignore[attr-defined]

  def law(self, factors_K: np.ndarray) -> schemes.LongRoPE:
    """Return the law of a candidate, unscaled up to the trained length."""
    return schemes.LongRoPE(
      short=(1.0,) * len(factors_K),
      long=tuple(float(f) for f in factors_K),
      train_length=self.run.trained_length,
      factor=self.factor,
      attention_factor=self._attention_factor,
    )

  def starts(self) -> dict[str, np.ndarray]:
    """Return the factors of the laws that a search starts from, by name."""
    laws = {
      'unscaled': schemes.Law(),
      'PI': schemes.Linear(self.factor),
      'NTK': schemes.NTK(self.factor),
      'YaRN': schemes.YaRN(self.factor, self.run.trained_length),
    }
    plain_K = self._angles(schemes.Law())
    return {name: plain_K / self._angles(law) for name, law in laws.items()}

  def __call__(self, factors_K: np.ndarray) -> float:
    # Divided in float64 and then rounded, as the law itself does.
    theta_K = self._angles(schemes.Law()) / factors_K
    means_S = self._program(
      self._params, np.asarray(theta_K, np.float32), self._batch
    )
    return float(np.mean(train_step.busy(self.run, means_S), dtype=np.float64))

  def _angles(self, law: schemes.Law) -> np.ndarray:
    rope = dataclasses.replace(self._rope, frequencies=law)
    return rope.inverse_frequencies(self.run.model.head_width)


@dataclasses.dataclass(frozen=True)
class _Free(schemes.Scheme):
  """A rotation whose angles are parameters, so that one program serves all.

  Attributes:
    rope: the rotation, of whose law only the temperature is used.
    pairs: how many angles there are.
  """

  rope: schemes.RoPE
  pairs: int

  def init_layer(self, key, dims):
    del key, dims
    return {'theta_K': jnp.zeros(self.pairs)}

  def check(self, dims, length):
    self.rope.check(dims, length)

  def rotate(self, params, x_BxLxHxE, at, side):
    return self.rope.turn(x_BxLxHxE, at, side, 1.0, params['theta_K'])


def check(run: config.Run, length: int) -> None:
  """Check that a run can be searched, before anything is computed.

  Raises:
    UserError: if the length is no extension, or the scheme does not serve.
  """
  if length <= run.trained_length:
    raise component.UserError(
      f'a search needs a length above the trained {run.trained_length}, got '
      f'{length}: the factors are for an extension'
    )
  plain = [
    part
    for part in run.scheme.parts
    if type(part) is schemes.RoPE and part.frequencies == schemes.Law()
  ]
  rotations = [a for a in run.scheme.atoms if isinstance(a, schemes.RoPE)]
  if len(plain) != 1 or len(rotations) != 1 or run.scheme.evaluated().draws:
    raise component.UserError(
      'a search needs one unscaled RoPE, alone or in a sum with schemes that '
      f'do not draw positions, got {run.scheme}: search a run trained with '
      'RoPE()'
    )
  run.task.check(length)


def with_rope(
  scheme: schemes.Scheme, change: Callable[[schemes.RoPE], schemes.Scheme]
) -> schemes.Scheme:
  """Return the scheme with its one RoPE changed, in its place."""
  terms = tuple(
    change(part) if type(part) is schemes.RoPE else part
    for part in scheme.parts
  )
  # A sum stays one, as its terms' parameters are kept by name.
  return schemes.Sum(terms) if isinstance(scheme, schemes.Sum) else terms[0]


def _with_angles(
  params: Any,
  theta_K: jax.Array,
  scheme: schemes.Scheme,
  free: schemes.Scheme,
  shared: bool,
) -> Any:
  """Return the parameters under a scheme as those of `free`, with angles."""
  is_free = [isinstance(atom, _Free) for atom in free.atoms]

  def put(layer: schemes.Params) -> schemes.Params:
    terms = scheme.flatten(layer.get(transformer.POSITION, {}))
    terms = tuple(
      {'theta_K': theta_K} if here else term
      for here, term in zip(is_free, terms)
    )
    return {**layer, transformer.POSITION: free.unflatten(terms)}

  if shared:
    return put(params)
  return {
    name: put(layer) if name.startswith('block_') else layer
    for name, layer in params.items()
  }


def _program(
  run: config.Run,
  scheme: schemes.Scheme,
  free: schemes.Scheme,
  length: int,
  devices: jax.sharding.Mesh,
) -> Callable[..., jax.Array]:
  """Return the program from parameters, angles and examples to S losses."""
  net = transformer.Transformer(run.model, free, run.task.vocabulary)
  asked = run.task.asked(length)
  rows = memory.at_once(
    net, length, len(asked or range(length)), devices, len(run.seeds)
  )

  def seed_loss(params, theta_K, batch: tasks.Batch):
    shared = run.model.share_position
    params = _with_angles(params, theta_K, scheme, free, shared)

    def example_loss(example):
      single = jax.tree.map(lambda x: x[None], example)
      return train_step.loss(net, params, single, asked)

    total_B, count_B = jax.lax.map(example_loss, batch, batch_size=rows)
    return jnp.sum(total_B), jnp.sum(count_B)

  def all_seeds(params, theta_K, batch):
    total_S, count_S = mesh.each_seed(
      lambda p: seed_loss(p, theta_K, batch), devices, len(run.seeds), params
    )
    total_S, count_S = jax.lax.psum((total_S, count_S), mesh.DATA)
    return total_S / jnp.maximum(count_S, 1.0)

  return jax.jit(
    jax.shard_map(
      all_seeds,
      mesh=devices,
      in_specs=(
        PartitionSpec(mesh.SEED),
        PartitionSpec(),
        PartitionSpec(mesh.DATA),
      ),
      out_specs=PartitionSpec(mesh.SEED),
      check_vma=False,
    )
  )
