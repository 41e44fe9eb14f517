"""Which edits of an experiment's code its digest notices, and which it must."""

import dataclasses
import importlib
import itertools
import linecache
import subprocess
import sys

import pytest

from posexp import component
from posexp.component import user_code

MINE = '''
"""An experiment with a scheme of its own."""
import dataclasses
import functools
import math

import numpy as np

import helpers
from helpers import halved

SLOPE = 0.5
TABLE = {'near': (1, 2), 'far': np.arange(3)}


def double(x):
  return 2 * x


def counted(method):
  @functools.wraps(method)
  def inner(self, x):
    return method(self, x) + 1
  return inner


def unused(x):
  return x + 100


class Rate:
  def __init__(self, value):
    self.value = value


RATE = Rate(3)


@dataclasses.dataclass(frozen=True)
class Base:
  """A base class."""

  strength: float = 0.5

  def bias(self, x):
    """Fall with distance."""
    return -SLOPE * self.strength * double(x)


@dataclasses.dataclass(frozen=True)
class Mine(Base):
  strength: float = 0.7
  sizes: tuple = dataclasses.field(default_factory=lambda: (1, 2))
  relative = True

  @counted
  def rotate(self, x, times=3):
    def inner(y):
      return y + TABLE['near'][0]
    return inner(x) * times * helpers.scale(x) + RATE.value

  @functools.cached_property
  def half(self):
    return halved(self.strength) + math.pi

  @property
  def again(self):
    return sorted([3, 1], key=lambda x: -x)
'''
HELPERS = """
FACTOR = 4
OTHER = 5

def scale(x):
  return deeper(x) * FACTOR

def deeper(x):
  return x if x < 1 else scale(x - 1)

def halved(x):
  return x / 2

def unused(x):
  return x + OTHER
"""

_number = itertools.count()


@pytest.fixture
def digest(tmp_path, monkeypatch):
  """Returns a function from the text of two modules to a digest."""

  def of(mine=MINE, helpers=HELPERS, source=True):
    folder = tmp_path / str(next(_number))
    folder.mkdir()
    (folder / 'mine.py').write_text(mine)
    (folder / 'helpers.py').write_text(helpers)
    for name in ('mine', 'helpers'):
      monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(folder)
    kind = importlib.import_module('mine').Mine
    if not source:
      (folder / 'mine.py').unlink()
      (folder / 'helpers.py').unlink()
      linecache.clearcache()
    return user_code.digest(kind)

  return of


# What decides a number, wherever the class reaches it.
EDITS = (
  ('-SLOPE * self', 'SLOPE * self'),
  ('SLOPE = 0.5', 'SLOPE = 0.6'),
  ('strength: float = 0.5', 'strength: float = 0.6'),
  ('strength: float = 0.7', 'strength: float = 0.8'),
  ('return 2 * x', 'return 3 * x'),
  ("'near': (1, 2)", "'near': (3, 2)"),
  ('np.arange(3)', 'np.arange(4)'),
  ('lambda: (1, 2)', 'lambda: (1, 3)'),
  ('relative = True', 'relative = False'),
  ('(self, x) + 1', '(self, x) + 2'),
  ('times=3', 'times=4'),
  ('return y + TABLE', 'return y - TABLE'),
  ('Rate(3)', 'Rate(4)'),
  ('self.value = value', 'self.value = value + 1'),
  ('+ math.pi', '- math.pi'),
  ('key=lambda x: -x', 'key=lambda x: x'),
  ('class Mine(Base)', 'class Mine(Base, Rate)'),
)
HELPER_EDITS = (
  ('FACTOR = 4', 'FACTOR = 5'),
  ('scale(x - 1)', 'scale(x - 2)'),
  ('return x / 2', 'return x / 3'),
)
# What decides none.
SAME = (
  ('"""A base class."""', '"""Another docstring,\n\n  of two lines."""'),
  ('    """Fall with distance."""\n', ''),
  ('SLOPE = 0.5', '\n\n# A comment.\nSLOPE = .50'),
  ('return 2 * x', 'return (2\n    * x)  # Twice.'),
  ('return x + 100', 'return x + 101'),
  ('def double(x):', 'def double(x: float) -> float:'),
)


@pytest.mark.parametrize('source', [True, False], ids=['source', 'code'])
@pytest.mark.parametrize('edit', EDITS, ids=str)
def test_an_edit_of_what_a_class_rests_on_is_noticed(digest, edit, source):
  edited = MINE.replace(*edit)
  assert edited != MINE
  assert digest(edited, source=source) != digest(source=source)


@pytest.mark.parametrize('source', [True, False], ids=['source', 'code'])
@pytest.mark.parametrize('edit', HELPER_EDITS, ids=str)
def test_an_edit_of_an_imported_helper_is_noticed(digest, edit, source):
  edited = HELPERS.replace(*edit)
  assert digest(helpers=edited, source=source) != digest(source=source)


@pytest.mark.parametrize('source', [True, False], ids=['source', 'code'])
@pytest.mark.parametrize('edit', SAME, ids=str)
def test_what_decides_nothing_is_left_out(digest, edit, source):
  edited = MINE.replace(*edit)
  assert edited != MINE
  assert digest(edited, source=source) == digest(source=source)
  assert digest(
    helpers=HELPERS.replace('OTHER = 5', 'OTHER = 6'), source=source
  ) == digest(source=source)


def test_code_that_was_edited_after_its_import_is_not_taken_for_the_new(
  digest, tmp_path
):
  before = digest()
  folder = tmp_path / str(next(_number) - 1)
  (folder / 'mine.py').write_text(MINE.replace('return 2 * x', 'return 3 * x'))
  # What this process goes on with is what it has imported.
  assert user_code.digest(sys.modules['mine'].Mine) == before
  edited = digest(MINE.replace('return 2 * x', 'return 3 * x'))
  # A function that no longer has its source is told by its instructions.
  assert len({before, edited, digest_of_imported(folder)}) == 3


def digest_of_imported(folder):
  """The digest of a module that is imported, and edited before it is asked."""
  (folder / 'late.py').write_text(MINE)
  late = importlib.import_module('late')
  (folder / 'late.py').write_text(MINE.replace('return 2 * x', 'return 3 * x'))
  return user_code.digest(late.Mine)


def test_a_helper_that_is_bound_anew_is_noticed(digest):
  before = digest()
  mine = sys.modules['mine']
  mine.double = mine.unused
  assert user_code.digest(mine.Mine) != before


def test_every_process_has_the_same_digest(digest, tmp_path):
  """Whatever the seed of hashes, with and without a cache of bytecode."""
  here = digest()
  folder = tmp_path / str(next(_number) - 1)
  code = (
    'import mine; from posexp.component import user_code; '
    'print(user_code.digest(mine.Mine))'
  )
  for seed in ('1', '2'):
    done = subprocess.run(
      [sys.executable, '-c', code],
      env={
        'PYTHONPATH': ':'.join([str(folder), *sys.path]),
        'PYTHONHASHSEED': seed,
      },
      capture_output=True,
      text=True,
      check=True,
    )
    assert done.stdout.strip() == here


def test_a_function_may_import_where_it_runs(digest):
  local = MINE.replace(
    'return 2 * x', 'from helpers import deeper\n  return deeper(x)'
  )
  edited = HELPERS.replace('x if x < 1', 'x if x < 2')
  unused = HELPERS.replace('return x + OTHER', 'return x - OTHER')
  assert digest(local) != digest(local, edited)
  assert digest(local) == digest(local, unused)


def strength():
  return 1


@dataclasses.dataclass(frozen=True)
class Strong(component.Component):
  times: int = 2

  def value(self):
    return self.times * strength()


def test_what_is_kept_of_a_class_is_of_the_code_that_it_uses_now(monkeypatch):
  """As in a notebook, where the cell of a helper alone is run again."""
  made = []

  @component.cached(maxsize=4)
  def value(strong, more):
    made.append(strong)
    return strong.value() + more

  assert [value(Strong(), 1), value(Strong(), 1), value(Strong(3), 1)] == [
    3,
    3,
    4,
  ]
  assert made == [Strong(), Strong(3)]
  monkeypatch.setitem(globals(), 'strength', lambda: 10)
  assert value(Strong(), 1) == 21


KEPT = """
import collections, contextlib, dataclasses, functools, re, types
import numpy as np

def one(x):
  return 1 + x

class Slotted:
  __slots__ = ('x',)
  def __init__(self, x):
    self.x = x

class More(dict):
  pass

@functools.singledispatch
def kind(x):
  return 1

MEMO = {}
VALUE = EXPRESSION

@dataclasses.dataclass(frozen=True)
class Mine:
  def bias(self, x):
    MEMO[x] = MEMO.get(x, 0) + 1
    return VALUE, x
"""
# Two values of which a class makes two schemes, whatever they print as.
VALUES = (
  ("re.compile('a' * 300 + 'b')", "re.compile('a' * 300 + 'c')"),
  ('np.arange(2000)[::2]', 'np.arange(2000)[1::2]'),
  ('np.array([1, one], object)', "np.array([1, 'x'], object)"),
  ('np.ma.array([1, 2], mask=[0, 1])', 'np.ma.array([1, 2], mask=[1, 0])'),
  ('np.random.default_rng(1)', 'np.random.default_rng(2)'),
  ('types.SimpleNamespace(f=one)', 'types.SimpleNamespace(f=kind)'),
  ('collections.deque([one])', 'collections.deque([kind])'),
  ('collections.defaultdict(int)', 'collections.defaultdict(list)'),
  ('Slotted(1)', 'Slotted(2)'),
  ('More(a=1)', 'More(a=2)'),
  ("'a'.upper", "'b'.upper"),
  ('functools.partialmethod(one, 1)', 'functools.partialmethod(one, 2)'),
  # Functions that a library wraps.
  (
    'contextlib.contextmanager(lambda: iter([1]))',
    'contextlib.contextmanager(lambda: iter([2]))',
  ),
  (
    'functools.singledispatch(lambda x: 1)',
    'functools.singledispatch(lambda x: 2)',
  ),
  ('functools.lru_cache(lambda x: 1)', 'functools.lru_cache(lambda x: 2)'),
)


@pytest.mark.parametrize('values', VALUES, ids=lambda pair: pair[0][:30])
def test_every_kind_of_value_is_looked_into(digest, values):
  one, other = (KEPT.replace('EXPRESSION', value) for value in values)
  assert digest(one) != digest(other)
  assert digest(one) == digest(one)


def test_what_a_function_keeps_for_its_next_call_is_no_code(digest):
  before = digest(KEPT.replace('EXPRESSION', '1'))
  mine = sys.modules['mine']
  mine.Mine().bias(3)
  assert mine.MEMO and user_code.digest(mine.Mine) == before


def test_a_file_that_is_edited_while_it_runs_changes_nothing(digest, tmp_path):
  before = digest()
  path = tmp_path / str(next(_number) - 1) / 'mine.py'
  path.write_text('# A comment.\n' + MINE)
  assert user_code.digest(sys.modules['mine'].Mine) == before


def test_a_neighbour_that_is_imported_in_a_function_is_noticed(
  tmp_path, monkeypatch
):
  package = f'package_{next(_number)}'
  folder = tmp_path / package
  folder.mkdir()
  (folder / '__init__.py').write_text('')
  (folder / 'own.py').write_text(
    'class Mine:\n'
    '  def bias(self, x):\n'
    '    from . import helper\n'
    '    return helper.double(x)\n'
  )
  monkeypatch.syspath_prepend(tmp_path)
  digests = set()
  for factor in (2, 3):
    text = f'def double(x):\n  return {factor} * x\n'
    (folder / 'helper.py').write_text(text)
    for name in ('own', 'helper'):
      monkeypatch.delitem(sys.modules, f'{package}.{name}', raising=False)
    importlib.invalidate_caches()
    linecache.clearcache()
    digests.add(
      user_code.digest(importlib.import_module(f'{package}.own').Mine)
    )
  assert len(digests) == 2
