"""The checks of fields: what is refused, in which words, and what is not."""

import dataclasses
import math

import pytest

from posexp import component, schemes


@dataclasses.dataclass(frozen=True)
class Sample(component.Component):
  """A field for each condition."""

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
  ({'count': 2.0}, 'count of Sample must be an int, got 2.0 (float): write'),
  ({'count': True}, 'count of Sample must be an int, got True (bool)'),
  ({'count': None}, 'count of Sample must be an int, got None'),
  ({'longest': 3}, 'longest of Sample must be at least count=4 and at most 64'),
  ({'longest': math.nan}, 'at most 64, got nan'),
  ({'longest': 'x'}, "longest of Sample must be a number, got 'x'"),
  ({'rate': 1}, 'rate of Sample must be above 0 and below 1, got 1'),
  ({'base': math.inf}, 'base of Sample must be finite and above 0, got inf'),
  ({'base': -1}, 'base of Sample must be finite and above 0, got -1'),
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
