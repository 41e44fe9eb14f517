"""The sum of the algebra: several schemes at once."""

import dataclasses
from typing import Any

import jax
import numpy as np

from posexp import component
from posexp.schemes import base


def _for_all(name: str) -> Any:
  return property(lambda self: all(getattr(t, name) for t in self.terms))


def _for_any(name: str) -> Any:
  return property(lambda self: any(getattr(t, name) for t in self.terms))


@dataclasses.dataclass(frozen=True)
class Sum(base.Scheme):
  """Several schemes at once; written `a + b`, not called.

    z_ij = (R_2 R_1 q_i) . (R_2 R_1 k_j) / sqrt(E) + b_1 + b_2

  Every hook is folded over the terms, left to right. The positions are a tuple
  with one entry a term, so that a wrapper of one term (as `Interpolate`) leaves
  the others alone.
  """

  terms: tuple[base.Scheme, ...]

  relative = _for_all('relative')
  blockwise = _for_all('blockwise')
  normalised = _for_all('normalised')
  decodes = _for_all('decodes')
  draws = _for_any('draws')
  widens = _for_any('widens')

  @property
  def factor_only(self) -> bool:  # type: ignore[override]
    rotating = [t for t in self.terms if 'rotate' in t.hooks()]
    return all(t.factor_only for t in rotating)

  def __post_init__(self):
    super().__post_init__()
    rowwise = [t for t in self.terms if not t.blockwise]
    if len(rowwise) > 1:
      raise component.UserError(
        f'{" and ".join(map(str, rowwise))} both change whole rows of logits: '
        'compose one of them at most'
      )
    for n, term in enumerate(self.terms):
      if term.widens:
        self._check_rotations(n)

  def _check_rotations(self, widening: int):
    """Raise where a term would rotate what the widening one needs as it is."""
    for n, term in enumerate(self.terms):
      if n == widening or 'rotate' not in term.hooks():
        continue
      pair = f'{self.terms[widening]} and {term}'
      if not term.factor_only:
        raise component.UserError(
          f'{pair} both act on queries and keys, and the first needs them as '
          'they are: compose it with biases or other factors'
        )
      if n < widening:
        raise component.UserError(
          f'{pair} are in the wrong order, since the first needs queries as '
          f'they are: put {term} after it'
        )

  def hooks(self):
    used = {hook for term in self.terms for hook in term.hooks()}
    return tuple(h for h in base.HOOKS if h in used)

  @property
  def parts(self):
    return self.terms

  @property
  def atoms(self):
    return tuple(atom for term in self.terms for atom in term.atoms)

  def flatten(self, params):
    return tuple(flat for t, p in self._each(params) for flat in t.flatten(p))

  def unflatten(self, params):
    joined, rest = [], params
    for term in self.terms:
      count = len(term.atoms)
      joined.append(term.unflatten(rest[:count]))
      rest = rest[count:]
    return self._join(joined)

  def _names(self) -> list[str]:
    """Return the names under which the terms keep their parameters."""
    kinds = [type(term).__name__ for term in self.terms]
    earlier = [kinds[:n].count(kind) for n, kind in enumerate(kinds)]
    return [f'{k}_{n}' if n else k for k, n in zip(kinds, earlier)]

  def _join(self, params: list[base.Params]) -> base.Params:
    return {name: p for name, p in zip(self._names(), params) if p}

  def _each(self, params: base.Params, *at: base.At) -> Any:
    """Return each term with its own parameters and positions."""
    own = [params.get(name, {}) for name in self._names()]
    return zip(self.terms, own, *at, strict=True)

  def _keyed(self, key: jax.Array | None) -> Any:
    """Return each term with a random key, or None.

    It is the same for all, since a class draws from its `own_key`; but a term
    that has a class of an earlier one draws anew.
    """
    kinds = [_drawing(term) for term in self.terms]
    for n, term in enumerate(self.terms):
      again = any(not kinds[n].isdisjoint(earlier) for earlier in kinds[:n])
      if key is None or not again:
        yield term, key
      else:
        # More than a sum within a term counts.
        before = sum(len(earlier.atoms) for earlier in self.terms[:n])
        yield term, jax.random.fold_in(key, before)

  def init_input(self, key, dims):
    return self._join([t.init_input(k, dims) for t, k in self._keyed(key)])

  def init_layer(self, key, dims):
    return self._join([t.init_layer(k, dims) for t, k in self._keyed(key)])

  def neutral(self, params):
    return self._join([t.neutral(p) if p else p for t, p in self._each(params)])

  def remap(self, index_BxL, key):
    return tuple(t.remap(index_BxL, k) for t, k in self._keyed(key))

  def embed(self, params, x_BxLxD, at):
    for term, p, a in self._each(params, at):
      x_BxLxD = term.embed(p, x_BxLxD, a)
    return x_BxLxD

  def locate(self, params, x_BxLxD, at, before):
    before = [None] * len(self.terms) if before is None else before
    terms = self._each(params, at, before)
    return tuple(t.locate(p, x_BxLxD, a, b) for t, p, a, b in terms)

  def rotate(self, params, x_BxLxHxE, at, side):
    for term, p, a in self._each(params, at):
      x_BxLxHxE = term.rotate(p, x_BxLxHxE, a, side)
    return x_BxLxHxE

  def biases(self, params, head, q_at, k_at):
    terms = self._each(params, q_at, k_at)
    return [term.bias(p, head, q, k) for term, p, q, k in terms]

  def bias(self, params, head, q_at, k_at):
    total: jax.Array | float = 0.0
    for bias in self.biases(params, head, q_at, k_at):
      total = total + bias
    return total

  def rescore(self, params, logits_BxHxQxK, q_BxQxHxE, q_at, k_at):
    for term, p, q, k in self._each(params, q_at, k_at):
      logits_BxHxQxK = term.rescore(p, logits_BxHxQxK, q_BxQxHxE, q, k)
    return logits_BxHxQxK

  def features(self, dims, place_N):
    return _side_by_side([t.features(dims, place_N) for t in self.terms])

  def trained_features(self, dims, length):
    return _side_by_side([t.trained_features(dims, length) for t in self.terms])

  # Not added up anew: a term that became another kind of scheme would change
  # the names of the parameters.
  def for_length(self, length):
    return Sum(tuple(t.for_length(length) for t in self.terms))

  def evaluated(self):
    return Sum(tuple(t.evaluated() for t in self.terms))

  def check(self, dims, length):
    for term in self.terms:
      term.check(dims, length)

  def __str__(self) -> str:
    return ' + '.join(str(t) for t in self.terms)


def add(*schemes: base.Scheme) -> base.Scheme:
  """Return the sum of schemes, with sums opened and the unit left out.

  >>> from posexp import schemes
  >>> print(add(schemes.RoPE() + schemes.T5(), schemes.NoPE(), schemes.ALiBi()))
  RoPE() + T5() + ALiBi()
  """
  parts = [part for scheme in schemes for part in scheme.parts]
  terms = tuple(part for part in parts if not isinstance(part, base.NoPE))
  if len(terms) < 2:
    return terms[0] if terms else base.NoPE()
  return Sum(terms)


def _side_by_side(
  tables: list[dict[str, np.ndarray]],
) -> dict[str, np.ndarray]:
  """Join the columns of tables by kind; a short one repeats its last row."""
  joined = {}
  for kind in dict.fromkeys(kind for table in tables for kind in table):
    arrays = [table[kind] for table in tables if kind in table]
    rows = max(map(len, arrays))
    padded = [
      np.pad(array, ((0, rows - len(array)), (0, 0)), mode='edge')
      for array in arrays
    ]
    joined[kind] = np.concatenate(padded, axis=1)
  return joined


def _drawing(term: base.Scheme) -> set[type]:
  """Return the classes in a term that draw something."""
  learned = {type(atom) for atom in term.atoms if atom.learns()}
  return learned | {type(term)} if term.draws else learned
