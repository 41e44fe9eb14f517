"""What `posexp explain` says is what independent formulas give."""

import dataclasses
import math

import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest

from posexp import schemes
from posexp.cli import main
from posexp.cost import bench
from posexp.inspect import explain, rotation_scaling
from posexp.launch import exit_codes
from posexp.plots import explanation, paper, style
from posexp.reports import explanation_text
from posexp.results import explanations
from tests import cases
from tests.unit import figures_test

LENGTH, TARGET, HEADS, WIDTH = 8, 32, 2, 8


def small(scheme, **changes):
  sizes = {'train_length': LENGTH, 'target': TARGET}
  sizes |= {'heads': HEADS, 'head_width': WIDTH} | changes
  return explain.explain(scheme, **sizes)


def angles(base=1e4, width=WIDTH):
  return [base ** (-2 * k / width) for k in range(width // 2)]


def resolution(theta):
  """rms of q.(R_n - R_{n-1})k over rms of q.k: the mean of 2 - 2 cos."""
  return math.sqrt(sum(2 - 2 * math.cos(t) for t in theta) / len(theta))


def test_periods_are_two_pi_over_the_angle():
  (rotation,) = small(schemes.RoPE()).rotations
  expected = [2 * math.pi * 1e4 ** (2 * k / WIDTH) for k in range(WIDTH // 2)]
  np.testing.assert_allclose(rotation.after_K, expected, rtol=1e-12)
  assert not rotation.scaled and rotation.equalities == ()


@pytest.mark.parametrize('factor', [2, 4, 7.5])
def test_ntk_keeps_the_first_period_and_stretches_the_last_by_s(factor):
  (rotation,) = small(schemes.RoPE(schemes.NTK(factor))).rotations
  assert rotation.stretch_K[0] == 1 and rotation.factor == factor
  assert rotation.stretch_K[-1] == pytest.approx(factor, rel=1e-12)
  assert rotation.matched


@pytest.mark.parametrize(
  'scheme',
  [
    schemes.RoPE(schemes.Linear(4)),
    schemes.Interpolate(schemes.RoPE(), 4),
    schemes.ALiBi() + schemes.Interpolate(schemes.RoPE(schemes.Linear(2)), 2),
  ],
  ids=str,
)
def test_interpolation_stretches_all_alike_however_it_is_written(scheme):
  found = small(scheme)
  (rotation,) = found.rotations
  np.testing.assert_allclose(rotation.stretch_K, 4, rtol=1e-6)
  assert rotation.factor == pytest.approx(4) and not rotation.matched
  expected = resolution([t / 4 for t in angles()])
  np.testing.assert_allclose(found.content.change_N, expected, rtol=1e-4)
  plain = resolution(angles())
  np.testing.assert_allclose(found.content.plain_N, plain, rtol=1e-4)


def test_a_rotation_beside_others_has_its_own_positions():
  both = schemes.Interpolate(schemes.RoPE(), 4) + schemes.RoPE(base=100)
  one, two = small(both).rotations
  np.testing.assert_allclose(one.stretch_K, 4, rtol=1e-6)
  assert not two.scaled and two.after_K[-1] == pytest.approx(
    2 * math.pi * 100 ** (3 / 4)
  )


@pytest.mark.parametrize('law', [schemes.NTK(4), schemes.Linear(4)], ids=str)
def test_a_scaled_rotation_is_the_plain_one_at_other_angles(law):
  (rotation,) = small(schemes.RoPE(law)).rotations
  assert [check.distance for check in rotation.equalities] == [1, 7, 31]
  for check in rotation.equalities:
    # Angles up to 31 radians in float32, entries of order 1 to 4.
    assert check.own < 31 * 2**-23 * 8
    assert check.none > 0.05
    right = isinstance(law, schemes.Linear)
    assert (check.shared < 1e-4) == right and (check.shared > 0.5) != right


def test_a_rotation_that_is_none_is_caught():
  """The check is of `rotate`, not of the angles that a scheme reports."""

  class Wrong(schemes.RoPE):
    def rotate(self, params, x_BxLxHxE, at, side):
      return schemes.RoPE().rotate(params, x_BxLxHxE, at, side)

  wrong = Wrong(schemes.NTK(4))
  dims = schemes.Dims(8, 1, 8)
  (rotation,), _ = rotation_scaling.rotations(wrong, dims, (8, 32))
  assert rotation.matched and rotation.equalities[-1].own > 0.5


def test_the_score_of_equal_tokens_is_the_mean_cosine():
  content = small(schemes.RoPE(base=50)).content
  n = np.arange(1, TARGET)[:, None]
  expected = np.cos(n * np.array(angles(50))).mean(1)
  np.testing.assert_allclose(content.score_N, expected, atol=2e-5)
  assert content.plain_N is None


def test_an_alibi_step_is_its_slope():
  found = small(schemes.RoPE() + schemes.ALiBi(), heads=4)
  slopes = [2 ** (-8 * h / 4) for h in range(1, 5)]
  n = np.arange(TARGET)
  np.testing.assert_allclose(found.bias_HxT, -np.outer(slopes, n), rtol=1e-6)
  expected = np.repeat(np.array(slopes)[:, None], TARGET - 1, 1)
  np.testing.assert_allclose(found.step_HxN, expected, rtol=1e-5)


def test_t5_is_a_staircase_that_starts_every_stair_on_the_line():
  found = small(schemes.T5(buckets=4, max_distance=8))
  (stairs,) = found.stairs
  # Exact up to 2, then edges 2 * 4^(m/2): 4, from which all share the last.
  bucket = np.array([0, 1, 2, 2, *[3] * (TARGET - 4)])
  first = np.array([0, 1, 2, 4])[bucket]
  assert stairs.bucket_N.tolist() == bucket.tolist()
  slopes = np.array([2**-4, 2**-8])
  np.testing.assert_allclose(stairs.filled_HxN, -np.outer(slopes, first))
  line = -np.outer(slopes, np.arange(TARGET))
  np.testing.assert_allclose(stairs.alibi_HxN, line)
  np.testing.assert_array_equal(found.bias_HxT, stairs.filled_HxN)
  assert (found.step_HxN[0] > 0).nonzero()[0].tolist() == [0, 1, 3]
  assert found.content is None  # T5's rotation does not turn.


def test_a_sum_fills_only_its_tables():
  both = small(schemes.T5(buckets=4, max_distance=8) + schemes.ALiBi())
  alone = small(schemes.T5(buckets=4, max_distance=8))
  alibi = small(schemes.ALiBi())
  np.testing.assert_allclose(both.bias_HxT, alone.bias_HxT + alibi.bias_HxT)


def test_sinusoids_are_compared_by_their_inner_products():
  found = small(schemes.Sinusoidal())
  n = np.arange(TARGET)[:, None]
  expected = np.cos(n * np.array(angles(width=HEADS * WIDTH))).mean(1)
  np.testing.assert_allclose(found.similarity_T, expected, atol=1e-5)
  assert found.content is None and found.bias_HxT is None
  assert 'added to the input' in found.notes[0]
  assert small(schemes.Learned()).similarity_T is None


def test_a_long_target_is_sampled_and_agrees():
  scheme = schemes.RoPE(schemes.NTK(4)) + schemes.ALiBi()
  found = small(scheme, train_length=500, target=2000)
  n = found.distance_N
  assert len(n) < 400 and {1, 249, 499, 500, 999, 1999} <= set(n.tolist())
  base = 1e4 * 4 ** (WIDTH / (WIDTH - 2))
  expected = np.cos(n[:, None] * np.array(angles(base))).mean(1)
  # Angles up to 2,000 radians in float32.
  np.testing.assert_allclose(found.content.score_N, expected, atol=5e-4)
  assert '1999' in explanation_text.text(found)


def test_rules_are_resolved_at_the_trained_length():
  found = small(schemes.RoPE(base=schemes.matched(4096)), train_length=16)
  base = 1e4 ** (math.log(16 / (2 * math.pi)) / math.log(4096 / (2 * math.pi)))
  assert found.rotations[0].after_K[1] == pytest.approx(
    2 * math.pi * base ** (1 / 4)
  )


@dataclasses.dataclass(frozen=True)
class Still(schemes.Law):
  """Pairs that do not turn."""

  def scale(self, theta_K, *, base, width):
    return 0 * theta_K


@dataclasses.dataclass(frozen=True)
class Clock(schemes.Scheme):
  """A clock that depends on the content."""

  def locate(self, params, x_BxLxD, at, before):
    return jnp.cumsum(jnp.abs(x_BxLxD[..., 0]), axis=1)

  def bias(self, params, head, q_at, k_at):
    return k_at - q_at


@dataclasses.dataclass(frozen=True)
class Rows(schemes.Scheme):
  """Rows of logits as they are."""

  blockwise = False

  def rescore(self, params, logits_BxHxQxK, q_BxQxHxE, q_at, k_at):
    return logits_BxHxQxK


@pytest.mark.parametrize(
  ('scheme', 'sentence'),
  [
    (schemes.NoPE(), 'only the causal mask carries order'),
    (schemes.Learned(), 'initial values have no order'),
    (schemes.T5(), "filled with ALiBi's bias"),
    (schemes.RoPE(Still()), 'Distance changes no score'),
    (Clock(), 'shown for one random content'),
    (Rows(), 'changes whole rows of logits'),
  ],
  ids=str,
)
def test_what_cannot_be_shown_is_said(scheme, sentence):
  text = ' '.join(explanation_text.text(small(scheme)).split())
  assert sentence in text


@pytest.mark.parametrize(
  'scheme', (*bench.one_of_each(), *cases.CASES[-3:]), ids=str
)
def test_every_scheme_is_explained_in_a_terminal_and_drawn(scheme):
  found = small(scheme)
  text = explanation_text.text(found)
  assert max(map(len, text.splitlines())) <= 80
  assert 'nan' not in text and 'inf' not in text
  drawn = explanation.draw(found)
  if not any((found.rotations, found.content, found.similarity_T is not None)):
    assert (drawn is None) == (found.bias_HxT is None)


@pytest.mark.parametrize(
  ('text', 'length', 'heads'),
  [
    ('RoPE(NTK(4)) + ALiBi()', 64, 4),
    ('T5(16, 64)', 64, 6),
    ('Sinusoidal()', 200, 2),
    ('RoPE()', 128, 2),
  ],
)
def test_no_two_texts_of_a_figure_overlap_and_none_is_cut(text, length, heads):
  found = small(
    schemes.parse(text), train_length=length, target=256, heads=heads
  )
  drawn = explanation.draw(found)
  with matplotlib.rc_context(style.STYLE):
    drawn.draw_without_rendering()
    renderer = drawn.canvas.get_renderer()
    boxes = [
      (t, t.get_window_extent(renderer)) for t in figures_test.texts(drawn)
    ]
  width, height = drawn.get_size_inches() * drawn.dpi
  for place, (one, box) in enumerate(boxes):
    assert 0 <= box.x0 < box.x1 <= width, one.get_text()
    assert 0 <= box.y0 < box.y1 <= height, one.get_text()
    for two, other in boxes[:place]:
      assert not box.overlaps(other), (one.get_text(), two.get_text())


def call(*words):
  sizes = '--train_length=8', '--heads=2', '--head_width=8'
  return main.main(['posexp', 'explain', *sizes, *words])


def test_the_command_prints_tables_and_writes_figures(tmp_path, capsys):
  assert call('RoPE(NTK(4)) + ALiBi()', f'--output={tmp_path}/new') == 0
  out = capsys.readouterr().out
  assert 'trained at 8 tokens, target 32' in out
  assert 'first times 1, last times 4; it holds' in out
  for ending in ('png', 'pdf'):
    path = tmp_path / f'new/RoPE_NTK_4_ALiBi.{ending}'
    assert f'figure: {path}' in out and path.stat().st_size > 1000
  assert f'record: {tmp_path}/new/RoPE_NTK_4_ALiBi.npz' in out


def same(one, other):
  if isinstance(one, tuple):
    return len(one) == len(other) and all(map(same, one, other))
  if isinstance(one, np.ndarray):
    return one.dtype == other.dtype and np.array_equal(one, other)
  return one == other


@pytest.mark.parametrize(
  'text', ['RoPE(NTK(4)) + ALiBi()', 'RoPE(DroPE()) + T5()', 'Sinusoidal()']
)
def test_a_record_holds_every_number(tmp_path, text):
  found = explain.explain(schemes.parse(text), train_length=16, target=40)
  read = explanations.read(explanations.write(tmp_path / 'x.npz', found))
  assert same(read, found._replace(scheme=str(found.scheme)))
  one, other = map(explanation.draw, (found, read))
  assert paper.png(one) == paper.png(other)


@pytest.mark.parametrize('content', [b'', b'PK', b'{"found": 1}'])
def test_what_is_no_record_is_a_sentence(tmp_path, content):
  (tmp_path / 'x.npz').write_bytes(content)
  with pytest.raises(ValueError, match=r'x\.npz cannot be read as what'):
    explanations.read(tmp_path / 'x.npz')


@pytest.mark.parametrize(
  ('words', 'sentence'),
  [
    (['RoPe(NKT(4))'], "no scheme is called 'NKT' (did you mean NTK?)"),
    (['RoPE(base=-1)'], 'base of RoPE must be above 1, got -1'),
    (['RoPE(', '--target=32'], "cannot read 'RoPE('"),
    ([], '`posexp explain` needs SCHEME'),
    (['RoPE', '--train_length=1'], 'train_length must be at least 2, got 1'),
    (['RoPE', '--target=7'], 'target must be at least 8, got 7'),
    (['RoPE', '--target=9999999'], 'target must be at most 1048576, got 999'),
    (['RoPE', '--head_width=7'], 'head width must be even for RoPE, got 7'),
    (['RoPE', '--heads=0'], 'heads must be at least 1, got 0'),
    (['RoPE', '--heads=x'], "--heads must be a whole number, got 'x'"),
    (['Learned(rows=16)'], 'Learned has 16 rows but a length of 32 was asked'),
    (['RoPE', '--output=/dev/null/x'], 'give another with --output'),
  ],
)
def test_a_mistake_is_one_sentence(capsys, words, sentence):
  assert call(*words) == exit_codes.BAD_INPUT
  captured = capsys.readouterr()
  assert sentence in captured.err
  assert captured.err.count('\n') == 1 and captured.out == ''
