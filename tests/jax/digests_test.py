"""What a run's digest says: the same for equal runs, another for others."""

import contextlib
import dataclasses
import json
import pathlib
import sys

import jax
import numpy as np
import pandas as pd
import pytest

import posexp
from posexp import component, schemes, tasks
from posexp.component import user_code
from posexp.launch import earlier, job
from posexp.models import environment
from posexp.results import progress, records
from posexp.runs import config, contrast
from posexp.tasks import draw
from posexp.training import train_step
from tests import recorded, small

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


def test_the_trained_length_need_not_be_written():
  """It is evaluated in any case, so that the same is computed."""
  runs = [
    small.run(evaluate=posexp.Evaluate(lengths=lengths))
    for lengths in ((24,), (12, 24), (24, 36))
  ]
  assert runs[0].lengths == runs[1].lengths == (12, 24)
  assert runs[0].digest == runs[1].digest != runs[2].digest
  retrofits = [run.retrofit(schemes.NoPE()).digest for run in runs]
  assert retrofits[0] == retrofits[1] != retrofits[2]
  # On another arm of the task there is no other length than those written.
  task = tasks.Presence(symbols=16, queries=1, filler=4)
  far, both = (
    run.on(task, evaluate=posexp.Evaluate(lengths=lengths))
    for run, lengths in ((runs[0], (24,)), (runs[0], (12, 24)))
  )
  assert far.digest != both.digest
  written = dataclasses.replace(
    runs[0], evaluate=posexp.Evaluate(lengths=(64,))
  )
  assert 'evaluate' in written.identity()


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
    (
      lambda: posexp.Train(learning_rate=1e39),
      'float32, which has no 1e.39: use',
    ),
    (
      lambda: posexp.Train(clip=1e-320),
      'clip of Train becomes .* has no 9.99989e-321',
    ),
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


@contextlib.contextmanager
def other_settings():
  """Every setting of JAX that changes its random numbers or arithmetic."""
  with (
    jax.default_prng_impl('rbg'),
    jax.threefry_partitionable(False),
    jax.default_matmul_precision('bfloat16'),
    environment._enable_x64(True),
  ):
    yield


def test_no_setting_of_jax_changes_the_numbers_of_a_run(tmp_path):
  def computed(name):
    run = small.run(scheme=schemes.Randomize(schemes.RoPE(), 64))
    assert small.execute(tmp_path / name, run) == {}
    record = records.whole(tmp_path / name, run.digest)
    outcomes = records.outcomes(tmp_path / name, run.digest)
    tell = progress.Progress(1.0, tmp_path / 'log.txt')
    saved = job.weights(run, tmp_path / name, tell)
    return record['losses'], outcomes, jax.tree.map(np.asarray, saved)

  losses, outcomes, weights = computed('plain')
  with other_settings():
    other_losses, other_outcomes, other_weights = computed('other')
  assert losses == other_losses
  pd.testing.assert_frame_equal(outcomes, other_outcomes, check_exact=True)
  jax.tree.map(np.testing.assert_array_equal, weights, other_weights)


def test_no_setting_of_jax_changes_what_a_seed_draws():
  def drawn():
    run = small.run(scheme=schemes.T5())
    batch = run.task.sample(draw.root(3), length=12, batch=2)
    return train_step.initial_params(run, 3), batch

  expected = drawn()
  with other_settings():
    found = drawn()
  jax.tree.map(np.testing.assert_array_equal, expected, found)


def test_a_key_of_another_generator_is_refused():
  key = jax.random.key(0, impl='rbg')
  with pytest.raises(component.UserError, match="impl='threefry2x32'"):
    small.run().task.sample(key, length=12, batch=2)


def test_another_seed_under_the_name_of_a_seed_is_refused():
  jax.config.update('jax_random_seed_offset', 3)
  try:
    with pytest.raises(component.UserError, match='SEED_OFFSET is 3'):
      train_step.initial_params(small.run(), 3)
  finally:
    jax.config.update('jax_random_seed_offset', 0)


def finish(workdir, run, **changes):
  """Records a run as finished, without computing it."""
  body = recorded.record(run.digest, run.name, task=str(run.task))
  body |= {'config': run.to_dict(), 'revision': config.REVISION, **changes}
  records.write(workdir, body, recorded.outcomes())


@pytest.mark.parametrize(
  'flags, refused',
  [
    ('--xla_cpu_enable_fast_math', True),
    ('--xla_a=1 --xla_cpu_enable_fast_math=true --xla_b', True),
    ('--xla_gpu_enable_fast_math=1', True),
    ('--xla_cpu_enable_fast_math=false', False),
    ('--xla_force_host_platform_device_count=2', False),
  ],
)
def test_arithmetic_that_is_not_exact_is_refused(flags, refused, monkeypatch):
  monkeypatch.setenv('XLA_FLAGS', flags)
  expected = (
    pytest.raises(component.UserError, match='XLA_FLAGS has --xla')
    if refused
    else contextlib.nullcontext()
  )
  with expected, environment.fixed():
    pass


def test_a_run_that_is_computed_again_says_why(tmp_path):
  def notes(*runs):
    return list(earlier.notes(runs, tmp_path))

  before = small.run(seeds=(3,))
  assert not notes(before)
  finish(tmp_path, before)
  assert not notes(before) and not notes(small.run(scheme=schemes.NoPE()))
  (seeds,) = notes(small.run())
  assert 'with seeds=3 instead of 3,5, so that it is computed again' in seeds
  (rate,) = notes(small.run(seeds=(3,), train=small.train_config(decay=0.5)))
  assert f'{before.name}: finished in {tmp_path} with train.decay' in rate
  assert 'decay=0.01 instead of 0.5' in rate


def test_a_run_of_an_earlier_revision_is_computed_again_and_says_so(tmp_path):
  run = small.run()
  finish(tmp_path, run, digest='e' * 16, revision=config.REVISION - 1)
  (note,) = earlier.notes([run, run.retrofit(schemes.NoPE())], tmp_path)
  assert f'another version of posexp (revision {config.REVISION - 1})' in note
  (tmp_path / 'runs' / ('e' * 16) / 'record.json').write_text('{}')
  (note,) = earlier.notes([run], tmp_path)
  assert '1 records in' in note and 'record.json' in note


WRAPPED = """
import jax

def fall(d):
  return BODY * d

@jax.custom_vjp
def steep(d):
  return d

steep.defvjp(lambda d: (d, d), lambda d, g: (BODY * g,))
VALUE = WRAP

class Mine:
  def bias(self, d):
    return VALUE(d)
"""


@pytest.mark.parametrize(
  'wrap',
  [
    'jax.vmap(fall)',
    'jax.grad(fall)',
    'jax.checkpoint(fall)',
    'jax.jit(jax.vmap(fall))',
    'steep',
  ],
)
def test_code_that_jax_wraps_is_noticed(wrap):
  def digest(body):
    names = {'__name__': 'mine'}
    exec(WRAPPED.replace('BODY', body).replace('WRAP', wrap), names)
    return user_code.digest(names['Mine'])

  assert digest('0.5') != digest('0.9')
  assert digest('0.5') == digest('0.5')


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
  written = json.loads(DEFAULTS.read_text('utf-8'))
  now = defaults()
  assert written['revision'] == config.REVISION
  changed = {
    name: (before, now['fields'].get(name))
    for name, before in written['fields'].items()
    if now['fields'].get(name) != before
  }
  assert not changed
  new = now['fields'].keys() - written['fields'].keys()
  assert not new, 'a new field: write the file anew, and keep the revision'


def defaults():
  """Returns the default of every field that a run of posexp may have.

  Of classes that a module holds: others are of a test, or of a doctest.
  """
  assert contrast.Contrast  # Whatever else was imported, so is this module.
  packages = 'posexp.schemes.', 'posexp.tasks.', 'posexp.data.', 'posexp.runs.'
  fields = {}
  for kind in component.base._subclasses(component.Component):
    module = kind.__module__
    if not module.startswith(packages) or not dataclasses.is_dataclass(kind):
      continue
    if getattr(sys.modules.get(module), kind.__qualname__, None) is kind:
      for field in dataclasses.fields(kind):
        if field.default is not dataclasses.MISSING:
          fields[f'{kind.__qualname__}.{field.name}'] = component.written(
            field.default
          )
  return {'revision': config.REVISION, 'fields': dict(sorted(fields.items()))}


if __name__ == '__main__':
  DEFAULTS.write_text(json.dumps(defaults(), indent=1) + '\n', 'utf-8')
