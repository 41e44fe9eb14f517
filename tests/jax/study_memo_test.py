"""From records to a memo, end to end, and its numbers against the records."""

import functools
import math
import re

import numpy as np
import pytest

from posexp.cli import main
from posexp.reports import memo, memo_tables
from posexp.results import records
from posexp.studies import evidence, plan, verdict
from tests import study_made as made
from tests import study_recorded as recorded
from tests.recorded import part

# Markup, links, a table's bar and mathematics, where a name is expected.
HOSTILE = (
  ' <script>alert(1)</script> [x](javascript:alert) | `b` *c* $d$ '
  '<img src=x onerror=alert(1)> "e" &lt; _f_ ](y) \\'
)


@pytest.fixture(scope='module')
def work(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('study')
  study, written = recorded.write(workdir)
  return workdir, study, written


def test_a_memo_is_written_from_records(work, capsys):
  workdir, study, _ = work
  assert main.main(['posexp', 'memo', str(workdir)]) == 0
  out = capsys.readouterr().out
  assert 'First fix: remove the bias and keep base scaling' in out
  assert f'html: {workdir}/memo.html' in out
  text = (workdir / 'memo.md').read_text()
  first = text.splitlines()[:5]
  assert first[0].startswith('# What to fix first') and '32 to 64' in first[0]
  assert re.search(r'newest record 20\d\d-\d\d-\d\d', first[0])
  assert 'Question' in first[2] and 'fixed first?' in first[2]
  assert 'Answer' in first[4] and out.splitlines()[0] in first[4]
  for words in (
    '5 of 6 cells have finished: the memo is provisional',
    '99% in every task at 32 tokens on examples that nothing else uses',
    '5 of 6 (base 10,000)',
    'Text was not tested.',
    'The order of options may transfer.',
    'No run is adapted.',
    'posexp run experiments/regression.py',
    '615 seconds in total',
    'Device: cpu.',
    'posexp 0.1.0, jax 0.7.2',
    *(cell.digest for cell in study.cells),
  ):
    assert words in text, words
  assert '..' not in text.replace('...', '')
  page_ = made.Parser((workdir / 'memo.html').read_text())
  pictures = [a['src'] for tag, a in page_.tags if tag == 'img']
  assert len(pictures) == 4  # With that of the periods.
  assert all(p.startswith('data:image/png;base64,iVBOR') for p in pictures)
  rows = [n for n in text.splitlines() if n.startswith('| ')]
  cells_ = sum(line.count(' | ') + 1 for line in rows)
  named = [tag for tag, _ in page_.tags]
  tables = named.count('table')
  # The rule below each head is no row.
  rules_ = sum(n.count('---') for n in rows if n.startswith('| --- '))
  assert named.count('td') + named.count('th') == cells_ - rules_
  assert tables == sum(n.startswith('| --- ') for n in rows) >= 3
  assert not {'script', 'link', 'iframe'} & {tag for tag, _ in page_.tags}


def test_every_number_of_a_cell_is_that_of_its_records(work):
  workdir, study, written = work
  found = memo.load(workdir)
  table = memo_tables.cells(found, study.regimes[0])
  assert len(table.rows) == len(study.cells)
  for row in table.rows:
    said = dict(zip(table.head, row))
    if said['run'] not in written:
      assert said['accuracy at 32, %'] == 'not finished'
      continue
    arrays = written[said['run']]
    assert said['admitted'] == '5 of 6'
    lost = said['option'].startswith('deployed')
    assert said['collapsed seeds'] == ('1 of 5' if lost else '0 of 5')
    # Those of the root have passed the gate.
    least = 0.99 if said['option'] == 'root' else 0.0
    assert said['accuracy at 32, %'] == shown(arrays, 32, 0, least=least)
    assert said['ordering at 64, %'] == shown(arrays, 64, 0, tasks=[0])
    assert said['presence at 64, %'] == shown(arrays, 64, 0, tasks=[1])
    assert said['order errors at 64, %'] == shown(arrays, 64, 1)
    assert said['retrieval errors at 64, %'] == shown(arrays, 64, 2)
    assert said['short range, %'] == shown(arrays, 32, 0, tasks=[0], near=4)
    timed = said['option'] in ('root', 'base scaling alone')
    ratio = '1.00' if said['option'] == 'root' else '1.02'
    cost = f'{ratio} [{ratio}, {ratio}] at 200'
    assert said['decode ×'] == said['prefill ×'] == (cost if timed else '–')


def shown(arrays, length, kind, tasks=(0, 1), near=None, least=0.0):
  """Mean and interval over all seeds but 2, in plain loops.

  Where all seeds are at 1, the interval between `least` and 1 is Clopper and
  Pearson's.
  """
  seeds = []
  for outcome in np.delete(arrays[f'{length}/kind'], 2, axis=0).tolist():
    shares = []
    for task in tasks:
      hits = []
      for n, (own, k) in enumerate(
        zip(arrays[f'{length}/strata/task'].tolist(), outcome)
      ):
        distance = int(arrays[f'{length}/strata/evidence'][n])
        if own == task and (near is None or 1 <= distance <= near):
          hits.append(k == kind)
      assert hits
      shares.append(sum(hits) / len(hits))
    seeds.append(sum(shares) / len(shares))
  mean = sum(seeds) / 5
  if mean == 1:
    return f'100.0 [{100 * (least + (1 - least) * 0.025**0.2):.1f}, 100.0]'
  # Student's t of four degrees of freedom.
  variance = sum((share - mean) ** 2 for share in seeds) / 4
  half = 2.7764451052 * math.sqrt(variance / 5)
  low, high = mean - half, mean + half
  assert min(seeds) > 0.05 and max(seeds) < 0.95 and low > 0 and high < 1
  return f'{100 * mean:.1f} [{100 * low:.1f}, {100 * high:.1f}]'


def test_the_table_behind_a_memo(work):
  workdir, study, written = work
  found = evidence.load(workdir, study)
  table = found.cells
  assert tuple(table) == evidence.COLUMNS
  assert len(table) == len(written) * 6 * 2 * 2
  assert table.groupby('seed')['admitted'].unique().map(list).to_dict() == {
    seed: [seed != 2] for seed in recorded.SEEDS
  }
  assert (table['targets'] == recorded.TARGETS // 2).all()
  total = table[['token', 'order', 'retrieval']].sum(axis=1)
  np.testing.assert_allclose(total, 1, rtol=0, atol=1e-12)
  has = table['short'].notna()
  assert set(table.loc[has, 'task']) == {'ordering'}
  assert set(table.loc[has, 'length']) == {recorded.TRAINED}
  assert [cell.option for cell in found.missing] == ['YaRN']
  (case,) = verdict.verdicts(found)
  assert case.judged[plan.SCALED].latency.branch == 'pass'
  assert case.judged[plan.BIASED].latency.branch == 'not measured'


def test_a_seed_is_admitted_on_examples_of_the_gate(tmp_path, monkeypatch):
  """And by an older record on those that are reported, which is said."""
  record = recorded.record

  def told(run, **changes):
    return record(run) | changes

  everywhere = {'0': 0.99, '1': 0.99}
  by_task = {str(seed): everywhere for seed in recorded.SEEDS}
  by_task |= {'1': {'0': 1.0, '1': 0.98}, '3': {'0': 1.0}}
  monkeypatch.setattr(
    recorded, 'record', functools.partial(told, learned_by_task=by_task)
  )
  newer, older = tmp_path / 'newer', tmp_path / 'older'
  study, _ = recorded.write(newer)
  cells = evidence.load(newer, study).cells
  # In the table seed 2 did not learn, and 1 and 3 did.
  assert set(cells.loc[cells['admitted'], 'seed']) == {0, 2, 4, 5}
  monkeypatch.setattr(
    recorded, 'record', functools.partial(told, gate_examples=None)
  )
  study, _ = recorded.write(older)
  found = evidence.load(older, study)
  cells = found.cells
  assert set(cells.loc[cells['admitted'], 'seed']) == {0, 1, 3, 4, 5}
  text = memo.markdown(found, verdict.verdicts(found))
  assert 'The records are older than a gate on examples of its own' in text
  assert 'that nothing else uses' not in text


def test_a_collapse_is_told_with_its_seed_and_kind(work):
  workdir, study, _ = work
  found = evidence.load(workdir, study)
  table = found.collapse
  assert len(table) == 5 * 2 * len(recorded.SEEDS)
  (deployed,) = (c.digest for c in study.cells if c.option == plan.DEPLOYED)
  bad = table[table['collapsed']]
  assert bad[['digest', 'length', 'seed']].to_numpy().tolist() == [
    [deployed, recorded.TARGET, 1]
  ]
  assert main.main(['posexp', 'memo', str(workdir)]) == 0
  text = (workdir / 'memo.md').read_text()
  sentence = 'deployed (base scaling + bias) collapsed in seed 1 at 64 tokens: '
  assert f'{sentence}diffuse: 2 of 2 heads, normalised entropy' in text
  assert '### When attention collapsed' in text
  assert '- diffuse: of the heads that were focused' in text


@pytest.mark.parametrize('diagnostics', ['none', 'of heads that never focus'])
def test_a_collapse_that_nothing_shows_is_not_measured(
  tmp_path, monkeypatch, diagnostics
):
  record, attention = recorded.record, recorded.attention

  def older(run):
    return {k: v for k, v in record(run).items() if k != 'diagnostics'}

  if diagnostics == 'none':
    monkeypatch.setattr(recorded, 'record', older)
  else:
    never = functools.partial(attention, entropy=0.9)
    monkeypatch.setattr(recorded, 'attention', never)
  study, _ = recorded.write(tmp_path)
  found = evidence.load(tmp_path, study)
  assert found.collapse.empty
  (case,) = verdict.verdicts(found)
  assert case.judged[plan.DEPLOYED].stable.branch == 'not measured'


def test_a_damaged_run_is_missing(tmp_path):
  study, _ = recorded.write(tmp_path)
  cell = study.cells[1]
  record = records.run_directory(tmp_path, cell.digest) / 'record.json'
  path = part(record, 'outcomes')
  path.write_bytes(path.read_bytes()[:-1])
  with pytest.warns(UserWarning, match='are not those that were written'):
    found = evidence.load(tmp_path, study)
  assert cell in found.missing and len(found.missing) == 2
  assert plan.SCALED not in set(found.cells['option'])


def test_the_newest_measurement_counts(tmp_path):
  study, _ = recorded.write(tmp_path)
  recorded.measured(tmp_path, slower=1.5)
  table = evidence.load(tmp_path, study).latency
  scaled = table[table['digest'] == study.cells[1].digest]
  assert scaled['ratio'].tolist() == pytest.approx([1.52, 1.52])
  assert scaled['length'].tolist() == [200, 200]


def test_a_work_directory_of_no_finished_run(tmp_path, capsys):
  plan.write(tmp_path, made.regression())
  assert main.main(['posexp', 'memo', str(tmp_path)]) == 0
  assert 'Open, as runs that it needs have not finished.' in (
    capsys.readouterr().out
  )
  text = (tmp_path / 'memo.md').read_text()
  assert 'no record yet' in text and 'No run has finished.' in text
  assert '0 of 7 cells have finished' in text
  assert main.main(['posexp', 'memo', str(tmp_path / 'nowhere')]) == 2
  error = capsys.readouterr().err
  assert all(file in error for file in plan.FILES.values())
  assert error.count('\n') == 1


def test_too_few_names_of_tasks_is_a_sentence(work):
  workdir, study, _ = work
  few = plan.Study(**{**vars(study), 'tasks': ('ordering',)})
  with pytest.raises(
    ValueError, match=r'task of index 1, and study.json names 1'
  ):
    evidence.load(workdir, few)


def test_a_hostile_name_is_shown_and_never_read(tmp_path):
  recorded.write(tmp_path, hostile=HOSTILE)
  memo.write(tmp_path)
  parsed = made.Parser((tmp_path / 'memo.html').read_text())
  tags = {tag for tag, _ in parsed.tags}
  assert not tags & {'script', 'a'}
  for tag, attributes in parsed.tags:
    assert not any(name.startswith('on') for name in attributes), tag
    if tag == 'img':
      assert attributes['src'].startswith('data:image/png;base64,')
  # It is there, whole, in every place that it was put in.
  words = ' '.join(parsed.text.split())
  hostile = ' '.join(HOSTILE.split())
  for before in (
    *('quick', 'What is to be fixed first?', 'base 10,000', 'ordering'),
    *('Text was not tested.', 'The order of options may transfer.'),
  ):
    assert f'{before} {hostile}' in words, before
  # A bar in a name makes no column.
  rows = [
    line
    for line in (tmp_path / 'memo.md').read_text().splitlines()
    if line.startswith('|')
  ]
  assert {line.count('|') for line in rows} == {5, 6, 10, 15}
