"""Every notebook runs from end to end, and says what was measured."""

import json
import pathlib
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.special

from posexp.claims import contrasts
from posexp.reports import tables
from posexp.results import records

ROOT = pathlib.Path(__file__).parents[2]
FOLDER = ROOT / 'colab'
NAMES = ('quickstart', 'own_scheme', 'which_change', 'explain')
every_notebook = pytest.mark.parametrize('name', NAMES)
# Steps and examples of a look at the machinery.
FEW = 2, 4


def code(name):
  """The sources of a notebook's code cells."""
  body = json.loads((FOLDER / f'{name}.ipynb').read_text())
  cells = [cell for cell in body['cells'] if cell['cell_type'] == 'code']
  return [''.join(cell['source']) for cell in cells]


@pytest.fixture
def small(tmp_path, monkeypatch):
  """An environment in which a notebook computes next to nothing."""
  for variable, value in {
    'POSEXP_STEPS': FEW[0],
    'POSEXP_EXAMPLES': FEW[1],
    'POSEXP_WORKDIR': tmp_path / 'w',
    # Compiling is what takes the time of so few steps.
    'JAX_DISABLE_MOST_OPTIMIZATIONS': 1,
  }.items():
    monkeypatch.setenv(variable, str(value))
  return tmp_path / 'w'


def few_runs(folder):
  """The quickstart with one scheme and its retrofits, at two lengths."""
  text = (ROOT / 'experiments/quickstart.py').read_text()
  for cut in ('schemes.NoPE(), ', ' schemes.ALiBi()', ', 64, 128'):
    assert cut in text
    text = text.replace(cut, '')
  path = folder / 'few.py'
  path.write_text(text)
  return repr(str(path))


def fewer(name, folder):
  """What is put in place of what, so that fewer runs of each kind are made."""
  return {
    'quickstart': {
      "str(ROOT / 'experiments' / 'quickstart.py')": few_runs(folder)
    },
    'own_scheme': {'(SquareRoot(), schemes.RoPE(), ': '(SquareRoot(), '},
    'which_change': {
      "  'base reverted': schemes.RoPE() + schemes.ALiBi(),\n": '',
      "  'scaled otherwise': schemes.RoPE(schemes.YaRN(FACTOR, TRAINED))\n"
      '  + schemes.ALiBi(),\n': '',
    },
    'explain': {},
  }[name]


def executed(name, folder):
  """The notebook with its outputs."""
  reason = 'needs the extra [dev]'
  nbclient = pytest.importorskip('nbclient', reason=reason)
  nbformat = pytest.importorskip('nbformat', reason=reason)
  pytest.importorskip('ipykernel', reason=reason)
  notebook = nbformat.read(FOLDER / f'{name}.ipynb', as_version=4)
  nbformat.validate(notebook)
  whole = '\n'.join(code(name))
  for old, new in fewer(name, folder).items():
    assert whole.count(old) == 1, old
    for cell in notebook.cells:
      cell.source = cell.source.replace(old, new)
  where = {'metadata': {'path': str(FOLDER)}}
  return nbclient.NotebookClient(
    notebook, timeout=300, startup_timeout=300, resources=where
  ).execute()


@every_notebook
def test_it_runs_from_end_to_end(name, small):
  outputs = [
    output
    for cell in executed(name, small.parent).cells
    for output in cell.get('outputs', [])
  ]
  assert not [o for o in outputs if o.output_type == 'error']
  assert any('image/png' in output.get('data', {}) for output in outputs)
  printed = ''.join(o.text for o in outputs if o.get('name') == 'stdout')
  if name == 'explain':
    # ALiBi's steepest of four heads at the target, by its formula.
    assert f'{-255 * 2.0 ** (-8 / 4):6.2f}' in printed
    return
  # No run failed, and the table is the records', with how far each run came.
  assert any(o.get('data', {}).get('text/plain') == '{}' for o in outputs)
  configs = [record['config'] for record in records.read_all(small)]
  assert {c['train']['steps'] for c in configs} <= {0, FEW[0]}
  assert {c['evaluate']['examples'] for c in configs} == {FEW[1]}
  results = records.load(small)
  roots = results[(results['parent'] == '') & (results['ratio'] == 1)]
  for _, mine in roots.groupby('digest'):
    assert f'(mean {mine["token"].mean():.1%})' in printed
  whole = tables.text(results).splitlines()
  assert set(whole) <= set(printed.splitlines())
  assert 'Nothing was computed.' in printed  # The estimate comes first.


@every_notebook
def test_it_installs_first_and_keeps_no_output(name):
  text = (FOLDER / f'{name}.ipynb').read_text()
  body, sources = json.loads(text), code(name)
  assert sources[0] == code('quickstart')[0]
  assert "find_spec('posexp') is None" in sources[0]
  assert not any(cell.get('outputs') for cell in body['cells'])
  assert not any(cell.get('execution_count') for cell in body['cells'])
  assert not re.search(r'pypi|https?://|files\.pythonhosted', text, flags=re.I)
  assert 'not measured on others' in text and '@' not in sources[1]
  assert text.count('What to change next') == 1
  assert (body['nbformat'], body['nbformat_minor']) == (4, 5)
  assert len({cell['id'] for cell in body['cells']}) == len(body['cells'])


def test_where_posexp_is_not_found_it_is_installed(tmp_path, monkeypatch):
  source = code('quickstart')[0]
  calls = []
  monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
  monkeypatch.setattr(
    'subprocess.run', lambda command, **how: calls.append((command, how))
  )
  monkeypatch.chdir(FOLDER)
  exec(source, {})
  ((command, how),) = calls
  assert command[1:] == ['-m', 'pip', 'install', '-q', '.']
  assert (how['cwd'] / 'setup.cfg').resolve() == ROOT / 'setup.cfg'
  # Away from a clone: one must be named, and is cloned.
  monkeypatch.chdir(tmp_path)
  with pytest.raises(ValueError, match='REPOSITORY'):
    exec(source, {})
  calls.clear()
  exec(source.replace("REPOSITORY = ''", "REPOSITORY = 'address'"), {})
  assert calls[0][0][:4] == ['git', 'clone', '-q', 'address']
  assert str(calls[1][1]['cwd']) == calls[0][0][4]


DIGESTS = {name: name * 4 for name in ('deployed', 'bias', 'base', 'other')}


def made(shares, seeds=6, noise=0.01, admitted=True):
  """Results of options with given shares of order errors at the target."""
  draw, rows = np.random.default_rng(0), []
  for name, share in shares.items():
    for seed in range(seeds):
      for length in (32, 128):
        order = share + noise * draw.normal() if length == 128 else 0.0
        rows.append(
          {
            'digest': DIGESTS[name],
            'name': f'Ordering: {name}',
            'task': 'Ordering()',
            'trained_length': 32,
            'length': length,
            'seed': seed,
            'order': order,
            'targets': 2048,
            'steps': 0,
            'parameters': 1,
            'admitted': admitted,
          }
        )
  return pd.DataFrame(rows)


def verdict(shares, **how):
  """What the notebook says of options with these shares of order errors."""
  (source,) = (text for text in code('which_change') if 'def verdict' in text)
  space = {'contrasts': contrasts}
  exec(source[: source.index('\nfor schedule')], space)
  judge: Any = space['verdict']
  return list(judge(made(shares, **how), DIGESTS))


@pytest.mark.parametrize('culprit', ['bias', 'base', 'other'])
def test_the_verdict_names_the_change_that_the_records_name(culprit):
  shares = dict.fromkeys(DIGESTS, 0.6) | {culprit: 0.2}
  *lines, last = verdict(shares)
  assert last == f'verdict: change first: {culprit}'
  (mine,) = (line for line in lines if line.startswith(culprit))
  pattern = r': (.*) points .* \[(.*), (.*)\]'
  ((*numbers,),) = re.findall(pattern, mine)
  mean, low, high = (float(number) / 100 for number in numbers)
  # Bonferroni's interval for the six pairs, of a spread that is at least what
  # six seeds that succeed by chance would show.
  table = made(shares).query('length == 128')
  table = table.pivot(index='seed', columns='digest', values='order')
  d_N = table[DIGESTS[culprit]] - table[DIGESTS['deployed']]
  error = abs(d_N.mean()) / scipy.special.stdtrit(5, 1 - 4.0**-6)
  half = max(error, d_N.sem()) * scipy.special.stdtrit(5, 1 - 0.05 / 12)
  for end, sign in ((low, -1), (high, 1)):
    assert abs(d_N.mean() + sign * half - end) < 6e-4
  assert abs(mean - d_N.mean()) < 6e-4
  assert mine.endswith('6 seeds: fewer order errors')
  assert sum('no difference can be claimed' in line for line in lines) == 2


def test_the_verdict_may_be_that_nothing_can_be_claimed():
  shares = {'deployed': 0.6, 'bias': 0.5, 'base': 0.55, 'other': 0.7}
  *lines, last = verdict(shares, noise=0.2)
  assert all(line.endswith('no difference can be claimed') for line in lines)
  assert last == 'verdict: no single change is shown to mend the ordering'
  # What makes it worse is no fix, and two that tie are named together.
  worse = verdict(dict.fromkeys(DIGESTS, 0.3) | {'base': 0.6})
  assert worse[1].endswith('more order errors') and 'no single' in worse[-1]
  tied = verdict({**shares, 'deployed': 0.9, 'bias': 0.2, 'base': 0.2})
  assert re.fullmatch(
    r'verdict: change first: (bias|base), .* from: (bias|base)', tied[-1]
  )


def test_the_verdict_needs_seeds_that_learned_the_task():
  shares = dict.fromkeys(DIGESTS, 0.6) | {'bias': 0.2}
  for how in ({'seeds': 1}, {'admitted': False}):
    *lines, last = verdict(shares, **how)
    assert all('too few admitted seeds' in line for line in lines)
    assert 'no single change' in last
