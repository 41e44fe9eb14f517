"""The scheme: what position does to attention, as pure functions."""

import dataclasses
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component

Params = dict[str, Any]
At = Any  # An opaque pytree with leaves B x L or B x L x H.
Side = Literal['q', 'k']


# Where attention meets position, in the order in which it happens.
HOOKS = ('remap', 'embed', 'locate', 'rotate', 'bias', 'rescore')


class Dims(NamedTuple):
  """The sizes that learned positional parameters may depend on."""

  width: int
  heads: int
  head_width: int


@dataclasses.dataclass(frozen=True)
class Head:
  """Which head a bias is for: its index, and how many heads there are.

  The number is static and the index an array, so that a bias can be computed
  for all heads at once or for one head inside a kernel.
  """

  index: jax.Array
  count: int


@dataclasses.dataclass(frozen=True)
class Scheme(component.Component):
  """What position does in the four places where attention meets it.

  Every hook here is the identity, so this base class is NoPE, the unit of the
  algebra. A scheme of your own is a frozen dataclass that overrides a hook; it
  needs no registration. `a + b` applies both: biases add, rotations and
  embeddings apply left to right, and each part keeps positions of its own.

  `at` is an opaque pytree with leaves B x L (or B x L x H) that starts as the
  token index; B may be 1 where all sequences share their positions.

  Attributes:
    relative: whether moving all positions by a constant changes nothing.
    blockwise: whether the logits of a block are computed from the block alone;
      False for a scheme that overrides `rescore`.
  """

  relative: ClassVar[bool] = True
  blockwise: ClassVar[bool] = True

  def init_input(self, key: jax.Array, dims: Dims) -> Params:
    """Parameters learned once per model, for `embed`."""
    del key, dims
    return {}

  def init_layer(self, key: jax.Array, dims: Dims) -> Params:
    """Parameters learned per layer, for `rotate`, `bias` and `locate`."""
    del key, dims
    return {}

  def neutral(self, params: Params) -> Params:
    """Initial parameters moved to where they change a trained model least.

    Zeros, unless a scheme knows better: a bias of zero, an embedding of zero.
    """
    return jax.tree.map(jnp.zeros_like, params)

  def remap(self, index_BxL: jax.Array, key: jax.Array | None) -> At:
    """Positions from token indices, once per call."""
    del key
    return index_BxL

  def embed(self, params: Params, x_BxLxD: jax.Array, at: At) -> jax.Array:
    """Adds absolute position to the input; token-local."""
    del params, at
    return x_BxLxD

  def locate(self, params: Params, x_BxLxD: jax.Array, at: At) -> At:
    """A clock that depends on the content, per layer."""
    del params, x_BxLxD
    return at

  def rotate(
    self, params: Params, x_BxLxHxE: jax.Array, at: At, side: Side
  ) -> jax.Array:
    """Multiplies queries (side 'q') or keys ('k') by position; token-local."""
    del params, at, side
    return x_BxLxHxE

  def bias(
    self, params: Params, head: Head, q_at: At, k_at: At
  ) -> jax.Array | float:
    """What is added to a logit, elementwise and broadcasting.

    Attention calls it with leaves B x 1 x Q x 1 and B x 1 x 1 x K (or with H
    in the second place) and with head.index 1 x H x 1 x 1. It must be finite
    for keys after the query too: masking belongs to attention.
    """
    del params, head, q_at, k_at
    return 0.0

  def rescore(
    self,
    params: Params,
    logits_BxHxQxK: jax.Array,
    q_BxQxHxE: jax.Array,
    q_at: At,
    k_at: At,
  ) -> jax.Array:
    """Changes whole rows of logits; a scheme that needs it is not blockwise."""
    del params, q_BxQxHxE, q_at, k_at
    return logits_BxHxQxK

  def for_length(self, length: int) -> 'Scheme':
    """The scheme to use at a length, for methods that depend on it."""
    del length
    return self

  def check(self, dims: Dims, length: int) -> None:
    """Raises a ValueError, in one sentence, where the scheme cannot serve.

    Model and configuration call it before any compute, with the largest
    length they will ask for.
    """

  def hooks(self) -> tuple[str, ...]:
    """The names of the hooks that the scheme overrides."""
    kind = type(self)
    return tuple(h for h in HOOKS if getattr(kind, h) != getattr(Scheme, h))

  def learns(self) -> bool:
    """Whether the scheme has parameters."""
    key, dims = jax.random.key(0), Dims(4, 2, 2)
    init = lambda: (self.init_input(key, dims), self.init_layer(key, dims))
    return bool(jax.tree.leaves(jax.eval_shape(init)))

  @property
  def parts(self) -> tuple['Scheme', ...]:
    """The terms of the sum that this scheme is; itself alone for most."""
    return (self,)

  @property
  def atoms(self) -> tuple['Scheme', ...]:
    """The schemes inside all sums and wrappers, left to right."""
    return (self,)

  def flatten(self, params: Params) -> tuple[Params, ...]:
    """The parameters of each of `atoms`, {} where one learns nothing."""
    return (params,)

  def unflatten(self, params: tuple[Params, ...]) -> Params:
    """The inverse of `flatten`."""
    (only,) = params
    return only

  def __add__(self, other: 'Scheme') -> 'Scheme':
    if not isinstance(other, Scheme):
      return NotImplemented
    terms = tuple(
      p for p in (*self.parts, *other.parts) if not isinstance(p, NoPE)
    )
    if len(terms) < 2:
      return terms[0] if terms else NoPE()
    return Sum(terms)


@dataclasses.dataclass(frozen=True)
class NoPE(Scheme):
  """No position at all: the causal mask is the only sense of order.

  z = q.k / sqrt(E). A BOS token is what lets such a model recover position
  (Kazemnejad et al. 2023, arXiv 2305.19466).

  >>> NoPE() + NoPE() == NoPE()
  True
  """


@dataclasses.dataclass(frozen=True)
class Sum(Scheme):
  """Several schemes at once; written `a + b`, not called.

  z = ((R_2 R_1 q).(R_2 R_1 k)) / sqrt(E) + sum of the biases. The positions
  are a tuple with one entry a term, so that a wrapper of one term (as
  `Interpolate`) leaves the others alone.
  """

  terms: tuple[Scheme, ...]

  @property
  def relative(self) -> bool:  # type: ignore[override]
    return all(t.relative for t in self.terms)

  @property
  def blockwise(self) -> bool:  # type: ignore[override]
    return all(t.blockwise for t in self.terms)

  def hooks(self):
    used = {hook for term in self.terms for hook in term.hooks()}
    return tuple(h for h in HOOKS if h in used)

  @property
  def parts(self) -> tuple[Scheme, ...]:
    return self.terms

  @property
  def atoms(self) -> tuple[Scheme, ...]:
    return tuple(atom for term in self.terms for atom in term.atoms)

  def flatten(self, params):
    return tuple(
      flat
      for term, own in zip(self.terms, self._own(params))
      for flat in term.flatten(own)
    )

  def unflatten(self, params):
    own, rest = [], list(params)
    for term in self.terms:
      number = len(term.atoms)
      own.append(term.unflatten(tuple(rest[:number])))
      rest = rest[number:]
    return self._join(own)

  def _names(self) -> list[str]:
    """The names under which the terms keep their parameters."""
    kinds = [type(term).__name__ for term in self.terms]
    again = [kinds[:n].count(kind) for n, kind in enumerate(kinds)]
    return [f'{k}_{n}' if n else k for k, n in zip(kinds, again)]

  def _own(self, params: Params) -> list[Params]:
    return [params.get(name, {}) for name in self._names()]

  def _join(self, own: list[Params]) -> Params:
    return {name: p for name, p in zip(self._names(), own) if p}

  def _split(self, key: jax.Array | None) -> list[Any]:
    if key is None:
      return [None] * len(self.terms)
    return list(jax.random.split(key, len(self.terms)))

  def init_input(self, key, dims):
    keys = self._split(key)
    return self._join([t.init_input(k, dims) for t, k in zip(self.terms, keys)])

  def init_layer(self, key, dims):
    keys = self._split(key)
    return self._join([t.init_layer(k, dims) for t, k in zip(self.terms, keys)])

  def neutral(self, params):
    own = self._own(params)
    return self._join([t.neutral(p) for t, p in zip(self.terms, own)])

  def remap(self, index_BxL, key):
    keys = self._split(key)
    return tuple(t.remap(index_BxL, k) for t, k in zip(self.terms, keys))

  def embed(self, params, x_BxLxD, at):
    own = self._own(params)
    for term, p, a in zip(self.terms, own, at, strict=True):
      x_BxLxD = term.embed(p, x_BxLxD, a)
    return x_BxLxD

  def locate(self, params, x_BxLxD, at):
    own = self._own(params)
    return tuple(
      t.locate(p, x_BxLxD, a)
      for t, p, a in zip(self.terms, own, at, strict=True)
    )

  def rotate(self, params, x_BxLxHxE, at, side):
    own = self._own(params)
    for term, p, a in zip(self.terms, own, at, strict=True):
      x_BxLxHxE = term.rotate(p, x_BxLxHxE, a, side)
    return x_BxLxHxE

  def bias(self, params, head, q_at, k_at):
    own = self._own(params)
    total: jax.Array | float = 0.0
    for term, p, q, k in zip(self.terms, own, q_at, k_at, strict=True):
      total = total + term.bias(p, head, q, k)
    return total

  def rescore(self, params, logits_BxHxQxK, q_BxQxHxE, q_at, k_at):
    own = self._own(params)
    for term, p, q, k in zip(self.terms, own, q_at, k_at, strict=True):
      logits_BxHxQxK = term.rescore(p, logits_BxHxQxK, q_BxQxHxE, q, k)
    return logits_BxHxQxK

  def for_length(self, length):
    total: Scheme = NoPE()
    for term in self.terms:
      total = total + term.for_length(length)
    return total

  def check(self, dims, length):
    for term in self.terms:
      term.check(dims, length)

  def __str__(self) -> str:
    return ' + '.join(str(t) for t in self.terms)


def positive(name: str, value: float) -> None:
  """Raises unless a number is finite and above zero."""
  if not (np.isfinite(value) and value > 0):
    raise ValueError(
      f'{name} must be a finite number above 0, got {value}: choose a '
      'positive one'
    )
