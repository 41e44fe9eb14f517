"""What a device can reach at most, as its maker publishes it."""

# Dense TFLOP/s (half of what is printed for sparse matrices) of bfloat16, of
# TF32, and of float32 outside of tensor cores, by what the name of a device
# contains, special ones first. From NVIDIA's data sheet of each product, at its
# boost clock. A T4 has neither of the first two.
_PUBLISHED = {
  'H200 NVL': (835.0, 417.0, 60.0),
  'H200': (989.4, 494.7, 66.9),
  'H100 NVL': (835.0, 417.0, 60.0),
  'H100 PCIe': (756.0, 378.0, 51.0),
  'H100 80GB HBM3': (989.4, 494.7, 66.9),
  'A100': (312.0, 156.0, 19.5),
  'L4': (121.0, 60.0, 30.3),
  'T4': (None, None, 8.1),
}
_ARITHMETIC = 'bfloat16', 'tensorfloat32', 'float32'


def peak(device_kind: str, arithmetic: str) -> float | None:
  """Return the published FLOP/s of a device, None where it is not known.

  Args:
    device_kind: as JAX names it; a part of a GPU (MIG) has no peak of its own.
    arithmetic: 'bfloat16', 'tensorfloat32' or 'float32'.

  >>> peak('NVIDIA A100-SXM4-80GB', 'bfloat16')
  312000000000000.0
  >>> peak('Tesla T4', 'bfloat16'), peak('cpu', 'float32')
  (None, None)
  """
  words = set(device_kind.replace('-', ' ').split())
  for name, numbers in _PUBLISHED.items():
    if set(name.split()) <= words and 'MIG' not in words:
      tera = numbers[_ARITHMETIC.index(arithmetic)]
      return None if tera is None else tera * 1e12
  return None
