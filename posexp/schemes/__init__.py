"""Positional schemes: an algebra of pure functions of position.

>>> from posexp import schemes
>>> print(schemes.RoPE(schemes.NTK(4)) + schemes.ALiBi())
RoPE(NTK(4)) + ALiBi()
"""

from posexp.schemes.absolute import Learned as Learned
from posexp.schemes.absolute import Sinusoidal as Sinusoidal
from posexp.schemes.base import At as At
from posexp.schemes.base import Dims as Dims
from posexp.schemes.base import Head as Head
from posexp.schemes.base import NoPE as NoPE
from posexp.schemes.base import Params as Params
from posexp.schemes.base import Scheme as Scheme
from posexp.schemes.base import Side as Side
from posexp.schemes.base import Sum as Sum
from posexp.schemes.bias import T5 as T5
from posexp.schemes.bias import ALiBi as ALiBi
from posexp.schemes.frequencies import NTK as NTK
from posexp.schemes.frequencies import Law as Law
from posexp.schemes.frequencies import Linear as Linear
from posexp.schemes.kernels import KERPLE as KERPLE
from posexp.schemes.kernels import PerOffset as PerOffset
from posexp.schemes.kernels import Sandwich as Sandwich
from posexp.schemes.networks import FIRE as FIRE
from posexp.schemes.networks import DynamicBias as DynamicBias
from posexp.schemes.rotary import RoPE as RoPE
from posexp.schemes.wrappers import Interpolate as Interpolate

# What `posexp schemes` lists and the law suite runs over: one line a scheme.
CATALOGUE: tuple[Scheme, ...] = (
  NoPE(),
  Sinusoidal(),
  Learned(),
  RoPE(),
  RoPE(Linear(4)),
  RoPE(NTK(4)),
  ALiBi(),
  T5(),
  T5(scaled=False),
  T5(bidirectional=True),
  PerOffset(offsets=16),
  KERPLE(),
  KERPLE('power'),
  Sandwich(),
  FIRE(hidden=8),
  DynamicBias(hidden=8),
  DynamicBias(log=False, hidden=8, depth=2),
  Interpolate(ALiBi(), 4),
  Interpolate(RoPE(), 4),
)
