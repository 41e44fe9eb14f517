"""The loss of a trained run as a function of the factors of its rotation."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from posexp import component, schemes
from posexp.evaluation import evaluate
from posexp.models import mesh, transformer
from posexp.runs import config

# The root of the keys of the examples that factors are chosen on; those that
# they are judged on come from `evaluate.FOLD`.
FOLD = 0x5EA2C


class Objective:
  """The loss of a trained run at a length as a function of the factors.

  The mean over the run's seeds of the mean cross-entropy of the targets, in
  nats, on examples that no evaluation uses. All factors share one program. The
  arguments are those of `longrope_search.longrope`.

  Attributes:
    run: the run.
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
    pairs = self._angles(schemes.Law()).size
    law = self.law(np.ones(pairs))
    free = with_rope(
      scheme,
      lambda rope: _Free(dataclasses.replace(rope, frequencies=law), pairs),
    )
    free.check(run.model.dims, length - 1 + run.model.bos)
    self._schemes = scheme, free
    self._on = mesh.mesh(len(run.seeds), examples)
    self._params = mesh.pad_seeds(params, self._on, len(run.seeds))
    net = transformer.Transformer(run.model, free, run.task.vocabulary)
    self._program = evaluate.predictor(net, self._on, length, len(run.seeds))
    batch = evaluate.examples(run.task, length, examples, FOLD)
    number_B = np.arange(examples, dtype=np.uint32)
    by_data = NamedSharding(self._on, PartitionSpec(mesh.DATA))
    place_T = evaluate.asked(run, length)
    given = mesh.put((np.asarray(batch.tokens_BxL), number_B), by_data)
    self._given = (*given, place_T)
    places = slice(1, None) if place_T is None else place_T
    self._target_BxT = np.asarray(batch.targets_BxL)[:, places]

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
    theta_K = np.float32(self._angles(schemes.Law()) / factors_K)
    seeds = mesh.rounds(self._on, len(self.run.seeds))
    theta_SxK = mesh.put(
      np.tile(theta_K, (seeds, 1)), mesh.over_seeds(self._on)
    )
    params = self._with_angles(theta_SxK)
    _, nats_SxBxT = mesh.fetch(self._program(params, *self._given))
    nats_SxT = nats_SxBxT[: len(self.run.seeds), self._target_BxT]
    return float(np.mean(nats_SxT, dtype=np.float64))

  def _angles(self, law: schemes.Law) -> np.ndarray:
    rope = dataclasses.replace(self._rope, frequencies=law)
    return rope.inverse_frequencies(self.run.model.head_width)

  def _with_angles(self, theta_SxK: jax.Array) -> Any:
    """Return the parameters with angles in the place of the rotation's."""
    scheme, free = self._schemes

    def put(layer: schemes.Params) -> schemes.Params:
      terms = scheme.flatten(layer.get(transformer.POSITION, {}))
      terms = tuple(
        {'theta_K': theta_SxK} if isinstance(atom, _Free) else term
        for atom, term in zip(free.atoms, terms)
      )
      return {**layer, transformer.POSITION: free.unflatten(terms)}

    if self.run.model.share_position:
      return put(self._params)
    return {
      name: put(layer) if name.startswith('block_') else layer
      for name, layer in self._params.items()
    }


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
