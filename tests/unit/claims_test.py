"""Claims: exclusive, given back by death, never removed under an owner."""

import errno
import fcntl
import os
import signal
import subprocess
import sys

import pytest

from posexp.launch import locks

HOLD = """
import pathlib, sys, time
from posexp.launch import locks
with locks.claimed(pathlib.Path(sys.argv[1])) as claim:
  claim.say(launch='theirs', attempt=2, share=0.5)
  print('held', flush=True)
  time.sleep(600)
"""


@pytest.fixture
def other(tmp_path):
  """Another process that holds the claim of tmp_path."""
  process = subprocess.Popen(
    [sys.executable, '-c', HOLD, str(tmp_path)],
    stdout=subprocess.PIPE,
    text=True,
  )
  assert process.stdout.readline() == 'held\n'
  yield process
  process.kill()
  process.communicate()


def test_only_one_has_it_until_it_is_released(tmp_path):
  with locks.claimed(tmp_path) as first:
    assert first is not None and first.before == {}
    with locks.claimed(tmp_path) as second:
      assert second is None
    assert (tmp_path / 'claim').exists()
  assert not (tmp_path / 'claim').exists()
  with locks.claimed(tmp_path) as third:
    assert third is not None


def test_a_claim_dies_with_its_owner_and_tells_what_it_said(tmp_path, other):
  with locks.claimed(tmp_path) as claim:
    assert claim is None
  said, alive = locks.state(tmp_path)
  assert alive and said['pid'] == other.pid and said['share'] == 0.5
  other.send_signal(signal.SIGKILL)
  other.wait()
  said, alive = locks.state(tmp_path)
  assert not alive and said['attempt'] == 2
  with locks.claimed(tmp_path) as claim:
    assert claim.before['launch'] == 'theirs'
    assert claim.before['attempt'] == 2


def test_what_is_said_is_replaced_whole(tmp_path):
  with locks.claimed(tmp_path) as claim:
    claim.say(label='a long label that a shorter text follows', share=0.25)
    claim.say(label='short')
    said, alive = locks.state(tmp_path)
    assert alive
    assert (said['label'], said['share']) == ('short', 0.25)
    # Seconds, and no time of day, which another host would have to share.
    assert said['pid'] == os.getpid() and 0 <= said['seconds'] < 3600
  assert locks.state(tmp_path) is None


def test_a_claim_that_was_removed_between_opening_and_locking_is_taken_anew(
  tmp_path, monkeypatch
):
  lock, seen = fcntl.flock, []

  def once(descriptor, how):
    if not seen:  # Its owner is done and removes it at this moment.
      (tmp_path / 'claim').unlink()
    seen.append(descriptor)
    return lock(descriptor, how)

  monkeypatch.setattr(fcntl, 'flock', once)
  with locks.claimed(tmp_path) as claim:
    assert claim is not None and len(seen) == 2
    with locks.claimed(tmp_path) as second:
      assert second is None


def test_a_file_system_without_locks_is_a_sentence(tmp_path, monkeypatch):
  def none(*_):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

  monkeypatch.setattr(fcntl, 'flock', none)
  with (
    pytest.raises(ValueError, match=r'cannot be locked .*give another --work'),
    locks.claimed(tmp_path),
  ):
    pass


def test_half_a_word_is_no_word(tmp_path):
  (tmp_path / 'claim').write_text('{"pid": 1')
  assert locks.state(tmp_path) == ({}, False)
  with locks.claimed(tmp_path) as claim:
    assert claim.before == {}


def test_releasing_a_lost_claim_leaves_that_of_another(tmp_path):
  with locks.claimed(tmp_path) as claim:
    (tmp_path / locks.NAME).unlink()
    (tmp_path / locks.NAME).write_text('{"name": "of another"}')
    claim.say(share=0.5)
  assert locks.state(tmp_path) == ({'name': 'of another'}, False)
