"""A finished run, recorded by hand."""

import json

import numpy as np

from posexp.results import records

LENGTHS, SEEDS = (8, 16), (3, 5)
A, B = 'a' * 16, 'b' * 16


def record(digest=A, name='Ordering: RoPE()', **changes):
  """A finished run of two seeds at two lengths; seed 5 learned nothing."""
  shares = {3: (1.0, 0.0, 0.0), 5: (0.5, 0.2, 0.3)}
  rest = {'exact': 0.5, 'first_error': 1.5, 'end': None, 'targets': 4}
  rest |= {'nats': None, 'unanswered': 0.0}
  results = [
    {'seed': seed, 'length': length, **rest}
    | dict(zip(('token', 'order', 'retrieval'), shares[seed]))
    for length in LENGTHS
    for seed in SEEDS
  ]
  return {
    'digest': digest,
    'name': name,
    'task': 'Ordering()',
    'scheme': 'RoPE()',
    'parent': None,
    'parent_digest': None,
    'trained_length': 8,
    'config': {'seeds': list(SEEDS), 'train': {'steps': 20}},
    'parameters': {'total': 1234, 'positional': 0},
    'losses': [[0.5, None], [0.5, 0.25]],
    'diverged': {'3': -1, '5': 12},
    'learned': {'3': 1.0, '5': 0.5},
    'gate': records.GATE,
    'chance': {'8': 0.5, '16': 0.25},
    'baselines': {'8': {'random': 0.49, 'bag': 0.5}, '16': {}},
    'results': results,
  } | changes


def outcomes():
  """Four targets a length: seed 3 all right, seed 5 one of each and a right."""
  arrays = {}
  for length in LENGTHS:
    arrays[f'{length}/kind'] = np.array([[0, 0, 0, 0], [0, 1, 2, 0]], np.int8)
    nats = np.arange(8, dtype=np.float32).reshape(2, 4)
    arrays[f'{length}/nats'] = nats
    arrays[f'{length}/example'] = np.array([0, 0, 1, 1], np.int32)
    arrays[f'{length}/strata/gap'] = np.array([1, 1, 2, -1], np.int32)
    arrays[f'{length}/strata/side'] = np.array([0, 1, 0, 1], np.int32)
  return arrays


def write(workdir, **changes):
  return records.write(workdir, record(**changes), outcomes())


def part(path, name):
  """Return the file of a part, such as 'outcomes', that a record names."""
  return path.with_name(json.loads(path.read_text())[name])


def cut(path):
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
