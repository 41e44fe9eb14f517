"""Experiment files: loading, changing, selecting, ordering."""

import os
import pathlib
import statistics
import sys

import pytest

from posexp import component, schemes
from posexp.launch import grid
from posexp.runs import config
from tests import small


def test_parents_come_first_and_everything_once():
  run = small.run()
  one, two = run.retrofit(schemes.NoPE()), run.retrofit(schemes.ALiBi())
  deep = two.retrofit(schemes.T5())
  assert grid.plan([deep, one, run, two]) == (run, two, deep, one)


def test_a_change_reaches_parents_and_leaves_zero_shot_at_zero_steps():
  run = small.run()
  runs = grid.change(
    [run.retrofit(schemes.NoPE())],
    ['train.steps=7', 'train.learning_rate=1', 'evaluate.lengths=(12, 36)'],
  )
  parent, child = runs
  assert child.parent == parent
  assert parent.train.steps == 7 and child.train.steps == 0
  assert parent.train.learning_rate == child.train.learning_rate == 1.0
  assert type(parent.train.learning_rate) is float
  assert child.evaluate.lengths == (12, 36)


def test_a_change_inside_task_scheme_and_seeds():
  run = small.run(scheme=schemes.T5(buckets=8))
  (changed,) = grid.change(
    [run],
    ['scheme.buckets=16', 'task.queries=1', 'seeds=7', 'model.tied=True'],
  )
  assert changed.scheme == schemes.T5(buckets=16)
  assert changed.seeds == (7,) and changed.model.tied is True
  (none,) = grid.change([changed], ['model.feedforward=None'])
  assert none.model.feedforward is None
  (swiglu,) = grid.change([changed], ['model.activation=swiglu'])
  assert swiglu.model.activation == 'swiglu'


@pytest.mark.parametrize('order', [1, -1])
def test_fields_that_need_each_other_are_set_in_any_order(order):
  settings = ['model.width=30', 'model.heads=5', 'train.steps=4']
  settings = [*settings, 'train.warmup=2'][::order]
  (changed,) = grid.change([small.run()], settings)
  assert (changed.model.width, changed.model.heads) == (30, 5)
  assert (changed.train.steps, changed.train.warmup) == (4, 2)


@pytest.mark.parametrize(
  ('assignment', 'sentence'),
  [
    ('train.stops=3', "Train has no field 'stops'.*did you mean steps"),
    ('trian.steps=3', "Run has no field 'trian'.*did you mean train"),
    ('train.steps=many', "train.steps must be an int, got 'many'"),
    ('train.steps=2.5', 'train.steps must be an int, got 2.5'),
    ('model.tied=1', 'model.tied must be True or False, got 1'),
    ('seeds.first=1', "'seeds' in seeds.first is a plain value"),
    ('parent.train.steps=1', "no field 'parent' to set"),
    ('train.steps', 'must be FIELD=VALUE'),
    ('train.steps=-1', 'must be at least 0'),
    ('train.steps=5', 'must be below steps=5, got 5, .*: use warmup=0'),
  ],
)
def test_bad_changes_are_sentences(assignment, sentence):
  with pytest.raises(ValueError, match=sentence):
    grid.change([small.run()], [assignment])


def test_selection_is_by_text_or_glob_and_brings_the_parents():
  run = small.run()
  runs = grid.plan(
    [run.retrofit(schemes.ALiBi()), run, small.run(scheme=schemes.T5())]
  )
  assert grid.select(runs, 'alibi') == runs[:2]
  assert grid.select(runs, '*T5()') == runs[2:]
  with pytest.raises(ValueError, match=r'matches no run.*T5\(\)'):
    grid.select(runs, 'yarn')


def write(tmp_path, text, name='mine.py'):
  path = tmp_path / name
  path.write_text(text)
  return str(path)


def test_bad_files_are_sentences(tmp_path):
  write(tmp_path, '')
  with pytest.raises(ValueError, match=r'no experiment file.*did you mean'):
    grid.load(str(tmp_path / 'mien.py'))
  with pytest.raises(ValueError, match=r'has no function grid\(\)'):
    grid.load(write(tmp_path, 'x = 1'))
  with pytest.raises(ValueError, match='objects, got 3'):
    grid.load(write(tmp_path, 'def grid():\n  yield 3'))
  with pytest.raises(ValueError, match=r'grid\(\) of .*mine.*, got None'):
    grid.load(write(tmp_path, 'def grid():\n  runs = []'))
  with pytest.raises(ValueError, match=r'study\(size\) and no SIZES'):
    grid.load(write(tmp_path, 'def study(size):\n  pass'))
  with pytest.raises(ValueError, match=r'must return a planned study, got N'):
    grid.load(write(tmp_path, "SIZES = ('a',)\ndef study(size):\n  pass"))
  with pytest.raises(ValueError, match=r'mine\.py:4: .* sys\.exit\(3\) while'):
    grid.load(write(tmp_path, 'import sys\n\ndef grid():\n  sys.exit(3)'))
  with pytest.raises(ValueError, match='yields no runs'):
    grid.load(write(tmp_path, 'def grid():\n  return []'))


def test_an_edit_in_the_same_second_of_the_same_size_counts(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(sys, 'dont_write_bytecode', False)
  text = 'value = {}\nfrom tests import small\ndef grid():\n  yield small.run()'
  for value in (1, 2):
    path = pathlib.Path(write(tmp_path, text.format(value)))
    os.utime(path, (10**9, 10**9))
    module = grid.load(str(path)).module
    assert module.value == value


def test_a_file_hides_no_module_of_its_name(tmp_path):
  text = 'from tests import small\ndef grid():\n  return [small.run()]'
  experiment = grid.load(write(tmp_path, text, 'statistics.py'))
  assert experiment.module is not statistics is sys.modules['statistics']


OWN = '''
"""A scheme and a task of one's own."""
import dataclasses
import jax
import jax.numpy as jnp
import posexp
from posexp import schemes, tasks


@dataclasses.dataclass(frozen=True)
class Recent(schemes.Scheme):
  """Adds minus the square root of the distance, times a strength."""

  strength: float = 0.5

  def bias(self, params, head, q_at, k_at):
    distance = jnp.maximum(q_at - k_at, 0).astype(jnp.float32)
    return -self.strength * jnp.sqrt(distance)


@dataclasses.dataclass(frozen=True)
class Last(tasks.Task):
  """Repeat the first token at the end."""

  symbols: int = 4

  @property
  def vocabulary(self):
    return self.symbols

  def chance(self, length):
    return 1 / self.symbols

  def sample(self, key, *, length, batch):
    tokens = jax.random.randint(key, (batch, length), 0, self.symbols)
    tokens = tokens.at[:, -1].set(tokens[:, 0])
    last = jnp.broadcast_to(jnp.arange(length) == length - 1, tokens.shape)
    return tasks.Batch(
      tokens_BxL=tokens,
      targets_BxL=last,
      ends_BxL=jnp.zeros_like(last),
      foils_BxLxC=jnp.where(last, tokens[:, 1:2], -1)[..., None],
      strata={},
    )


def grid():
  run = posexp.Run(
    task=Last(),
    scheme=Recent(strength=0.25) + schemes.RoPE(),
    model=posexp.Model(layers=1, width=16, heads=2),
    train=posexp.Train(length=8, steps=5, batch=4, warmup=1),
    evaluate=posexp.Evaluate(lengths=(8, 16), examples=4),
    seeds=(0,),
  )
  yield run
  yield run.retrofit(Recent())
'''


def test_a_scheme_and_a_task_of_ones_own_run_untouched(tmp_path):
  experiment = grid.load(write(tmp_path, OWN, 'own_things.py'))
  run, child = experiment.runs
  assert str(run.scheme) == 'Recent(strength=0.25) + RoPE()'
  assert config.Run.from_dict(child.to_dict()) == child
  assert small.execute(tmp_path / 'w', *experiment.runs) == {}


def test_the_digest_follows_the_source_of_ones_own_classes(tmp_path):
  before = grid.load(write(tmp_path, OWN, 'own_things.py')).runs[0].digest
  again = grid.load(write(tmp_path, OWN, 'own_things.py')).runs[0].digest
  changed = OWN.replace('jnp.sqrt(distance)', 'distance')
  after = grid.load(write(tmp_path, changed, 'own_things.py')).runs[0].digest
  assert before == again != after


GRID = """
from tests import small

def grid():
  return [small.run(seeds={seeds})]
"""


def test_what_a_file_asks_that_cannot_be_names_its_line(tmp_path):
  with pytest.raises(component.UserError, match=r'mine\.py:5: seeds of Run'):
    grid.load(write(tmp_path, GRID.format(seeds='()')))
  with pytest.raises(component.UserError, match=r'mine\.py:2: unmatched'):
    grid.load(write(tmp_path, '\n)'))
  write(tmp_path, 'x = [', 'other.py')
  with pytest.raises(component.UserError, match=r'other\.py:1: '):
    grid.load(write(tmp_path, 'import other'))


@pytest.mark.parametrize(
  'code', ['1 / 0', 'int("a")', 'compile("(", "", "eval")']
)
def test_a_mistake_in_a_file_s_own_code_keeps_its_traceback(tmp_path, code):
  path = write(tmp_path, GRID.format(seeds=code))
  with pytest.raises(Exception) as caught:
    grid.load(path)
  assert not isinstance(caught.value, component.UserError)
  assert any(frame.path == pathlib.Path(path) for frame in caught.traceback)
