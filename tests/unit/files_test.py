"""Where a user's own files are, with and without a home."""

import pathlib
import pwd

import pytest

from posexp import component
from posexp.results import files


@pytest.fixture(params=[None, ''], ids=['unset', 'empty'])
def no_home(request, monkeypatch):
  """A user of a container, without HOME, whom passwd does not know."""

  def unknown(uid):
    raise KeyError(uid)

  monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
  monkeypatch.setattr(pwd, 'getpwuid', unknown)
  if request.param is None:
    monkeypatch.delenv('HOME')
  else:
    monkeypatch.setenv('HOME', request.param)


def test_without_a_home_nothing_is_kept_and_a_tilde_is_refused(no_home):
  assert files.cache() is None
  assert files.local('runs/~x') == 'runs/~x'
  for text in ('~', '~/runs'):
    with pytest.raises(component.UserError, match='needs a home directory'):
      files.local(text)


def test_an_empty_home_is_that_of_passwd_and_not_the_root(monkeypatch):
  monkeypatch.setenv('HOME', '')
  monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
  entry = pwd.struct_passwd(('u', 'x', 1, 1, '', '/users/u', '/bin/sh'))
  monkeypatch.setattr(pwd, 'getpwuid', lambda uid: entry)
  assert files.cache() == pathlib.Path('/users/u/.cache/posexp')
  assert files.local('~/runs') == '/users/u/runs'
  monkeypatch.setenv('XDG_CACHE_HOME', '/cache')
  assert files.cache() == pathlib.Path('/cache/posexp')
