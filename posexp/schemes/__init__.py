"""Positional schemes: pure functions of position that can be added.

>>> from posexp import schemes
>>> print(schemes.RoPE(schemes.NTK(4)) + schemes.ALiBi())
RoPE(NTK(4)) + ALiBi()
"""

from posexp.schemes.absolute import Learned as Learned
from posexp.schemes.absolute import Sinusoidal as Sinusoidal
from posexp.schemes.base import BY_INDEX as BY_INDEX
from posexp.schemes.base import At as At
from posexp.schemes.base import Dims as Dims
from posexp.schemes.base import Head as Head
from posexp.schemes.base import NoPE as NoPE
from posexp.schemes.base import Params as Params
from posexp.schemes.base import Scheme as Scheme
from posexp.schemes.base import Side as Side
from posexp.schemes.bias import KERPLE as KERPLE
from posexp.schemes.bias import ALiBi as ALiBi
from posexp.schemes.bias import Sandwich as Sandwich
from posexp.schemes.bias_networks import FIRE as FIRE
from posexp.schemes.bias_networks import DynamicBias as DynamicBias
from posexp.schemes.bias_tables import T5 as T5
from posexp.schemes.bias_tables import PerOffset as PerOffset
from posexp.schemes.composition import Sum as Sum
from posexp.schemes.forgetting import Forgetting as Forgetting
from posexp.schemes.frequencies import NTK as NTK
from posexp.schemes.frequencies import DroPE as DroPE
from posexp.schemes.frequencies import DynamicNTK as DynamicNTK
from posexp.schemes.frequencies import Law as Law
from posexp.schemes.frequencies import Linear as Linear
from posexp.schemes.frequencies import Proportional as Proportional
from posexp.schemes.given import Numbers as Numbers
from posexp.schemes.given import fill as fill
from posexp.schemes.given import is_filled as is_filled
from posexp.schemes.given import take as take
from posexp.schemes.given import unfill as unfill
from posexp.schemes.hf import from_hf as from_hf
from posexp.schemes.hf import to_hf as to_hf
from posexp.schemes.parsing import parse as parse
from posexp.schemes.polar import PoPE as PoPE
from posexp.schemes.rotary import RoPE as RoPE
from posexp.schemes.rotary import xPos as xPos
from posexp.schemes.rowwise import CoPE as CoPE
from posexp.schemes.rowwise import StickBreaking as StickBreaking
from posexp.schemes.scaled_frequencies import Llama3 as Llama3
from posexp.schemes.scaled_frequencies import LongRoPE as LongRoPE
from posexp.schemes.scaled_frequencies import NTKByParts as NTKByParts
from posexp.schemes.scaled_frequencies import YaRN as YaRN
from posexp.schemes.temperature import LogLength as LogLength
from posexp.schemes.trained_length import Matched as Matched
from posexp.schemes.trained_length import Relative as Relative
from posexp.schemes.trained_length import Share as Share
from posexp.schemes.trained_length import matched as matched
from posexp.schemes.trained_length import share as share
from posexp.schemes.wrappers import Interpolate as Interpolate
from posexp.schemes.wrappers import Randomize as Randomize
from posexp.schemes.wrappers import Shift as Shift
from posexp.schemes.wrappers import Wrapper as Wrapper

# What `posexp schemes` lists and the law suite runs over: one line a scheme.
CATALOGUE: tuple[Scheme, ...] = (
  NoPE(),
  Sinusoidal(),
  Learned(),
  RoPE(),
  RoPE(Linear(4)),
  RoPE(NTK(4)),
  RoPE(DynamicNTK(4, 16)),
  RoPE(NTKByParts(4, 64)),
  RoPE(Llama3(4, 64)),
  RoPE(YaRN(4, 64)),
  RoPE(YaRN(4, 64, ramp='rotations')),
  RoPE(LongRoPE((1.0, 1.5, 2.0, 4.0), (1.0, 2.0, 4.0, 8.0), 64, 4)),
  RoPE(Proportional(0.5)),
  RoPE(DroPE()),
  RoPE(rotated=4),
  RoPE(YaRN(4, 64), rotated=4, pairing='interleaved'),
  xPos(),
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
  Randomize(RoPE()),
  Shift(Learned(1024)),
  Forgetting(),
  CoPE(positions=8),
  StickBreaking(),
  PoPE(),
  LogLength(train_length=8),
  LogLength(train_length=8, learned=True),
)
