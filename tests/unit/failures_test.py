"""What is shown of an error, and how a process is seen to have ended."""

import functools
import sysconfig

import pytest

from posexp.component import user_code
from posexp.launch import exit_codes, failures

LIBRARY = 'def call(function):\n  return function()\n'


def defined(path, text):
  """Return the names that a file defines, as an import would."""
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(text)
  names = {}
  exec(compile(text, path, 'exec'), names)
  return names


def raised(function):
  with pytest.raises(ValueError) as caught:
    function()
  return caught.value


@pytest.mark.parametrize('kind', ['stdlib', 'purelib', 'platlib'])
def test_a_library_is_not_the_user_s_code_wherever_it_lies(
  kind, tmp_path, monkeypatch
):
  places = {
    name: str(tmp_path / name)
    for name in ('stdlib', 'platstdlib', 'purelib', 'platlib')
  }
  monkeypatch.setattr(sysconfig, 'get_path', places.__getitem__)
  asked = functools.cache(user_code._installed.__wrapped__)
  monkeypatch.setattr(user_code, '_installed', asked)
  library = defined(tmp_path / kind / 'compiled.py', LIBRARY)

  # Calls of this test are no file's: raised from a library alone.
  error = raised(
    lambda: library['call'](lambda: int('x'))  # In this very file.
  )
  trace = error.__traceback__.tb_next.tb_next
  assert trace.tb_frame.f_code.co_filename == str(
    tmp_path / kind / 'compiled.py'
  )
  assert failures.user_code(trace).tb_frame.f_code.co_filename == __file__
  own = defined(tmp_path / 'experiment.py', 'def own():\n  int("x")\n')['own']
  trace = raised(lambda: library['call'](own)).__traceback__.tb_next.tb_next
  first = failures.user_code(trace)
  assert first.tb_frame.f_code is own.__code__


def test_the_cause_of_an_error_is_shown_before_it(tmp_path):
  own = defined(
    tmp_path / 'experiment.py',
    'def own():\n'
    '  try:\n'
    '    {}["slope"]\n'
    '  except KeyError as error:\n'
    '    raise ValueError("no such setting") from error\n',
  )['own']
  shown = failures.shown(raised(own))
  assert shown.index("KeyError: 'slope'") < shown.index('the direct cause')
  assert shown.endswith('ValueError: no such setting')


@pytest.mark.parametrize(
  ('code', 'name'),
  [
    *((code, '') for code in (0, 1, 2, 3, 127, 128, 200, 255)),
    (-9, 'SIGKILL'),
    (137, 'SIGKILL'),
    (130, 'SIGINT'),
    (-40, 'signal 40'),
  ],
)
def test_a_code_beyond_all_signals_is_a_program_s_own(code, name):
  assert exit_codes.killed_by(code) == name
