"""RoPE settings as Hugging Face writes them, read and written."""

import math
from collections.abc import Mapping
from typing import Any

from posexp import component
from posexp.schemes import frequencies as laws
from posexp.schemes import rotary
from posexp.schemes import scaled_frequencies as scaled

# Their names of the trained length and of the longest length.
ORIGINAL = 'original_max_position_embeddings'
LONGEST = 'max_position_embeddings'

_YARN = {
  'factor': 'factor',
  'train_length': ORIGINAL,
  'beta_fast': 'beta_fast',
  'beta_slow': 'beta_slow',
  'truncate': 'truncate',
  'attention_factor': 'attention_factor',
  'mscale': 'mscale',
  'mscale_all_dim': 'mscale_all_dim',
}
_LONGROPE = {
  'short': 'short_factor',
  'long': 'long_factor',
  'train_length': ORIGINAL,
  'factor': 'factor',
  'attention_factor': 'attention_factor',
}
_LLAMA3 = {
  'factor': 'factor',
  'train_length': ORIGINAL,
  'low': 'low_freq_factor',
  'high': 'high_freq_factor',
}
_DYNAMIC = {'factor': 'factor', 'train_length': LONGEST}
_PROPORTIONAL = {'share': 'partial_rotary_factor', 'factor': 'factor'}

# By type the law, and the key of each of its fields.
TYPES: dict[str, tuple[type[laws.Law], dict[str, str]]] = {
  'default': (laws.Law, {}),
  'linear': (laws.Linear, {'factor': 'factor'}),
  'dynamic': (laws.DynamicNTK, _DYNAMIC),
  'yarn': (scaled.YaRN, _YARN),
  'longrope': (scaled.LongRoPE, _LONGROPE),
  'su': (scaled.LongRoPE, _LONGROPE),
  'llama3': (scaled.Llama3, _LLAMA3),
  'proportional': (laws.Proportional, _PROPORTIONAL),
}

# What any type may carry; a type ignores what it has no use for, as there.
# 'finetuned' is of older YaRN checkpoints and has no effect.
_ANY = ('type', 'rope_type', 'rope_theta', 'partial_rotary_factor', 'finetuned')
_KEYS = {*_ANY, *_YARN.values(), *_LONGROPE.values(), *_LLAMA3.values()}

# What may be missing.
_OPTIONAL = (
  'beta_fast',
  'beta_slow',
  'truncate',
  'attention_factor',
  'mscale',
  'mscale_all_dim',
)


def from_hf(
  rope_parameters: Mapping[str, Any] | None,
  *,
  head_width: int,
  max_position_embeddings: int | None = None,
  rope_theta: float | None = None,
  partial_rotary_factor: float | None = None,
  original_max_position_embeddings: int | None = None,
) -> rotary.RoPE:
  """Return the RoPE that a Hugging Face configuration describes.

  Call `for_length` on the result for 'dynamic' and 'longrope', once, with the
  length of the whole sequence. The pairs are halves, as in most models there;
  some (GPT-J, Cohere) have interleaved ones, which the settings do not tell.

  Args:
    rope_parameters: `rope_parameters` of version 5, or `rope_scaling` of
      version 4 with the type under 'type' or 'rope_type'; None is 'default'.
    head_width: the width of a head.
    max_position_embeddings: of the configuration; the trained length where
      the settings name none, and always for 'dynamic'.
    rope_theta: the base, where the settings do not have it.
    partial_rotary_factor: the part that rotates, where they do not have it.
    original_max_position_embeddings: where the configuration itself has it
      (Phi-3); it has precedence, as there.

  Raises:
    UserError: for a type or a setting that is unknown, or one that is
      missing.

  Source: transformers 5.23, `modeling_rope_utils.py`.

  >>> v4 = {'type': 'linear', 'factor': 4.0}
  >>> print(from_hf(v4, head_width=64, rope_theta=500.0))
  RoPE(Linear(4), base=500)
  """
  given = dict(rope_parameters or {})
  for key, value in given.items():
    if isinstance(value, Mapping):
      raise component.UserError(
        f'the rope parameters are those of several kinds of layers, such as '
        f'{key!r}: give those of one kind'
      )
    component.one_of('a key of rope parameters', key, tuple(_KEYS))
  defaults = {
    'rope_theta': rope_theta,
    'partial_rotary_factor': partial_rotary_factor,
  }
  outside = {
    ORIGINAL: original_max_position_embeddings,
    LONGEST: max_position_embeddings,
  }
  given = {**defaults, **_without_none(given), **_without_none(outside)}
  kind = given.get('rope_type', given.get('type', 'default'))
  if kind not in TYPES:
    raise component.UserError(
      f'rope parameters of type {kind!r} are unknown here: the types known '
      f'are {", ".join(TYPES)}'
    )
  law = _read(kind, given)
  share = given['partial_rotary_factor']
  # A share of 1 is the default; of 'proportional' it belongs to the law.
  whole = kind == 'proportional' or share in (None, 1)
  rotated = None if whole else int(head_width * share)
  rope = rotary.RoPE(law, _needed(kind, given, 'rope_theta'), rotated)
  rope.inverse_frequencies(head_width)
  return rope


def _read(kind: str, given: dict[str, Any]) -> laws.Law:
  """Return the law of a type; what it may leave out is the law's default."""
  law, keys = TYPES[kind]
  # A beta of 0 counts as missing, there too.
  zero = [beta for beta in ('beta_fast', 'beta_slow') if given.get(beta) == 0]
  given = {k: v for k, v in _without_none(given).items() if k not in zero}
  if kind == 'proportional':
    given = {'partial_rotary_factor': 1.0, 'factor': 1.0, **given}
  if law in (scaled.YaRN, scaled.LongRoPE) and 'factor' not in given:
    longest = _needed(kind, given, LONGEST)
    given['factor'] = longest / _needed(kind, given, ORIGINAL)
  if LONGEST in given:
    given.setdefault(ORIGINAL, given[LONGEST])
  return law(
    **{
      field: _needed(kind, given, key)
      for field, key in keys.items()
      if key in given or key not in _OPTIONAL
    }
  )


def to_hf(
  rope: rotary.RoPE, *, head_width: int | None = None
) -> dict[str, Any]:
  """Return the version 5 `rope_parameters` of a RoPE: the inverse of `from_hf`.

  The trained length of `DynamicNTK` is not among them: there it is the
  configuration's `max_position_embeddings`.

  Args:
    rope: the rotation.
    head_width: needed where only a part of the head rotates.

  Raises:
    UserError: where Hugging Face has no type for the law, or no such pairs.

  >>> to_hf(rotary.RoPE(laws.Linear(4)))
  {'rope_type': 'linear', 'rope_theta': 10000.0, 'factor': 4.0}
  """
  law = rope.frequencies
  types = {kind: name for name, (kind, _) in reversed(TYPES.items())}
  if type(law) not in types or getattr(law, 'ramp', 'index') != 'index':
    names = ', '.join(sorted(kind.__name__ for kind in types))
    raise component.UserError(
      f'Hugging Face has no type for {law}: those that it has are {names}, '
      "YaRN with ramp='index'"
    )
  if rope.pairing != 'half':
    raise component.UserError(
      'rope parameters cannot say pairing=interleaved: reorder the weights to '
      'halves first'
    )
  name = types[type(law)]
  written: dict[str, Any] = {'rope_type': name, 'rope_theta': rope.base}
  for field, key in TYPES[name][1].items():
    value = getattr(law, field)
    written[key] = list(value) if isinstance(value, tuple) else value
  written.pop(LONGEST, None)
  if name == 'proportional' and written['factor'] == 1:
    del written['factor']
  if rope.rotated is not None:
    written['partial_rotary_factor'] = _share(rope, head_width)
  return _without_none(written)


def _share(rope: rotary.RoPE, head_width: int | None) -> float:
  """Return the part of the head that rotates, so that it reads back exactly."""
  if head_width is None:
    raise component.UserError(
      f'{rope} rotates a part of the head: give head_width, of which '
      'partial_rotary_factor is a share'
    )
  assert rope.rotated is not None
  share = rope.rotated / head_width
  if int(head_width * share) < rope.rotated:
    share = math.nextafter(share, 1.0)
  return share


def _needed(kind: str, given: Mapping[str, Any], key: str) -> Any:
  if given.get(key) is None:
    raise component.UserError(
      f'rope parameters of type {kind!r} need {key}: it is in the config of '
      'the model, or a default of its class'
    )
  return given[key]


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
  return {key: value for key, value in values.items() if value is not None}
