"""Makes content.json by running the authors' code, on a CPU.

  python make_content.py FORGETTING_TRANSFORMER STICKBREAKING_ATTENTION RAM

The arguments are checkouts of zhixuan-lin/forgetting-transformer,
shawntan/stickbreaking-attention and facebookresearch/RAM; torch, einops and
x-transformers must be installed. No code by PoPE's authors was found: its
numbers are those of x-transformers, independent of posexp but not the source.
"""

import datetime
import importlib.metadata
import importlib.util
import json
import pathlib
import subprocess
import sys
import types
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode

HEADS, LENGTH, WIDTH, POSITIONS = 2, 6, 4, 4


def load(path, name):
  spec = importlib.util.spec_from_file_location(name, path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def rounded(x):
  return [float(f'{v:.10g}') for v in x.detach().double().flatten().tolist()]


def entry(repository, version, how, **arrays):
  arrays = {
    name: {'shape': list(x.shape), 'values': rounded(x)}
    for name, x in arrays.items()
  }
  date = datetime.date.today().isoformat()
  provenance = {
    'repository': repository,
    'version': version,
    'how': how,
    'torch': torch.__version__,
    'made': date,
  }
  return {'provenance': provenance, **arrays}


def commit(checkout):
  command = ['git', '-C', checkout, 'rev-parse', 'HEAD']
  return subprocess.check_output(command, text=True).strip()


class OnCPU(TorchFunctionMode):
  """Makes on the CPU what a program asks for on a GPU."""

  def __torch_function__(self, function, kinds, args=(), kwargs=None):
    kwargs = dict(kwargs or {})
    if kwargs.get('device') == 'cuda':
      kwargs['device'] = 'cpu'
    return function(*args, **kwargs)


class Seen(Exception):
  pass


def forgetting(checkout):
  """The variables of the authors' test when it calls their kernel."""
  # The kernel is for a GPU, and the test computes a reference in torch first.
  for name in ('triton', 'triton.language'):
    sys.modules[name] = mock.MagicMock()
  path = 'src/forgetting_transformer/ops/forgetting_attention.py'
  module = load(pathlib.Path(checkout) / path, 'forgetting_attention')
  seen = {}

  def kernel(*args, **kwargs):
    del args, kwargs
    seen.update(sys._getframe(1).f_locals)
    raise Seen

  module.forgetting_attention = kernel
  sizes = (1, HEADS, LENGTH, LENGTH, WIDTH)
  try:
    with OnCPU():
      module.test_op(*sizes, True, (-2, 4), False, None, dtype=torch.float32)
  except Seen:
    pass
  names = ('q', 'k', 'v', 'fgate_logit', 'ref_out')
  return entry(
    'https://github.com/zhixuan-lin/forgetting-transformer',
    commit(checkout),
    f'the torch reference inside test_op of {path}; q.k is times 0.5',
    **{name: seen[name] for name in names},
  )


def stick_breaking(checkout):
  path = 'stickbreaking_attention/sb_ref.py'
  module = load(pathlib.Path(checkout) / path, 'sb_ref')
  q, k, v = torch.randn(3, 1, HEADS, LENGTH, WIDTH).double()
  ones = torch.ones(LENGTH, LENGTH)
  # As in tests/test_attn.py, without attend_current.
  out, rest = module.stickbreaking(
    q, k, v, ones.triu(0).bool(), ones.tril(-1).double()
  )
  return entry(
    'https://github.com/shawntan/stickbreaking-attention',
    commit(checkout),
    f'stickbreaking of {path}, masks as in tests/test_attn.py',
    q=q,
    k=k,
    v=v,
    out=out,
    rest=rest,
  )


def cope(checkout):
  path = 'projects/cope/src/cope/context_position.py'
  module = load(pathlib.Path(checkout) / path, 'context_position')
  # One head a row of the batch, as in the authors' split_heads.
  q, k, v = 2 * torch.randn(3, HEADS, LENGTH, WIDTH).double()
  table = torch.randn(1, WIDTH, POSITIONS).double()
  out = {}
  for undivided in (False, True):
    config = types.SimpleNamespace(
      drop=0.0,
      pos_emb='cope',
      cope_layers=1,
      cope_npos=POSITIONS,
      cope_val_gates=False,
      cope_sep_key=False,
      cope_nodiv=undivided,
      head_dim=WIDTH,
    )
    layer = module.ContextPosSelfAttn(config, 0).double()
    layer.pos_emb.data = table
    mask = torch.ones(LENGTH, LENGTH).tril().double()
    with torch.no_grad():
      mixed = layer(q.clone(), k.clone(), k.clone(), v.clone(), mask)
    out['out_undivided' if undivided else 'out'] = mixed
  return entry(
    'https://github.com/facebookresearch/RAM',
    commit(checkout),
    f'ContextPosSelfAttn of {path}; out_undivided is with --cope-nodiv',
    **{'q': q, 'k': k, 'v': v, 'table': table, **out},
  )


def pope():
  from x_transformers import x_transformers

  layer = x_transformers.PolarEmbedding(WIDTH, HEADS)
  # Some of them outside of [-2 pi, 0].
  layer.learned_bias.data = 4 * torch.randn(HEADS, 1, WIDTH) - 3
  angles, bias = layer(torch.arange(LENGTH))
  q, k = torch.randn(2, 1, HEADS, LENGTH, WIDTH)
  turned_q = x_transformers.apply_polar_pos_emb(q, angles)
  turned_k = x_transformers.apply_polar_pos_emb(k, angles + bias)
  product = torch.einsum('bhid,bhjd->bhij', turned_q, turned_k)
  delta = layer.learned_bias
  return entry(
    'https://github.com/lucidrains/x-transformers',
    importlib.metadata.version('x-transformers'),
    'PolarEmbedding, apply_polar_pos_emb; independent, not by the authors',
    q=q,
    k=k,
    delta=delta,
    product=product,
  )


def main():
  fox, sticks, ram = sys.argv[1:]
  torch.manual_seed(0)
  golden = {'Forgetting': forgetting(fox)}
  # The authors' test sets a seed of its own.
  torch.manual_seed(1)
  golden['StickBreaking'] = stick_breaking(sticks)
  golden['CoPE'] = cope(ram)
  golden['PoPE'] = pope()
  path = pathlib.Path(__file__).with_name('content.json')
  path.write_text(json.dumps(golden) + '\n')


if __name__ == '__main__':
  main()
