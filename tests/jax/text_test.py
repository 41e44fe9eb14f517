"""Text: splits, packing, what it asks, and runs on it."""

import collections
import dataclasses
import hashlib
import itertools
import math

import jax
import numpy as np
import pytest

from posexp import data, schemes, tasks
from posexp.evaluation import evaluate
from posexp.models import transformer
from posexp.results import records
from posexp.runs import config
from tests import small
from tests.jax.corpora_test import DOCUMENTS, write
from tests.jax.evaluate_test import cross_entropy, initial

HELD_OUT = 0.5


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return write(tmp_path_factory.mktemp('text'))


@pytest.fixture(scope='module')
def task(folder):
  return data.Text(data.Folder(str(folder)), held_out=HELD_OUT)


def streams():
  """Both splits from their definition: documents in order of their hashes."""
  found = {'train': [], 'validation': []}
  for name in sorted(
    DOCUMENTS, key=lambda n: hashlib.sha256(n.encode()).hexdigest()
  ):
    word = int(hashlib.sha256(name.encode()).hexdigest()[:16], 16)
    split = 'validation' if word < HELD_OUT * 2**64 else 'train'
    found[split] += [*DOCUMENTS[name].encode(), 256]
  return found


STREAMS = streams()


@pytest.mark.parametrize('split', STREAMS)
def test_a_sequence_as_long_as_its_split_is_the_split(task, split):
  task = dataclasses.replace(task, split=split)
  stream = STREAMS[split]
  assert len(stream) > 50  # Neither split is a trifle.
  batch = task.sample(jax.random.key(0), length=len(stream), batch=1)
  assert np.asarray(batch.tokens_BxL).tolist() == [stream]


def test_a_sequence_starts_anywhere_in_its_split(task):
  stream = STREAMS['train']
  length = len(stream) - 3
  batch = jax.jit(task.sample, static_argnames=('length', 'batch'))(
    jax.random.key(1), length=length, batch=400
  )
  starts = collections.Counter(
    next(n for n in range(4) if stream[n : n + length] == row)
    for row in np.asarray(batch.tokens_BxL).tolist()
  )
  # Five standard deviations of a count of 400 at a quarter.
  assert all(abs(starts[n] - 100) < 5 * math.sqrt(75) for n in range(4))


def test_every_token_but_the_first_is_a_target_at_its_place(task):
  batch = task.sample(jax.random.key(0), length=20, batch=3)
  places = list(range(20))
  assert np.asarray(batch.targets_BxL).tolist() == [[n > 0 for n in places]] * 3
  assert not np.asarray(batch.ends_BxL).any()
  assert (np.asarray(batch.foils_BxLxC) == -1).all()
  want = [[-1, *places[1:]]] * 3
  assert np.asarray(batch.strata['place']).tolist() == want
  assert list(task.asked(20)) == places[1:]


def test_evaluation_draws_from_documents_held_out(task):
  for fold in (evaluate.FOLD, evaluate.GATE_FOLD):
    drawn = evaluate.examples(task, 24, 40, fold).tokens_BxL.tolist()
    for split, found in (('validation', True), ('train', False)):
      text = ''.join(map(chr, STREAMS[split]))
      inside = [''.join(map(chr, row)) in text for row in drawn]
      assert all(inside) if found else not all(inside)
  # What is searched for must not see them.
  drawn = evaluate.examples(task, 24, 40, fold=1).tokens_BxL.tolist()
  text = ''.join(map(chr, STREAMS['train']))
  assert all(''.join(map(chr, row)) in text for row in drawn)
  # The split that training asks for changes nothing.
  assert task.evaluated() == task.evaluated().evaluated()


def test_a_wrapped_task_is_evaluated_on_documents_held_out(task):
  held_out = task.evaluated()
  moved = tasks.Start(task, 2, 2)
  assert moved.evaluated() == tasks.Start(held_out, 2, 2)
  mixed = tasks.Mixture((task, tasks.Copy()), weights=(1, 3))
  assert mixed.evaluated().tasks == (held_out, tasks.Copy())
  assert mixed.evaluated().weights == (1, 3)
  assert moved.gate == mixed.gate == task.gate
  assert mixed.only(1).gate is tasks.Start(tasks.Copy()).gate is None


def test_other_documents_do_not_change_the_split_of_one(task, tmp_path):
  for name, text in {**DOCUMENTS, 'new.txt': 'new', 'z.txt': 'z'}.items():
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text, 'utf-8')
  more = dataclasses.replace(task, corpus=data.Folder(str(tmp_path)))
  for split, stream in STREAMS.items():
    size = more._streams()[split].size
    grown = dataclasses.replace(more, split=split)
    batch = grown.sample(jax.random.key(0), length=size, batch=1)
    documents = lambda s: bytes(min(t, 255) for t in s).split(b'\xff')
    assert set(documents(stream)) <= set(
      documents(batch.tokens_BxL[0].tolist())
    )


def test_chance_gate_and_answerers_by_counting(task):
  train, held = STREAMS['train'], STREAMS['validation']
  common = collections.Counter(train).most_common(1)[0][0]
  assert task.chance(20) == pytest.approx(held.count(common) / len(held))
  after = collections.defaultdict(collections.Counter)
  for one, other in itertools.pairwise(train):
    after[one][other] += 1
  # Of those that followed equally often, which one is said does not matter
  # for the definition, so the gate lies between the worst and the best.
  low = high = 0
  for one, other in itertools.pairwise(held):
    most = max(after[one].values(), default=0)
    ties = [t for t, n in after[one].items() if n == most]
    low += ties == [other]
    high += other in ties
  assert low <= round(task.gate * (len(held) - 1)) <= high < len(held) - 1
  tokens = np.asarray([held[:20], held[5:25]])
  asked = np.broadcast_to(np.arange(20) > 0, (2, 20))
  said = task.guesses(np.random.default_rng(0), tokens, asked)
  assert (said['random'][:, 1:] == common).all()
  assert said['recent'][:, 1:].tolist() == tokens[:, :-1].tolist()
  for row, answers in zip(tokens.tolist(), said['bag'][:, 1:].tolist()):
    (answer,) = set(answers)
    assert row.count(answer) == max(map(row.count, row))


def test_a_length_beyond_a_split_is_a_sentence(task):
  size = min(map(len, STREAMS.values()))
  task.check(size)
  with pytest.raises(ValueError, match=f'has {size} tokens, fewer than a sequ'):
    task.check(size + 1)


@pytest.mark.parametrize(
  'fields, value', [({'held_out': 1.0}, 'got 1:'), ({'split': 'test'}, 'test')]
)
def test_a_wrong_field_is_a_sentence(fields, value):
  with pytest.raises(ValueError, match=value):
    data.Text(**fields)


def test_a_windowed_evaluation_sees_its_window_and_no_more(task):
  base = small.run(
    task=task,
    scheme=schemes.NoPE(),
    evaluate=config.Evaluate(lengths=(20,), examples=3),
  )
  run = base.retrofit(
    base.scheme, evaluate=config.Evaluate(lengths=(20,), examples=3, window=8)
  )
  assert run.name == 'Text: NoPE() in windows of 8'
  on, params = initial(run)
  evaluator = evaluate.Evaluator(run, on)
  tokens = np.asarray(evaluate.examples(task, 20, 3).tokens_BxL)
  found = evaluator.predictions(params, tokens)
  net = transformer.of(run)
  one = jax.tree.map(lambda x: x[1], params)
  forward = jax.jit(lambda tokens: transformer.predict(net, one, tokens))
  for first in range(0, 13, 4):
    part = tokens[:, first : first + 8]
    logits = np.asarray(forward(part))
    asked = slice(0 if first == 0 else 3, 7)
    places = np.arange(first + 1, first + 8)[asked]
    said, nats = (x[1][:, places] for x in found)
    np.testing.assert_array_equal(said, logits[:, asked].argmax(-1))
    want = cross_entropy(logits[:, asked], part[:, 1:][:, asked])
    np.testing.assert_allclose(nats, want, atol=3e-6)
  # As long as its window, or without one, nothing is cut.
  whole = evaluate.Evaluator(base, on).predictions(params, tokens)
  same = [np.array_equal(x[..., :8], y[..., :8]) for x, y in zip(whole, found)]
  assert all(same) and not np.array_equal(whole.nats_SxBxL, found.nats_SxBxL)


def test_a_run_from_end_to_end(task, tmp_path):
  task = dataclasses.replace(task, held_out=0.4)
  trained = small.run(
    task=task, evaluate=config.Evaluate(lengths=(12, 24), examples=6)
  )
  cut = dataclasses.replace(trained.evaluate, window=12)
  windowed = trained.retrofit(trained.scheme, evaluate=cut)
  assert small.execute(tmp_path, trained, windowed) == {}
  table = records.load(tmp_path, [trained.digest, windowed.digest])
  for run in (trained, windowed):
    record = records.read(tmp_path, run.digest)
    assert record['gate'] == task.gate
    assert record['config']['task']['corpus']['source'] == task.corpus.source
    outcomes = records.outcomes(tmp_path, run.digest)
    rows = table[table['digest'] == run.digest].set_index(['length', 'seed'])
    for cell, group in outcomes.groupby(['length', 'seed']):
      assert len(group) == 6 * (cell[0] - 1)
      assert rows.loc[cell, 'nats'] == pytest.approx(group['nats'].mean())
    admitted = rows.loc[12, 'token'] >= task.gate
    assert (rows.loc[12, 'admitted'] == admitted).all()
  # Nothing is new within a window.
  new = records.coverage(tmp_path).groupby(['digest', 'length'])['unseen'].max()
  assert new[trained.digest, 24] > 0.1
  assert new[windowed.digest, 24] == new[trained.digest, 12] == 0
  nats = table.set_index(['digest', 'length', 'seed'])['nats']
  assert nats.between(1, 6).all()  # Uniform is log 257 = 5.5.
  inside, beyond = (nats.xs(n, level='length') for n in (12, 24))
  # Predicted by programs of 24 tokens and of 12: sums are in another order.
  np.testing.assert_allclose(
    inside[trained.digest], inside[windowed.digest], rtol=1e-6
  )
  assert (beyond[trained.digest] != beyond[windowed.digest]).all()
