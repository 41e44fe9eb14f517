"""A scheme from its text: what is written is what comes back."""

import pytest

from posexp import schemes
from tests import cases


@cases.every_scheme
def test_str_parses_back_to_the_same_scheme(scheme):
  assert schemes.parse(str(scheme)) == scheme


@pytest.mark.parametrize(
  ('text', 'scheme'),
  [
    (' RoPE ', schemes.RoPE()),
    ('RoPE(base=matched(4096))', schemes.RoPE(base=schemes.matched(4096))),
    ('T5(32, 64, scaled=False)', schemes.T5(32, 64, False)),
    ('RoPE(base=27.182818284)', schemes.RoPE(base=27.182818284)),
    (
      'RoPE(Linear(share(0.5)), base=matched(2048, value=5e5))',
      schemes.RoPE(
        schemes.Linear(schemes.share(0.5)),
        base=schemes.matched(2048, value=5e5),
      ),
    ),
    (
      'schemes.Interpolate(schemes.RoPE() + schemes.ALiBi(), 4)',
      schemes.Interpolate(schemes.RoPE() + schemes.ALiBi(), 4),
    ),
  ],
)
def test_an_expression_is_what_python_would_make(text, scheme):
  assert schemes.parse(text) == scheme
  assert schemes.parse(str(scheme)) == scheme
  assert schemes.parse(text).to_dict() == scheme.to_dict()


@pytest.mark.parametrize(
  ('text', 'sentence'),
  [
    ('', "cannot read ''"),
    ('RoPE(', "'(' was never closed"),
    ('(' * 300, 'cannot read'),
    (' + '.join(['ALiBi()'] * 99), 'nested too deeply'),
    ('RoPE(NKT(4))', "no scheme is called 'NKT' (did you mean NTK?)"),
    ('RoPE(bse=3)', "RoPE has no field 'bse' (did you mean base?)"),
    ('RoPE(base=3, base=4)', 'base is given twice'),
    (
      'RoPE(base="x")',
      "base of RoPE must be of type float or Relative, got 'x'",
    ),
    ('RoPE(4)', 'frequencies of RoPE must be of type Law, got 4'),
    ('Interpolate(NTK(4), 4)', 'scheme of Interpolate must be of type Scheme'),
    ('RoPE(base=-1)', 'base of RoPE must be above 1, got -1'),
    ('T5(buckets=7)', 'buckets of T5 must be even and at least 4, got 7'),
    ('RoPE(NTK)', "missing a required argument: 'factor'"),
    ('NTK(4)', "'NTK(4)' is not a scheme but may be part of one"),
    ('RoPE() + NTK(4)', 'only schemes can be added, got NTK(4)'),
    ('RoPE() - ALiBi()', "'RoPE() - ALiBi()' has no place in a scheme"),
    ('RoPE(**{})', 'has no place in a scheme'),
    ('Sum((RoPE(), ALiBi()))', "no scheme is called 'Sum'"),
    ('__import__("os")', "no scheme is called '__import__'"),
    ('RoPE.__class__()', "no scheme is called 'RoPE.__class__'"),
  ],
)
def test_what_cannot_be_read_is_one_sentence(text, sentence):
  with pytest.raises(ValueError) as raised:
    schemes.parse(text)
  assert sentence in str(raised.value)
  assert '\n' not in str(raised.value)
