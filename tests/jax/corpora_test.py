"""Corpora and tokenizers: what is read, its digest, and what goes wrong."""

import ast
import dataclasses
import hashlib
import os
import pathlib
import sys

import jax
import numpy as np
import pytest

from posexp import data as data_lib
from posexp.cli import main
from posexp.data import corpora
from posexp.launch import exit_codes
from tests import small

# By name, not in order; some are shorter than any sequence that is drawn.
WORDS = ['the', 'quick', 'brown', 'fox', 'jumps', 'over', 'a', 'lazy', '– dog']
DOCUMENTS = {
  f'{folder}{name}.txt': ' '.join(WORDS[n:] + WORDS[: n // 2])
  for n, name in enumerate('hgfedcba')
  for folder in ('', 'sub/')
}


def write(root):
  """The documents as files, beside what is no document."""
  (root / 'sub').mkdir()
  for name, text in DOCUMENTS.items():
    (root / name).write_text(text, 'utf-8')
  (root / 'empty.txt').write_text('')
  (root / 'image.png').write_bytes(b'\xff\xfe')
  return root


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return write(tmp_path_factory.mktemp('text'))


@pytest.fixture(scope='module')
def task(folder):
  return data_lib.Text(data_lib.Folder(str(folder)), held_out=0.5)


def test_a_config_names_what_was_read(task, folder):
  digest = hashlib.sha256()
  for name in sorted(DOCUMENTS):
    for part in (name.encode(), DOCUMENTS[name].encode()):
      digest.update(len(part).to_bytes(8, 'big') + part)
  written = task.to_dict()
  assert written['corpus']['source'] == f'sha256:{digest.hexdigest()}'
  assert data_lib.Text.from_dict(written) == task
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
  corpus = data_lib.StandardLibrary()
  documents, digest = corpora.read(corpus)
  named = dict(documents)
  assert len(named) == len(documents) > 300
  import argparse

  path = pathlib.Path(argparse.__file__)
  assert named['argparse.py'] == path.read_bytes().decode()
  parts = {part for name in named for part in name.split('/')}
  assert not parts & {'test', 'tests', 'site-packages', '__pycache__'}
  assert not [name for name in named if '_sysconfigdata' in name]
  # The same version elsewhere is the same text.
  assert not [name for name in named if name.startswith('config-')]
  for name in ('heapq.py', 'json/decoder.py'):
    ast.parse(named[name])
  version = '.'.join(map(str, sys.version_info[:3]))
  assert f' {version} sha256:{digest}' in corpus.to_dict()['source']


def bad(tmp_path, text=None, **fields):
  if text is not None:
    (tmp_path / 'a.txt').write_bytes(text)
  corpus = data_lib.Folder(str(tmp_path), **fields)
  return data_lib.Text(corpus)


def named(tmp_path, name):
  path = os.path.join(os.fsencode(tmp_path), name)
  try:
    pathlib.Path(os.fsdecode(path)).write_text('text')
  except OSError:
    pytest.skip('this file system has no such names')
  return bad(tmp_path)


BAD = {
  'no folder': (
    lambda p: data_lib.Text(data_lib.Folder(str(p / 'none'))),
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
  'a name that is not UTF-8': (
    lambda p: named(p, b'\xff.txt'),
    r"the file name '\\udcff\.txt' is not UTF-8 text \(byte 0xff at 0\)",
  ),
  'one document': (
    lambda p: bad(p, b'x' * 99),
    'split of .* has 0 tokens, fewer',
  ),
  'no such model': (
    lambda p: data_lib.Text(tokenizer=data_lib.SentencePiece(str(p / 'none'))),
    'SentencePiece',
  ),
}


@pytest.mark.parametrize('make, sentence', BAD.values(), ids=BAD)
def test_a_mistake_is_a_sentence_before_any_compute(tmp_path, make, sentence):
  with pytest.raises(ValueError, match=sentence) as caught:
    small.run(task=make(tmp_path))
  assert '\n' not in str(caught.value)


def test_the_command_leaves_nothing_behind(tmp_path, monkeypatch, capsys):
  (tmp_path / 'texts').mkdir()
  (tmp_path / 'texts' / 'a.txt').write_bytes(b'\xff')
  (tmp_path / 'mine.py').write_text(
    'import posexp\n'
    'from posexp import data, schemes\n'
    'def grid():\n'
    "  task = data.Text(data.Folder('texts'))\n"
    '  yield posexp.Run(task=task, scheme=schemes.NoPE())\n'
  )
  monkeypatch.chdir(tmp_path)
  assert main.main(['posexp', 'run', 'mine.py']) == exit_codes.BAD_INPUT
  said = capsys.readouterr().err
  assert said.count('\n') == 1 and 'mine.py:5: texts/a.txt is not UTF-8' in said
  left = {p.name for p in tmp_path.rglob('*')} - {'__pycache__'}
  assert {n for n in left if not n.endswith('.pyc')} == {
    *('texts', 'a.txt', 'mine.py')
  }


def test_without_sentencepiece_the_extra_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, 'sentencepiece', None)
  with pytest.raises(ValueError, match=r"pip install 'posexp\[text\]'"):
    data_lib.SentencePiece('a.model').encode('text')


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
  corpus = data_lib.Catalogue('tiny_text')
  documents, digest = corpora.read(corpus)
  assert sorted(d.text for d in documents) == sorted(DOCUMENTS.values())
  assert len({d.name for d in documents}) == len(DOCUMENTS)
  assert corpus.source == f'tiny_text/1.2.0 sha256:{digest}'
  some = data_lib.Catalogue('tiny_text', split='train[:3]')
  assert [d.text for d in corpora.read(some)[0]] == [
    d.text for d in documents[:3]
  ]
  # More of a split moves no document between what is trained on and held out.
  later = data_lib.Catalogue('tiny_text', split='train[2:5]+train[12:]')
  found = corpora.read(later)[0]
  assert found == (*documents[2:5], *documents[12:])
  for fields, sentence in (
    ({'name': 'no_such_set'}, 'prepare it once with .*no_such_set'),
    ({'split': 'test'}, "split 'test' cannot be read"),
    ({'field': 'texts'}, r"no field 'texts' \(did you mean text\?\)"),
    ({'field': 'label'}, "field 'label' .* is no text: it holds int;"),
  ):
    wrong = data_lib.Catalogue(**{'name': 'tiny_text', **fields})
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
  tokenizer = data_lib.SentencePiece(str(path))
  plain = spm.SentencePieceProcessor(model_file=str(path))
  separator = plain.vocab_size()
  assert tokenizer.separator == separator == tokenizer.vocabulary - 1
  digest = hashlib.sha256(path.read_bytes()).hexdigest()
  assert tokenizer.to_dict()['source'] == f'sha256:{digest}'
  task = data_lib.Text(data_lib.Folder(str(folder)), tokenizer, 0.5)
  size = task._streams()['train'].size
  batch = task.sample(jax.random.key(0), length=size, batch=1)
  pieces = [[]]
  for token in batch.tokens_BxL[0].tolist():
    pieces[-1].append(token) if token < separator else pieces.append([])
  texts = {plain.decode(ids) for ids in pieces[:-1]}
  assert texts and texts < set(DOCUMENTS.values())
  for n, content in enumerate((b'no model', b'')):
    path = tmp_path / f'wrong{n}.model'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f'no SentencePiece model .*wrong{n}'):
      data_lib.SentencePiece(str(path)).vocabulary  # noqa: B018
