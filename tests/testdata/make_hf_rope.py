"""Writes hf_rope.json: what Hugging Face transformers makes of RoPE settings.

Run where transformers and torch are installed:
  python tests/testdata/make_hf_rope.py > tests/testdata/hf_rope.json

Each case is a v5 `rope_parameters` dictionary, sizes and a sequence length;
the values are those that the rotary embedding of Llama (of StableLM, where only
a part of the head rotates) holds after a forward pass of that length.
"""

import copy
import datetime
import json
import sys

import torch
import transformers
from transformers.models.gptj import modeling_gptj as gptj
from transformers.models.llama import modeling_llama as llama
from transformers.models.phi3 import modeling_phi3 as phi3
from transformers.models.stablelm import modeling_stablelm as stablelm


def case(width, parameters, longest=2048, length=8):
  """One configuration through a model's own rotary embedding."""
  sizes = {'hidden_size': 2 * width, 'num_attention_heads': 2}
  given = copy.deepcopy(parameters)
  kind, rotary = llama.LlamaConfig, llama.LlamaRotaryEmbedding
  if 'partial_rotary_factor' in parameters:
    kind = stablelm.StableLmConfig
    rotary = stablelm.StableLmRotaryEmbedding
  config = kind(**sizes, max_position_embeddings=longest, rope_parameters=given)
  config.head_dim = width
  embedding = rotary(config)
  positions = torch.arange(length)[None]
  embedding(torch.zeros(1, 1), positions)
  return {
    'head_width': width,
    'max_position_embeddings': longest,
    'length': length,
    'rope_parameters': parameters,
    'inverse_frequencies': [
      float(f'{x:.9g}') for x in embedding.inv_freq.tolist()
    ],
    'attention_factor': float(embedding.attention_scaling),
  }


POSITIONS = [0, 1, 2, 7, 30]


def content(width):
  """Queries and keys that need no storing, 1 x L x 1 x width, float32."""
  n = torch.arange(len(POSITIONS) * width, dtype=torch.float64)
  shape = (1, len(POSITIONS), 1, width)
  return n.cos().float().reshape(shape), (2 * n).cos().float().reshape(shape)


def rotated_cases():
  """q_i . k_j of whole models' rotations, on a part of the head."""
  at = torch.tensor(POSITIONS)[None]
  base = {'rope_type': 'default', 'rope_theta': 1e4}
  yarn = {'rope_type': 'yarn', 'rope_theta': 1e4, 'factor': 4.0}
  yarn['original_max_position_embeddings'] = 64
  for width, share, settings in (
    (8, 1.0, base),
    (8, 0.5, base),
    (8, 1.0, yarn),
    (8, 0.5, yarn),
  ):
    settings = {**settings, 'partial_rotary_factor': share}
    config = stablelm.StableLmConfig(
      hidden_size=width,
      num_attention_heads=1,
      max_position_embeddings=256,
      rope_parameters=copy.deepcopy(settings),
    )
    q, k = content(width)
    cos, sin = stablelm.StableLmRotaryEmbedding(config)(q, at)
    q, k = phi3.apply_rotary_pos_emb(q, k, cos, sin, unsqueeze_dim=2)
    logits = (q[0, :, 0].double() @ k[0, :, 0].double().T).tolist()
    out = {'head_width': width, 'rope_parameters': settings}
    yield {**out, 'pairing': 'half', 'logits': logits}
  for width, rotated in ((8, 8), (8, 4)):
    q, k = content(width)
    sin, cos = gptj.create_sinusoidal_positions(64, rotated)[at].chunk(2, -1)
    turn = lambda x, s=sin, c=cos, r=rotated: torch.cat(
      [gptj.apply_rotary_pos_emb(x[..., :r], s, c), x[..., r:]], -1
    )
    logits = (turn(q)[0, :, 0].double() @ turn(k)[0, :, 0].double().T).tolist()
    settings = {**base, 'partial_rotary_factor': rotated / width}
    out = {'head_width': width, 'rope_parameters': settings}
    yield {**out, 'pairing': 'interleaved', 'logits': logits}


def parameters(kind, base, **others):
  return {'rope_type': kind, 'rope_theta': base, **others}


def plain_cases():
  for width, base in ((2, 1e4), (4, 10.0), (6, 40.0), (16, 1e4), (64, 5e5)):
    yield case(width, parameters('default', base))
  yield case(128, parameters('default', 1e6))
  yield case(16, parameters('default', 1e4, partial_rotary_factor=0.5))
  for width, base, factor in (
    (2, 1e4, 4.0),
    (4, 10.0, 3.0),
    (16, 1e4, 1.0),
    (32, 40.0, 0.5),
    (64, 5e5, 8.0),
    (128, 1e6, 2.5),
  ):
    yield case(width, parameters('linear', base, factor=factor))
  half = parameters('linear', 1e4, factor=4.0, partial_rotary_factor=0.25)
  yield case(32, half)


def dynamic_cases():
  for width, base, factor, longest, length in (
    (4, 1e4, 4.0, 16, 8),
    (4, 1e4, 4.0, 16, 16),
    (4, 1e4, 4.0, 16, 17),
    (8, 40.0, 2.0, 16, 64),
    (16, 1e4, 8.0, 32, 100),
    (64, 1e4, 1.0, 64, 256),
    (64, 5e5, 0.5, 64, 256),
    (128, 1e6, 2.5, 128, 129),
  ):
    settings = parameters('dynamic', base, factor=factor)
    yield case(width, settings, longest, length)
  part = parameters('dynamic', 1e4, factor=4.0, partial_rotary_factor=0.5)
  yield case(16, part, 16, 40)


def yarn_cases():
  def yarn(width, base, factor, length, **others):
    others['original_max_position_embeddings'] = length
    settings = parameters('yarn', base, factor=factor, **others)
    return case(width, settings, int(max(factor, 1) * length))

  yield yarn(32, 1e4, 4.0, 64)
  yield yarn(2, 1e4, 4.0, 64)
  yield yarn(4, 1e4, 4.0, 2048)
  yield yarn(8, 27.0, 4.0, 64)
  yield yarn(16, 1e4, 4.0, 5)
  yield yarn(16, 1e4, 4.0, 7)
  yield yarn(8, 10.0, 4.0, 100_000)
  yield yarn(8, 1.5, 4.0, 2048)
  yield yarn(64, 1e4, 16.0, 4096)
  yield yarn(128, 1e6, 4.0, 32768)
  yield yarn(64, 1e4, 1.0, 4096)
  yield yarn(64, 1e4, 0.5, 4096)
  yield yarn(64, 1e4, 16.0, 4096, truncate=False)
  yield yarn(16, 1e4, 4.0, 64, truncate=False)
  yield yarn(64, 1e4, 8.0, 2048, beta_fast=8.0, beta_slow=8.0, truncate=False)
  yield yarn(64, 1e4, 8.0, 2048, beta_fast=16.0, beta_slow=2.0)
  yield yarn(64, 1e4, 40.0, 4096, mscale=1.0, mscale_all_dim=1.0)
  yield yarn(64, 1e4, 40.0, 4096, mscale=0.707, mscale_all_dim=1.3)
  yield yarn(64, 1e4, 40.0, 4096, mscale=0.707)
  yield yarn(64, 1e4, 40.0, 4096, mscale_all_dim=0.707)
  yield yarn(64, 1e4, 0.5, 4096, mscale=0.707, mscale_all_dim=1.3)
  yield yarn(64, 1e4, 4.0, 4096, attention_factor=1.25)
  yield yarn(32, 1e4, 4.0, 64, partial_rotary_factor=0.5)


def longrope_cases():
  def longrope(width, base, length, at, factor=4.0, **others):
    pairs = int(width * others.get('partial_rotary_factor', 1)) // 2
    settings = parameters(
      'longrope',
      base,
      short_factor=[1.0 + 0.125 * k for k in range(pairs)],
      long_factor=[1.5 + 0.75 * k * k for k in range(pairs)],
      original_max_position_embeddings=length,
      **({} if factor is None else {'factor': factor}),
      **others,
    )
    return case(width, settings, 4 * length, at)

  for at in (8, 64, 65):
    yield longrope(16, 1e4, 64, at)
  yield longrope(2, 1e4, 16, 17)
  yield longrope(4, 10.0, 16, 16)
  yield longrope(64, 5e5, 64, 200, factor=1.0)
  yield longrope(64, 5e5, 64, 200, factor=0.5)
  yield longrope(8, 1e4, 16, 40, factor=None)
  yield longrope(8, 1e4, 16, 8, attention_factor=1.25)
  yield longrope(16, 1e4, 16, 40, partial_rotary_factor=0.75)


def llama3_cases():
  def llama3(width, base, factor, length, low=1.0, high=4.0, **others):
    settings = parameters(
      'llama3',
      base,
      factor=factor,
      low_freq_factor=low,
      high_freq_factor=high,
      original_max_position_embeddings=length,
      **others,
    )
    return case(width, settings, 8 * length)

  yield llama3(32, 1e4, 8.0, 8192)
  yield llama3(2, 1e4, 4.0, 64)
  yield llama3(4, 10.0, 4.0, 16)
  yield llama3(16, 1e4, 4.0, 3)
  yield llama3(16, 1e4, 4.0, 1024, 1.0, 32.0)
  yield llama3(64, 1e4, 16.0, 2048, 1.0, 32.0)
  yield llama3(64, 5e5, 1.0, 8192)
  yield llama3(64, 5e5, 0.5, 8192)
  yield llama3(64, 5e5, 8.0, 8192, 4.0, 4.0)
  yield llama3(128, 5e5, 32.0, 8192)
  yield llama3(16, 1e4, 8.0, 128, partial_rotary_factor=0.5)


def proportional_cases():
  for width, base, share, factor in (
    (16, 1e4, 1.0, None),
    (16, 1e4, 0.0, None),
    (16, 1e4, 0.5, None),
    (16, 1e4, 0.7, 4.0),
    (4, 10.0, 0.5, None),
    (2, 1e4, 0.99, None),
    (100, 1e4, 0.58, None),
    (64, 1e6, 0.25, 2.0),
  ):
    others = {} if factor is None else {'factor': factor}
    settings = parameters(
      'proportional', base, partial_rotary_factor=share, **others
    )
    yield case(width, settings)


def main():
  version = transformers.__version__
  cases = [
    *plain_cases(),
    *dynamic_cases(),
    *yarn_cases(),
    *longrope_cases(),
    *llama3_cases(),
    *proportional_cases(),
  ]
  provenance = {
    'repository': 'https://github.com/huggingface/transformers',
    'version': version,
    'torch': torch.__version__,
    'made': datetime.date.today().isoformat(),
    'by': 'tests/testdata/make_hf_rope.py',
    'values': 'float32, nine significant digits',
  }
  lines = lambda rows: ',\n'.join(json.dumps(row) for row in rows)
  head = json.dumps(provenance)
  sys.stdout.write(
    f'{{"provenance": {head},\n"positions": {POSITIONS},\n'
    f'"rotated": [\n{lines(rotated_cases())}\n],\n'
    f'"cases": [\n{lines(cases)}\n]}}\n'
  )


if __name__ == '__main__':
  main()
