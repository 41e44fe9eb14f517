"""The fused attention that JAX brings along, where it applies."""

import jax

from posexp import schemes

Array = jax.Array

# What cuDNN computes: half precision, and heads of at most so many dimensions.
DTYPES = ('bfloat16', 'float16')
WIDEST, MULTIPLE = 128, 8
# The first GPUs that it is for.
CAPABILITY = 8.0


def serves(
  scheme: schemes.Scheme, q_BxLxHxE: Array, k_BxHxLxE: Array, v_BxHxLxE: Array
) -> bool:
  """Whether cuDNN's attention computes this scheme on this machine.

  It takes no bias but one that is made beforehand, which is quadratic in the
  length; so schemes that add to logits or change rows are left to blocks.
  """
  _, length, _, width = q_BxLxHxE.shape
  return (
    capability() >= CAPABILITY
    and not {'bias', 'rescore'} & set(scheme.hooks())
    and q_BxLxHxE.dtype.name in DTYPES
    and q_BxLxHxE.dtype == k_BxHxLxE.dtype == v_BxHxLxE.dtype
    and width <= WIDEST
    and width % MULTIPLE == 0
    and k_BxHxLxE.shape == v_BxHxLxE.shape
    and k_BxHxLxE.shape[2:] == (length, width)
  )


def capability() -> float:
  """The CUDA compute capability of the default device, 0 if it has none."""
  try:
    return float(getattr(jax.devices()[0], 'compute_capability', 0))
  except ValueError:  # AMD's have names.
    return 0.0


def attend(
  q_BxLxHxE: Array, k_BxHxLxE: Array, v_BxHxLxE: Array, window: int | None
) -> Array:
  """Causal attention by `jax.nn.dot_product_attention`, B x L x H x E.

  The queries are rotated and scaled, the keys rotated; a query sees the last
  `window` tokens, itself among them, or all before it.
  """
  return jax.nn.dot_product_attention(
    q_BxLxHxE,
    k_BxHxLxE.swapaxes(1, 2),
    v_BxHxLxE.swapaxes(1, 2),
    scale=1.0,
    is_causal=True,
    local_window_size=None if window is None else (window - 1, 0),
    implementation='cudnn',
  )
