"""Collapse is told where it is, and where it is not there is no alarm."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from posexp import schemes, tasks
from posexp.claims import collapse
from posexp.evaluation import diagnostics
from posexp.launch import job
from posexp.models import mesh
from posexp.results import attention_records, progress, records
from posexp.runs import config
from tests import recorded, small

HEALTHY = {'finite': 1.0, 'entropy': 0.3, 'first': 0.1, 'rank_share': 0.02}


def table(*heads, seed=3, digest='a' * 16, length=256):
  """Rows of a seed; a head is what changes from HEALTHY: (before, after)."""
  rows = []
  for n, changes in enumerate(heads):
    for measure, value in HEALTHY.items():
      before, after = changes.get(measure, (value, value))
      rows.append((0, n, measure, float('nan'), after, before))
    # Numbers by distance do not enter.
    rows.append((0, n, 'rank', 4.0, 99.0, 0.0))
  columns = ['layer', 'head', 'measure', 'distance', 'value', 'baseline']
  frame = pd.DataFrame(rows, columns=columns)
  return frame.assign(digest=digest, length=length, seed=seed)


def kinds(*heads):
  (verdict,) = collapse.verdict(table(*heads))
  assert verdict.collapsed == bool(verdict.kinds)
  return verdict.kinds


NAN = float('nan')
DIFFUSE = {'entropy': (0.3, 0.7)}
SINK = {'first': (0.2, 0.6)}
LOST = {'rank_share': (0.01, 0.4)}


@pytest.mark.parametrize(
  'heads, expected',
  [
    (({}, {}, {}), ()),
    ((DIFFUSE, DIFFUSE, {}), ('diffuse',)),
    # Half of the heads are not more than half.
    ((DIFFUSE, {}), ()),
    # Just short of half of the way to 1.
    (({'entropy': (0.3, 0.64)},), ()),
    # Focused before is what counts: the other was diffuse in training.
    ((DIFFUSE, {'entropy': (0.6, 0.95)}), ('diffuse',)),
    (({'entropy': (0.6, 0.95)},), ()),
    # A bias of recency makes a longer row more focused.
    (({'entropy': (0.4, 0.2)},), ()),
    ((SINK, SINK, {}), ('sink',)),
    ((SINK, {}), ()),
    # It rested there in training, or moved by little.
    (({'first': (0.55, 0.95)},), ()),
    (({'first': (0.4, 0.6)},), ()),
    (({'first': (0.05, 0.45)},), ()),
    ((LOST, LOST, {}), ('lost',)),
    ((LOST, {'rank_share': (0.5, 0.6)}), ('lost',)),
    # The best head still finds it.
    ((LOST, LOST, {'rank_share': (0.001, 0.02)}), ()),
    # Nobody ever found it; a head that gets better.
    (({'rank_share': (0.3, 0.6)},), ()),
    (({'rank_share': (0.4, 0.0)},), ()),
    # A task without known keys.
    (({'rank_share': (NAN, NAN)},), ()),
    (({'finite': (1.0, 0.99)}, {}, {}), ('not finite',)),
    (({'finite': (1, 0.0), 'entropy': (0.3, NAN)},), ('not finite',)),
    (({**DIFFUSE, **SINK, **LOST},), ('diffuse', 'sink', 'lost')),
  ],
)
def test_each_rule(heads, expected):
  assert kinds(*heads) == expected


def test_seeds_are_told_apart_with_their_numbers():
  both = pd.concat([table({}, {}, seed=5), table(DIFFUSE, DIFFUSE, {})])
  bad, good = collapse.verdict(both)
  assert (bad.seed, good.seed) == (3, 5)
  assert (bad.collapsed, good.collapsed) == (True, False)
  diffuse = {c.kind: c for c in bad.counts}['diffuse']
  assert (diffuse.hit, diffuse.heads) == (2, 3)
  assert diffuse.before == pytest.approx(0.3)
  assert diffuse.after == pytest.approx(1.7 / 3)
  assert collapse.text([bad, good]) == (
    '1 of 2 seeds collapsed at length 256: seed 3 (diffuse: 2 of 3 heads, '
    'normalised entropy 0.30 -> 0.57).'
  )
  healthy = collapse.text([good])
  assert healthy.startswith('0 of 1 seeds collapsed at length 256: seed 5')
  for kind, change in (('diffuse', 0.3), ('sink', 0.1), ('lost', 0.02)):
    count = {c.kind: c for c in good.counts}[kind]
    assert f'{kind}: 0 of 2 heads' in healthy and str(count) in healthy
    assert f'{change:.2f} -> {change:.2f}' in str(count)
  assert good.why.startswith('not collapsed: diffuse: 0 of 2 heads')


@pytest.mark.parametrize(
  'bad, sentence',
  [
    (table(), 'a verdict is on one digest, got 0: give the rows of one run'),
    (
      pd.concat([table({}), table({}, length=64)]),
      'a verdict is on one length, got 2: 256, 64: give',
    ),
    (
      pd.concat([table({}), table({}, digest='b')]),
      'a verdict is on one digest, got 2: a+, b: give',
    ),
    (table({}).assign(baseline=NAN), 'a{16} has no baselines: the record'),
  ],
)
def test_bad_tables_are_one_sentence(bad, sentence):
  with pytest.raises(ValueError, match=sentence):
    collapse.verdict(bad)


def test_no_verdicts_are_one_sentence():
  with pytest.raises(ValueError, match='no verdicts to tell: give'):
    collapse.text([])


@dataclasses.dataclass(frozen=True)
class ToFirst(schemes.Scheme):
  """All attention to the first token."""

  relative = False

  def bias(self, params, head, q_at, k_at):
    return jnp.where(k_at == 0, 50.0, 0.0)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  """A model that has learned to remember a bit, and its work directory."""
  run = small.run(
    task=tasks.FlipFlop(),
    scheme=schemes.RoPE(base=100.0),
    model=config.Model(layers=2, width=32, heads=2),
    train=config.Train(
      length=16, steps=200, batch=32, learning_rate=5e-3, warmup=20
    ),
    evaluate=config.Evaluate(lengths=(16, 32), examples=32),
  )
  workdir = tmp_path_factory.mktemp('trained')
  assert not small.execute(workdir, run)
  return run, workdir


def judged(run, workdir, length):
  rows = attention_records.load(workdir, [run.digest])
  return collapse.verdict(rows[rows['length'] == length])


def changed(trained, tmp_path, make, scheme=None):
  """Verdicts at the trained length on a model that was tampered with."""
  run, workdir = trained
  with progress.Progress(1.0, tmp_path / 'log.txt') as tell:
    params = jax.tree.map(np.array, job.weights(run, workdir, tell))
  make(params)
  on = mesh.mesh(len(run.seeds), run.train.batch)
  run = dataclasses.replace(run, scheme=scheme or run.scheme)
  params = mesh.pad_seeds(params, on, len(run.seeds))
  _, row = diagnostics.report(run, params, 16, on)
  before = records.whole(workdir, trained[0].digest)['diagnostics']
  for digest, parent, rows in (
    (recorded.A, None, before),
    (recorded.B, recorded.A, [row]),
  ):
    made = recorded.record(digest=digest, parent_digest=parent)
    made |= {'trained_length': 16, 'diagnostics': rows}
    records.write(tmp_path, made, recorded.outcomes())
  return collapse.verdict(attention_records.load(tmp_path, [recorded.B]))


def scale_queries(params, factor):
  for name, block in params.items():
    if name.startswith('block'):
      block['query']['kernel'] *= factor


def test_a_healthy_model_has_not_collapsed(trained):
  run, workdir = trained
  table = records.load(workdir)
  assert table.loc[table['length'] == 16, 'token'].min() > 0.99
  for length in (16, 32):
    verdicts = judged(run, workdir, length)
    assert [v.seed for v in verdicts] == [3, 5]
    assert not any(v.collapsed for v in verdicts), collapse.text(verdicts)
    # There is something to lose.
    for v in verdicts:
      heads = {c.kind: c.heads for c in v.counts}
      assert heads['diffuse'] and heads['sink'] and heads['lost']


def test_queries_of_zero_are_diffuse_and_lost(trained, tmp_path):
  verdicts = changed(trained, tmp_path, lambda p: scale_queries(p, 0))
  for v in verdicts:
    assert v.kinds == ('diffuse', 'lost')
    counts = {c.kind: c for c in v.counts}
    # Uniform, and with all keys alike the right one is in the middle.
    assert counts['diffuse'].after == pytest.approx(1, abs=1e-4)
    assert counts['lost'].after == pytest.approx(0.5, abs=1e-4)


def test_all_to_the_first_token_is_a_sink(trained, tmp_path):
  scheme = trained[0].scheme + ToFirst()
  for v in changed(trained, tmp_path, lambda p: None, scheme):
    assert v.kinds == ('sink',)
    assert {c.kind: c for c in v.counts}['sink'].after > 0.99


def test_weights_that_are_not_finite_are_told(trained, tmp_path):
  for v in changed(trained, tmp_path, lambda p: scale_queries(p, np.nan)):
    assert v.kinds == ('not finite',)
    assert v.why == 'not finite: 4 of 4 heads'


def test_a_record_holds_what_was_seen(trained):
  run, workdir = trained
  row = records.whole(workdir, run.digest)['diagnostics'][1]
  assert set(row) == {'length', 'bins', 'known', 'heads', 'binned'}
  assert np.shape(row['heads']['entropy']) == (2, 2, 2)
  assert np.shape(row['binned']['rank']) == (2, 2, 2, 5)
