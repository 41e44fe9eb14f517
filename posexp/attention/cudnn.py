"""The fused attention that JAX brings along, where it applies."""

import jax

from posexp import schemes
from posexp.attention import placed

Array = jax.Array

# What cuDNN computes: half precision, and heads of at most so many dimensions.
DTYPES = ('bfloat16', 'float16')
WIDEST, MULTIPLE = 128, 8
# The first GPUs that it is for.
CAPABILITY = 8.0


def serves(
  scheme: schemes.Scheme,
  queries: placed.Placed,
  keys: placed.Placed,
  v_BxHxLxE: Array,
) -> bool:
  """Return whether cuDNN's attention computes this scheme on this machine.

  It takes no bias but one that is made beforehand, which is quadratic in the
  length; so schemes that add to logits or change rows are left to blocks.
  """
  q, k = queries.x_BxHxLxE, keys.x_BxHxLxE
  return (
    capability() >= CAPABILITY
    and not {'bias', 'rescore'} & set(scheme.hooks())
    and q.dtype.name in DTYPES
    and q.dtype == k.dtype == v_BxHxLxE.dtype
    and q.shape[3] <= WIDEST
    and q.shape[3] % MULTIPLE == 0
    and k.shape == v_BxHxLxE.shape
    and k.shape[2:] == q.shape[2:]
  )


def capability() -> float:
  """Return the compute capability of the default device, 0 if none."""
  try:
    return float(getattr(jax.devices()[0], 'compute_capability', 0))
  except ValueError:  # AMD's have names.
    return 0.0


def attend(
  queries: placed.Placed,
  keys: placed.Placed,
  v_BxHxLxE: Array,
  window: int | None,
) -> Array:
  """Causal attention by `jax.nn.dot_product_attention`, B x H x L x E.

  A query sees the last `window` tokens, itself among them, or all before it.
  """
  mixed_BxLxHxE = jax.nn.dot_product_attention(
    queries.x_BxHxLxE.swapaxes(1, 2),
    keys.x_BxHxLxE.swapaxes(1, 2),
    v_BxHxLxE.swapaxes(1, 2),
    scale=1.0,
    is_causal=True,
    local_window_size=None if window is None else (window - 1, 0),
    implementation='cudnn',
  )
  return mixed_BxLxHxE.swapaxes(1, 2)
