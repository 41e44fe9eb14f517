"""What an experiment file asks: planned contrasts, theirs and the default."""

import pathlib
import types

import pytest

import posexp
from posexp import component, schemes, tasks
from posexp.cli import main
from posexp.launch import asked, grid
from tests import small

ROPE = small.run()
NTK = ROPE.retrofit(schemes.RoPE(schemes.NTK(4)))
ALIBI = small.run(scheme=schemes.ALiBi())
RUNS = grid.plan([ROPE, NTK, ALIBI])
HERE = pathlib.Path(__file__)


def planned(runs=RUNS, launched=None, **names):
  """What a file with these names asks: run, against and length."""
  contrasts = asked.contrasts(
    HERE, types.SimpleNamespace(**names), runs, launched or runs
  )
  names = {run.digest: run for run in runs}
  return [(names[c.run], names[c.against], c.length) for c in contrasts]


def test_without_a_word_retrofits_meet_parents_and_runs_the_first():
  assert planned() == [(NTK, ROPE, 24), (ALIBI, ROPE, 24)]


def test_a_file_names_its_baseline_and_target():
  names = {'BASELINE': schemes.ALiBi(), 'TARGET': 12}
  both = [
    (ROPE, ALIBI, 12),
    (ROPE, ALIBI, 24),
    (NTK, ROPE, 12),
    (NTK, ROPE, 24),
  ]
  assert planned(**names) == both
  assert planned(BASELINE='ALiBi()', TARGET=12) == both


def test_a_file_says_what_it_asks():
  def contrasts(runs):
    rope, ntk, _ = runs
    yield posexp.Contrast(ntk, rope, 12, 'order')
    yield posexp.Contrast(ntk, rope)

  assert planned(contrasts=contrasts) == [(NTK, ROPE, 12), (NTK, ROPE, 24)]
  (one, _) = asked.contrasts(
    HERE, types.SimpleNamespace(contrasts=contrasts), RUNS, RUNS
  )
  assert (one.measure, one.label, one.baseline) == (
    'order',
    'RoPE() -> RoPE(NTK(4))',
    'RoPE()',
  )
  assert one.question == (str(ROPE.task), 12)


def test_what_is_not_launched_is_not_asked():
  assert planned(launched=[ROPE, ALIBI]) == [(ALIBI, ROPE, 24)]


def test_a_run_that_is_only_evaluated_again_is_compared_with_nothing():
  again = ROPE.retrofit(ROPE.scheme, evaluate=posexp.Evaluate(lengths=(48,)))
  assert planned(runs=grid.plan([*RUNS, again])) == planned()


@pytest.mark.parametrize(
  ('names', 'sentence'),
  [
    (
      {'BASELINE': schemes.T5()},
      r'BASELINE of .* is T5\(\), and no run .*RoPE\(\); .*: name one of them',
    ),
    ({'TARGET': 99}, r'TARGET of .* is 99, and no run .*12, 24.*: add it'),
    ({'contrasts': lambda runs: 3}, r'must yield posexp.Contrast .* got 3'),
    ({'contrasts': lambda runs: [3]}, r'must yield posexp.Contrast .* got 3'),
    ({'contrasts': lambda runs: []}, r'yields nothing, .* give at least one'),
    (
      {
        'contrasts': lambda runs: [
          posexp.Contrast(runs[0], small.run(scheme=schemes.NoPE()))
        ]
      },
      r'compares Ordering: NoPE\(\), which grid\(\) does not yield',
    ),
    (
      {'contrasts': lambda runs: [posexp.Contrast(runs[0], runs[0])]},
      'RoPE.. against itself: give another run',
    ),
  ],
)
def test_bad_plans_are_sentences(names, sentence):
  with pytest.raises(component.UserError, match=sentence):
    planned(**names)


@pytest.mark.parametrize(
  ('changes', 'sentence'),
  [
    ({'length': 36}, r'at which both are evaluated \(12, 24\), got 36: add it'),
    ({'measure': 'tokens'}, "measure of Contrast .*'tokens'"),
    (
      {
        'against': small.run(
          task=tasks.Presence(symbols=16, queries=1, filler=4)
        )
      },
      'compare runs that answer the same question',
    ),
  ],
)
def test_a_contrast_that_cannot_be_made_is_a_sentence(changes, sentence):
  with pytest.raises(component.UserError, match=sentence):
    posexp.Contrast(**{'run': NTK, 'against': ROPE, **changes})


def test_a_dry_run_lists_what_is_asked_and_writes_nothing(tmp_path, capsys):
  path = tmp_path / 'question.py'
  path.write_text(
    'import posexp\n'
    'from posexp import schemes, tasks\n'
    'BASELINE = schemes.ALiBi()\n'
    'def grid():\n'
    '  for scheme in (schemes.RoPE(), schemes.ALiBi()):\n'
    '    yield posexp.Run(task=tasks.Ordering(filler=4), scheme=scheme)\n'
  )
  words = ['posexp', 'run', str(path), f'--workdir={tmp_path / "w"}']
  assert main.main([*words, '--dry_run']) == 0
  said = capsys.readouterr().err
  assert '1 planned comparison, 3 seeds: a difference of 33 points' in said
  assert '  RoPE() against ALiBi() at 256 tokens' in said
  assert not (tmp_path / 'w').exists()
