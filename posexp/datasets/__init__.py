"""Data that are read and not drawn: corpora of text, and what is asked."""

from posexp.datasets.corpora import Catalogue as Catalogue
from posexp.datasets.corpora import Corpus as Corpus
from posexp.datasets.corpora import Document as Document
from posexp.datasets.corpora import Folder as Folder
from posexp.datasets.corpora import StandardLibrary as StandardLibrary
from posexp.datasets.text import Text as Text
from posexp.datasets.tokenizers import Bytes as Bytes
from posexp.datasets.tokenizers import SentencePiece as SentencePiece
from posexp.datasets.tokenizers import Tokenizer as Tokenizer
