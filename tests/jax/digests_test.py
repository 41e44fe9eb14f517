"""What a run's digest says: the same for equal runs, another for others."""

import dataclasses
import json
import pathlib
import sys

import numpy as np
import pytest

import posexp
from posexp import component, schemes, tasks
from posexp.runs import config
from tests import small

DEFAULTS = pathlib.Path(__file__).parents[1] / 'testdata' / 'defaults.json'

HF = {
  'rope_type': 'longrope',
  'rope_theta': 500000,
  'original_max_position_embeddings': 64,
  'short_factor': [1, 1.5, 2, 4],
  'long_factor': [1, 2, 4, 8],
  'factor': 4,
}
WRITTEN = schemes.RoPE(
  schemes.LongRoPE((1.0, 1.5, 2.0, 4.0), (1.0, 2.0, 4.0, 8.0), 64, 4.0),
  base=5e5,
)
EQUAL = {
  'seeds of NumPy': (small.run(seeds=np.array([3, 5])), small.run()),
  'a list of lengths': (
    small.run(evaluate=config.Evaluate(lengths=[12, np.int64(24)])),
    small.run(evaluate=config.Evaluate(lengths=(24, 12))),
  ),
  'an integer for a float': (
    small.run(scheme=schemes.RoPE(schemes.NTK(4), base=10_000)),
    small.run(scheme=schemes.RoPE(schemes.NTK(4.0), base=np.float64(1e4))),
  ),
  'a default written out': (
    small.run(scheme=schemes.RoPE(schemes.Law(), pairing='half')),
    small.run(scheme=schemes.RoPE()),
  ),
  'a law of Hugging Face': (
    small.run(scheme=schemes.from_hf(HF, head_width=8)),
    small.run(scheme=WRITTEN),
  ),
  'weights of a mixture': (
    small.run(task=tasks.Mixture([small.run().task], [2])),
    small.run(task=tasks.Mixture((small.run().task,), (2.0,))),
  ),
}


@pytest.mark.parametrize('pair', EQUAL.values(), ids=list(EQUAL))
def test_equal_runs_have_equal_digests(pair):
  one, other = pair
  assert one == other and one.digest == other.digest
  assert json.dumps(one.to_dict()) == json.dumps(other.to_dict())


@pytest.mark.parametrize('seed', [-1, 2**32, 0.5, True, '0'])
def test_a_seed_is_a_whole_number_of_32_bits(seed):
  with pytest.raises(component.UserError, match='seeds of Run must be'):
    small.run(seeds=(0, seed))


def test_the_largest_seed_is_a_seed():
  assert small.run(seeds=(2**32 - 1,)).seeds == (4294967295,)


@pytest.mark.parametrize(
  'make, sentence',
  [
    (lambda: posexp.Train(steps=2.5), 'steps of Train must be an int, got 2.5'),
    (lambda: posexp.Train(batch=64.0), r'got 64.0 \(float\): write 64'),
    (lambda: posexp.Train(length=2**31), 'at most 2147483647, got 2147483648'),
    (lambda: posexp.Train(learning_rate=np.inf), 'finite and above 0, got inf'),
    (lambda: posexp.Train(decay=np.nan), 'decay of Train must be finite'),
    (lambda: posexp.Model(layers=2.0), 'layers of Model must be an int'),
    (lambda: posexp.Model(bos='no'), 'bos of Model must be True or False'),
    (
      lambda: posexp.Evaluate(lengths=(64.5,)),
      'lengths of Evaluate must be an',
    ),
    (lambda: small.run(scheme='RoPE()'), 'without quotation marks'),
    (lambda: small.run(scheme=schemes.RoPE), r'write RoPE\(\) with its fields'),
    (lambda: schemes.T5(max_distance=np.inf), 'T5 must be an int, got inf'),
    (
      lambda: schemes.Shift(schemes.RoPE(), most=2.5),
      'most of Shift must be an',
    ),
    (
      lambda: schemes.Interpolate(schemes.RoPE, 2.0),
      r'write RoPE\(\) with its',
    ),
    (
      lambda: schemes.RoPE(base='1e4'),
      "base of RoPE must be a number, got '1e4",
    ),
  ],
)
def test_a_value_of_another_kind_is_a_sentence(make, sentence):
  with pytest.raises(component.UserError, match=sentence):
    make()


@pytest.mark.parametrize('warmup', [50, 51])
def test_a_warmup_that_never_ends_is_refused(warmup):
  sentence = f'below steps=50, got {warmup}, .*: use warmup=5'
  with pytest.raises(component.UserError, match=sentence):
    posexp.Train(steps=50, warmup=warmup)
  assert posexp.Train(steps=50, warmup=49).warmup == 49


def test_no_default_changes_without_a_revision():
  """A field at its default is no part of a digest.

  Where this fails, other numbers would have the digest of those before: raise
  `config.REVISION`, and write the file anew by running this module.
  """
  recorded = json.loads(DEFAULTS.read_text('utf-8'))
  now = defaults()
  assert recorded['revision'] == config.REVISION
  changed = {
    name: (before, now['fields'].get(name))
    for name, before in recorded['fields'].items()
    if now['fields'].get(name) != before
  }
  assert not changed
  new = now['fields'].keys() - recorded['fields'].keys()
  assert not new, 'a new field: write the file anew, and keep the revision'


def defaults():
  """Returns the default of every field of posexp's own components."""
  fields = {}
  for kind in component._subclasses(component.Component):
    module = kind.__module__
    own = module.startswith('posexp.') and module in sys.modules
    if own and dataclasses.is_dataclass(kind):
      if module.startswith(('posexp.cli', 'posexp.launch')):
        continue  # No part of any run.
      for field in dataclasses.fields(kind):
        if field.default is not dataclasses.MISSING:
          fields[f'{kind.__qualname__}.{field.name}'] = component.written(
            field.default
          )
  return {'revision': config.REVISION, 'fields': dict(sorted(fields.items()))}


if __name__ == '__main__':
  DEFAULTS.write_text(json.dumps(defaults(), indent=1) + '\n', 'utf-8')
