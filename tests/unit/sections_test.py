"""Sections: what is measured once, tried again, stopped, or refused."""

import json
import sys

import pytest

from posexp import component
from posexp.cost import peaks, sections


def fail(error):
  def work():
    raise error

  return work


def test_each_case_is_measured_once_and_what_failed_again(tmp_path, capsys):
  cases = [
    ('one', lambda: {'seconds': 0.5}),
    ('large', fail(RuntimeError('RESOURCE_EXHAUSTED: Out of memory\nmore'))),
    ('broken', fail(ValueError('no such kernel'))),
    ('law', lambda: {'holds': False}),
  ]
  assert sections.measure('all', cases, sections.Results(tmp_path)) == 1
  assert capsys.readouterr().out.split('\n')[1:3] == [
    'all        large: does not fit RuntimeError: RESOURCE_EXHAUSTED: Out of '
    'memory',
    'all        broken: failed ValueError: no such kernel',
  ]
  again = [(name, lambda: {'seconds': 0.25}) for name, _ in cases]
  assert sections.measure('all', again[:3], sections.Results(tmp_path)) == 0
  found = sections.Results(tmp_path).section('all')['cases']
  assert [found[n].get('seconds') for n, _ in cases] == [0.5, None, 0.25, None]
  # A law that was once broken is not forgotten.
  assert sections.measure('all', again, sections.Results(tmp_path)) == 1


def processes(**code):
  """Commands by section, each a line of Python."""
  return dict.fromkeys(code, 30.0), lambda name: [
    sys.executable,
    '-c',
    code[name],
  ]


def test_a_section_takes_nothing_with_it(tmp_path, capfd, monkeypatch):
  monkeypatch.setattr(sections, 'LEAST', 0.0)
  limits, command = processes(
    killed='import os; os.kill(os.getpid(), 9)',
    slow='import time; time.sleep(60)',
    good='print("measured")',
  )
  limits['slow'] = 0.2
  results = sections.Results(tmp_path)
  assert sections.run(limits, results, 1.0, command) == 1
  told = capfd.readouterr().out
  assert 'killed by signal 9' in told and 'slow       stopped at its' in told
  assert told.endswith('measured\n')
  body = json.loads(results.path.read_text())['sections']
  assert 0.2 <= body['slow']['seconds'] < 30 and body['good']['seconds'] > 0


SCRIPT = """
import os, sys
from posexp.cost import sections

results = sections.Results(sys.argv[1])

def second():
  if not os.path.exists(sys.argv[2]):
    open(sys.argv[2], 'w').close()
    os.kill(os.getpid(), 9)
  return {'seconds': 2.0}

cases = [('first', lambda: {'seconds': 1.0}), ('second', second)]
sys.exit(sections.measure('both', cases, results))
"""


def test_what_is_killed_goes_on_where_it_was(tmp_path, capfd):
  results = sections.Results(tmp_path)
  words = [
    sys.executable,
    '-c',
    SCRIPT,
    str(tmp_path),
    str(tmp_path / 'killed'),
  ]
  for code, told in ((1, 'first: seconds 1'), (0, 'second: seconds 2')):
    assert sections.run({'both': 30.0}, results, 1.0, lambda _: words) == code
    lines = capfd.readouterr().out.split('\n')
    assert [line for line in lines if 'seconds' in line] == [
      f'both       {told}'
    ]
  found = sections.Results(tmp_path).section('both')['cases']
  assert found == {'first': {'seconds': 1.0}, 'second': {'seconds': 2.0}}


def test_what_there_is_no_time_for_is_said(tmp_path, capfd):
  limits, command = processes(a='print("measured")', b='print("measured")')
  results = sections.Results(tmp_path)
  assert sections.run(limits, results, 0.1, command) == 0
  told = capfd.readouterr().out
  assert told.count('left out, as the 0.1 minutes are used up') == 2
  assert 'measured' not in told


def test_what_one_refuses_no_other_is_asked(tmp_path, capfd):
  limits, command = processes(a='raise SystemExit(2)', b='print("asked")')
  results = sections.Results(tmp_path)
  assert sections.run(limits, results, 1.0, command) == sections.REFUSED
  assert 'asked' not in capfd.readouterr().out


def test_results_of_another_machine_are_a_sentence(tmp_path):
  sections.Results(tmp_path).belong({'device': 'NVIDIA L4'})
  sections.Results(tmp_path).belong({'device': 'NVIDIA L4'})
  with pytest.raises(component.UserError, match='L4, and this is cpu: give'):
    sections.Results(tmp_path).belong({'device': 'cpu'})


@pytest.mark.parametrize(
  'kind, arithmetic, tera',
  [
    ('NVIDIA H100 80GB HBM3', 'bfloat16', 989.4),
    ('NVIDIA H100 PCIe', 'tensorfloat32', 378.0),
    ('NVIDIA H200', 'float32', 66.9),
    ('NVIDIA H200 NVL', 'bfloat16', 835.0),
    ('NVIDIA A100-PCIE-40GB', 'float32', 19.5),
    ('NVIDIA A100-SXM4-40GB MIG 1g.5gb', 'float32', None),
    ('NVIDIA L4', 'bfloat16', 121.0),
    ('NVIDIA L40S', 'bfloat16', None),
    ('Tesla T4', 'tensorfloat32', None),
    ('TPU v5 lite', 'bfloat16', None),
  ],
)
def test_a_peak_is_that_of_the_device_or_unknown(kind, arithmetic, tera):
  assert peaks.peak(kind, arithmetic) == (tera and tera * 1e12)
