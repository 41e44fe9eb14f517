"""RoPE settings as Hugging Face writes them, read and written."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from posexp import component
from posexp.schemes import frequencies as laws
from posexp.schemes import rotary
from posexp.schemes import scaled_frequencies as scaled

# 'original_max_position_embeddings', under which the trained length is kept.
ORIGINAL = 'original_max_position_embeddings'

# What any type may carry; a type ignores what it has no use for, as there.
# 'finetuned' is of older YaRN checkpoints and has no effect.
_KEYS = (
  'type',
  'rope_type',
  'rope_theta',
  'partial_rotary_factor',
  'factor',
  ORIGINAL,
  'attention_factor',
  'beta_fast',
  'beta_slow',
  'mscale',
  'mscale_all_dim',
  'truncate',
  'short_factor',
  'long_factor',
  'low_freq_factor',
  'high_freq_factor',
  'finetuned',
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
  """The RoPE that a Hugging Face configuration describes.

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

  Source: transformers 5.23, modeling_rope_utils.py.

  >>> v4 = {'type': 'linear', 'factor': 4.0}
  >>> print(from_hf(v4, head_width=64, rope_theta=500.0))
  RoPE(Linear(4), base=500)
  """
  given = {k: v for k, v in (rope_parameters or {}).items() if v is not None}
  for key, value in given.items():
    if isinstance(value, Mapping):
      raise component.UserError(
        f'the rope parameters are those of several kinds of layers, such as '
        f'{key!r}: give those of one kind'
      )
    component.one_of('a key of rope parameters', key, _KEYS)
  given.setdefault('rope_theta', rope_theta)
  if partial_rotary_factor is not None:
    given.setdefault('partial_rotary_factor', partial_rotary_factor)
  if original_max_position_embeddings is not None:
    given[ORIGINAL] = original_max_position_embeddings
  given['max_position_embeddings'] = max_position_embeddings
  kind = given.get('rope_type', given.get('type', 'default'))
  if kind not in _READ:
    raise component.UserError(
      f'rope parameters of type {kind!r} are unknown here: the types known '
      f'are {", ".join(_READ)}'
    )
  get = _getter(kind, given)
  share = given.get('partial_rotary_factor', 1.0)
  # A share of 1 is the default; of 'proportional' it belongs to the law.
  whole = kind == 'proportional' or share == 1
  rotated = None if whole else int(head_width * share)
  rope = rotary.RoPE(_READ[kind](get), get('rope_theta'), rotated)
  rope.inverse_frequencies(head_width)
  return rope


def to_hf(
  rope: rotary.RoPE, *, head_width: int | None = None
) -> dict[str, Any]:
  """The version 5 `rope_parameters` of a RoPE, the inverse of `from_hf`.

  The trained length of `DynamicNTK` is not among them: there it is the
  configuration's `max_position_embeddings`.

  Args:
    rope: the rotation.
    head_width: needed where only a part of the head rotates.

  Raises:
    UserError: where Hugging Face has no type for the law, or no such pairs.

  >>> to_hf(rotary.RoPE(laws.Linear(4)))
  {'rope_type': 'linear', 'rope_theta': 10000.0, 'factor': 4}
  """
  law = rope.frequencies
  index = not isinstance(law, scaled.YaRN) or law.ramp == 'index'
  if type(law) not in _WRITE or not index:
    names = ', '.join(sorted(kind.__name__ for kind in _WRITE))
    raise component.UserError(
      f'Hugging Face has no type for {law}: those that it has are {names}, '
      "YaRN with ramp='index'"
    )
  if rope.pairing != 'half':
    raise component.UserError(
      'rope parameters cannot say pairing=interleaved: reorder the weights to '
      'halves first'
    )
  kind, write = _WRITE[type(law)]
  out = {'rope_type': kind, 'rope_theta': rope.base, **write(law)}
  if rope.rotated is not None:
    if head_width is None:
      raise component.UserError(
        f'{rope} rotates a part of the head: give head_width, of which '
        'partial_rotary_factor is a share'
      )
    share = rope.rotated / head_width
    if int(head_width * share) < rope.rotated:
      share = math.nextafter(share, 1.0)
    out['partial_rotary_factor'] = share
  return {k: v for k, v in out.items() if v is not None}


def _getter(kind: str, given: Mapping[str, Any]) -> Callable[..., Any]:
  missing = object()

  def get(key: str, default: Any = missing) -> Any:
    value = given.get(key)
    if value is None and default is missing:
      raise component.UserError(
        f'rope parameters of type {kind!r} need {key}: it is in the config of '
        'the model, or a default of its class'
      )
    return default if value is None else value

  return get


def _factor(get) -> float:
  """The factor, or else the ratio of the two lengths."""
  if get('factor', None) is not None:
    return get('factor')
  return get('max_position_embeddings') / get(ORIGINAL)


def _length(get) -> int:
  """The trained length, by default that of the configuration."""
  longest = get('max_position_embeddings', None)
  return get(ORIGINAL) if longest is None else get(ORIGINAL, longest)


def _read_yarn(get) -> scaled.YaRN:
  return scaled.YaRN(
    factor=_factor(get),
    train_length=_length(get),
    # A beta of 0 counts as not given, there too.
    beta_fast=get('beta_fast', 0) or 32.0,
    beta_slow=get('beta_slow', 0) or 1.0,
    truncate=get('truncate', True),
    attention_factor=get('attention_factor', None),
    mscale=get('mscale', None),
    mscale_all_dim=get('mscale_all_dim', None),
  )


def _read_longrope(get) -> scaled.LongRoPE:
  return scaled.LongRoPE(
    short=tuple(get('short_factor')),
    long=tuple(get('long_factor')),
    train_length=_length(get),
    factor=_factor(get),
    attention_factor=get('attention_factor', None),
  )


def _read_llama3(get) -> scaled.Llama3:
  return scaled.Llama3(
    factor=get('factor'),
    train_length=_length(get),
    low=get('low_freq_factor'),
    high=get('high_freq_factor'),
  )


_READ: dict[str, Callable[..., laws.Law]] = {
  'default': lambda get: laws.Law(),
  'linear': lambda get: laws.Linear(get('factor')),
  'dynamic': lambda get: laws.DynamicNTK(
    get('factor'), get('max_position_embeddings')
  ),
  'yarn': _read_yarn,
  'longrope': _read_longrope,
  'su': _read_longrope,
  'llama3': _read_llama3,
  'proportional': lambda get: laws.Proportional(
    get('partial_rotary_factor', 1.0), get('factor', 1.0)
  ),
}

_WRITE: dict[type[laws.Law], tuple[str, Callable[[Any], dict[str, Any]]]] = {
  laws.Law: ('default', lambda law: {}),
  laws.Linear: ('linear', lambda law: {'factor': law.factor}),
  laws.DynamicNTK: ('dynamic', lambda law: {'factor': law.factor}),
  scaled.YaRN: (
    'yarn',
    lambda law: {
      'factor': law.factor,
      ORIGINAL: law.train_length,
      'beta_fast': law.beta_fast,
      'beta_slow': law.beta_slow,
      'truncate': law.truncate,
      'attention_factor': law.attention_factor,
      'mscale': law.mscale,
      'mscale_all_dim': law.mscale_all_dim,
    },
  ),
  scaled.LongRoPE: (
    'longrope',
    lambda law: {
      'factor': law.factor,
      ORIGINAL: law.train_length,
      'short_factor': list(law.short),
      'long_factor': list(law.long),
      'attention_factor': law.attention_factor,
    },
  ),
  scaled.Llama3: (
    'llama3',
    lambda law: {
      'factor': law.factor,
      ORIGINAL: law.train_length,
      'low_freq_factor': law.low,
      'high_freq_factor': law.high,
    },
  ),
  laws.Proportional: (
    'proportional',
    lambda law: {
      'factor': None if law.factor == 1 else law.factor,
      'partial_rotary_factor': law.share,
    },
  ),
}
