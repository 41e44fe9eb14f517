"""What a retrofit changes: terms added, terms removed, fields of the others."""

import dataclasses
import operator
from typing import Any

from posexp import component, schemes


def of_schemes(old: schemes.Scheme, new: schemes.Scheme) -> tuple[str, ...]:
  """Return what turns one scheme into another, a phrase for each change.

  >>> rope, alibi = schemes.RoPE(), schemes.ALiBi()
  >>> of_schemes(rope, schemes.RoPE(schemes.NTK(8)) + alibi)
  ('frequencies of RoPE: Law() -> NTK(8)', 'adds ALiBi()')
  >>> of_schemes(rope + alibi, rope)
  ('removes ALiBi()',)
  """
  pairs = match(old, new)
  before, after = terms(old), terms(new)
  kept = {place for place, _ in pairs}
  removed = [t for place, t in enumerate(before) if place not in kept]
  changed: list[str] = []
  for place, counterpart in pairs:
    changed += _fields(before[place], after[counterpart])
  return (
    *(f'removes {term}' for term in removed),
    *changed,
    *(f'adds {after[place]}' for place in added(old, new)),
  )


def added(old: schemes.Scheme, new: schemes.Scheme) -> tuple[int, ...]:
  """Return the places of those terms of `new` that `old` lacks."""
  kept = {place for _, place in match(old, new)}
  return tuple(n for n in range(len(terms(new))) if n not in kept)


def added_biases(old: schemes.Scheme, new: schemes.Scheme) -> tuple[int, ...]:
  """Return those of `added` that add to the logits.

  >>> rope = schemes.RoPE()
  >>> added_biases(rope, rope + schemes.T5()), added_biases(rope, rope)
  ((1,), ())
  """
  after = terms(new)
  return tuple(n for n in added(old, new) if 'bias' in after[n].hooks())


def match(
  old: schemes.Scheme, new: schemes.Scheme
) -> tuple[tuple[int, int], ...]:
  """Return the terms that two schemes have in common, as pairs of places.

  Equal terms first, then those of the same class, each once.
  """
  before, after = dict(enumerate(terms(old))), dict(enumerate(terms(new)))
  pairs: dict[int, int] = {}
  for same in (operator.eq, _same_class):
    for place, term in after.items():
      fits = [n for n, other in before.items() if same(other, term)]
      if fits and place not in pairs:
        pairs[place] = fits[0]
        del before[fits[0]]
  return tuple((pairs[place], place) for place in sorted(pairs))


def terms(scheme: schemes.Scheme) -> tuple[schemes.Scheme, ...]:
  """Return the terms of a scheme; the unit, NoPE, has none."""
  return tuple(p for p in scheme.parts if not isinstance(p, schemes.NoPE))


def without(scheme: schemes.Scheme, kind: type[schemes.Scheme]) -> Any:
  """Return the scheme without its terms of a class.

  Raises:
    UserError: if it has none; the sentence names those it has.

  >>> print(without(schemes.RoPE() + schemes.ALiBi(), schemes.ALiBi))
  RoPE()
  """
  rest = [term for term in terms(scheme) if not isinstance(term, kind)]
  if len(rest) == len(terms(scheme)):
    present = ' and '.join(map(str, terms(scheme))) or 'no term at all'
    raise component.UserError(
      f'{scheme} has no {kind.__name__} to remove: it has {present}'
    )
  return sum(rest, schemes.NoPE())


def _fields(old: schemes.Scheme, new: schemes.Scheme) -> list[str]:
  """Return the fields in which two terms of a class differ."""
  phrases = []
  for field in dataclasses.fields(new):
    before, after = getattr(old, field.name), getattr(new, field.name)
    if before != after:
      phrases.append(
        f'{field.name} of {type(new).__name__}: {component.written(before)} -> '
        f'{component.written(after)}'
      )
  return phrases


def _same_class(old: schemes.Scheme, new: schemes.Scheme) -> bool:
  return type(old) is type(new)
