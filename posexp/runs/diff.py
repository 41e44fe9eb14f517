"""What a retrofit changes: terms added, terms removed, fields of the others."""

import dataclasses
from typing import Any

from posexp import component, schemes


def of_schemes(old: schemes.Scheme, new: schemes.Scheme) -> tuple[str, ...]:
  """What turns one scheme into another, a phrase a change.

  A retrofit that changes one factor has one phrase.

  >>> rope, alibi = schemes.RoPE(), schemes.ALiBi()
  >>> of_schemes(rope, schemes.RoPE(schemes.NTK(8)) + alibi)
  ('frequencies of RoPE: Law() -> NTK(8)', 'adds ALiBi()')
  >>> of_schemes(rope + alibi, rope)
  ('removes ALiBi()',)
  """
  pairs = match(old, new)
  kept = {m for _, m in pairs}
  mine, theirs = terms(new), terms(old)
  gone = [t for n, t in enumerate(theirs) if n not in {o for o, _ in pairs}]
  return (
    *(f'removes {term}' for term in gone),
    *(text for o, m in pairs for text in _fields(theirs[o], mine[m])),
    *(f'adds {term}' for n, term in enumerate(mine) if n not in kept),
  )


def added(old: schemes.Scheme, new: schemes.Scheme) -> tuple[int, ...]:
  """Which of a scheme's terms another lacks, by their places in `parts`."""
  kept = {mine for _, mine in match(old, new)}
  return tuple(n for n in range(len(terms(new))) if n not in kept)


def added_biases(old: schemes.Scheme, new: schemes.Scheme) -> tuple[int, ...]:
  """Those of `added` that add to the logits.

  >>> rope = schemes.RoPE()
  >>> added_biases(rope, rope + schemes.T5()), added_biases(rope, rope)
  ((1,), ())
  """
  mine = terms(new)
  return tuple(n for n in added(old, new) if 'bias' in mine[n].hooks())


def match(
  old: schemes.Scheme, new: schemes.Scheme
) -> tuple[tuple[int, int], ...]:
  """The terms that two schemes have in common: places in the one, the other.

  Equal terms first, then those of the same class, each once.
  """
  theirs, mine = list(enumerate(terms(old))), list(enumerate(terms(new)))
  pairs = []
  for same in (lambda a, b: a == b, lambda a, b: type(a) is type(b)):
    for place, term in list(mine):
      fits = [n for n, (_, other) in enumerate(theirs) if same(other, term)]
      if fits:
        pairs.append((theirs.pop(fits[0])[0], place))
        mine.remove((place, term))
  return tuple(sorted(pairs, key=lambda pair: pair[1]))


def terms(scheme: schemes.Scheme) -> tuple[schemes.Scheme, ...]:
  """The terms of a scheme; the unit, NoPE, has none."""
  return tuple(p for p in scheme.parts if not isinstance(p, schemes.NoPE))


def without(scheme: schemes.Scheme, kind: type[schemes.Scheme]) -> Any:
  """The scheme without its terms of a class.

  Raises:
    UserError: if it has none; the sentence names those it has.

  >>> print(without(schemes.RoPE() + schemes.ALiBi(), schemes.ALiBi))
  RoPE()
  """
  rest = [term for term in terms(scheme) if not isinstance(term, kind)]
  if len(rest) == len(terms(scheme)):
    have = ' and '.join(map(str, terms(scheme))) or 'no term at all'
    raise component.UserError(
      f'{scheme} has no {kind.__name__} to remove: it has {have}'
    )
  return sum(rest, schemes.NoPE())


def _fields(old: schemes.Scheme, new: schemes.Scheme) -> list[str]:
  kind = type(new).__name__
  values = [
    (f.name, getattr(old, f.name), getattr(new, f.name))
    for f in dataclasses.fields(new)
  ]
  return [
    f'{name} of {kind}: {component.written(a)} -> {component.written(b)}'
    for name, a, b in values
    if a != b
  ]
