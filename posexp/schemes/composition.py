"""Several schemes at once: the sum of the algebra."""

import dataclasses
from typing import Any

import jax
import numpy as np

from posexp import component
from posexp.schemes import base


@dataclasses.dataclass(frozen=True)
class Sum(base.Scheme):
  """Several schemes at once; written `a + b`, not called.

  z = ((R_2 R_1 q).(R_2 R_1 k)) / sqrt(E) + sum of the biases. The positions
  are a tuple with one entry a term, so that a wrapper of one term (as
  `Interpolate`) leaves the others alone.
  """

  terms: tuple[base.Scheme, ...]

  def __post_init__(self):
    rows = [t for t in self.terms if not t.blockwise]
    if len(rows) > 1:
      raise component.UserError(
        f'{" and ".join(map(str, rows))} both change whole rows of logits: '
        'compose one of them at most'
      )
    self._check_rotations()

  def _check_rotations(self):
    wide = [n for n, t in enumerate(self.terms) if t.widens]
    for n, term in enumerate(self.terms):
      if not wide or n == wide[0] or 'rotate' not in term.hooks():
        continue
      pair = f'{self.terms[wide[0]]} and {term}'
      if not term.factor_only:
        raise component.UserError(
          f'{pair} both act on queries and keys, and the first needs them as '
          'they are: compose it with biases or other factors'
        )
      if n < wide[0]:
        raise component.UserError(
          f'{pair} are in the wrong order, since the first needs queries as '
          f'they are: put {term} after it'
        )

  @property
  def relative(self) -> bool:  # type: ignore[override]
    return all(t.relative for t in self.terms)

  @property
  def blockwise(self) -> bool:  # type: ignore[override]
    return all(t.blockwise for t in self.terms)

  @property
  def normalised(self) -> bool:  # type: ignore[override]
    return all(t.normalised for t in self.terms)

  @property
  def draws(self) -> bool:  # type: ignore[override]
    return any(t.draws for t in self.terms)

  @property
  def widens(self) -> bool:  # type: ignore[override]
    return any(t.widens for t in self.terms)

  @property
  def factor_only(self) -> bool:  # type: ignore[override]
    rotating = [t for t in self.terms if 'rotate' in t.hooks()]
    return all(t.factor_only for t in rotating)

  @property
  def decodes(self) -> bool:  # type: ignore[override]
    return all(t.decodes for t in self.terms)

  def hooks(self):
    used = {hook for term in self.terms for hook in term.hooks()}
    return tuple(h for h in base.HOOKS if h in used)

  @property
  def parts(self) -> tuple[base.Scheme, ...]:
    return self.terms

  @property
  def atoms(self) -> tuple[base.Scheme, ...]:
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

  def _own(self, params: base.Params) -> list[base.Params]:
    return [params.get(name, {}) for name in self._names()]

  def _join(self, own: list[base.Params]) -> base.Params:
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
    return self._join(
      [t.neutral(p) if p else p for t, p in zip(self.terms, own)]
    )

  def remap(self, index_BxL, key):
    keys = self._split(key)
    return tuple(t.remap(index_BxL, k) for t, k in zip(self.terms, keys))

  def embed(self, params, x_BxLxD, at):
    own = self._own(params)
    for term, p, a in zip(self.terms, own, at, strict=True):
      x_BxLxD = term.embed(p, x_BxLxD, a)
    return x_BxLxD

  def locate(self, params, x_BxLxD, at, before):
    own = self._own(params)
    if before is None:
      before = (None,) * len(self.terms)
    return tuple(
      t.locate(p, x_BxLxD, a, b)
      for t, p, a, b in zip(self.terms, own, at, before, strict=True)
    )

  def rotate(self, params, x_BxLxHxE, at, side):
    own = self._own(params)
    for term, p, a in zip(self.terms, own, at, strict=True):
      x_BxLxHxE = term.rotate(p, x_BxLxHxE, a, side)
    return x_BxLxHxE

  def bias(self, params, head, q_at, k_at):
    total: jax.Array | float = 0.0
    for found in self.biases(params, head, q_at, k_at):
      total = total + found
    return total

  def biases(
    self, params: base.Params, head: base.Head, q_at: base.At, k_at: base.At
  ) -> list[jax.Array | float]:
    """The bias of each term."""
    own = zip(self.terms, self._own(params), q_at, k_at, strict=True)
    return [term.bias(p, head, q, k) for term, p, q, k in own]

  def rescore(self, params, logits_BxHxQxK, q_BxQxHxE, q_at, k_at):
    own = self._own(params)
    for term, p, q, k in zip(self.terms, own, q_at, k_at, strict=True):
      logits_BxHxQxK = term.rescore(p, logits_BxHxQxK, q_BxQxHxE, q, k)
    return logits_BxHxQxK

  def features(self, dims, place_N):
    return _beside([t.features(dims, place_N) for t in self.terms])

  def trained_features(self, dims, length):
    return _beside([t.trained_features(dims, length) for t in self.terms])

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
  """The sum of schemes; sums are opened and the unit is left out."""
  terms = tuple(
    part
    for scheme in schemes
    for part in scheme.parts
    if not isinstance(part, base.NoPE)
  )
  if len(terms) < 2:
    return terms[0] if terms else base.NoPE()
  return Sum(terms)


def _beside(tables: list[dict[str, Any]]) -> dict[str, Any]:
  """The columns of the terms side by side, kind by kind."""
  kinds = dict.fromkeys(kind for table in tables for kind in table)
  return {
    kind: _columns([table[kind] for table in tables if kind in table])
    for kind in kinds
  }


def _columns(arrays: list[np.ndarray]) -> np.ndarray:
  """Arrays of so many rows or fewer, the last row repeated."""
  rows = max(a.shape[0] for a in arrays)
  grow = lambda a: np.pad(a, ((0, rows - a.shape[0]), (0, 0)), mode='edge')
  return np.concatenate([grow(a) for a in arrays], axis=1)
