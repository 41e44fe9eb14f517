"""The checks of fields: what is refused, in which words, and what is not."""

import dataclasses
import json
import math

import numpy as np
import pytest

from posexp import component, schemes
from posexp.runs import config


@dataclasses.dataclass(frozen=True)
class Sample(component.Component):
  """A field for each condition."""

  takes_rules = True
  count: int = component.field(4, kind=int, at_least=1, remedy='ask once')
  longest: int = component.field(8, at_least='count', at_most=64)
  rate: float = component.field(0.5, above=0, below=1)
  base: float = component.field(1e4, finite=True, above=0)
  width: int | None = component.field(None, even=True, at_least=2)
  eos: bool = component.field(True, kind=bool)
  ramp: str = component.field('index', one_of=('index', 'rotations'))
  part: component.Component = component.field(
    schemes.NoPE(), kind=schemes.Scheme, remedy='give one'
  )
  seeds: tuple[int, ...] = component.field((0, 1), each=True, at_least=0)


@dataclasses.dataclass(frozen=True)
class Doubled(Sample):
  """Another default, and a condition on two fields."""

  count: int = 2

  def __post_init__(self) -> None:
    super().__post_init__()
    component.require(self, 'longest', at_least=2 * self.count, remedy='raise')


REFUSED = (
  ({'count': 0}, 'count of Sample must be at least 1, got 0: ask once'),
  ({'count': 2.0}, 'count of Sample must be an int, got 2.0 (float): write 2'),
  ({'count': True}, 'count of Sample must be an int, got True (bool)'),
  ({'count': None}, 'count of Sample must be an int, got None'),
  ({'longest': 3}, 'longest of Sample must be at least count=4 and at most 64'),
  ({'longest': math.nan}, 'longest of Sample must be an int, got nan (float)'),
  ({'longest': 'x'}, "longest of Sample must be an int, got 'x'"),
  ({'rate': 1}, 'rate of Sample must be above 0 and below 1, got 1'),
  ({'base': math.inf}, 'base of Sample must be finite and above 0, got inf'),
  ({'base': -1}, 'base of Sample must be above 0, got -1'),
  ({'base': math.nan}, 'base of Sample must be finite, got nan'),
  ({'base': 10**400}, 'base of Sample must be finite and above 0, got inf'),
  ({'base': True}, 'base of Sample must be a number, got True'),
  ({'base': '1e4'}, "base of Sample must be a number, got '1e4'"),
  ({'ramp': 3}, 'ramp of Sample must be text, got 3'),
  ({'part': schemes.RoPE}, 'write RoPE() with its fields, not the class'),
  ({'part': 'RoPE()'}, "got 'RoPE()': give one without quotation marks"),
  ({'seeds': (0, 0.5)}, 'seeds of Sample must be an int, got 0.5 (float)'),
  ({'seeds': {0, 1}}, 'seeds of Sample must be a tuple, got {0, 1}'),
  ({'width': 3}, 'width of Sample must be even and at least 2, got 3'),
  ({'eos': 1}, 'eos of Sample must be True or False, got 1: write one'),
  ({'ramp': 'indx'}, "ramp of Sample cannot be 'indx' (did you mean index?)"),
  ({'part': 4}, 'part of Sample must be of type Scheme, got 4: give one'),
  ({'seeds': (0, -1)}, 'seeds of Sample must be at least 0, got -1'),
  ({'seeds': 3}, 'seeds of Sample must be a tuple, got 3'),
  ({'seeds': '12'}, "seeds of Sample must be a tuple, got '12'"),
)


@pytest.mark.parametrize('values, sentence', REFUSED)
def test_bad_values_are_refused(values, sentence):
  with pytest.raises(component.UserError) as refused:
    Sample(**values)
  assert sentence in str(refused.value)


def test_good_values_are_kept():
  sample = Sample(width=None, seeds=range(3), longest=64, rate=1e-9)
  assert sample.seeds == (0, 1, 2)
  assert Sample.from_dict(sample.to_dict()) == sample


def test_rules_pass_where_a_number_is_asked_for():
  rule = schemes.matched(4096)
  assert Sample(base=rule).base == rule
  with pytest.raises(component.UserError, match='must be an int'):
    Sample(count=rule)
  with pytest.raises(component.UserError, match='ramp of Sample must be text'):
    Sample(ramp=rule)
  with pytest.raises(component.UserError, match='rate of Train must be a num'):
    config.Train(learning_rate=rule)


def same(one, other):
  """Returns whether two components are one in every way that is saved."""
  return (one.identity(), repr(one)) == (other.identity(), repr(other))


def test_equal_values_are_one_value():
  """Of NumPy or Python, an integer or a float, a list or a tuple."""
  given = Sample(
    count=np.int64(3),
    rate=np.float64(0.25),
    base=2,
    width=np.asarray(4),
    eos=np.bool_(False),
    seeds=np.arange(2),
  )
  plain = Sample(count=3, rate=0.25, base=2.0, width=4, eos=False, seeds=(0, 1))
  assert same(given, plain)
  assert json.dumps(given.to_dict()) == json.dumps(plain.to_dict())
  assert same(Sample(seeds=[0, 1]), Sample()) and type(given.base) is float
  assert repr(Share(-0.0).identity()) == repr(Share(0).identity())


@dataclasses.dataclass(frozen=True)
class Share(component.Component):
  """A class that verifies nothing by itself."""

  of: float = 1
  also: tuple[float, ...] | None = None

  def __post_init__(self):
    pass


def test_what_is_left_to_the_class_is_settled_in_a_digest():
  assert Share(2).identity() == {**Share().identity(), 'of': 2.0}
  assert repr(Share(2).identity()) == repr(Share(2.0).identity())
  with pytest.raises(component.UserError, match='of Share must be a number'):
    Share('2').identity()


def test_what_cannot_be_saved_is_said():
  @dataclasses.dataclass(frozen=True)
  class Holds(component.Component):
    what: object

  with pytest.raises(
    component.UserError, match='what of Holds cannot be saved'
  ):
    Holds(abs).identity()


def test_fields_at_their_default_do_not_tell_apart():
  """Nor does a field that came later, at its default, change a record."""

  def old_and_new(**declared):
    kinds = [
      dataclasses.make_dataclass('Grown', fields, bases=(component.Component,))
      for fields in ([('size', int, 3)], [('size', int, 3), *declared.values()])
    ]
    for kind in kinds:
      kind.__module__ = 'posexp.grown'
    return kinds

  old, new = old_and_new(rate=('rate', float, component.field(0.5)))
  assert old(size=4).identity() == new(size=4).identity()
  assert old().identity() == new().identity() == {'type': 'Grown'}
  assert new(rate=1).identity() == {'type': 'Grown', 'rate': 1.0}
  assert new().to_dict() == {'type': 'Grown', 'size': 3, 'rate': 0.5}
  later = component.field(0.5, later=True)
  old, new = old_and_new(rate=('rate', float, later))
  assert old().to_dict() == new().to_dict()
  assert new(rate=1).to_dict() == {'type': 'Grown', 'size': 3, 'rate': 1.0}


def test_another_default_keeps_the_check():
  assert Doubled().count == 2
  with pytest.raises(component.UserError, match='of Doubled must be'):
    Doubled(count=0)


def test_a_bound_is_verified_before_what_it_bounds():
  with pytest.raises(component.UserError, match='count of Sample must be an'):
    Sample(count=None, longest=4)


def test_conditions_on_two_fields():
  with pytest.raises(component.UserError, match='at least 12, got 8: raise'):
    Doubled(count=6)


def test_a_class_of_a_user_needs_no_super_call():
  @dataclasses.dataclass(frozen=True)
  class UserScheme(schemes.Scheme):
    size: int = 3

    def __post_init__(self):
      assert self.size

  assert UserScheme(size=4).size == 4
