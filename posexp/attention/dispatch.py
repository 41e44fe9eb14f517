"""Which way attention is computed: dense, in blocks or by one kernel."""

import jax

from posexp import component, schemes
from posexp.attention import placed

# What block='auto' means. Dense attention is quicker for few pairs of tokens,
# or few queries, as in decoding; a block is a quarter of the tokens, rounded
# down to a power of two, but at least and at most so many. Where each core of a
# CPU is a device, they are as small as that: blocks then stay in the cache of
# the core, and nothing of them is left for another to do.
DENSE_UP_TO = 128
FEW_QUERIES = 16
SMALLEST, LARGEST = 128, 512
# How many tokens a tile of the fused kernel has, where nobody says.
TILE = 128


def check_block(name: str, block: int | str | None) -> None:
  """Raise unless a block is None, 'auto' or a positive integer."""
  if isinstance(block, int) and not isinstance(block, bool):
    valid = block >= 1
  else:
    valid = block in (None, 'auto')
  if not valid:
    raise component.UserError(
      f"{name} must be None, 'auto' or an integer of at least 1, got "
      f"{block!r}: use 'auto' if unsure"
    )


def check_scheme(
  scheme: schemes.Scheme,
  block: int | str | None,
  implementation: str | None = None,
) -> None:
  """Raise unless both are valid and the scheme has a form for them."""
  check_block('block', block)
  check_implementation('implementation', implementation)
  why = None
  if not scheme.blockwise:
    why = 'changes whole rows of logits'
  elif 'bias' in scheme.hooks() and not placed.by_distance(scheme):
    why = 'has a bias that depends on more than a distance'
  if why and implementation == 'pallas':
    raise component.UserError(
      f'{scheme} {why}, which the fused kernel does not compute, got '
      "implementation='pallas': use implementation=None"
    )
  if not scheme.blockwise and isinstance(block, int):
    raise component.UserError(
      f'{scheme} changes whole rows of logits and has no blockwise attention, '
      f"got block={block}: use block=None or 'auto'"
    )


def check_implementation(name: str, implementation: str | None) -> None:
  """Raise unless an implementation is None or has one of the names."""
  if implementation not in (None, 'xla', 'pallas'):
    raise component.UserError(
      f"{name} must be None, 'xla' or 'pallas', got {implementation!r}: use "
      'None if unsure'
    )


def block_size(
  scheme: schemes.Scheme,
  block: int | str | None,
  queries: int,
  keys: int,
  implementation: str | None = None,
) -> int | None:
  """Return the number of tokens in a block, None for dense attention.

  Raises:
    UserError: if `block` or `implementation` is none of what `attend` takes,
      or the scheme has no blockwise form.
  """
  check_scheme(scheme, block, implementation)
  if dense(scheme, block, queries, keys, implementation):
    return None
  if isinstance(block, int):
    return block
  if implementation == 'pallas':
    return TILE
  if jax.default_backend() == 'cpu' and jax.device_count() > 1:
    return SMALLEST
  quarter = 2 ** ((max(queries, keys) // 4).bit_length() - 1)
  return min(max(quarter, SMALLEST), LARGEST)


def dense(
  scheme: schemes.Scheme,
  block: int | str | None,
  queries: int,
  keys: int,
  implementation: str | None = None,
) -> bool:
  """Return whether all logits are computed at once; ask no device."""
  if implementation == 'pallas':
    return False
  if isinstance(block, str):
    small = queries * keys <= DENSE_UP_TO**2 or queries <= FEW_QUERIES
    return small or not scheme.blockwise
  return block is None
