"""Records of a grid whose report is known, without computing any."""

import numpy as np

from posexp.cli import main
from posexp.results import records
from tests import recorded

LENGTHS, SEEDS = (8, 16, 32), (0, 1, 2, 3, 4)
# Token accuracy at the longest length, and whether the task was learned.
RUNS = {
  'RoPE()': (0.5, True),
  'ALiBi()': (0.9, True),
  'T5()': (0.88, True),
  'NoPE()': (0.4, False),
}


def write(workdir, runs=RUNS, seeds=SEEDS, tasks=('Ordering()', 'Recall()')):
  """Records of runs that fall with length; their digests by task and name."""
  found = {}
  for number, (task, scheme) in enumerate(
    (task, scheme) for task in tasks for scheme in runs
  ):
    far, learned = runs[scheme]
    rng = np.random.default_rng(number)
    results = [
      _row(rng, seed, length, far, learned, step)
      for step, length in enumerate(LENGTHS)
      for seed in seeds
    ]
    found[task, scheme] = digest = f'{number:016x}'
    body = recorded.record(
      digest=digest,
      name=f'{task.split("(")[0]}: {scheme}',
      task=task,
      scheme=scheme,
      results=results,
      config={'seeds': list(seeds), 'train': {'steps': 20}},
      diverged={str(seed): -1 for seed in seeds},
      learned={str(seed): 1.0 if learned else 0.5 for seed in seeds},
      chance={str(length): 0.5 for length in LENGTHS},
      baselines={},
      losses=[[0.5]] * len(seeds),
      seconds={'total': 30.0},
    )
    records.write(workdir, body, {})
  return found


def _row(rng, seed, length, far, learned, step):
  token = 1 - (1 - far) * step / 2 - rng.uniform(0, 0.03) * step
  token = token if learned else token - 0.3
  order = 0.6 * (1 - token)
  return {
    'seed': seed,
    'length': length,
    'exact': token**2,
    'token': token,
    'order': order,
    'retrieval': 1 - token - order,
    'unanswered': 0.0,
    'first_error': 1.0,
    'nats': None,
    'end': None,
    'targets': 512,
  }


def report(workdir, *words):
  assert main.main(['posexp', 'report', str(workdir), *words]) == 0
  return (workdir / 'report.html').read_text()
