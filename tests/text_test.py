"""Text: documents, splits, packing, windows, and what goes wrong."""

import ast
import collections
import dataclasses
import hashlib
import itertools
import math
import pathlib
import sys

import jax
import numpy as np
import pytest

from posexp import (
  cli,
  config,
  datasets,
  evaluate,
  model,
  records,
  schemes,
  windows,
)
from posexp.datasets import corpora
from tests import small
from tests.evaluate_test import cross_entropy, initial

# By name, not in order; some are shorter than any sequence that is drawn.
WORDS = ['the', 'quick', 'brown', 'fox', 'jumps', 'over', 'a', 'lazy', '– dog']
DOCUMENTS = {
  f'{folder}{name}.txt': ' '.join(WORDS[n:] + WORDS[: n // 2])
  for n, name in enumerate('hgfedcba')
  for folder in ('', 'sub/')
}
HELD_OUT = 0.5


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  root = tmp_path_factory.mktemp('text')
  (root / 'sub').mkdir()
  for name, text in DOCUMENTS.items():
    (root / name).write_text(text, 'utf-8')
  (root / 'empty.txt').write_text('')
  (root / 'image.png').write_bytes(b'\xff\xfe')
  return root


@pytest.fixture(scope='module')
def task(folder):
  return datasets.Text(datasets.Folder(str(folder)), held_out=HELD_OUT)


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
  drawn = evaluate.examples(task, 24, 40).tokens_BxL.tolist()
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


def test_other_documents_do_not_change_the_split_of_one(task, tmp_path):
  for name, text in {**DOCUMENTS, 'new.txt': 'new', 'z.txt': 'z'}.items():
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text, 'utf-8')
  more = dataclasses.replace(task, corpus=datasets.Folder(str(tmp_path)))
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


def test_a_config_names_what_was_read(task, folder):
  digest = hashlib.sha256()
  for name in sorted(DOCUMENTS):
    for part in (name.encode(), DOCUMENTS[name].encode()):
      digest.update(len(part).to_bytes(8, 'big') + part)
  written = task.to_dict()
  assert written['corpus']['source'] == f'sha256:{digest.hexdigest()}'
  assert datasets.Text.from_dict(written) == task
  assert str(task) == f'Text(Folder(path={str(folder)!r}), held_out=0.5)'


@dataclasses.dataclass(frozen=True)
class Given(corpora.Corpus):
  """A corpus of a user's own."""

  texts: tuple[tuple[str, str], ...]

  def documents(self):
    return [corpora.Document(*text) for text in self.texts]


def test_a_digest_tells_names_and_texts_apart():
  texts = [('a', 'bc'), ('ab', 'c'), ('a', 'bd')]
  assert len({Given((text,)).source for text in texts}) == 3
  # In any order, and without those that say nothing.
  assert Given((*texts, ('e', ''))).source == Given((*texts[::-1],)).source
  written = Given((('a', 'bc'),)).to_dict()
  code, data = written['source'].split()
  assert len(code) == 16 and data == Given((('a', 'bc'),)).source
  assert corpora.Corpus.from_dict(written) == Given((('a', 'bc'),))


def test_the_standard_library_is_its_source():
  corpus = datasets.StandardLibrary()
  documents, digest = corpora.read(corpus)
  named = dict(documents)
  assert len(named) == len(documents) > 300
  import argparse

  path = pathlib.Path(argparse.__file__)
  assert named['argparse.py'] == path.read_bytes().decode()
  parts = {part for name in named for part in name.split('/')}
  assert not parts & {'test', 'tests', 'site-packages', '__pycache__'}
  assert not [name for name in named if '_sysconfigdata' in name]
  for name in ('heapq.py', 'json/decoder.py'):
    ast.parse(named[name])
  version = '.'.join(map(str, sys.version_info[:3]))
  assert f' {version} sha256:{digest}' in corpus.to_dict()['source']


def bad(tmp_path, text=None, **fields):
  if text is not None:
    (tmp_path / 'a.txt').write_bytes(text)
  corpus = datasets.Folder(str(tmp_path), **fields)
  return datasets.Text(corpus)


BAD = {
  'no folder': (
    lambda p: datasets.Text(datasets.Folder(str(p / 'none'))),
    "no folder '.*none': give the path",
  ),
  'an empty folder': (bad, r"has no file that matches '\*.txt': put"),
  'another pattern': (
    lambda p: bad(p, b'text', pattern='*.md'),
    r"has no file that matches '\*.md'",
  ),
  'only empty files': (lambda p: bad(p, b''), 'every document is empty'),
  'not UTF-8': (
    lambda p: bad(p, 'naïve'.encode('latin-1')),
    r'a\.txt is not UTF-8 text \(byte 0xef at 2\): convert it',
  ),
  'one document': (
    lambda p: bad(p, b'x' * 99),
    'split of .* has 0 tokens, fewer',
  ),
  'no such model': (
    lambda p: datasets.Text(tokenizer=datasets.SentencePiece(str(p / 'none'))),
    'SentencePiece',
  ),
}


@pytest.mark.parametrize('make, sentence', BAD.values(), ids=BAD)
def test_a_mistake_is_a_sentence_before_any_compute(tmp_path, make, sentence):
  with pytest.raises(ValueError, match=sentence) as caught:
    small.run(task=make(tmp_path))
  assert '\n' not in str(caught.value)


def test_a_length_beyond_a_split_is_a_sentence(task):
  size = min(map(len, STREAMS.values()))
  task.check(size)
  with pytest.raises(ValueError, match=f'has {size} tokens, fewer than a sequ'):
    task.check(size + 1)


@pytest.mark.parametrize('fields', [{'held_out': 1.0}, {'split': 'test'}])
def test_a_wrong_field_is_a_sentence(fields):
  with pytest.raises(ValueError, match=str(*fields.values())):
    datasets.Text(**fields)


def test_the_command_leaves_nothing_behind(tmp_path, monkeypatch, capsys):
  (tmp_path / 'texts').mkdir()
  (tmp_path / 'texts' / 'a.txt').write_bytes(b'\xff')
  (tmp_path / 'mine.py').write_text(
    'import posexp\n'
    'from posexp import datasets, schemes\n'
    'def grid():\n'
    "  task = datasets.Text(datasets.Folder('texts'))\n"
    '  yield posexp.Run(task=task, scheme=schemes.NoPE())\n'
  )
  monkeypatch.chdir(tmp_path)
  assert cli.main(['posexp', 'run', 'mine.py']) == cli.BAD_INPUT
  said = capsys.readouterr().err
  assert said.count('\n') == 1 and 'mine.py:5: texts/a.txt is not UTF-8' in said
  left = {p.name for p in tmp_path.rglob('*')} - {'__pycache__'}
  assert {n for n in left if not n.endswith('.pyc')} == {
    *('texts', 'a.txt', 'mine.py')
  }


def test_without_sentencepiece_the_extra_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, 'sentencepiece', None)
  with pytest.raises(ValueError, match=r"pip install 'posexp\[text\]'"):
    datasets.SentencePiece('a.model').encode('text')


def test_a_data_set_of_tfds(tmp_path):
  import tensorflow_datasets as tfds

  class TinyText(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version('1.2.0')

    def _info(self):
      return tfds.core.DatasetInfo(
        builder=self,
        features=tfds.features.FeaturesDict(
          {
            'text': tfds.features.Text(),
            'label': tfds.features.Scalar(dtype=np.int64),
          }
        ),
      )

    def _split_generators(self, manager):
      return {'train': self._generate_examples()}

    def _generate_examples(self):
      for n, text in enumerate(DOCUMENTS.values()):
        yield n, {'text': text, 'label': n}

  tfds.core.add_data_dir(tmp_path)
  builder = TinyText(file_format='array_record', data_dir=tmp_path)
  builder.download_and_prepare()
  corpus = datasets.Catalogue('tiny_text')
  documents, digest = corpora.read(corpus)
  assert sorted(d.text for d in documents) == sorted(DOCUMENTS.values())
  assert len({d.name for d in documents}) == len(DOCUMENTS)
  assert corpus.source == f'tiny_text/1.2.0 sha256:{digest}'
  some = datasets.Catalogue('tiny_text', split='train[:3]')
  assert [d.text for d in corpora.read(some)[0]] == [
    d.text for d in documents[:3]
  ]
  for fields, sentence in (
    ({'name': 'no_such_set'}, 'prepare it once with .*no_such_set'),
    ({'split': 'test'}, "split 'test' cannot be read"),
    ({'field': 'texts'}, r"no field 'texts' \(did you mean text\?\)"),
    ({'field': 'label'}, "field 'label' .* is no text: it holds int;"),
  ):
    wrong = datasets.Catalogue(**{'name': 'tiny_text', **fields})
    with pytest.raises(ValueError, match=sentence):
      corpora.read(wrong)


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_a_sentencepiece_model(folder, tmp_path):
  spm = pytest.importorskip('sentencepiece', reason='needs the extra [text]')
  (tmp_path / 'all.txt').write_text('\n'.join(DOCUMENTS.values()), 'utf-8')
  spm.SentencePieceTrainer.train(
    input=str(tmp_path / 'all.txt'),
    model_prefix=str(tmp_path / 'm'),
    vocab_size=60,
    hard_vocab_limit=False,
    minloglevel=2,
  )
  path = tmp_path / 'm.model'
  tokenizer = datasets.SentencePiece(str(path))
  plain = spm.SentencePieceProcessor(model_file=str(path))
  separator = plain.vocab_size()
  assert tokenizer.separator == separator == tokenizer.vocabulary - 1
  digest = hashlib.sha256(path.read_bytes()).hexdigest()
  assert tokenizer.to_dict()['source'] == f'sha256:{digest}'
  task = datasets.Text(datasets.Folder(str(folder)), tokenizer, HELD_OUT)
  size = task._streams()['train'].size
  batch = task.sample(jax.random.key(0), length=size, batch=1)
  pieces = [[]]
  for token in batch.tokens_BxL[0].tolist():
    pieces[-1].append(token) if token < separator else pieces.append([])
  texts = {plain.decode(ids) for ids in pieces[:-1]}
  assert texts and texts < set(DOCUMENTS.values())
  path.write_bytes(b'no model')
  with pytest.raises(ValueError, match=r'no SentencePiece model .*m2.model'):
    datasets.SentencePiece(str(path.rename(tmp_path / 'm2.model'))).vocabulary  # noqa: B018


@pytest.mark.parametrize('window', [2, 3, 8, 9])
def test_windows_cover_every_place_once(window):
  for length in range(window, 4 * window):
    tokens_BxL = np.arange(1, 1 + 2 * length).reshape(2, length)
    slid = windows.slide(tokens_BxL, window)
    assert slid.shape == (2 * windows.number(length, window), window)
    # Every token is told by how many stood before it in its window.
    before = np.broadcast_to(np.arange(window), (1, *slid.shape))
    again = windows.join(slid[None], length)
    assert again.tolist() == [tokens_BxL.tolist()]
    context = windows.join(before, length)[0, 0]
    assert context[:window].tolist() == list(range(window))
    assert set(context[window:]) <= set(range(window - window // 2, window))


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
  net = model.of(run)
  one = jax.tree.map(lambda x: x[1], params)
  forward = jax.jit(lambda tokens: model.predict(net, one, tokens))
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
  assert (inside[trained.digest] == inside[windowed.digest]).all()
  assert (beyond[trained.digest] != beyond[windowed.digest]).all()
