"""How exactly matrices are multiplied, whatever a device does by default.

By default products of float32 numbers are TF32 on an NVIDIA GPU and bfloat16 on
a TPU, with 10 and 7 of 23 bits: too few for q.k, for gates that are added up
over a sequence and for counts of tokens. What is traced within
`jax.default_matmul_precision` keeps it, gradients included, but for those of a
`custom_vjp`, which is traced later and must bring it along.
"""

from typing import Any

import jax
import jax.numpy as jnp


def of(dtype: Any) -> str:
  """Return the precision of a program that computes in a dtype.

  'highest', by which products of float32 numbers are float32, or for narrower
  numbers 'default', the device's own.

  >>> of('float32'), of('bfloat16')
  ('highest', 'default')
  """
  return 'highest' if jnp.dtype(dtype) == jnp.float32 else 'default'


def now() -> str | None:
  """Return the precision that is set here, None if none is.

  >>> with jax.default_matmul_precision('tensorfloat32'):
  ...   now()
  'tensorfloat32'
  """
  return jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
