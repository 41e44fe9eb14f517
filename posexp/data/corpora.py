"""Corpora: documents of text with a name, a source and a digest."""

import abc
import dataclasses
import functools
import hashlib
import os
import pathlib
import platform
import sysconfig
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from posexp import component
from posexp.results import files


class Document(NamedTuple):
  """A text and the name that says which split it belongs to."""

  name: str
  text: str


class Sourced(component.Component, abc.ABC):
  """A component that reads files: its config names their content too.

  A run on other bytes is another run, and its record says which they were.
  """

  @property
  @abc.abstractmethod
  def source(self) -> str:
    """The version, if there is one, and the digest of what is read."""

  def origin(self) -> str:
    """Return the digest of a user's own class, if it is, and what is read."""
    return f'{super().origin()} {self.source}'.lstrip()


@dataclasses.dataclass(frozen=True)
class Corpus(Sourced):
  """Named documents; a subclass says where they are.

  Two documents never share a name, since the name decides on the split.

  Raises:
    UserError: one sentence, from what reads the documents, if they are not
      there, are empty or are not UTF-8.
  """

  @property
  def version(self) -> str:
    """The version of the text, '' if it is not known."""
    return ''

  @abc.abstractmethod
  def documents(self) -> Iterable[Document]:
    """Return the documents, in any order."""

  @property
  def source(self) -> str:
    """The version, if there is one, and a sha256 over names and texts."""
    return f'{self.version} sha256:{read(self)[1]}'.lstrip()


@functools.lru_cache(maxsize=4)
def read(corpus: Corpus) -> tuple[tuple[Document, ...], str]:
  """Return the documents by name, empty ones left out, and their digest.

  The digest is of each name and text in UTF-8, each after its length in bytes.
  """
  documents = sorted(d for d in corpus.documents() if d.text)
  if not documents:
    raise component.UserError(
      f'{corpus} has no text: every document is empty; give one that is not'
    )
  digest = hashlib.sha256()
  for part in (part.encode() for document in documents for part in document):
    digest.update(len(part).to_bytes(8, 'big') + part)
  return tuple(documents), digest.hexdigest()


@dataclasses.dataclass(frozen=True)
class StandardLibrary(Corpus):
  """The source of the running Python's standard library; no network.

  A document is a module, by its path: 8.8 MB in 449 files with CPython 3.11.7.
  Tests, IDLE, installed packages, and files that a program wrote are left out.
  Another Python is another text, which the digest tells apart.

  >>> StandardLibrary().to_dict()['source'].split('.')[0]
  'CPython 3'
  """

  # What is no part of the library, anywhere in a path.
  SKIPPED = frozenset(
    {'test', 'tests', 'idlelib', 'lib2to3', 'turtledemo', 'ensurepip'}
    | {'site-packages', 'dist-packages', '__pycache__'}
    | {'sitecustomize.py', 'usercustomize.py', 'encodings', 'pydoc_data'}
  )

  @property
  def version(self) -> str:
    return f'{platform.python_implementation()} {platform.python_version()}'

  def documents(self) -> Iterator[Document]:
    root = pathlib.Path(sysconfig.get_path('stdlib'))
    paths = [
      path
      for path in root.rglob('*.py')
      if not self.SKIPPED.intersection(path.relative_to(root).parts)
      and not path.name.startswith('_sysconfigdata')
      # Named after the machine, and holds where Python was installed.
      and not path.parent.name.startswith('config-')
    ]
    if not paths:
      raise component.UserError(
        f'this Python has no source of its standard library in {root}: use '
        'Folder(path) with text of your own'
      )
    return _texts(root, paths)


@dataclasses.dataclass(frozen=True)
class Folder(Corpus):
  """The text files of a folder and all folders in it, one document a file.

  Args:
    path: the folder, absolute or from where the command is given.
    pattern: which files, as in a shell.

  >>> try:
  ...   read(Folder('nowhere'))
  ... except component.UserError as error:
  ...   print(error)
  no folder 'nowhere': give the path of a folder of text files
  """

  path: str
  pattern: str = '*.txt'

  def documents(self) -> Iterator[Document]:
    root = pathlib.Path(files.local(self.path))
    if not root.is_dir():
      raise component.UserError(
        f'no folder {self.path!r}: give the path of a folder of text files'
      )
    paths = [path for path in root.rglob(self.pattern) if path.is_file()]
    if not paths:
      raise component.UserError(
        f'folder {self.path!r} has no file that matches {self.pattern!r}: put '
        'text files there, or give another pattern'
      )
    return _texts(root, paths)


@dataclasses.dataclass(frozen=True)
class Catalogue(Corpus):
  """A data set of the TFDS catalogue, one document an example.

  It is read from where TFDS keeps it (TFDS_DATA_DIR, or ~/tensorflow_datasets)
  and has to be there: nothing is downloaded. TensorFlow is not needed.

  Args:
    name: as in `tfds.builder`, with config and version if wanted.
    split: which examples, as in `tfds.load`: 'train', or 'train[:1000]' of a
      large data set. All of them are held in memory.
    field: the feature that is the text.
  """

  name: str
  split: str = 'train'
  field: str = 'text'

  @property
  def version(self) -> str:
    return self._open()[0].info.full_name

  def documents(self) -> Iterator[Document]:
    builder, source = self._open()
    fields = dict(builder.info.features or {})
    if self.field not in fields:
      raise component.UserError(
        f'TFDS data set {self.name!r} has no field {self.field!r}'
        f'{component.nearest(self.field, fields)}'
      )
    # Where a document lies, so that it has one name in every part of a split.
    names = (
      f'{self.name}/{pathlib.PurePath(part.filename).name}/{number:09}'
      for part in builder.info.splits[self.split].file_instructions
      for number in range(part.skip, part.skip + part.take)
    )
    for number, name in enumerate(names):
      value = source[number][self.field]
      if not isinstance(value, bytes):
        raise component.UserError(
          f'field {self.field!r} of TFDS data set {self.name!r} is no text: it '
          f'holds {type(value).__name__}; give one that holds a string'
        )
      yield Document(name, decoded(name, value))

  def _open(self) -> tuple[Any, Any]:
    """Return the builder of the data set and its examples."""
    import tensorflow_datasets as tfds

    try:
      builder = tfds.builder(self.name)
      return builder, builder.as_data_source(split=self.split)
    except Exception as error:  # TFDS has a dozen classes for it.
      reason = str(error).strip().partition('\n')[0]
      raise component.UserError(
        f'TFDS data set {self.name!r} with split {self.split!r} cannot be read '
        f'({type(error).__name__}: {reason}): prepare it once with '
        f'tensorflow_datasets.data_source({self.name!r})'
      ) from None


def _texts(
  root: pathlib.Path, paths: Iterable[pathlib.Path]
) -> Iterator[Document]:
  """Yield the files, each named by its path below the root."""
  for path in paths:
    try:
      content = path.read_bytes()
    except OSError as error:
      raise component.UserError(
        f'{path} cannot be read ({error.strerror}): make it readable, or leave '
        'it out'
      ) from None
    name = path.relative_to(root).as_posix()
    text = decoded(str(path), content)
    label = f'the file name {name!a}'
    yield Document(decoded(label, os.fsencode(name)), text)


def decoded(name: str, content: bytes) -> str:
  """Return bytes as text, or raise a `UserError` where they are not UTF-8.

  >>> try:
  ...   decoded('a.txt', b'ok \\xff')
  ... except component.UserError as error:
  ...   print(error)
  a.txt is not UTF-8 text (byte 0xff at 3): convert it or leave it out
  """
  try:
    return content.decode()
  except UnicodeDecodeError as error:
    raise component.UserError(
      f'{name} is not UTF-8 text (byte 0x{content[error.start]:02x} at '
      f'{error.start}): convert it or leave it out'
    ) from None
