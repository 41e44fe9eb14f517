"""What an evaluation needs in memory: the compiler's count, and refusals."""

import jax
import jax.numpy as jnp
import pytest

from posexp import schemes
from posexp.cli import main
from posexp.evaluation import evaluate
from posexp.launch import exit_codes
from posexp.models import memory, mesh, transformer
from posexp.runs import config
from tests import small


def net(scheme, vocabulary=24, **changes):
  shape = config.Model(layers=2, width=32, heads=2, **changes)
  return transformer.Transformer(shape, scheme, vocabulary)


@pytest.mark.parametrize(
  ('mine', 'length', 'asked'),
  [
    (net(schemes.RoPE()), 2048, 4),
    (net(schemes.RoPE(), block=None), 512, 4),
    (net(schemes.CoPE(positions=8)), 512, 512),
    (net(schemes.NoPE(), vocabulary=4096), 512, 512),
    (net(schemes.FIRE(), block=None), 512, 4),
    (net(schemes.RoPE() + schemes.T5(), block=None), 512, 4),
    (net(schemes.NoPE(), activation='swiglu', feedforward=512), 512, 4),
  ],
  ids=('blocks', 'dense', 'rows', 'vocabulary', 'FIRE', 'T5', 'wide'),
)
@pytest.mark.skipif(
  jax.__version_info__ < (0, 10), reason='the estimate is of a later compiler'
)
def test_the_estimate_is_near_what_the_compiler_needs(mine, length, asked):
  forward = jax.jit(
    lambda params, tokens, places: transformer.predict(
      mine, params, tokens, places
    )
  )
  shape = lambda *sizes: jax.ShapeDtypeStruct(sizes, jnp.int32)
  args = transformer.shapes(mine), shape(1, length), shape(asked)
  found = forward.lower(*args).compile().memory_analysis()
  needed = found.temp_size_in_bytes + found.output_size_in_bytes
  assert 0.5 < needed / memory.sequence(mine, length, asked) < 1.2


def test_as_many_sequences_as_fit_are_done_at_once(monkeypatch):
  mine, on = net(schemes.RoPE()), mesh.mesh(2, 1)
  one = memory.sequence(mine, 100, 4)
  for budget, fitting in ((1, 1), (3.9 * one, 3), (9 * one, 9)):
    monkeypatch.setattr(memory, 'BUDGET', int(budget))
    assert memory.at_once(mine, 100, 4, on, 3) == fitting
  monkeypatch.setattr(memory, 'BUDGET', 2**28)
  # Of long ones no more than stay in a cache, but where there is none.
  few = [memory.at_once(mine, n, 4, on, 3) for n in (128, 129, 256, 4096)]
  assert few[0] > 64 and few[1:] == [3, 2, 1]
  # Elsewhere a device does all of its seeds at once.
  monkeypatch.setattr(mesh, 'on_cpu', lambda _: False)
  two = mesh.mesh(2, 1)
  many = memory.at_once(mine, 129, 4, two, 2)
  assert many > 64
  assert many // 3 <= memory.at_once(mine, 129, 4, two, 6) <= many // 3 + 1


def test_a_machine_has_as_many_devices_as_it_has_memory_for(monkeypatch):
  mine, on = net(schemes.RoPE()), mesh.mesh(2, 1)
  one = memory.sequence(mine, 512, 4)
  monkeypatch.setattr(memory, 'available', lambda _: 2 * one - 1)
  assert memory.mesh(mine, 512, 4, on).devices.shape == (1, 1)
  memory.check(mine, 512, 4, on, seeds=1)
  monkeypatch.setattr(memory, 'available', lambda _: 2 * one)
  assert memory.mesh(mine, 512, 4, on).devices.shape == (1, 2)
  memory.check(mine, 512, 4, on, seeds=3)
  sentence = 'of each of 2 workers, .* or with fewer --workers'
  with pytest.raises(ValueError, match=sentence):
    memory.check(mine, 512, 4, on, seeds=3, workers=2)


def test_seeds_that_an_accelerator_does_at_once_all_count(monkeypatch):
  mine, on = net(schemes.RoPE()), mesh.mesh(2, 1)
  one = memory.sequence(mine, 512, 4)
  monkeypatch.setattr(mesh, 'on_cpu', lambda _: False)
  monkeypatch.setattr(memory, 'available', lambda _: 5 * one)
  memory.check(mine, 512, 4, on, seeds=4)  # Two devices, two seeds each.
  with pytest.raises(ValueError, match='evaluating 512 tokens under RoPE'):
    memory.check(mine, 512, 4, on, seeds=6)


def test_a_container_has_what_it_may_use(monkeypatch, tmp_path):
  limit = tmp_path / 'memory.max'
  monkeypatch.setattr(memory, 'CONTAINER', (str(limit), '/no/such'))
  whole = memory.of_machine()
  limit.write_text('max\n')
  assert memory.of_machine() == whole
  limit.write_text(f'{2**29}\n')
  assert memory.of_machine() == 2**29


LARGE = 40_000


@pytest.mark.parametrize(
  ('scheme', 'block', 'remedy'),
  [
    (schemes.CoPE(), 'auto', r'GiB: evaluate at a shorter'),
    (schemes.RoPE(), None, r"use Model\(block='auto'\), or evaluate at a"),
  ],
  ids=str,
)
def test_too_little_memory_is_a_sentence_before_training(
  tmp_path, monkeypatch, scheme, block, remedy
):
  monkeypatch.setattr(memory, 'available', lambda _: 16 * memory.GIB)
  run = small.run(
    scheme=scheme,
    model=config.Model(layers=2, width=16, heads=2, block=block),
    evaluate=config.Evaluate(lengths=(12, LARGE), examples=2),
  )
  on = mesh.mesh(len(run.seeds), run.train.batch)
  # 3 H L^2 floats are 35.8 GiB.
  sentence = r'needs about 35\.8 GiB on each of 2 devices, .* has 16\.0 GiB'
  with pytest.raises(ValueError, match=sentence) as error:
    evaluate.Evaluator(run, on).check()
  assert error.match(remedy)
  failures = small.execute(tmp_path, run)
  assert 'machine has 16.0 GiB' in failures[run.digest]
  assert not list(tmp_path.rglob('checkpoints'))


FILE = """
from posexp.runs import config
from posexp import schemes
from tests import small

def grid():
  yield small.run()
  yield small.run(
    scheme=schemes.CoPE(), model=config.Model(layers=2, width=16, heads=2),
    evaluate=config.Evaluate(lengths=(12, 40000), examples=2))
"""


def test_the_command_line_says_so_before_any_run(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(memory, 'available', lambda _: 2**34)
  (tmp_path / 'large.py').write_text(FILE)
  words = 'posexp', 'run', str(tmp_path / 'large.py'), f'--workdir={tmp_path}/w'
  for more in ((), ('--dry_run',)):
    assert main.main([*words, *more]) == exit_codes.BAD_INPUT
    captured = capsys.readouterr()
    assert captured.err.startswith('posexp: Ordering: CoPE(): evaluating 40')
    assert captured.err.count('\n') == 1 and not captured.out
  assert not (tmp_path / 'w').exists()


def test_the_memory_of_this_machine_is_known():
  on = mesh.mesh(1, 1)
  assert 2**28 < memory.available(on) < 2**50
