"""Progress: the estimate, the log file, and what was skipped."""

import sys
import types

from posexp.results import progress


def test_the_estimate_is_of_what_was_computed_and_not_skipped(
  tmp_path, monkeypatch, capsys
):
  now = [100.0]
  monkeypatch.setattr(progress.time, 'monotonic', lambda: now[0])
  with progress.Progress(100.0, tmp_path / 'log.txt') as tell:
    tell.skip(40.0)
    assert tell.remaining() == '?'
    now[0] = 110.0
    tell.advance(10.0, 'a run')
    # Ten units in ten seconds, fifty to go.
    assert tell.line() == ' 50.0 %       50 s left  a run'
    tell.note('done')
  told = capsys.readouterr().err.splitlines()
  assert told == [' 50.0 %       50 s left  a run', 'done']
  log = (tmp_path / 'log.txt').read_text().splitlines()
  assert [line[21:] for line in log] == told


def test_the_log_has_a_line_now_and_then(tmp_path, monkeypatch):
  now = [100.0]
  monkeypatch.setattr(progress.time, 'monotonic', lambda: now[0])
  with progress.Progress(100.0, tmp_path / 'log.txt') as tell:
    for step in range(1, 6):
      now[0] += 0.4 * progress.EVERY
      tell.advance(10.0, f'step {step}')
  log = (tmp_path / 'log.txt').read_text().splitlines()
  # The first at once, the next as soon as more than EVERY has passed.
  assert [line[-6:] for line in log] == ['step 1', 'step 4']


def test_only_a_kernel_is_a_notebook(tmp_path, monkeypatch):
  shell = types.SimpleNamespace()
  ipython = types.SimpleNamespace(get_ipython=lambda: shell)
  monkeypatch.setitem(sys.modules, 'IPython', ipython)
  # Trackers and tools for notebooks import it wherever they run.
  monkeypatch.setitem(sys.modules, 'ipykernel', types.ModuleType('ipykernel'))
  shown = []
  for kernel in (False, True):
    if kernel:
      shell.kernel = object()
    with progress.Progress(1.0, tmp_path / 'log.txt') as tell:
      shown.append(tell._live)
  assert shown == [False, True]
