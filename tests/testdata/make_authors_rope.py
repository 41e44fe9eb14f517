"""Writes authors_rope.json: what the code of YaRN's and xPos's authors gives.

Run where torch is installed, with two checkouts:
  python tests/testdata/make_authors_rope.py YARN TORCHSCALE > \
      tests/testdata/authors_rope.json
(https://github.com/jquesnelle/yarn, https://github.com/microsoft/torchscale)
"""

import datetime
import importlib.util
import json
import pathlib
import subprocess
import sys

import torch


def load(path):
  spec = importlib.util.spec_from_file_location(path.stem, path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def commit(root):
  command = ['git', '-C', str(root), 'rev-parse', 'HEAD']
  return subprocess.check_output(command, text=True).strip()


def values(tensor):
  return [float(f'{x:.9g}') for x in tensor.flatten().tolist()]


def yarn_cases(root):
  folder = root / 'scaled_rope'
  yarn = load(folder / 'LlamaYaRNScaledRotaryEmbedding.py')
  for width, base, factor, length, fast, slow in (
    (32, 1e4, 4, 64, 32, 1),
    (2, 1e4, 4, 64, 32, 1),
    (4, 100, 4, 2048, 32, 1),
    (16, 1e4, 4, 5, 32, 1),
    (64, 1e4, 16, 4096, 32, 1),
    (128, 1e4, 32, 4096, 32, 1),
    (64, 1e4, 1, 4096, 32, 1),
    (64, 1e4, 0.5, 4096, 32, 1),
    (64, 1e4, 8, 2048, 16, 2),
  ):
    module = yarn.LlamaYaRNScaledRotaryEmbedding(
      width, 8, base, factor, length, beta_fast=fast, beta_slow=slow
    )
    yield {
      'law': 'YaRN',
      'head_width': width,
      'base': base,
      'fields': {
        'factor': factor,
        'train_length': length,
        'beta_fast': fast,
        'beta_slow': slow,
      },
      'inverse_frequencies': values(module.inv_freq),
      'attention_factor': module.mscale,
    }
  ntk = load(folder / 'LlamaNTKScaledRotaryEmbedding.py')
  dynamic = load(folder / 'LlamaDynamicScaledRotaryEmbedding.py')
  for width, base, factor in (
    (4, 1e4, 4),
    (8, 40, 2),
    (16, 1e4, 4),
    (32, 1e4, 1),
    (64, 1e4, 0.5),
    (128, 1e4, 8),
  ):
    out = {'head_width': width, 'base': base}
    module = ntk.LlamaNTKScaledRotaryEmbedding(width, 8, base, factor)
    yield {
      'law': 'NTK',
      **out,
      'fields': {'factor': factor},
      'inverse_frequencies': values(module.inv_freq),
    }
    for length in (64, 100):
      module = dynamic.LlamaDynamicScaledRotaryEmbedding(
        width, 64, base, ntk=factor
      )
      module(torch.zeros(1), seq_len=length)
      yield {
        'law': 'DynamicNTK',
        **out,
        'fields': {'factor': factor, 'train_length': 64},
        'length': length,
        'inverse_frequencies': values(module.inv_freq),
      }


def xpos_cases(root):
  """q_i . k_j of all pairs; queries cos(n), keys cos(2 n), n the index."""
  xpos = load(root / 'torchscale/component/xpos_relative_position.py')
  for width, scale_base, length in (
    (2, 512, 6),
    (4, 512, 6),
    (6, 512, 7),
    (8, 16, 6),
    (16, 4, 6),
    (64, 512, 6),
  ):
    n = torch.arange(length * width, dtype=torch.float64)
    q, k = (x.cos().float().reshape(1, length, width) for x in (n, 2 * n))
    module = xpos.XPOS(width, scale_base)
    q, k = module(q), module(k, downscale=True)
    yield {
      'head_width': width,
      'scale_base': scale_base,
      'length': length,
      'logits': values(q[0].double() @ k[0].double().T),
    }


def main():
  yarn, torchscale = (pathlib.Path(p) for p in sys.argv[1:])
  provenance = {
    'yarn': f'https://github.com/jquesnelle/yarn at {commit(yarn)}',
    'xpos': f'https://github.com/microsoft/torchscale at {commit(torchscale)}',
    'torch': torch.__version__,
    'made': datetime.date.today().isoformat(),
    'by': 'tests/testdata/make_authors_rope.py',
    'values': 'float32, nine significant digits',
  }
  lines = lambda rows: ',\n'.join(json.dumps(row) for row in rows)
  sys.stdout.write(
    f'{{"provenance": {json.dumps(provenance)},\n'
    f'"laws": [\n{lines(yarn_cases(yarn))}\n],\n'
    f'"xpos": [\n{lines(xpos_cases(torchscale))}\n]}}\n'
  )


if __name__ == '__main__':
  main()
