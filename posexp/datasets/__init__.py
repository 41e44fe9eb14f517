"""Frozen evaluation sets with published digests, and corpora of text."""

from posexp.datasets.corpora import Catalogue as Catalogue
from posexp.datasets.corpora import Corpus as Corpus
from posexp.datasets.corpora import Document as Document
from posexp.datasets.corpora import Folder as Folder
from posexp.datasets.corpora import StandardLibrary as StandardLibrary
from posexp.datasets.examples import DRAW as DRAW
from posexp.datasets.examples import FOLD as FOLD
from posexp.datasets.examples import NUMBER as NUMBER
from posexp.datasets.examples import Set as Set
from posexp.datasets.examples import digest as digest
from posexp.datasets.examples import draw as draw
from posexp.datasets.text import Text as Text
from posexp.datasets.tokenizers import Bytes as Bytes
from posexp.datasets.tokenizers import SentencePiece as SentencePiece
from posexp.datasets.tokenizers import Tokenizer as Tokenizer
