"""The scheme: what position does to attention, as pure functions.

Attention lets a query choose among the keys at and before it:

  z_ij = q_i . k_j / sqrt(E),    out_i = sum over j of softmax_j(z_ij) v_j

Nothing in this says where i and j are. Position can enter in four places, and a
scheme has a function, a hook, for each:

  x_i        ->  embed(x_i, at_i)                      the input of the model
  q_i, k_j   ->  rotate(q_i, at_i), rotate(k_j, at_j)  in every layer
  z_ij       ->  z_ij + bias(at_i, at_j)               each logit
  z_i0..z_ii ->  rescore(z_i0..z_ii, ...)              a whole row of logits

What `at` is, is up to the scheme as well: `remap` makes it of the index of a
token, once, and `locate` of the content, in every layer. A hook that a scheme
does not override changes nothing.
"""

import dataclasses
import zlib
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from posexp import component
from posexp.schemes import trained_length

Params = dict[str, Any]
At = Any  # An opaque pytree with leaves B x L or B x L x H.
Side = Literal['q', 'k']

# In the order in which attention calls them.
HOOKS = ('remap', 'embed', 'locate', 'rotate', 'bias', 'rescore')

# As many positions, from 0, are different numbers in float32.
FARTHEST = 2**24

# A trained length that any rule has a number for.
ANY_LENGTH = 2**16

# Kinds of `features` that go by the index of a key, not by its distance.
BY_INDEX = ('rows', 'angles')


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
  """How position enters attention, in four places.

  Every hook here is the identity, so this base class is NoPE, the unit of the
  algebra. A scheme of your own is a frozen dataclass that overrides a hook; it
  needs no registration. `a + b` applies both: biases add, rotations and
  embeddings apply left to right, and each part keeps positions of its own.

  `at` is an opaque pytree with leaves B x L (or B x L x H) that starts as the
  token index; B may be 1 where all sequences share their positions. No hook
  takes a length or reads one off the shape of the data: that is why the same
  scheme serves whole sequences, blocks, and a cache token by token.

  Attributes:
    relative: whether moving all positions by a constant changes nothing.
    blockwise: whether the logits of a block are computed from the block alone;
      False for a scheme that overrides `rescore`.
    normalised: whether the weights of a query are a softmax; where False they
      are the exponentials of the logits and need not sum to one, which is for
      schemes that are not blockwise.
    draws: whether `remap` draws positions from a key.
    widens: whether `rotate` needs the content as it is and gives wider vectors;
      nothing else may rotate in a sum with such a scheme.
    factor_only: whether all that `rotate` does is to multiply queries by a
      number, which may follow any rotation.
    decodes: whether the row of a query can be computed from its own query and
      the keys before it, so that token by token equals the whole.
    computed: methods that make numbers of some fields in float64, and those
      fields. Their arguments are sizes of `Dims`, by name. A hook that reads
      these fields through these methods alone is one program for all values.
    structural: fields for a float that a program cannot be given, as they
      decide what it does. All other floats are given, see `given`.
  """

  relative: ClassVar[bool] = True
  blockwise: ClassVar[bool] = True
  normalised: ClassVar[bool] = True
  draws: ClassVar[bool] = False
  widens: ClassVar[bool] = False
  factor_only: ClassVar[bool] = False
  decodes: ClassVar[bool] = True
  computed: ClassVar[Mapping[str, tuple[str, ...]]] = {}
  structural: ClassVar[tuple[str, ...]] = ()
  takes_rules: ClassVar[bool] = True

  def __init_subclass__(cls, **kwargs):
    super().__init_subclass__(**kwargs)
    if cls.normalised is False and cls.blockwise is True:
      raise TypeError(
        f'{cls.__name__} has normalised=False, but blocks are always a '
        'softmax: set blockwise=False too, and override rescore'
      )

  # What position does, in the order in which attention asks.

  def remap(self, index_BxL: jax.Array, key: jax.Array | None) -> At:
    """Return positions, given token indices; once per call.

    The key is for positions that are drawn; None asks for the usual ones.
    """
    del key
    return index_BxL

  def embed(self, params: Params, x_BxLxD: jax.Array, at: At) -> jax.Array:
    """Add absolute position to the input of the model; token by token."""
    del params, at
    return x_BxLxD

  def locate(
    self, params: Params, x_BxLxD: jax.Array, at: At, before: At | None
  ) -> At:
    """Return a clock that depends on the content, per layer.

    `before` is what it gave for the token before the first, with 1 for L; all
    zeros, or None, where the sequence begins. So a clock goes on in a cache.
    """
    del params, x_BxLxD, before
    return at

  def rotate(
    self, params: Params, x_BxLxHxE: jax.Array, at: At, side: Side
  ) -> jax.Array:
    """Multiply queries (side 'q') or keys ('k') by position; token by token."""
    del params, at, side
    return x_BxLxHxE

  def bias(
    self, params: Params, head: Head, q_at: At, k_at: At
  ) -> jax.Array | float:
    """Return what is added to each logit, elementwise and broadcasting.

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
    """Change whole rows of logits; a scheme that needs it is not blockwise.

    The logits of keys that a query may not see are very low, and are masked
    again afterwards. The keys are in order; q is the content, not rotated but
    already divided by sqrt(E).
    """
    del params, q_BxQxHxE, q_at, k_at
    return logits_BxHxQxK

  # What is learned, and what is drawn.

  def own_key(self, key: jax.Array) -> jax.Array:
    """Return a random key for schemes of this class.

    A hook that draws numbers draws them from it. Then a scheme draws the same
    ones alone, in a wrapper and in any sum, and other classes draw others.
    """
    name = type(self).__name__.encode()
    return jax.random.fold_in(key, np.uint32(zlib.crc32(name)))

  def init_input(self, key: jax.Array, dims: Dims) -> Params:
    """Return initial parameters that a model has once, for `embed`."""
    del key, dims
    return {}

  def init_layer(self, key: jax.Array, dims: Dims) -> Params:
    """Return initial parameters of a layer, for `rotate`, `bias`, `locate`."""
    del key, dims
    return {}

  def neutral(self, params: Params) -> Params:
    """Return parameters that change a trained model least.

    Zeros, unless a scheme knows better: a bias of zero, an embedding of zero.
    It is asked for what a scheme learns per layer and per model, where it does.
    """
    return jax.tree.map(jnp.zeros_like, params)

  def learns(self) -> bool:
    """Return whether the scheme has parameters."""
    key, dims = jax.random.key(0), Dims(64, 4, 16)
    # At any trained length, since a rule changes sizes at most.
    scheme = self.trained_at(ANY_LENGTH)

    def init():
      return (scheme.init_input(key, dims), scheme.init_layer(key, dims))

    return bool(jax.tree.leaves(jax.eval_shape(init)))

  # Lengths, which are settled before any compute.

  def trained_at(self, length: int) -> 'Scheme':
    """Return the scheme with every rule of the trained length as its number.

    >>> from posexp import schemes
    >>> scheme = schemes.RoPE(base=schemes.matched(4096)) + schemes.ALiBi()
    >>> round(scheme.trained_at(64).parts[0].base)
    27
    """
    return trained_length.resolve(self, length)

  def for_length(self, length: int) -> 'Scheme':
    """Return the scheme to use at a length, for methods that depend on it."""
    del length
    return self

  def evaluated(self) -> 'Scheme':
    """Return the scheme as evaluation uses it, where training has another."""
    return self

  def check(self, dims: Dims, length: int) -> None:
    """Raise a `UserError`, in one sentence, where the scheme cannot serve.

    Model and configuration call it before any compute, with the largest
    length they will ask for. A scheme that overrides it calls this one too,
    which refuses positions that float32 cannot tell apart.
    """
    del dims
    check_far(self, length)

  def features(self, dims: Dims, place_N: np.ndarray) -> dict[str, np.ndarray]:
    """Return what the scheme uses at N places, by kind, N x m; for `coverage`.

    A place is a distance between two tokens, or the index of one for the
    kinds in `BY_INDEX`: 'rows' of a table and 'angles' of a sinusoid. By
    distance there are 'phases' of rotations (radians), 'buckets' and
    'offsets' of a table, and 'distances' as such, the default.
    """
    del dims
    hooks = self.hooks()
    if 'locate' in hooks or not {'rotate', 'bias'} & set(hooks):
      return {}
    return {'distances': np.asarray(place_N, np.float64)[:, None]}

  def trained_features(self, dims: Dims, length: int) -> dict[str, np.ndarray]:
    """Return what training at a length uses, in the form of `features`."""
    return self.features(dims, np.arange(length))

  # What the scheme is made of. Most are one part, and one atom.

  def hooks(self) -> tuple[str, ...]:
    """Return the names of the hooks that the scheme overrides."""
    kind = type(self)
    return tuple(h for h in HOOKS if getattr(kind, h) != getattr(Scheme, h))

  def __add__(self, other: 'Scheme') -> 'Scheme':
    if not isinstance(other, Scheme):
      return NotImplemented
    # Imported here, since a sum is a scheme.
    from posexp.schemes import composition

    return composition.add(self, other)

  def __radd__(self, other: Any) -> 'Scheme':
    # The start of `sum`.
    return self if type(other) is int and other == 0 else NotImplemented

  @property
  def parts(self) -> tuple['Scheme', ...]:
    """The terms of the sum that this scheme is."""
    return (self,)

  def biases(
    self, params: Params, head: Head, q_at: At, k_at: At
  ) -> list[jax.Array | float]:
    """Return the bias of each of `parts`."""
    return [self.bias(params, head, q_at, k_at)]

  @property
  def atoms(self) -> tuple['Scheme', ...]:
    """The schemes inside all sums and wrappers, left to right."""
    return (self,)

  def flatten(self, params: Params) -> tuple[Params, ...]:
    """Return the parameters of each of `atoms`, {} where one learns nothing."""
    return (params,)

  def unflatten(self, params: tuple[Params, ...]) -> Params:
    """Return the parameters of the whole: the inverse of `flatten`."""
    (only,) = params
    return only


@dataclasses.dataclass(frozen=True)
class NoPE(Scheme):
  """Do nothing: the causal mask is the only sense of order.

    z_ij = q_i . k_j / sqrt(E)

  A BOS token is what lets such a model recover position.

  Source: Kazemnejad et al. 2023, arXiv 2305.19466.
  Use: as the control: what is left without position.
  Fails: keys with the same content get the same weight in the first layer, so
  order has to be learned from how many tokens the mask lets through.

  >>> NoPE() + NoPE() == NoPE()
  True
  """


def check_far(scheme: Scheme, positions: int, length: int | None = None):
  """Raise a `UserError` where float32 cannot tell a scheme's positions apart.

  Args:
    scheme: what uses them; one with a clock of its own does not.
    positions: how many there are, in units that float32 holds.
    length: how many were asked for, the same by default.
  """
  hooks = set(scheme.hooks())
  if 'locate' in hooks or not hooks & {'embed', 'rotate', 'bias'}:
    return
  if positions > FARTHEST:
    length = positions if length is None else length
    most = FARTHEST * length // positions
    raise component.UserError(
      f'{scheme} was asked for {length} positions but float32 tells only '
      f'{most} apart: ask for at most {most}'
    )
