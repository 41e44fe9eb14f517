"""Makes bias.json: what published code says of additive biases.

  python tests/testdata/make_bias.py ALIBI KERPLE ATTENTION_GYM ARITHMETIC

with checkouts of ofirpress/attention_with_linear_biases, chijames/KERPLE,
meta-pytorch/attention-gym and mcleish7/arithmetic, and with torch,
transformers and x-transformers installed. Functions and classes are cut out of
the checkouts and run; none of it is needed to run the tests.
"""

import ast
import datetime
import importlib.metadata
import json
import math
import pathlib
import subprocess
import sys
import types

import torch
from transformers.models.t5.modeling_t5 import T5Attention
from x_transformers.x_transformers import DynamicPositionBias

LENGTH, HEADS = 12, 3


def cut(checkout: str, path: str, name: str, **names):
  """A function or class of a file, without the file's imports."""
  show = ['git', '-C', checkout, 'show', f'HEAD:{path}']
  text = subprocess.run(show, check=True, capture_output=True, text=True).stdout
  found = [
    node
    for node in ast.walk(ast.parse(text))
    if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name
  ]
  space = {'torch': torch, 'math': math, **names}
  exec(compile(ast.Module(found[:1], []), path, 'exec'), space)
  return space[name]


def plain(x):
  if isinstance(x, torch.Tensor):
    return plain(x.detach().tolist())
  if isinstance(x, list):
    return [plain(v) for v in x]
  return float(f'{x:.12g}') if isinstance(x, float) else x


def t5() -> list[dict]:
  """The distances at which the bucket changes, and the bucket from there."""
  out = []
  for bidirectional in (False, True):
    for buckets, far in (
      (8, 16), (8, 20), (8, 128), (12, 50), (16, 64), (32, 64), (32, 100),
      (32, 128), (32, 1000), (64, 128), (64, 4096), (128, 2048),
    ):  # fmt: skip
      case = {'bidirectional': bidirectional, 'buckets': buckets}
      case['max_distance'] = far
      for side, sign in (('past', -1), ('future', 1)):
        n = torch.arange(1 if sign > 0 else 0, 2 * far)
        bucket = T5Attention._relative_position_bucket(
          sign * n, bidirectional, buckets, far
        ).tolist()
        changes = [
          [int(n[k]), b]
          for k, b in enumerate(bucket)
          if not k or b != bucket[k - 1]
        ]
        case[side] = changes
      out.append(case)
  return out


def kerple(checkout: str) -> list[dict]:
  torch.cuda.current_device = lambda: 'cpu'
  out = []
  for kind, name, embedding in (
    ('log', 'ParallelKerpleLog', 'kerple_log'),
    ('power', 'ParallelKerplePower', 'kerple_power_ap_'),
  ):
    make = cut(
      checkout,
      'megatron/mpu/layers.py',
      name,
      Parameter=torch.nn.Parameter,
      get_model_parallel_world_size=lambda: 1,
      get_model_parallel_rank=lambda: 0,
    )
    torch.manual_seed(0)
    args = types.SimpleNamespace(
      num_attention_heads=HEADS, pos_emb=embedding, params_dtype=torch.float64
    )
    module = make(args)
    zeros = torch.zeros(1, HEADS, LENGTH, LENGTH, dtype=torch.float64)
    inner = module.bias_a if kind == 'log' else module.bias_p
    # As it starts, and where the clamps act: from below, and from above on p.
    for clamped in (False, True):
      with torch.no_grad():
        if clamped:
          inner[0], inner[1] = -1.0, 5.0
      before = {'p_H': module.bias_p.flatten().clone()}
      before['a_H'] = module.bias_a.flatten().clone()
      bias = module(zeros)[0]
      case = {'kind': kind, **before, 'bias_HxLxL': bias}
      out.append({k: plain(v) for k, v in case.items()})
  return out


def fire(checkout: str) -> list[dict]:
  make = cut(checkout, 'cramming/architectures/embeddings.py', 'FIRE')
  out = []
  for threshold, c, multiplier in ((4.0, 0.1, 1.0), (6.0, -0.7, -0.5)):
    torch.manual_seed(1)
    module = make(HEADS, 5, c, threshold).eval()
    with torch.no_grad():
      module.L_multiplier.fill_(multiplier)
    case = {
      'threshold': threshold,
      'c': c,
      'multiplier': multiplier,
      'in_W': module.mlp[0].weight[:, 0],
      'in_bias_W': module.mlp[0].bias,
      'out_WxH': module.mlp[2].weight.T,
      'out_bias_H': module.mlp[2].bias,
      'bias_HxLxL': module(LENGTH, 'cpu')[0],
    }
    out.append({k: plain(v) for k, v in case.items()})
  return out


def dynamic() -> list[dict]:
  out = []
  for log, depth in ((False, 1), (True, 1), (True, 2)):
    torch.manual_seed(2)
    module = DynamicPositionBias(4, heads=HEADS, depth=depth, log_distance=log)
    layers = [m for m in module.mlp.modules() if isinstance(m, torch.nn.Linear)]
    case = {
      'log': log,
      'depth': depth,
      'in_W': layers[0].weight[:, 0],
      'in_bias_W': layers[0].bias,
      'out_WxH': layers[-1].weight.T,
      'out_bias_H': layers[-1].bias,
      'bias_HxLxL': module(LENGTH, LENGTH),
    }
    for n in range(1, depth):
      case[f'hidden_{n}_WxW'] = layers[n].weight.T
      case[f'hidden_{n}_bias_W'] = layers[n].bias
    out.append({k: plain(v) for k, v in case.items()})
  return out


def commit(checkout: str) -> str:
  ask = ['git', '-C', checkout, 'rev-parse', 'HEAD']
  return subprocess.run(
    ask, check=True, capture_output=True, text=True
  ).stdout.strip()


def main(alibi: str, kerples: str, gym: str, arithmetic: str) -> None:
  slopes = cut(alibi, 'fairseq/models/transformer.py', 'get_slopes')
  sandwich = cut(gym, 'test/test_sandwich.py', 'reference_sandwich_bias')
  version = importlib.metadata.version
  values = {
    'provenance': {
      'made': datetime.date.today().isoformat(),
      'by': 'tests/testdata/make_bias.py',
      'alibi': f'ofirpress/attention_with_linear_biases {commit(alibi)}',
      't5': f'transformers {version("transformers")}',
      'kerple': f'chijames/KERPLE {commit(kerples)}',
      'sandwich': (
        f"meta-pytorch/attention-gym {commit(gym)}, not the authors': its test "
        "runs the listing of the paper's appendix E"
      ),
      'fire': (
        f"mcleish7/arithmetic {commit(arithmetic)}, not the authors': the "
        "listing of the paper's appendix with random positions, here off"
      ),
      'dynamic': f'x-transformers {version("x-transformers")}',
    },
    'alibi': {h: plain(slopes(h)) for h in range(1, 41)},
    't5': t5(),
    'kerple': kerple(kerples),
    'sandwich': [
      {'width': width, 'bias_HxLxL': plain(sandwich(HEADS, LENGTH, width))}
      for width in (8, 128)
    ],
    'fire': fire(arithmetic),
    'dynamic': dynamic(),
  }
  path = pathlib.Path(__file__).with_name('bias.json')
  lines = json.dumps(values, separators=(',', ':')).replace('],[', '],\n[')
  path.write_text(lines + '\n')


if __name__ == '__main__':
  main(*sys.argv[1:])
