"""What a process ends with; 128 and a signal, where that stopped it."""

import signal

DONE, FAILED, BAD_INPUT, FULL, INTERRUPTED = 0, 1, 2, 3, 130


def killed_by(code: int) -> str:
  """Return the name of the signal that ended a process, '' if none did.

  Args:
    code: negative for a signal, as `subprocess` has it, or 128 and the signal,
      as shells do. Programs end with 255 by themselves.

  >>> killed_by(-9), killed_by(143), killed_by(3), killed_by(255)
  ('SIGKILL', 'SIGTERM', '', '')
  """
  number = -code if code < 0 else code - 128
  if number not in signal.valid_signals():
    return ''
  try:
    return signal.Signals(number).name
  except ValueError:  # Real-time signals have no names.
    return f'signal {number}'
