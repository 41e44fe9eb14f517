"""Tokenizers: text to token ids, and one id that ends a document."""

import abc
import dataclasses
import functools
import hashlib
import pathlib
from typing import Any

import numpy as np

from posexp import component
from posexp.data import corpora
from posexp.results import files


@dataclasses.dataclass(frozen=True)
class Tokenizer(component.Component, abc.ABC):
  """Token ids below `separator`, which stands after every document."""

  @property
  @abc.abstractmethod
  def separator(self) -> int:
    """The id after all others."""

  @property
  def vocabulary(self) -> int:
    return self.separator + 1

  @abc.abstractmethod
  def encode(self, text: str) -> np.ndarray:
    """Return the token ids of a text, a vector of integers."""


@dataclasses.dataclass(frozen=True)
class Bytes(Tokenizer):
  """The bytes of the text in UTF-8: 256 ids, and 256 ends a document.

  >>> Bytes().encode('aé').tolist(), Bytes().vocabulary
  ([97, 195, 169], 257)
  """

  @property
  def separator(self) -> int:
    return 256

  def encode(self, text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


@dataclasses.dataclass(frozen=True)
class SentencePiece(corpora.Sourced, Tokenizer):
  """The pieces of a given SentencePiece model; needs the extra `[text]`.

  Args:
    path: the model file, as its trainer wrote it.
  """

  path: str

  @property
  def separator(self) -> int:
    return _pieces(self.path)[0].vocab_size()

  @property
  def source(self) -> str:
    return f'sha256:{_pieces(self.path)[1]}'

  def encode(self, text: str) -> np.ndarray:
    return np.asarray(_pieces(self.path)[0].encode(text), np.int32)


@functools.lru_cache(maxsize=4)
def _pieces(path: str) -> tuple[Any, str]:
  """Return the model in a file, and the digest of the file."""
  library = component.extra('sentencepiece', f'SentencePiece({path!r})', 'text')
  try:
    content = pathlib.Path(files.local(path)).read_bytes()
    if not content:  # The processor would take it for no model given.
      raise OSError('it is empty')
    model = library.SentencePieceProcessor(model_proto=content)
  except (OSError, RuntimeError) as error:
    raise component.UserError(
      f'no SentencePiece model can be read from {path!r} ({error}): give the '
      '.model file that its trainer wrote'
    ) from None
  return model, hashlib.sha256(content).hexdigest()
