"""The script for a GPU, at sizes that a CPU has time for."""

import json
import math
import os
import runpy
import signal
import subprocess
import sys
import time

import pytest

from posexp.cost import programs, sections
from tests import written

SCRIPT = written.ROOT / 'experiments' / 'bench_gpu.py'
# Stands where a CPU has no such thing, or no peak that anybody publishes.
NOT_HERE, UNKNOWN = 'not here', 'unknown'


def command(workdir, *words):
  return [sys.executable, str(SCRIPT), f'--workdir={workdir}', *words]


def call(workdir, *words):
  return subprocess.run(
    command(workdir, *words), capture_output=True, text=True, timeout=600
  )


def cases(workdir, section):
  """The results of a section; none as long as there is no file."""
  path = workdir / 'results.json'
  if not path.exists():
    return {}
  sections = json.loads(path.read_text()).get('sections', {})
  return sections.get(section, {}).get('cases', {})


def numbers(found):
  """All numbers of a result by name, those within others too."""
  for name, value in found.items():
    if isinstance(value, dict):
      yield from numbers(value)
    else:
      yield name, value


def test_a_section_is_measured_once(tmp_path, capsys):
  script = runpy.run_path(str(SCRIPT))
  for _ in range(2):
    results = sections.Results(tmp_path)
    assert not script['measure']('rates', script['TINY'], results)
  assert len(capsys.readouterr().out.splitlines()) == len(
    cases(tmp_path, 'rates')
  )
  check_rates(cases(tmp_path, 'rates'))


@pytest.mark.slow  # All of them compile for more than a minute.
def test_each_section_measures_what_it_says_and_once(tmp_path, capsys):
  script = runpy.run_path(str(SCRIPT))
  for section in script['SECTIONS']:
    results = sections.Results(tmp_path)
    assert not script['measure'](section, script['TINY'], results)
  before = results.path.read_text()
  check_rates(cases(tmp_path, 'rates'))
  check_laws(cases(tmp_path, 'laws'))
  check_speed(tmp_path)
  capsys.readouterr()
  for section in script['SECTIONS']:
    script['measure'](section, script['TINY'], sections.Results(tmp_path))
  assert not capsys.readouterr().out
  assert results.path.read_text() == before
  script['finish'](results)
  told = capsys.readouterr().out
  assert '0.5 of peak' in told and 'laws that hold: 21 of 21' in told


def test_what_does_not_fit_is_said(monkeypatch):
  script = runpy.run_path(str(SCRIPT))
  monkeypatch.setattr(programs, 'free_bytes', lambda: 10 * 2**10)
  _, attention = next(script['attention'](script['TINY'], None))
  found = attention()
  assert NOT_HERE in found.pop('cuDNN, no bias')
  assert len(found) == 4
  for result in found.values():
    assert 'GiB are needed and 9.54e-06 are free' in result['does not fit']


@pytest.mark.slow  # As a user has it, in a process for each section.
def test_it_goes_on_where_it_was_stopped(tmp_path):
  with subprocess.Popen(
    command(tmp_path, '--tiny'),
    start_new_session=True,
    stdout=subprocess.PIPE,
  ) as process:
    while not cases(tmp_path, 'laws'):
      assert process.poll() is None
      time.sleep(0.02)
    # As a machine is taken back: all its processes at once.
    os.killpg(process.pid, signal.SIGKILL)
  before = {n: cases(tmp_path, n) for n in ('rates', 'laws')}
  assert not cases(tmp_path, 'large')
  done = call(tmp_path, '--tiny')
  assert done.returncode == 0, done.stdout + done.stderr
  assert not any(line.startswith('rates ') for line in done.stdout.split('\n'))
  assert cases(tmp_path, 'rates') == before['rates']
  assert before['laws'].items() <= cases(tmp_path, 'laws').items()
  check_speed(tmp_path)
  assert 'laws that hold: 21 of 21' in done.stdout


def check_rates(found):
  assert set(found) == {'bfloat16', 'tensorfloat32', 'float32'}
  for result in found.values():
    assert result['FLOP/s'] > 0 and result['share of peak'] == UNKNOWN


def check_laws(found):
  here = {name: law for name, law in found.items() if NOT_HERE not in law}
  assert set(found) - set(here) == {
    'cuDNN is dense, bfloat16',
    'cuDNN is causal',
  }
  for name, law in here.items():
    assert law['holds'] and 0 <= law['error'] <= law['bound'], (name, law)
  # Numbers that were rounded are off, and are not the same twice.
  for dtype, least in (('float32', 1e-9), ('bfloat16', 1e-4)):
    assert here[f'CoPE(positions=16) is float64, {dtype}']['error'] > least


def check_speed(workdir):
  (large,) = cases(workdir, 'large').values()
  (packed,) = cases(workdir, 'packed').values()
  (decode,) = cases(workdir, 'decode').values()
  attention = cases(workdir, 'attention')
  assert len(attention) == 2
  assert set(decode) == {'RoPE()', 'ALiBi()', 'T5()'}
  for result in (large, packed, decode, *attention.values()):
    for name, value in numbers(result):
      if name == 'share of peak':
        assert value == UNKNOWN
      elif name != NOT_HERE:
        assert math.isfinite(value) and value > 0, (name, result)
  for result in attention.values():
    assert set(result) - {'cuDNN, no bias'} == {
      'kernel, no bias',
      'kernel, ALiBi',
      'blocks, ALiBi',
      'dense, ALiBi',
    }
    assert NOT_HERE in result['cuDNN, no bias']
  (whole,) = cases(workdir, 'quickstart').values()
  assert whole['seconds'] > 0 and whole['runs'] == whole['seeds'] == 1
  assert whole['seeds that learned'] == 0  # In three steps.


def test_no_gpu_is_a_sentence(tmp_path):
  done = call(tmp_path)
  assert done.returncode == 2 and 'Traceback' not in done.stderr
  assert 'JAX has found no GPU: install jax[cuda12]' in done.stderr
  assert not list(tmp_path.iterdir())
