"""Records of a study, written as runs write them, of made-up outcomes."""

import numpy as np

from posexp import schemes, tasks
from posexp.results import cost_records, records
from posexp.runs import config
from posexp.studies import plan

TRAINED, TARGET = 32, 64
# Of which all but 2 are admitted: enough to claim causes and gains.
SEEDS = (0, 1, 2, 3, 4, 5)
NAMES = ('ordering', 'presence')
TASK = tasks.Mixture(
  (
    tasks.Ordering(symbols=8, queries=1, filler=4),
    tasks.Presence(symbols=8, queries=1, filler=4),
  )
)
OPTIONS = {
  plan.SCALED: schemes.RoPE(schemes.NTK(2)),
  plan.DEPLOYED: schemes.RoPE(schemes.NTK(2)) + schemes.ALiBi(),
  plan.BIASED: schemes.RoPE() + schemes.ALiBi(),
  'interpolation': schemes.RoPE(schemes.Linear(2)) + schemes.ALiBi(),
  'YaRN': schemes.RoPE(schemes.YaRN(2, 32)) + schemes.ALiBi(),
}
# Shares of order and of retrieval errors at the target, of what has finished:
# so many that no seed is near 0.
ERRORS = {
  plan.ROOT: (0.15, 0.12),
  plan.SCALED: (0.12, 0.12),
  **dict.fromkeys((plan.DEPLOYED, plan.BIASED, 'interpolation'), (0.35, 0.12)),
}
TARGETS = 400


def write(workdir, *, hostile=''):
  """A whole regression of variant A, but for one option that has not finished.

  Args:
    workdir: where to.
    hostile: put behind every name and sentence of the study.

  Returns:
    The study, and by digest the outcomes that were written.
  """
  runs, written = _runs(), {}
  for number, (option, run) in enumerate(runs.items()):
    if option in ERRORS:
      written[run.digest] = outcomes(number, *ERRORS[option])
      records.write(workdir, record(run), written[run.digest])
  made = [_cell(option, run, hostile) for option, run in runs.items()]
  study = plan.Study(
    kind='regression',
    size=f'quick{hostile}',
    question=f'What is to be fixed first?{hostile}',
    trained_length=TRAINED,
    target=TARGET,
    tasks=tuple(f'{name}{hostile}' for name in NAMES),
    cells=tuple(made),
    command=f'posexp run experiments/regression.py{hostile}',
    adaptation=f'No run is adapted{hostile}',
    transfers=(f'The order of options may transfer.{hostile}',),
    untested=(f'Text was not tested.{hostile}',),
    lookups=dict.fromkeys((cell.label for cell in made), (0, 0)),
  )
  plan.write(workdir, study)
  measured(workdir)
  return study, written


def _runs():
  """The runs by option; that of YaRN never finishes."""
  root = config.Run(
    task=TASK,
    scheme=schemes.RoPE(),
    model=config.Model(layers=1, width=16, heads=2),
    train=config.Train(length=TRAINED),
    evaluate=config.Evaluate(lengths=(TRAINED, TARGET)),
    seeds=SEEDS,
  )
  retrofits = {name: root.retrofit(scheme) for name, scheme in OPTIONS.items()}
  return {plan.ROOT: root, **retrofits}


def _cell(option, run, hostile):
  return plan.Cell(
    digest=run.digest,
    regime=f'base 10,000{hostile}',
    option=option,
    variant='' if option in (plan.ROOT, plan.SCALED) else 'A',
    schedule='trained' if option == plan.ROOT else 'zero-shot',
  )


def record(run):
  """What a run writes, but for its losses and its coverage."""
  parent = run.parent
  rest = {'exact': 0.5, 'order': 0.1, 'retrieval': 0.1, 'nats': 0.3}
  rest |= {'first_error': 1.5, 'end': None, 'targets': TARGETS}
  rest |= {'unanswered': 0.0}
  return {
    'digest': run.digest,
    'name': run.name,
    'task': str(run.task),
    'scheme': str(run.scheme),
    'parent': str(parent.scheme) if parent else None,
    'parent_digest': parent.digest if parent else None,
    'trained_length': TRAINED,
    'config': run.to_dict(),
    'versions': {'posexp': '0.1.0', 'jax': '0.7.2'},
    'device': {'platform': 'cpu', 'kind': 'cpu', 'count': 1},
    'seconds': {'train': 100.0, 'total': 123.0},
    'parameters': {'total': 4321, 'positional': 0},
    'diverged': dict.fromkeys(map(str, SEEDS), -1),
    'learned': {str(seed): 1 - 0.5 * (seed == 2) for seed in SEEDS},
    'learned_by_task': {
      str(seed): {'0': 0.99, '1': 1.0 * (seed != 2)} for seed in SEEDS
    },
    'gate': 0.99,
    'gate_examples': None if parent else 'f' * 16,
    'chance': {'32': 0.5, '64': 0.5},
    'baselines': {},
    'results': [
      {'seed': seed, 'length': length, 'token': 0.8, **rest}
      for seed in SEEDS
      for length in (TRAINED, TARGET)
    ],
    'diagnostics': [attention(run, TRAINED), attention(run, TARGET)],
  }


def attention(run, length, entropy=0.2):
  """What two heads do: of the deployed model, seed 1 attends to all alike."""
  heads = {'finite': np.ones((len(SEEDS), 1, 2))}
  heads['entropy'] = np.full((len(SEEDS), 1, 2), entropy)
  if run.scheme == OPTIONS[plan.DEPLOYED] and length == TARGET:
    heads['entropy'][1] = 0.95
  heads = {name: values.tolist() for name, values in heads.items()}
  return {'length': length, 'bins': [], 'heads': heads, 'binned': {}}


def outcomes(number, order, retrieval):
  """Kinds of errors by seed: none at the trained length but at seed 2.

  With seed 2 no run learned 'presence'.
  """
  draw = np.random.default_rng(number)
  arrays = {}
  for length in (TRAINED, TARGET):
    task = np.arange(TARGETS) % 2
    shares = (1 - order - retrieval, order, retrieval)
    kind = draw.choice(3, (len(SEEDS), TARGETS), p=shares)
    if length == TRAINED:
      kind[:] = 0
      kind[2] = 2 * task
    arrays[f'{length}/kind'] = kind.astype(np.int8)
    arrays[f'{length}/nats'] = np.zeros(kind.shape, np.float32)
    arrays[f'{length}/example'] = np.arange(TARGETS, dtype=np.int32)
    arrays[f'{length}/strata/task'] = task.astype(np.int32)
    distance = np.where(task == 1, -1, draw.integers(1, length, TARGETS))
    arrays[f'{length}/strata/evidence'] = distance.astype(np.int32)
  return arrays


def measured(workdir, slower=1.0):
  """Decoding and prefill, of the root and of base scaling."""
  facts = {'memory': None, 'flops': None, 'bytes_accessed': None}
  facts |= {'loops': False, 'total': 1, 'positional': 0}
  names = ('RoPE()', str(OPTIONS[plan.SCALED]))
  groups = [
    {
      'quantity': quantity,
      'length': length,
      'calls': 1,
      'seconds': {names[0]: [1.0] * 8, names[1]: [slower + length / 1e4] * 8},
      'facts': dict.fromkeys(names, facts),
    }
    for quantity in ('train', 'decode', 'prefill')
    for length in (100, 200)
  ]
  body = {'question': {'baseline': names[0]}, 'groups': groups}
  cost_records.write(workdir, body)
