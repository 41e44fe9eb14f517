"""Every command that README and docs show is executed, or said by what.

A command of posexp is executed as it stands, on records made by hand; one that
would train gets --dry_run. What takes long, or other machines, is in the table
`ELSEWHERE` with the test or script that executes it. So this fails where a page
shows a command that nothing executes, or a flag that there is not.
"""

import configparser
import pathlib
import re
import shlex
import subprocess

import numpy as np
import pytest

from posexp import schemes, tasks
from posexp.cli import flags, main
from posexp.cost import bench, flop_count
from posexp.results import records
from posexp.runs import config
from tests import small, study_recorded, written

COMMANDS = written.commands()
POSEXP = [c for c in COMMANDS if c.startswith('posexp')]

# What is not executed here: a pattern of commands, and where it is. A script is
# one that a person starts, and whose numbers stand in docs with their date.
ELSEWHERE = {
  r'posexp run .*--executor=ray': (
    'tests/e2e/cluster_test.py::test_a_grid_outlives_a_node_of_a_ray_cluster'
  ),
  r'posexp run .*--executor=slurm': (
    'tests/e2e/cluster_test.py::test_a_preempted_job_goes_on_where_it_was'
  ),
  r'posexp run .*--coordinator': (
    'tests/e2e/hosts_test.py::test_numbers_are_those_of_one_process'
  ),
  r'posexp run experiments/study_': (
    'tests/jax/studies_test.py::test_published_studies_are_planned'
  ),
  r'posexp compare .*--against': (
    'tests/unit/contrasts_test.py::test_all_pairs_are_labelled_as_exploratory'
  ),
  r'posexp run .*--track': (
    'tests/jax/track_test.py::test_a_grid_tells_its_tracker'
  ),
  r'posexp export .*--to=wandb': (
    'tests/unit/export_test.py::test_wandb_has_a_run_a_seed_and_every_number_once'
  ),
  r'posexp export .*--to=tensorboard': (
    'tests/unit/export_test.py::test_tensorboard_has_every_number_once'
  ),
  r'posexp figures .*--output': (
    'tests/unit/paper_test.py::'
    'test_the_command_draws_what_there_is_and_says_what_there_is_not'
  ),
  r'posexp measure': (
    'tests/jax/costs_test.py::test_measured_from_the_command_line'
  ),
  r'posexp bench': 'tests/e2e/commands_test.py::test_bench_has_a_row_a_scheme',
  r'posexp data': (
    'tests/jax/datasets_test.py::test_the_command_builds_lists_and_verifies'
  ),
  r'make quickstart': (
    'tests/e2e/notebooks_test.py::test_it_runs_from_end_to_end'
  ),
  r'make site': 'tests/e2e/docs_site_test.py::site',
  r'make crash-test|python -m tests.crash': 'tests/crash.py::main',
  r'make slurm-test': 'tests/slurm_cluster.py::main',
  r'make bench-peers': 'experiments/bench_peers.py::main',
  r'make gpu-check|python experiments/bench_gpu.py': (
    'tests/e2e/gpu_check_test.py::'
    'test_each_section_measures_what_it_says_and_once'
  ),
  r'make docs': (
    'tests/e2e/docs_test.py::test_the_written_docs_are_what_the_docstrings_say'
  ),
  r'make digests': (
    'tests/jax/datasets_test.py::test_what_is_drawn_here_is_what_was_published'
  ),
  r'make (check|test|test-all|test-oldest)$|python -m pytest': (
    'tests/conftest.py::pytest_configure'
  ),
  r'make calibration|python experiments/calibration.py': (
    'tests/unit/calibration_test.py::'
    'test_counts_are_the_same_whatever_is_computed_beside'
  ),
  r'python experiments/bench_data.py': (
    'tests/e2e/readme_test.py::'
    'test_the_time_of_reading_is_measured_as_the_readme_says'
  ),
  r'python experiments/bench_attention.py': (
    'experiments/bench_attention.py::main'
  ),
  r'python experiments/bench_layers.py': 'experiments/bench_layers.py::main',
  r'python experiments/bench_workers.py': 'experiments/bench_workers.py::main',
  r'python experiments/bench_grid.py': 'experiments/bench_grid.py::main',
}


@pytest.fixture(scope='module')
def made(tmp_path_factory):
  """A folder like that of the repository, with work directories in it."""
  folder = tmp_path_factory.mktemp('typed')
  (folder / 'experiments').symlink_to(written.ROOT / 'experiments')
  (block,) = {b for _, b in written.blocks('python') if 'SquareRoot' in b}
  (folder / 'my_question.py').write_text(block)
  for name in ('quickstart', 'my_question', 'same_scheme'):
    quickstart(folder / 'runs' / name)
  study_recorded.write(folder / 'runs' / 'study_choice-small')
  return folder


def quickstart(workdir):
  """Records of a trained run and of a retrofit."""
  root = config.Run(
    task=tasks.Ordering(symbols=16, queries=1, filler=4),
    scheme=schemes.RoPE(),
    train=config.Train(length=study_recorded.TRAINED),
    evaluate=config.Evaluate(lengths=(32, 64)),
    seeds=study_recorded.SEEDS,
  )
  for n, run in enumerate((root, root.retrofit(schemes.RoPE(schemes.NTK(2))))):
    outcomes = study_recorded.outcomes(n, 0.1, 0.1)
    for length in (32, 64):
      gap = np.arange(study_recorded.TARGETS, dtype=np.int32) % 8
      outcomes[f'{length}/strata/gap'] = gap
    mass = {str(seed): 0.1 for seed in study_recorded.SEEDS}
    row = {'length': 64, 'kind': 'phases', 'unseen': 0.5, 'mass': mass}
    record = study_recorded.record(run) | {'coverage': [row]}
    records.write(workdir, record, outcomes)


@pytest.fixture
def here(made, monkeypatch):
  """In that folder, where an estimate of a run costs nothing."""
  monkeypatch.chdir(made)
  monkeypatch.setattr(flop_count, 'matmul_rate', lambda *_: 1e11)
  monkeypatch.setattr(flop_count, 'run_flops', lambda _: 1e12)
  return made


def elsewhere(command):
  """Where a command is executed, if not here."""
  return [ELSEWHERE[p] for p in ELSEWHERE if re.match(p, command)][:1]


@pytest.mark.parametrize(
  'command', [c for c in POSEXP if not elsewhere(c)], ids=str
)
def test_a_command_does_what_it_says(command, here, capsys):
  _, name, *words = shlex.split(command)
  if name in ('run', 'evaluate'):
    words.append('--dry_run')
  before = sorted(here.rglob('record.json'))
  assert main.main(['posexp', name, *words]) == 0, capsys.readouterr().err
  assert capsys.readouterr().out.strip()
  assert sorted(here.rglob('record.json')) == before
  # What is said to be written is there.
  if name in ('report', 'figures', 'export', 'memo'):
    output = re.findall(r'--output=(\S+)', command) or words[:1]
    assert any(pathlib.Path(output[0]).rglob('*.*')), output


@pytest.mark.parametrize('command', POSEXP, ids=str)
def test_its_flags_are_those_of_posexp(command):
  _, name, *words = shlex.split(command)
  if name.startswith('--') or '--help' in words:
    return
  flags.parse(name, words, main.COMMANDS)  # Or it is refused.
  for word in words:
    if word.endswith('.py') and word != 'my_question.py':
      assert (written.ROOT / word).exists(), word


@pytest.mark.parametrize(
  'command', [c for c in COMMANDS if c not in POSEXP], ids=str
)
def test_what_else_is_shown_is_executed_by_something_that_there_is(command):
  program, *words = shlex.split(command)
  if program == 'pip':
    installable(words)
    return
  assert elsewhere(command), f'nothing executes {command}'
  if program == 'make':
    target(words)
  else:
    script(words)


def installable(words):
  """Extras that setup.cfg has, or a package of others."""
  setup = configparser.ConfigParser()
  setup.read(written.ROOT / 'setup.cfg')
  assert words[0] == 'install'
  for word in words[1:]:
    for extra in re.findall(r'^\.\[(\w+)\]$', word):
      assert extra in setup['options.extras_require'], extra


def target(words):
  """What make would do, without doing it."""
  ran = subprocess.run(
    ['make', '-n', *words], cwd=written.ROOT, capture_output=True, text=True
  )
  assert ran.returncode == 0, ran.stderr


def script(words):
  """A script that is there, and the flags that it reads."""
  path = pathlib.Path(words[0])
  if words[0] == '-m':
    path, words = pathlib.Path(f'{words[1].replace(".", "/")}.py'), words[1:]
    if path.name == 'pytest.py':
      return
  text = (written.ROOT / path).read_text()
  for flag in words[1:]:
    assert f"'{flag.partition('=')[0]}'" in text, f'{path} has no {flag}'


@pytest.mark.parametrize('pattern', ELSEWHERE)
def test_the_table_names_what_there_is_and_is_shown(pattern):
  path, _, name = ELSEWHERE[pattern].partition('::')
  text = (written.ROOT / path).read_text()
  assert re.search(rf'^def {name}\(', text, flags=re.M), ELSEWHERE[pattern]
  assert any(re.match(pattern, c) for c in COMMANDS), 'no page shows it'


@pytest.mark.parametrize(
  'line', ['rm -rf runs', "gcloud ssh --command='cd a && rm b'"]
)
def test_a_program_that_nobody_checks_is_found(line):
  with pytest.raises(ValueError, match='rm is a program'):
    list(written.commands_of(shlex.split(line)))


@pytest.mark.parametrize(
  'line',
  [
    'b/posexp show w',
    'srun -n 2 b/posexp show w',
    "gcloud ssh --command='cd a && b/posexp show w' --worker=all",
  ],
)
def test_commands_are_found_where_another_starts_them(line):
  found = list(written.commands_of(shlex.split(line)))
  assert found == [['posexp', 'show', 'w']]


def test_bench_has_a_row_a_scheme(monkeypatch, capsys):
  monkeypatch.setattr(bench, 'one_of_each', lambda: (schemes.NoPE(),))
  monkeypatch.setattr(bench, 'step_run', lambda one: small.run(scheme=one))
  monkeypatch.setattr(flop_count, 'matmul_rate', lambda *_, **__: 1e11)
  for name, value in (('ROUNDS', 1), ('CHUNK', 2)):
    monkeypatch.setattr(bench, name, value)
  assert main.main(['posexp', 'bench']) == 0
  *_, row = capsys.readouterr().out.splitlines()
  assert row.startswith('NoPE()') and row.endswith('1.00 (1.00, 1.00)')
